"""The body of a request: its bytes bounded and unpacked, its text UTF-8, its JSON one that can be stored, then a model.

Belongs here: what is wrong with a body before its schema, said with status, field and remedy. Does not belong here: routes
(app.py), schemas (trading/decision.py), what can be stored (schema/storable.py).
"""

import json
import re
import zlib
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, JsonValue, ValidationError

from tradewind.gateway import errors
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.schema.storable import RefusedJsonError, unique_keys, unstorable
from tradewind.trading.decision import MAX_BODY_BYTES

_Model = TypeVar("_Model", bound=BaseModel)
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
MAX_DEPTH = 200
"""Objects and lists in each other: what reads further on, such as the database's JSON, goes down step by step."""
_MAX_DIGITS = 400  # more than any double has; Python refuses to read 4300
# All that may be unstorable is written in one of these ways; a body without them needs no second reading.
_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])|NaN|Infinity|[0-9]{300}|[eE][+]?[0-9]{3}")


async def read_bytes(request: Request) -> bytes:
    """The body as its sender wrote it, at most MAX_BODY_BYTES both packed and unpacked.

    Raises:
        ApiError: 413 too large, 415 packed in another way than gzip or deflate, 400 not what its encoding says.
    """
    encoding = ", ".join(request.headers.getlist("content-encoding")).strip().lower()
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > MAX_BODY_BYTES):
        raise _too_large()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    if encoding in ("", "identity"):
        return bytes(body)
    if encoding in ("gzip", "x-gzip"):
        return _unpacked(bytes(body), encoding, _GZIP)
    if encoding == "deflate":  # zlib's format by the standard, raw deflate by some senders
        is_zlib = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
        return _unpacked(bytes(body), encoding, _ZLIB if is_zlib else _RAW)
    raise ApiError(
        ErrorCode.UNSUPPORTED_ENCODING,
        f"Content-Encoding {encoding[:40]!r} is not read here",
        "send the body as it is, or packed once as gzip or deflate",
    )


def parsed(body: bytes, model: type[_Model]) -> _Model:
    """A body of JSON as a model.

    Raises:
        ApiError: 400 not UTF-8, no JSON or a name that comes twice, 422 a value that cannot be stored, or not the schema.
    """
    text = _utf8(body)
    if _SUSPECT.search(text):
        _refuse_unstorable(text)
    try:
        read = model.model_validate_json(text)
    except ValidationError as error:
        raise errors.from_validation(error) from None
    _loaded(text)  # the model's reader takes the last of two values of one name, others the first
    return read


def parsed_json(body: bytes) -> JsonValue:
    """A report's body as a JSON value: words in it are cleaned later, so that they never lose the money beside them.

    Raises:
        ApiError: 400 not UTF-8, no JSON, a name that comes twice, or nested as deep as nothing that is read here.
    """
    return _loaded(_utf8(body))


def parsed_strictly(body: bytes, model: type[_Model]) -> _Model:
    """A body of JSON, each name once, as a model.

    Raises:
        ApiError: as `parsed_json`, and 422 a value that cannot be stored, or not the schema.
    """
    value = parsed_json(body)
    fault = unstorable(value)
    if fault is not None:
        raise ApiError(ErrorCode.INVALID_REQUEST, str(fault), "leave it out", field=fault.field or None)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise errors.from_validation(error) from None


def _loaded(text: bytes) -> JsonValue:
    try:
        value: JsonValue = json.loads(text, parse_int=_whole_number, object_pairs_hook=unique_keys)
    except ValueError as error:
        said = str(error) if isinstance(error, RefusedJsonError) else "it cannot be read"
        raise ApiError(
            ErrorCode.MALFORMED_JSON, f"the body is not JSON: {said}", "send one JSON object, UTF-8, each name once"
        ) from None
    except RecursionError:
        raise _too_deep() from None
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise _too_deep()
    return value


def _depth(value: JsonValue) -> int:
    """How many objects and lists lie in each other, at most; counted without recursion."""
    deepest, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        deepest += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return deepest


def _too_deep() -> ApiError:
    return ApiError(
        ErrorCode.MALFORMED_JSON, "the body is nested too deep", f"send JSON that is nested less than {MAX_DEPTH} deep"
    )


def _unpacked(body: bytes, encoding: str, window: int) -> bytes:
    content = bytearray()
    rest = body
    try:
        while rest:  # gzip may hold several members
            unpacker = zlib.decompressobj(window)
            content += unpacker.decompress(rest, MAX_BODY_BYTES + 1 - len(content))
            if len(content) > MAX_BODY_BYTES:
                raise _too_large()
            if not unpacker.eof:
                raise zlib.error
            rest = unpacker.unused_data if window == _GZIP else b""
    except zlib.error:
        raise ApiError(
            ErrorCode.MALFORMED_JSON,
            f"the body is not {encoding}, or is cut off",
            f"send what Content-Encoding: {encoding} says, or leave the header out",
        ) from None
    return bytes(content)


def _utf8(body: bytes) -> bytes:
    """The bytes without a byte order mark."""
    text = body.removeprefix(b"\xef\xbb\xbf")
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in text[:4]:
        said = "the body is not UTF-8; it looks like UTF-16 or UTF-32"
    else:
        try:
            text.decode()
        except UnicodeDecodeError as error:
            said = f"the body is not UTF-8: byte 0x{text[error.start]:02x} at offset {error.start}"
        else:
            return text
    raise ApiError(ErrorCode.MALFORMED_JSON, said, "encode the JSON as UTF-8, whatever charset the header names")


def _refuse_unstorable(text: bytes) -> None:
    try:
        value = json.loads(text, parse_int=_whole_number)
    except (ValueError, RecursionError):
        return  # no JSON: the model's reader says what is wrong with it
    fault = unstorable(value)
    if fault is not None:
        raise ApiError(
            ErrorCode.INVALID_REQUEST,
            str(fault),
            "leave it out, or send null where there is no value",
            field=fault.field or None,
        )


def _whole_number(digits: str) -> Any:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


def _too_large() -> ApiError:
    return ApiError(
        ErrorCode.BODY_TOO_LARGE,
        f"the body is over {MAX_BODY_BYTES} bytes",
        "send fewer bars or fields of market_data; the bound holds for the body as it is unpacked",
    )
