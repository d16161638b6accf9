"""All that a verdict depends on besides the rows, t0 and now: what users wrote, and what was fixed at the start.

Belongs here: the numbers that follow from the settings. Does not belong here: the settings themselves, their bounds and
defaults (settings.py), and any look at data.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

from tradewind.schema.scalars import as_timedelta
from tradewind.trading.evidence.blocks import Settlement
from tradewind.trading.evidence.metrics import METRICS, Metric
from tradewind.trading.evidence.policies import POLICIES, Ladder, Step, WeightPolicy
from tradewind.trading.evidence.settings import MIN_BLOCKS, ExperimentRules, WeightStep


@dataclass(frozen=True)
class EvidenceSpec:
    """What a verdict rests on besides the rows.

    Attributes:
        rules: what users wrote: evidence, traffic, guardrails.
        settlement: maxHold of the Endpoint at the start, and the blocks that follow from it.
        retest: number of earlier tests of the same pair; this one runs at alpha / 2^retest.
        replay: on recorded data; latency is not watched there.

    Raises:
        ValueError: retest is negative.
    """

    rules: ExperimentRules = field(default_factory=ExperimentRules)
    settlement: Settlement = field(default_factory=Settlement)
    retest: int = 0
    replay: bool = False

    def __post_init__(self) -> None:
        if self.retest < 0:
            raise ValueError(f"retest: {self.retest}; give a whole number from 0 up")

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
        return metric.margin(self.rules.evidence.non_inferiority)

    @cached_property
    def alpha(self) -> float:
        """Level of this test: evidence.alpha / 2^retest."""
        return float(self.rules.evidence.alpha) / float(2.0**self.retest)

    @cached_property
    def alpha_rollback(self) -> float:
        """Level of the statistical rollback."""
        return float(self.rules.evidence.alpha_rollback)

    @cached_property
    def min_duration(self) -> timedelta:
        """Earliest promotion after t0; delays promotion only."""
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
        """Number of looks: whole blocks within max_duration."""
        return self.max_duration // self.block_length

    @cached_property
    def policy(self) -> WeightPolicy:
        """How the weight moves."""
        return next(policy for policy in POLICIES if policy.name == self.rules.traffic.policy)

    @cached_property
    def ladder(self) -> Ladder:
        """What the policy moves along."""
        traffic = self.rules.traffic
        weight = None if traffic.weight is None else float(traffic.weight)
        return Ladder(weight, tuple(map(_step, traffic.steps or ())))


def _step(step: WeightStep) -> Step:
    return Step(float(step.weight), None if step.duration is None else as_timedelta(step.duration))
