"""Whether what gateways find, and what they obey, is what was published: the condition RoutingIntact.

Belongs here: what is said of a forged document, and for how long. Does not belong here: verifying (published.py), and that it is
replaced (`decide`: whatever does not hold is published again).
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from tradewind.api.endpoint import Endpoint, RoutingTamperStatus
from tradewind.core.conditions import Fact
from tradewind.core.endpoint.seen import Document, Reason, Seen
from tradewind.trading.routing import Refusal, Routing, is_plausible

CONDITION = "RoutingIntact"
SHOWN_FOR = timedelta(minutes=10)
"""So long a forged document is shown after it was replaced: the fault lasts for seconds, and people look later."""
_MOST = 5

_WHAT = {
    Refusal.UNSIGNED: "is not signed",
    Refusal.UNKNOWN_KEY: "is signed by a key that is not this installation's",
    Refusal.BAD_SIGNATURE: "does not match its signature: it was changed, or signed for another Endpoint or namespace",
    Refusal.OLDER: "is an earlier one of this Endpoint",
}


class Intact(NamedTuple):
    """What is to be said.

    Attributes:
        fact: None: nothing was published yet.
        record: for the status.
        again: when it is to be said otherwise; None: not by time alone.
    """

    fact: Fact | None
    record: RoutingTamperStatus | None
    again: timedelta | None = None


def last_generation(endpoint: Endpoint, now: datetime) -> int:
    """The newest generation that this status tells of; 0 where it cannot be: an earlier operator believed a forged one."""
    gateway = endpoint.status.gateway
    known = gateway.generation if gateway is not None else None
    return known if known is not None and is_plausible(known, now) else 0


def judged(endpoint: Endpoint, seen: Seen, now: datetime) -> Seen:
    """The facts without an earlier document that was put back while no operator ran: what it says is no longer so."""
    if seen.routing is None or seen.routing.generation >= last_generation(endpoint, now):
        return seen
    document = replace(seen.document, holds=False, sha256=None, refusal=seen.document.refusal or Refusal.OLDER)
    return replace(seen, routing=None, document=document)


def differing(seen: Seen) -> str | None:
    """Which ready pods obey what was not published; None: none says so. Pods of an older release do not tell."""
    document, known = seen.routing, seen.document.sha256
    if document is None or known is None:
        return None
    pods = []
    for report in seen.replicas:
        if report.replica not in seen.ready_pods or report.sha256 is None or report.published_at is None:
            continue
        theirs, ours = (report.generation, report.published_at), (document.generation, document.published_at)
        # The document was read before the reports: nobody but us has published since.
        if report.sha256 != known if theirs == ours else report.published_at > document.published_at:
            pods.append(report.replica)
    if not pods:
        return None
    more = f" and {len(pods) - _MOST} more" if len(pods) > _MOST else ""
    return f"gateway pod(s) {', '.join(sorted(pods)[:_MOST])}{more} obey a routing document that was not published"


def intact(endpoint: Endpoint, seen: Seen, routing: Routing | None, now: datetime) -> Intact:
    """What is said of the document that was found, and of what the pods obey."""
    record = _recorded(endpoint, seen, routing, now)
    differs = differing(seen)
    left = record.time + SHOWN_FOR - now if record is not None else timedelta(0)
    if record is not None and (seen.document.refusal is not None or left > timedelta(0)):
        told = record.message if differs is None else f"{differs}; {record.message}"
        return Intact(Fact(CONDITION, False, Reason.ROUTING_TAMPERED, told), record, max(left, timedelta(seconds=2)))
    if differs is not None:
        return Intact(Fact(CONDITION, False, Reason.ROUTING_DIFFERS, differs), record)
    if routing is None:
        return Intact(None, record)
    return Intact(Fact(CONDITION, True, Reason.ROUTING_INTACT, "gateways find what was published"), record)


def _recorded(endpoint: Endpoint, seen: Seen, routing: Routing | None, now: datetime) -> RoutingTamperStatus | None:
    """The newest one that was found. One that still lies there is the same one, not a further one."""
    last, document = endpoint.status.routing_tampered, seen.document
    if document.refusal is None:
        return last
    if last is not None and last.resource_version == document.version:
        return last
    return RoutingTamperStatus(
        time=now.replace(microsecond=0),
        message=_told(document, document.refusal, replaced=routing is not None)[:1024],
        count=(last.count if last is not None else 0) + 1,
        resource_version=document.version[:64],
    )


def _told(document: Document, refusal: Refusal, *, replaced: bool) -> str:
    writer = f", last written by field manager {document.writer!r}" if document.writer else ""
    if refusal is Refusal.IMMUTABLE:
        return f"the routing document was made immutable, so that it could not be renewed{writer}; it was deleted and made anew"
    detail = f" ({document.detail})" if document.detail else ""
    end = "it was replaced" if replaced else "it stays until there is a champion to publish"
    what = _WHAT.get(refusal, "cannot be obeyed")
    return f"a routing document was found that {what}{detail}{writer}; gateways do not obey it, {end}"
