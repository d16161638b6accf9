"""Evidence for and against a candidate: from a trade table to a verdict and a weight.

The public surface of the package; its modules are private to it. Everything is a pure function of the rows, t0, now
and the spec: nothing is remembered, so that anyone can recompute a verdict from the table.
"""

from tradewind.trading.evidence.checks import ExposureCheck, SampleRatio
from tradewind.trading.evidence.confidence import log_e
from tradewind.trading.evidence.evaluate import ArmCounts, Evidence, Looks, MetricEvidence, Verdict, evaluate
from tradewind.trading.evidence.guardrails import (
    ArmChange,
    Guardrail,
    GuardrailResult,
    RequestLog,
    default_risk_budget,
    log_e_rate,
    rate_guardrail,
)
from tradewind.trading.evidence.policy import (
    PolicyFacts,
    WeightDecision,
    WeightReason,
    candidate_weight_for_block,
    next_weight,
)
from tradewind.trading.evidence.report import evidence_json, judgement_json
from tradewind.trading.evidence.requests import JUDGED_COLUMNS, RequestRow, Requests, request_row
from tradewind.trading.evidence.spec import (
    EvidenceSpec,
    Guardrails,
    Metric,
    PolicyKind,
    ScheduleStep,
    TrafficPolicy,
    evidence_spec_from_mapping,
)
from tradewind.trading.evidence.table import (
    NEVER,
    STATUSES,
    Cells,
    Status,
    TradeRow,
    TradeTable,
    from_us,
    known_from,
    to_us,
    trade_row,
)
from tradewind.trading.evidence.verdict import (
    Judgement,
    OperatorVerdict,
    VerdictReason,
    change_message,
    change_reason,
    judge,
    operator_verdict,
)

__all__ = [
    "JUDGED_COLUMNS",
    "NEVER",
    "STATUSES",
    "ArmChange",
    "ArmCounts",
    "Cells",
    "Evidence",
    "EvidenceSpec",
    "ExposureCheck",
    "Guardrail",
    "GuardrailResult",
    "Guardrails",
    "Judgement",
    "Looks",
    "Metric",
    "MetricEvidence",
    "OperatorVerdict",
    "PolicyFacts",
    "PolicyKind",
    "RequestLog",
    "RequestRow",
    "Requests",
    "SampleRatio",
    "ScheduleStep",
    "Status",
    "TradeRow",
    "TradeTable",
    "TrafficPolicy",
    "Verdict",
    "VerdictReason",
    "WeightDecision",
    "WeightReason",
    "candidate_weight_for_block",
    "change_message",
    "change_reason",
    "default_risk_budget",
    "evaluate",
    "evidence_json",
    "evidence_spec_from_mapping",
    "from_us",
    "judge",
    "judgement_json",
    "known_from",
    "log_e",
    "log_e_rate",
    "next_weight",
    "operator_verdict",
    "rate_guardrail",
    "request_row",
    "to_us",
    "trade_row",
]
