"""The operator process: the watch notes, the queue works, a handful of side servers.

Nothing is decided before there is a list of each kind. Liveness is the queue's progress, not the process's pulse.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import structlog
from aiohttp import web
from prometheus_client import Counter, Gauge, start_http_server

from tradewind.api.common import ENABLED_LABEL
from tradewind.api.endpoint import Endpoint
from tradewind.api.training_run_status import ProgressStatus
from tradewind.core.world import DatabaseUnavailableError
from tradewind.shell import index
from tradewind.shell.cache import Cache, Key
from tradewind.shell.claims import LEASE_SECONDS, Claim
from tradewind.shell.cluster import Cluster, ClusterError
from tradewind.shell.database import Database
from tradewind.shell.going import Going
from tradewind.shell.loop import LoopWatch
from tradewind.shell.memory import share_arenas
from tradewind.shell.progress import progress_app
from tradewind.shell.pulse import Pulse
from tradewind.shell.reach import Reach, follow, within
from tradewind.shell.reach import fill as fill_reach
from tradewind.shell.reconcile import Reconciler
from tradewind.shell.settings import Settings
from tradewind.shell.shards import SHARD, Shard
from tradewind.shell.views import Views
from tradewind.shell.watch import fill, resync, watch
from tradewind.shell.workqueue import WorkQueue
from tradewind.shell.world import ClusterWorld
from tradewind.trading.pauses import keep_for_good

log = structlog.get_logger()

_STUCK_SECONDS = 180.0
_LIVE_DEBOUNCE_SECONDS = 0.5
_THREADS = 4
"""Evidence is judged in them, and names are resolved. They share one interpreter, and each keeps memory of its own."""

RECONCILES = Counter("tradewind_reconciles", "Turns of resources.", ["kind", "result"])
QUEUE_DEPTH = Gauge("tradewind_queue_depth", "Keys in line or being worked on.")


async def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    share_arenas()
    _configure_logging(settings.log_level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, "beside-the-loop"))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    start_http_server(settings.metrics_port)
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(await Cluster.connect())
        database = None
        if settings.dsn is not None:
            claim = Claim(
                settings.platform.installation, _holder(settings), partial(_cluster_uid, cluster), shard=settings.shard
            )
            database = await stack.enter_async_context(Database(settings.dsn, settings.platform.installation, claim))
        reports: dict[tuple[str, str], ProgressStatus] = {}
        cache = Cache()
        shard = settings.shard
        SHARD.labels(str(shard.index), str(shard.count)).set(1)
        going = Going(shard)
        views = Views()
        world = ClusterWorld(cluster, database, cache, settings.signer, reports, going=going, views=views)
        reach = Reach(shard)
        filled = asyncio.Event()

        def waits() -> bool:
            return database is not None and database.claim is not None and database.claim.waits is not None

        async def turn(key: Key) -> float | None:
            if waits():  # another operator of this cluster decides: not even a status is written beside it
                return LEASE_SECONDS
            after = await reconciler(key)
            RECONCILES.labels(key.kind, "ok").inc()
            return after

        queue = WorkQueue(within(reach, turn), on_error=_report_error)
        QUEUE_DEPTH.set_function(lambda: queue.depth)
        reconciler = Reconciler(world, settings.platform, enqueue=queue.add)

        async def work() -> None:
            await fill(cache, cluster, shard)  # half a view decides nothing
            await fill_reach(reach, cluster)
            pulse = Pulse(database, look_at_everything) if database is not None else None
            if pulse is not None:
                await pulse.once()  # else the first turns find an installation that nobody has claimed yet
            keep_for_good()  # a full collection over thousands of objects that stay takes 0.1 s and more, without a turn
            filled.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(queue.run(settings.workers), name="workqueue")
                every = settings.resync_seconds
                rounds = resync(cache, views, cluster, shard, queue.add, queue.add_round, every)
                group.create_task(rounds, name="resync")
                group.create_task(_keep_what_was_made(queue, every), name="keep")
                if not shard.named:
                    group.create_task(follow(reach, cluster, cache, queue.add, seconds=every), name="reach")
                if database is not None and pulse is not None:
                    group.create_task(pulse.run(), name="pulse")
                    group.create_task(revisit(database, cache, shard, queue.add), name="revisit")

        def look_at_everything() -> None:
            for key in index.open_keys(cache):
                queue.add(key)

        def notify(namespace: str, name: str) -> None:
            queue.add(Key("TrainingRun", namespace, name))

        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(work(), name="work"),
            asyncio.create_task(watch(cache, views, queue.add, reach, going, stop), name="kopf"),
            asyncio.create_task(LoopWatch().run(), name="loop"),
            asyncio.create_task(going.follow(cluster), name="going"),  # what goes must not wait for a list of each kind
        ]
        if database is not None:
            tasks.append(asyncio.create_task(database.listen(partial(heard, queue, cache)), name="listen"))
        await _serve(stack, progress_app(cluster, reports, notify), settings.platform.progress_port)
        await _serve(stack, _health_app(queue, filled, waits), settings.health_port)
        log.info(
            "started",
            shard=str(shard),
            namespaces=settings.watch_namespaces or f"those with {ENABLED_LABEL}=true",
            database=database.place if database else None,
        )
        stopping: asyncio.Task[Any] = asyncio.create_task(stop.wait(), name="stop")
        done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done - {stopping}:
            task.result()  # an operator that lost one of its parts must not live on without it


async def _keep_what_was_made(queue: WorkQueue[Key], seconds: float) -> None:
    """Once everything had its first turn: what these have made stays as well, and is half of what a full collection walks over."""
    await asyncio.sleep(seconds)
    await queue.drained()
    keep_for_good()


def heard(queue: WorkQueue[Key], cache: Cache, payload: str) -> None:
    """Ask for a look after a notification of the database: a replay waits for it, trades come in numbers."""
    for key, replay in index.notified(cache, payload):
        queue.add_soon(key, 0.0 if replay else _LIVE_DEBOUNCE_SECONDS)


async def revisit(
    database: Database, cache: Cache, shard: Shard, add: Callable[[Key], None], seconds: float = 600.0
) -> None:
    """Give a turn to Endpoints that went with an experiment that has no verdict, for ever: no watch tells of them."""
    while True:
        try:
            for namespace, name in await database.undecided_endpoints():
                if namespace in shard and cache.get(Endpoint, namespace, name) is None:
                    add(Key("Endpoint", namespace, name))
        except DatabaseUnavailableError as error:
            log.debug("experiments without an object were not looked for", error=str(error))
        except Exception:  # the books may wait, the operator may not end for them
            log.exception("experiments without an object were not looked for")
        await asyncio.sleep(seconds)


async def _serve(stack: AsyncExitStack, app: web.Application, port: int) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104 - a pod's port, opened by its Service


def _holder(settings: Settings) -> str:
    """Who this operator is: no two pods that run have the same namespace and name."""
    return f"{settings.platform.operator_namespace}/{socket.gethostname()}"


async def _cluster_uid(cluster: Cluster) -> str:
    """By what a cluster is known: it is made once with it."""
    found = await cluster.get("v1", "Namespace", None, "kube-system")
    if found is None:
        raise ClusterError("there is no namespace kube-system", 404)
    return str(found["metadata"]["uid"])


def _health_app(queue: WorkQueue[Key], filled: asyncio.Event, waits: Callable[[], bool]) -> web.Application:
    def answer(good: int, bad: int, *, fine: bool) -> web.Response:
        idle = asyncio.get_running_loop().time() - queue.last_progress
        body = {"depth": queue.depth, "secondsSinceProgress": round(idle, 1), "listed": filled.is_set()}
        stuck = filled.is_set() and queue.depth > 0 and idle > _STUCK_SECONDS
        return web.json_response(body, status=good if fine and not stuck else bad)

    async def healthz(_: web.Request) -> web.Response:
        return answer(200, 500, fine=True)  # to start anew would not help against a cluster that gives no list

    async def readyz(_: web.Request) -> web.Response:
        return answer(200, 503, fine=filled.is_set() and not waits())

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    return app


def _report_error(key: Key, error: Exception, delay: float) -> None:
    RECONCILES.labels(key.kind, "error").inc()
    known = isinstance(error, ClusterError)
    if known and getattr(error, "status", 0) == 409:
        log.debug("conflict", kind=key.kind, namespace=key.namespace, name=key.name, retry_seconds=round(delay, 2))
        return
    log.warning(
        "reconcile failed",
        kind=key.kind,
        namespace=key.namespace,
        name=key.name,
        error=str(error),
        retry_seconds=round(delay, 2),
        exc_info=None if known else error,
    )


def _configure_logging(level: str) -> None:
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
    )
