"""A world of a schedule under a clock that the tests set: its runs, and what was ever made and deleted of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from golden_worlds import Case, build, resource_of

from tradewind.api.training_schedule import TrainingScheduleStatus
from tradewind.core.decision import Create, Decision, Delete

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SPEC = {"timeZone": "Etc/UTC", "experimentTemplate": None, "minNewSamples": 500}


@dataclass
class World:
    """A schedule, its runs, and what was ever made of them."""

    case: Case
    samples: Callable[[datetime], int] = lambda _: 500
    ends: Callable[[str], str | None] = lambda _: "Succeeded"
    made: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, start: datetime = START, **spec: Any) -> "World":
        resource = {"metadata": {"creationTimestamp": start.isoformat()}, "spec": SPEC | spec, "status": None}
        return cls(build("training_schedule", {"resource": resource, "facts": {"versions": None, "endpoint": None}}))

    @property
    def status(self) -> TrainingScheduleStatus:
        status = self.case.resource.status  # type: ignore[attr-defined]
        assert isinstance(status, TrainingScheduleStatus)
        return status

    def turn(self, now: datetime, *, written: bool = True) -> Decision:
        """One look. `written` False: the operator died after the effects and before the status."""
        seen = replace(self.case.seen, runs=tuple(self._aged(now)), new_samples=self.samples(now))
        case = replace(self.case, seen=seen)
        decision = case.decide(now=now)
        self.made += [e.manifest["metadata"]["name"] for e in decision.effects if isinstance(e, Create)]
        self.gone += [e.name for e in decision.effects if isinstance(e, Delete)]
        after = case.after(decision)
        self.case = after if written else replace(after, resource=self.case.resource)
        return decision

    def spec(self, **changes: Any) -> None:
        manifest = self.case.resource.to_manifest()
        manifest["spec"] |= changes
        manifest["metadata"]["generation"] = manifest["metadata"].get("generation", 1) + 1
        self.case = replace(self.case, resource=resource_of(manifest))

    def _aged(self, now: datetime) -> Iterator[Any]:
        """Runs as they are six hours after their time."""
        for run in self.case.seen.runs:
            at = time_of(run.name) + 6 * HOUR
            over = run.status.phase is None and now >= at
            yield (self.at_end(run, at) if over else None) or run

    def at_end(self, run: Any, at: datetime) -> Any:
        """A run at its end, as `ends` says; None: still under way."""
        phase = self.ends(run.name)
        ended = {"phase": phase, "completionTime": at.isoformat()}
        return resource_of(run.to_manifest() | {"status": ended}) if phase is not None else None


def time_of(run: str) -> datetime:
    return datetime.fromtimestamp(60 * int(run.rpartition("-")[2]), UTC)


def sundays(count: int = 52) -> list[datetime]:
    return [datetime(2026, 1, 4, 2, tzinfo=UTC) + timedelta(weeks=n) for n in range(count)]
