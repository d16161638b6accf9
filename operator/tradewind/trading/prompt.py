"""The prompt and the completion: the same text in training and in serving, or the model is asked in a foreign language.

The instruction comes first and never changes, so that its key-value cache is computed once. JSON is compact with sorted
keys. The completion has a fixed key order and values on grids: an own model writes few free tokens, each from a short list.
"""

import json
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from pydantic import JsonValue

from tradewind.trading.decision import Action, DecisionInput, TradeDecision, canonical_json

PROMPT_VERSION: Final = 1

INSTRUCTION: Final = (
    "You are a quantitative trader. Read the market, the account and your own recent decisions, then answer with one JSON"
    " object and nothing else. Keys, in this order: action (open_long, open_short, close or hold), symbol, size_usd,"
    " leverage, stop_loss_pct, take_profit_pct, confidence. Hold when no trade is worth its cost.\n"
)

CONTRACT: Final = (
    "The object has these keys and no others:\n"
    + "".join(f"- {name}: {field.description}\n" for name, field in TradeDecision.model_fields.items())
    + "For hold and close: size_usd 0, leverage 1, stop_loss_pct 0 and take_profit_pct 0.\n"
)
"""What a decision is, in the words of the schema itself. For external APIs, after `INSTRUCTION`: an own model is held to it by its
grammar, and its prompt stays the one that it was trained on (docs/decisions/contract-for-external-arms.md)."""

DECISION_FIELDS: Final = (
    "action", "symbol", "size_usd", "leverage", "stop_loss_pct", "take_profit_pct", "confidence",
)  # fmt: skip
"""Order of the keys of a completion; `reasoning` follows where it is asked for."""

_SIZE_MANTISSAS: Final = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)
SIZE_GRID_USD: Final = tuple(round(m * 10.0**k, 6) for k in range(-2, 7) for m in _SIZE_MANTISSAS)
PERCENT_GRID: Final = (
    0.0, 0.00001, 0.000015, 0.00002, 0.00003, 0.00004, 0.00005, 0.00007, 0.0001, 0.00015, 0.0002, 0.0003, 0.0004,
    0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05,
    0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75,
)  # fmt: skip
LEVERAGE_GRID: Final = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100, 125)
CONFIDENCE_GRID: Final = tuple(round(0.05 * k, 2) for k in range(21))
_BEYOND: Final = {"size_usd": 1e7, "leverage": 126, "stop_loss_pct": 1.0, "take_profit_pct": 1.0}
"""From here on a value is no longer near the largest of its grid, and means something else than that one."""
_EXACT_TO: Final = 10**16  # from here on a float's shortest text has an exponent, and databases write digits instead


class OffGridError(ValueError):
    """A decision that no own model can write without meaning something else; names the field."""


def render_prompt(shown: DecisionInput, symbol: str) -> str:
    """The whole prompt: `INSTRUCTION`, then what is particular to this request, then the cue for the answer."""
    return (
        f"{INSTRUCTION}Market: {_json(dict(shown.market_data))}\n"
        f"Account: {_json(dict(shown.account_state))}\n"
        f"History: {_json([dict(h) for h in shown.recent_history])}\n"
        f"Symbol: {symbol}\nDecision: "
    )


def parse_prompt(text: str) -> tuple[DecisionInput, str]:
    """What was shown and the symbol that was asked about, of a prompt that `render_prompt` wrote.

    Raises:
        ValueError: it is none: a prompt that does not render the same again would ask another question.
    """
    parts = text.removeprefix(INSTRUCTION).split("\n")
    heads = ("Market: ", "Account: ", "History: ", "Symbol: ", "Decision: ")
    if not text.startswith(INSTRUCTION) or len(parts) != len(heads) or not all(map(str.startswith, parts, heads)):
        raise ValueError(f"the prompt is none of version {PROMPT_VERSION}: snapshot again")
    market, account, history, symbol, _ = (part.removeprefix(head) for part, head in zip(parts, heads, strict=True))
    shown = DecisionInput(
        market_data=json.loads(market), account_state=json.loads(account), recent_history=json.loads(history)
    )
    if render_prompt(shown, symbol) != text:
        raise ValueError("the prompt does not render the same again: snapshot again")
    return shown, symbol


def render_completion(decision: TradeDecision, *, reasoning: bool = False) -> str:
    """The answer as an own model is taught to write it: compact JSON, values on the grids.

    Raises:
        OffGridError: as `snap_to_grid`.
    """
    snapped = snap_to_grid(decision)
    fields: list[str] = [f"{json.dumps(name)}:{render_value(getattr(snapped, name))}" for name in DECISION_FIELDS]
    if reasoning:
        fields.append(f'"reasoning":{json.dumps(snapped.reasoning, ensure_ascii=False)}')
    return "{" + ",".join(fields) + "}"


def render_number(value: float) -> str:
    """The shortest decimal that reads back as the value, without exponent and without a trailing `.0`."""
    if value == int(value):
        return str(int(value))
    return f"{value:.6f}".rstrip("0")


def snap_to_grid(decision: TradeDecision) -> TradeDecision:
    """The nearest decision an own model can write. Sizes, leverage and distances never grow by it.

    `hold` and `close` carry no size: everything but symbol and confidence is fixed, so nothing is left to decode.

    Raises:
        OffGridError: an opening lies beyond an end of a grid, where the nearest value means something else: a stop of almost
            nothing is no stop, a target of 150 % none of 75 %.
    """
    confidence = min(CONFIDENCE_GRID, key=lambda c: abs(c - decision.confidence))
    if not decision.action.opens:
        return decision.model_copy(
            update={
                "size_usd": 0.0,
                "leverage": 1,
                "stop_loss_pct": 0.0,
                "take_profit_pct": 0.0,
                "confidence": confidence,
            }
        )
    grids = {
        "size_usd": SIZE_GRID_USD,
        "leverage": LEVERAGE_GRID,
        "stop_loss_pct": PERCENT_GRID,
        "take_profit_pct": PERCENT_GRID,
    }
    snapped = {name: _floor(name, grid, getattr(decision, name)) for name, grid in grids.items()}
    return decision.model_copy(update={**snapped, "leverage": int(snapped["leverage"]), "confidence": confidence})


def hold(symbol: str, *, confidence: float = 0.5) -> TradeDecision:
    """The decision to do nothing, as an own model writes it."""
    return TradeDecision(
        action=Action.HOLD,
        symbol=symbol,
        size_usd=0,
        leverage=1,
        stop_loss_pct=0,
        take_profit_pct=0,
        confidence=confidence,
    )


def _floor(name: str, grid: Sequence[float], value: float) -> float:
    """The largest value of a grid that is not above a value; what is equal but for rounding counts as equal."""
    at_most = value * (1 + 1e-12)
    index = bisect_right(grid, at_most) - 1
    if index < 0 or (grid[index] == 0 and value > 0) or value >= _BEYOND[name]:
        msg = f"{name} {value:g} is off the grid of what an own model writes, {grid[0] or grid[1]:g} to {grid[-1]:g}"
        raise OffGridError(msg)
    return grid[index]


def _json(value: JsonValue) -> str:
    return canonical_json(_as_stored(value))


def _as_stored(value: JsonValue) -> JsonValue:
    """Numbers in the one form that survives a database: it writes 1e16 as digits, -0.0 as 0.0, and knows no 64 bits.

    A decision is served with the numbers of its request and taught with those of the log.
    """
    if isinstance(value, dict):
        return {key: _as_stored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_stored(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if abs(value) >= _EXACT_TO:
        with suppress(OverflowError):
            return float(value)
    return value if isinstance(value, int) else value + 0.0  # -0.0 + 0.0 is 0.0


def render_value(value: object) -> str:
    """A value as a completion has it; a symbol keeps its letters, as the prompt shows them."""
    return render_number(value) if isinstance(value, int | float) else json.dumps(str(value), ensure_ascii=False)
