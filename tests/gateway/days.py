"""Days of trading in seconds: real gateways and a real database, in which time passes because the past moves back.

Belongs here: what a trading system asks and reports, day after day. Does not belong here: what each row must then be
(row_model.py) and what an operator makes of the rows (test_verdicts.py).

Nothing is told a wrong time: every question, answer and report has the clock of its moment. `passes` then moves all that is
stored back by some hours, to the microsecond.
"""

import asyncio
import json
import math
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
from fastapi.responses import JSONResponse, Response
from gateway_rig import HOLD, OPEN, Rig, ask

from tradewind.trading.assignment import draw_arm

UID = "exp-1"
TICK = timedelta(hours=6)
TICKS_A_DAY = 4
HORIZON, GAP, HOLDS = timedelta(hours=12), timedelta(hours=7), timedelta(hours=24)
COST = 0.0001
SYMBOLS = ("BTC", "ETH", "SOL")
STOP, TARGET = float(OPEN["stop_loss_pct"]), float(OPEN["take_profit_pct"])
VERSIONS = {"baseline": "api", "candidate": "v1"}
WAITED = timedelta(seconds=75)
SLACK = timedelta(seconds=15)

_PLAN = re.compile(r"plan-(\w)(\w)(h)-(\w+)")
_FAULTS = {"e": "answer of HTTP 500", "j": "answer without JSON", "t": "answer too late"}
_LATE = {(5, "BTC"): {"candidate": "t"}, (9, "ETH"): {"baseline": "t"}}  # each takes a second
ACTIONS = {"l": "open_long", "s": "open_short"}


def now() -> datetime:
    return datetime.now(UTC)


def behaves(place: int) -> Callable[[dict[str, Any]], Awaitable[Response | None]]:
    """An arm that answers what the question has planned for it: l, s or h; e: an error, j: no JSON, t: too late.

    Args:
        place: 1 the baseline, 2 the candidate, 3 the fallback, which always holds.
    """

    async def behave(body: dict[str, Any]) -> Response:
        planned = _PLAN.search(json.dumps(body))
        assert planned is not None
        letter = planned.group(place)
        if letter == "e":
            return JSONResponse({"error": "busy"}, 500)
        if letter == "j":
            return Response("<html>")
        if letter == "t":
            await asyncio.sleep(1.5)  # longer than its timeout
        answer = (OPEN | {"action": ACTIONS[letter]} if letter in ACTIONS else HOLD) | {"symbol": planned.group(4)}
        message = {"role": "assistant", "content": json.dumps(answer)}
        own = answer | {"_probabilities": {answer["action"]: 1.0}}
        return JSONResponse({"model": "chat-7", "choices": [{"message": message}], "predictions": [own]})

    return behave


@dataclass
class Known:
    """One decision as the trading system and the model know it. `said`: what was told of it and stands, first `known`."""

    name: str
    symbol: str
    tick: int
    plan: dict[str, str]
    arm: str
    body: dict[str, Any]
    answer: dict[str, Any]
    fill: float = 0.0
    position: str = ""
    first: tuple[float, float] | None = None  # pnl and notional, as they were known first
    unopened: str | None = None
    corrected: bool = False
    told: dict[str, tuple[int, float]] = field(default_factory=dict)  # arm: tick and return of a reported paper

    @property
    def opens(self) -> bool:
        return self.plan[self.arm] in ACTIONS


@dataclass(frozen=True)
class Scenario:
    """What happens in one history.

    Attributes:
        edge: chance beyond one half that the candidate takes the side that will win; below 0: the other one.
        shadow: who is asked beside the drawn arm.
        days: how long it goes on.
        late_from: first day on which outcomes come after maxHold, or never: a share of 1 % of them holds every decision.
    """

    edge: float
    shadow: str
    days: int
    late_from: int


class Days:
    """One history. `count` has how often each kind of disturbance occurred."""

    def __init__(self, rig: Rig, scenario: Scenario, seed: int) -> None:
        self.rig, self.scenario, self.seed = rig, scenario, seed
        self.random = random.Random(seed)  # of what happens one after the other
        self.dice = random.Random(seed)  # of what makes no difference
        self.gateways: list[httpx.AsyncClient] = []
        self.passed = timedelta(0)
        self.tick = 0
        self.known: dict[str, Known] = {}
        self.follow_ups = 0
        self.count: Counter[str] = Counter()
        self.later: dict[int, list[Callable[[], Awaitable[None]]]] = {}
        self.asked: set[tuple[int, str]] = set()
        steps = scenario.days * TICKS_A_DAY + 8
        self.price = {symbol: self._walk(steps) for symbol in SYMBOLS}

    def _walk(self, steps: int) -> list[float]:
        logs = [math.log(100.0)]
        for _ in range(steps):
            logs.append(logs[-1] + self.random.gauss(0, 0.012))
        return [round(math.exp(value), 4) for value in logs]

    # --- the clock -----------------------------------------------------------------------------------------------------

    @property
    def start(self) -> datetime:
        """The start of the experiment, as it is stored now."""
        return self.began - self.passed

    async def begins(self) -> None:
        for place, version in enumerate((*VERSIONS.values(), "safe"), 1):
            self.rig.arms[version].behave = behaves(place)
            self.rig.document["arms"][version]["timeoutSeconds"] = 5 if version == "safe" else 1.2
        self.rig.document["limits"]["symbols"] = list(SYMBOLS)
        self.rig.publish(
            experiment=self.rig.experiment(shadow=self.scenario.shadow, candidateWeight="0.5"),
            expiresAt=(now() + timedelta(hours=1)).isoformat(),
        )
        self.gateways = [await self.rig.gateway(), await self.rig.gateway(replica="r1")]
        await self.rig.seen()
        self.connection = await psycopg.AsyncConnection.connect(self.rig.dsn, autocommit=True)
        self.columns = await (await self.connection.execute(_TIMES)).fetchall()
        await self.connection.execute("SET session_replication_role = replica")  # events are never updated, but here
        self.began = now()

    async def ends(self) -> None:
        await self.connection.close()

    async def restarts(self) -> None:
        """One of the gateways goes, another comes: what was only in its memory is gone."""
        self.count["gateway restarted"] += 1
        self.gateways[self.random.randrange(2)] = await self.rig.gateway(replica=f"r{self.tick}")
        await self.rig.seen()

    async def passes(self) -> None:
        """Six hours."""
        drawn = "arm = 'baseline'" if self.scenario.shadow == "candidate" else "arm IS NOT NULL"
        missing = f"""SELECT count(*) FROM tradewind.decisions d WHERE {drawn} AND parent_decision_id IS NULL
                       AND NOT EXISTS (SELECT FROM tradewind.shadows s WHERE s.decision_id = d.decision_id)"""
        async with asyncio.timeout(20):
            while (await (await self.connection.execute(missing)).fetchall())[0][0]:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
        shifts = (
            f"UPDATE tradewind.{table} SET {', '.join(f'{c} = {c} - interval {HOURS}' for c in columns)}"
            for table, columns in self.columns
        )
        await self.connection.execute("; ".join(shifts))
        self.passed += TICK
        self.tick += 1

    # --- what happens ----------------------------------------------------------------------------------------------------

    async def happens(self) -> None:
        """All of one tick: questions, and what was left for now to be told."""
        await asyncio.gather(*(self.asks(symbol) for symbol in SYMBOLS if not self._silent(symbol)))
        for telling in self.later.pop(self.tick, ()):
            await telling()
        for name, share in ((self.follows_up, 0.1), (self.asks_again, 0.15), (self.posts_bar, 0.2)):
            if self.random.random() < share:
                await name()

    def at(self, tick: int, telling: Callable[[], Awaitable[None]]) -> None:
        self.later.setdefault(max(tick, self.tick + 1), []).append(telling)

    def _silent(self, symbol: str) -> bool:
        """Nobody asks about the symbol, so it has no price: the papers of the open trades are none."""
        silent = symbol == "SOL" and self.random.random() < 0.08
        self.count["no price for too long"] += silent
        return silent

    async def post(self, path: str, body: Any, *, status: int = 200) -> dict[str, Any]:
        response = await self.dice.choice(self.gateways).post(path, json=body)
        assert response.status_code == status, (response.text, path, body)
        said: dict[str, Any] = response.json()
        return said

    async def tells(self, path: str, body: Any) -> None:
        """A report, which may come twice at once and once more after a day."""
        await self.post(path, body)
        if self.dice.random() < 0.1:
            self.count["report doubled"] += 1
            await self.post(path, body)
        if self.dice.random() < 0.05:
            self.count["report repeated late"] += 1

            told = self.passed

            async def again() -> None:
                at = (
                    {"at": (datetime.fromisoformat(body["at"]) - self.passed + told).isoformat()}
                    if "at" in body
                    else {}
                )
                await self.post(path, body | at)

            self.at(self.tick + 6, again)

    def _plans(self, symbol: str, chances: random.Random) -> dict[str, str]:
        prices, chance = self.price[symbol], 0.5 + self.scenario.edge
        wins, loses = ("l", "s") if prices[self.tick + 2] > prices[self.tick] else ("s", "l")
        letters = {
            "baseline": chances.choice("lsh"),
            "candidate": chances.choices([wins, loses], [chance, 1 - chance])[0],
        }
        for arm in letters:
            if chances.random() < 0.04:
                letters[arm] = chances.choice("eej")
        letters |= _LATE.get((self.tick, symbol), {})
        for letter in letters.values():
            if letter in _FAULTS:
                self.count[_FAULTS[letter]] += 1
        return letters

    async def asks(self, symbol: str) -> None:
        name = f"h{self.seed}-{self.tick}-{symbol}"
        chances = random.Random(name)
        plan, price = self._plans(symbol, chances), self.price[symbol][self.tick]
        market = {symbol: {"price": price}, "note": f"plan-{plan['baseline']}{plan['candidate']}h-{symbol}"}
        body = ask(name, scope={"symbol": symbol, "book": name}, market_data=market)
        answer = await self.post("/v1/decisions", body)
        arm = str(draw_arm(UID, name, 0.5))
        known = Known(name, symbol, self.tick, plan, arm, body, answer)
        self.known[name] = known
        self.asked.add((self.tick, symbol))
        assert (answer["_arm"], answer["action"]) == (arm, ACTIONS.get(plan[arm], "hold"))
        if known.opens:
            await self.opens(known, chances)
        if chances.random() < 0.15:
            self.at(self.tick + chances.choice([1, 3, 5, 6]), lambda: self.reports_paper(known, chances))

    async def opens(self, known: Known, chances: random.Random) -> None:
        path = f"/v1/decisions/{known.name}/execution"
        chance = chances.random()
        if chance < 0.04:
            known.unopened = chances.choice(["rejected", "not_filled"])
            await self.tells(path, {"status": known.unopened})
            if chances.random() < 0.5:
                self.at(self.tick + 1, lambda: self.takes_back_rejection(known, chances))
            return
        if chance < 0.05 and self.day >= self.scenario.late_from:
            self.count["rejected after maxHold"] += 1
            self.at(self.tick + 5, lambda: self.rejects(known, path))
            return
        known.fill, known.position = chances.choice([100.0, 118.5]), f"p-{known.name}"
        body = {"status": "opened", "opened_at": now().isoformat(), "filled_notional_usd": known.fill}
        await self.tells(path, body | {"position_id": known.position})
        due = self.tick + chances.choice([1, 2, 2, 2])
        if self.day >= self.scenario.late_from and chances.random() < 0.08:
            self.count["outcome after maxHold"] += 1
            due = self.tick + 5
        elif self.day >= self.scenario.late_from and chances.random() < 0.03:
            self.count["outcome never"] += 1
            return
        self.at(due, lambda: self.closes(known, chances))

    @property
    def day(self) -> int:
        return self.tick // TICKS_A_DAY

    async def post_quietly(self, path: str, body: Any) -> None:
        await self.post(path, body)

    async def rejects(self, known: Known, path: str) -> None:
        known.unopened = "rejected"
        await self.tells(path, {"status": "rejected"})

    async def takes_back_rejection(self, known: Known, chances: random.Random) -> None:
        """It was filled after all. What was known first, that nothing was opened, is what counts."""
        self.count["rejection voided"] += 1
        words = {"by": "me", "why": "it was filled", "at": now().isoformat(), "event_id": f"v-{known.name}"}
        events = (await self.dice.choice(self.gateways).get(f"/v1/decisions/{known.name}")).json()["events"]
        target = events[0]["event_id"]
        await self.tells("/v1/reports", {"decision_id": known.name, "event": "void", "target": target, **words})
        known.corrected = True
        if chances.random() < 0.5:
            return
        body = {"status": "opened", "opened_at": now().isoformat(), "filled_notional_usd": 100.0}
        await self.post(f"/v1/decisions/{known.name}/execution", body | {"position_id": f"p-{known.name}"})
        outcome = {"closed_at": now().isoformat(), "pnl": -7.0}
        self.at(self.tick + 1, lambda: self.post_quietly(f"/v1/decisions/{known.name}/outcome", outcome))

    async def closes(self, known: Known, chances: random.Random) -> None:
        prices, side = self.price[known.symbol], 1 if known.plan[known.arm] == "l" else -1
        move = side * (prices[self.tick] / prices[known.tick] - 1) - COST + chances.gauss(0, 0.001)
        pnl = round(known.fill * move, 4)
        closed_at = now() - timedelta(minutes=chances.choice([0, 30]))
        await self.tells(f"/v1/decisions/{known.name}/outcome", {"closed_at": closed_at.isoformat(), "pnl": pnl})
        known.first = pnl, known.fill
        chance = chances.random()
        if chance < 0.12:
            self.at(self.tick + chances.choice([1, 4, 9]), lambda: self.mends(known, "correct", chances))
        elif chance < 0.2:
            self.at(self.tick + chances.choice([1, 4, 9]), lambda: self.mends(known, "void", chances))

    async def mends(self, known: Known, how: str, chances: random.Random) -> None:
        """A correction, or a void of the close and perhaps another one: none of it changes what was known first."""
        self.count[how] += 1
        known.corrected = True
        words = {"by": "me", "why": "a mistake", "at": now().isoformat(), "event_id": f"m-{known.name}"}
        body: dict[str, Any] = {"decision_id": known.name, "event": how, "target": "outcome", **words}
        await self.tells("/v1/reports", body | ({"total_pnl": -9.5} if how == "correct" else {}))
        if how == "void" and chances.random() < 0.7:
            self.count["closed again"] += 1
            body = {"closed_at": now().isoformat(), "pnl": 8.25}
            self.at(self.tick + 1, lambda: self.post_quietly(f"/v1/decisions/{known.name}/outcome", body))

    async def reports_paper(self, known: Known, chances: random.Random) -> None:
        arm = chances.choice(list(VERSIONS))
        ret = round(chances.uniform(-0.01, 0.01), 5)
        response = await self.dice.choice(self.gateways).post(
            f"/v1/decisions/{known.name}/paper", json={"arm": arm, "ret": ret}
        )
        letter, absent = known.plan[arm], arm != known.arm and arm == "baseline" and self.scenario.shadow == "candidate"
        # Where nobody was asked the gateway still waits for a shadow, and what it takes never counts.
        assert response.status_code == (200 if letter in ACTIONS or absent else 409), response.text
        if response.status_code == 200 and not absent:
            known.told[arm] = self.tick, ret
            late = self.tick - known.tick
            self.count["paper after maxHold" if late > 4 else "paper reported"] += 1
            again = await self.dice.choice(self.gateways).post(
                f"/v1/decisions/{known.name}/paper", json={"arm": arm, "ret": ret + 0.001}
            )
            assert again.status_code == 409

    async def posts_bar(self) -> None:
        """A bar of a day ago, with a price that would stop any trade: what is settled stays."""
        symbol, tick = "BTC", self.tick - self.random.choice([2, 5])
        if tick < 0:
            return
        self.count["bar posted late"] += 1
        start = self.began + (tick + 0.3 + tick / 1000) * TICK - self.passed
        price = self.price[symbol][tick]
        bar = {"open": price, "high": price * 1.2, "low": price * 0.8, "close": price}
        await self.post("/v1/prices", {"symbol": symbol, "start": start.isoformat(), "seconds": 60, **bar})

    async def follows_up(self) -> None:
        held = [
            k for k in self.known.values() if k.fill and not k.first and k.tick == self.tick - 1 and k.symbol != "SOL"
        ]
        if not held:
            return
        known = self.random.choice(held)
        self.count["follow-up"] += 1
        self.follow_ups += 1
        market = {known.symbol: {"price": self.price[known.symbol][self.tick]}, "note": f"plan-hhh-{known.symbol}"}
        scope = {"symbol": known.symbol, "book": known.name}
        body = ask(f"f{self.seed}-{self.follow_ups}", scope=scope, market_data=market, position_id=known.position)
        assert (await self.post("/v1/decisions", body))["_arm"] == known.arm
        self.asked.add((self.tick, known.symbol))

    async def asks_again(self) -> None:
        known = self.random.choice(list(self.known.values()))
        self.count["question repeated"] += 1
        assert await self.post("/v1/decisions", known.body) == known.answer


HOURS = f"'{TICK.seconds} seconds'"
_TIMES = """
SELECT c.table_name, array_agg(c.column_name::text) FROM information_schema.columns c
  JOIN information_schema.tables t USING (table_schema, table_name)
 WHERE c.table_schema = 'tradewind' AND t.table_type = 'BASE TABLE' AND c.data_type = 'timestamp with time zone'
   AND c.table_name <> 'gateway_replicas'
 GROUP BY c.table_name
"""
