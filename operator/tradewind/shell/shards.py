"""Several operators of one installation: each has namespaces of its own, and nobody else decides there.

Which are whose follows from their names alone, so that no two operators have to agree on anything: names that are given are
dealt in turn, and where a label says which namespaces there are, a hash of each name does. All shards that deal alike have one
`layout`, by which claims.py tells them from a single operator and from another dealing.

Belongs here: whose a namespace is. Does not belong here: whether anything is done in it (reach.py), and who runs (claims.py).
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from prometheus_client import Gauge

SHARD = Gauge(
    "tradewind_operator_shard", "1: this operator is shard `shard`, from 0, of `shards`.", ["shard", "shards"]
)


@dataclass(frozen=True)
class Shard:
    """One of `count` operators.

    Attributes:
        index: which one, from 0.
        among: the namespaces of the whole installation, where they are named; empty: those with the label.
    """

    index: int = 0
    count: int = 1
    among: tuple[str, ...] = ()

    @cached_property
    def named(self) -> tuple[str, ...]:
        """This operator's namespaces where they are named: each shard has as many as another, or one more."""
        return self.among if self.count == 1 else tuple(sorted(set(self.among))[self.index :: self.count])

    def __contains__(self, namespace: str) -> bool:
        """Whether a namespace is this operator's, by its name: what has to be labelled besides is for reach.py to ask."""
        if self.among:
            return namespace in self.named
        return self.count == 1 or _number(namespace) % self.count == self.index

    @property
    def layout(self) -> str | None:
        """What all shards of one dealing have in common and no others; None: there is one operator, which shares nothing."""
        if self.count == 1:
            return None
        if not self.among:
            return f"{self.count}-shards-by-label"
        names = hashlib.sha256("\n".join(sorted(set(self.among))).encode()).hexdigest()[:12]
        return f"{self.count}-shards-of-{names}"

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


UNDIVIDED = Shard()
"""One operator, for every namespace that carries the label."""


def _number(namespace: str) -> int:
    """The same in every process and every release: else two operators would find a namespace theirs during an upgrade."""
    return int.from_bytes(hashlib.sha256(namespace.encode()).digest()[:8], "big")
