"""Trading systems that do not give up: they ask again elsewhere, and report late, twice and corrected."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
from chaos_replica import Replica

TRIES_SECONDS = 3.0
RETRIED = frozenset({404, 408, 409, 425, 429, 500, 502, 503, 504})


@dataclass
class Report:
    """One report that is to arrive.

    Attributes:
        due: by the monotonic clock; nothing is sent before.
        accepted: how often it was answered 2xx.
        refused: the newest refusal.
        twice: it is sent once more after it was accepted.
    """

    path: str
    body: dict[str, Any]
    due: float
    sent: int = 0
    accepted: int = 0
    refused: str = ""
    twice: bool = False


@dataclass
class Trade:
    """What one client did by an answer: its reports in their order."""

    decision_id: str
    book: str
    position: str
    reports: list[Report] = field(default_factory=list)

    @property
    def pending(self) -> Report | None:
        return next((report for report in self.reports if report.accepted < 1 + report.twice), None)


@dataclass
class Ledger:
    """All that clients were told.

    Attributes:
        heard: every 200 of every decision, with the replica that gave it.
        given_up: ids that nobody answered in time, and those whose failure is final.
        faults: answers that no fault explains.
    """

    heard: dict[str, list[tuple[str, dict[str, Any]]]] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    final: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    asked_again: int = 0
    reports: int = 0


class Client:
    """One trading system with books of its own."""

    def __init__(
        self,
        number: int,
        replicas: Sequence[Replica],
        session: aiohttp.ClientSession,
        ledger: Ledger,
        *,
        seed: int,
        patience: float,
    ) -> None:
        self._number, self._replicas, self._session, self.ledger = number, replicas, session, ledger
        self._random = random.Random(f"{seed} {number}")
        self._patience = patience
        self._count = 0
        self._books = [f"b{number}-{each}" for each in range(6)]
        self._trades: dict[str, Trade] = {}
        self._late: list[Trade] = []

    async def run(self, until: asyncio.Event) -> None:
        while not until.is_set():
            free = [book for book in self._books if book not in self._trades]
            if free and self._random.random() < 0.85:
                await self.decide(self._random.choice(free))
            else:
                await self.decide(self._random.choice(self._books))
            await self.report()

    async def flush(self, seconds: float) -> None:
        """Reports all that is left."""
        deadline = time.monotonic() + seconds
        waiting = [*self._trades.values(), *self._late]
        while waiting and time.monotonic() < deadline:
            for trade in waiting:
                while (report := trade.pending) is not None and await self._send(report):
                    pass
            waiting = [trade for trade in waiting if trade.pending is not None]
            if waiting:
                await asyncio.sleep(0.2)
        self._trades.clear()
        self._late = waiting
        for trade in self.ledger.trades:
            if (
                trade.decision_id.startswith(f"c{self._number}-")
                and trade.pending is None
                and self._random.random() < 0.1
            ):
                await self._send(
                    self._random.choice(trade.reports)
                )  # one that comes again, however late, changes nothing

    async def decide(self, book: str) -> None:
        self._count += 1
        name = f"c{self._number}-{self._count}"
        held = self._trades.get(book)
        positions = [{"position_id": held.position, "symbol": "BTC", "book": book, "size": 1}] if held else []
        body = {
            "decision_id": name, "scope": {"symbol": "BTC", "book": book}, "market_data": {"BTC": {"price": self._random.uniform(1, 9)}},
            "account_state": {"balance": 600, "permission_level": "L2", "positions": positions},
        }  # fmt: skip
        answer = await self._asked(name, body)
        if answer is None:
            return
        if self._random.random() < 0.1:  # the bot restarted and asks once more
            await self._asked(name, body, tries=1)
        flipped = answer.get("_flipped")
        if held is not None and (flipped is not None or answer["action"] == "close"):
            self._late.append(self._trades.pop(book))
            held = None
        if held is None and answer["action"].startswith("open"):
            self._act(name, book, answer)

    def _act(self, name: str, book: str, answer: dict[str, Any]) -> None:
        trade, now = Trade(name, book, f"p-{name}"), time.monotonic()
        later = self._random.choice((0.0, 0.0, 0.3, 2.0))
        path = f"/v1/decisions/{name}"
        if self._random.random() < 0.1:
            kind = self._random.choice(("rejected", "not_filled"))
            trade.reports.append(Report(f"{path}/execution", {"status": kind}, now + later))
        else:
            notional = round(answer["size_usd"] * answer["leverage"] * self._random.uniform(0.5, 1), 4)
            opened = {
                "status": "opened", "opened_at": datetime.now(UTC).isoformat(), "filled_notional_usd": notional,
                "position_id": trade.position, "side": answer["action"].removeprefix("open_"),
            }  # fmt: skip
            trade.reports.append(Report(f"{path}/execution", opened, now + later))
            closes = 1 + (self._random.random() < 0.25) + (self._random.random() < 0.05)
            for number in range(closes):  # every outcome after the first corrects it
                pnl = round(notional * self._random.uniform(-0.3, 0.35), 4) + number * 1e-4
                outcome = {
                    "closed_at": datetime.now(UTC).isoformat(),
                    "pnl": pnl,
                    "fees": 0.01,
                    "exit_reason": f"x{number}",
                }
                trade.reports.append(Report(f"{path}/outcome", outcome, now + later + 0.2 + number * 0.3))
        for report in trade.reports:
            report.twice = self._random.random() < 0.25
        self._trades[book] = trade
        self.ledger.trades.append(trade)

    async def report(self) -> None:
        """Sends what is due; a trade whose reports have all arrived makes room for the next."""
        for trade in [*self._trades.values(), *self._late]:
            report = trade.pending
            if report is not None and report.due <= time.monotonic():
                await self._send(report)
        self._trades = {book: trade for book, trade in self._trades.items() if trade.pending is not None}
        self._late = [trade for trade in self._late if trade.pending is not None]

    async def _send(self, report: Report) -> bool:
        if "closed_at" in report.body and not report.sent:  # later it would be another outcome
            report.body["closed_at"] = datetime.now(UTC).isoformat()
        report.sent += 1
        status, said = await self._post(report.path, report.body)
        self.ledger.reports += 1
        if status == 200:
            report.accepted += 1
            return True
        if status:
            report.refused = f"{status} {said.get('error', said)}"
        report.due = time.monotonic() + self._random.uniform(0.2, 1)
        return False

    async def _asked(self, name: str, body: dict[str, Any], tries: int = 1000) -> dict[str, Any] | None:
        deadline = time.monotonic() + self._patience
        while tries and time.monotonic() < deadline:
            tries -= 1
            replica = self._random.choice(self._replicas)
            status, said = await self._post("/v1/decisions", body, replica)
            if status == 200:
                self.ledger.heard.setdefault(name, []).append((replica.name, said))
                return said
            code = said.get("error", {}).get("code")
            if code == "no_answer":
                self.ledger.final.append(name)
                return None
            if status and (status not in RETRIED or status in (404, 500)):
                self.ledger.faults.append(f"{name} at {replica.name}: {status} {said}")
                return None
            self.ledger.asked_again += 1
            await asyncio.sleep(self._random.uniform(0.05, 0.5))
        self.ledger.given_up.append(name)
        return None

    async def _post(
        self, path: str, body: dict[str, Any], replica: Replica | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and body; 0 where nothing came back, so that nobody knows what became of it."""
        replica = replica or self._random.choice(self._replicas)
        try:
            async with self._session.post(replica.url + path, json=body) as response:
                return response.status, await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return 0, {}
