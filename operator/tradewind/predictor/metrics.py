"""Prometheus metrics of a predictor, in the registry that KServe's `/metrics` shows.

Belongs here: names, labels, buckets. Does not belong here: what is counted when (model.py).
"""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2, 5, 10, 30)

DECISIONS = Counter("tradewind_predictor_decisions", "Decisions that were written, by action", ("action",))
PASSES = Histogram(
    "tradewind_predictor_passes", "Calls of the model for a decision", buckets=(1, 2, 3, 4, 6, 8, 12, 16, 20, 40, 80)
)
SECONDS = Histogram(
    "tradewind_predictor_decision_seconds",
    "Time from a request's arrival to a decision, waiting included",
    buckets=_SECONDS,
)
ACTION_SECONDS = Histogram(
    "tradewind_predictor_action_seconds",
    "Time from a request's arrival to its action, the fields after it still open; waiting included",
    buckets=_SECONDS,
)
BATCH = Histogram(
    "tradewind_predictor_batch",
    "Answers that share a call of the model",
    buckets=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64),
)
PROMPT_TOKENS = Counter(
    "tradewind_predictor_prompt_tokens",
    "Tokens of prompts: read, by the model; shared, since the instruction or another prompt begins alike",
    ("source",),
)
QUEUE = Gauge("tradewind_predictor_queue", "Decisions that wait or are being written")
BAD_PASSES = Counter(
    "tradewind_predictor_bad_passes",
    "Decisions that failed by the model: not_finite, scores that are no numbers; failed, a call that ended with an error",
    ("kind",),
)
for _source in ("read", "shared"):
    PROMPT_TOKENS.labels(_source)
for _kind in ("not_finite", "failed"):
    BAD_PASSES.labels(_kind)
