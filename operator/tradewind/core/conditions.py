"""Conditions: one fact each, with the moment of its last flip. Time is an argument."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from tradewind.api.common import Condition, ConditionStatus


@dataclass(frozen=True, slots=True)
class Fact:
    """What a condition should say now. `holds` None is Unknown."""

    type: str
    holds: bool | None
    reason: str
    message: str = ""

    @property
    def status(self) -> ConditionStatus:
        """The condition's value."""
        if self.holds is None:
            return ConditionStatus.UNKNOWN
        return ConditionStatus.TRUE if self.holds else ConditionStatus.FALSE


def with_facts(
    old: Sequence[Condition], facts: Iterable[Fact], *, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The conditions after `facts`; others stay. The transition time moves only when the status flips."""
    by_type = {condition.type: condition for condition in old}
    for fact in facts:
        known = by_type.get(fact.type)
        flipped = known is None or known.status != fact.status
        by_type[fact.type] = Condition(
            type=fact.type,
            status=fact.status,
            reason=str(fact.reason),
            message=fact.message[:4096],
            observed_generation=generation,
            last_transition_time=now.replace(microsecond=0) if flipped or known is None else known.last_transition_time,
        )
    return tuple(by_type.values())


def flips(old: Sequence[Condition], new: Sequence[Condition]) -> tuple[Condition, ...]:
    """Conditions whose status or reason is new: what deserves an Event."""
    before = {condition.type: (condition.status, condition.reason) for condition in old}
    return tuple(c for c in new if before.get(c.type) != (c.status, c.reason))


def is_true(conditions: Sequence[Condition], kind: str) -> bool:
    """Whether the condition of that type is True."""
    return any(c.type == kind and c.status is ConditionStatus.TRUE for c in conditions)
