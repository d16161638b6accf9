"""The operator's verdict: the statistical decision, and what may overrule or delay it.

Belongs here: the order of the reasons and the sentence that a person reads. Does not belong here: what is done about
a verdict (core), and any number that is not already computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import exp, isfinite

from tradewind.schema.durations import format_duration
from tradewind.trading.assignment import Arm
from tradewind.trading.evidence.blocks import settle
from tradewind.trading.evidence.checks import ExposureCheck, SampleRatio, check_exposure, check_sample_ratio
from tradewind.trading.evidence.evaluate import FORCED_SHARE_LIMIT, Evidence, MetricEvidence, Verdict, evaluate
from tradewind.trading.evidence.guardrails import ArmChange, Guardrail, GuardrailResult, RequestLog, check_guardrails
from tradewind.trading.evidence.spec import EvidenceSpec, Metric
from tradewind.trading.evidence.table import TradeTable, to_us


class VerdictReason(StrEnum):
    """Why; goes unchanged into conditions, Events, logs and metrics."""

    FAST_HARM = Guardrail.FAST_HARM.value
    ERROR_RATE = Guardrail.ERROR_RATE.value
    LATENCY = Guardrail.LATENCY.value
    RISK_BUDGET = Guardrail.RISK_BUDGET.value
    WORSE = "Worse"
    BETTER = "Better"
    MIN_DURATION = "MinDurationNotReached"
    MAX_HOLD_TOO_SHORT = "MaxHoldTooShort"
    EXPOSURE = "ExposureNotComparable"
    SAMPLE_RATIO = "SampleRatioMismatch"
    BASELINE_CHANGED = "BaselineChanged"
    CANDIDATE_CHANGED = "CandidateChanged"
    MAX_DURATION = "MaxDurationReached"
    NOT_ENOUGH_DATA = "NotEnoughData"
    AWAITING_SETTLEMENT = "AwaitingSettlement"
    UNDECIDED = "Undecided"


@dataclass(frozen=True)
class OperatorVerdict:
    """What the operator acts on."""

    verdict: Verdict
    reason: VerdictReason
    message: str


@dataclass(frozen=True, eq=False)
class Judgement:
    """Everything known about an experiment at an instant."""

    evidence: Evidence
    guardrails: tuple[GuardrailResult, ...]
    exposure: ExposureCheck
    sample_ratio: SampleRatio
    changes: tuple[ArmChange, ...]
    verdict: OperatorVerdict


def judge(
    table: TradeTable, t0: datetime, now: datetime, spec: EvidenceSpec, requests: RequestLog | None = None
) -> Judgement:
    """Evidence, guardrails, checks and verdict at `now`, from the rows known at `now`.

    Args:
        table: the trade table; baseline rows before t0 give the default risk budget.
        t0: start of the experiment, with a time zone.
        now: instant of the look, with a time zone.
        spec: what the experiment asks for.
        requests: the requests up to now; None: error rate, latency and changes of the arms are not watched.

    Raises:
        ValueError: t0 or now has no time zone, or now is before t0.
    """
    evidence = evaluate(table, t0, now, spec)
    t0_us, now_us = to_us(t0, "t0"), to_us(now, "now")
    rows = settle(table, t0_us, now_us, spec)
    guardrails = check_guardrails(table, rows, t0_us, now_us, spec=spec, requests=requests)
    exposure = check_exposure(table, t0_us, now_us, spec)
    sample_ratio = check_sample_ratio(table, t0_us, now_us)
    changes = () if requests is None else requests.changes
    verdict = operator_verdict(
        evidence,
        spec,
        t0=t0,
        now=now,
        guardrails=guardrails,
        exposure=exposure,
        sample_ratio=sample_ratio,
        changes=changes,
    )
    return Judgement(evidence, guardrails, exposure, sample_ratio, changes, verdict)


def operator_verdict(
    evidence: Evidence,
    spec: EvidenceSpec,
    *,
    t0: datetime,
    now: datetime,
    guardrails: Sequence[GuardrailResult],
    exposure: ExposureCheck,
    sample_ratio: SampleRatio,
    changes: Sequence[ArmChange] = (),
) -> OperatorVerdict:
    """Verdict of the operator; the first rule that holds decides.

    1. A tripped guardrail rolls back at once. 2. So does the statistical rollback. 3. A statistical promotion waits
    for arms that are what was measured, a max_hold that is long enough, draws that match their weights, comparable
    exposure and min_duration; if it still waits after max_duration, the experiment is inconclusive. 4. No decision by
    max_duration is inconclusive. 5. Everything else goes on.
    """
    for result in guardrails:
        if result.tripped:
            return OperatorVerdict(Verdict.ROLLBACK, VerdictReason(result.guardrail.value), _tripped(result))
    over = now - t0 >= spec.max_duration
    match evidence.decision:
        case Verdict.ROLLBACK:
            return OperatorVerdict(Verdict.ROLLBACK, VerdictReason.WORSE, _decided(evidence, "worse"))
        case Verdict.PROMOTE:
            held = _promotion_held(evidence, spec, now - t0, exposure, sample_ratio, changes)
            if held is None:
                return OperatorVerdict(Verdict.PROMOTE, VerdictReason.BETTER, _decided(evidence, "better"))
            reason, why = held
            message = f"{_decided(evidence, 'better')}, but promotion waits: {why}"
            return OperatorVerdict(Verdict.INCONCLUSIVE if over else Verdict.CONTINUE, reason, message)
        case Verdict.INCONCLUSIVE:
            reason = VerdictReason.MAX_HOLD_TOO_SHORT if evidence.max_hold_too_short else VerdictReason.MAX_DURATION
            message = f"no decision in {format_duration(spec.max_duration)}; the baseline stays: {_state(evidence)}"
            return OperatorVerdict(Verdict.INCONCLUSIVE, reason, message)
        case Verdict.CONTINUE:
            return _going_on(evidence, spec, over=over)


def _promotion_held(
    evidence: Evidence,
    spec: EvidenceSpec,
    elapsed: timedelta,
    exposure: ExposureCheck,
    sample_ratio: SampleRatio,
    changes: Sequence[ArmChange],
) -> tuple[VerdictReason, str] | None:
    """Why promotion waits; None if it does not."""
    if changes:
        return change_reason(changes[0]), change_message(changes[0])
    if evidence.max_hold_too_short:
        return VerdictReason.MAX_HOLD_TOO_SHORT, _forced(evidence)
    if sample_ratio.alarm:
        why = (
            f"the candidate got {sample_ratio.share:.1%} of {sample_ratio.decisions} decisions where the logged "
            f"weights say {sample_ratio.expected:.1%} (p = {sample_ratio.p_value:.1e})"
        )
        return VerdictReason.SAMPLE_RATIO, why
    if not exposure.comparable:
        low, high = spec.guardrails.exposure_ratio
        told = f"{exposure.ratio:.2f}" if isfinite(exposure.ratio) else "unknown (an arm has not traded)"
        return (
            VerdictReason.EXPOSURE,
            f"the ratio of mean exposure, candidate over baseline, is {told}, outside {low:g} to {high:g}",
        )
    if elapsed < spec.min_duration:
        left = format_duration(spec.min_duration)
        return VerdictReason.MIN_DURATION, f"{elapsed / timedelta(days=1):.1f} days of at least {left} have passed"
    return None


def change_reason(change: ArmChange) -> VerdictReason:
    """The fixed word for a change of an arm."""
    return VerdictReason.BASELINE_CHANGED if change.arm is Arm.BASELINE else VerdictReason.CANDIDATE_CHANGED


def change_message(change: ArmChange) -> str:
    """What changed, when, and what a person can do about it."""
    return (
        f"the {change.arm.value} answers as {change.now} since {change.since.isoformat()}, in the first block it was "
        f"{' or '.join(change.known)}: what was measured is not what answers now; a new experiment tells"
    )


def _going_on(evidence: Evidence, spec: EvidenceSpec, *, over: bool) -> OperatorVerdict:
    def goes_on(reason: VerdictReason, message: str) -> OperatorVerdict:
        return OperatorVerdict(Verdict.CONTINUE, reason, message)

    if over:
        until = evidence.watermark.isoformat()
        return goes_on(
            VerdictReason.AWAITING_SETTLEMENT,
            f"{evidence.pending} open trades are younger than maxHold; complete until {until}: {_state(evidence)}",
        )
    if evidence.max_hold_too_short:
        return goes_on(VerdictReason.MAX_HOLD_TOO_SHORT, f"no decision is taken: {_forced(evidence)}")
    rows = min(evidence.baseline.decisions, evidence.candidate.decisions)
    if evidence.blocks < spec.min_blocks or rows < spec.min_trades_per_arm:
        return goes_on(
            VerdictReason.NOT_ENOUGH_DATA,
            f"{evidence.blocks} of at least {spec.min_blocks} blocks, and {evidence.baseline.decisions} baseline and "
            f"{evidence.candidate.decisions} candidate decisions of at least {spec.min_trades_per_arm} each",
        )
    return goes_on(VerdictReason.UNDECIDED, _state(evidence))


def _decided(evidence: Evidence, how: str) -> str:
    return f"the candidate is {how}, decided at block {evidence.block}; now {_state(evidence)}"


def _state(evidence: Evidence) -> str:
    metric = primary_evidence(evidence)
    name = "per-decision Sharpe" if evidence.primary is Metric.SHARPE else "win rate"
    return (
        f"{name} difference {_signed(metric.estimate)} (at least {_signed(metric.lower)}, at most "
        f"{_signed(metric.upper)}), evidence for better "
        f"{_ratio(metric.log_e_better)} of {_ratio(evidence.threshold_promote)}, for worse "
        f"{_ratio(metric.log_e_worse)} of {_ratio(evidence.threshold_rollback)}, after {evidence.blocks} blocks with "
        f"{evidence.baseline.decisions} baseline and {evidence.candidate.decisions} candidate decisions"
    )


def primary_evidence(evidence: Evidence) -> MetricEvidence:
    """Evidence on the metric that decides."""
    return evidence.sharpe if evidence.primary is Metric.SHARPE else evidence.win_rate


def _forced(evidence: Evidence) -> str:
    return (
        f"maxHold settled {evidence.baseline.forced_share:.1%} of the baseline's and "
        f"{evidence.candidate.forced_share:.1%} of the candidate's decisions by force, more than "
        f"{FORCED_SHARE_LIMIT:.0%}; a new experiment needs a longer maxHold"
    )


def _tripped(result: GuardrailResult) -> str:
    match result.guardrail:
        case Guardrail.FAST_HARM:
            what = "the candidate's win rate is lower by more than the margin"
        case Guardrail.ERROR_RATE:
            what = "the candidate's error rate is above the accepted one"
        case Guardrail.LATENCY:
            what = "the candidate's share of requests over the latency objective is above the accepted one"
        case Guardrail.RISK_BUDGET:
            return (
                f"the candidate's drawdown of {result.evidence:.2f} USD reached the risk budget of "
                f"{result.threshold:.2f} USD at its closed trade {result.first_row}"
            )
    return f"{what}: evidence {_ratio(result.evidence)} of {_ratio(result.threshold)} at row {result.first_row}"


def _signed(number: float) -> str:
    return f"{number:+.3f}" if isfinite(number) else "unknown"


def _ratio(log: float) -> str:
    return f"{exp(log):.3g}" if log < 14.0 else f"e^{log:.1f}"
