"""What a guardrail is: its settings, its watch, its sentence and its unit.

Belongs here: the interface, what every watch may look at, and how a running number becomes a result. Does not belong
here: any one guardrail, and what a trip leads to (verdict.py).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from tradewind.schema.rules import StrictModel
from tradewind.trading.evidence.blocks import SettledRows
from tradewind.trading.evidence.checks import ArmExposures
from tradewind.trading.evidence.confidence import Floats
from tradewind.trading.evidence.requests import RequestLog
from tradewind.trading.evidence.table import TradeTable

_MOST_LN = 700.0  # e to it is still a number
_LONG = 1e6

S = TypeVar("S", bound=StrictModel)


class Unit(StrEnum):
    """What evidence and threshold of a guardrail are."""

    LOG_EVIDENCE = "ln evidence"
    """Natural logarithm of a bet against "no harm"; shown as times."""
    USD = "USD"
    RATIO = "ratio"

    def measured(self, number: float) -> float:
        """The number in the unit that people read: evidence in times."""
        return math.exp(min(number, _MOST_LN)) if self is Unit.LOG_EVIDENCE else number

    def show(self, number: float) -> str:
        """A measured number as a person reads it."""
        match self:
            case Unit.LOG_EVIDENCE:
                return f"{number:.3g}" if number < _LONG else f"e^{math.log(number):.1f}"
            case Unit.USD:
                return f"{number:.2f} USD"
            case Unit.RATIO:
                return f"{number:.2f}"


@dataclass(frozen=True, eq=False)
class Watched:
    """What a watch may look at.

    Attributes:
        table: the trade table; baseline rows before t0 are there too.
        rows: its rows as they are settled at `now`.
        t0_us: start of the experiment, microseconds since the epoch.
        now_us: instant of the look.
        requests: the candidate's requests; None: nothing is known of them.
        exposures: what both arms carried.
        duration: whole blocks up to max_duration.
        largest_weight: the most that the traffic policy may give the candidate.
    """

    table: TradeTable
    rows: SettledRows
    t0_us: int
    now_us: int
    requests: RequestLog | None
    exposures: ArmExposures
    duration: timedelta
    largest_weight: float


class Guardrail(ABC, Generic[S]):
    """One watch. A tripped one takes the candidate out at once, or, where `holds`, keeps it from being promoted."""

    reason: ClassVar[str]
    """Why, as a fixed word: goes unchanged into conditions, Events, logs and metrics."""
    settings: ClassVar[type[StrictModel]]
    """Its fields of `spec.guardrails`."""
    unit: ClassVar[Unit] = Unit.LOG_EVIDENCE
    holds: ClassVar[bool] = False
    """A trip only holds promotion."""
    live_only: ClassVar[bool] = False
    """Not watched in a replay: the data's clock knows nothing of the machine that replays it."""
    trips: ClassVar[str]
    """When it trips, for the documentation."""
    row: ClassVar[str]
    """What the number of the row that tripped counts, for the documentation."""
    says: ClassVar[str] = ""
    """What a trip shows, the beginning of its sentence."""

    @abstractmethod
    def watch(self, settings: S, facts: Watched) -> "GuardrailResult | None":
        """State of the watch at `facts.now_us`; None where it is off or has nothing to look at."""

    def tripped_because(self, evidence: str, threshold: str, row: int) -> str:
        """What happened, in words, with evidence and threshold as the unit shows them."""
        return f"{self.says}: evidence {evidence} of {threshold} at row {row}"

    def result(self, path: Floats, threshold: float) -> "GuardrailResult":
        """The state of a running number, shape (rows,): it trips at the first row where it reaches the threshold."""
        hit = path >= threshold
        tripped = bool(hit.any())
        at = int(np.argmax(hit)) if tripped else len(path) - 1
        evidence = float(path[at]) if len(path) else 0.0

        def show(number: float) -> str:
            return self.unit.show(self.unit.measured(number))

        return GuardrailResult(
            self,
            tripped=tripped,
            evidence=evidence,
            threshold=threshold,
            first_row=at + 1 if tripped else None,
            rows=len(path),
            sentence=self.tripped_because(show(evidence), show(threshold), at + 1) if tripped else "",
        )


@dataclass(frozen=True)
class GuardrailResult:
    """State of one watch.

    Attributes:
        guardrail: which.
        tripped: it takes the candidate out, or holds its promotion.
        evidence: at the row that tripped, or after the last row, in the guardrail's unit; nan: unknown.
        threshold: in the unit of the evidence; nan: it has none.
        first_row: 1-based number of the row that tripped, in the order that the watch reads.
        rows: number of rows read.
        sentence: what happened, in words; "" where it has not tripped.
    """

    guardrail: Guardrail[Any]
    tripped: bool
    evidence: float
    threshold: float
    first_row: int | None
    rows: int
    sentence: str

    @property
    def reason(self) -> str:
        """The guardrail's fixed word."""
        return self.guardrail.reason
