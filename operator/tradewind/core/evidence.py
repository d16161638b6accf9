"""From an ABExperiment's spec to the statistic's, and from the statistic's judgement to the status."""

import math
from datetime import timedelta
from typing import Any

from tradewind.api import ab_experiment as api
from tradewind.api.common import as_timedelta
from tradewind.trading.evidence import (
    EvidenceSpec,
    Guardrails,
    Judgement,
    Metric,
    MetricEvidence,
    PolicyKind,
    ScheduleStep,
    TrafficPolicy,
)


def evidence_spec(
    spec: api.ExperimentSettings, *, max_hold: timedelta, retest: int = 0, replay: bool = False
) -> EvidenceSpec:
    """What the statistic needs of an experiment's spec.

    Args:
        max_hold: of the Endpoint.
        retest: how often this pair was compared before; the k-th comparison runs at alpha / 2^k.
        replay: latency is not watched then: the data's clock knows nothing of the machine that replays it.
    """
    evidence, rails = spec.evidence, spec.guardrails
    low, high = rails.exposure_ratio
    return EvidenceSpec(
        primary=Metric.SHARPE if evidence.primary == "sharpe" else Metric.WIN_RATE,
        alpha=float(evidence.alpha),
        alpha_rollback=float(evidence.alpha_rollback),
        margin_win_rate=float(evidence.non_inferiority.win_rate),
        margin_sharpe=float(evidence.non_inferiority.sharpe),
        min_duration=as_timedelta(evidence.min_duration),
        max_duration=as_timedelta(evidence.max_duration),
        min_trades_per_arm=evidence.min_trades_per_arm,
        max_hold=max_hold,
        traffic=_traffic(spec.traffic),
        guardrails=Guardrails(
            fast_harm=rails.fast_harm.enabled,
            fast_harm_margin=float(rails.fast_harm.margin),
            error_rate=float(rails.error_rate),
            slow_rate=None if replay else float(rails.latency_share),
            risk_budget_usd=None if rails.risk_budget_usd is None else float(rails.risk_budget_usd),
            exposure_ratio=(float(low), float(high)),
        ),
        retest=retest,
    )


def block_length(max_hold: timedelta) -> timedelta:
    """L: whole days, at least one and at least max_hold."""
    return max(1, -(-max_hold // timedelta(days=1))) * timedelta(days=1)


def evidence_status(judgement: Judgement, spec: EvidenceSpec) -> api.EvidenceStatus:
    """The numbers that a person needs to check the verdict; what is not finite is left out."""
    evidence, looks = judgement.evidence, judgement.evidence.looks
    promoted = evidence.threshold_promote
    other_name = "winRate" if spec.primary is Metric.SHARPE else "sharpe"
    not_inferior = finite(float(looks.not_worse[-1])) if looks.not_worse.size else None
    return api.EvidenceStatus(
        blocks=evidence.blocks,
        block_seconds=int(spec.block_length.total_seconds()),
        watermark=evidence.watermark,
        rows_baseline=evidence.baseline.decisions,
        rows_candidate=evidence.candidate.decisions,
        pending_trades=evidence.pending,
        refused_rows=evidence.refused,
        forced_rows=evidence.baseline.forced + evidence.candidate.forced,
        metrics=(
            _metric("sharpe", evidence.sharpe, promoted, not_inferior if other_name == "sharpe" else None),
            _metric("winRate", evidence.win_rate, promoted, not_inferior if other_name == "winRate" else None),
        ),
        superior=bool((looks.better >= promoted).any()),
        not_inferior=bool((looks.not_worse >= promoted).any()),
        alpha=spec.effective_alpha(),
        retest_number=spec.retest,
        sample_ratio_p_value=judgement.sample_ratio.p_value,
        statistical_decision=evidence.decision.value,
        decision_block=evidence.block,
    )


def guardrail_status(judgement: Judgement) -> tuple[api.GuardrailStatus, ...]:
    """Each watch with its number."""
    return tuple(
        api.GuardrailStatus(
            name=result.guardrail.value,
            value=finite(result.evidence),
            threshold=finite(result.threshold),
            tripped=result.tripped,
            message=f"tripped at row {result.first_row}" if result.tripped else f"{result.rows} rows read",
        )
        for result in judgement.guardrails
    )


def finite(number: float) -> float | None:
    """The number rounded to nine significant digits, or None where JSON has none."""
    return float(f"{number:.9g}") if math.isfinite(number) else None


def _metric(name: Any, metric: MetricEvidence, threshold: float, not_inferior: float | None) -> api.MetricEvidence:
    return api.MetricEvidence(
        name=name,
        estimate=finite(metric.estimate),
        lower=finite(metric.lower),
        upper=finite(metric.upper),
        log_e_better=finite(metric.log_e_better),
        log_e_worse=finite(metric.log_e_worse),
        log_e_not_inferior=not_inferior,
        threshold=finite(threshold),
        variance=finite(metric.variance),
    )


def _traffic(traffic: api.Traffic) -> TrafficPolicy:
    steps = traffic.steps or ()
    match traffic.policy:
        case api.Policy.FIXED:
            assert traffic.weight is not None
            return TrafficPolicy(kind=PolicyKind.FIXED, weight=float(traffic.weight))
        case api.Policy.SCHEDULE:
            return TrafficPolicy(
                kind=PolicyKind.SCHEDULE,
                steps=tuple(ScheduleStep(as_timedelta(s.duration or "1d"), float(s.weight)) for s in steps),
            )
        case api.Policy.GATED:
            levels = tuple(float(s.weight) for s in steps)
            return TrafficPolicy(kind=PolicyKind.GATED, levels=levels) if levels else TrafficPolicy()
