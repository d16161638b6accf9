"""Where the routing document comes from: a watched ConfigMap in a cluster, a polled file elsewhere.

Belongs here: fetching, and keeping the last good document. Does not belong here: which one is good (routing_trust.py), and what
it means (trading/routing.py).

A document that is refused changes nothing, nor does one that is deleted; the last good one goes on until it expires.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

import structlog

from tradewind.gateway.routing_trust import Judge, Offered, RefusedError
from tradewind.gateway.settings import Settings
from tradewind.trading.routing import ROUTING_KEY, SIGNATURE_KEY, Refusal, Routing, text_sha256

FILE_POLL_SECONDS = 0.2
WATCH_SECONDS = 300  # the API server ends the watch then, and it starts anew
_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
_log = structlog.get_logger("tradewind.gateway")


class Source(Protocol):
    """The document as it is found, each time it may have changed."""

    def offers(self) -> AsyncIterator[Offered]:
        """Yields for ever; raises when the connection is lost."""
        ...


class RoutingWatcher:
    """The document obeyed. `current` is None until the first one is seen, `sha256` names its text.

    Args:
        source: where documents are found.
        judge: which of them are obeyed.
        on_change: told of each that is.
        on_refusal: told of each that is not.
    """

    def __init__(
        self,
        source: Source,
        judge: Judge,
        on_change: Callable[[Routing], None],
        on_refusal: Callable[[Refusal], None] = lambda _: None,
    ) -> None:
        self._source = source
        self._judge = judge
        self._on_change = on_change
        self._on_refusal = on_refusal
        self.current: Routing | None = None
        self.sha256: str | None = None

    async def run(self) -> None:
        """Follows the source for ever, reconnecting with a growing pause."""
        failures = 0
        while True:
            try:
                async for offered in self._source.offers():
                    failures = 0
                    self._offer(offered)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                _log.warning("routing source lost", error=type(error).__name__, failures=failures)
                await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
                failures += 1

    def _offer(self, offered: Offered) -> None:
        old = self.current
        try:
            routing = self._judge.read(offered, old)
        except RefusedError as refused:
            self._on_refusal(refused.reason)
            _log.error("routing refused", reason=str(refused.reason), detail=refused.detail)
            return
        self.current, self.sha256 = routing, text_sha256(offered.text)
        if old is None or routing.generation != old.generation:
            _log.info(
                "routing", generation=routing.generation, epoch=routing.experiment.epoch if routing.experiment else None
            )
        self._on_change(routing)


class FileSource:
    """A file, polled: for gateways outside of a cluster. Its signature lies beside it, in the same name with `.sig`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signature = path.with_name(f"{path.name}.sig")

    async def offers(self) -> AsyncIterator[Offered]:
        """The file's text whenever it or its signature changed. A missing file is waited for."""
        seen = Offered("")
        while True:
            text, signature = seen.text, ""
            with contextlib.suppress(OSError, UnicodeDecodeError):
                text = self._path.read_text(encoding="utf-8")
            with contextlib.suppress(OSError, UnicodeDecodeError):
                signature = self._signature.read_text(encoding="utf-8")
            found = Offered(text, signature)
            if found != seen:
                seen = found
                if text:
                    yield found
            await asyncio.sleep(FILE_POLL_SECONDS)


class ConfigMapSource:
    """One ConfigMap by name: list, then watch from there. Needs get, list and watch on that name alone."""

    def __init__(self, namespace: str, name: str, configure: Callable[[], Any] | None = None) -> None:
        self._namespace = namespace
        self._name = name
        self._configure = configure or _in_cluster

    async def offers(self) -> AsyncIterator[Offered]:
        """The keys `routing.json` and `routing.sig` now and after every change."""
        from kubernetes.aio import client, watch

        selector = {"field_selector": f"metadata.name={self._name}"}
        async with client.ApiClient(self._configure()) as api:
            core = client.CoreV1Api(api)
            while True:
                listed = await core.list_namespaced_config_map(self._namespace, **selector, _request_timeout=30)
                for item in listed.items:
                    yield _offered(item.data)
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
                            yield _offered(event["object"].data)


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


def _offered(data: dict[str, str] | None) -> Offered:
    found = data or {}
    return Offered(found.get(ROUTING_KEY, ""), found.get(SIGNATURE_KEY, ""))
