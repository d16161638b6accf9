"""Ports of Endpoints in the pods of others.

A port is drawn once from the Endpoint's uid and then stays in its status: it does not change when others come and go. Who is new
passes over the ports that others have. Two that chose the same at the same moment see each other afterwards: the one whose uid is
greater takes the next, before anything was sent to either.

They lie below the ports that Linux gives to connections that go out (32768 and up), and below those of NodePorts.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from itertools import count
from typing import Any

FIRST, RANGE = 20000, 10000
_Held = tuple[int, str]


def port_name(port: int) -> str:
    """Name of that port of a pod; a Service sends to no pod that has none of this name."""
    return f"guest-{port}"


def has_port(pod: Mapping[str, Any], port: int) -> bool:
    """Whether a pod answers at that port of a guest."""
    ports = [p for c in pod.get("spec", {}).get("containers", []) for p in c.get("ports") or ()]
    return any(each.get("name") == port_name(port) for each in ports)


def port_of(uid: str, known: int | None, others: Collection[_Held]) -> int:
    """The port of an Endpoint.

    Args:
        uid: of the Endpoint.
        known: its port so far.
        others: ports of other Endpoints with their uids.
    """
    if known is not None and not any(port == known and other < uid for port, other in others):
        return known
    taken = {port for port, _ in others}
    return next(port for port in _drawn(uid) if port not in taken)


def _drawn(uid: str) -> Iterator[int]:
    for turn in count():
        digest = hashlib.sha256(f"{uid}:{turn}".encode()).digest()
        yield FIRST + int.from_bytes(digest[:8], "big") % RANGE
