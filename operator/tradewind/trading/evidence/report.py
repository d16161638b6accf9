"""Evidence as JSON: for the command line, the status of an experiment and the stored epochs.

Belongs here: names and units of the JSON fields. Does not belong here: any computation. Numbers that are not finite
become null, as JSON has none.
"""

import math

from tradewind.trading.evidence.evaluate import MetricEvidence, PairsSetAside
from tradewind.trading.evidence.guardrails import GuardrailResult
from tradewind.trading.evidence.guardrails.exposure import EXPOSURE
from tradewind.trading.evidence.guardrails.fast_harm import FAST_HARM
from tradewind.trading.evidence.lost import LostReason
from tradewind.trading.evidence.metrics import METRICS
from tradewind.trading.evidence.requests import ArmChange
from tradewind.trading.evidence.verdict import Judgement

JSON = dict[str, "str | int | float | bool | JSON | list[JSON] | list[str] | None"]


def judgement_json(judgement: Judgement) -> JSON:
    """What acts (`decision`), what the statistic alone says, blocks, decisions, metrics; `operator_verdict` with what overruled it."""
    evidence, verdict = judgement.evidence, judgement.verdict
    rolls_back = [result for result in judgement.guardrails if not result.guardrail.holds]
    exposures = judgement.exposures
    return {
        "decision": verdict.verdict.value,
        "reason": judgement.reason,
        "block": evidence.block,
        "blocks": evidence.blocks,
        "decisions": {"baseline": evidence.baseline.decisions, "candidate": evidence.candidate.decisions},
        "pairs": evidence.pairs,
        "score": evidence.score.value,
        "shadow_comparable": evidence.set_aside is not PairsSetAside.DEPENDENT,
        "pairs_set_aside": evidence.set_aside,
        "threshold": {"promotion": evidence.threshold_promote, "rollback": evidence.threshold_rollback},
        "fast_harm_at_decision": next((r.first_row for r in rolls_back if r.guardrail is FAST_HARM), None),
        "metrics": {metric.key: _metric(evidence.metrics[metric.name]) for metric in METRICS},
        "operator_verdict": {
            "verdict": verdict.verdict.value,
            "reason": str(verdict.reason),
            "message": verdict.message,
            "statistic": {"decision": evidence.decision.value, "block": evidence.block},
            "watermark": evidence.watermark.isoformat(),
            "pending": evidence.pending,
            "max_hold_too_short": evidence.max_hold_too_short,
            "forced_share": {
                "baseline": evidence.baseline.forced_share,
                "candidate": evidence.candidate.forced_share,
            },
            "left_out": {
                "weight_0_or_1": evidence.unrandomised,
                "before_t0": evidence.before_start,
            },
            "variance": {metric.key: evidence.metrics[metric.name].variance for metric in METRICS},
            "info": {metric.key: evidence.metrics[metric.name].info for metric in METRICS},
            "unpaired": {metric.key: _metric(evidence.alone[metric.name]) for metric in METRICS},
            "guardrails": [_guardrail(result) for result in rolls_back],
            "exposure": {
                "ratio": _finite(exposures.ratio),
                "comparable": not any(r.tripped and r.guardrail is EXPOSURE for r in judgement.guardrails),
                "baseline_notional_hours": exposures.baseline.notional_hours,
                "candidate_notional_hours": exposures.candidate.notional_hours,
            },
            "changes": [_change(change) for change in judgement.changes],
            "lost": {
                "share": judgement.lost.share,
                "decisions": judgement.lost.decisions,
                "by_reason": {reason.value: judgement.lost.by_reason.get(reason, 0) for reason in LostReason},
            },
            "corrected": judgement.corrected,
            "sample_ratio": {
                "share": _finite(judgement.sample_ratio.share),
                "expected": _finite(judgement.sample_ratio.expected),
                "p_value": judgement.sample_ratio.p_value,
                "alarm": judgement.sample_ratio.alarm,
            },
        },
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
        "name": result.reason,
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
