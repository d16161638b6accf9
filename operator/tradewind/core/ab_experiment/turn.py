"""One turn of an experiment: what is known at one moment, and how its status is written.

A turn computes what it needs once and keeps it: the spec, the judgement of each look. It asks for nothing; the parts of the
decision (start.py, looks.py, verdict.py) do.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property

from tradewind.api.ab_experiment import ABExperiment, Mode
from tradewind.api.ab_experiment_status import ABExperimentStatus, CandidateWeight, HistoryEntry
from tradewind.api.endpoint import Endpoint
from tradewind.core.ab_experiment.seen import Reason, Seen
from tradewind.core.arms import arm_statuses, comparison
from tradewind.core.conditions import Fact, with_facts
from tradewind.core.costs import cost_benefit
from tradewind.core.decision import Decision, Effect
from tradewind.core.endpoint import EpochRow
from tradewind.core.evidence import accepts_of, basis_of, evidence_status, guardrail_status, risk_budget, settlement_of
from tradewind.schema.scalars import as_milliseconds
from tradewind.trading.evidence import (
    EvidenceSpec,
    Judgement,
    LatencyObjective,
    Requests,
    TradeTable,
    VerdictReason,
    judge,
    to_us,
)

HISTORY_LENGTH = 50
LIVE_LOOK = timedelta(seconds=30)
_SHOWN_EVERY = timedelta(seconds=10)
_REPEATED_EVERY = timedelta(seconds=60)
"""The same numbers are shown as those of a later look: well before their age stops the weight (UNWATCHED_AFTER)."""


@dataclass(frozen=True)
class Turn:
    """What one decision about an experiment rests on.

    Attributes:
        experiment: as it was read; its status is that before the decision.
        seen: facts.
        now: time of the turn.
    """

    experiment: ABExperiment
    seen: Seen
    now: datetime
    _judged: dict[datetime, Judgement] = field(default_factory=dict, repr=False)

    @property
    def endpoint(self) -> Endpoint:
        """The Endpoint; only where it exists."""
        assert self.seen.endpoint is not None
        return self.seen.endpoint

    @property
    def table(self) -> TradeTable:
        """The rows; only where they are known."""
        assert self.seen.table is not None
        return self.seen.table

    @property
    def requests(self) -> Requests:
        """The requests; only where they are known."""
        assert self.seen.requests is not None
        return self.seen.requests

    @property
    def t0(self) -> datetime:
        """Start of the first block; only once there is one."""
        assert self.experiment.status.t0 is not None
        return self.experiment.status.t0

    @property
    def replays(self) -> bool:
        """Whether the clock is the data's."""
        return self.experiment.spec.mode is Mode.REPLAY

    @cached_property
    def baseline_name(self) -> str | None:
        """The baseline: as it was at the start, as the spec names it, or the Endpoint's champion."""
        return baseline_name(self.experiment, self.endpoint)

    @cached_property
    def spec(self) -> EvidenceSpec:
        """What the verdict rests on besides the rows: fixed once the experiment has started."""
        return EvidenceSpec(
            rules=self.experiment.spec,
            settlement=settlement_of(self.experiment, self.endpoint),
            retest=self.seen.tested_before,
            replay=self.replays,
            accepts=accepts_of(self.experiment),
            basis=basis_of(self.experiment),
        )

    @cached_property
    def latency_objective(self) -> LatencyObjective | None:
        """Latency that the candidate must keep: as it was at t0; before it the experiment's, else the candidate's own.

        None for an external API without one.
        """
        spec, versions = self.experiment.spec, self.seen.versions
        wanted: LatencyObjective | None = self.experiment.status.latency_objective or spec.guardrails.latency_objective
        candidate = versions.get(spec.candidate)
        if wanted is not None or candidate is None or candidate.spec.external is not None:
            return wanted
        return candidate.spec.serving.latency_objective

    def having(self, status: ABExperimentStatus) -> "Turn":
        """This turn of the experiment with that status: nothing that followed from the old one is kept."""
        return replace(self, experiment=self.experiment.model_copy(update={"status": status}), _judged={})

    def not_before_start(self) -> "Turn":
        """This turn, at t0 at the earliest: another node's clock may be behind."""
        return self if self.now >= self.t0 else replace(self, now=self.t0)

    def at(self, look: datetime) -> "Turn":
        """What a look at that time knew: a request at this very moment may or may not have come before the operator did."""
        table = self.table.select(self.table.decided_us < to_us(look, "look"))
        lost = self.seen.lost.decided_before(look) if self.seen.lost is not None else None
        seen = replace(self.seen, table=table, requests=self.requests.decided_before(look), lost=lost)
        return replace(self, seen=seen, _judged={})

    def judge(self, look: datetime) -> Judgement:
        """Evidence, guardrails and verdict at `look`, from what is known of the requests before it; computed once."""
        if look not in self._judged:
            objective = self.latency_objective
            slow_ms = as_milliseconds(objective.p99) if objective else math.inf
            names_from, names_until = self.spec.naming(self.t0, look)
            log = self.requests.log(look, slow_ms, names_until, names_from)
            self._judged[look] = judge(self.table, self.t0, look, self.spec, log, self.seen.lost, self.seen.memory)
        return self._judged[look]

    def block_start(self, block: int) -> datetime:
        """When a block begins."""
        return self.t0 + block * self.spec.block_length

    def says(self, status: ABExperimentStatus, facts: Iterable[Fact]) -> ABExperimentStatus:
        """The status with these facts as its conditions."""
        generation = self.experiment.metadata.generation
        conditions = with_facts(status.conditions, facts, generation=generation, now=self.now)
        return status.model_copy(update={"observed_generation": generation, "conditions": conditions})

    def decision(
        self,
        status: ABExperimentStatus,
        *facts: Fact,
        effects: tuple[Effect, ...] = (),
        again: timedelta | None = None,
    ) -> Decision:
        """The status with its conditions, what is done before it is written, and when to look again."""
        return Decision(self.says(status, facts), effects, again)

    def shown(self, status: ABExperimentStatus, look: datetime) -> ABExperimentStatus:
        """The status with the numbers of this look."""
        judgement = self.judge(look)
        baseline = status.baseline_ref.name if status.baseline_ref else ""
        costs = cost_benefit(self.experiment.spec.costs, self.seen.versions.get(baseline), self.requests, self.t0, look)
        facts = [] if status.verdict is not None else [_thin(judgement, self.spec)]
        status = self.says(status, facts if costs is None else [*facts, costs])
        evidence = evidence_status(judgement, self.spec.known_at(look))
        if status.verdict is not None and status.evidence is not None:
            # What the verdict was given on: whoever checks it has this count alone.
            kept = {name: getattr(status.evidence, name) for name in ("lost", "lost_share")}
            evidence = evidence.model_copy(update=kept)
        candidate = self.experiment.spec.candidate
        return status.model_copy(
            update={
                "evidence": evidence,
                "guardrails": guardrail_status(judgement),
                "risk_budget_usd": risk_budget(judgement),
                "arms": arm_statuses(self.table, self.requests, self.t0, look, (baseline, candidate)),
                "comparison": comparison(self.table, self.t0, look),
                "last_evaluated_time": look.replace(microsecond=0),
            }
        )

    def refreshed(self, status: ABExperimentStatus) -> ABExperimentStatus:
        """The status with the numbers of now; as it was where they are the same and a minute has not passed."""
        new, last = self.shown(status, self.now), status.last_evaluated_time
        recent = last is not None and self.now - last < _REPEATED_EVERY
        return status if recent and new.model_copy(update={"last_evaluated_time": last}) == status else new

    def to_be_shown(self, status: ABExperimentStatus) -> bool:
        """Whether the numbers are ten seconds old: each write of a status is an event, and an event is another look."""
        last = status.last_evaluated_time
        return last is None or not timedelta(0) <= self.now - last < _SHOWN_EVERY

    def of_epoch(self, status: ABExperimentStatus, row: EpochRow) -> ABExperimentStatus:
        """The status with the weight of a block that has its epoch."""
        first = row.block
        weights = {known.block: known.candidate_weight for known in self.seen.epochs}
        while weights.get(first - 1) == row.candidate_weight:
            first -= 1
        weight = CandidateWeight(
            desired=f"{row.candidate_weight:f}",
            reason=row.reason or None,
            message=row.message[:1024] or None,
            since=self.block_start(first),
            next_look=self.block_start(row.block + 1),
        )
        return status.model_copy(update={"weight": weight, "epoch": row.epoch})


def _thin(judgement: Judgement, spec: EvidenceSpec) -> Fact:
    """Whether too many decisions are no evidence. Its numbers move with those of the status, not with each turn."""
    if judgement.lost.share > spec.max_lost_share:
        reason = VerdictReason.EVIDENCE_THIN
        return Fact("EvidenceThin", True, reason, f"promotion waits: {judgement.lost.sentence(spec.max_lost_share)}")
    message = f"at most evidence.maxLostShare {spec.max_lost_share:g} of the decisions are no evidence"
    return Fact("EvidenceThin", False, Reason.FEW_LOST, message)


def baseline_name(experiment: ABExperiment, endpoint: Endpoint) -> str | None:
    """The baseline: as it was at the start, as the spec names it, or the Endpoint's champion."""
    if experiment.status.baseline_ref is not None:
        return experiment.status.baseline_ref.name
    if experiment.spec.baseline is not None:
        return experiment.spec.baseline
    return endpoint.status.champion_ref.name if endpoint.status.champion_ref else None


def weighted(
    status: ABExperimentStatus, weight: Decimal, reason: str, message: str, since: datetime
) -> ABExperimentStatus:
    """The status with a weight that no block gave: a pause, a ramp, the end. `since` counts where it is another one."""
    old, desired = status.weight, f"{weight:f}"
    kept = old.since if old is not None and old.desired == desired else None
    made = CandidateWeight(
        desired=desired, reason=str(reason), message=message[:1024] or None, since=kept or since.replace(microsecond=0)
    )
    return status.model_copy(update={"weight": made})


def handled(status: ABExperimentStatus, verb: str, request: str) -> ABExperimentStatus:
    """The status with a verb carried out: its request id never acts again."""
    return status.model_copy(update={"last_handled": {**status.last_handled, verb: request}})


def noted(status: ABExperimentStatus, entry: HistoryEntry) -> ABExperimentStatus:
    """The status with one more thing that happened, the newest last, bounded."""
    return status.model_copy(update={"history": (*status.history, entry)[-HISTORY_LENGTH:]})
