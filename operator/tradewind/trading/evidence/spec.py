"""All that a verdict depends on besides the rows, t0 and now: what users wrote, and what was fixed at the start.

Belongs here: the numbers that follow from the settings. Does not belong here: the settings themselves, their bounds and
defaults (settings.py), and any look at data.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Self

from tradewind.schema.scalars import as_timedelta
from tradewind.trading.evidence.blocks import Pairing, Reading, Settlement
from tradewind.trading.evidence.boundary import ANYTIME as ANYTIME_BOUNDARY
from tradewind.trading.evidence.boundary import BOUNDARIES, Boundary
from tradewind.trading.evidence.metrics import METRICS, Metric
from tradewind.trading.evidence.policies import POLICIES, Fixed, Ladder, Step, WeightPolicy
from tradewind.trading.evidence.scale import ANYTIME, ROBUST, ScaleRule
from tradewind.trading.evidence.settings import MIN_BLOCKS, ExperimentRules, Shadow, WeightStep


@dataclass(frozen=True, slots=True)
class Accepted:
    """A person took what an arm had become for the arm that is compared from then on.

    Attributes:
        time: when, with a time zone.
        block: the first whole block that began later, counted from t0; the evidence starts anew with it.
    """

    time: datetime
    block: int


@dataclass(frozen=True, slots=True)
class Basis:
    """What was settled at the start where the spec leaves it to the Endpoint and its versions.

    Attributes:
        shadow: who is asked beside the drawn arm.
        scale_by_symbol: returns are divided by their symbol's scale first.
        reference_notional: R in USD, what prices of answers are compared with; None: not known.
        boundary: what the experiment began with, where its version of this program had another default; None: as the rules
            say.
    """

    shadow: Shadow = "none"
    scale_by_symbol: bool = False
    reference_notional: float | None = None
    boundary: str | None = None


SHADOW_WEIGHT = 0.25
"""Weight where a shadow answers for the candidate: a larger one takes more from the pairs than it gives."""

_PAIRINGS: dict[str, Pairing] = {"both": Pairing.BOTH, "candidate": Pairing.CANDIDATE, "none": Pairing.UNPAIRED}
_MOST_RETESTS = 500  # alpha of one more would still be a number, and nobody would live to see it promote


@dataclass(frozen=True)
class EvidenceSpec:
    """What a verdict rests on besides the rows.

    Attributes:
        rules: what users wrote: evidence, traffic, guardrails.
        settlement: maxHold of the Endpoint at the start, and the blocks that follow from it.
        retest: number of earlier tests of the same pair; this one runs at alpha / 2^retest.
        replay: on recorded data; latency is not watched there.
        accepts: changes of an arm that were accepted, the oldest first; each halves alpha once more.
        basis: what was settled at the start; None: what the rules alone say.

    Raises:
        ValueError: retest is out of bounds.
    """

    rules: ExperimentRules = field(default_factory=ExperimentRules)
    settlement: Settlement = field(default_factory=Settlement)
    retest: int = 0
    replay: bool = False
    accepts: tuple[Accepted, ...] = ()
    basis: Basis | None = None

    def __post_init__(self) -> None:
        if self.retest < 0:
            raise ValueError(f"retest: {self.retest}; give a whole number from 0 up")
        if self.retest > _MOST_RETESTS:
            raise ValueError(f"retest: {self.retest}; give a whole number from 0 to {_MOST_RETESTS}")

    def known_at(self, time: datetime) -> Self:
        """What was accepted until then: a look of the past knows nothing of later."""
        return self._with(tuple(accept for accept in self.accepts if accept.time <= time))

    def in_block(self, block: int) -> Self:
        """What the weight of a block goes by: the evidence that has started anew by then."""
        return self._with(tuple(accept for accept in self.accepts if accept.block <= block))

    def _with(self, accepts: tuple[Accepted, ...]) -> Self:
        return self if accepts == self.accepts else replace(self, accepts=accepts)

    @property
    def first_block(self) -> int:
        """Block that the evidence starts with, counted from t0."""
        return self.accepts[-1].block if self.accepts else 0

    def start(self, t0: datetime) -> datetime:
        """Time that the evidence starts at: t0, or the block after the newest accept."""
        return t0 + self.first_block * self.block_length

    def naming(self, t0: datetime, look: datetime) -> tuple[datetime, datetime]:
        """Start and end of the block whose names are the ones that an arm is known by at that look."""
        start = self.known_at(look).start(t0)
        return start, start + self.block_length

    @property
    def too_short(self) -> str | None:
        """Why no verdict can ever be reached, naming field and remedy; None: it can."""
        if self.max_blocks >= MIN_BLOCKS:
            return None
        return (
            f"evidence.maxDuration: {self.rules.evidence.max_duration} holds {self.max_blocks} blocks of "
            f"{self.block_length.days}d (the Endpoint's maxHold in whole days), and no verdict is reached before "
            f"{MIN_BLOCKS}: raise evidence.maxDuration, or lower maxHold of the Endpoint"
        )

    @cached_property
    def primary(self) -> Metric:
        """The metric that must be better."""
        return next(metric for metric in METRICS if metric.name == self.rules.evidence.primary)

    @cached_property
    def others(self) -> tuple[Metric, ...]:
        """The metrics that must not be worse by more than their margins."""
        return tuple(metric for metric in METRICS if metric is not self.primary)

    def margin(self, metric: Metric) -> float:
        """How much lower the metric may be, in the unit of its score."""
        return metric.margin(self.rules.evidence.non_inferiority, self.rules.evidence.objective)

    @property
    def not_inferior(self) -> bool:
        """The candidate has to be no worse, and need not be better."""
        return self.rules.evidence.objective == "notInferior"

    @cached_property
    def shift(self) -> float:
        """Difference of the primary metric that must be exceeded, in the unit of its score: 0, or minus the margin."""
        return -self.margin(self.primary) if self.not_inferior else 0.0

    @property
    def boundary(self) -> Boundary:
        """When evidence suffices."""
        began_with = self.basis.boundary if self.basis is not None else None
        return BOUNDARIES[began_with or self.rules.evidence.boundary]

    @property
    def scale_rule(self) -> ScaleRule:
        """What an odd return counts in the scale."""
        return ANYTIME if self.boundary is ANYTIME_BOUNDARY else ROBUST

    @cached_property
    def futility_z(self) -> float | None:
        """Standard errors of optimism before an experiment is given up; None: it never is."""
        evidence = self.rules.evidence
        if not (evidence.futility and self.boundary.futile):
            return None
        return float(evidence.futility_z) if evidence.futility_z is not None else 3.0 if self.not_inferior else 2.0

    @property
    def shadow(self) -> Shadow:
        """Who is asked beside the drawn arm."""
        return self.basis.shadow if self.basis is not None else self.rules.traffic.shadow or "none"

    @cached_property
    def shadow_share(self) -> float:
        """Share of the decisions that a shadow is asked for."""
        return float(self.rules.traffic.shadow_share)

    @property
    def pairing(self) -> Pairing:
        """What tells, beside a row's own outcome, what the other arm would have had."""
        found = _PAIRINGS[self.shadow]
        adjusts = found is Pairing.UNPAIRED and self.rules.evidence.market_adjustment
        return Pairing.MARKET if adjusts else found

    @property
    def by_symbol(self) -> bool:
        """Returns are divided by their symbol's scale first."""
        given = self.rules.evidence.scale_by_symbol
        return given if given is not None else self.basis is not None and self.basis.scale_by_symbol

    @property
    def reference_notional(self) -> float | None:
        """What prices of answers are compared with, in USD; None: not known."""
        return self.basis.reference_notional if self.basis is not None else None

    @property
    def unpriced(self) -> str | None:
        """Why returns cannot be net of the price of answers, naming field and remedy; None: they can, or need not be."""
        if not self.rules.evidence.net_of_cost or (self.reference_notional or 0.0) > 0.0:
            return None
        return (
            "evidence.netOfCost: no notional to compare the price of an answer with; give referenceNotionalUSD of the Endpoint "
            "(evaluate and simulate: --reference-notional-usd)"
        )

    @property
    def reading(self) -> Reading:
        """What is read of a row besides its outcome.

        Raises:
            ValueError: returns cannot be net of the price of answers.
        """
        if self.unpriced is not None:
            raise ValueError(self.unpriced)
        notional = self.reference_notional if self.rules.evidence.net_of_cost else None
        # The older rule shows rows after its end, too; it does not decide on them.
        ends = self.boundary is not ANYTIME_BOUNDARY or self.pairing is not Pairing.UNPAIRED
        return Reading(self.pairing, notional, self.looks if ends else None)

    @cached_property
    def threshold(self) -> float:
        """Logarithm of the evidence that promotes."""
        return self.boundary.log_threshold(self.alpha, self.looks)

    @cached_property
    def threshold_rollback(self) -> float:
        """Logarithm of the evidence that rolls back."""
        return self.boundary.log_threshold(self.alpha_rollback, self.looks)

    @cached_property
    def alpha(self) -> float:
        """Level of this test: evidence.alpha / 2^(retest + accepts)."""
        return float(self.rules.evidence.alpha) / float(2.0 ** (self.retest + len(self.accepts)))

    @cached_property
    def alpha_rollback(self) -> float:
        """Level of the statistical rollback."""
        return float(self.rules.evidence.alpha_rollback)

    @cached_property
    def min_duration(self) -> timedelta:
        """Earliest promotion after the start of the evidence; delays promotion only."""
        return as_timedelta(self.rules.evidence.min_duration)

    @cached_property
    def max_duration(self) -> timedelta:
        """After it an undecided experiment is inconclusive."""
        return as_timedelta(self.rules.evidence.max_duration)

    @property
    def min_trades_per_arm(self) -> int:
        """Rows that each arm needs before any statistical decision."""
        return self.rules.evidence.min_trades_per_arm

    @cached_property
    def max_lost_share(self) -> float:
        """Share of decisions that may be no evidence before promotion waits; 1: any."""
        return float(self.rules.evidence.max_lost_share)

    @cached_property
    def block_length(self) -> timedelta:
        """L."""
        return self.settlement.block_length

    @cached_property
    def block_us(self) -> int:
        """L in microseconds."""
        return self.settlement.block_us

    @property
    def max_blocks(self) -> int:
        """Whole blocks within max_duration, which counts from t0 whatever was accepted."""
        return self.max_duration // self.block_length

    @property
    def looks(self) -> int:
        """Number of looks: whole blocks from the start of the evidence to the end of max_duration."""
        return max(0, self.max_blocks - self.first_block)

    @cached_property
    def policy(self) -> WeightPolicy:
        """How the weight moves."""
        name = self.rules.traffic.policy or (Fixed.name if self._at_shadow_weight else POLICIES[0].name)
        return next(policy for policy in POLICIES if policy.name == name)

    @property
    def _at_shadow_weight(self) -> bool:
        traffic = self.rules.traffic
        return self.shadow == "candidate" and traffic.policy is None and traffic.steps is None

    @cached_property
    def ladder(self) -> Ladder:
        """What the policy moves along."""
        traffic = self.rules.traffic
        weight = SHADOW_WEIGHT if self._at_shadow_weight else None if traffic.weight is None else float(traffic.weight)
        return Ladder(weight, tuple(map(_step, traffic.steps or ())))


def _step(step: WeightStep) -> Step:
    return Step(float(step.weight), None if step.duration is None else as_timedelta(step.duration))
