"""A gateway with its arms, PostgreSQL and rows, to which requests are sent, and what holds for whatever was sent.

No status is 500, each answer comes in time and in its documented shape, what was taken is stored as its body spells it, and what
was refused changed nothing but the record of refused reports.
"""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

import httpx
from fuzz_bodies import SUBJECT, Sent, plain, spelled_id, spelled_time, unpacked
from fuzz_books import Books, Change, changes
from fuzz_parse import WITHOUT_JSON, as_stored, demand_amount, single
from gateway_rig import HOLD, OPEN, Rig, ask

from tradewind.gateway.errors import ErrorCode

MOST_SECONDS = 15.0
"""One request, on a machine that does other things, too; a decision has 5."""
_RELEASE = {"holding", "released_at", "released_by", "closed"}
"""What a statement of positions changes of decisions before it."""
_FINAL = {"no_answer"}


class World:
    """A gateway with an experiment, its subject (an answer to open), and neighbours whose evidence is nobody else's business."""

    def __init__(self, rig: Rig, client: httpx.AsyncClient) -> None:
        self._rig, self._client = rig, client
        self._books = Books(rig.dsn)
        self._asked = 0
        self.found = Counter[str]()

    async def build(self) -> None:
        """Asks and reports what stands before any request of a stranger."""
        for arm in self._rig.arms.values():
            arm.answer = dict(OPEN)
        now = datetime.now(UTC)
        await self._rig.trade(self._client, "n1", "n-open", scope={"symbol": "BTC", "book": "n1"})
        await self._rig.trade(self._client, "n2", "n-closed", scope={"symbol": "BTC", "book": "n2"})
        assert (await self._rig.close(self._client, "n2")).status_code == 200
        answer = await self._client.post("/v1/decisions", json=ask(SUBJECT, scope={"symbol": "BTC", "book": "s"}))
        assert answer.json()["action"] == "open_long", answer.text
        start = (now - timedelta(days=40)).isoformat()
        bar = {"symbol": "BTC", "start": start, "seconds": 60, "open": 1, "high": 1, "low": 1, "close": 1}
        assert (await self._client.post("/v1/prices", json=bar)).status_code == 200
        for arm in self._rig.arms.values():
            arm.answer = dict(HOLD)
        self._books.keep()
        self._rows = self._books.look()

    def close(self) -> None:
        self._books.close()

    async def send(self, sent: Sent) -> None:
        """Sends one request and holds what became of it to what holds for all.

        Raises:
            AssertionError: with what was sent.
        """
        self._asked += 1
        if self._asked % 500 == 0:  # a document lives for 30 s, and past it no candidate is drawn
            self._rig.publish()
            await self._rig.seen()
        try:
            async with asyncio.timeout(MOST_SECONDS):
                response = await self._client.request(sent.method, sent.path, content=sent.body, headers=sent.headers)
            after = self._books.look()
            changed = changes(self._rows, after)
            self._judge(sent, response, changed)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {str(error)[:800]}: {sent}") from error
        if len(changed) and (
            len(after) > 60 or not all(c.table in ("refused_reports", "bars") or c.before is None for c in changed)
        ):
            self._books.put_back()
            after = self._books.look()
        self._rows = after

    def _judge(self, sent: Sent, response: httpx.Response, changed: list[Change]) -> None:
        self.found[f"{sent.door} {response.status_code}"] += 1
        assert response.status_code != 500, response.text
        content = response.content.decode()
        if sent.door == "read":
            assert not changed
            assert response.status_code < 500 or sent.path == "/readyz"
            return
        told = json.loads(content)
        if "error" in told:
            _demand_error(response, told["error"])
        if response.status_code == 200:
            self._demand_written(sent, told, changed)
        elif "results" in told:
            _demand_batch(sent, changed)
        elif told["error"]["code"] in _FINAL:
            self._demand_decision(sent, changed)
        else:
            assert {c.table for c in changed} <= {"refused_reports"}, changed
            assert not changed or sent.door in ("execution", "outcome", "reports"), changed
            if sent.door in ("execution", "outcome", "reports") and response.status_code in (404, 409, 422):
                kept = told["error"].get("retry_after_seconds") is None and told["error"]["code"] != "no_such_route"
                assert len(changed) == kept or sent.door == "reports", changed  # a body that is no report is not kept

    def _demand_written(self, sent: Sent, told: dict[str, Any], changed: list[Change]) -> None:
        match sent.door:
            case "decision" | "chat":
                self._demand_decision(sent, changed)
            case "prices":
                assert {c.table for c in changed} <= {"bars"}
                assert len([c for c in changed if c.before is None]) == len(changed) == told["stored"]
            case "paper":
                assert {c.table for c in changed} <= {"reported_papers"}
                for change in changed:
                    assert change.after is not None
                    assert change.after["ret"] == plain(unpacked(sent))["ret"]
            case _:
                _demand_batch(sent, changed)
                if "event_id" in told:
                    _demand_report(sent, told, changed, self._rows)

    def _demand_decision(self, sent: Sent, changed: list[Change]) -> None:
        """One row, of what was sent; of others no more than that their scope is free, as a statement of positions may say."""
        new = [c for c in changed if c.before is None]
        assert {c.table for c in new} <= {"decisions"}
        assert len(new) <= 1
        for change in changed:
            if change.before is not None:
                assert change.after is not None
                assert change.columns <= _RELEASE, (change.table, change.columns)
        if not new or sent.door == "chat":
            return
        assert new[0].after is not None
        stored, said = new[0].after["request"], plain(unpacked(sent))
        assert stored == as_stored(said, stored)
        assert new[0].after["scope_symbol"] == said["scope"]["symbol"]
        if said.get("decision_id") is not None:
            assert new[0].decision_id == spelled_id(said["decision_id"])


def _demand_error(response: httpx.Response, error: dict[str, Any]) -> None:
    """The documented shape: a known code with its status, a message and a remedy."""
    (code,) = [known for known in ErrorCode if known.value == error["code"]]
    assert response.status_code in (code.status, 409, 400), error
    assert error["message"]
    assert error["remedy"]
    assert (response.headers.get("retry-after") is None) == (error.get("retry_after_seconds") is None)


def _demand_batch(sent: Sent, changed: list[Change]) -> None:
    """Reports change rows of the decisions that they name, and of no others."""
    assert {c.table for c in changed} <= {"decisions", "executions", "outcomes", "events", "refused_reports"}, changed
    text = json.dumps(_ids(sent), ensure_ascii=False)
    for change in changed:
        if change.table == "refused_reports":
            continue
        positions = {"n1": "n-open", "n2": "n-closed"}.get(str(change.decision_id), "p1")
        if sent.door in ("execution", "outcome"):
            assert change.decision_id == unquote(sent.path.split("/")[3])
        else:
            assert f'"{change.decision_id}"' in text or f'"{positions}"' in text, (change.decision_id, text)
        if change.table == "decisions":
            assert change.before is not None
            assert change.columns <= _RELEASE | {"reports", "held_since", "position_action"}, change.columns


def _ids(sent: Sent) -> list[str]:
    """Every text of a body, and every number as an id."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)
        elif isinstance(value, str):
            found.append(value)
        elif isinstance(value, Decimal) and value.is_finite() and abs(value) < 10**20:
            found.append(str(int(value)))

    body = unpacked(sent)
    if sent.headers.get("content-type") == "application/x-www-form-urlencoded":
        return [*dict(httpx.QueryParams(body.decode())).values()]
    lines = body.splitlines() if sent.headers.get("content-type") == "application/x-ndjson" else [body]
    for line in lines:
        if line.strip():
            walk(plain(line, words=True))
    return found


def _demand_report(sent: Sent, told: dict[str, Any], changed: list[Change], before: dict[Any, dict[str, Any]]) -> None:
    """The event and what follows from it, of one report that was taken: as its body spells them."""
    if sent.headers.get("content-type") in WITHOUT_JSON:
        return
    said = single(plain(unpacked(sent), words=True))
    (event,) = [c.after for c in changed if c.table == "events"] or [None]
    if event is None:  # said before, in the same words
        return
    assert event["event_id"] == told["event_id"]
    at = next((said[name] for name in ("at", "closed_at", "opened_at") if said.get(name) is not None), None)
    if at is not None and event["kind"] != "correct":
        assert datetime.fromisoformat(event["at"]) == spelled_time(at)
    for name in ("notional_usd", "pnl", "total_pnl", "amount_usd", "price", "quantity"):
        if said.get(name) is not None and "event" in said:
            demand_amount(Decimal(event["body"][name]), said[name])
    rows = {c.table: c.after for c in changed if c.table in ("executions", "outcomes") and c.after is not None}
    if said.get("status") == "opened" and "executions" in rows and event["kind"] == "open":
        assert rows["executions"]["position_id"] == spelled_id(said["position_id"])
        demand_amount(Decimal(str(rows["executions"]["filled_notional_usd"])), said["filled_notional_usd"])
    if "closed_at" in said and said.get("pnl") is not None and "outcomes" in rows:
        demand_amount(Decimal(str(rows["outcomes"]["pnl_usd"])), said["pnl"])
        assert datetime.fromisoformat(rows["outcomes"]["closed_at"]) == spelled_time(said["closed_at"])
