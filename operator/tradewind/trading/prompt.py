"""The prompt and the completion: the same text in training and in serving, or the model is asked in a foreign language.

The instruction comes first and never changes, so that its key-value cache is computed once. JSON is compact with sorted
keys. The completion has a fixed key order and values on grids: an own model writes few free tokens, each from a short list.
"""

import json
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

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
    0.0, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05,
    0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.5,
)  # fmt: skip
LEVERAGE_GRID: Final = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100, 125)
CONFIDENCE_GRID: Final = tuple(round(0.05 * k, 2) for k in range(21))


def render_prompt(shown: DecisionInput, symbol: str) -> str:
    """The whole prompt: `INSTRUCTION`, then what is particular to this request, then the cue for the answer."""
    return (
        f"{INSTRUCTION}Market: {canonical_json(dict(shown.market_data))}\n"
        f"Account: {canonical_json(dict(shown.account_state))}\n"
        f"History: {canonical_json([dict(h) for h in shown.recent_history])}\n"
        f"Symbol: {symbol}\nDecision: "
    )


def render_completion(decision: TradeDecision, *, reasoning: bool = False) -> str:
    """The answer as an own model is taught to write it: compact JSON, values on the grids."""
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
    return decision.model_copy(
        update={
            "size_usd": _floor(SIZE_GRID_USD, decision.size_usd),
            "leverage": int(_floor(LEVERAGE_GRID, decision.leverage)),
            "stop_loss_pct": _floor(PERCENT_GRID, decision.stop_loss_pct),
            "take_profit_pct": _floor(PERCENT_GRID, decision.take_profit_pct),
            "confidence": confidence,
        }
    )


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


def _floor(grid: Sequence[float], value: float) -> float:
    index = bisect_left(grid, value * (1 + 1e-12) + 1e-15)
    return grid[max(index - 1, 0)] if index == len(grid) or grid[index] > value * (1 + 1e-12) else grid[index]


def render_value(value: object) -> str:
    """A value as a completion has it; a symbol keeps its letters, as the prompt shows them."""
    return render_number(value) if isinstance(value, int | float) else json.dumps(str(value), ensure_ascii=False)
