"""From an ABExperiment's spec to the statistic's, and from the statistic's judgement to the status."""

import math

from tradewind.api import ab_experiment_status as api
from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.schema.scalars import as_timedelta
from tradewind.trading.evidence import (
    METRICS,
    Accepted,
    Basis,
    EvidenceSpec,
    Judgement,
    LostCounts,
    LostReason,
    Metric,
    Settlement,
)
from tradewind.trading.evidence.guardrails.risk_budget import RISK_BUDGET
from tradewind.trading.evidence.settings import Shadow
from tradewind.trading.paper import PaperBasis


def settlement_of(experiment: ABExperiment, endpoint: Endpoint) -> Settlement:
    """What an experiment goes by: maxHold of the Endpoint at t0. A later edit would move blocks that are past."""
    return Settlement(as_timedelta(experiment.status.max_hold or endpoint.spec.max_hold))


def paper_basis(experiment: ABExperiment, endpoint: Endpoint) -> PaperBasis:
    """What an experiment's papers rest on: the Endpoint's settings as they were at t0."""
    basis = experiment.status.basis
    settings = basis.paper if basis is not None else None
    share = float(experiment.spec.traffic.shadow_share)
    return PaperBasis(settings, settlement_of(experiment, endpoint).max_hold, share)


def accepts_of(experiment: ABExperiment) -> tuple[Accepted, ...]:
    """The changes of an arm that were accepted, as the statistic takes them."""
    return tuple(Accepted(accept.time, accept.block) for accept in experiment.status.accepted or ())


def basis_of(experiment: ABExperiment) -> Basis:
    """What was settled at the start; before it, what the spec alone says."""
    found = experiment.status.basis
    if found is None:
        # One that began before there was a basis began with the boundary that was the only one, and without shadows.
        began = experiment.status.t0 is not None
        return Basis(boundary="anytime") if began else Basis(shadow=experiment.spec.traffic.shadow or "none")
    return Basis(
        shadow=found.shadow or "none",
        boundary=found.boundary,
        scale_by_symbol=found.scale_by_symbol or False,
        reference_notional=found.reference_notional_usd,
    )


def shadow_of(wanted: Shadow | None, baseline: ModelVersion, candidate: ModelVersion) -> Shadow:
    """Who is asked beside the drawn arm: as the spec says, else whoever costs nothing to ask.

    An external arm is a shadow only where the spec says so: each question is billed.
    """
    if wanted is not None:
        return wanted
    if candidate.spec.external is not None:
        return "none"
    return "both" if baseline.spec.external is None else "candidate"


def evidence_status(judgement: Judgement, spec: EvidenceSpec) -> api.EvidenceStatus:
    """The numbers that a person needs to check the verdict; what is not finite is left out."""
    evidence = judgement.evidence
    return api.EvidenceStatus(
        blocks=evidence.blocks,
        block_seconds=int(spec.block_length.total_seconds()),
        watermark=evidence.watermark,
        rows_baseline=evidence.baseline.decisions,
        rows_candidate=evidence.candidate.decisions,
        pending_trades=evidence.pending,
        forced_rows=evidence.baseline.forced + evidence.candidate.forced,
        lost=api.LostStatus.model_validate(
            {
                **{reason.value: judgement.lost.by_reason.get(reason, 0) for reason in LostReason},
                "decisions": judgement.lost.decisions,
            }
        ),
        lost_share=finite(judgement.lost.share),
        corrected=judgement.corrected,
        metrics=tuple(_metric(judgement, metric) for metric in METRICS),
        score=evidence.score.value,
        pairs=_pairs(judgement),
        superior=evidence.superior,
        not_inferior=evidence.not_inferior,
        alpha=spec.alpha,
        retest_number=spec.retest,
        sample_ratio_p_value=judgement.sample_ratio.p_value,
        statistical_decision=evidence.decision.value,
        decision_block=evidence.block,
    )


def lost_counts(status: api.EvidenceStatus | None) -> LostCounts | None:
    """What was lost, as an earlier look counted it; None where none did."""
    if status is None or status.lost is None or status.lost.decisions is None:
        return None
    found = status.lost
    return LostCounts({reason: getattr(found, reason.value) or 0 for reason in LostReason}, status.lost.decisions)


def guardrail_status(judgement: Judgement) -> tuple[api.GuardrailStatus, ...]:
    """Each watch that rolls back, with its number."""
    return tuple(
        api.GuardrailStatus(
            name=result.reason,
            value=finite(result.guardrail.unit.measured(result.evidence)),
            threshold=finite(result.guardrail.unit.measured(result.threshold)),
            tripped=result.tripped,
            message=f"tripped at row {result.first_row}" if result.tripped else f"{result.rows} rows read",
        )
        for result in judgement.guardrails
        if not result.guardrail.holds
    )


def risk_budget(judgement: Judgement) -> float | None:
    """The budget in force, in USD: the spec's, or the default that the baseline's decisions before t0 gave."""
    budgets = (result for result in judgement.guardrails if result.guardrail is RISK_BUDGET)
    return next((finite(result.threshold) for result in budgets), None)


def _pairs(judgement: Judgement) -> api.PairsStatus | None:
    found = judgement.evidence.about_pairs
    if found is None:
        return None
    return api.PairsStatus(
        number=found.pairs,
        share_without=finite(found.share_without),
        alike=finite(found.alike),
        slope_baseline=finite(found.slope[0]),
        slope_candidate=finite(found.slope[1]),
        correlation=finite(found.correlation),
        unpaired_days=finite(found.unpaired_days),
        set_aside=None if judgement.evidence.set_aside is None else judgement.evidence.set_aside.value,
    )


def finite(number: float) -> float | None:
    """The number rounded to nine significant digits, or None where JSON has none."""
    return float(f"{number:.9g}") if math.isfinite(number) else None


def _metric(judgement: Judgement, metric: Metric) -> api.MetricEvidence:
    evidence = judgement.evidence
    found, not_inferior = evidence.metrics[metric.name], evidence.log_e_not_inferior(metric.name)
    return api.MetricEvidence(
        name=metric.name,
        estimate=finite(found.estimate),
        lower=finite(found.lower),
        upper=finite(found.upper),
        log_e_better=finite(found.log_e_better),
        log_e_worse=finite(found.log_e_worse),
        log_e_not_inferior=None if not_inferior is None else finite(not_inferior),
        threshold=finite(evidence.threshold_promote),
        variance=finite(found.variance),
    )
