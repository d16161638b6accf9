"""An own model behind a plain completion server (vLLM): what it is asked, and all that it may write, as one expression.

The prompt is the text that training renders, and the answer is bound by a regular expression of the completions that training
shows: fixed keys, compact, each number in its one spelling. A JSON schema would not do: it says neither how a number is
written nor that a hold carries no size. Belongs here: the words on the wire. Does not belong here: HTTP, and reading answers.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from tradewind.trading.decision import Action, DecisionInput, Limits
from tradewind.trading.prompt import (
    CONFIDENCE_GRID,
    DECISION_FIELDS,
    LEVERAGE_GRID,
    PERCENT_GRID,
    SIZE_GRID_USD,
    render_prompt,
    render_value,
)

COMPLETIONS_PATH: Final = "/v1/completions"
_GRIDS: Final = (SIZE_GRID_USD, LEVERAGE_GRID, PERCENT_GRID, PERCENT_GRID, CONFIDENCE_GRID)
_SPECIAL: Final = frozenset("\\^$.*+?()[]{}|/-")


@dataclass(frozen=True, slots=True)
class Writable:
    """The values that each free field of an opening may have within limits; no sizes or no stops: nothing may be opened."""

    sizes: tuple[float, ...]
    leverages: tuple[int, ...]
    stops: tuple[float, ...]

    @classmethod
    def within(cls, limits: Limits | None) -> "Writable":
        """What limits leave of the grids. An opening has a stop above 0 unless its level says that it may have none."""
        cap = None if limits is None else limits.max_stop_loss_pct
        least = 0 if limits is not None and limits.may_lack_stop else min(stop for stop in PERCENT_GRID if stop > 0)
        return cls(
            tuple(size for size in SIZE_GRID_USD if limits is None or size <= limits.max_size_usd),
            tuple(leverage for leverage in LEVERAGE_GRID if limits is None or leverage <= limits.max_leverage),
            tuple(stop for stop in PERCENT_GRID if least <= stop <= (cap or PERCENT_GRID[-1])),
        )

    @property
    def opens(self) -> bool:
        """Whether an opening is left at all."""
        return bool(self.sizes and self.leverages and self.stops)


def completion_pattern(symbol: str, limits: Limits | None) -> str:
    """A regular expression of every completion for a symbol within limits, in what all engines of vLLM understand.

    It knows literals, groups and alternatives alone; what it matches is `render_completion`'s text of some decision.
    """
    writable = Writable.within(limits)
    flat = _object(symbol, (Action.CLOSE, Action.HOLD), (0,), (1,), (0,), (0,))
    if not writable.opens:
        return flat
    opening = (Action.OPEN_LONG, Action.OPEN_SHORT)
    return f"({_object(symbol, opening, writable.sizes, writable.leverages, writable.stops, PERCENT_GRID)}|{flat})"


def completion_request(model: str, shown: DecisionInput, symbol: str, limits: Limits | None) -> dict[str, JsonValue]:
    """Body of `POST /v1/completions`: one greedy completion of the prompt that training renders.

    Args:
        model: the name under which the server has the model (`served_name`).
        shown: what the model may see.
        symbol: what is asked about.
        limits: what the answer must keep.
    """
    return {
        "model": model,
        "prompt": render_prompt(shown, symbol),
        "max_tokens": most_tokens(symbol),
        "temperature": 0,
        "stream": False,
        "structured_outputs": {"regex": completion_pattern(symbol, limits)},
    }


def most_tokens(symbol: str) -> int:
    """Tokens that no completion for a symbol exceeds, whatever the tokenizer: its bytes, and the one that ends it.

    The server has to be told, since it cuts off after 16 otherwise. What it keeps free for them, prompts cannot use.
    """
    values = (max(Action, key=len), symbol, *(max(grid, key=_length) for grid in _GRIDS))
    fields = (f'"{name}":{render_value(value)}' for name, value in zip(DECISION_FIELDS, values, strict=True))
    return len(f"{{{','.join(fields)}}}".encode()) + 1


def served_name(version: str, sha256: str) -> str:
    """How a plain completion server calls a version: with its hash, so that one that serves another artifact does not answer."""
    return f"{version}@{sha256}"


def _object(symbol: str, actions: Iterable[Action], *numbers: Iterable[float]) -> str:
    values: tuple[Iterable[object], ...] = (actions, (symbol,), *numbers, CONFIDENCE_GRID)
    fields = [
        _literal(f'"{name}":') + _either(map(render_value, field))
        for name, field in zip(DECISION_FIELDS, values, strict=True)
    ]
    return _literal("{") + ",".join(fields) + _literal("}")


def _either(texts: Iterable[str]) -> str:
    escaped = [_literal(text) for text in texts]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _length(value: float) -> int:
    return len(render_value(value))


def _literal(text: str) -> str:
    return "".join(f"\\{letter}" if letter in _SPECIAL else letter for letter in text)
