"""Whose an installation is: of one cluster, by its uid, and of one operator at a time, or of the shards of one layout, by a lease.

Two clusters under one name would write the same keys, and two operators would decide twice. Each registers before it writes
anything; who finds another one there leaves the database alone and says so.

Shards (shards.py) have the installation in common, under the name of their layout: to a single operator, of whichever release,
and to another layout they are one other operator. Beside it each has a lease of its own, so that of two pods with one index one
decides. Both are renewed by one statement, and the common one never ends before one of the others.

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
from tradewind.shell.shards import UNDIVIDED, Shard

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
_CLAIM_SHARD = """
WITH common AS (
    INSERT INTO tradewind.installations AS i (installation, cluster_uid, holder, held_until)
    VALUES (%(installation)s, %(cluster)s, %(layout)s, clock_timestamp() + make_interval(secs => %(lease)s))
    ON CONFLICT (installation) DO UPDATE
       SET holder = excluded.holder, held_until = greatest(i.held_until, excluded.held_until), seen_at = clock_timestamp()
     WHERE i.cluster_uid = excluded.cluster_uid AND (i.holder = excluded.holder OR i.held_until < clock_timestamp())
    RETURNING held_until)
INSERT INTO tradewind.operator_shards AS s (installation, shard, holder, held_until)
SELECT %(installation)s, %(shard)s, %(holder)s, held_until FROM common
ON CONFLICT (installation, shard) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
 WHERE s.holder = excluded.holder OR s.held_until < clock_timestamp()
RETURNING 1
"""
_FOUND = "SELECT cluster_uid, holder, seen_at FROM tradewind.installations WHERE installation = %s"
_LET_GO = """
UPDATE tradewind.installations SET held_until = clock_timestamp()
 WHERE installation = %s AND cluster_uid = %s AND holder = %s
"""
_FOUND_SHARD = "SELECT holder FROM tradewind.operator_shards WHERE installation = %s AND shard = %s"
_LET_GO_SHARD = """
UPDATE tradewind.operator_shards SET held_until = clock_timestamp() WHERE installation = %s AND shard = %s AND holder = %s
"""
_LET_GO_LAST = """
WITH seen AS (SELECT held_until FROM tradewind.installations WHERE installation = %(installation)s)
UPDATE tradewind.installations i SET held_until = clock_timestamp() FROM seen
 WHERE i.installation = %(installation)s AND i.cluster_uid = %(cluster)s AND i.holder = %(layout)s
   AND i.held_until = seen.held_until  -- else a shard has claimed meanwhile, whose own lease this does not see
   AND NOT EXISTS (SELECT FROM tradewind.operator_shards s
                    WHERE s.installation = %(installation)s AND s.held_until > clock_timestamp())
"""


@dataclass
class Claim:
    """The claim of one operator to its installation, or of a shard to its part of it.

    Attributes:
        holder: who this operator is, as namespace/name; no two that run have the same.
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
    shard: Shard = UNDIVIDED
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
        statement = _CLAIM if self._layout is None else _CLAIM_SHARD
        if await (await connection.execute(statement, self._given)).fetchone():
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
        elif holder == self._layout:
            await self._say_who_is_shard(connection)
        else:
            self.waits = (
                f"operator {holder} of this cluster decides for installation {self.installation!r}; this one waits"
            )

    async def _say_who_is_shard(self, connection: AsyncConnection[Any]) -> None:
        row = await (await connection.execute(_FOUND_SHARD, (self.installation, self.shard.index))).fetchone()
        if row is not None and row[0] != self.holder:  # else it is this one's since a moment ago
            self.waits = (
                f"operator {row[0]} of this cluster decides as shard {self.shard} of installation {self.installation!r}; "
                "this one waits"
            )

    async def let_go(self, connection: AsyncConnection[Any]) -> None:
        """The next operator need not wait for the lease to run out: of a shard's own, and of the common one once it is the last."""
        if self.refusal is not None:
            return
        self.held_until = 0.0
        if self._layout is None:
            await connection.execute(_LET_GO, (self.installation, self._uid, self.holder))
        else:
            await connection.execute(_LET_GO_SHARD, (self.installation, self.shard.index, self.holder))
            await connection.execute(_LET_GO_LAST, self._given)

    @property
    def _layout(self) -> str | None:
        """By which all shards of a layout hold the installation; None: there is one operator, which does by its own name."""
        layout = self.shard.layout
        return None if layout is None else f"{self.holder.partition('/')[0]}/{layout}"

    @property
    def _given(self) -> dict[str, Any]:
        return {
            "installation": self.installation,
            "cluster": self._uid,
            "holder": self.holder,
            "lease": LEASE_SECONDS,
            "layout": self._layout,
            "shard": self.shard.index,
        }
