"""What gateways of running experiments store meanwhile: a decision with its shadow, and an outcome of an earlier one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg

from workshop.fleet import Spot
from workshop.history import CLOSED, NEXT, NOTIFY

BEATS_A_SECOND = 4


@dataclass
class Trading:
    """Writes as gateways do, one experiment after the other.

    Attributes:
        uids: of the experiments.
        champion: their baseline.
        per_minute: decisions of each experiment, and as many outcomes.
        decisions: how many were made.
    """

    dsn: str
    installation: str
    uids: Mapping[Spot, str]
    champion: str
    per_minute: float
    decisions: int = 0

    async def run(self) -> None:
        """For ever."""
        waiting = list(self.uids.items())
        open_: dict[Spot, str] = {}
        owed = 0.0
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            while True:
                owed += self.per_minute * len(self.uids) / 60 / BEATS_A_SECOND
                while owed >= 1:
                    owed -= 1
                    spot, uid = waiting[self.decisions % len(waiting)]
                    await self._decide(connection, spot, uid, open_)
                await asyncio.sleep(1 / BEATS_A_SECOND)

    async def _decide(self, connection: psycopg.AsyncConnection, spot: Spot, uid: str, open_: dict[Spot, str]) -> None:
        name, drawn = str(uuid.uuid4()), self.decisions // len(self.uids) % 2 == 0
        self.decisions += 1
        place = {"installation": self.installation, "namespace": spot.namespace, "endpoint": spot.endpoint}
        arms = (spot.candidate, self.champion) if drawn else (self.champion, spot.candidate)
        roles = ("candidate", "baseline") if drawn else ("baseline", "candidate")
        given = {"id": name, "uid": uid, "arm": roles[0], "other": roles[1], "drawn": arms[0], "shadow": arms[1]}
        await connection.execute(NEXT, {**place, **given})
        earlier = open_.get(spot)
        open_[spot] = name
        if earlier is not None:
            async with connection.transaction():
                await connection.execute(CLOSED, {**place, "id": earlier})
                await connection.execute(NOTIFY, place)
