"""Asking an arm over HTTP: one pooled client, one deadline, one breaker each.

Belongs here: connections, credentials, deadlines, retries, the breaker's bookkeeping: what is the same for every protocol.
Does not belong here: how a question is written and an answer is read (protocols/), who is drawn and who stands in
(decide.py), and what a valid answer is (answers.py).
"""

import asyncio
import contextlib
import json
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import structlog

from tradewind.gateway.answers import UNREACHED, ArmError
from tradewind.gateway.breaker import Breaker
from tradewind.gateway.metrics import Metrics
from tradewind.gateway.outbound import BrokenOffError, Client, NotSentError, client_for
from tradewind.gateway.protocols import PROTOCOLS, ArmAnswer, ArmQuestion, storable
from tradewind.trading.error_kinds import ErrorKind
from tradewind.trading.routing import ArmTarget

_CONNECT_PAUSE_SECONDS = 0.05
_log = structlog.get_logger("tradewind.gateway")


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to one arm: an answer or an error, its time, and what it cost."""

    version: str
    answer: ArmAnswer | None
    error: ArmError | None
    latency_ms: float
    cost_cny: Decimal | None


@dataclass(slots=True)
class _Connection:
    target: ArmTarget
    client: Client


class Credential:
    """A secret in a file, read again when the file changes (Secrets are rotated under running pods)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._value = ""

    def read(self) -> str:
        """The secret without surrounding white space.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is empty or not printable ASCII.
        """
        status = self._path.stat()
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp != self._stamp:
            value = self._path.read_text(encoding="ascii").strip()
            if not value or not value.isprintable():
                raise ValueError("the credential is empty or not printable")
            self._value, self._stamp = value, stamp
        return self._value


class Arms:
    """All arms of one replica, by version name."""

    def __init__(self, metrics: Metrics, *, breaker_failures: int, breaker_open_seconds: float) -> None:
        self._metrics = metrics
        self._breaker_failures = breaker_failures
        self._breaker_open_seconds = breaker_open_seconds
        self._connections: dict[str, _Connection] = {}
        self._breakers: dict[str, Breaker] = {}
        self._credentials: dict[str, Credential] = {}
        self._retiring: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Closes every client."""
        for task in self._retiring:
            task.cancel()
        for connection in self._connections.values():
            await connection.client.aclose()

    async def ask(self, version: str, question: ArmQuestion | None, at_most: float, role: str = "drawn") -> Asked:
        """Asks one arm. Never raises for what the arm does: the error is part of the result.

        Args:
            version: name of the ModelVersion.
            question: what it is asked; None if the routing no longer has the arm.
            at_most: seconds that are left for it; its own timeout holds where that is shorter.
            role: drawn or shadow. Both count alike for the breaker.
        """
        started = time.perf_counter()
        reached = False
        error: ArmError | None = None
        answer: ArmAnswer | None = None
        breaker = self._breakers.setdefault(version, Breaker(self._breaker_failures, self._breaker_open_seconds))
        try:
            if question is None:
                raise ArmError(ErrorKind.UNAVAILABLE, "the arm is not among the arms of the routing")
            if not breaker.allow(time.monotonic()):
                raise ArmError(ErrorKind.BREAKER_OPEN, "the arm failed too often in a row; not asked")
            body = await self._fetch(version, question, at_most)
            reached = True
            answer = storable(PROTOCOLS[question.target.protocol].read(body, question))
        except ArmError as caught:
            error = caught
        except Exception as caught:  # the promise of this function: whatever comes is an error of this arm
            error = _unexpected(version, caught, "its answer was read" if reached else "it was asked")
        if reached:
            breaker.succeeded()
        elif error is not None and error.kind in UNREACHED:
            breaker.failed(time.monotonic())
        seconds = time.perf_counter() - started
        self._observe(version, role, error, seconds, is_open=breaker.is_open)
        cost = _price(version, question.target) if reached and question is not None else None
        return Asked(version, answer, error, seconds * 1000, cost)

    async def _fetch(self, version: str, question: ArmQuestion, at_most: float) -> bytes:
        target = question.target
        url, payload = PROTOCOLS[target.protocol].request(question)
        seconds = min(target.timeout_seconds, at_most)
        headers = self._headers(version, target)
        client = self._client(version, target)
        try:
            body = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
            async with asyncio.timeout(seconds):
                for attempt in range(target.max_retries + 1):
                    try:
                        return await client.post(url, body, headers)
                    except NotSentError:  # asking again is still asking once
                        if attempt == target.max_retries:
                            raise
                        await asyncio.sleep(_CONNECT_PAUSE_SECONDS)
        except TimeoutError:
            raise ArmError(ErrorKind.TIMEOUT, f"no answer within {seconds:g} s") from None
        except ArmError:
            raise
        except (NotSentError, BrokenOffError) as error:
            raise ArmError(ErrorKind.TRANSPORT, str(error)) from None
        except Exception as error:
            raise _unexpected(version, error, "it was asked", ErrorKind.TRANSPORT) from None
        raise AssertionError("unreachable")

    def _headers(self, version: str, target: ArmTarget) -> Mapping[str, str]:
        if target.credential_file is None:
            return {}
        credential = self._credentials.setdefault(target.credential_file, Credential(Path(target.credential_file)))
        try:
            secret = credential.read()
        except (OSError, ValueError) as error:
            detail = f"the credential of {version} cannot be read ({type(error).__name__}); check secretRef of the ModelVersion"
            raise ArmError(ErrorKind.UNAVAILABLE, detail) from None
        return PROTOCOLS[target.protocol].authenticate(secret)

    def _client(self, version: str, target: ArmTarget) -> Client:
        known = self._connections.get(version)
        if known is not None and known.target == target:
            return known.client
        client = client_for(target)
        if known is not None:
            task = asyncio.create_task(_retire(known))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        self._connections[version] = _Connection(target, client)
        return client

    def _observe(self, version: str, role: str, error: ArmError | None, seconds: float, *, is_open: bool) -> None:
        self._metrics.arm_seconds.labels(version, role).observe(seconds)
        self._metrics.breaker_open.labels(version).set(is_open)
        if error is not None:
            self._metrics.errors.labels(version, role, error.kind).inc()


def _unexpected(version: str, error: Exception, while_: str, kind: ErrorKind = ErrorKind.UNAVAILABLE) -> ArmError:
    """An error that nobody foresaw, as one of the arm. Its text stays out: it may hold the key or account data."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else None
    _log.error("arm failed unexpectedly", version=version, error=type(error).__name__, place=place)
    return ArmError(kind, f"{type(error).__name__} while {while_}; the log of the gateway has the place")


def _price(version: str, target: ArmTarget) -> Decimal | None:
    """What the call cost; a price that cannot be told takes no answer away."""
    try:
        return PROTOCOLS[target.protocol].price(target)
    except Exception as error:
        _log.error("price unknown", version=version, error=type(error).__name__)
        return None


async def _retire(connection: _Connection) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(connection.target.timeout_seconds)
    await connection.client.aclose()
