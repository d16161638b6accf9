"""What decides an experiment: evidence, traffic and guardrails, as users write them.

Belongs here: the fields, their bounds and the rules across them. Does not belong here: numbers made of them
(spec.py). The margins, the guardrails' fields and the names of metrics and policies come from their lists.
"""

from decimal import Decimal
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tradewind.schema.checked import Checked
from tradewind.schema.rules import Rule, StrictModel
from tradewind.schema.scalars import Duration, Fraction, OneOf, Probability, as_timedelta, cel_number, cel_seconds
from tradewind.trading.evidence.guardrails import GUARDRAILS
from tradewind.trading.evidence.metrics import METRICS
from tradewind.trading.evidence.policies import POLICIES, Use, WeightPolicy

MIN_BLOCKS = 7
"""Blocks that are needed before any statistical decision."""

MetricName = Annotated[str, OneOf(tuple(metric.name for metric in METRICS))]
PolicyName = Annotated[str, OneOf(tuple(policy.name for policy in POLICIES))]


class WeightStep(StrictModel):
    """One level of the candidate's share of decisions."""

    weight: Fraction
    """Share of decisions that the candidate is drawn for."""
    duration: Duration | None = None
    """How long the level lasts (policy schedule, ramp); absent: until the policy moves on."""


class NonInferiority(*(metric.settings for metric in METRICS)):  # type: ignore[misc]
    """How much worse the candidate may be: on the other metric, and with objective notInferior on the primary one too."""


FutilityZ = Annotated[
    str, Checked("[0-9]([.][0-9]{1,4})?", "must be a number from 0 to 9.9999 in quotes, such as '2' or '2.5'", 8)
]
"""Standard errors."""


class EvidenceSettings(StrictModel):
    """What must be shown before anything is promoted."""

    primary: MetricName = METRICS[0].name
    """Metric that must be better; the other must not be worse by more than its margin."""
    objective: Literal["superior", "notInferior"] = "superior"
    """superior: the candidate must be better. notInferior: it must not be worse by more than nonInferiority, for a
    candidate that is cheaper or faster."""
    boundary: Literal["fixedHorizon", "anytime"] = "fixedHorizon"
    """fixedHorizon: uses that the experiment ends after maxDuration, and decides sooner. anytime: a boundary that knows no
    end, without futility."""
    alpha: Probability = "0.05"
    """Chance of promoting a candidate that is no better, over the whole experiment however often it is looked at."""
    alpha_rollback: Probability = "0.10"
    """The same for rolling back a candidate that is no worse."""
    non_inferiority: NonInferiority = NonInferiority()
    """How much worse the candidate may be; on the primary metric with objective notInferior only."""
    min_effect: Probability = "0.1"
    """Smallest difference of interest, in the unit of the primary metric: what the forecast is made for. No verdict depends
    on it."""
    futility: bool = True
    """Whether an experiment that can hardly succeed any more ends early as inconclusive."""
    futility_z: FutilityZ | None = None
    """Standard errors of optimism that are granted before it ends early; absent: 2, with objective notInferior 3."""
    net_of_cost: bool = False
    """Whether returns are net of the price of the answers. Needs the notional that a price is compared with: 30 trades of the
    baseline before the start, or referenceNotionalUSD of the Endpoint."""
    market_adjustment: bool = False
    """Whether the market's move over the paper's horizon sharpens the comparison; for experiments without a shadow."""
    scale_by_symbol: bool | None = None
    """Whether returns are first divided by a scale of their symbol; absent: unless the Endpoint's limits name one symbol
    only."""
    min_duration: Duration = "14d"
    """Promotion waits at least so long; rollback does not."""
    max_duration: Duration = "84d"
    """After this time without a verdict the experiment is inconclusive and the baseline stays."""
    min_trades_per_arm: Annotated[int, Field(ge=30, le=1_000_000)] = 30
    """Decisions of each arm before any verdict."""
    max_lost_share: Fraction = "0.1"
    """Share of decisions that may be no evidence (reports refused or missing, outages, trades inside a trade) before
    promotion waits; '1': any share."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.minDuration) || !has(self.maxDuration) || "
            f"{cel_seconds('self.minDuration')} <= {cel_seconds('self.maxDuration')}",
            lambda s: as_timedelta(s.min_duration) <= as_timedelta(s.max_duration),
            "minDuration must not be longer than maxDuration: lower minDuration or raise maxDuration",
            "minDuration",
        ),
        Rule(
            f"!has(self.maxDuration) || {cel_seconds('self.maxDuration')} >= 604800",
            lambda s: as_timedelta(s.max_duration).days >= MIN_BLOCKS,
            "maxDuration must be at least 7d: no verdict is reached before 7 blocks of a day",
            "maxDuration",
        ),
        Rule(
            f"!has(self.alpha) || {cel_number('self.alpha')} <= 0.25",
            lambda s: Decimal(s.alpha) <= Decimal("0.25"),
            "alpha must be at most 0.25: above it a promotion shows nothing",
            "alpha",
        ),
        Rule(
            f"!has(self.maxLostShare) || {cel_number('self.maxLostShare')} > 0.0",
            lambda s: Decimal(s.max_lost_share) > 0,
            "maxLostShare must be above 0: one lost report would hold every promotion; '1' never holds one",
            "maxLostShare",
        ),
        Rule(
            "!has(self.boundary) || self.boundary != 'anytime' || !has(self.futilityZ)",
            lambda s: s.boundary != "anytime" or s.futility_z is None,
            "futilityZ goes with boundary fixedHorizon: leave it out, an experiment without an end cannot be futile",
            "futilityZ",
        ),
    )


Shadow = Literal["none", "candidate", "both"]
"""Who is asked beside the drawn arm."""

_STEPS = "(!has(self.steps) || "
_DEFAULT_POLICY = POLICIES[0].name


def _cel_in(policies: tuple[WeightPolicy, ...]) -> str:
    """CEL of: the policy is one of these, the default included."""
    listed = f"self.policy in {[policy.name for policy in policies]}"
    return f"(!has(self.policy) || {listed})" if POLICIES[0] in policies else f"(has(self.policy) && {listed})"


def _with(field: str, *uses: Use) -> tuple[WeightPolicy, ...]:
    return tuple(policy for policy in POLICIES if getattr(policy, field) in uses)


def _names(policies: tuple[WeightPolicy, ...]) -> str:
    return " or ".join(policy.name for policy in policies)


def _is(name: str | None, policies: tuple[WeightPolicy, ...]) -> bool:
    return (name or _DEFAULT_POLICY) in {policy.name for policy in policies}


_WEIGHTED = _with("weight", Use.REQUIRED)
_STEPPED = _with("steps", Use.REQUIRED, Use.OPTIONAL)
_MUST_STEP = _with("steps", Use.REQUIRED)
_TIMED = tuple(policy for policy in POLICIES if policy.timed)
_UNTIMED = tuple(policy for policy in _STEPPED if not policy.timed)


def cel_rising(steps: str) -> str:
    """CEL of: the weights of the steps rise."""
    return (
        f"({steps}.map(s, {cel_number('s.weight')}).isSorted() && "
        f"{steps}.all(s, {steps}.exists_one(t, {cel_number('t.weight')} == {cel_number('s.weight')})))"
    )


def rising(steps: tuple[WeightStep, ...]) -> bool:
    """Whether the weights of the steps rise."""
    return all(a < b for a, b in pairwise(Decimal(step.weight) for step in steps))


class TrafficSettings(StrictModel):
    """How the candidate's share of decisions moves while evidence gathers."""

    policy: PolicyName | None = None
    """Absent: gated, or with shadow candidate and without steps: fixed at 0.25. gated: up and down the steps on evidence. fixed: one weight. schedule: each step for its duration.
    thompsonCapped: with the evidence, from 0.10 to 0.50."""
    weight: Probability | None = None
    """Weight of policy fixed, such as '0.5'."""
    steps: Annotated[tuple[WeightStep, ...], Field(min_length=1, max_length=16)] | None = None
    """Weights of policy gated (absent: 0.10, 0.25, 0.50) or schedule, rising, above 0 and at most 0.5."""
    shadow: Shadow | None = None
    """Who is asked beside the drawn arm, without delaying its answer, and settled on paper. candidate: the candidate, whenever
    the baseline was drawn. both: whichever was not drawn. Absent: candidate where the candidate is owned and the baseline
    external, both where both are owned, else none."""
    shadow_share: Fraction = "1"
    """Share of the decisions that a shadow is asked for, drawn by hash."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"{_cel_in(_WEIGHTED)} == has(self.weight)",
            lambda s: _is(s.policy, _WEIGHTED) == (s.weight is not None),
            f"traffic.weight goes with policy {_names(_WEIGHTED)} and with no other: set weight (such as '0.5'), or use steps",
            "weight",
        ),
        Rule(
            f"!has(self.weight) || {cel_number('self.weight')} <= 0.5",
            lambda s: s.weight is None or Decimal(s.weight) <= Decimal("0.5"),
            "traffic.weight must be at most 0.5: before a verdict the candidate answers at most half",
            "weight",
        ),
        Rule(
            f"!has(self.steps) || {_cel_in(_STEPPED)}",
            lambda s: s.steps is None or _is(s.policy, _STEPPED),
            f"traffic.steps go with policy {_names(_STEPPED)}: leave them out with another policy",
            "steps",
        ),
        Rule(
            f"has(self.steps) || !{_cel_in(_MUST_STEP)}",
            lambda s: s.steps is not None or not _is(s.policy, _MUST_STEP),
            f"policy {_names(_MUST_STEP)} needs traffic.steps, each with weight and duration",
            "steps",
        ),
        Rule(
            _STEPS + f"self.steps.all(s, {cel_number('s.weight')} > 0.0 && {cel_number('s.weight')} <= 0.5))",
            lambda s: s.steps is None or all(0 < Decimal(x.weight) <= Decimal("0.5") for x in s.steps),
            "each weight of traffic.steps must be above 0 and at most 0.5: "
            "before a verdict the candidate answers at most half",
            "steps",
        ),
        Rule(
            _STEPS + cel_rising("self.steps") + ")",
            lambda s: s.steps is None or rising(s.steps),
            "the weights of traffic.steps must rise from step to step",
            "steps",
        ),
        Rule(
            _STEPS + f"self.steps.all(s, has(s.duration) == {_cel_in(_TIMED)}))",
            lambda s: s.steps is None or all((x.duration is not None) == _is(s.policy, _TIMED) for x in s.steps),
            f"policy {_names(_TIMED)} needs a duration at each step; "
            f"policy {_names(_UNTIMED)} moves on evidence and takes none",
            "steps",
        ),
        Rule(
            _STEPS + f"self.steps.all(s, !has(s.duration) || {cel_seconds('s.duration')} > 0))",
            lambda s: s.steps is None or all(x.duration is None or as_timedelta(x.duration) for x in s.steps),
            "each duration of traffic.steps must be above 0",
            "steps",
        ),
    )


class GuardrailSettings(*(guardrail.settings for guardrail in reversed(GUARDRAILS))):  # type: ignore[misc]
    """Reasons to set the weight to 0 at once, in Ramping too. Nothing resumes by itself."""


class ExperimentRules(StrictModel):
    """All that users say about how an experiment is decided."""

    evidence: EvidenceSettings = EvidenceSettings()
    """What must be shown before anything is promoted."""
    traffic: TrafficSettings = TrafficSettings()
    """How the candidate's share of decisions moves."""
    guardrails: GuardrailSettings = GuardrailSettings()
    """Reasons to set the weight to 0 at once."""
