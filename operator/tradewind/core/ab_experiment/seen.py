"""Facts about an ABExperiment, and the words that its parts share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.core.ab_experiment.prices import Prior
from tradewind.core.endpoint import EpochRow
from tradewind.trading.evidence import LostDecisions, Memory, Requests, TradeTable
from tradewind.trading.evidence.forecast import PastDecisions


class Reason(StrEnum):
    """Why a condition of an ABExperiment says what it says. Verdicts and weights have reasons of their own."""

    ENDPOINT_MISSING = "EndpointMissing"
    """The Endpoint that the spec names does not exist."""
    ENDPOINT_BUSY = "EndpointBusy"
    """Another experiment holds the Endpoint; this one waits."""
    CLOCK_MISMATCH = "ClockMismatch"
    """Mode Live needs an Endpoint with clock live, mode Replay one with clock replay."""
    VERSION_MISSING = "VersionMissing"
    """Baseline or candidate does not exist."""
    VERSION_NOT_READY = "VersionNotReady"
    """Baseline or candidate is not Ready yet, or the Endpoint has no champion to compare with."""
    SAME_VERSION = "SameVersion"
    """The candidate is the baseline already."""
    ALREADY_TESTED = "AlreadyTested"
    """The pair was compared before, and the spec allows no retest."""
    TOO_SHORT = "DurationTooShort"
    """maxDuration leaves no room for a verdict: too few blocks of maxHold fit into it."""
    DATABASE_UNREACHABLE = "DatabaseUnreachable"
    """The database does not answer, so that there is no evidence; weights expire."""
    ADMISSIBLE = "Admissible"
    """Everything is there to start with."""
    STARTED = "Started"
    """The experiment took the Endpoint; its first block began."""
    RUNNING = "Running"
    """Evidence is collected."""
    NOT_ROUTED = "NotRouted"
    """The Endpoint does not route to this experiment."""
    PAUSED = "Paused"
    """The verb pause: the candidate's weight is 0 until resume."""
    APPROVAL_NEEDED = "ApprovalNeeded"
    """There is a verdict for the candidate; the ramp waits for the verb approve."""
    RAMPING = "Ramping"
    """The candidate was promoted and takes over step by step."""
    RAMP_STEP = "RampStep"
    """The candidate's weight is that of a step of the ramp."""
    STABILISING = "Stabilising"
    """The candidate answers everything; the time without a fault is counted."""
    PROMOTED = "Promoted"
    """The candidate became champion, ramped and stable."""
    ACCEPTED = "Accepted"
    """The verb accept: what an arm has become is compared from the next block on, and the evidence starts anew."""
    NOTHING_TO_ACCEPT = "NothingToAccept"
    """The verb accept was refused: no arm has changed."""
    APPROVED = "Approved"
    """The verb approve: the ramp begins."""
    RESUMED = "Resumed"
    """The verb resume ended a pause."""
    NOTHING_TO_APPROVE = "NothingToApprove"
    """The verb approve was refused: no promotion waits for it; the message says what is missing."""
    ALREADY_PAUSED = "AlreadyPaused"
    """The verb pause was refused: it is paused."""
    NOT_PAUSED = "NotPaused"
    """The verb resume was refused: it is not paused."""
    OVER = "Over"
    """A verb was refused: the experiment has ended, and nothing changes it any more."""
    NOT_RUNNING = "NotRunning"
    """The verb accept was refused: the experiment does not gather evidence."""
    TOO_LATE_TO_ACCEPT = "TooLateToAccept"
    """The verb accept was refused: maxDuration leaves no room for another verdict, or too much was accepted before."""
    ABORTED = "Aborted"
    """The verb abort ended the experiment."""
    ABORTING = "Aborting"
    """The verb abort is being carried out."""
    PRICE_UNKNOWN = "PriceUnknown"
    """evidence.netOfCost asks for prices of answers that are not known."""
    CHAMPION_BY_HAND = "ChampionByHand"
    """The Endpoint is given another champion by hand: the experiment ends, or starts afterwards."""
    DECISION_FAILED = "DecisionFailed"
    """A decision failed by a fault in Tradewind; the candidate\'s weight is 0 until one succeeds."""
    REPLAY_ENDED = "ReplayEnded"
    """The recorded window ended without a verdict."""
    UNDERPOWERED = "Underpowered"
    """A difference of evidence.minEffect is found by maxDuration with a chance of less than 80 %; the message has the remedy."""
    POWERED = "EnoughDecisions"
    """A difference of evidence.minEffect is found by maxDuration with a chance of at least 80 %."""
    EVIDENCE_LOST = "EvidenceLost"
    """The database holds less than it did: an older copy, or an emptied one. The candidate\'s weight is 0 until it is back."""
    FEW_LOST = "FewDecisionsLost"
    """Few enough decisions are no evidence: at most evidence.maxLostShare."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Facts about an experiment; None is: not there, or not known.

    Attributes:
        table: every evidence row, and the baseline's decisions before t0 with weight 0.
        requests: every evidence request with latency, error and cost, in time order.
        lost: decisions since t0 that are no rows, or whose reports were lost.
        epochs: stored weights of this experiment.
        recorded: whether the start is in the database; None: not asked.
        clock: newest `as_of` that a replay asked for.
        past: what the baseline did before the start.
        tested_before: how often this pair was compared before this experiment started.
        prior: what was decided before the start; read where prices of answers count, until it starts.
        memory: what earlier looks kept; no fact, it only saves time.
    """

    endpoint: Endpoint | None = None
    versions: Mapping[str, ModelVersion] = field(default_factory=dict)
    table: TradeTable | None = None
    requests: Requests | None = None
    lost: LostDecisions | None = None
    epochs: tuple[EpochRow, ...] = ()
    recorded: bool | None = None
    clock: datetime | None = None
    past: PastDecisions | None = None
    tested_before: int = 0
    prior: Prior | None = None
    database_error: str | None = None
    memory: Memory | None = field(default=None, compare=False, repr=False)
