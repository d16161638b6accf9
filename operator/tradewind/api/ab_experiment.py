"""ABExperiment: a comparison of two ModelVersions on an Endpoint's decisions, with the rules that decide it.

Belongs here: the fields of the kind and the rules across them. Does not belong here: the statistic itself (trading/)
and what the operator does with the verdict.
"""

from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tradewind.api.ab_experiment_status import ABExperimentStatus
from tradewind.api.common import (
    LatencyObjective,
    LocalRef,
    Resource,
    WeightStep,
)
from tradewind.schema.rules import Immutable, Rule, StrictModel
from tradewind.schema.scalars import (
    DecimalText,
    Duration,
    Fraction,
    Name,
    PositiveDecimal,
    Probability,
    Timestamp,
    as_timedelta,
    cel_number,
    cel_seconds,
)


class Mode(StrEnum):
    """Whether the experiment runs on live decisions or on recorded data."""

    LIVE = "Live"
    REPLAY = "Replay"


class Policy(StrEnum):
    """How the candidate's weight moves."""

    GATED = "gated"
    FIXED = "fixed"
    SCHEDULE = "schedule"
    THOMPSON_CAPPED = "thompsonCapped"


class NonInferiority(StrictModel):
    """How much worse the candidate may be on the other metric."""

    win_rate: Probability = "0.05"
    """Margin of the win rate, where sharpe is primary."""
    sharpe: Probability = "0.05"
    """Margin of the per-decision Sharpe ratio, where winRate is primary."""


class Evidence(StrictModel):
    """What must be shown before anything is promoted."""

    primary: Literal["sharpe", "winRate"] = "sharpe"
    """Metric that must be better; the other must not be worse by more than its margin."""
    alpha: Probability = "0.05"
    """Chance of promoting a candidate that is no better, over the whole experiment however often it is looked at."""
    alpha_rollback: Probability = "0.10"
    """The same for rolling back a candidate that is no worse."""
    non_inferiority: NonInferiority = NonInferiority()
    """How much worse the candidate may be on the other metric."""
    min_duration: Duration = "14d"
    """Promotion waits at least so long; rollback does not."""
    max_duration: Duration = "84d"
    """After this time without a verdict the experiment is inconclusive and the baseline stays."""
    min_trades_per_arm: Annotated[int, Field(ge=30, le=1_000_000)] = 30
    """Decisions of each arm before any verdict."""

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
            lambda s: as_timedelta(s.max_duration).days >= 7,
            "maxDuration must be at least 7d: no verdict is reached before 7 blocks of a day",
            "maxDuration",
        ),
        Rule(
            f"!has(self.alpha) || {cel_number('self.alpha')} <= 0.25",
            lambda s: Decimal(s.alpha) <= Decimal("0.25"),
            "alpha must be at most 0.25: above it a promotion shows nothing",
            "alpha",
        ),
    )


_STEPS = "(!has(self.steps) || "


def _cel_rising(steps: str) -> str:
    return (
        f"({steps}.map(s, {cel_number('s.weight')}).isSorted() && "
        f"{steps}.all(s, {steps}.exists_one(t, {cel_number('t.weight')} == {cel_number('s.weight')})))"
    )


class Traffic(StrictModel):
    """How the candidate's share of decisions moves while evidence gathers."""

    policy: Policy = Policy.GATED
    """gated: up and down the steps on evidence. fixed: one weight. schedule: each step for its duration.
    thompsonCapped: with the evidence, from 0.10 to 0.50."""
    weight: Probability | None = None
    """Weight of policy fixed, such as '0.5'."""
    steps: Annotated[tuple[WeightStep, ...], Field(min_length=1, max_length=16)] | None = None
    """Weights of policy gated (absent: 0.10, 0.25, 0.50) or schedule, rising, above 0 and at most 0.5."""
    mirror: bool = False
    """Whether the arm that was not drawn is asked too, without effect and without evidence."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.policy) && self.policy == 'fixed') == has(self.weight)",
            lambda s: (s.policy is Policy.FIXED) == (s.weight is not None),
            "traffic.weight goes with policy fixed and with no other: set weight (such as '0.5'), or use steps",
            "weight",
        ),
        Rule(
            f"!has(self.weight) || {cel_number('self.weight')} <= 0.5",
            lambda s: s.weight is None or Decimal(s.weight) <= Decimal("0.5"),
            "traffic.weight must be at most 0.5: before a verdict the candidate answers at most half",
            "weight",
        ),
        Rule(
            "!has(self.steps) || !has(self.policy) || self.policy in ['gated', 'schedule']",
            lambda s: s.steps is None or s.policy in {Policy.GATED, Policy.SCHEDULE},
            "traffic.steps go with policy gated or schedule: leave them out with another policy",
            "steps",
        ),
        Rule(
            "has(self.steps) || !has(self.policy) || self.policy != 'schedule'",
            lambda s: s.steps is not None or s.policy is not Policy.SCHEDULE,
            "policy schedule needs traffic.steps, each with weight and duration",
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
            _STEPS + _cel_rising("self.steps") + ")",
            lambda s: s.steps is None or _rising(s.steps),
            "the weights of traffic.steps must rise from step to step",
            "steps",
        ),
        Rule(
            _STEPS + "self.steps.all(s, has(s.duration) == (has(self.policy) && self.policy == 'schedule')))",
            lambda s: (
                s.steps is None or all((x.duration is not None) == (s.policy is Policy.SCHEDULE) for x in s.steps)
            ),
            "policy schedule needs a duration at each step; policy gated moves on evidence and takes none",
            "steps",
        ),
        Rule(
            _STEPS + f"self.steps.all(s, !has(s.duration) || {cel_seconds('s.duration')} > 0))",
            lambda s: s.steps is None or all(x.duration is None or as_timedelta(x.duration) for x in s.steps),
            "each duration of traffic.steps must be above 0",
            "steps",
        ),
    )


def _rising(steps: tuple[WeightStep, ...]) -> bool:
    weights = [Decimal(step.weight) for step in steps]
    return all(a < b for a, b in pairwise(weights))


class FastHarm(StrictModel):
    """Stops a candidate that loses clearly more often, within days."""

    enabled: bool = True
    """Whether the guardrail is on."""
    margin: Probability = "0.10"
    """How much lower the win rate may be."""


_LOW, _HIGH = (cel_number(f"self.exposureRatio[{index}]") for index in (0, 1))


def _around_one(low: Decimal, high: Decimal) -> bool:
    return low <= 1 <= high and low < high


class Guardrails(StrictModel):
    """Reasons to set the weight to 0 at once, in Ramping too. Nothing resumes by itself."""

    fast_harm: FastHarm = FastHarm()
    """Stops a candidate that loses clearly more often."""
    error_rate: Probability = "0.02"
    """Share of errors, timeouts and invalid answers that the candidate may have."""
    latency_objective: LatencyObjective | None = None
    """Latency that the candidate must keep; absent: its serving.latencyObjective."""
    latency_share: Probability = "0.05"
    """Share of answers that may be slower than the objective."""
    risk_budget_usd: PositiveDecimal | None = None
    """Loss of the candidate that ends the experiment; absent: 3 sigma of the baseline over the expected decisions."""
    exposure_ratio: Annotated[tuple[PositiveDecimal, ...], Field(min_length=2, max_length=2)] = ("0.5", "2")
    """Lowest and highest ratio of the arms' mean exposure; outside of it promotion holds."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.exposureRatio) || self.exposureRatio.size() != 2 "
            f"|| ({_LOW} <= 1.0 && {_HIGH} >= 1.0 && {_LOW} < {_HIGH})",
            lambda s: _around_one(*map(Decimal, s.exposure_ratio)),
            "exposureRatio must be [lowest, highest] around 1, such as ['0.5', '2']",
            "exposureRatio",
        ),
    )


class OnPromote(StrictModel):
    """What happens after a verdict for the candidate."""

    approval: Literal["auto", "manual"] = "auto"
    """manual: the ramp waits for the annotation tradewind.dev/approve."""
    ramp: Annotated[tuple[WeightStep, ...], Field(max_length=8)] = (
        WeightStep(weight="0.5", duration="1d"),
        WeightStep(weight="0.75", duration="1d"),
        WeightStep(weight="1", duration="0s"),
    )
    """Weights on the way to all decisions, rising; empty: at once."""
    stability: Duration = "7d"
    """Time without a fault (5xx, restart, fallback share above 1 %) before the experiment succeeds."""
    holdback: Fraction = "0"
    """Share of decisions that the old champion keeps after the ramp until the experiment succeeds."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"!has(self.ramp) || {_cel_rising('self.ramp')}",
            lambda s: _rising(s.ramp),
            "the weights of onPromote.ramp must rise from step to step",
            "ramp",
        ),
        Rule(
            f"!has(self.ramp) || self.ramp.all(s, has(s.duration) && {cel_number('s.weight')} > 0.0)",
            lambda s: all(x.duration is not None and Decimal(x.weight) > 0 for x in s.ramp),
            "each step of onPromote.ramp needs a duration and a weight above 0",
            "ramp",
        ),
        Rule(
            f"!has(self.holdback) || {cel_number('self.holdback')} <= 0.5",
            lambda s: Decimal(s.holdback) <= Decimal("0.5"),
            "holdback must be at most 0.5",
            "holdback",
        ),
    )


class Replay(StrictModel):
    """Window of recorded data that the experiment runs on."""

    start_time: Timestamp
    """Start of the first block (t0)."""
    end_time: Timestamp | None = None
    """End of the data; absent: until maxDuration."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.endTime) || self.endTime > self.startTime",
            lambda s: s.end_time is None or s.end_time > s.start_time,
            "replay.endTime must be later than replay.startTime",
            "endTime",
        ),
    )


class ExperimentCosts(StrictModel):
    """Prices for the cost-benefit check."""

    monthly_server_cny: DecimalText | None = None
    """Cost of serving the candidate for a month in CNY."""
    baseline_price_per_call_cny: DecimalText | None = None
    """Price of one decision of the baseline in CNY; absent: its external.pricePerCallCNY."""


class ExperimentSettings(StrictModel):
    """What an experiment and a schedule's template of experiments share."""

    evidence: Evidence = Evidence()
    """What must be shown before anything is promoted."""
    traffic: Traffic = Traffic()
    """How the candidate's share of decisions moves."""
    guardrails: Guardrails = Guardrails()
    """Reasons to set the weight to 0 at once."""
    on_promote: OnPromote = OnPromote()
    """What happens after a verdict for the candidate."""
    on_inconclusive: Literal["keepBaseline"] = "keepBaseline"
    """What happens after maxDuration without a verdict: the baseline stays and the candidate's weight is 0."""
    retest: Literal["never", "allowed"] = "never"
    """Whether a pair that was compared before may be compared again; the k-th test runs at alpha/2^k."""
    costs: ExperimentCosts = ExperimentCosts()
    """Prices for the cost-benefit check."""


class ABExperimentSpec(ExperimentSettings):
    """What the user wants of an ABExperiment. Fixed once created, but for onPromote and costs."""

    endpoint_ref: LocalRef
    """The Endpoint whose decisions are compared."""
    candidate: Name
    """ModelVersion that wants to become champion."""
    baseline: Name | None = None
    """ModelVersion that it is compared with; absent: the Endpoint's champion at the start."""
    mode: Mode = Mode.LIVE
    """Live: on decisions as they come. Replay: on recorded data, on an Endpoint with clock replay."""
    replay: Replay | None = None
    """Window of recorded data, with mode Replay."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.baseline) || self.baseline != self.candidate",
            lambda s: s.baseline != s.candidate,
            "candidate must be another ModelVersion than baseline",
            "candidate",
        ),
        Rule(
            "!has(self.mode) || self.mode != 'Replay' || has(self.replay)",
            lambda s: s.mode is not Mode.REPLAY or s.replay is not None,
            "mode Replay needs replay.startTime, the start of the recorded window",
            "replay",
        ),
        Rule(
            "!has(self.replay) || (has(self.mode) && self.mode == 'Replay')",
            lambda s: s.replay is None or s.mode is Mode.REPLAY,
            "replay goes with mode Replay: set mode: Replay or leave replay out",
            "replay",
        ),
    )
    immutable: ClassVar[Immutable | None] = Immutable(
        "abort this ABExperiment and create a new one, evidence is never carried over",
        mutable=frozenset({"onPromote", "costs"}),
    )


class ABExperiment(Resource):
    """A comparison of two ModelVersions on an Endpoint's decisions."""

    kind: Literal["ABExperiment"] = "ABExperiment"
    spec: ABExperimentSpec
    status: ABExperimentStatus = ABExperimentStatus()
