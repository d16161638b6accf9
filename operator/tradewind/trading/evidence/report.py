"""Evidence as JSON: for the command line, the status of an experiment and the stored epochs.

Belongs here: names and units of the JSON fields. Does not belong here: any computation. Numbers that are not finite
become null, as JSON has none.
"""

import math

from tradewind.trading.evidence.evaluate import Evidence, MetricEvidence
from tradewind.trading.evidence.guardrails import ArmChange, GuardrailResult
from tradewind.trading.evidence.verdict import Judgement

JSON = dict[str, "str | int | float | bool | JSON | list[JSON] | list[str] | None"]


def evidence_json(evidence: Evidence) -> JSON:
    """The statistical part: decision, block, blocks, decisions, fast_harm_at_decision, metrics."""
    return {
        "decision": evidence.decision.value,
        "block": evidence.block,
        "blocks": evidence.blocks,
        "decisions": {"baseline": evidence.baseline.decisions, "candidate": evidence.candidate.decisions},
        "fast_harm_at_decision": evidence.fast_harm.first_row,
        "metrics": {"win_rate": _metric(evidence.win_rate), "sharpe": _metric(evidence.sharpe)},
    }


def judgement_json(judgement: Judgement) -> JSON:
    """The statistical part plus `operator_verdict` with its reason, message, guardrails and checks."""
    evidence, verdict = judgement.evidence, judgement.verdict
    return evidence_json(evidence) | {
        "operator_verdict": {
            "verdict": verdict.verdict.value,
            "reason": verdict.reason.value,
            "message": verdict.message,
            "watermark": evidence.watermark.isoformat(),
            "pending": evidence.pending,
            "max_hold_too_short": evidence.max_hold_too_short,
            "forced_share": {
                "baseline": evidence.baseline.forced_share,
                "candidate": evidence.candidate.forced_share,
            },
            "left_out": {
                "notional_not_positive": evidence.refused,
                "weight_0_or_1": evidence.unrandomised,
                "before_t0": evidence.before_start,
            },
            "threshold": {
                "log_e_better": evidence.threshold_promote,
                "log_e_worse": evidence.threshold_rollback,
            },
            "variance": {"win_rate": evidence.win_rate.variance, "sharpe": evidence.sharpe.variance},
            "guardrails": [_guardrail(result) for result in judgement.guardrails],
            "exposure": {
                "ratio": _finite(judgement.exposure.ratio),
                "comparable": judgement.exposure.comparable,
                "baseline_notional_hours": judgement.exposure.baseline.notional_hours,
                "candidate_notional_hours": judgement.exposure.candidate.notional_hours,
            },
            "changes": [_change(change) for change in judgement.changes],
            "sample_ratio": {
                "share": _finite(judgement.sample_ratio.share),
                "expected": _finite(judgement.sample_ratio.expected),
                "p_value": judgement.sample_ratio.p_value,
                "alarm": judgement.sample_ratio.alarm,
            },
        }
    }


def _metric(metric: MetricEvidence) -> JSON:
    return {
        "estimate": _finite(metric.estimate),
        "lower": _finite(metric.lower),
        "upper": _finite(metric.upper),
        "log_e_better": _finite(metric.log_e_better),
        "log_e_worse": _finite(metric.log_e_worse),
    }


def _guardrail(result: GuardrailResult) -> JSON:
    return {
        "name": result.guardrail.value,
        "tripped": result.tripped,
        "evidence": _finite(result.evidence),
        "threshold": _finite(result.threshold),
        "first_row": result.first_row,
        "rows": result.rows,
    }


def _change(change: ArmChange) -> JSON:
    return {
        "arm": change.arm.value,
        "known": [*change.known],
        "now": change.now,
        "since": change.since.isoformat(),
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
