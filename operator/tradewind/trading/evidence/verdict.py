"""The operator's verdict: the statistical decision, and what may overrule or delay it.

Belongs here: the order of the reasons and the sentence that a person reads. Does not belong here: what is done about
a verdict (core), and any number that is not already computed.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import exp, isfinite

import numpy as np

from tradewind.schema.durations import format_duration
from tradewind.trading.assignment import Arm
from tradewind.trading.evidence.blocks import settle
from tradewind.trading.evidence.checks import ArmExposures, SampleRatio, arm_exposures, check_sample_ratio
from tradewind.trading.evidence.evaluate import (
    FORCED_SHARE_LIMIT,
    Evidence,
    MetricEvidence,
    PairsSetAside,
    Verdict,
    evaluate_rows,
    settled_at,
)
from tradewind.trading.evidence.guardrails import GUARDRAILS, GuardrailResult, Watched
from tradewind.trading.evidence.kept import Memory
from tradewind.trading.evidence.lost import NOTHING_LOST, LostCounts, LostDecisions, count_lost
from tradewind.trading.evidence.metrics import Metric
from tradewind.trading.evidence.requests import ArmChange, RequestLog
from tradewind.trading.evidence.settings import MIN_BLOCKS
from tradewind.trading.evidence.spec import EvidenceSpec
from tradewind.trading.evidence.table import TradeTable, to_us


class VerdictReason(StrEnum):
    """Why a verdict is what it is; goes unchanged into conditions, Events, logs and metrics. Guardrails have their own."""

    WORSE = "Worse"
    """The statistic shows that the candidate is worse. Rolled back."""
    BETTER = "Better"
    """The statistic shows that the candidate is better on one metric and not worse on the other. Promoted."""
    NOT_INFERIOR = "NotInferior"
    """The statistic shows that the candidate is not worse by more than the margins, as the objective asks. Promoted."""
    FUTILE = "Futile"
    """Better can hardly be shown any more in the time that is left; the baseline stays."""
    MIN_DURATION = "MinDurationNotReached"
    """Better, but minDuration is not over; promotion waits."""
    MAX_HOLD_TOO_SHORT = "MaxHoldTooShort"
    """Too many trades were settled by force: maxHold is shorter than the trades."""
    EVIDENCE_THIN = "EvidenceThin"
    """Better, but more than evidence.maxLostShare of the decisions are no evidence; promotion waits."""
    SAMPLE_RATIO = "SampleRatioMismatch"
    """Better, but the draws do not match the logged weights; promotion waits."""
    BASELINE_CHANGED = "BaselineChanged"
    """The baseline's API names another model than in the first block; promotion waits, or the change is accepted."""
    CANDIDATE_CHANGED = "CandidateChanged"
    """The candidate's API names another model than in the first block; promotion waits, or the change is accepted."""
    SHADOW_NOT_COMPARABLE = "ShadowNotComparable"
    """An arm fails more often in one role, drawn or shadow, than the draws say: the comparison goes on without pairs."""
    PAPER_UNINFORMATIVE = "PaperUninformative"
    """What answers earn on paper says nothing of what trades earn: the comparison goes on without pairs."""
    MAX_DURATION = "MaxDurationReached"
    """maxDuration is over without a decision; the baseline stays."""
    NOT_ENOUGH_DATA = "NotEnoughData"
    """Too few complete blocks, or too few decisions of an arm."""
    AWAITING_SETTLEMENT = "AwaitingSettlement"
    """Open trades younger than maxHold hold the watermark."""
    UNDECIDED = "Undecided"
    """There is data, and no bound is reached yet."""


@dataclass(frozen=True)
class OperatorVerdict:
    """What the operator acts on; `reason` is a VerdictReason or a guardrail's fixed word."""

    verdict: Verdict
    reason: str
    message: str


@dataclass(frozen=True, eq=False)
class Judgement:
    """Everything known about an experiment at an instant.

    Attributes:
        evidence: the statistical state.
        guardrails: every watch that has something to look at; those that only hold promotion come last.
        exposures: what both arms carried.
        sample_ratio: the draws against the logged weights.
        changes: the first change of each arm, baseline first.
        lost: decisions that are no evidence, by reason.
        corrected: rows of evidence whose outcome was corrected after it counted.
        statistic: why the statistic alone decides as it does.
        verdict: what follows.
    """

    evidence: Evidence
    guardrails: tuple[GuardrailResult, ...]
    exposures: ArmExposures
    sample_ratio: SampleRatio
    changes: tuple[ArmChange, ...]
    lost: LostCounts
    corrected: int
    statistic: VerdictReason
    verdict: OperatorVerdict

    @property
    def reason(self) -> str:
        """Why the verdict is what it is: what the statistic says, unless it was overruled."""
        agree = self.verdict.verdict is self.evidence.decision
        return str(self.statistic) if agree else str(self.verdict.reason)

    @property
    def tripped(self) -> GuardrailResult | None:
        """The first guardrail that takes the candidate out."""
        return next((result for result in self.guardrails if result.tripped and not result.guardrail.holds), None)


def judge(
    table: TradeTable,
    t0: datetime,
    now: datetime,
    spec: EvidenceSpec,
    requests: RequestLog | None = None,
    lost: LostDecisions | LostCounts | None = None,
    memory: Memory | None = None,
) -> Judgement:
    """Evidence, guardrails, checks and verdict at `now`, from the rows known at `now`.

    Where a change of an arm was accepted, what promotes starts anew with the block after it: evidence, minDuration and the
    comparable exposures. What takes the candidate out goes on from t0.

    Args:
        table: the trade table; baseline rows before t0 give the default risk budget.
        t0: start of the experiment, with a time zone.
        now: instant of the look, with a time zone.
        spec: what the experiment asks for.
        requests: the requests up to now; None: error rate, latency and changes of the arms are not watched.
        lost: decisions that are no rows, or whose reports were lost; None: none are known but for what was settled by
            force. Counts: what was counted at `now` where the decisions themselves are not at hand.
        memory: what earlier looks at the same experiment kept; None: all is summed from nothing, to the same bits.

    Raises:
        ValueError: t0 or now has no time zone, or now is before t0.
    """
    spec = spec.known_at(now)
    rows = settled_at(table, t0, now, spec)
    t0_us, now_us, start = to_us(t0, "t0"), to_us(now, "now"), spec.start(t0)
    exposures = arm_exposures(table, to_us(start, "t0"), now_us)
    facts = Watched(
        table=table,
        rows=settle(table, t0_us, now_us, spec.settlement) if spec.accepts else rows,
        t0_us=t0_us,
        now_us=now_us,
        requests=requests,
        exposures=exposures,
        duration=spec.max_blocks * spec.block_length,
        largest_weight=spec.policy.largest(spec.ladder),
    )
    state = _State(
        evidence=evaluate_rows(rows, t0, spec, memory),
        spec=spec,
        elapsed=now - t0,
        measured=now - start,
        guardrails=check_guardrails(facts, spec),
        sample_ratio=check_sample_ratio(table, t0_us, now_us),
        changes=() if requests is None else requests.changes,
        lost=lost if isinstance(lost, LostCounts) else count_lost(lost or NOTHING_LOST, table, rows, t0_us, now_us),
    )
    return Judgement(
        evidence=state.evidence,
        guardrails=state.guardrails,
        exposures=exposures,
        sample_ratio=state.sample_ratio,
        changes=state.changes,
        lost=state.lost,
        corrected=int(np.count_nonzero(table.corrected[rows.index])),
        statistic=_statistical_reason(state.evidence, spec),
        verdict=_operator_verdict(state),
    )


def check_guardrails(facts: Watched, spec: EvidenceSpec) -> tuple[GuardrailResult, ...]:
    """All watches that the spec asks for and the facts allow, in the order of `GUARDRAILS`."""
    watched = (g for g in GUARDRAILS if not (g.live_only and spec.replay))
    results = (guardrail.watch(spec.rules.guardrails, facts) for guardrail in watched)
    return tuple(result for result in results if result is not None)


@dataclass(frozen=True, eq=False)
class _State:
    """What the order of the rules looks at."""

    evidence: Evidence
    spec: EvidenceSpec
    elapsed: timedelta
    measured: timedelta
    guardrails: tuple[GuardrailResult, ...]
    sample_ratio: SampleRatio
    changes: tuple[ArmChange, ...]
    lost: LostCounts


def _operator_verdict(state: _State) -> OperatorVerdict:
    """Verdict of the operator; the first rule that holds decides.

    1. A tripped guardrail rolls back at once. 2. So does the statistical rollback. 3. A statistical promotion waits
    for arms that are what was measured, a max_hold that is long enough, evidence of most decisions, draws that match their
    weights, guardrails that hold it (comparable exposure) and min_duration; if it still waits after max_duration, the
    experiment is inconclusive.
    4. No decision by max_duration is inconclusive. 5. Everything else goes on.
    """
    for result in state.guardrails:
        if result.tripped and not result.guardrail.holds:
            return OperatorVerdict(Verdict.ROLLBACK, result.reason, result.sentence)
    evidence, spec = state.evidence, state.spec
    over = state.elapsed >= spec.max_duration
    match evidence.decision:
        case Verdict.ROLLBACK:
            return OperatorVerdict(Verdict.ROLLBACK, VerdictReason.WORSE, _decided(evidence, spec, "worse"))
        case Verdict.PROMOTE:
            how = "not worse by more than the margins" if spec.not_inferior else "better"
            held = _promotion_held(state)
            if held is None:
                return OperatorVerdict(
                    Verdict.PROMOTE, _statistical_reason(evidence, spec), _decided(evidence, spec, how)
                )
            reason, why = held
            message = f"{_decided(evidence, spec, how)}, but promotion waits: {why}"
            return OperatorVerdict(Verdict.INCONCLUSIVE if over else Verdict.CONTINUE, reason, message)
        case Verdict.INCONCLUSIVE if evidence.futile:
            message = (
                f"given up {_when(evidence, spec)}: the candidate can hardly be shown to be "
                f"{'not worse' if spec.not_inferior else 'better'} in the time that is left; the baseline stays: {_so_far(evidence, spec)}"
            )
            return OperatorVerdict(Verdict.INCONCLUSIVE, VerdictReason.FUTILE, message)
        case Verdict.INCONCLUSIVE:
            reason = VerdictReason.MAX_HOLD_TOO_SHORT if evidence.max_hold_too_short else VerdictReason.MAX_DURATION
            message = (
                f"no decision in {format_duration(spec.max_duration)}; the baseline stays: {_so_far(evidence, spec)}"
            )
            return OperatorVerdict(Verdict.INCONCLUSIVE, reason, message)
        case Verdict.CONTINUE:
            return _going_on(evidence, spec, over=over)


def _statistical_reason(evidence: Evidence, spec: EvidenceSpec) -> VerdictReason:
    match evidence.decision:
        case Verdict.PROMOTE:
            return VerdictReason.NOT_INFERIOR if spec.not_inferior else VerdictReason.BETTER
        case Verdict.ROLLBACK:
            return VerdictReason.WORSE
        case Verdict.INCONCLUSIVE:
            return VerdictReason.FUTILE if evidence.futile else VerdictReason.MAX_DURATION
        case Verdict.CONTINUE:
            return VerdictReason.UNDECIDED if _enough(evidence, spec) else VerdictReason.NOT_ENOUGH_DATA


def _enough(evidence: Evidence, spec: EvidenceSpec) -> bool:
    rows = min(evidence.baseline.decisions, evidence.candidate.decisions)
    return evidence.blocks >= MIN_BLOCKS and rows >= spec.min_trades_per_arm


def _promotion_held(state: _State) -> tuple[str, str] | None:
    """Why promotion waits; None if it does not."""
    evidence, sample_ratio = state.evidence, state.sample_ratio
    if state.changes:
        return change_reason(state.changes[0]), change_message(state.changes[0])
    if evidence.max_hold_too_short:
        return VerdictReason.MAX_HOLD_TOO_SHORT, _forced(evidence)
    if state.lost.share > state.spec.max_lost_share:
        return VerdictReason.EVIDENCE_THIN, state.lost.sentence(state.spec.max_lost_share)
    if sample_ratio.alarm:
        why = (
            f"the candidate got {sample_ratio.share:.1%} of {sample_ratio.decisions} decisions where the logged "
            f"weights say {sample_ratio.expected:.1%} (p = {sample_ratio.p_value:.1e})"
        )
        return VerdictReason.SAMPLE_RATIO, why
    for result in state.guardrails:
        if result.tripped and result.guardrail.holds:
            return result.reason, result.sentence
    if state.measured < state.spec.min_duration:
        left = format_duration(state.spec.min_duration)
        return (
            VerdictReason.MIN_DURATION,
            f"{max(state.measured, timedelta(0)) / timedelta(days=1):.1f} days of at least {left} have passed",
        )
    return None


def set_aside(judgement: Judgement) -> tuple[VerdictReason, str] | None:
    """The fixed word for why pairs are not used any more, and what to do about it; None where they may be."""
    why = judgement.evidence.set_aside
    return None if why is None else _SET_ASIDE[why]


def change_reason(change: ArmChange) -> VerdictReason:
    """The fixed word for a change of an arm."""
    return VerdictReason.BASELINE_CHANGED if change.arm is Arm.BASELINE else VerdictReason.CANDIDATE_CHANGED


def change_message(change: ArmChange) -> str:
    """What changed, when, and what a person can do about it."""
    return (
        f"the {change.arm.value} answers as {change.now} since {change.since.isoformat()}, in the first block it was "
        f"{' or '.join(change.known)}: what was measured is not what answers now; `tradewind accept NAME` lets this "
        "experiment go on with evidence that starts anew"
    )


def _going_on(evidence: Evidence, spec: EvidenceSpec, *, over: bool) -> OperatorVerdict:
    def goes_on(reason: str, message: str) -> OperatorVerdict:
        return OperatorVerdict(Verdict.CONTINUE, reason, message)

    if over:
        until = evidence.watermark.isoformat()
        return goes_on(
            VerdictReason.AWAITING_SETTLEMENT,
            f"{evidence.pending} open trades are younger than maxHold; complete until {until}: {_so_far(evidence, spec)}",
        )
    if evidence.max_hold_too_short:
        return goes_on(VerdictReason.MAX_HOLD_TOO_SHORT, f"no decision is taken: {_forced(evidence)}")
    if not _enough(evidence, spec):
        return goes_on(
            VerdictReason.NOT_ENOUGH_DATA,
            f"{evidence.blocks} of at least {MIN_BLOCKS} blocks, and {evidence.baseline.decisions} baseline and "
            f"{evidence.candidate.decisions} candidate decisions of at least {spec.min_trades_per_arm} each",
        )
    return goes_on(VerdictReason.UNDECIDED, _so_far(evidence, spec))


def _decided(evidence: Evidence, spec: EvidenceSpec, how: str) -> str:
    return f"the candidate is {how}, decided {_when(evidence, spec)}; now {_so_far(evidence, spec)}"


def _when(evidence: Evidence, spec: EvidenceSpec) -> str:
    assert evidence.block is not None
    return f"at block {evidence.block} (day {(evidence.block + 1) * spec.block_length.days})"


def _so_far(evidence: Evidence, spec: EvidenceSpec) -> str:
    metric = primary_evidence(evidence)
    others = "".join(f", {_not_worse(evidence, spec, other)}" for other in spec.others)
    said = (
        f"{_difference(evidence, spec.primary)}{others}; evidence for "
        f"{'not worse' if spec.not_inferior else 'better'} {times(_primary_log_e(evidence))} of "
        f"{times(evidence.threshold_promote)}, for worse {times(metric.log_e_worse)} of "
        f"{times(evidence.threshold_rollback)}, after {evidence.blocks} blocks with "
        f"{evidence.baseline.decisions} baseline and {evidence.candidate.decisions} candidate decisions"
    )
    return said + _about_pairs(evidence)


def _primary_log_e(evidence: Evidence) -> float:
    """The evidence that promotes, at the last look; against the margin where the objective is to be no worse."""
    return float(evidence.looks.better[-1]) if len(evidence.looks.better) else 0.0


def _difference(evidence: Evidence, metric: Metric) -> str:
    found = evidence.metrics[metric.name]
    return (
        f"{metric.title} difference {metric.show(found.estimate)} (at least {metric.show(found.lower)}, "
        f"at most {metric.show(found.upper)})"
    )


def _not_worse(evidence: Evidence, spec: EvidenceSpec, metric: Metric) -> str:
    margin = spec.margin(metric) * metric.unit
    return f"{_difference(evidence, metric)} with {metric.show(-margin)} allowed"


def _about_pairs(evidence: Evidence) -> str:
    pairs = evidence.about_pairs
    if pairs is None or not evidence.blocks:
        return ""
    if evidence.set_aside is not None:
        return f"; {_SET_ASIDE[evidence.set_aside][1]}"
    said = (
        f"; {pairs.pairs} decisions have a pair ({pairs.share_without:.0%} have none)"
        if pairs.pairs
        else "; no decision has a pair: give the Endpoint spec.paper, or report papers"
    )
    if isfinite(pairs.alike):
        said += f", the arms' papers went the same way in {pairs.alike:.0%}"
    if isfinite(pairs.slope[0]):
        said += f", slope {pairs.slope[0]:.2f} and {pairs.slope[1]:.2f}"
    if isfinite(pairs.correlation):
        said += f", real returns and papers correlate by {pairs.correlation:.2f}"
    if pairs.pairs and isfinite(pairs.unpaired_days):
        said += f"; without pairs it would have needed about {pairs.unpaired_days:.0f} days"
    return said


_SET_ASIDE = {
    PairsSetAside.DEPENDENT: (
        VerdictReason.SHADOW_NOT_COMPARABLE,
        (
            "pairs are not used: an arm fails more often in one role, drawn or shadow, than the draws say; compare latency and errors "
            "of its drawn and its shadow calls, and give the slower one room (timeouts, replicas)"
        ),
    ),
    PairsSetAside.UNINFORMATIVE: (
        VerdictReason.PAPER_UNINFORMATIVE,
        (
            "pairs are not used: what answers earn on paper says nothing of what trades earn; check that spec.paper of the "
            "Endpoint (price, horizon, cost) is what the trading system does, that bars are of the same symbols and in UTC, or "
            "report papers"
        ),
    ),
}


def primary_evidence(evidence: Evidence) -> MetricEvidence:
    """Evidence on the metric that decides."""
    return evidence.metrics[evidence.primary.name]


def _forced(evidence: Evidence) -> str:
    return (
        f"maxHold settled {evidence.baseline.forced_share:.1%} of the baseline's and "
        f"{evidence.candidate.forced_share:.1%} of the candidate's decisions by force, more than "
        f"{FORCED_SHARE_LIMIT:.0%}; a new experiment needs a longer maxHold"
    )


def times(log: float) -> str:
    """Evidence in times, from its logarithm."""
    return f"{exp(log):.3g}" if log < 14.0 else f"e^{log:.1f}"
