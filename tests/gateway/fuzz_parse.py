"""What the gateway reads of a body before a database is asked, held to what the body says: a million of them, in processes.

What is taken here must be what was sent, and storable: so that the tenth that goes through a whole gateway and PostgreSQL
(test_fuzz.py) finds nothing that this has not.
"""

import json
import time
from collections import Counter
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, TypeVar

from fastapi import Request
from fuzz_bodies import (
    MODEL,
    SUBJECT,
    Sent,
    TwiceError,
    plain,
    request,
    spelled_amount,
    spelled_id,
    spelled_time,
    unpacked,
)

from tradewind.gateway.bodies import parsed, parsed_strictly, read_bytes
from tradewind.gateway.chat.question import read_chat
from tradewind.gateway.decide import _account, _hash
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.gateway.intake import Intake
from tradewind.schema.storable import unstorable
from tradewind.trading.decision import DecisionRequest, request_hash, retry_hash
from tradewind.trading.prices import BarReports, PaperReport
from tradewind.trading.reports import (
    EventKind,
    EventReport,
    ExecutionReport,
    OutcomeReport,
    execution_event,
    outcome_event,
)
from tradewind.trading.routing import Routing

MOST_SECONDS = 5.0  # a collection of garbage is in it, once
"""Processor time of one body: one event loop reads them all."""
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
_MONEY = ("notional_usd", "price", "quantity", "pnl", "total_pnl", "amount_usd", "fees_usd")
WITHOUT_JSON = ("application/x-ndjson", "application/x-www-form-urlencoded")
_T = TypeVar("_T")


def routing() -> Routing:
    """A document with an arm inside, so that texts may be passed on."""
    arm = {"protocol": "kserve", "baseURL": "http://arm", "model": "m", "outside": False}
    times = {"publishedAt": NOW.isoformat(), "expiresAt": (NOW + timedelta(seconds=30)).isoformat()}
    document = {
        "endpoint": "trader",
        "generation": 1,
        "clock": "live",
        "champion": "v",
        "fallback": "v",
        "arms": {"v": arm},
        **times,
    }
    return Routing.from_json(json.dumps(document))


class Understood:
    """Takes the place of what writes reports: keeps what they were understood as."""

    def __init__(self) -> None:
        self.taken: list[tuple[str | None, Any]] = []

    async def execution(self, decision_id: str, report: ExecutionReport, _: Routing) -> dict[str, Any]:
        self.taken.append((decision_id, report))
        return {"decision_id": decision_id, "event_id": report.fingerprint}

    async def outcome(self, decision_id: str, report: OutcomeReport, _: Routing) -> dict[str, Any]:
        self.taken.append((decision_id, report))
        return {"decision_id": decision_id, "event_id": report.fingerprint}

    async def event(self, report: EventReport, _: Routing) -> dict[str, Any]:
        self.taken.append((report.decision_id, report))
        return {"decision_id": report.decision_id, "event_id": report.to_event().event_id}

    async def refuse(self, decision_id: str | None, body: bytes, error: ApiError) -> None:
        assert decision_id is None or decision_id.isprintable() or decision_id
        assert isinstance(body, bytes)
        assert error.message


def _run(call: Coroutine[Any, Any, _T]) -> _T:
    """What a coroutine that waits for nothing returns."""
    try:
        call.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    raise AssertionError("it waits for something")


def _bytes(sent: Sent) -> bytes:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": sent.body, "more_body": False}

    headers = [(name.encode(), value.encode("latin-1")) for name, value in sent.headers.items()]
    return _run(read_bytes(Request({"type": "http", "method": "POST", "path": sent.path, "headers": headers}, receive)))


def demand_refusal(error: ApiError) -> None:
    """A refusal has a code, a message and a remedy that can be sent, and is the caller's to mend."""
    assert 400 <= error.status < 500, error.code
    assert error.code in set(ErrorCode)
    json.dumps(error.body(), ensure_ascii=False, allow_nan=False).encode()
    assert error.message
    assert error.remedy


def demand_storable(value: Any) -> None:
    """PostgreSQL takes it as jsonb."""
    assert unstorable(value) is None, unstorable(value)
    text = json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    assert b"\\u0000" not in text.replace(b"\\\\", b"")


def demand_as_sent(request: DecisionRequest, body: bytes, **absent: Any) -> None:
    """What is stored of a request is what the body says; `absent`: what it means where it does not say so."""
    stored = request.model_dump(mode="json", exclude_none=True)
    demand_storable(stored)
    assert plain(json.dumps(stored)) == as_stored(absent | plain(body), stored)


def as_stored(said: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """What must be stored of a body: as it stands, absent where it was null, ids as text, and the book that was meant."""
    told = {name: value for name, value in said.items() if value is not None}
    ids = {name: spelled_id(told[name]) for name in ("decision_id", "position_id") if name in told}
    times = {"as_of": stored["as_of"]} if "as_of" in told else {}
    return {"recent_history": []} | told | ids | times | {"scope": {"book": ""} | told["scope"]}


def _demand_decision(body: bytes) -> None:
    asked = parsed(body, DecisionRequest)
    _account(asked)
    _hash(request_hash, asked), _hash(retry_hash, asked)
    demand_as_sent(asked, body)


def _demand_chat(body: bytes, document: Routing) -> None:
    chat = read_chat(body, MODEL, document)
    _account(chat.request)
    _hash(request_hash, chat.request), _hash(retry_hash, chat.request)
    demand_storable(chat.request.model_dump(mode="json", exclude_none=True))
    said = plain(body)
    assert isinstance(said, dict)
    asked = [m["content"] for m in said["messages"] if m["role"] == "user" and isinstance(m["content"], str)]
    if len(said["messages"]) == len(asked) == 1 and not said.get("metadata") and asked[0].strip().startswith("{"):
        demand_as_sent(chat.request, asked[0].encode(), account_state={})


def _demand_reports(sent: Sent, body: bytes, document: Routing) -> None:
    understood = Understood()
    intake = Intake(understood)  # type: ignore[arg-type]
    if sent.door == "execution":
        _run(intake.execution(SUBJECT, body, document))
    elif sent.door == "outcome":
        _run(intake.outcome(SUBJECT, body, document))
    else:
        _run(intake.batch(sent.headers.get("content-type", ""), body, document))
    for _, report in understood.taken:
        demand_report(report)
    said = None if sent.headers.get("content-type") in WITHOUT_JSON else single(plain(body, words=True))
    if len(understood.taken) == 1 and said is not None:
        demand_report_as_sent(understood.taken[0][1], said)


def single(said: Any) -> Any:
    """The one report of a body; None: there are several."""
    said = said["reports"] if isinstance(said, dict) and set(said) == {"reports"} else said
    many = said if isinstance(said, list) else [said]
    return many[0] if len(many) == 1 else None


def demand_report(report: ExecutionReport | OutcomeReport | EventReport) -> None:
    """The event of a report can be stored, and its amounts are numbers that `numeric` holds."""
    if isinstance(report, EventReport):
        event = report.to_event()
    elif isinstance(report, OutcomeReport):
        event = outcome_event(report)
    else:
        kind = EventKind.OPEN if report.status == "opened" else EventKind(report.status)
        event = execution_event(report, kind, report.filled_notional_usd, report.opened_at or NOW)
    demand_storable(event.body)
    demand_storable(event.event_id)
    for name in _MONEY:
        amount = event.money(name)
        if amount is not None and amount:
            assert amount.is_finite(), (name, amount)
            assert -100 <= amount.adjusted() <= 100, (name, amount)
            assert len(amount.as_tuple().digits) < 16_000, name


def demand_report_as_sent(report: ExecutionReport | OutcomeReport | EventReport, said: dict[str, Any]) -> None:
    """Each time, id and amount of a report is the one that its body spells."""
    for name in ("opened_at", "closed_at", "at"):
        if said.get(name) is not None:
            assert getattr(report, name) == spelled_time(said[name]), name
    for name in ("position_id", "event_id", "target"):
        if said.get(name) is not None:
            assert getattr(report, name) == spelled_id(said[name]), name
    for name in ("filled_notional_usd", "pnl", "notional_usd", "price", "quantity", "total_pnl", "amount_usd"):
        if said.get(name) is not None:
            demand_amount(getattr(report, name), said[name])


def demand_amount(stored: Decimal, said: Any) -> None:
    """The amount that was spelled: exactly, or 0 where it is less than any book has."""
    spelled = spelled_amount(said)
    assert stored == (spelled if abs(spelled) >= Decimal("1e-18") else 0), (stored, said)


def _demand_prices(body: bytes) -> None:
    bars = parsed_strictly(body, BarReports).prices
    said = plain(body)
    rows = said.get("prices", said) if isinstance(said, dict) else said
    rows = rows if isinstance(rows, list) else [rows]
    keys = {bar.key: bar for bar in bars}
    for row in rows:
        start = spelled_time(row["start"])
        end = spelled_time(row["end"]) if row.get("end") is not None else start + timedelta(seconds=int(row["seconds"]))
        bar = keys[row["symbol"], start, end]
        assert [Decimal(repr(price)) for price in bar.prices] == [
            row[name] for name in ("open", "high", "low", "close")
        ]
        assert bar.ends_at.astimezone(UTC).isoformat()


def through(sent: Sent, document: Routing) -> str:
    """Reads one body as the gateway does; `taken`, or the code that it is refused with.

    Raises:
        AssertionError: it was taken for what it is not, cannot be stored, or took too long.
    """
    began = time.thread_time()
    try:
        body = _bytes(sent)
        match sent.door:
            case "decision":
                _demand_decision(body)
            case "chat":
                _demand_chat(body, document)
            case "paper":
                assert parsed_strictly(body, PaperReport).ret == float(plain(body)["ret"])
            case "prices":
                _demand_prices(body)
            case _:
                _demand_reports(sent, body, document)
    except ApiError as error:
        demand_refusal(error)
        return str(error.code)
    except TwiceError:
        raise AssertionError("a name comes twice, and one of both was taken") from None
    finally:
        took = time.thread_time() - began
        assert took < MOST_SECONDS, f"{took:.2f} s of processor time"
    assert unpacked(sent) is not None
    return "taken"


def soak(first: int, count: int) -> Counter[str]:
    """Reads `count` bodies from the seeds from `first` on; what came of them, by door.

    Raises:
        AssertionError: with the seed, and what was sent.
    """
    document, found = routing(), Counter[str]()
    for seed in range(first, first + count):
        sent = request(Random(seed), NOW)
        try:
            found[f"{sent.door} {through(sent, document)}"] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {str(error)[:500]}: {sent}") from error
    return found
