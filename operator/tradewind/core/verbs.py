"""Verbs: `tradewind.dev/<verb>: <request-id>` annotations. A request id acts once, so that Git self-heal repeats nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from tradewind.api.common import CommonStatus, Resource

PREFIX = "tradewind.dev/"


@dataclass(frozen=True, slots=True)
class Verb:
    """A wish that has not been carried out yet."""

    name: str
    request: str
    by: str | None


def pending_verb(resource: Resource, verbs: Sequence[str]) -> Verb | None:
    """The first of `verbs` whose request id is new, or None."""
    status = getattr(resource, "status", None)
    handled = status.last_handled if isinstance(status, CommonStatus) else {}
    annotations = resource.metadata.annotations
    for name in verbs:
        request = annotations.get(f"{PREFIX}{name}", "")
        if request and handled.get(name) != request[:128]:
            return Verb(name, request[:128], annotations.get(f"{PREFIX}by"))
    return None
