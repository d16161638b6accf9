"""The operator process: kopf watches, the queue works, a handful of side servers.

Handlers only enqueue: no finalizers, annotations or timers of kopf's own. Liveness is the queue's progress, not the
process's pulse.
"""

import asyncio
import logging
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import kopf
import structlog
from aiohttp import web
from kopf._core.engines.peering import Identity
from prometheus_client import Counter, Gauge, start_http_server

from tradewind.api.common import GROUP, VERSION
from tradewind.api.registry import KINDS
from tradewind.api.training_run_status import ProgressStatus
from tradewind.core.manifests.common import CHILD_SELECTOR
from tradewind.shell.cluster import Cluster, ClusterError
from tradewind.shell.database import Database
from tradewind.shell.index import Index, owner_of
from tradewind.shell.observe import Observer
from tradewind.shell.progress import progress_app
from tradewind.shell.reconcile import Key, Reconciler
from tradewind.shell.settings import Settings
from tradewind.shell.workqueue import WorkQueue

log = structlog.get_logger()

_CHILDREN = (
    ("apps", "v1", "deployments"),
    ("batch", "v1", "jobs"),
    ("serving.kserve.io", "v1beta1", "inferenceservices"),
    ("", "v1", "configmaps"),
)
_STUCK_SECONDS = 180.0
_LIVE_DEBOUNCE_SECONDS = 0.5

RECONCILES = Counter("tradewind_reconciles", "Turns of resources.", ["kind", "result"])
QUEUE_DEPTH = Gauge("tradewind_queue_depth", "Keys in line or being worked on.")


async def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    _configure_logging(settings.log_level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    start_http_server(settings.metrics_port)
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(await Cluster.connect())
        database = None
        if settings.dsn is not None:
            database = await stack.enter_async_context(Database(settings.dsn, settings.platform.installation))
        progress: dict[tuple[str, str], ProgressStatus] = {}
        index = Index()
        observer = Observer(cluster=cluster, database=database, progress=progress)

        async def turn(key: Key) -> float | None:
            after = await reconciler(key)
            RECONCILES.labels(key.kind, "ok").inc()
            QUEUE_DEPTH.set(queue.depth)
            return after

        queue = WorkQueue(turn, on_error=_report_error)
        reconciler = Reconciler(cluster, database, observer, settings.platform, enqueue=queue.add)

        def notify(namespace: str, name: str) -> None:
            queue.add(Key("TrainingRun", namespace, name))

        def notified(payload: str) -> None:
            for key, replay in index.notified(payload):
                if replay:
                    queue.add(key)
                else:
                    queue.add_after(key, _LIVE_DEBOUNCE_SECONDS)

        registry = _handlers(index, queue)
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(queue.run(settings.workers), name="workqueue"),
            asyncio.create_task(_resync(index, queue, settings.resync_seconds), name="resync"),
            asyncio.create_task(_watch(settings, registry, stop), name="kopf"),
        ]
        if database is not None:
            tasks.append(asyncio.create_task(database.listen(notified), name="listen"))
        await _serve(stack, progress_app(cluster, progress, notify), settings.platform.progress_port)
        await _serve(stack, _health_app(queue), settings.health_port)
        log.info(
            "started", namespaces=settings.watch_namespaces or "all", database=database.place if database else None
        )
        stopping: asyncio.Task[Any] = asyncio.create_task(stop.wait(), name="stop")
        done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done - {stopping}:
            task.result()  # an operator that lost one of its parts must not live on without it


def _handlers(index: Index, queue: WorkQueue[Key]) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    async def on_ours(event: Mapping[str, Any], body: kopf.Body, **_: Any) -> None:
        for key in index.seen(_plain(body), deleted=event.get("type") == "DELETED"):
            queue.add(key)

    async def on_child(body: kopf.Body, **_: Any) -> None:
        owner = owner_of(body)
        if owner is not None:
            queue.add(owner)

    def on_login(**kwargs: Any) -> Any:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    kopf.on.login(registry=registry)(on_login)
    for kind in KINDS:
        kopf.on.event(GROUP, VERSION, kind.plural, registry=registry, id=f"ours-{kind.plural}")(on_ours)
    for group, version, plural in _CHILDREN:
        kopf.on.event(
            group,
            version,
            plural,
            registry=registry,
            id=f"child-{plural}",
            labels={"app.kubernetes.io/managed-by": "tradewind"},
        )(on_child)
    return registry


async def _watch(settings: Settings, registry: kopf.OperatorRegistry, stop: asyncio.Event) -> None:
    options = kopf.OperatorSettings()
    options.posting.enabled = False
    options.watching.server_timeout = 600
    options.watching.client_timeout = 660
    options.watching.connect_timeout = 30
    options.peering.standalone = True
    for group, version, plural in _CHILDREN:
        options.watching.label_selectors[f"{plural}.{version}.{group}" if group else plural] = CHILD_SELECTOR
    await kopf.operator(
        registry=registry,
        settings=options,
        standalone=True,
        identity=Identity("tradewind"),  # else kopf asks for a user name, and a pod's uid has none
        clusterwide=not settings.watch_namespaces,
        namespaces=settings.watch_namespaces,
        stop_flag=stop,
    )


async def _resync(index: Index, queue: WorkQueue[Key], seconds: float) -> None:
    """Look at everything again, whatever was missed."""
    while True:
        await asyncio.sleep(seconds)
        for key in list(index.everything()):
            queue.add(key)


async def _serve(stack: AsyncExitStack, app: web.Application, port: int) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104 - a pod's port, opened by its Service


def _health_app(queue: WorkQueue[Key]) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        idle = asyncio.get_running_loop().time() - queue.last_progress
        stuck = queue.depth > 0 and idle > _STUCK_SECONDS
        body = {"depth": queue.depth, "secondsSinceProgress": round(idle, 1)}
        return web.json_response(body, status=500 if stuck else 200)

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", healthz)
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


def _plain(body: kopf.Body) -> Mapping[str, Any]:
    """What the index keeps of an object: no managedFields, no evidence."""
    status = dict(body.get("status") or {})
    keep = ("activeExperiment", "championRef", "previousChampionRef", "baselineRef", "completionTime")
    metadata = body["metadata"]
    return {
        "kind": body["kind"],
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": dict(metadata.get("labels") or {}),
        },
        "spec": dict(body.get("spec") or {}),
        "status": {name: status[name] for name in keep if name in status},
    }


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
