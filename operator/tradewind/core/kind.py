"""How a kind is reconciled: what each folder of core/ offers, as one value. The list of them is in registry.py."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from tradewind.api.common import CommonStatus, Resource
from tradewind.core.decision import Decision, Owner, RecordVerdict
from tradewind.core.platform import Platform
from tradewind.core.world import Neighbour, World

R = TypeVar("R", bound=Resource)
S = TypeVar("S")
R_contra = TypeVar("R_contra", bound=Resource, contravariant=True)
S_contra = TypeVar("S_contra", contravariant=True)


class Decide(Protocol[R_contra, S_contra]):
    """A kind's decision: pure, total, idempotent."""

    def __call__(
        self, resource: R_contra, seen: S_contra, now: datetime, /, *, platform: Platform, owner: Owner
    ) -> Decision:
        """What to do about a resource now."""


def never(_: Resource) -> bool:
    """A living kind is never finished."""
    return False


def whole(resource: R) -> R:
    """All of it is kept in memory."""
    return resource


def loud(_: CommonStatus, __: CommonStatus) -> bool:
    """Every change of a status may concern somebody."""
    return False


async def leave(resource: Resource, _: World, __: datetime) -> Decision:
    """The fail-safe of a kind that puts nothing at risk: what there is stays."""
    status: CommonStatus = resource.status  # type: ignore[attr-defined]
    return Decision(status)


async def nothing_left(_: str, __: str, ___: World, ____: datetime) -> tuple[RecordVerdict, ...]:
    """What is recorded of a kind that leaves nothing open when it goes."""
    return ()


@dataclass(frozen=True, slots=True)
class Kind(Generic[R, S]):
    """How a kind is reconciled.

    Attributes:
        resource: its type in the API.
        observe: gathers the facts that the decision reads.
        decide: what to do.
        neighbours: whose decisions read this resource: they get a turn when it changes.
        finished: whether time alone changes nothing any more: such a resource gets no turn of its own.
        quiet: whether two statuses differ in numbers alone, which no decision reads: such a write is nobody's next turn.
        slim: a finished one without what no other resource's decision reads: thousands of them are kept in memory.
        fail_safe: what to do while observe or decide raises.
        gone: what is recorded once an object does not exist any more, by its namespace and name.
    """

    resource: type[R]
    observe: Callable[[R, World], Awaitable[S]]
    decide: Decide[R, S]
    neighbours: Callable[[R], Iterable[Neighbour]]
    finished: Callable[[R], bool] = never
    fail_safe: Callable[[R, World, datetime], Awaitable[Decision]] = leave
    quiet: Callable[[CommonStatus, CommonStatus], bool] = loud
    slim: Callable[[R], R] = whole
    gone: Callable[[str, str, World, datetime], Awaitable[tuple[RecordVerdict, ...]]] = nothing_left


def childless(decide: Callable[[R, S, datetime], Decision]) -> Decide[R, S]:
    """A decision that makes no pods needs neither images nor an owner."""

    def decide_alone(resource: R, seen: S, now: datetime, /, **_: object) -> Decision:
        return decide(resource, seen, now)

    return decide_alone
