"""What the parts of an ABExperiment's decision share: its facts, its reasons, and how its status is written."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.ab_experiment_status import ABExperimentStatus, HistoryEntry
from tradewind.api.common import LatencyObjective, WeightStatus
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.core.arms import arm_statuses, comparison
from tradewind.core.conditions import Fact, with_facts
from tradewind.core.costs import cost_benefit
from tradewind.core.endpoint import EpochRow
from tradewind.core.evidence import evidence_status, guardrail_status, max_hold, risk_budget
from tradewind.schema.scalars import as_milliseconds
from tradewind.trading.evidence import EvidenceSpec, Judgement, Requests, TradeTable, evidence_spec_from_mapping, judge

HISTORY_LENGTH = 50
LIVE_LOOK = timedelta(seconds=30)
_SHOWN_EVERY = timedelta(seconds=10)


class Reason(StrEnum):
    """Why a condition says what it says. Verdicts bring their own reasons from the statistic."""

    ENDPOINT_MISSING = "EndpointMissing"
    ENDPOINT_BUSY = "EndpointBusy"
    CLOCK_MISMATCH = "ClockMismatch"
    VERSION_MISSING = "VersionMissing"
    VERSION_NOT_READY = "VersionNotReady"
    SAME_VERSION = "SameVersion"
    ALREADY_TESTED = "AlreadyTested"
    DATABASE_UNREACHABLE = "DatabaseUnreachable"
    UNSUPPORTED = "Unsupported"
    ADMISSIBLE = "Admissible"
    STARTED = "Started"
    RUNNING = "Running"
    PAUSED = "Paused"
    APPROVAL_NEEDED = "ApprovalNeeded"
    RAMPING = "Ramping"
    RAMP_STEP = "RampStep"
    STABILISING = "Stabilising"
    PROMOTED = "Promoted"
    ABORTED = "Aborted"
    ABORTING = "Aborting"
    REPLAY_ENDED = "ReplayEnded"


@dataclass(frozen=True, slots=True)
class Seen:
    """Facts about an experiment; None is: not there, or not known.

    Attributes:
        table: every evidence row, and the baseline's decisions before t0 with weight 0.
        requests: every evidence request with latency, error and cost, in time order.
        epochs: stored weights of this experiment.
        clock: newest `as_of` that a replay asked for.
        tested_before: how often this pair was compared before this experiment started.
    """

    endpoint: Endpoint | None = None
    versions: Mapping[str, ModelVersion] = field(default_factory=dict)
    table: TradeTable | None = None
    requests: Requests | None = None
    epochs: tuple[EpochRow, ...] = ()
    clock: datetime | None = None
    tested_before: int = 0
    database_error: str | None = None


def spec_of(experiment: ABExperiment, seen: Seen) -> EvidenceSpec:
    """The statistic's specification of this experiment, at the level of its retest."""
    assert seen.endpoint is not None
    hold = max_hold(experiment, seen.endpoint)
    return evidence_spec_from_mapping(experiment.spec.to_manifest(), max_hold=hold, retest=seen.tested_before)


def baseline_name(experiment: ABExperiment, endpoint: Endpoint) -> str | None:
    """The baseline: as it was at the start, as the spec names it, or the Endpoint's champion."""
    if experiment.status.baseline_ref is not None:
        return experiment.status.baseline_ref.name
    if experiment.spec.baseline is not None:
        return experiment.spec.baseline
    return endpoint.status.champion_ref.name if endpoint.status.champion_ref else None


def latency_objective(experiment: ABExperiment, seen: Seen) -> LatencyObjective | None:
    """Latency that the candidate must keep: the experiment's, else its own; None for an external API without one."""
    wanted, candidate = experiment.spec.guardrails.latency_objective, seen.versions.get(experiment.spec.candidate)
    if wanted is not None or candidate is None or candidate.spec.external is not None:
        return wanted
    return candidate.spec.serving.latency_objective


def judge_at(experiment: ABExperiment, seen: Seen, spec: EvidenceSpec, t0: datetime, look: datetime) -> Judgement:
    """Evidence, guardrails and verdict at `look`, from what is known of the requests before it."""
    assert seen.table is not None
    assert seen.requests is not None
    objective = experiment.status.latency_objective or latency_objective(experiment, seen)
    slow_ms = as_milliseconds(objective.p99) if objective else math.inf
    log = seen.requests.log(look, slow_ms, t0 + spec.block_length)
    return judge(seen.table, t0, look, spec, log)


def shown(
    experiment: ABExperiment,
    status: ABExperimentStatus,
    seen: Seen,
    judgement: Judgement,
    look: datetime,
    now: datetime,
) -> ABExperimentStatus:
    """The status with the numbers of this look, written down `now`."""
    assert seen.requests is not None
    assert seen.table is not None
    t0, spec, baseline = status.t0, spec_of(experiment, seen), status.baseline_ref.name if status.baseline_ref else ""
    assert t0 is not None
    arms = arm_statuses(seen.table, seen.requests, t0, look, baseline, experiment.spec.candidate)
    costs = cost_benefit(experiment.spec.costs, seen.versions.get(baseline), seen.requests, t0, look)
    if costs is not None:
        status = with_conditions(experiment, status, [costs], now)
    return status.model_copy(
        update={
            "evidence": evidence_status(judgement, spec),
            "guardrails": guardrail_status(judgement),
            "risk_budget_usd": risk_budget(judgement),
            "arms": arms,
            "comparison": comparison(seen.table, t0, look),
            "last_evaluated_time": look.replace(microsecond=0),
        }
    )


def to_be_shown(status: ABExperimentStatus, now: datetime) -> bool:
    """Whether the numbers are ten seconds old: each write of a status is an event, and an event is another look."""
    last = status.last_evaluated_time
    return last is None or not timedelta(0) <= now - last < _SHOWN_EVERY


def weighted(status: ABExperimentStatus, weight: Decimal) -> ABExperimentStatus:
    """The status with the weight that the policy asks for."""
    return status.model_copy(update={"weight": WeightStatus(desired=f"{weight:f}")})


def handled(status: ABExperimentStatus, verb: str, request: str) -> ABExperimentStatus:
    """The status with a verb carried out: its request id never acts again."""
    return status.model_copy(update={"last_handled": {**status.last_handled, verb: request}})


def history(status: ABExperimentStatus, entry: HistoryEntry) -> tuple[HistoryEntry, ...]:
    """What happened, the newest last, bounded."""
    return (*status.history, entry)[-HISTORY_LENGTH:]


def with_conditions(
    experiment: ABExperiment, status: ABExperimentStatus, facts: list[Fact], now: datetime
) -> ABExperimentStatus:
    """The status with these facts as its conditions."""
    generation = experiment.metadata.generation
    conditions = with_facts(status.conditions, facts, generation=generation, now=now)
    return status.model_copy(update={"observed_generation": generation, "conditions": conditions})
