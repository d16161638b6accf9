"""Where the routing document comes from: a watched ConfigMap in a cluster, a polled file elsewhere.

Belongs here: fetching, parsing, and keeping the last good document. Does not belong here: what it means (trading/routing.py).

A document that cannot be read or is older than the one obeyed changes nothing; the last good one goes on until it expires.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

import structlog
from pydantic import ValidationError

from tradewind.gateway.settings import Settings
from tradewind.schema.rules import first_fault
from tradewind.trading.routing import ROUTING_KEY, Routing

FILE_POLL_SECONDS = 0.2
WATCH_SECONDS = 300  # the API server ends the watch then, and it starts anew
_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
_log = structlog.get_logger("tradewind.gateway")


class Source(Protocol):
    """Texts of the document, each time it may have changed."""

    def texts(self) -> AsyncIterator[str]:
        """Yields for ever; raises when the connection is lost."""
        ...


class RoutingWatcher:
    """The document obeyed. `current` is None until the first one is seen."""

    def __init__(self, source: Source, endpoint: str, on_change: Callable[[Routing], None]) -> None:
        self._source = source
        self._endpoint = endpoint
        self._on_change = on_change
        self.current: Routing | None = None

    async def run(self) -> None:
        """Follows the source for ever, reconnecting with a growing pause."""
        failures = 0
        while True:
            try:
                async for text in self._source.texts():
                    failures = 0
                    self._offer(text)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                _log.warning("routing source lost", error=type(error).__name__, failures=failures)
                await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
                failures += 1

    def _offer(self, text: str) -> None:
        try:
            routing = Routing.from_json(text)
        except ValidationError as error:
            fault = first_fault(error)
            _log.error("routing refused", field=fault.field, reason=fault.message)
            return
        old = self.current
        if routing.endpoint != self._endpoint:
            _log.error("routing refused", reason="it is for another endpoint", endpoint=routing.endpoint)
            return
        # A restored Endpoint may count its generations anew: then the younger document is right all the same.
        if old is not None and routing.generation < old.generation and routing.published_at <= old.published_at:
            return
        self.current = routing
        if old is None or routing.generation != old.generation:
            _log.info(
                "routing", generation=routing.generation, epoch=routing.experiment.epoch if routing.experiment else None
            )
        self._on_change(routing)


class FileSource:
    """A file, polled: for tests and for gateways outside of a cluster."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def texts(self) -> AsyncIterator[str]:
        """The file's text whenever it changed. A missing file is waited for."""
        seen = ""
        while True:
            text = seen
            with contextlib.suppress(OSError):
                text = self._path.read_text(encoding="utf-8")
            if text != seen:
                seen = text
                yield text
            await asyncio.sleep(FILE_POLL_SECONDS)


class ConfigMapSource:
    """One ConfigMap by name: list, then watch from there. Needs get, list and watch on that name alone."""

    def __init__(self, namespace: str, name: str, configure: Callable[[], Any] | None = None) -> None:
        self._namespace = namespace
        self._name = name
        self._configure = configure or _in_cluster

    async def texts(self) -> AsyncIterator[str]:
        """The key `routing.json` now and after every change."""
        from kubernetes.aio import client, watch

        selector = {"field_selector": f"metadata.name={self._name}"}
        async with client.ApiClient(self._configure()) as api:
            core = client.CoreV1Api(api)
            while True:
                listed = await core.list_namespaced_config_map(self._namespace, **selector, _request_timeout=30)
                for item in listed.items:
                    yield _text(item.data)
                async with watch.Watch() as stream:
                    async for event in stream.stream(
                        core.list_namespaced_config_map,
                        self._namespace,
                        **selector,
                        resource_version=listed.metadata.resource_version,
                        timeout_seconds=WATCH_SECONDS,
                        _request_timeout=WATCH_SECONDS + 60,
                    ):
                        if event["type"] in ("ADDED", "MODIFIED"):
                            yield _text(event["object"].data)


def routing_source(settings: Settings) -> Source:
    """The source that the settings name."""
    scheme, _, place = settings.routing.partition(":")
    if scheme == "file":
        return FileSource(Path(place))
    namespace, _, name = place.partition("/")
    return ConfigMapSource(namespace, name)


def _in_cluster() -> Any:
    from kubernetes.aio import client, config

    configuration = client.Configuration()
    config.load_incluster_config(client_configuration=configuration)
    return configuration


def _text(data: dict[str, str] | None) -> str:
    return (data or {}).get(ROUTING_KEY, "")
