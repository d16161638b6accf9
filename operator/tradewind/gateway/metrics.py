"""Prometheus metrics of one replica, in a registry of their own.

Belongs here: names, labels, buckets. Does not belong here: evidence; these numbers forget at restart and decide nothing.
"""

from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """All metrics. `arm` is baseline, candidate or none; `version` the ModelVersion, `role` drawn, shadow or probe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.decisions = Counter(
            "tradewind_decisions",
            "Requests for a decision by drawn arm and result",
            ("arm", "result"),
            registry=self.registry,
        )
        self.arm_seconds = Histogram(
            "tradewind_arm_seconds",
            "Time of one question to an arm",
            ("version", "role"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "tradewind_decision_seconds", "Time of a whole request", ("arm",), buckets=_SECONDS, registry=self.registry
        )
        self.errors = Counter(
            "tradewind_arm_errors",
            "Questions without a usable answer",
            ("version", "role", "kind"),
            registry=self.registry,
        )
        self.causes = Counter(
            "tradewind_arm_error_causes",
            "Questions without a usable answer for which somebody has to do something, by what",
            ("version", "role", "cause"),
            registry=self.registry,
        )
        self.retries = Counter(
            "tradewind_arm_retries",
            "Calls beyond the first of a question",
            ("version", "role"),
            registry=self.registry,
        )
        self.readings = Counter(
            "tradewind_arm_readings",
            "Rules that were needed to read an external arm's answers",
            ("version", "rule"),
            registry=self.registry,
        )
        self.shadows = Counter(
            "tradewind_shadows",
            "Shadows that were stored, by what they are to a pair",
            ("version", "state"),
            registry=self.registry,
        )
        self.fallbacks = Counter(
            "tradewind_fallbacks",
            "Decisions answered by the fallback, by drawn version",
            ("version",),
            registry=self.registry,
        )
        self.breaker_open = Gauge(
            "tradewind_breaker_open", "1 while an arm counts as down", ("version",), registry=self.registry
        )
        self.arm_healthy = Gauge(
            "tradewind_arm_healthy", "1 while an arm answers with valid decisions", ("version",), registry=self.registry
        )
        self.arm_health_changes = Counter(
            "tradewind_arm_health_changes",
            "Changes of what is known of an arm, by the reason that ArmHealthy has then",
            ("version", "reason"),
            registry=self.registry,
        )
        self.probe_cost = Counter(
            "tradewind_probe_cost_cny",
            "Price of the questions that are asked to see whether an arm answers",
            ("version",),
            registry=self.registry,
        )
        self.generation = Gauge(
            "tradewind_routing_generation", "Generation of the routing obeyed", registry=self.registry
        )
        self.routing_refused = Counter(
            "tradewind_routing_refused",
            "Routing documents that were found and not obeyed, by why",
            ("reason",),
            registry=self.registry,
        )
        self.epoch = Gauge("tradewind_routing_epoch", "Epoch of the weights obeyed", registry=self.registry)
        self.expires = Gauge(
            "tradewind_routing_expires_timestamp_seconds", "End of the weights' validity", registry=self.registry
        )
        self.database_up = Gauge("tradewind_database_up", "1 while the database answers", registry=self.registry)
        self.spooled = Gauge("tradewind_spool_records", "Decisions that wait for the database", registry=self.registry)
        self.spool_refused = Counter(
            "tradewind_spool_refused",
            "Spooled records that could not be taken in and were set aside",
            registry=self.registry,
        )
        self.shed = Counter(
            "tradewind_shed",
            "Requests that were refused unread since there was no room, by kind: decisions, reports, reads",
            ("share",),
            registry=self.registry,
        )
        self.unauthorized = Counter(
            "tradewind_unauthorized",
            "Requests without a right token, by the code that they got: unauthorized, unauthorized_too_often",
            ("code",),
            registry=self.registry,
        )
        self.in_work = Gauge("tradewind_decisions_in_work", "Decisions that are in work", registry=self.registry)
        self.decision_room = Gauge(
            "tradewind_decision_room", "Decisions that may be in work at a time, as load has it", registry=self.registry
        )
        self.withdrawn = Counter(
            "tradewind_withdrawn_draws",
            "Decisions drawn for a candidate whose experiment ended before it answered; the champion did",
            registry=self.registry,
        )
        self.conflicts = Counter(
            "tradewind_conflicting_answers",
            "Answers that were given, in an outage, to decisions that had another answer",
            registry=self.registry,
        )

        self.lost = Counter(
            "tradewind_lost_decisions",
            "Decisions that are no evidence, by reason as far as this replica knows it when it happens",
            ("reason",),
            registry=self.registry,
        )
        self.reports = Counter(
            "tradewind_reports", "Reports by kind of event and result", ("event", "result"), registry=self.registry
        )

    def forget_arm(self, version: str) -> None:
        """Takes away what would go on saying something of an arm that is no longer watched."""
        with suppress(KeyError):
            self.arm_healthy.remove(version)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
