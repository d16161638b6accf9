"""What every request passes before it is routed: its path as it is meant, and whether there is room for it.

Belongs here: ASGI around the routes, and a refusal in the shape of its path. Does not belong here: routes (app.py), how much room
there is (admission.py), connections (connections.py).
"""

from typing import Final

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tradewind.gateway.admission import Admission, Share
from tradewind.gateway.chat import answer, door
from tradewind.gateway.errors import ApiError

PROBES: Final = ("/healthz", "/readyz", "/metrics")


class Admitted:
    """Refuses a request for which there is no room before anything is read or parsed. What is let through takes its room later,
    once its body is there: a slow sender has none.
    """

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses, or passes on."""
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            try:
                self._admission.demand_room(_share(scope["method"], scope["path"]))
            except ApiError as error:
                await refused(Request(scope), error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class WithoutTrailingSlash:
    """Takes `POST /v1/decisions/` as it is meant. A redirect would name the pod's own idea of its host; an id may end in a slash,
    but no path ends in an id that is posted to.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on."""
        if scope["type"] == "http" and scope["path"].endswith("/"):
            path = scope["path"].rstrip("/")
            if scope["method"] == "POST" or path in PROBES:
                scope = {**scope, "path": path}
        await self._app(scope, receive, send)


def refused(request: Request, error: ApiError) -> Response:
    """The error in the shape that callers of the path read."""
    if door.is_door(request.url.path):
        return JSONResponse(answer.error_body(error), error.status, answer.error_headers(error))
    return JSONResponse(error.body(), error.status, error.headers())


def _share(method: str, path: str) -> Share:
    if method != "POST":
        return Share.READS
    return Share.DECISIONS if path in ("/v1/decisions", door.COMPLETIONS) else Share.REPORTS
