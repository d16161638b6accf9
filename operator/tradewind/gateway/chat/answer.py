"""A decision as a chat completion, the models as a list, an error as clients of the protocol read it.

Belongs here: shapes of what is given. Does not belong here: what it says (decide.py).
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from tradewind.gateway.chat.spelling import Form
from tradewind.gateway.errors import ApiError
from tradewind.gateway.result import Body

ID_PREFIX: Final = "chatcmpl-"
"""What stands before the decision's id in the completion's."""
RETRY_HEADER: Final = "x-should-retry"
"""By which the official clients are told whether repeating helps; they obey it before they look at the status."""


def completion(decision: Body, form: Form, *, model: str, created: int, without_effect: tuple[str, ...]) -> Body:
    """The answer to `POST /v1/chat/completions`.

    Args:
        decision: the body that `/v1/decisions` answers with.
        form: in which shape the client asked for it.
        model: as it was asked for.
        created: Unix time of this answer, in seconds.
        without_effect: parameters that changed nothing.
    """
    spelled = json.dumps({name: decision[name] for name in form.fields}, ensure_ascii=False)
    message: Body = {"role": "assistant", "content": spelled, "refusal": None}
    if form.tool is not None:
        function: Body = {"name": form.tool, "arguments": spelled}
        call: Body = {"id": _call_id(str(decision["decision_id"])), "type": "function", "function": function}
        message |= {"content": None, "tool_calls": [call]}
    choice: Body = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": "stop" if form.tool is None else "tool_calls",
    }
    return {
        "id": f"{ID_PREFIX}{decision['decision_id']}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        # What the caller is charged. Tokens that an arm used are the Endpoint's bill, and stand in the decision's row.
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        "system_fingerprint": None,
        "tradewind": {**decision, "without_effect": list(without_effect)},
    }


def model_entry(model: str) -> Body:
    """One entry of `GET /v1/models`. When it was made is not told: the Endpoint outlives its versions and its gateways."""
    return {"id": model, "object": "model", "created": 0, "owned_by": "tradewind"}


def model_list(model: str) -> Body:
    """The answer to `GET /v1/models`."""
    return {"object": "list", "data": [model_entry(model)]}


def error_body(error: ApiError) -> Mapping[str, JsonValue]:
    """An error in the shape of the protocol, with the gateway's code, and its remedy within the message."""
    kind = "invalid_request_error"
    if error.status == 401:
        kind = "authentication_error"
    elif error.status >= 500:
        kind = "server_error"
    message = f"{error.message}; {error.remedy}"
    shape: Body = {"message": message, "type": kind, "param": error.field or None, "code": str(error.code)}
    return {"error": {**error.body()["error"], **shape}}


def error_headers(error: ApiError) -> dict[str, str]:
    """Headers that tell a client whether to repeat: where the gateway says when, and nowhere else."""
    return {**error.headers(), RETRY_HEADER: "false" if error.retry_after is None else "true"}


def _call_id(decision_id: str) -> str:
    return f"call_{hashlib.sha256(decision_id.encode()).hexdigest()[:24]}"
