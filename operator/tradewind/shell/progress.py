"""Where trainers report: one POST a few seconds apart, proven by a ServiceAccount token for this audience alone.

The token's pod must be a pod of that run: job pods need no right in Kubernetes, and no pod can speak for another run. The port
is open to whoever reaches it, so that nonsense must cost less here than where it was made: see tokens.py. Each report that is
taken is a turn and a write of the run's status, so that a run's own pods are held to a rate, too.
"""

import json
import math
import re
import time
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, datetime

import structlog
from aiohttp import web
from pydantic import ValidationError

from tradewind.api.training_run_status import ProgressStatus
from tradewind.core.manifests.job import PROGRESS_AUDIENCE
from tradewind.shell.cluster import Cluster, ClusterError
from tradewind.shell.tokens import TokenReviews, TooManyReviewsError, claims_of
from tradewind.trading.rates import Buckets, Rate

log = structlog.get_logger()
_MAX_BODY = 32_768
"""A curve of the most points is some 15 KB."""
_REPORTS = Rate(burst=5, per_second=0.2)
"""Of one run: trainers report every ten seconds, and at once where they resume and end."""
_KEPT = 1_000
"""Runs whose newest report is kept; their statuses have it, too."""


def progress_app(
    cluster: Cluster,
    store: MutableMapping[tuple[str, str], ProgressStatus],
    notify: Callable[[str, str], None],
    clock: Callable[[], float] = time.monotonic,
) -> web.Application:
    """The application. `notify(namespace, run)` is told of each report; `clock` measures how often tokens and reports come."""
    reviews = TokenReviews(lambda token: cluster.review_token(token, PROGRESS_AUDIENCE), clock)
    reports = Buckets(_REPORTS)

    async def push(request: web.Request) -> web.Response:
        namespace, run = request.match_info["namespace"], request.match_info["run"]
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            return _refuse(401, "send the projected ServiceAccount token as a bearer token")
        claims = claims_of(token, PROGRESS_AUDIENCE, time.time())
        if claims is None:
            return _refuse(401, f"the token is none of a pod's ServiceAccount for audience {PROGRESS_AUDIENCE}")
        if claims.namespace != namespace or not _is_pod_of(claims.pod, run):
            return _refuse(403, "the token belongs to a pod of another run")
        try:
            user = await reviews.user(token, request.remote or "")
        except TooManyReviewsError as error:
            return _refuse(429, str(error), {"Retry-After": str(math.ceil(error.seconds))})
        except ClusterError as error:
            return _refuse(503, f"the token could not be reviewed: {error}")
        if user != claims.user:
            return _refuse(401, f"the token is not valid for audience {PROGRESS_AUDIENCE}")
        if seconds := reports.take(f"{namespace}/{run}", clock()):
            message = f"reports come too often: come again in {seconds:.0f} s"
            return _refuse(429, message, {"Retry-After": str(math.ceil(seconds))})
        try:
            body = json.loads(await request.text(), parse_constant=lambda _: None)  # a loss may be NaN, JSON has none
            body["lastUpdatedTime"] = datetime.now(UTC).replace(microsecond=0).isoformat()
            report = ProgressStatus.model_validate(body)
        except (ValueError, TypeError, ValidationError) as error:
            return _refuse(400, f"the report is not readable: {str(error)[:200]}")
        store.pop((namespace, run), None)
        store[namespace, run] = report
        while len(store) > _KEPT:
            del store[next(iter(store))]
        notify(namespace, run)
        return web.json_response({"accepted": True})

    app = web.Application(client_max_size=_MAX_BODY)
    app.router.add_post("/v1/trainingruns/{namespace}/{run}/progress", push)
    return app


def _refuse(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status, headers=headers)


def _is_pod_of(pod: str, run: str) -> bool:
    """Whether a pod's name is `<run>-train-<attempt>-<random>`; long names lose the last dash."""
    prefix = f"{run}-train-"
    return pod.startswith(prefix) and re.fullmatch(r"\d+(-\d+)?-?[a-z0-9]{5}", pod.removeprefix(prefix)) is not None
