"""Whatever comes in whatever order, rows, arms and returns are those of a simple model, and so is the verdict."""

import csv
import io
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gateway_rig import OPEN, T0, ask
from simple_model import UID, Known, Model

from tradewind.shell.database import Database
from tradewind.trading.evidence import EvidenceSpec, TradeTable, judge
from tradewind.trading.evidence.report import judgement_json

HISTORIES, STEPS = 30, 60
ACTIONS = ["open_long"] * 5 + ["open_short"] * 3 + ["hold", "close"]


def now() -> datetime:
    return datetime.now(UTC)


class History:
    """Random steps on two gateways and on the model, in scopes of its own."""

    def __init__(self, rig, gateways, seed: int) -> None:
        self.rig, self.gateways, self.seed = rig, gateways, seed
        self.random, self.model, self.count = random.Random(seed), Model(), 0
        self.scopes = [f"h{seed}-{letter}" for letter in "abc"]
        self.sent: list[tuple[str, dict[str, Any]]] = []  # accepted reports, to double
        self.orphans: list[tuple[Known, bool]] = []

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.seed}-{self.count}"

    async def post(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        response = await self.random.choice(self.gateways).post(path, json=body)
        return response.status_code, response.json()

    def script(self) -> dict[str, str]:
        script = {version: self.random.choice(ACTIONS) for version in ("api", "v1")}
        for version, action in script.items():
            self.rig.arms[version].answer = OPEN | {"action": action} | ({} if "open" in action else {"size_usd": 0})
        return script

    async def step(self) -> None:
        kinds = {
            self.ask: 9, self.execution: 8, self.outcome: 6, self.event: 5, self.mend: 3, self.double: 3, self.retry: 2,
            self.orphan: 1, self.take_over: 2, self.age: 1, self.misfit: 1,
        }  # fmt: skip
        await self.random.choices(list(kinds), list(kinds.values()))[0]()

    async def ask(self) -> None:
        scope, script, stated, named = self.random.choice(self.scopes), self.script(), None, None
        held = [d.position for d in self.model.holders(scope) if d.is_open]
        form = self.random.choice(["nothing", "flat", "flat", "flat before", "listed", "named"])
        at = now() - timedelta(hours=1) if form == "flat before" else None
        if form.startswith("flat"):
            stated = []
        elif form == "listed" and held:
            stated = held
        elif form == "named" and held:
            named = held[-1]
        account: dict[str, Any] = {"balance": 600, "permission_level": "L2"}
        if stated is not None:
            account["positions"] = [{"position_id": p, "symbol": "BTC", "book": scope, "size": 1} for p in stated]
        if at is not None:
            account["positions_at"] = at.isoformat()
        body = ask(self.name("d"), scope={"symbol": "BTC", "book": scope}, account_state=account)
        body |= {} if named is None else {"position_id": named}
        known = self.model.ask(
            body["decision_id"], scope, stated=stated, at=at or now(), named=named, script=script, answered=now()
        )
        known.body = body
        status, known.answer = await self.post("/v1/decisions", body)
        assert status == 200, known.answer
        known.since = now()
        self.compare(known)

    def compare(self, known: Known) -> None:
        assert known.answer is not None
        action = "close" if known.flipped and known.action == "hold" else known.action
        said = (known.answer["_arm"], known.answer["action"], known.answer.get("_flipped"))
        assert said == (known.arm, action, known.flipped.name if known.flipped else None), (known, known.answer)

    def some(self, condition) -> Known | None:
        found = [d for d in self.model.decisions.values() if d.action is not None and condition(d)]
        recent = found[-3:] if self.random.random() < 0.7 else found
        return self.random.choice(recent) if recent else None

    async def report(self, known: Known, path: str, body: dict[str, Any], event: dict[str, Any], event_id: str) -> None:
        was_open = known.is_open
        status, said = await self.post(path, body)
        assert status == 200, (said, body, known)
        self.sent.append((path, body))
        known.events[event_id] = event
        self.model.after(known, was_open=was_open, event_at=event.get("at") or now())

    async def execution(self) -> None:
        known = self.some(lambda d: "open" in d.action and not d.events)
        if known is None:
            return
        path, at = f"/v1/decisions/{known.name}/execution", now()
        if self.random.random() < 0.2:
            kind = self.random.choice(["rejected", "not_filled"])
            await self.report(known, path, {"status": kind}, {"kind": kind}, "execution")
            return
        fill, parent = self.random.choice([100.0, 118.5, 230.25]), known.parent
        body = {"status": "opened", "opened_at": at.isoformat(), "filled_notional_usd": fill}
        if parent is not None and parent.is_open and parent.action == known.action:
            if parent.books()[0] + fill > 1000:  # the bound of a position
                return
            event = {"kind": "add", "notional": fill, "at": at}
            await self.report(parent, path, body | {"position_id": parent.position}, event, self.name("fill"))
            return
        position = self.name("p")
        event = {"kind": "open", "notional": fill, "at": at, "position": position}
        await self.report(known, path, body | {"position_id": position}, event, "execution")

    async def outcome(self) -> None:
        known = self.some(lambda d: d.opening is not None)
        if known is None:
            return
        pnl = self.random.choice([None, 2.5, -3.25, 0.0, round(self.random.uniform(-20, 20), 2)])
        at = now()
        body = {"closed_at": at.isoformat(), "pnl": pnl, "fees": self.random.choice([None, 0.1, "0.1 USDT", -0.05])}
        body["exit_reason"] = self.random.choice([None, "roi", 7, "x" * 2000])
        if known.close is None:
            event, event_id = {"kind": "close", "total": pnl, "at": at}, "outcome"
        else:  # another outcome corrects the first
            event, event_id = dict(known.close), "outcome"
            event["at"] = at
            if pnl is not None:
                event |= {"total": pnl, "pnl": None}
        await self.report(known, f"/v1/decisions/{known.name}/outcome", body, event, event_id)

    async def event(self) -> None:
        known = self.some(lambda d: d.opening is not None and d.books()[0] < 700)
        if known is None:
            return
        by_position = self.random.random() < 0.5
        ids = {"position_id": known.position} if by_position else {"decision_id": known.name}
        event_id, at = self.name("e"), now()
        kind = self.random.choice(["add", "reduce", "cash_flow", "close"] if known.is_open else ["cash_flow"])
        body = {**ids, "event": kind, "event_id": event_id, "at": at.isoformat()}
        event: dict[str, Any] = {"kind": kind, "at": at}
        if kind == "cash_flow":
            event["amount"] = body["amount_usd"] = round(self.random.uniform(-1, 1), 3)
        elif kind == "add":
            event["notional"] = body["notional_usd"] = 60.0
        elif kind == "reduce":
            event["notional"] = body["notional_usd"] = round(known.books()[0] * self.random.uniform(0.1, 0.6), 4)
            event["pnl"] = body["pnl"] = round(self.random.uniform(-3, 3), 2)
        else:
            field, name = self.random.choice([("pnl", "pnl"), ("total_pnl", "total")])
            event[name] = body[field] = round(self.random.uniform(-3, 3), 2)
            event_id = "outcome"
        await self.report(known, "/v1/reports", body, event, event_id)

    async def mend(self) -> None:
        """A correction or a void of the close, or a void of an opening that nothing came after."""
        known = self.some(lambda d: d.close is not None or len(d.events) == 1)
        if known is None:
            return
        words = {
            "decision_id": known.name,
            "at": now().isoformat(),
            "by": "me",
            "why": "a mistake",
            "event_id": self.name("m"),
        }
        was_open = known.is_open
        if known.close is not None and self.random.random() < 0.5:
            pnl = round(self.random.uniform(-5, 5), 2)
            body = words | {"event": "correct", "target": "outcome", "total_pnl": pnl}
            known.close.update(total=pnl, pnl=None)
        elif known.close is not None:
            body = words | {"event": "void", "target": "outcome"}
            known.events = {name: e for name, e in known.events.items() if e["kind"] != "close"}
        elif known.opening is not None:
            body = words | {"event": "void", "target": "execution"}
            known.events.clear()
        else:
            return
        status, said = await self.post("/v1/reports", body)
        assert status == 200, (said, body, known)
        self.model.after(known, was_open=was_open, event_at=now())

    async def double(self) -> None:
        """A report that comes again, however late, changes nothing."""
        if self.sent:
            path, body = self.random.choice(self.sent)
            status, said = await self.post(path, body)
            assert status == 200, (said, path, body)

    async def misfit(self) -> None:
        """A report that does not fit changes nothing."""
        known = self.some(lambda d: d.is_open)
        if known is not None:
            body = {"closed_at": (now() + timedelta(hours=8)).isoformat(), "pnl": 1e9}
            assert (await self.post(f"/v1/decisions/{known.name}/outcome", body))[0] == 422

    async def retry(self) -> None:
        known = self.some(lambda d: d.body is not None)
        if known is None or known.body is None:
            return
        self.script()
        assert await self.post("/v1/decisions", known.body) == (200, known.answer)
        fresh = known.body | {"market_data": {"BTC": {"price": self.random.random()}}}
        assert await self.post("/v1/decisions", fresh) == (200, known.answer | {"_replayed": True})

    async def orphan(self) -> None:
        """The gateway died before it could store the last answer, and its lease is over."""
        known = self.some(lambda d: not d.events and d.flipped is None and d.holding)
        if known is None or any(d.parent is known or d.flipped is known for d in self.model.decisions.values()):
            return
        await self.rig.rows(
            "UPDATE tradewind.decisions SET state = 'assigned', answer = NULL, answered_by = NULL, answered_at = NULL,"
            " holding = false, held_since = NULL, asking_until = now() - interval '1 s' WHERE decision_id = %s",
            known.name,
        )
        known.action, known.holding = None, False
        self.orphans.append((known, False))

    async def take_over(self) -> None:
        if not self.orphans:
            return
        known, says = self.orphans.pop()
        script = self.script()
        assert known.body is not None
        known.body = known.body | {"market_data": {"BTC": {"price": self.random.random()}}}
        self.model.answer(known, script, says=says, answered=now())
        status, known.answer = await self.post("/v1/decisions", known.body)
        assert status == 200, known.answer
        known.since = now()
        self.compare(known)

    async def age(self) -> None:
        """Time passes: an opening of which nothing was told is older than maxHold."""
        known = self.some(lambda d: d.holding and not d.events)
        if known is not None and known is self.model.holders(known.scope)[0]:
            sql = "UPDATE tradewind.decisions SET decided_at = decided_at - interval '2 days' WHERE decision_id = %s"
            await self.rig.rows(sql, known.name)
            known.old, known.order = True, known.order - 10_000


async def evidence_of(dsn: str) -> tuple[list[dict[str, Any]], TradeTable]:
    async with Database(dsn, "tradewind") as database:
        rows = await database.judged_rows("ns", "trader", UID)
        stored = await database.evidence("ns", "trader", UID, T0)
    return rows, stored.table


def as_csv(rows: list[dict[str, Any]]) -> TradeTable:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    for row in rows:
        times = {name: value.isoformat() for name, value in row.items() if isinstance(value, datetime)}
        writer.writerow(row | times)
    return TradeTable.from_csv(io.StringIO(text.getvalue(), newline=""))


async def test_any_interleaving_gives_the_rows_of_the_model_and_one_verdict(rig) -> None:
    expires = now() + timedelta(hours=1)  # past it, the candidate gets nothing
    rig.publish(experiment=rig.experiment(candidateWeight="0.5"), expiresAt=expires.isoformat())
    gateways = [await rig.gateway(), await rig.gateway(replica="r1")]
    await rig.seen()
    expected: dict[str, Known] = {}
    model = Model()
    for seed in range(HISTORIES):
        if seed == HISTORIES // 2:  # a restart: what was only in memory is gone
            gateways = [await rig.gateway(replica="r2"), await rig.gateway(replica="r3")]
            await rig.seen()
        history = History(rig, gateways, seed)
        for step in range(STEPS):
            try:
                await history.step()
            except AssertionError as error:
                raise AssertionError(f"history {seed}, step {step}: {error}") from error
        while history.orphans:
            await history.take_over()
        expected |= history.model.decisions
    stored = {row["decision_id"]: row for row in await rig.rows()}
    assert {name: row["holding"] for name, row in stored.items()} == {n: k.holding for n, k in expected.items()}
    assert {name: row["released_by"] for name, row in stored.items()} == {n: k.released for n, k in expected.items()}
    judged, _ = await evidence_of(rig.dsn)
    rows = {row["decision_id"]: row for row in judged}
    assert rows.keys() == {name for name, known in expected.items() if known.parent is None}
    for name, row in rows.items():
        wanted = model.row(expected[name])
        assert {key: row[key] for key in wanted} == pytest.approx(wanted), (name, expected[name])
        assert row["corrected"] == (expected[name].first is not None and expected[name].corrections > 0), name
    closed = [row for row in rows.values() if row["status"] == "closed"]
    assert len(closed) > HISTORIES * 3
    assert len({known.released for known in expected.values()}) == 7  # every way out was taken
    await the_verdict_is_one(rig)


async def the_verdict_is_one(rig) -> None:
    """The decisions of an hour, spread over thirty days: from the CSV as from the database."""
    days = "make_interval(days => 1 + (hashtext(decision_id) & 31))"
    times = ("first_closed_at", "first_received_at")
    await rig.rows(f"UPDATE tradewind.outcomes SET {', '.join(f'{t} = {t} - {days}' for t in times)}")
    await rig.rows(
        f"UPDATE tradewind.decisions SET decided_at = decided_at - {days}, answered_at = answered_at - {days}"
    )
    rows, table = await evidence_of(rig.dsn)
    t0, looked = now() - timedelta(days=34), now()
    operators, ours = (judge(each, t0, looked, EvidenceSpec()) for each in (table, as_csv(rows)))
    assert judgement_json(operators) == judgement_json(ours)
    assert operators.evidence.blocks >= 30
    assert operators.evidence.baseline.decisions > 100
