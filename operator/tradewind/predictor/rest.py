"""What is wrong with a request, said in one form: KServe's own errors about bodies name no field, and FastAPI's have another form.

Belongs here: translating their refusals, and closing what KServe opens and this server does not offer. Does not belong here: the
bodies themselves (protocol.py), and the routes (server.py).
"""

from http import HTTPStatus
from typing import Any, NoReturn

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from kserve import ModelServer
from kserve.errors import InvalidInput
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from starlette.exceptions import HTTPException

from tradewind.predictor.failure import RequestError
from tradewind.predictor.protocol import REMEDY_V1, REMEDY_V2, invalid


def name_fields(app: FastAPI, server: ModelServer) -> None:
    """Have each refusal of a body be `{"error": {code, field, message, remedy}}`, and the one model stay where it is."""
    server.dataplane = _Bodies(server.registered_models)
    server.model_repository_extension = _Fixed(server.registered_models)
    app.add_exception_handler(RequestError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_body)
    app.add_exception_handler(HTTPException, _refuse_unread)


class _Bodies(DataPlane):  # type: ignore[misc] # kserve has no types
    """Reads bodies as KServe does."""

    def decode(self, body: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().decode(body, *args, **kwargs)
        except InvalidInput as error:
            raise invalid("body", str(error), f"{REMEDY_V1}, or by v2 {REMEDY_V2.removeprefix('send ')}") from None
        except Exception as error:  # bytes that are no tensors, headers of events that are none
            said = f"it cannot be read ({type(error).__name__})"
            raise invalid("body", said, f"{REMEDY_V1}, as JSON") from None


class _Fixed(ModelRepositoryExtension):  # type: ignore[misc] # kserve has no types
    """Whoever may ask may not take the model away from the others."""

    async def load(self, model_name: str) -> NoReturn:
        raise _not_offered(model_name)

    async def unload(self, model_name: str) -> NoReturn:
        raise _not_offered(model_name)


def _not_offered(name: str) -> RequestError:
    message = f"{name} is served as long as the server runs"
    return RequestError(HTTPStatus.METHOD_NOT_ALLOWED, "not_offered", message, "change the ModelVersion instead")


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return JSONResponse(error.body, status_code=error.status, headers=error.headers)


async def _refuse_body(request: Request, error: Exception) -> Response:
    """By FastAPI, which reads v2's bodies: the first fault of them."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    kinds = ("InferenceRequest", "bytes")  # of a body, as FastAPI tells apart what it may be
    path = [str(part) for part in first["loc"] if part not in ("body", *kinds) and first["type"] != "json_invalid"]
    return await _refuse(request, invalid(".".join(path) or "body", str(first["msg"])[:300], REMEDY_V2))


async def _refuse_unread(request: Request, error: Exception) -> Response:
    """By Starlette: a body that its parser gives up, a path or a method that there is not."""
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return await _refuse(request, invalid("body", str(error.detail)[:300], REMEDY_V2))
    return JSONResponse({"detail": error.detail}, status_code=error.status_code, headers=error.headers)
