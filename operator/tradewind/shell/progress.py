"""Where trainers report: one POST a few seconds apart, proven by a ServiceAccount token for this audience alone.

The token's pod must be a pod of that run: job pods need no right in Kubernetes, and no pod can speak for another run.
"""

import base64
import json
import re
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime

import structlog
from aiohttp import web
from pydantic import ValidationError

from tradewind.api.training_run_status import ProgressStatus
from tradewind.core.manifests.job import PROGRESS_AUDIENCE
from tradewind.shell.cluster import Cluster, ClusterError

log = structlog.get_logger()
_MAX_BODY = 4096


def progress_app(
    cluster: Cluster,
    store: MutableMapping[tuple[str, str], ProgressStatus],
    notify: Callable[[str, str], None],
) -> web.Application:
    """The application. `notify(namespace, run)` is told of each report."""

    async def push(request: web.Request) -> web.Response:
        namespace, run = request.match_info["namespace"], request.match_info["run"]
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            return _refuse(401, "send the projected ServiceAccount token as a bearer token")
        try:
            user = await cluster.review_token(token, PROGRESS_AUDIENCE)
        except ClusterError as error:
            return _refuse(503, f"the token could not be reviewed: {error}")
        if user is None:
            return _refuse(401, f"the token is not valid for audience {PROGRESS_AUDIENCE}")
        pod = _pod_of(token)
        if not user.startswith(f"system:serviceaccount:{namespace}:") or not _is_pod_of(pod, run):
            return _refuse(403, "the token belongs to a pod of another run")
        try:
            body = json.loads(await request.text(), parse_constant=lambda _: None)  # a loss may be NaN, JSON has none
            body["lastUpdatedTime"] = datetime.now(UTC).replace(microsecond=0).isoformat()
            store[namespace, run] = ProgressStatus.model_validate(body)
        except (ValueError, TypeError, ValidationError) as error:
            return _refuse(400, f"the report is not readable: {str(error)[:200]}")
        notify(namespace, run)
        return web.json_response({"accepted": True})

    app = web.Application(client_max_size=_MAX_BODY)
    app.router.add_post("/v1/trainingruns/{namespace}/{run}/progress", push)
    return app


def _refuse(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)


def _is_pod_of(pod: str, run: str) -> bool:
    """Whether a pod's name is `<run>-train-<attempt>-<random>`; long names lose the last dash."""
    prefix = f"{run}-train-"
    return pod.startswith(prefix) and re.fullmatch(r"\d+(-\d+)?-?[a-z0-9]{5}", pod.removeprefix(prefix)) is not None


def _pod_of(token: str) -> str:
    """The pod that a reviewed token is bound to; the API server has checked the signature."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["kubernetes.io"]["pod"]["name"])
    except (IndexError, KeyError, ValueError, TypeError):
        return ""
