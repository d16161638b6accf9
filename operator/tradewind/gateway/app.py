"""The HTTP surface of the gateway: routes, authentication, body limits, background tasks.

Belongs here: HTTP. Does not belong here: what a decision goes through (decide.py) and what reports mean (report_events.py).
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import JsonValue
from starlette.requests import ClientDisconnect

from tradewind.gateway import errors
from tradewind.gateway.admission import TICK_SECONDS, Admission, Share
from tradewind.gateway.arms import Arms
from tradewind.gateway.bodies import parsed, parsed_strictly, read_bytes
from tradewind.gateway.callers import Callers
from tradewind.gateway.chat import door
from tradewind.gateway.database import Database, DatabaseDownError, UnstorableError
from tradewind.gateway.decide import Decider
from tradewind.gateway.draining import Draining
from tradewind.gateway.entry import Admitted, WithoutTrailingSlash, refused
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.gateway.health import HealthWatch
from tradewind.gateway.intake import Intake
from tradewind.gateway.liveness import Heartbeat
from tradewind.gateway.metrics import Metrics
from tradewind.gateway.papers import Papers
from tradewind.gateway.pool import Pool
from tradewind.gateway.readback import ReadBack
from tradewind.gateway.readiness import POD, Readiness
from tradewind.gateway.reports import Reports
from tradewind.gateway.routing_source import RoutingWatcher, routing_source
from tradewind.gateway.routing_trust import Judge
from tradewind.gateway.settings import Settings
from tradewind.trading.decision import DecisionRequest
from tradewind.trading.prices import BarReports, PaperReport
from tradewind.trading.routing import Routing

REPORT_SECONDS = 10.0
SWEEP_SECONDS = 60.0
_log = structlog.get_logger("tradewind.gateway")


class Gateway:
    """One Endpoint in one replica: its parts and its background tasks."""

    def __init__(self, settings: Settings, heartbeat: Heartbeat, pool: Pool) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.heartbeat = heartbeat
        self.admission = Admission(
            self.metrics, most=settings.max_decisions, late_statement=settings.database_timeout / 4
        )
        self.database = Database(settings, pool)
        self.database.took = self.admission.took
        self.metrics.database_up.set_function(lambda: self.database.up)
        self.metrics.database_role_bound.set_function(lambda: bool(self.database.bound))
        self.draining = Draining(settings, self.database, self.metrics)
        self.spool = self.draining.spool
        self.arms = Arms(
            self.metrics,
            breaker_failures=settings.breaker_failures,
            breaker_open_seconds=settings.breaker_open_seconds,
        )
        self.decider = Decider(
            self.database,
            self.arms,
            self.spool,
            self.metrics,
            clock=lambda: datetime.now(UTC),
            timeout=settings.decision_timeout,
        )
        self.door = door.OpenAIDoor(settings, self.decider, self.database, clock=lambda: datetime.now(UTC))
        self.intake = Intake(Reports(self.database, self.metrics))
        self.papers = Papers(self.database)
        self.read_back = ReadBack(self.database)
        self.watcher = RoutingWatcher(
            routing_source(settings),
            Judge(settings.namespace, settings.endpoint, settings.verifier, lambda: datetime.now(UTC)),
            self._routing_changed,
            lambda reason: self.metrics.routing_refused.labels(reason).inc(),
        )
        self.health = HealthWatch(
            self.arms,
            self.database,
            self.metrics,
            routing=lambda: self.watcher.current,
            clock=lambda: datetime.now(UTC),
            changed=self._health_changed,
        )
        self.arms.heard = self.health.heard
        self.callers = Callers(
            settings.auth_token_file, lambda code: self.metrics.unauthorized.labels(code).inc(), time.monotonic
        )
        self._changed = asyncio.Event()
        self._arms_changed = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Starts and stops everything; the server does not wait for the database or the routing."""
        await self.database.open()
        loops = (
            self.database.watch,
            self.watcher.run,
            self.health.run,
            self._report_forever,
            *self.draining.loops(self.decider.ingest),
            self._sweep_forever,
            self._tick_forever,
        )
        tasks = [asyncio.create_task(loop()) for loop in loops]
        try:
            yield
        finally:
            await self.decider.close()
            await self.draining.finish(self.settings.spool_grace)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.arms.close()
            await self.database.close()
            self.draining.close()

    @property
    def routing(self) -> Routing:
        """The document obeyed.

        Raises:
            ApiError: 503, none was seen yet.
        """
        if self.watcher.current is None:
            raise ApiError(
                ErrorCode.NO_ROUTING,
                "this replica has not seen the endpoint's routing yet",
                "send the request again; if it lasts, look at the conditions of the Endpoint",
                retry_after=errors.RETRY_SECONDS,
            )
        return self.watcher.current

    def ready(self) -> str | None:
        """Why decisions cannot be answered now, None if they can."""
        routing = self.watcher.current
        if routing is None:
            return "routing not seen"
        if not self.database.up and (routing.clock == "replay" or routing.on_database_outage == "refuse"):
            return "database does not answer"
        return None

    def authorize(self, request: Request) -> None:
        """Refuses a request without the endpoint's token.

        Raises:
            ApiError: 401, 429, 503.
        """
        peer = request.client.host if request.client is not None else ""
        self.callers.demand(request.headers.get("authorization", ""), peer)

    def _routing_changed(self, routing: Routing) -> None:
        self.decider.stops.obey(routing)
        self.metrics.generation.set(routing.generation)
        self.metrics.epoch.set(routing.experiment.epoch if routing.experiment else 0)
        self.metrics.expires.set(routing.expires_at.timestamp())
        self._changed.set()

    def _health_changed(self) -> None:
        self._arms_changed = True
        self._changed.set()

    async def _tick_forever(self) -> None:
        """Sees how late the event loop is; that it turns at all is what the liveness probe asks."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self.heartbeat.beat()
            self.admission.tick(clock() - due)

    async def _report_forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):  # not wait_for: Python 3.11's loses a cancellation now and then
                async with asyncio.timeout(REPORT_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            routing = self.watcher.current
            if routing is None:
                continue
            try:
                notify, self._arms_changed = self._arms_changed, False
                await self.database.report_replica(
                    routing, self.watcher.sha256, arms=self.health.known(), notify=notify
                )
            except DatabaseDownError:
                self._arms_changed |= notify
                await asyncio.sleep(0.5)
                self._changed.set()

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(min(SWEEP_SECONDS, self.settings.abandoned_after))
            if self.spool.pending:
                continue
            with contextlib.suppress(DatabaseDownError):
                swept = await self.database.sweep()
                if swept:
                    _log.warning("abandoned decisions failed", decisions=swept)
                purged = await self.database.purge()
                if purged:
                    _log.info("decisions past their retention deleted", decisions=purged)


def create_apps(settings: Sequence[Settings], heartbeat: Heartbeat | None = None) -> list[FastAPI]:
    """An ASGI application for each Endpoint of one process, which share a pool; `heartbeat` is told that their event loop turns.

    The first one, whose process it is, also says at `/readyz/pod` whether the pod is to have traffic.
    """
    heartbeat, pool = heartbeat or Heartbeat(), Pool(settings[0], len(settings))
    gateways = [Gateway(each, heartbeat, pool) for each in settings]
    readiness = Readiness(gateways, time.monotonic)
    return [_app(gateway, readiness if gateway is gateways[0] else None) for gateway in gateways]


def create_app(settings: Settings, heartbeat: Heartbeat | None = None) -> FastAPI:
    """The gateway of one Endpoint as an ASGI application."""
    return create_apps([settings], heartbeat)[0]


def _app(gateway: Gateway, pod: Readiness | None) -> FastAPI:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with gateway.running():
            yield

    app = FastAPI(
        title="Tradewind decision gateway", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    app.state.gateway = gateway
    app.add_middleware(Admitted, admission=gateway.admission)
    app.add_middleware(WithoutTrailingSlash)

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return refused(request, error)

    @app.exception_handler(UnstorableError)
    @app.exception_handler(UnicodeEncodeError)
    async def unstorable(request: Request, error: Exception) -> Response:
        said = error if isinstance(error, UnstorableError) else type(error).__name__
        wrong = ApiError(ErrorCode.INVALID_REQUEST, f"a value cannot be stored ({said})", "leave it out or shorten it")
        return refused(request, wrong)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, _: Exception) -> Response:
        late = ApiError(ErrorCode.REQUEST_TIMEOUT, "the body did not come", "send the whole request again")
        return refused(request, late)  # nobody reads it, and nobody is to look into a fault that is none of ours

    @app.exception_handler(404)
    @app.exception_handler(405)
    async def no_route(request: Request, _: Exception) -> Response:
        error = ApiError(ErrorCode.NO_SUCH_ROUTE, f"no {request.method} {request.url.path} here", "see docs/gateway.md")
        return refused(request, error)

    @app.exception_handler(500)
    async def bug(request: Request, error: Exception) -> Response:
        wrong = ApiError(
            ErrorCode.INTERNAL, f"internal error ({type(error).__name__})", "report it; the log has the details"
        )
        return refused(request, wrong)

    async def reported(call: Callable[[], Awaitable[dict[str, JsonValue]]]) -> Response:
        with gateway.admission.room(Share.REPORTS), _database():
            return JSONResponse(await call())

    async def read(call: Callable[[], Awaitable[dict[str, JsonValue]]]) -> Response:
        with gateway.admission.room(Share.READS), _database():
            return JSONResponse(await call())

    @app.post("/v1/decisions")
    async def decide(request: Request) -> Response:
        gateway.authorize(request)
        body = await read_bytes(request)
        with gateway.admission.room(Share.DECISIONS):
            return JSONResponse(await gateway.decider.decide(parsed(body, DecisionRequest), gateway.routing))

    @app.post(door.COMPLETIONS)
    async def chat_completions(request: Request) -> Response:
        gateway.authorize(request)
        gateway.door.demand_open()
        body = await read_bytes(request)
        with gateway.admission.room(Share.DECISIONS):
            return JSONResponse(await gateway.door.complete(body, request.headers, gateway.routing))

    @app.get(door.MODELS)
    async def models(request: Request) -> Response:
        gateway.authorize(request)
        return JSONResponse(gateway.door.models())

    @app.get(f"{door.MODELS}/{{name:path}}")
    async def model(name: str, request: Request) -> Response:
        gateway.authorize(request)
        return JSONResponse(gateway.door.model(name))

    @app.post("/v1/decisions/{decision_id:path}/execution")
    async def execution(decision_id: str, request: Request) -> Response:
        gateway.authorize(request)
        body, routing = await read_bytes(request), gateway.routing
        return await reported(lambda: gateway.intake.execution(decision_id, body, routing))

    @app.post("/v1/decisions/{decision_id:path}/outcome")
    async def outcome(decision_id: str, request: Request) -> Response:
        gateway.authorize(request)
        body, routing = await read_bytes(request), gateway.routing
        return await reported(lambda: gateway.intake.outcome(decision_id, body, routing))

    @app.post("/v1/decisions/{decision_id:path}/paper")
    async def paper(decision_id: str, request: Request) -> Response:
        gateway.authorize(request)
        report, routing = parsed_strictly(await read_bytes(request), PaperReport), gateway.routing
        return await reported(lambda: gateway.papers.paper(decision_id, report, routing))

    @app.post("/v1/prices")
    async def prices(request: Request) -> Response:
        gateway.authorize(request)
        reports, routing = parsed_strictly(await read_bytes(request), BarReports), gateway.routing
        return await reported(lambda: gateway.papers.prices(reports, routing))

    @app.post("/v1/reports")
    async def reports(request: Request) -> Response:
        gateway.authorize(request)
        body, routing = await read_bytes(request), gateway.routing
        kind = request.headers.get("content-type", "")
        with gateway.admission.room(Share.REPORTS), _database():
            status, results = await gateway.intake.batch(kind, body, routing)
        return JSONResponse(results, status)

    @app.get("/v1/decisions")
    async def decisions(request: Request) -> Response:
        gateway.authorize(request)
        state, after = request.query_params.get("state", "open"), request.query_params.get("after")
        limit = _whole(request, "limit", 100, 1000)
        return await read(lambda: gateway.read_back.listed(state, after, limit))

    @app.get("/v1/decisions/{decision_id:path}")
    async def decision(decision_id: str, request: Request) -> Response:
        gateway.authorize(request)
        return await read(lambda: gateway.read_back.decision(decision_id))

    @app.get("/v1/performance")
    async def performance(request: Request) -> Response:
        gateway.authorize(request)
        days, routing = _whole(request, "days", 7, 3660), gateway.routing
        return await read(lambda: gateway.read_back.performance(days, routing))

    @app.get("/v1/training-data")
    async def training_data(request: Request) -> Response:
        gateway.authorize(request)
        minimum = _whole(request, "min_samples", 1000, 100_000)
        with gateway.admission.room(Share.READS), _database():
            export = await gateway.read_back.export(minimum)
        headers = {
            "X-Total-Samples": str(len(export.points)),
            "X-Excellent": str(export.excellent),
            "X-Good": str(export.good),
            "X-Bad": str(export.bad),
        }
        lines = (json.dumps(point, ensure_ascii=False) + "\n" for point in export.points)
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)

    @app.api_route("/healthz", methods=["GET", "HEAD"])
    async def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @app.api_route("/readyz", methods=["GET", "HEAD"])
    async def readyz() -> Response:
        reason = gateway.ready()
        return PlainTextResponse("ok\n") if reason is None else PlainTextResponse(f"{reason}\n", 503)

    if pod is not None:

        @app.api_route(POD, methods=["GET", "HEAD"])
        async def ready_pod() -> Response:
            reason = pod.ready()
            return PlainTextResponse("ok\n") if reason is None else PlainTextResponse(f"{reason}\n", 503)

    @app.api_route("/metrics", methods=["GET", "HEAD"])
    async def metrics() -> Response:
        return Response(gateway.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return app


@contextlib.contextmanager
def _database() -> Iterator[None]:
    try:
        yield
    except DatabaseDownError:
        raise errors.database_unavailable() from None


def _whole(request: Request, name: str, default: int, highest: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= highest and len(text) <= 9):
        raise ApiError(
            ErrorCode.INVALID_REQUEST,
            f"{name}: {text[:20]!r} is not a whole number",
            f"give 1 to {highest}",
            field=name,
        )
    return int(text)
