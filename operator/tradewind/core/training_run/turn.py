"""One look at a run: what it starts from, and the ways in which it ends.

Belongs here: the turn and its ends. Does not belong here: the steps of a run (__init__.py, snapshot.py, registration.py).
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tradewind.api.common import Condition
from tradewind.api.training_run import TrainingRun
from tradewind.api.training_run_status import (
    TrainingRunPhase,
    TrainingRunStatus,
)
from tradewind.core.conditions import Fact, is_true, with_facts
from tradewind.core.decision import Decision, Effect, Owner
from tradewind.core.platform import Platform
from tradewind.core.policy import policy_fact, run_faults
from tradewind.core.training_run.seen import Seen
from tradewind.schema.scalars import is_sha256

RETRY = timedelta(seconds=30)
"""Somebody else has to act, or a fault may pass."""
SOON = timedelta(seconds=5)
"""A pod that does not run yet: nothing tells why but a look at it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One look at a run: its status as it will be, what is seen, and for whom children are made."""

    run: TrainingRun
    status: TrainingRunStatus
    seen: Seen
    now: datetime
    platform: Platform
    owner: Owner

    def having(self, **changes: Any) -> "Turn":
        """The same turn with other fields in its status."""
        return replace(self, status=self.status.model_copy(update=changes))

    def decision(
        self, facts: list[Fact], effects: tuple[Effect, ...] = (), requeue_after: timedelta | None = None
    ) -> Decision:
        """The turn's end."""
        told = self.policy
        if told is not None and told.holds:  # what was refused is allowed now
            facts = [*facts, told]
        return Decision(with_conditions(self.run, self.status, facts, self.now), effects, requeue_after)

    @property
    def policy(self) -> Fact | None:
        """Whether the installation allows what the run asks for; None: there is nothing to say."""
        warm = self.seen.warm_start
        faults = run_faults(self.run.spec, self.platform.policy, None if warm is None else warm.spec)
        return policy_fact(faults, self.run.status)

    @property
    def made(self) -> str | None:
        """SHA-256 of the adapter that was trained; None: there is none, or nobody knows what was made."""
        result = self.status.result
        return result.sha256 if result is not None and is_sha256(result.sha256) else None

    @property
    def makes_a_pod(self) -> bool:
        """Whether the next step would make one: a Job that runs, or ended well, is followed to its end."""
        if self.made is not None:
            return False
        job = self.seen.snapshot if self.status.dataset is None else self.seen.training
        return job is None or job.failed

    def waiting(
        self, kind: str, reason: str, message: str, *effects: Effect, again: timedelta | None = RETRY
    ) -> Decision:
        """The turn's end where something is not there yet; `again`: when to look, though nothing happens."""
        facts = [Fact(kind, False, reason, message), unfinished(reason, message)]
        return self.decision(facts, effects, again)

    def failed(self, reason: str, message: str) -> Decision:
        """The run's end, for a reason."""
        facts = [Fact("Succeeded", False, reason, message)]
        if is_true(self.status.conditions, "Training"):
            facts.append(Fact("Training", False, reason, message))
        return self.completed(TrainingRunPhase.FAILED, facts, last_exit=message[:1024])

    def completed(self, phase: TrainingRunPhase, facts: list[Fact], **changes: Any) -> Decision:
        """The run's end."""
        return self.having(phase=phase, completion_time=self.now.replace(microsecond=0), **changes).decision(facts)


def noted(message: str, note: str | None) -> str:
    """A message with what the trainer has to say beside it."""
    return f"{message}. {note}" if note else message


def unfinished(reason: str, message: str) -> Fact:
    """The run is under way."""
    return Fact("Succeeded", None, reason, message)


def with_conditions(run: TrainingRun, status: TrainingRunStatus, facts: list[Fact], now: datetime) -> TrainingRunStatus:
    """The status with what is true now."""
    generation = run.metadata.generation
    conditions: tuple[Condition, ...] = with_facts(status.conditions, facts, generation=generation, now=now)
    return status.model_copy(update={"observed_generation": generation, "conditions": conditions})
