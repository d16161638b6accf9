"""Whose an installation is: of one cluster, by its uid, and of one operator at a time, by a lease.

Two clusters under one name would write the same keys, and two operators would decide twice. Each registers before it writes
anything; who finds another one there leaves the database alone and says so.

The lease is renewed with the pulse (pulse.py). An operator that was away for longer than its lease, however that came,
must renew it before it asks the database anything: by then another one may have it.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from prometheus_client import Gauge
from psycopg import AsyncConnection

from tradewind.shell.cluster import ClusterError

HOLDS = Gauge(
    "tradewind_operator_holds_installation", "1 while the installation is this operator's, 0 while it decides nothing."
)

LEASE_SECONDS = 15.0

_CLAIM = """
INSERT INTO tradewind.installations AS i (installation, cluster_uid, holder, held_until)
VALUES (%(installation)s, %(cluster)s, %(holder)s, clock_timestamp() + make_interval(secs => %(lease)s))
ON CONFLICT (installation) DO UPDATE
   SET holder = excluded.holder, held_until = excluded.held_until, seen_at = clock_timestamp()
 WHERE i.cluster_uid = excluded.cluster_uid AND (i.holder = excluded.holder OR i.held_until < clock_timestamp())
RETURNING 1
"""
_FOUND = "SELECT cluster_uid, holder, seen_at FROM tradewind.installations WHERE installation = %s"
_LET_GO = """
UPDATE tradewind.installations SET held_until = clock_timestamp()
 WHERE installation = %s AND cluster_uid = %s AND holder = %s
"""


@dataclass
class Claim:
    """The claim of one operator to its installation.

    Attributes:
        holder: who this operator is; no two that run have the same.
        cluster_uid: asked once, of the API server.
        taken: why the installation is another cluster's; None: it is not, as far as is known.
        waits: why another operator of this cluster decides; None: it does not, as far as is known.
        fault: why nothing could be asked; None: it could.
        schema_missing: there is no table to register in.
        held_until: on this process's monotonic clock, up to when nobody else can have the lease.
    """

    installation: str
    holder: str
    cluster_uid: Callable[[], Awaitable[str]]
    clock: Callable[[], float] = time.monotonic
    taken: str | None = None
    waits: str | None = None
    fault: str | None = None
    schema_missing: bool = False
    held_until: float = 0.0
    _uid: str = field(default="", repr=False)

    @property
    def refusal(self) -> str | None:
        """Why the database is left alone; None: it is this operator's."""
        if self.clock() < self.held_until:
            return None
        unasked = (
            f"installation {self.installation!r} is not claimed: the database has not answered for {LEASE_SECONDS:g} s"
        )
        return self.taken or self.waits or self.fault or unasked

    async def renew(self, connection: AsyncConnection[Any]) -> None:
        """Claim the installation, or learn whose it is.

        Raises:
            psycopg.Error: the database did not answer; nothing is known anew.
        """
        try:
            self._uid = self._uid or await self.cluster_uid()
            await self._ask(connection)
        except ClusterError as error:
            self.fault = f"the uid of the namespace kube-system cannot be read, by which this cluster is known: {error}"
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            self.schema_missing, self.held_until = True, 0.0
            self.fault = "the database lacks this version's schema: run `tradewind migrate`"
        except psycopg.errors.InsufficientPrivilege:
            self.held_until = 0.0
            self.fault = (
                "the role in TRADEWIND_DSN may not register the installation: the operator needs the owner of the schema, "
                "as `tradewind migrate` does, and no tenant's role"
            )
        else:
            self.fault, self.schema_missing = None, False
        HOLDS.set(self.refusal is None)

    async def _ask(self, connection: AsyncConnection[Any]) -> None:
        began = self.clock()
        given = {"installation": self.installation, "cluster": self._uid, "holder": self.holder, "lease": LEASE_SECONDS}
        if await (await connection.execute(_CLAIM, given)).fetchone():
            self.taken = self.waits = None
            self.held_until = began + LEASE_SECONDS
            return
        self.held_until = 0.0
        row = await (await connection.execute(_FOUND, (self.installation,))).fetchone()
        if row is None:  # it was forgotten in between: the next beat claims it
            return
        uid, holder, seen = row
        self.taken = self.waits = None
        if uid != self._uid:
            self.taken = (
                f"installation {self.installation!r} of this database is another cluster's ({uid}, last seen "
                f"{seen:%Y-%m-%dT%H:%M:%SZ}): set another `installation` in the chart's values; if that cluster is gone for "
                f"good, `tradewind tenant forget-cluster --installation {self.installation}`"
            )
        else:
            self.waits = (
                f"operator {holder} of this cluster decides for installation {self.installation!r}; this one waits"
            )

    async def let_go(self, connection: AsyncConnection[Any]) -> None:
        """The next operator need not wait for the lease to run out."""
        if self.refusal is None:
            self.held_until = 0.0
            await connection.execute(_LET_GO, (self.installation, self._uid, self.holder))
