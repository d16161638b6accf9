"""Whether a pod is to have traffic, where its process answers for several Endpoints.

Belongs here: the sum over its Endpoints. Does not belong here: whether one of them can answer (`Gateway.ready`).

A pod that is not ready is not ready for any of its Endpoints. So one that cannot answer takes nothing from its neighbours: it
says so itself, with 503, and the pod is ready while any of them can. Only a pod that starts waits a while until it has seen the
routing of each, since the pod before it, which has, is let go when it is ready.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

POD: Final = "/readyz/pod"
START_SECONDS: Final = 15.0
"""So long a pod that starts waits for the routing of each of its Endpoints."""


class _Gateway(Protocol):
    settings: Any
    watcher: Any

    def ready(self) -> str | None: ...


class Readiness:
    """Of one process.

    Args:
        gateways: of its Endpoints, at least one.
        clock: seconds, which only grow.
    """

    def __init__(self, gateways: Sequence[_Gateway], clock: Callable[[], float]) -> None:
        self._gateways = gateways
        self._clock = clock
        self._began = clock()

    def ready(self) -> str | None:
        """Why the pod is to have no traffic now; None: it is."""
        reasons = [(each.settings.endpoint, each.ready()) for each in self._gateways]
        if all(reason is not None for _, reason in reasons):
            return "; ".join(f"{endpoint}: {reason}" for endpoint, reason in reasons)
        unseen = [each.settings.endpoint for each in self._gateways if each.watcher.current is None]
        if unseen and self._clock() - self._began < START_SECONDS:
            return f"waits for the routing of {', '.join(unseen)}"
        return None
