"""Reports with their ids in the body: one or many, as JSON, JSON Lines or a form, in any of the three shapes of a report.

Belongs here: taking a body apart and answering for each part. Does not belong here: what a report means (report_events.py).
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from tradewind.gateway import errors
from tradewind.gateway.bodies import parsed_json
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.gateway.reports import Reports
from tradewind.gateway.result import Body
from tradewind.schema.names import Identifier
from tradewind.schema.storable import unstorable
from tradewind.trading.reports import EventReport, ExecutionReport, OutcomeReport
from tradewind.trading.routing import Routing

MAX_REPORTS = 1000
FORM = "application/x-www-form-urlencoded"
_identifier: TypeAdapter[str] = TypeAdapter(Identifier)
_Report = TypeVar("_Report", bound=BaseModel)


class Intake:
    """The report calls of one endpoint: every refused report is kept."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    async def execution(self, decision_id: str, body: bytes, routing: Routing) -> Body:
        """`POST /v1/decisions/{id}/execution`; raises what `Reports` raises."""
        return await self._kept(decision_id, body, lambda: self._execution(decision_id, parsed_json(body), routing))

    async def outcome(self, decision_id: str, body: bytes, routing: Routing) -> Body:
        """`POST /v1/decisions/{id}/outcome`; raises what `Reports` raises."""
        return await self._kept(decision_id, body, lambda: self._outcome(decision_id, parsed_json(body), routing))

    async def batch(self, content_type: str, body: bytes, routing: Routing) -> tuple[int, Body]:
        """`POST /v1/reports`: status and body. One report is answered as by its own call; of many, each for itself.

        Raises:
            ApiError: the body is none, or a single report was refused.
        """
        items, single = _items(content_type, body)
        if single:
            return 200, await self._one(items[0], routing)
        results: list[JsonValue] = []
        refused = 0
        for item in items:
            try:
                results.append({"status": 200, **await self._one(item, routing)})
            except ApiError as error:
                if error.status >= 500:
                    raise  # nothing is known of the rest: the same body may be sent again
                refused += 1
                results.append({"status": error.status, "decision_id": _id_of(item), **error.body()})
        return (422 if refused else 200), {"accepted": len(items) - refused, "refused": refused, "results": results}

    async def _one(self, item: JsonValue, routing: Routing) -> Body:
        return await self._kept(_id_of(item), _text(item), lambda: self._any(item, routing))

    async def _kept(self, decision_id: str | None, body: bytes, store: Callable[[], Awaitable[Body]]) -> Body:
        try:
            return await store()
        except ApiError as error:
            if error.status in (400, 404, 409, 422) and error.retry_after is None:
                await self._reports.refuse(decision_id, body, error)
            raise

    async def _execution(self, decision_id: str, value: JsonValue, routing: Routing) -> Body:
        _demand_storable(decision_id)
        return await self._reports.execution(decision_id, _valid(ExecutionReport, value), routing)

    async def _outcome(self, decision_id: str, value: JsonValue, routing: Routing) -> Body:
        _demand_storable(decision_id)
        return await self._reports.outcome(decision_id, _valid(OutcomeReport, value), routing)

    async def _any(self, value: JsonValue, routing: Routing) -> Body:
        """A report in the shape that its fields say: `event`, or `status` or `closed_at` with the decision's id."""
        if not isinstance(value, dict):
            raise ApiError(
                ErrorCode.INVALID_REQUEST, "the report is no object", "send objects with decision_id and event"
            )
        if "event" in value:
            return await self._reports.event(_valid(EventReport, value), routing)
        store = self._execution if "status" in value else self._outcome if "closed_at" in value else None
        if store is None:
            raise ApiError(
                ErrorCode.INVALID_REQUEST,
                "event: missing",
                "give event (open, add, reduce, close, cash_flow, ...), or the fields of an execution or outcome",
                field="event",
            )
        rest = dict(value)
        try:
            decision_id = _identifier.validate_python(rest.pop("decision_id", None))
        except ValidationError:
            raise ApiError(
                ErrorCode.INVALID_REQUEST, "decision_id: is no id", "give the id of the decision", field="decision_id"
            ) from None
        return await store(decision_id, rest, routing)


def _demand_storable(decision_id: str) -> None:
    """Refuses an id of a path by name, and not by the database, which no refused report is kept by."""
    fault = unstorable(decision_id)
    if fault is not None:
        raise ApiError(
            ErrorCode.INVALID_REQUEST,
            f"decision_id: {fault.what}",
            "put the id into the path as it was answered, percent-encoded",
            field="decision_id",
        )


def _valid(model: type[_Report], value: JsonValue) -> _Report:
    fault = unstorable(dict.fromkeys(value)) if isinstance(value, dict) else None
    if fault is not None:  # in the name of a field: pydantic cannot say which
        raise ApiError(ErrorCode.INVALID_REQUEST, str(fault), f"remove {fault.field}", field=fault.field)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise errors.from_validation(error) from None


def _items(content_type: str, body: bytes) -> tuple[list[JsonValue], bool]:
    """The reports of a body, and whether it is a single one."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == FORM and not body.lstrip().startswith((b"{", b"[")):
        try:
            pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=64)
        except ValueError:
            raise ApiError(
                ErrorCode.MALFORMED_JSON, "the body is no form", "send name=value pairs joined by &"
            ) from None
        names = [name for name, _ in pairs]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ApiError(ErrorCode.INVALID_REQUEST, f"{twice}: comes twice", "send each field once", field=twice)
        return [{name: text for name, text in pairs if text != ""}], True
    if kind in ("application/x-ndjson", "application/jsonl", "application/json-lines"):
        value: JsonValue = [parsed_json(line) for line in body.splitlines() if line.strip()]
    else:
        value = parsed_json(body)
    if isinstance(value, dict) and set(value) == {"reports"}:
        value = value["reports"]
    if isinstance(value, dict):
        return [value], True
    if not isinstance(value, list) or not value:
        raise ApiError(
            ErrorCode.INVALID_REQUEST,
            "the body is neither a report nor a list of reports",
            "send one, or a list",
            field="reports",
        )
    if len(value) > MAX_REPORTS:
        raise ApiError(
            ErrorCode.INVALID_REQUEST,
            f"reports: {len(value)} are too many",
            f"send at most {MAX_REPORTS} at a time",
            field="reports",
        )
    return value, False


def _id_of(item: JsonValue) -> str | None:
    if not isinstance(item, Mapping):
        return None
    try:
        return _identifier.validate_python(item.get("decision_id"))
    except ValidationError:
        return None


def _text(item: JsonValue) -> bytes:
    return json.dumps(item, ensure_ascii=True, sort_keys=True).encode()
