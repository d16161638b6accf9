"""Whether the arms answer: each is probed when it appears or changes, and watched afterwards by what decisions find.

    unknown --probe--> healthy --a decision's question fails--> probe --fails--> unhealthy
                          ^---------------- any answer, to a probe or a decision ----+

A probe is one question as any other, on made-up data, with the arm's own timeout and retries; its price is stored. An error of
a decision alone says nothing yet: it asks for a probe, whose words go into conditions and Events, where nothing of an
account may stand.

Belongs here: when an arm is probed, and what is known of it. Does not belong here: how it is asked (arms.py), and what follows
for Endpoint and ModelVersion (core/endpoint/health.py).
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import structlog
from pydantic import JsonValue

from tradewind.gateway.answers import ArmError
from tradewind.gateway.arms import PROBE, Arms, Asked
from tradewind.gateway.database import Database, DatabaseDownError, jsonb
from tradewind.gateway.metrics import Metrics
from tradewind.gateway.protocols import ArmQuestion
from tradewind.trading.arm_health import ArmHealth
from tradewind.trading.decision import DecisionInput
from tradewind.trading.error_kinds import ErrorKind
from tradewind.trading.hosts import SECRET_HOSTS_KEY
from tradewind.trading.routing import ArmTarget, Routing

_LOOK_SECONDS: Final = 0.25
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 60.0
_FIRST_PAUSE_PAID, _LONGEST_PAUSE_PAID = 30.0, 600.0
_UNSTORED: Final = 100
_SAYS_NOTHING = frozenset({ErrorKind.BREAKER_OPEN, ErrorKind.OVER_LIMIT})
"""Not asked, and an answer whose size alone is wrong."""
Stamp = tuple[tuple[int, int] | None, tuple[int, int] | None]
"""Modification time and size of a credential and of the list of its hosts."""
_log = structlog.get_logger("tradewind.gateway")


@dataclass(slots=True)
class ArmWatch:
    """What is known of one arm, and when it is probed next. `now` is a monotonic clock in seconds throughout.

    Attributes:
        due: when; None: not before something happens.
        failures: probes in a row that failed.
    """

    version: str
    target: ArmTarget
    health: ArmHealth
    due: float | None
    failures: int = 0
    probed_at: float | None = None
    asking: bool = False
    stamp: Stamp | None = None

    def answered(self, now: float, at: datetime) -> bool:
        """A question was answered; whether that is news."""
        news = self.health.healthy is not True
        self.failures = 0
        self.due = now + self.target.probe_seconds if self.target.probe_seconds else None
        if news:
            self._know(at, healthy=True)
        return news

    def doubted(self, error: ArmError, now: float) -> None:
        """A decision's question failed: a probe is to tell, at once, but not many in a row."""
        if self.health.healthy is not True or not _tells(error):
            return
        rest = 0.0 if self.probed_at is None else self.probed_at + _FIRST_PAUSE - now
        soon = now + max(rest, 0.0)
        self.due = soon if self.due is None else min(self.due, soon)

    def failed(self, error: ArmError, now: float, at: datetime, *, paid: bool) -> bool:
        """A probe failed; whether that is news.

        Args:
            error: what came.
            now: monotonic.
            at: the time of day.
            paid: the calls cost something, so that the next has time.
        """
        first, longest = (_FIRST_PAUSE_PAID, _LONGEST_PAUSE_PAID) if paid else (_FIRST_PAUSE, _LONGEST_PAUSE)
        self.due = now + max(min(first * 2**self.failures, longest), error.wait or 0.0)
        if not _tells(error):
            return False
        self.failures = min(self.failures + 1, 16)
        known = (self.health.healthy, self.health.error_kind, self.health.error_cause)
        news = known != (False, error.kind, error.cause)
        if news:  # the words of the first stay: an API that numbers its errors would be an Event each time
            self._know(at, healthy=False, error=error)
        return news

    def changed_key(self, stamp: Stamp | None, now: float) -> None:
        """The credential's files are looked at; what changed is tried at once."""
        if stamp != self.stamp:
            self.stamp = stamp
            self.failures = 0
            self.due = now

    def _know(self, at: datetime, *, healthy: bool, error: ArmError | None = None) -> None:
        self.health = ArmHealth(
            version=self.version,
            target=self.health.target,
            healthy=healthy,
            error_kind=None if error is None else str(error.kind),
            error_cause=None if error is None or error.cause is None else str(error.cause),
            detail=None if error is None else error.detail,
            since=at,
        )


@dataclass(slots=True)
class HealthWatch:
    """All arms of one replica.

    Attributes:
        routing: the document obeyed, None before the first.
        clock: the time of day.
        changed: called when what is known of an arm changes.
    """

    arms: Arms
    database: Database
    metrics: Metrics
    routing: Callable[[], Routing | None]
    clock: Callable[[], datetime]
    changed: Callable[[], None]
    _watches: dict[str, ArmWatch] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _unstored: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_UNSTORED))

    def known(self) -> list[dict[str, JsonValue]]:
        """What is known of each arm, for the operator."""
        return [watch.health.model_dump(mode="json") for watch in self._watches.values()]

    def heard(self, version: str, error: ArmError | None) -> None:
        """What came of a decision's question."""
        watch = self._watches.get(version)
        if watch is None:
            return
        if error is not None:
            watch.doubted(error, time.monotonic())
        elif watch.answered(time.monotonic(), self.clock()):
            self._told(watch)

    async def run(self) -> None:
        """Probes forever what is due. Not while the database is down: a price that cannot be stored is not spent."""
        try:
            while True:
                try:
                    await self._look()
                except Exception as error:  # what watches must not end by what it watches
                    _log.error("arms not looked at", error=type(error).__name__)
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            for task in self._tasks:
                task.cancel()

    async def _look(self) -> None:
        routing = self.routing()
        if routing is None or not self.database.up:
            return
        await self._store()
        now = time.monotonic()
        self._follow(routing, now)
        for watch in self._watches.values():
            if watch.asking or watch.due is None or watch.due > now:
                continue
            watch.asking = True
            task = asyncio.create_task(self._probe(watch, routing))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _follow(self, routing: Routing, now: float) -> None:
        """Begins with arms that are new or other than they were, and forgets those that are gone."""
        watched = {name: target for name, target in routing.arms.items() if target.probe_seconds is not None}
        for version in self._watches.keys() - watched.keys():
            del self._watches[version]
            self.metrics.forget_arm(version)
            self.changed()
        for version, target in watched.items():
            known = self._watches.get(version)
            if known is not None and known.target == target:
                known.changed_key(_stamp(target), now)
                continue
            health = ArmHealth(version=version, target=target.digest, since=self.clock())
            self._watches[version] = ArmWatch(version, target, health, due=now, stamp=_stamp(target))
            self.changed()

    async def _probe(self, watch: ArmWatch, routing: Routing) -> None:
        try:
            symbols = routing.limits.symbols
            symbol = symbols[0] if symbols else "BTC"
            question = ArmQuestion(watch.target, _made_up(symbol), symbol, None)
            at = self.clock()
            asked = await self.arms.ask(watch.version, question, watch.target.timeout_seconds, PROBE)
            now = watch.probed_at = time.monotonic()
            if asked.error is None or asked.error.kind is not ErrorKind.UNAVAILABLE:  # which means: nothing was sent
                self._unstored.append(_row(asked, at))
                if asked.cost_cny is not None:
                    self.metrics.probe_cost.labels(watch.version).inc(float(asked.cost_cny))
            if self._watches.get(watch.version) is not watch:
                return
            if asked.error is None or asked.error.kind is ErrorKind.OVER_LIMIT:
                news = watch.answered(now, self.clock())
            else:
                news = watch.failed(asked.error, now, self.clock(), paid=bool(asked.cost_cny))
            if news:
                self._told(watch)
        finally:
            watch.asking = False

    def _told(self, watch: ArmWatch) -> None:
        health = watch.health
        self.metrics.arm_healthy.labels(watch.version).set(health.healthy is True)
        self.metrics.arm_health_changes.labels(watch.version, health.reason).inc()
        log = _log.info if health.healthy else _log.warning
        log("arm", version=watch.version, healthy=health.healthy, reason=str(health.reason), detail=health.detail)
        self.changed()

    async def _store(self) -> None:
        while self._unstored:
            row = self._unstored[0]
            try:
                await self.database.store_probe(row)
            except DatabaseDownError:
                return
            if self._unstored and self._unstored[0] is row:
                self._unstored.popleft()


def _made_up(symbol: str) -> DecisionInput:
    """What a probe shows: an answer to it is a decision as any other, most likely a hold."""
    return DecisionInput(
        market_data={
            symbol: {"price": 100.0},
            "note": "availability check with a made-up price; any valid decision will do",
        },
        account_state={"balance": 10_000.0, "positions": []},
    )


def _tells(error: ArmError) -> bool:
    """Whether an error says something of the arm."""
    return error.kind not in _SAYS_NOTHING


def _stamp(target: ArmTarget) -> Stamp | None:
    """What changes when the key does, or the hosts that it is for."""
    if target.credential_file is None:
        return None
    folder = target.credential_file.rpartition("/")[0]
    return _stamp_of(target.credential_file), _stamp_of(f"{folder}/{SECRET_HOSTS_KEY}")


def _stamp_of(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - asked four times a second
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _row(asked: Asked, at: datetime) -> dict[str, Any]:
    """One probe for `tradewind.probes`."""
    error = asked.error
    return {
        "version": asked.version,
        "asked_at": at,
        "latency_ms": asked.latency_ms,
        "error_kind": None if error is None else str(error.kind),
        "error_cause": None if error is None or error.cause is None else str(error.cause),
        "error_detail": None if error is None else error.detail,
        "cost_cny": asked.cost_cny,
        "calls": jsonb(asked.calls_as_json),
    }
