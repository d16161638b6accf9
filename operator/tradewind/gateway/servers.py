"""The servers of one process: a port for each Endpoint that it answers for, in one event loop.

Belongs here: starting and stopping them together. Does not belong here: what is answered (app.py), and exit codes (__main__.py).
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import structlog
import uvicorn
from fastapi import FastAPI

from tradewind.gateway.connections import bounded
from tradewind.gateway.settings import Settings
from tradewind.trading.stopping import graceful_seconds

_NOT_STARTED = 3
"""Exit code of a process that could not start one of its servers; uvicorn's own."""


class _Server(uvicorn.Server):
    """One port. Signals are for the process: the last of several servers would have them alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves them as they are."""
        yield


def run(served: Sequence[tuple[Settings, FastAPI]]) -> None:
    """Answers until a signal comes, and then ends the requests under way. A server that cannot start ends the process."""
    servers = [_Server(_config(settings, app)) for settings, app in served]
    with asyncio.Runner(loop_factory=servers[0].config.get_loop_factory()) as runner:
        runner.run(_serve([(settings.endpoint, server) for (settings, _), server in zip(served, servers, strict=True)]))


async def _serve(servers: Sequence[tuple[str, _Server]]) -> None:
    asked = False

    def stop(*, hard: bool) -> None:
        for _, server in servers:
            server.force_exit = server.force_exit or (hard and server.should_exit)
            server.should_exit = True

    def signalled(*, hard: bool) -> None:
        nonlocal asked
        asked = True
        stop(hard=hard)

    async def one(endpoint: str, server: _Server) -> None:
        # Whatever is logged while its requests are answered has its name: connections and tasks are made in this context.
        structlog.contextvars.bind_contextvars(endpoint=endpoint)
        try:
            await server.serve()
        finally:
            stop(hard=False)

    loop = asyncio.get_running_loop()
    # As many threads as processes of their own would have: names are resolved and spools synced in them.
    loop.set_default_executor(ThreadPoolExecutor(len(servers) * min(32, (os.cpu_count() or 1) + 4)))
    loop.add_signal_handler(signal.SIGTERM, partial(signalled, hard=False))
    loop.add_signal_handler(signal.SIGINT, partial(signalled, hard=True))
    await asyncio.gather(*(one(endpoint, server) for endpoint, server in servers))
    if not asked and not all(server.started for _, server in servers):
        raise SystemExit(_NOT_STARTED)


def _config(settings: Settings, app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=bounded(settings.request_timeout, settings.max_connections),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=graceful_seconds(settings.decision_timeout, settings.database_timeout),
    )
