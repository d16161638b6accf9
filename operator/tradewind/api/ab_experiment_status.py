"""Status of an ABExperiment: what the operator reports of it.

Belongs here: the fields of the status. Does not belong here: what users write (ab_experiment.py) and what the operator does.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from tradewind.api.common import CommonStatus, VersionStatusRef, WeightStatus
from tradewind.schema.rules import StatusModel
from tradewind.schema.scalars import Count, Duration, Name, Text64, Text128, Text256, Text1024, Timestamp
from tradewind.trading.evidence import LatencyObjective, MetricName
from tradewind.trading.evidence.settings import Shadow
from tradewind.trading.settings.paper import PaperSettings


class ABExperimentPhase(StrEnum):
    """For display only."""

    PENDING = "Pending"
    RUNNING = "Running"
    PAUSED = "Paused"
    DECIDED = "Decided"
    RAMPING = "Ramping"
    SUCCEEDED = "Succeeded"
    ROLLED_BACK = "RolledBack"
    INCONCLUSIVE = "Inconclusive"
    ABORTED = "Aborted"
    INVALID = "Invalid"


class ArmStatus(StatusModel):
    """One arm's numbers. They are shown and never decide: the evidence does."""

    name: Name
    """ModelVersion."""
    role: Literal["baseline", "candidate"]
    """Role in the experiment."""
    weight: WeightStatus | None = None
    """Share of decisions."""
    decisions: Count | None = None
    """Decisions that count as evidence."""
    open_trades: Count | None = None
    """Trades that are not closed yet."""
    closed_trades: Count | None = None
    """Trades that are closed."""
    win_rate: float | None = None
    """Share of closed trades with a profit."""
    total_pnl: float | None = None
    """Net profit in USD."""
    avg_pnl: float | None = None
    """Net profit of a closed trade in USD."""
    sharpe: float | None = None
    """Mean over standard deviation of the per-decision return."""
    exposure: float | None = None
    """Mean filled notional in USD."""
    exposure_hours: float | None = None
    """Sum of hours with an open position."""
    p50_ms: float | None = None
    """Median latency."""
    p99_ms: float | None = None
    """99th percentile of the latency."""
    errors: Count | None = None
    """Errors, timeouts and invalid answers."""
    fallbacks: Count | None = None
    """Decisions that the fallback answered."""
    cost_cny: float | None = None
    """Cost of the calls in CNY."""


class Comparison(StatusModel):
    """The arms' differences, candidate minus baseline, as the performance report shows them."""

    win_rate_diff: float | None = None
    """Difference of the win rates."""
    pnl_diff: float | None = None
    """Difference of the total net profits in USD."""
    sharpe_diff: float | None = None
    """Difference of the Sharpe ratios of closed trades in USD, times sqrt(252); no measure of the evidence."""


class MetricEvidence(StatusModel):
    """Evidence on one metric, valid whenever it is looked at."""

    name: MetricName
    """Metric."""
    estimate: float | None = None
    """Estimated difference, candidate minus baseline."""
    lower: float | None = None
    """Lower bound of the difference at level alpha; absent: none yet."""
    upper: float | None = None
    """Upper bound of the difference at level alpha; absent: none yet."""
    log_e_better: float | None = None
    """Logarithm of the evidence that the candidate is better."""
    log_e_worse: float | None = None
    """Logarithm of the evidence that it is worse."""
    log_e_not_inferior: float | None = None
    """Logarithm of the evidence that it is not worse by more than the margin."""
    threshold: float | None = None
    """Value that log_e must reach."""
    variance: float | None = None
    """V, the sum of squared block contributions."""


class LostStatus(StatusModel):
    """Decisions that are no evidence, by reason; each counts once, under the first that holds."""

    follow_up: Count | None = None
    """They continued a position: normal, and no part of lostShare."""
    opened_inside: Count | None = None
    """They continued a position and opened a trade of their own."""
    conflict: Count | None = None
    """They were answered twice, and differently, so that nobody knows which answer was acted on."""
    outage: Count | None = None
    """They were answered while the database was away."""
    no_price: Count | None = None
    """Their trades were closed, but nobody said at what price or result."""
    refused: Count | None = None
    """Their reports were refused, and none was accepted."""
    late: Count | None = None
    """Their outcomes were reported after maxHold."""
    forced: Count | None = None
    """Their outcomes were not reported by maxHold."""
    decisions: Count | None = None
    """All decisions that lostShare is of."""


class PairsStatus(StatusModel):
    """The decisions that both arms answered."""

    number: Count | None = None
    """Decisions that have a pair."""
    share_without: float | None = None
    """Share of the decisions that have none."""
    alike: float | None = None
    """Share of the pairs whose papers went the same way."""
    slope_baseline: float | None = None
    """What the baseline's outcome changes by where its predictor changes by 1."""
    slope_candidate: float | None = None
    """The same of the candidate."""
    correlation: float | None = None
    """Of real returns with their papers."""
    unpaired_days: float | None = None
    """Days that would have told as much without pairs."""
    set_aside: Literal["dependent", "uninformative"] | None = None
    """Why pairs are not used any more: `dependent`, where failures of a shadow depend on the draw, or `uninformative`, where papers say nothing of real trades."""


class EvidenceStatus(StatusModel):
    """What the evidence shows."""

    blocks: Count | None = None
    """Complete blocks that count, since t0 or since the newest accepted change."""
    block_seconds: Count | None = None
    """Length of a block."""
    watermark: Timestamp | None = None
    """End of the last block that counts."""
    rows_baseline: Count | None = None
    """Evidence rows of the baseline."""
    rows_candidate: Count | None = None
    """Evidence rows of the candidate."""
    pending_trades: Count | None = None
    """Open trades that hold the watermark."""
    forced_rows: Count | None = None
    """Trades that were settled by force because they were open longer than maxHold."""
    lost: LostStatus | None = None
    """Decisions that are no evidence, by reason."""
    lost_share: float | None = None
    """Share of the decisions that are no evidence; above evidence.maxLostShare promotion waits."""
    corrected: Count | None = None
    """Evidence rows whose outcome was corrected after it counted: labels and accounts follow, the evidence does not."""
    metrics: Annotated[tuple[MetricEvidence, ...], Field(max_length=4)] = ()
    """Evidence on each metric."""
    score: Literal["unpaired", "both", "candidate", "market"] | None = None
    """Which pairs the last look used."""
    pairs: PairsStatus | None = None
    """What the pairs say; no verdict rests on it."""
    superior: bool | None = None
    """Whether the candidate was shown to be better."""
    not_inferior: bool | None = None
    """Whether it was shown to be not worse on the other metric."""
    alpha: float | None = None
    """Level in use, after the correction for retests and accepted changes."""
    retest_number: Count | None = None
    """How often the pair was compared before."""
    sample_ratio_p_value: float | None = None
    """Chance of so uneven a split under the logged weights; below 0.001 something drops decisions."""
    statistical_decision: Literal["continue", "promote", "rollback", "inconclusive"] | None = None
    """Decision of the statistic alone."""
    decision_block: Count | None = None
    """Block at whose end it fell."""


class GuardrailStatus(StatusModel):
    """One guardrail with its number."""

    name: Text64
    """Name of the guardrail."""
    value: float | None = None
    """Where it stands, in its unit: USD, a ratio, or evidence in times."""
    threshold: float | None = None
    """Where it trips."""
    tripped: bool = False
    """Whether it has tripped."""
    message: Text1024 = ""
    """The number in words."""


class CandidateWeight(WeightStatus):
    """The candidate's share of decisions, why it is what it is, and when it may move."""

    reason: Text128 | None = None
    """Why it has this value, as a fixed word."""
    message: Text1024 | None = None
    """Why, with the numbers that it rests on."""
    since: Timestamp | None = None
    """Since when it is wanted without a break, on the experiment's clock."""
    next_look: Timestamp | None = None
    """When it may move next: the start of the next block, on the experiment's clock. Guardrails do not wait for it."""


class HistoryEntry(StatusModel):
    """Something that happened."""

    time: Timestamp
    """When, on the experiment's clock."""
    block: Count | None = None
    """In which block."""
    epoch: Count | None = None
    """Epoch that it made."""
    weight: Text64 | None = None
    """Weight from then on."""
    reason: Text128
    """Why, as a fixed word."""
    message: Text1024 = ""
    """Why, for people."""
    verb: Text64 | None = None
    """Verb that was asked for (`tradewind.dev/<verb>`); absent: nobody asked."""
    request: Text128 | None = None
    """Its request id."""
    by: Text128 | None = None
    """Who asked."""
    result: Literal["done", "refused"] | None = None
    """What came of it."""


class VerdictStatus(StatusModel):
    """How the experiment ended. Final."""

    decision: Literal["promote", "rollback", "inconclusive", "abort"]
    """The verdict."""
    reason: Text128
    """Why, as a fixed word."""
    message: Text1024 = ""
    """Why, for people."""
    time: Timestamp
    """When, on the experiment's clock."""
    block: Count | None = None
    """Block at whose end it fell."""


class AcceptedChange(StatusModel):
    """What an arm had become."""

    arm: Literal["baseline", "candidate"]
    """Which."""
    known: Annotated[tuple[Text256, ...], Field(max_length=16)] = ()
    """What it called itself until then, model and fingerprint."""
    now: Text256
    """The new name."""


class AcceptStatus(StatusModel):
    """The verb accept: evidence from then on apart."""

    time: Timestamp
    """When, on the experiment's clock."""
    by: Text128
    """Who."""
    block: Count
    """The first whole block that began later; the evidence starts anew with it."""
    changes: Annotated[tuple[AcceptedChange, ...], Field(max_length=2)] = ()
    """What was accepted."""


class RampStatus(StatusModel):
    """The way to all decisions after a promotion."""

    step: Count | None = None
    """Step of onPromote.ramp."""
    since: Timestamp | None = None
    """Since when."""
    stable_since: Timestamp | None = None
    """Since when there was no fault."""


class BasisStatus(StatusModel):
    """What the verdict rests on besides the rows, fixed at t0."""

    shadow: Shadow | None = None
    """Who is asked beside the drawn arm: traffic.shadow, or what follows from the arms where that is absent."""
    boundary: Literal["fixedHorizon", "anytime"] | None = None
    """When evidence suffices."""
    scale_by_symbol: bool | None = None
    """Whether returns are divided by a scale of their symbol first."""
    reference_notional_usd: float | None = None
    """What prices of answers are compared with."""
    paper: PaperSettings | None = None
    """`spec.paper` of the Endpoint; absent: papers are only those that are reported."""


class ShadowForecast(StatusModel):
    """The same experiment from its start with another shadow."""

    shadow: Literal["none", "candidate", "both"]
    """Who is asked beside the drawn arm."""
    chance: float | None = None
    """Chance of a verdict by maxDuration."""
    days: float | None = None
    """Day by which half of such experiments have a verdict; absent: not in ten years."""


class ForecastStatus(StatusModel):
    """What comes of the experiment if the difference is evidence.minEffect; with objective notInferior, if there is none."""

    effect: float
    """The difference that it is made for."""
    chance: float | None = None
    """Chance of a verdict for the candidate by maxDuration, given the evidence so far."""
    days: float | None = None
    """Day by which half of such experiments have a verdict, were maxDuration long enough; absent: not in ten years."""
    expected_days_left: float | None = None
    """Days until the experiment ends, however it does; on average, given the evidence so far."""
    detectable: float | None = None
    """Smallest difference that is found by maxDuration with a chance of 0.8; absent: none."""
    decisions_per_day: float | None = None
    """Rate of decisions that it rests on."""
    shadows: Annotated[tuple[ShadowForecast, ...], Field(max_length=3)] = ()
    """The same experiment with each kind of shadow."""
    block: Count | None = None
    """Complete blocks of the evidence that it rests on; absent: on what the baseline did before the start."""


class ABExperimentStatus(CommonStatus):
    """What the operator sees of an ABExperiment."""

    phase: ABExperimentPhase | None = None
    """For display only; the condition Succeeded decides."""
    t0: Timestamp | None = None
    """Start of the first block; never changes."""
    max_hold: Duration | None = None
    """maxHold of the Endpoint at t0. Blocks and settlement go by it, whatever the Endpoint says later."""
    basis: BasisStatus | None = None
    """What the verdict rests on besides the rows."""
    latency_objective: LatencyObjective | None = None
    """Latency that the candidate must keep, as it was at t0; absent: none."""
    baseline_ref: VersionStatusRef | None = None
    """The baseline as it was at t0."""
    candidate_ref: VersionStatusRef | None = None
    """The candidate as it was at t0."""
    weight: CandidateWeight | None = None
    """Share of the candidate, and why."""
    epoch: Count | None = None
    """Epoch of the newest weight."""
    arms: Annotated[tuple[ArmStatus, ...], Field(max_length=4)] = ()
    """Each arm's numbers."""
    comparison: Comparison | None = None
    """The arms' differences."""
    evidence: EvidenceStatus | None = None
    """What the evidence shows."""
    forecast: ForecastStatus | None = None
    """What the experiment can find, and how long it takes."""
    guardrails: Annotated[tuple[GuardrailStatus, ...], Field(max_length=16)] = ()
    """Each guardrail with its number."""
    risk_budget_usd: float | None = None
    """Risk budget in force, frozen at t0."""
    history: Annotated[tuple[HistoryEntry, ...], Field(max_length=50)] = ()
    """What happened, the newest last."""
    verdict: VerdictStatus | None = None
    """How it ended."""
    accepted: Annotated[tuple[AcceptStatus, ...], Field(max_length=16)] | None = None
    """Changes of an arm that were accepted, the newest last; each is another test, at half the level."""
    ramp: RampStatus | None = None
    """The way to all decisions."""
    approved_by: Text128 | None = None
    """Who approved the promotion."""
    start_time: Timestamp | None = None
    """When it became active."""
    completion_time: Timestamp | None = None
    """When it became terminal."""
    last_evaluated_time: Timestamp | None = None
    """When the evidence was last computed."""
