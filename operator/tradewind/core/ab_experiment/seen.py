"""Facts about an ABExperiment, and the words that its parts share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.core.endpoint import EpochRow
from tradewind.trading.evidence import Requests, TradeTable


class Reason(StrEnum):
    """Why a condition says what it says. Verdicts and weights bring their own reasons from the statistic."""

    ENDPOINT_MISSING = "EndpointMissing"
    ENDPOINT_BUSY = "EndpointBusy"
    CLOCK_MISMATCH = "ClockMismatch"
    VERSION_MISSING = "VersionMissing"
    VERSION_NOT_READY = "VersionNotReady"
    SAME_VERSION = "SameVersion"
    ALREADY_TESTED = "AlreadyTested"
    TOO_SHORT = "DurationTooShort"
    DATABASE_UNREACHABLE = "DatabaseUnreachable"
    ADMISSIBLE = "Admissible"
    STARTED = "Started"
    RUNNING = "Running"
    NOT_ROUTED = "NotRouted"
    PAUSED = "Paused"
    APPROVAL_NEEDED = "ApprovalNeeded"
    RAMPING = "Ramping"
    RAMP_STEP = "RampStep"
    STABILISING = "Stabilising"
    PROMOTED = "Promoted"
    ABORTED = "Aborted"
    ABORTING = "Aborting"
    DECISION_FAILED = "DecisionFailed"
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
