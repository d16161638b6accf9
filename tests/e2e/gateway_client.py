"""Trading systems: one that asks politely until there is an answer, and a load of impatient ones."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from demo.paper_trader import Gateway
from workshop.client import Json
from workshop.waiting import wait_for

TOKEN = "token-of-the-e2e-tests"


@dataclass
class GatewayClient:
    """The same id again until there is an answer, in the paper trader's manner."""

    url: str
    token: str | None = TOKEN
    patience: float = 120
    http: httpx.Client = field(init=False)
    polite: Gateway = field(init=False)

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)
        self.polite = Gateway(self.http, self.patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    @property
    def waits(self) -> Counter[str]:
        """Why calls were put off, and how often."""
        return self.polite.waits

    def post(self, path: str, body: Mapping[str, Any]) -> httpx.Response:
        """One attempt."""
        return self.http.post(path, json=body)

    def settled(self, path: str, body: Mapping[str, Any]) -> Json:
        """The answer, after as many polite repetitions as it takes."""
        answer = self.polite.post(path, body)
        assert not self.waits["500"], f"the gateway failed: {self.waits}"
        return answer

    def decide(self, decision_id: str, **more: Any) -> Json:
        return self.settled("/v1/decisions", question(decision_id, **more))

    def opened(self, decision_id: str, *, at: str, notional: float = 100.0) -> Json:
        body = {"status": "opened", "opened_at": at, "filled_notional_usd": notional, "position_id": decision_id}
        return self.settled(f"/v1/decisions/{decision_id}/execution", body)

    def closed(self, decision_id: str, *, at: str, pnl: float) -> Json:
        body = {"closed_at": at, "pnl": pnl, "fees": 0.0, "duration_hours": 0.5, "exit_reason": "test"}
        return self.settled(f"/v1/decisions/{decision_id}/outcome", body)


def question(decision_id: str, *, hint: str = "up", symbol: str = "EURUSD", **more: Any) -> Json:
    """Body of a decision request; each in a book of its own."""
    return {
        "decision_id": decision_id,
        "scope": {"symbol": symbol, "book": decision_id[:64]},
        "market_data": {symbol: {"hint": hint}, "tag": decision_id},
        "account_state": {"balance": 1000, "permission_level": "L1", "positions": []},
        **more,
    }


class Callers:
    """A few threads that ask, each by its number, until the block is left."""

    def __init__(self, ask: Callable[[int], None], threads: int, patience: float) -> None:
        self.stop = threading.Event()
        self._patience = patience
        self._threads = [threading.Thread(target=ask, args=(number,)) for number in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(self._patience)


class Load(Callers):
    """Decisions asked for by a few threads, each once and over a connection of its own, until the block is left.

    Attributes:
        answered: ids that got an answer.
        failed: what every other attempt came to.
    """

    def __init__(self, gateway: GatewayClient, prefix: str, threads: int = 2) -> None:
        self.answered: list[str] = []
        self.failed: list[str] = []
        self._headers = {**gateway.http.headers, "Connection": "close"}
        self._url, self._prefix = gateway.url, prefix
        super().__init__(self._ask, threads, patience=60)

    def more(self, count: int) -> None:
        """Returns once so many further decisions were answered or failed."""
        wanted = self._count() + count
        wait_for(f"{wanted} decisions", self._count, lambda count: count >= wanted, every=0.05)

    def _count(self) -> int:
        return len(self.answered) + len(self.failed)

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=30, trust_env=False) as http:
            for index in itertools.count():
                if self.stop.is_set():
                    return
                decision_id = f"{self._prefix}-{number}-{index}"
                try:
                    answer = http.post("/v1/decisions", json=question(decision_id))
                except httpx.TransportError as error:
                    self.failed.append(f"{decision_id}: {type(error).__name__} {error}")
                else:
                    if answer.is_success:
                        self.answered.append(decision_id)
                    else:
                        self.failed.append(f"{decision_id}: {answer.status_code} {answer.text[:200]}")
                self.stop.wait(0.05)
