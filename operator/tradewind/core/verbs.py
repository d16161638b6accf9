"""Verbs: `tradewind.dev/<verb>: <request-id>` annotations. A request id acts once, so that Git self-heal repeats nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from tradewind.api.ab_experiment_status import ABExperimentStatus, HistoryEntry
from tradewind.api.annotations import PREFIX
from tradewind.api.common import CommonStatus, Resource
from tradewind.api.endpoint import ChampionHistoryEntry, EndpointStatus

__all__ = ["PREFIX", "Verb", "answered_verbs", "one_line", "pending_verb"]


@dataclass(frozen=True, slots=True)
class Verb:
    """A wish that has not been carried out yet."""

    name: str
    request: str
    by: str | None

    @property
    def asker(self) -> str:
        """Who asks, as it is stored and shown; without the admission policy nobody need say so."""
        return (self.by or "annotation")[:128]


def one_line(text: str) -> str:
    """What somebody wrote in an annotation, as it may be stored and shown: SQL takes no NUL, and a message is one line."""
    return "".join(character if character.isprintable() else " " for character in text).strip()


def pending_verb(resource: Resource, verbs: Sequence[str]) -> Verb | None:
    """The first of `verbs` whose request id is new, or None."""
    status = getattr(resource, "status", None)
    handled = status.last_handled if isinstance(status, CommonStatus) else {}
    annotations = resource.metadata.annotations
    for name in verbs:
        request = annotations.get(f"{PREFIX}{name}", "")
        if request and handled.get(name) != request[:128]:
            by = annotations.get(f"{PREFIX}by")
            return Verb(name, request[:128], None if by is None else one_line(by))
    return None


def answered_verbs(old: CommonStatus, new: CommonStatus) -> tuple[HistoryEntry | ChampionHistoryEntry, ...]:
    """What the history of `new` says of verbs and that of `old` does not, oldest first."""
    known = _history(old)
    return tuple(entry for entry in _history(new) if entry.result is not None and entry not in known)


def _history(status: CommonStatus) -> tuple[HistoryEntry | ChampionHistoryEntry, ...]:
    return (status.history or ()) if isinstance(status, ABExperimentStatus | EndpointStatus) else ()
