"""The table of gates, of a training and of a version. Pure: gates in, cells out.

Belongs here: how a gate's number and threshold are written. Does not belong here: whether a gate is passed (core/).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tradewind.api.common import GateResult
from tradewind.cli.report_text import UNKNOWN, Row, known, measured

_MOST_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Unit:
    """How numbers of a gate are written: times `factor`, with `digits` after the point at least, and `suffix`."""

    factor: float
    digits: int
    suffix: str

    def threshold(self, threshold: float) -> str:
        """As somebody wrote it into a spec."""
        return f"{self.factor * threshold:g}{self.suffix}"

    def value(self, value: float, threshold: float | None) -> str:
        """With as many digits as tell it from the threshold, unless it is the threshold."""
        digits, scaled = self.digits, self.factor * value
        if measured(threshold) and value != threshold:
            limit = round(self.factor * threshold, _MOST_DIGITS)
            digits = next((d for d in range(self.digits, _MOST_DIGITS) if round(scaled, d) != limit), _MOST_DIGITS)
        return f"{scaled:,.{digits}f}{self.suffix}"


SHARE: Final = Unit(100, 1, " %")
MILLISECONDS: Final = Unit(1, 1, " ms")
RATIO: Final = Unit(1, 3, "")


@dataclass(frozen=True, slots=True)
class GateWords:
    """A gate in words: what is measured, in which unit, and whether it must be at least or at most the threshold."""

    what: str
    unit: Unit
    at_least: bool


def gate_rows(gates: Sequence[GateResult], words: Mapping[str, GateWords] | None = None) -> tuple[Row, ...]:
    """Name, outcome, value, threshold and what it says; a gate without words has plain numbers."""
    return tuple(
        (
            gate.name,
            {True: "passed", False: "failed", None: "unknown"}[gate.passed],
            *gate_numbers(gate, said := (words or {}).get(gate.name)),
            ": ".join(part for part in (said.what if said else "", gate.message) if part),
        )
        for gate in gates
    )


def gate_numbers(gate: GateResult, words: GateWords | None) -> tuple[str, str]:
    """Value and threshold."""
    if words is None:
        return known(gate.value), known(gate.threshold)
    return (
        words.unit.value(gate.value, gate.threshold) if measured(gate.value) else UNKNOWN,
        f"{'at least' if words.at_least else 'at most'} {words.unit.threshold(gate.threshold)}"
        if measured(gate.threshold)
        else UNKNOWN,
    )
