"""ABExperiment: a comparison of two ModelVersions on an Endpoint's decisions, with the rules that decide it.

Belongs here: the fields of the kind and the rules across them. Does not belong here: evidence, traffic and guardrails with
their bounds (trading/evidence), and what the operator does with the verdict.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tradewind.api.ab_experiment_status import ABExperimentStatus
from tradewind.api.common import LocalRef, Resource
from tradewind.schema.rules import Immutable, Rule, StrictModel
from tradewind.schema.scalars import DecimalText, Duration, Fraction, Name, Timestamp, cel_number
from tradewind.trading.evidence import ExperimentRules, WeightStep
from tradewind.trading.evidence.settings import cel_rising, rising


class Mode(StrEnum):
    """Whether the experiment runs on live decisions or on recorded data."""

    LIVE = "Live"
    REPLAY = "Replay"


class OnPromote(StrictModel):
    """What happens after a verdict for the candidate."""

    approval: Literal["auto", "manual"] = "auto"
    """manual: the ramp waits for the annotation tradewind.dev/approve. auto: it does so only where the Endpoint's
    allowAutoPromote is false."""
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
            f"!has(self.ramp) || {cel_rising('self.ramp')}",
            lambda s: rising(s.ramp),
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


class ExperimentSettings(ExperimentRules):
    """What an experiment and a schedule's template of experiments share."""

    on_promote: OnPromote = OnPromote()
    """What happens after a verdict for the candidate."""
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
