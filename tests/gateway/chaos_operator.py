"""What the operator does to running gateways: a weight a block, stored first, then published; renewed while all is well."""

import asyncio
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from chaos_replica import Replica

from tradewind.core.decision import PublishEpoch
from tradewind.core.world import DatabaseUnavailableError
from tradewind.shell.database import Database

UID = "exp-chaos"


class Operator:
    """Moves the weight of one experiment with every block. Its way to the database and the order of its steps are the operator's own.

    Attributes:
        away: the API server does not answer: nothing is published, and what is published runs out.
        killed_between: seconds for which it stays dead after the next epoch was stored and before it is published; 0: it lives.
        weights: of each epoch that was stored.
        deaths: how often it died between epoch and document.
    """

    def __init__(
        self,
        database: Database,
        document: dict[str, Any],
        replicas: Sequence[Replica],
        *,
        seed: int,
        block: float,
        valid: float,
    ) -> None:
        self._database = database
        self._document = document
        self._replicas = replicas
        self._random = random.Random(seed)
        self._block_seconds, self._valid = block, valid
        self._epoch: int | None = None
        self._weight = Decimal(0)
        self._block = -1
        self.t0 = datetime.now(UTC) - timedelta(seconds=1)
        self.away = False
        self.killed_between = 0.0
        self.weights: dict[int, float] = {}
        self.deaths = 0

    async def run(self) -> None:
        while True:
            try:
                await self.turn()
            except psycopg.ProgrammingError:
                raise
            except (psycopg.Error, DatabaseUnavailableError):
                pass  # the database is away: no weight is renewed
            await asyncio.sleep(self._valid / 6)

    async def turn(self) -> None:
        if self.away:
            return
        now = datetime.now(UTC)
        block = int((now - self.t0).total_seconds() / self._block_seconds)
        if block != self._block:
            weight = Decimal(self._random.randint(15, 85)) / 100
            await self._database.publish_epoch(
                "ns", PublishEpoch("trader", "chaos", UID, block, weight, "Ramp", "chaos", {"blocks": block})
            )
        rows = (await self._database.of_endpoint("ns", "trader", UID, ())).epochs
        stored = next(row for row in rows if row.block == block)
        self.weights[stored.epoch] = float(stored.candidate_weight)
        if block != self._block and self.killed_between:
            dead, self.killed_between = self.killed_between, 0.0
            self.deaths += 1
            await asyncio.sleep(dead)  # what it knew is gone; the next turn finds the epoch in the database
            return
        self._block, self._epoch, self._weight = block, stored.epoch, stored.candidate_weight
        self.publish(now)

    def publish(self, now: datetime) -> None:
        experiment = {
            "uid": UID, "name": "chaos", "mode": "Live", "t0": self.t0.isoformat(), "blockSeconds": int(self._block_seconds),
            "baseline": "api", "candidate": "v1", "candidateWeight": f"{self._weight:f}", "epoch": self._epoch, "blocks": [],
            "shadow": "both",
        }  # fmt: skip
        self._document["generation"] += 1
        document = self._document | {
            "experiment": experiment, "publishedAt": now.isoformat(), "expiresAt": (now + timedelta(seconds=self._valid)).isoformat(),
        }  # fmt: skip
        put(document, self._replicas)


def put(document: dict[str, Any], replicas: Sequence[Replica]) -> None:
    """Writes a routing document where replicas look for it, whole or not at all."""
    for replica in replicas:
        scratch = replica.routing.with_suffix(".tmp")
        scratch.write_text(json.dumps(document))
        scratch.replace(replica.routing)
