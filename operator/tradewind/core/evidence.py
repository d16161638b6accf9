"""From an ABExperiment's spec to the statistic's, and from the statistic's judgement to the status."""

import math
from datetime import timedelta
from typing import Any

from tradewind.api import ab_experiment_status as api
from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.endpoint import Endpoint
from tradewind.schema.scalars import as_timedelta
from tradewind.trading.evidence import (
    EvidenceSpec,
    Guardrail,
    Judgement,
    Metric,
    MetricEvidence,
)


def max_hold(experiment: ABExperiment, endpoint: Endpoint) -> timedelta:
    """MaxHold that an experiment goes by: the Endpoint's at t0. A later edit would move blocks that are past."""
    return as_timedelta(experiment.status.max_hold or endpoint.spec.max_hold)


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


def risk_budget(judgement: Judgement) -> float | None:
    """The budget in force, in USD: the spec's, or the default that the baseline's decisions before t0 gave."""
    budgets = (result for result in judgement.guardrails if result.guardrail is Guardrail.RISK_BUDGET)
    return next((finite(result.threshold) for result in budgets), None)


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
