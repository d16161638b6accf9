"""Evidence for and against a candidate: from a trade table to a verdict and a weight.

The public surface of the package; its modules are private to it. Everything is a pure function of the rows, t0, now
and the spec: nothing is remembered, so that anyone can recompute a verdict from the table.
"""

from tradewind.trading.evidence.blocks import Pairing, Settlement
from tradewind.trading.evidence.cells import Cells
from tradewind.trading.evidence.checks import ArmExposures, SampleRatio
from tradewind.trading.evidence.confidence import log_e
from tradewind.trading.evidence.evaluate import (
    ArmCounts,
    Evidence,
    Looks,
    MetricEvidence,
    Verdict,
    evaluate,
    settled_at,
)
from tradewind.trading.evidence.guardrails import GUARDRAILS, Guardrail, GuardrailResult
from tradewind.trading.evidence.guardrails.latency import LatencyObjective
from tradewind.trading.evidence.kept import Memory
from tradewind.trading.evidence.lost import LOSSES, LOST_REASONS, LostCounts, LostDecisions, LostReason, LostRow
from tradewind.trading.evidence.metrics import METRICS, Metric
from tradewind.trading.evidence.pair_facts import PaperTrades, paper_trades
from tradewind.trading.evidence.policies import POLICIES, PolicyFacts, WeightDecision, WeightPolicy
from tradewind.trading.evidence.report import judgement_json
from tradewind.trading.evidence.requests import (
    JUDGED_COLUMNS,
    ArmChange,
    RequestLog,
    RequestRow,
    Requests,
    request_row,
)
from tradewind.trading.evidence.settings import ExperimentRules, MetricName, WeightStep
from tradewind.trading.evidence.spec import Accepted, Basis, EvidenceSpec
from tradewind.trading.evidence.stored import StoredEvidence, StoredRows
from tradewind.trading.evidence.table import (
    FAILURES,
    NEVER,
    STATUSES,
    Failure,
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
    set_aside,
)
from tradewind.trading.evidence.weights import candidate_weight_for_block

__all__ = [
    "FAILURES",
    "GUARDRAILS",
    "JUDGED_COLUMNS",
    "LOSSES",
    "LOST_REASONS",
    "METRICS",
    "NEVER",
    "POLICIES",
    "STATUSES",
    "Accepted",
    "ArmChange",
    "ArmCounts",
    "ArmExposures",
    "Basis",
    "Cells",
    "Evidence",
    "EvidenceSpec",
    "ExperimentRules",
    "Failure",
    "Guardrail",
    "GuardrailResult",
    "Judgement",
    "LatencyObjective",
    "Looks",
    "LostCounts",
    "LostDecisions",
    "LostReason",
    "LostRow",
    "Memory",
    "Metric",
    "MetricEvidence",
    "MetricName",
    "OperatorVerdict",
    "Pairing",
    "PaperTrades",
    "PolicyFacts",
    "RequestLog",
    "RequestRow",
    "Requests",
    "SampleRatio",
    "Settlement",
    "Status",
    "StoredEvidence",
    "StoredRows",
    "TradeRow",
    "TradeTable",
    "Verdict",
    "VerdictReason",
    "WeightDecision",
    "WeightPolicy",
    "WeightStep",
    "candidate_weight_for_block",
    "change_message",
    "change_reason",
    "evaluate",
    "from_us",
    "judge",
    "judgement_json",
    "known_from",
    "log_e",
    "paper_trades",
    "request_row",
    "set_aside",
    "settled_at",
    "to_us",
    "trade_row",
]
