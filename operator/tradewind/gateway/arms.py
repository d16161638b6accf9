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
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from pydantic import JsonValue

from tradewind.gateway.answers import UNREACHED, ArmError
from tradewind.gateway.breaker import Breaker
from tradewind.gateway.metrics import Metrics
from tradewind.gateway.outbound import BrokenOffError, Client, NotSentError, StatusError, client_for
from tradewind.gateway.protocols import PROTOCOLS, ArmAnswer, ArmQuestion, Usage, storable
from tradewind.gateway.refusals import refusal
from tradewind.gateway.retries import RetryBudget, pause
from tradewind.trading.error_kinds import NON_ANSWERS, ErrorCause, ErrorKind
from tradewind.trading.hosts import SECRET_HOSTS_KEY, secret_names
from tradewind.trading.routing import ArmTarget

PROBE = "probe"
"""The role of a question that no decision asks."""
_CONNECT_PAUSE_SECONDS = 0.05
_NO_CONNECTION = {
    ErrorCause.DNS: "the name of its host does not resolve",
    ErrorCause.TLS: "its certificate is not accepted, or it speaks no TLS",
    ErrorCause.CONNECT: "nobody listens at its address, or the way is barred",
}
_log = structlog.get_logger("tradewind.gateway")


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP call of a question: what came, how long it took, and what it cost."""

    error: ArmError | None
    latency_ms: float
    cost_cny: Decimal | None
    usage: Usage | None
    prompt: str | None = None
    """SHA-256 of a team's own words, where it was asked with them."""

    def as_json(self) -> dict[str, JsonValue]:
        """For the row of the decision."""
        told: dict[str, JsonValue] = {"latency_ms": round(self.latency_ms, 3)}
        if self.error is not None:
            told |= {"error_kind": str(self.error.kind), "error_detail": self.error.detail}
            if self.error.cause is not None:
                told["error_cause"] = str(self.error.cause)
        if self.cost_cny is not None:
            told["cost_cny"] = str(self.cost_cny)
        if self.prompt is not None:
            told["prompt"] = self.prompt
        if self.usage is not None:
            told["tokens"] = {
                "prompt": self.usage.prompt,
                "cached": self.usage.cached,
                "completion": self.usage.completion,
                **({"written": self.usage.written} if self.usage.written else {}),
            }
        return told


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to one arm: an answer or an error, its time, and what it cost.

    Attributes:
        version: name of the ModelVersion.
        answer, error: one of the two; the error is the last call's.
        latency_ms: of all calls and the pauses between them.
        cost_cny: of all calls; None: no price is known of any.
        calls: each of them, in order; none where the arm was not asked.
    """

    version: str
    answer: ArmAnswer | None
    error: ArmError | None
    latency_ms: float
    cost_cny: Decimal | None
    calls: tuple[Call, ...] = ()

    @property
    def calls_as_json(self) -> list[JsonValue] | None:
        """What the row keeps of the calls: None where they say no more than the row itself."""
        if len(self.calls) > 1 or any(call.usage or call.prompt for call in self.calls):
            return [call.as_json() for call in self.calls]
        return None


@dataclass(slots=True)
class _Connection:
    target: ArmTarget
    client: Client


class Credential:
    """A secret in a file, read again when the file changes (Secrets are rotated under running pods).

    Beside it lies the list of the hosts that it is for, a key of the same Secret: without it the Secret was never meant to leave.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hosts = path.parent / SECRET_HOSTS_KEY
        self._stamp: tuple[int, int] | None = None
        self._value = ""

    def is_for(self, url: str) -> bool:
        """Whether the Secret names the URL's host. Read each time: it is short, and taken back with effect at once."""
        if self._path == self._hosts:
            return False
        try:
            return secret_names(self._hosts.read_text(encoding="utf-8"), url)
        except (OSError, ValueError):
            return False

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
        self._budgets: dict[str, RetryBudget] = {}
        self._credentials: dict[str, Credential] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self.heard: Callable[[str, ArmError | None], None] = _nobody
        """Told what came of each question of a decision that was asked."""

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
            role: drawn, shadow or probe. All count alike for the breaker; a probe is asked although it is open.
        """
        started = time.perf_counter()
        error: ArmError | None = None
        answer: ArmAnswer | None = None
        calls: list[Call] = []
        breaker = self._breakers.setdefault(version, Breaker(self._breaker_failures, self._breaker_open_seconds))
        try:
            if question is None:
                raise ArmError(ErrorKind.UNAVAILABLE, "the arm is not among the arms of the routing")
            if not breaker.allow(time.monotonic(), probe=role == PROBE):
                raise ArmError(ErrorKind.BREAKER_OPEN, _left_alone(breaker))
            answer = await self._until_answered(version, question, at_most, breaker, calls)
        except ArmError as caught:
            error = caught
        except Exception as caught:  # the promise of this function: whatever comes is an error of this arm
            error = _unexpected(version, caught, "it was asked")
        if role != PROBE:
            self.heard(version, error)
        if calls:
            self._tell(breaker, error, outside=question is not None and question.target.outside)
        seconds = time.perf_counter() - started
        self._observe(version, role, error, seconds, answer, calls, is_open=breaker.is_open)
        costs = [call.cost_cny for call in calls if call.cost_cny is not None]
        return Asked(version, answer, error, seconds * 1000, sum(costs, Decimal(0)) if costs else None, tuple(calls))

    @staticmethod
    def _tell(breaker: Breaker, error: ArmError | None, *, outside: bool) -> None:
        """An arm that answers nonsense is reachable, and the guardrail deals with it; an API bills for it, call by call."""
        if error is None:
            breaker.succeeded()
        elif error.kind in UNREACHED or (outside and error.kind in NON_ANSWERS):
            breaker.failed(time.monotonic())
        elif error.kind is not ErrorKind.UNAVAILABLE:  # which says nothing about the arm: it was not asked
            breaker.succeeded()

    async def _until_answered(
        self, version: str, question: ArmQuestion, at_most: float, breaker: Breaker, calls: list[Call]
    ) -> ArmAnswer:
        """Asks, and asks again what may pass, as long as there is time: a question has no effect."""
        target = question.target
        deadline = time.perf_counter() + min(target.timeout_seconds, at_most)
        budget = self._budgets.setdefault(version, RetryBudget())
        budget.asked(float(target.retry_budget))
        while True:
            try:
                return await self._once(version, question, deadline, calls)
            except ArmError as error:
                left = deadline - time.perf_counter()
                seconds = _CONNECT_PAUSE_SECONDS if error.kind is ErrorKind.TRANSPORT else pause(len(calls), error.wait)
                if target.outside and error.wait is not None and error.wait >= left:
                    breaker.rest(time.monotonic() + error.wait)
                if not error.again or len(calls) > target.max_retries or seconds >= left or not budget.take():
                    raise
            await asyncio.sleep(seconds)

    async def _once(self, version: str, question: ArmQuestion, deadline: float, calls: list[Call]) -> ArmAnswer:
        """One call, which is noted whatever comes of it."""
        started = time.perf_counter()
        protocol = PROTOCOLS[question.target.protocol]
        body: bytes | None = None
        error: ArmError | None = None
        try:
            body = await self._fetch(version, question, deadline - started)
            return _as_asked(storable(protocol.read(body, question)), question.target)
        except ArmError as caught:
            error = caught
            raise
        except Exception as caught:
            error = _unexpected(version, caught, "it was asked" if body is None else "its answer was read")
            raise error from None
        finally:
            # An error inside an answer of status 200 is none that was billed.
            billed = body is not None and (error is None or error.kind is not ErrorKind.STATUS)
            usage = None if body is None else _usage(version, question.target, body)
            cost = _price(version, question.target, usage) if billed else None
            words = question.target.prompt
            digest = None if words is None else words.digest
            calls.append(Call(error, (time.perf_counter() - started) * 1000, cost, usage, digest))

    async def _fetch(self, version: str, question: ArmQuestion, seconds: float) -> bytes:
        target, protocol = question.target, PROTOCOLS[question.target.protocol]
        if target.refusal is not None:
            raise ArmError(ErrorKind.UNAVAILABLE, target.refusal.message, cause=_known(target.refusal.cause))
        if target.prompt_fault is not None:
            raise ArmError(ErrorKind.UNAVAILABLE, target.prompt_fault, cause=ErrorCause.PROMPT)
        url, payload = protocol.request(question)
        secret = self._secret(version, target)
        headers = {**protocol.headers, **({} if secret is None else protocol.authenticate(secret))}
        client = self._client(version, target)
        try:
            body = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
            async with asyncio.timeout(seconds):
                return await client.post(url, body, headers)
        except TimeoutError:
            raise ArmError(ErrorKind.TIMEOUT, f"no answer within {seconds:.3g} s") from None
        except StatusError as error:
            raise refusal(error.status, error.body, error.headers, secret=secret) from None
        except ArmError:
            raise
        except NotSentError as error:  # nothing was sent: asking again is still asking once
            detail = f"{_NO_CONNECTION.get(error.cause, 'there was no connection')} ({error})"
            raise ArmError(ErrorKind.TRANSPORT, detail, cause=error.cause, again=True) from None
        except BrokenOffError as error:
            raise ArmError(ErrorKind.TRANSPORT, str(error)) from None
        except Exception as error:
            raise _unexpected(version, error, "it was asked", ErrorKind.TRANSPORT) from None

    def _secret(self, version: str, target: ArmTarget) -> str | None:
        if target.credential_file is None:
            return None
        credential = self._credentials.setdefault(target.credential_file, Credential(Path(target.credential_file)))
        try:
            secret = credential.read()
        except (OSError, ValueError) as error:
            detail = f"the credential of {version} cannot be read ({type(error).__name__}); check secretRef of the ModelVersion"
            raise ArmError(ErrorKind.UNAVAILABLE, detail, cause=ErrorCause.UNREADABLE) from None
        if not credential.is_for(target.base_url):
            detail = f"the Secret of {version} does not name {urlsplit(target.base_url).netloc} under {SECRET_HOSTS_KEY}; not asked"
            raise ArmError(ErrorKind.UNAVAILABLE, detail, cause=ErrorCause.SECRET_HOST)
        if not target.plain_http and not target.base_url.startswith("https://"):
            detail = f"the API key of {version} would go to {urlsplit(target.base_url).netloc} over http; not asked"
            raise ArmError(ErrorKind.UNAVAILABLE, detail, cause=ErrorCause.PLAINTEXT)
        return secret

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

    def _observe(
        self, version: str, role: str, error: ArmError | None, seconds: float, answer: ArmAnswer | None, calls: list[Call],
        *, is_open: bool,
    ) -> None:  # fmt: skip
        self._metrics.arm_seconds.labels(version, role).observe(seconds)
        self._metrics.breaker_open.labels(version).set(is_open)
        if len(calls) > 1:
            self._metrics.retries.labels(version, role).inc(len(calls) - 1)
        if error is not None:
            self._metrics.errors.labels(version, role, error.kind).inc()
            if error.cause is not None:
                self._metrics.causes.labels(version, role, error.cause).inc()
        for rule in () if answer is None else answer.rules:
            self._metrics.readings.labels(version, rule).inc()


def _nobody(_: str, __: ArmError | None) -> None:
    """Whom it is told where nobody listens."""


def _known(cause: str) -> ErrorCause:
    """A cause of the routing document; one of a newer operator is about the host, too."""
    return ErrorCause(cause) if cause in set(ErrorCause) else ErrorCause.HOST


def _left_alone(breaker: Breaker) -> str:
    if breaker.rest_until is None:
        return "the arm failed too often in a row; not asked"
    return (
        f"the API asked to be left alone for another {max(breaker.rest_until - time.monotonic(), 0):.0f} s; not asked"
    )


def _unexpected(version: str, error: Exception, while_: str, kind: ErrorKind = ErrorKind.UNAVAILABLE) -> ArmError:
    """An error that nobody foresaw, as one of the arm. Its text stays out: it may hold the key or account data."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else None
    _log.error("arm failed unexpectedly", version=version, error=type(error).__name__, place=place)
    return ArmError(kind, f"{type(error).__name__} while {while_}; the log of the gateway has the place")


def _as_asked(answer: ArmAnswer, target: ArmTarget) -> ArmAnswer:
    """Who answers is the model and the words that it was asked with: other words are another arm to an experiment.

    The words come first, so that a name without a fingerprint stays the beginning of the one with it.
    """
    if target.prompt is None:
        return answer
    said = (target.prompt.identity, answer.reported_model)
    return replace(answer, reported_model="/".join(part for part in said if part))


def _price(version: str, target: ArmTarget, usage: Usage | None) -> Decimal | None:
    """What the call cost; a price that cannot be told takes no answer away."""
    try:
        return PROTOCOLS[target.protocol].price(target, usage)
    except Exception as error:
        _log.error("price unknown", version=version, error=type(error).__name__)
        return None


def _usage(version: str, target: ArmTarget, body: bytes) -> Usage | None:
    """The tokens that were used; as with the price."""
    try:
        return PROTOCOLS[target.protocol].usage(body)
    except Exception as error:
        _log.error("usage unknown", version=version, error=type(error).__name__)
        return None


async def _retire(connection: _Connection) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(connection.target.timeout_seconds)
    await connection.client.aclose()
