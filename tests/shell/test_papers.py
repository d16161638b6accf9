"""Settling on paper on a real PostgreSQL: from decisions, shadows, prices and reports to the rows that are judged."""

import asyncio
import json
import math
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tradewind.shell import papers
from tradewind.shell.database import Database
from tradewind.trading.paper import PaperBasis
from tradewind.trading.settings.paper import PaperSettings

T0 = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
SETTINGS = PaperSettings(cost_basis_points="1")
BASIS = PaperBasis(SETTINGS, 24 * HOUR)
LONG = {
    "action": "open_long",
    "size_usd": 100,
    "leverage": 2,
    "stop_loss_pct": 0.02,
    "take_profit_pct": 0.05,
    "reasoning": "x",
}
SHORT = LONG | {"action": "open_short"}
HOLD = LONG | {"action": "hold", "size_usd": 0}
KEY = {"installation": "tradewind", "namespace": "ns", "endpoint": "trader"}


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    async with Database(postgres_dsn, "tradewind") as opened:
        yield opened


class Store:
    """Rows as gateways write them."""

    def __init__(self, dsn: str, *, replay: bool) -> None:
        self.connection = psycopg.connect(dsn, autocommit=True, row_factory=dict_row)
        self.replay = replay

    def insert(self, table: str, **values: Any) -> None:
        row = KEY | values
        marks = ", ".join(["%s"] * len(row))
        self.connection.execute(
            f"INSERT INTO tradewind.{table} ({', '.join(row)}) VALUES ({marks})", list(row.values())
        )  # type: ignore[call-overload]

    def decision(self, name: str, at: datetime, price: Any = 100.0, **changes: Any) -> None:
        request = {"market_data": {"BTC": {"price": price}}}
        row = {
            "decision_id": name, "request_hash": b"x", "request": json.dumps(request), "scope_symbol": "BTC", "experiment_uid": "u",
            "arm": "baseline", "candidate_weight": 0.25, "epoch": 1, "drawn_version": "api", "assignment_key": name, "decided_at": at,
            "state": "answered", "answer": json.dumps(LONG), "answered_by": "api", "answered_at": at, "received_at": at,
            "replay": self.replay,
        }  # fmt: skip
        self.insert("decisions", **row | changes)

    def price(self, at: datetime, price: Any, **changes: Any) -> None:
        """A question about the symbol outside of the experiment: its price counts all the same."""
        self.decision(
            f"p{at.timestamp():.0f}", at, price, experiment_uid=None, arm=None, candidate_weight=None, **changes
        )

    def shadow(self, name: str, at: datetime, answer: Any = None, *, arm: str = "candidate", **changes: Any) -> None:
        stored = None if answer is None else json.dumps(answer)
        state = "failed" if answer is None else "answered"
        row = {
            "decision_id": name,
            "arm": arm,
            "version": "v1",
            "state": state,
            "answer": stored,
            "answered_by": None if answer is None else "v1",
            "scope_symbol": "BTC",
            "scope_book": "",
            "replay": self.replay,
            "decided_at": at,
            "asked_at": at,
            "answered_at": at,
        }
        self.insert("shadows", **row | changes)

    def bar(self, start: datetime, hours: float, prices: tuple[float, float, float, float], **changes: Any) -> None:
        names = ("open", "high", "low", "close")
        row = {
            "symbol": "BTC",
            "starts_at": start,
            "ends_at": start + hours * HOUR,
            "received_at": start + hours * HOUR,
        }
        self.insert("bars", **row | dict(zip(names, prices, strict=True)) | changes)

    def papers(self) -> dict[tuple[str, str], dict[str, Any]]:
        rows = self.connection.execute("SELECT * FROM tradewind.papers ORDER BY decision_id, arm").fetchall()
        return {(row["decision_id"], row["arm"]): row for row in rows}

    def judged(self) -> list[dict[str, Any]]:
        return self.connection.execute(
            "SELECT * FROM tradewind.judged_rows ORDER BY decided_at, decision_id"
        ).fetchall()


@pytest.fixture
def replay(postgres_dsn: str) -> Iterator[Store]:
    store = Store(postgres_dsn, replay=True)
    yield store
    store.connection.close()


@pytest.fixture
def live(postgres_dsn: str) -> Iterator[Store]:
    store = Store(postgres_dsn, replay=False)
    yield store
    store.connection.close()


async def settle(database: Database, until: datetime | None, basis: PaperBasis = BASIS, t0: datetime = T0) -> None:
    await database.settle_papers("ns", "trader", "u", t0, basis, until)


def hourly(store: Store, hours: int, price: float = 100.0, start: datetime = T0) -> None:
    for hour in range(1, hours + 1):
        store.price(start + hour * HOUR, price)


async def test_both_arms_and_the_market_from_the_requests_own_prices(replay: Store, database: Database) -> None:
    replay.decision("d1", T0)
    replay.shadow("d1", T0, SHORT)
    hourly(replay, 7)
    replay.price(T0 + 8 * HOUR, "101.0")  # a price as text is one, too
    await settle(database, T0 + 8 * HOUR)
    assert replay.papers() == {}  # a look sees what was known before it
    await settle(database, T0 + 9 * HOUR)
    found = replay.papers()
    assert {key: row["ret"] for key, row in found.items()} == {
        ("d1", "baseline"): pytest.approx(0.0099),
        ("d1", "candidate"): pytest.approx(-0.0101),
        ("d1", "market"): pytest.approx(0.01),
    }
    assert {row["known_at"] for row in found.values()} == {T0 + 8 * HOUR}
    (row,) = replay.judged()
    assert (row["symbol"], row["paper_at"], row["market_at"]) == ("BTC", T0 + 8 * HOUR, T0 + 8 * HOUR)
    assert (row["paper_baseline"], row["market_return"]) == (pytest.approx(0.0099), pytest.approx(0.01))
    assert (row["failed"], row["shadow_failed"]) == ("", "")


async def test_a_hold_is_nothing_at_once_whoever_holds(replay: Store, database: Database) -> None:
    replay.decision("d1", T0, answer=json.dumps(HOLD))
    replay.shadow("d1", T0, HOLD | {"action": "close"})
    for basis in (BASIS, replace(BASIS, settings=None)):
        replay.connection.execute("DELETE FROM tradewind.papers")
        await settle(database, T0 + HOUR, basis)
        assert {key: (row["ret"], row["known_at"]) for key, row in replay.papers().items()} == {
            ("d1", "baseline"): (0.0, T0),
            ("d1", "candidate"): (0.0, T0),
        }


async def test_what_stands_where_an_arm_failed(replay: Store, database: Database) -> None:
    """In itself: the fallback's answer. Without its chance: nothing."""
    replay.decision("d0", T0, error_kind="status", fallback=True, answered_by="safe", answer=json.dumps(HOLD))
    replay.decision("d1", T0, error_kind="timeout", fallback=True, answered_by="safe", answer=json.dumps(HOLD))
    replay.decision("d2", T0, state="failed", answer=None, answered_by=None, error_kind="status")
    replay.decision("d3", T0, answer=json.dumps(HOLD))
    replay.shadow("d3", T0, HOLD, state="failed", answered_by="api", error_kind="invalid_json")
    replay.decision("d4", T0, answer=json.dumps(HOLD))
    replay.shadow("d4", T0, state="absent", error_kind="timeout")
    replay.decision("d5", T0, answer=json.dumps(HOLD))
    replay.shadow("d5", T0, state="absent", error_kind="not_asked")
    replay.decision("d6", T0, answer=json.dumps(HOLD), arm="candidate", drawn_version="v1", answered_by="v1")
    replay.shadow("d6", T0, arm="baseline", error_kind="status")  # and nobody stood in
    await settle(database, T0 + HOUR)
    assert set(replay.papers()) == {
        ("d0", "baseline"), ("d3", "baseline"), ("d3", "candidate"), ("d4", "baseline"), ("d5", "baseline"), ("d6", "candidate")
    }  # fmt: skip
    said = {row["decision_id"]: (row["failed"], row["shadow_failed"]) for row in replay.judged()}
    assert said == {
        "d0": ("error", ""), "d1": ("timeout", ""), "d2": ("error", ""), "d3": ("", "error"), "d4": ("", "timeout"), "d5": ("", ""),
        "d6": ("", "error"),
    }  # fmt: skip


@pytest.mark.parametrize("price", [None, "NaN", "dear", 0, -1, "1e3", True, [1], {"a": 1}, "1" * 400, 10**40])
async def test_a_price_that_is_none_gives_no_pair_and_breaks_nothing(
    price: Any, replay: Store, database: Database
) -> None:
    replay.decision("d1", T0, price)
    replay.decision("d2", T0)
    replay.price(T0 + HOUR, 97.0)
    await settle(database, T0 + 2 * HOUR)
    assert set(replay.papers()) == {("d2", "baseline")}


async def test_a_gap_gives_no_pair(replay: Store, database: Database) -> None:
    replay.decision("d1", T0)
    replay.shadow("d1", T0, SHORT)
    replay.price(T0 + 3 * HOUR, 90.0)
    hourly(replay, 9, start=T0 + 3 * HOUR)
    await settle(database, T0 + 48 * HOUR)
    assert set(replay.papers()) == {("d1", "market")}


async def test_a_stop_in_a_posted_bar(replay: Store, database: Database) -> None:
    replay.decision("d1", T0)
    replay.bar(T0, 1, (100, 101, 97, 101))
    await settle(database, T0 + 2 * HOUR)
    row = replay.papers()["d1", "baseline"]
    assert (row["ret"], row["exit_reason"], row["known_at"]) == (pytest.approx(-0.0201), "stop_loss", T0 + HOUR)


async def test_in_a_replay_a_bar_counts_from_the_datas_clock_when_it_came(replay: Store, database: Database) -> None:
    replay.decision("d1", T0)
    replay.bar(T0, 1, (100, 101, 97, 101), clock=T0 + 5 * HOUR, received_at=datetime(2030, 1, 1, tzinfo=UTC))
    await settle(database, T0 + 5 * HOUR)
    assert replay.papers() == {}
    await settle(database, T0 + 6 * HOUR)
    assert replay.papers()["d1", "baseline"]["known_at"] == T0 + 5 * HOUR


def scene(store: Store, seed: int) -> None:
    """Two days of decisions, shadows, bars and reports."""
    rng, price = random.Random(seed), 100.0
    for hour in range(48):
        at = T0 + hour * HOUR
        price *= math.exp(rng.gauss(0, 0.01))
        answers = [json.dumps(rng.choice([LONG, SHORT, HOLD])) for _ in range(2)]
        if rng.random() < 0.9:
            store.decision(f"d{hour:02d}", at, price, answer=answers[0])
            if rng.random() < 0.8:
                store.shadow(f"d{hour:02d}", at, json.loads(answers[1]))
            if rng.random() < 0.2:
                store.insert(
                    "reported_papers",
                    decision_id=f"d{hour:02d}",
                    arm="candidate",
                    ret=0.5,
                    clock=at + rng.choice([0, 3, 30]) * HOUR,
                )
        if rng.random() < 0.5:
            store.bar(at, 1, (price, price * 1.01, price * 0.99, price), clock=at + rng.choice([0, 0, 4]) * HOUR)


@pytest.mark.parametrize("seed", range(4))
async def test_looked_at_each_hour_or_once_late_or_twice_it_is_the_same(
    seed: int, replay: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene(replay, seed)
    drop = "TRUNCATE tradewind.papers, tradewind.paper_progress, tradewind.request_prices"
    at_once: dict[Any, Any] = {}
    for page in (500, 3):
        monkeypatch.setattr(papers, "PAGE", page)
        replay.connection.execute(drop)
        await settle(database, T0 + 80 * HOUR)
        found = {key: (row["ret"], row["known_at"], row["source"]) for key, row in replay.papers().items()}
        assert not at_once or found == at_once
        at_once = found
    assert len(at_once) > 60
    assert {source for _, _, source in at_once.values()} == {"answer", "prices", "reported"}
    assert all(known <= T0 + (int(name[1:]) + 24) * HOUR for (name, _), (_, known, _) in at_once.items())
    replay.connection.execute(drop)
    for hour in range(81):
        look = T0 + hour * HOUR
        for _ in range(1 + hour % 2):  # a restart settles again
            await settle(database, look)
        so_far = {key: (row["ret"], row["known_at"], row["source"]) for key, row in replay.papers().items()}
        assert so_far == {key: value for key, value in at_once.items() if value[1] < look}


async def test_two_operators_at_once_write_what_one_would(replay: Store, database: Database, postgres_dsn: str) -> None:
    scene(replay, 9)
    async with Database(postgres_dsn, "tradewind") as other:
        await asyncio.gather(*(settle(one, T0 + 80 * HOUR) for one in (database, other, database)))
    first = replay.papers()
    await settle(database, T0 + 80 * HOUR)
    assert replay.papers() == first


async def test_nothing_is_read_again_once_it_can_be_settled_no_more(replay: Store, database: Database) -> None:
    replay.decision("d1", T0)  # never a price
    await settle(database, T0 + 30 * HOUR)
    (progress,) = replay.connection.execute("SELECT settled_until FROM tradewind.paper_progress").fetchall()
    assert progress["settled_until"] == T0 + 6 * HOUR
    await settle(database, T0 + 29 * HOUR)  # an older look moves nothing back
    (progress,) = replay.connection.execute("SELECT settled_until FROM tradewind.paper_progress").fetchall()
    assert progress["settled_until"] == T0 + 6 * HOUR


# --- Live ------------------------------------------------------------------------------------------------------------


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


async def test_live_counts_from_when_a_price_came_and_waits_for_a_report(live: Store, database: Database) -> None:
    start = ago(7200)
    live.decision("d1", start)
    came = ago(120)
    live.price(start + HOUR, 97.0, received_at=came, answered_at=came)
    await settle(database, None, t0=start)
    row = live.papers()["d1", "baseline"]
    assert (row["source"], row["ret"]) == ("prices", pytest.approx(-0.0301))
    assert row["known_at"] == came + papers.REPORT_WAIT + papers.SLACK


async def test_live_what_came_just_now_waits_for_the_next_look(live: Store, database: Database) -> None:
    start = ago(7200)
    live.decision("d1", start)
    live.price(start + HOUR, 97.0, received_at=ago(30), answered_at=ago(30))
    await settle(database, None, t0=start)
    assert live.papers() == {}


async def test_a_report_wins_over_prices_that_settled_no_earlier(live: Store, database: Database) -> None:
    start = ago(7200)
    came = ago(200)
    for name, told in (("d1", 150), ("d2", 130), ("d3", 1000)):
        live.decision(name, start)
        live.insert("reported_papers", decision_id=name, arm="baseline", ret=0.5, received_at=ago(told))
    live.price(start + HOUR, 97.0, received_at=came, answered_at=came)
    await settle(database, None, t0=start)
    sources = {name: row["source"] for (name, arm), row in live.papers().items() if arm == "baseline"}
    assert sources == {"d1": "reported", "d2": "prices", "d3": "reported"}


async def test_a_report_that_is_late_is_no_paper_and_one_of_an_arm_that_was_late_neither(
    live: Store, database: Database
) -> None:
    start = ago(90_000)  # 25 h
    for name, changes in (("d1", {}), ("d2", {"error_kind": "timeout", "fallback": True, "answered_by": "safe"})):
        live.decision(name, start, None, **changes)
    live.insert("reported_papers", decision_id="d1", arm="baseline", ret=0.5, received_at=ago(3000))
    live.insert("reported_papers", decision_id="d2", arm="baseline", ret=0.5, received_at=ago(80_000))
    await settle(database, None, t0=start)
    assert live.papers() == {}


async def test_live_a_paper_of_a_slow_shadow_is_not_known_before_its_answer(live: Store, database: Database) -> None:
    start = ago(7200)
    live.decision("d1", start)
    live.price(start + timedelta(seconds=1), 90.0)
    live.shadow("d1", start, LONG, answered_at=start + timedelta(seconds=20))
    await settle(database, None, t0=start)
    delay = papers.REPORT_WAIT + papers.SLACK
    assert live.papers()["d1", "candidate"]["known_at"] == start + timedelta(seconds=20) + delay
    assert live.papers()["d1", "baseline"]["known_at"] == start + timedelta(seconds=1) + delay


async def test_what_is_no_row_gets_no_paper(live: Store, database: Database) -> None:
    start = ago(7200)
    live.decision("d0", start)
    live.decision("d1", start, parent_decision_id="d0", answer=json.dumps(HOLD))
    live.decision("d2", start, bar_from_evidence="database_outage", answer=json.dumps(HOLD))
    live.decision("d3", start, candidate_weight=1.0, answer=json.dumps(HOLD))
    live.decision("d4", start, experiment_uid="other", answer=json.dumps(HOLD))
    live.decision("d5", start - HOUR, answer=json.dumps(HOLD))
    live.decision("d6", start, state="assigned", answer=None, answered_by=None, answered_at=None)
    await settle(database, None, t0=start)
    assert live.papers() == {}


async def test_a_look_that_finds_nothing_new_asks_little_and_writes_nothing(
    live: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hundreds of experiments this is what the database is asked most."""
    asked: list[str] = []
    execute = psycopg.AsyncCursor.execute

    async def counted(self: Any, query: Any, *rest: Any, **which: Any) -> Any:
        if not str(query).startswith("SET "):
            asked.append(str(query))
        return await execute(self, query, *rest, **which)

    start = ago(7200)
    live.decision("d1", start)
    live.price(start + HOUR, 97.0, received_at=ago(120), answered_at=ago(120))
    await settle(database, None, t0=start)
    await database.evidence("ns", "trader", "u", start)
    monkeypatch.setattr(psycopg.AsyncCursor, "execute", counted)
    await settle(database, None, t0=start)
    await database.evidence("ns", "trader", "u", start)
    await database.of_experiment("ns", "trader", "api", "v1", "u")
    assert not [text for text in asked if "INSERT" in text], asked
    assert len(asked) <= 5, asked
    asked.clear()
    live.price(start + 2 * HOUR, 98.0, received_at=ago(60), answered_at=ago(60))
    await settle(database, None, t0=start)
    assert [text for text in asked if "INSERT INTO tradewind.request_prices" in text], "a request that is new is read"
