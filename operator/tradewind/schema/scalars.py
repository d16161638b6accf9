"""Types of single values: text with a pattern and a message that says what to write instead, times, counts, labels.

Belongs here: the types, what reads them (`as_timedelta`) and their CEL. Does not belong here: anything with fields, the
names that others give (names.py), the times that callers report (times.py), how a pattern is checked (checked.py).
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, GetCoreSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tradewind.schema.checked import Checked
from tradewind.schema.durations import parse_duration


@dataclass(frozen=True, slots=True)
class OneOf:
    """Annotation of a text type: one of the names, for names that a list in the code gives."""

    names: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(list(self.names))


_DURATION = "[0-9]{1,6}[smhd]"

Duration = Annotated[
    str, Checked(_DURATION, "must be a whole number and one unit of s, m, h or d, such as 30s, 24h or 14d", 8)
]
"""Length of time as text; `as_timedelta` reads it."""

Latency = Annotated[
    str, Checked("[1-9][0-9]{0,5}(ms|s)", "must be a whole number of ms or s above 0, such as 100ms or 2s", 8)
]
"""Short time as text; `as_milliseconds` reads it."""

_MONTH_AND_DAY = (
    "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_LEAP_YEAR = "([12][0-9](0[48]|[2468][048]|[13579][26])|(1[26]|2[048])00)"
_TIME_OF_DAY = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])"

SinceOrTime = Annotated[
    str,
    Checked(
        f"([0-9]{{1,6}}[smh]|[0-9]{{1,5}}d|([12][0-9]{{3}}-{_MONTH_AND_DAY}|{_LEAP_YEAR}-02-29)T{_TIME_OF_DAY})",
        "must be a time such as 2026-01-31T00:00:00Z or a length of time back from the start such as 90d",
        40,
    ),
]
"""Point in time, absolute or as a duration back from when the run starts."""

DecimalText = Annotated[
    str,
    Checked(
        "[0-9]{1,12}([.][0-9]{1,9})?", "must be a decimal number in quotes, 0 or more, such as '1000' or '0.5'", 24
    ),
]
"""Decimal number, 0 or more."""

PositiveDecimal = Annotated[
    str,
    Checked(
        "([1-9][0-9]{0,11}([.][0-9]{1,9})?|0[.][0-9]{0,8}[1-9][0-9]{0,8})",
        "must be a decimal number in quotes above 0, such as '1000' or '0.5'",
        24,
    ),
]
"""Decimal number above 0."""

Fraction = Annotated[
    str, Checked("(0([.][0-9]{1,9})?|1([.]0{1,9})?)", "must be a fraction from 0 to 1 in quotes, such as '0.05'", 12)
]
"""Decimal number from 0 to 1."""

FractionBelowOne = Annotated[
    str, Checked("0([.][0-9]{1,15})?", "must be a fraction from 0 to below 1 in quotes, such as '0.1'", 20)
]
"""Decimal number from 0 to below 1."""

Probability = Annotated[
    str,
    Checked("0[.][0-9]{0,8}[1-9][0-9]{0,8}", "must be a probability above 0 and below 1 in quotes, such as '0.05'", 20),
]
"""Decimal number strictly between 0 and 1."""

Share = Annotated[
    str,
    Checked(
        "(0[.][0-9]{0,8}[1-9][0-9]{0,8}|1([.]0{1,9})?)",
        "must be a share above 0, up to 1, in quotes, such as '0.99'",
        20,
    ),
]
"""Decimal number above 0, up to 1."""

OpenFraction = Annotated[
    str,
    Checked(
        "0[.][0-9]{0,8}[1-9][0-9]{0,8}",
        "must be a fraction above 0 and below 1 in quotes, such as '0.03' for 3 %",
        20,
    ),
]
"""Decimal number strictly between 0 and 1 that is no probability."""

Quantity = Annotated[
    str,
    Checked(
        "([0-9]{1,15}([.][0-9]{1,9})?|[.][0-9]{1,9})(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?",
        "must be a Kubernetes quantity, such as 500m, 2 or 8Gi",
        32,
        int_or_string=True,
    ),
]
"""Kubernetes quantity; whole numbers may be written without quotes."""

_NAME = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"

Name = Annotated[
    str, Checked(_NAME, "must be a name of lower-case letters, digits and dashes, such as deepseek-api", 63)
]
"""Name of an object in the same namespace."""

SecretName = Annotated[
    str, Checked("[a-z0-9]([-a-z0-9.]*[a-z0-9])?", "must be the name of a Secret in the same namespace", 253)
]
"""Name of a Secret."""

SecretKey = Annotated[
    str,
    Checked("[-._a-zA-Z0-9]{1,253}", "must be a key of the Secret: letters, digits, dots, dashes, underscores", 253),
]
"""Key inside a Secret."""

ConfigMapName = Annotated[
    str, Checked("[a-z0-9]([-a-z0-9.]*[a-z0-9])?", "must be the name of a ConfigMap in the same namespace", 253)
]
"""Name of a ConfigMap."""

ConfigMapKey = Annotated[
    str,
    Checked("[-._a-zA-Z0-9]{1,253}", "must be a key of the ConfigMap: letters, digits, dots, dashes, underscores", 253),
]
"""Key inside a ConfigMap."""

Sha256 = Annotated[str, Checked("[0-9a-f]{64}", "must be a SHA-256 of 64 lower-case hexadecimal digits", 64)]
"""SHA-256 of an artifact, lower-case hexadecimal."""


def is_sha256(value: object) -> bool:
    """Whether a Job's word is one."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value, re.ASCII) is not None


_STORAGE = Checked(
    "(pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[-._a-zA-Z0-9/]*)?|file:///[-._a-zA-Z0-9/]+|"
    "(s3|oss)://[a-z0-9][-a-z0-9.]{1,61}[a-z0-9](/[-._a-zA-Z0-9/]*)?)",
    "must be pvc://<claim>/<path>, file:///<path>, s3://<bucket>/<path> or oss://<bucket>/<path> without '..'",
    512,
    forbid=("..",),
)

StorageURI = Annotated[str, _STORAGE]
"""Where files lie: a PersistentVolumeClaim in the same namespace, a folder of the node that the installation lists, or a store."""

AdapterURI = Annotated[str, replace(_STORAGE, max_length=640)]
"""Where a run has put its adapter: under its output, so that what it is made of must fit in however long that is."""

_HOST = "[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?([.][a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*[.]?"
_IPV6 = (
    "[:[][0-9a-fA-F]{0,4}(:[0-9a-fA-F]{0,4}){2,7}([.][0-9]{1,3}){0,3}]"  # a set that begins with [ alone is a warning
)
_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"

HttpURL = Annotated[
    str,
    Checked(
        f"https?://({_HOST}|{_IPV6})(:{_PORT})?(/[-._~a-zA-Z0-9]+)*/?",
        "must be an http or https URL such as https://api.deepseek.com/v1: a host, a port from 1 to 65535 where there is one, and "
        "the path before /chat/completions, without query, user and doubled slashes",
        512,
        forbid=("/:", "/chat/completions", "/v1/v1"),
    ),
]
"""Base URL of an HTTP API, as it will be used: the path of a call is put behind it."""

Cron = Annotated[
    str,
    Checked(
        "(@(hourly|daily|weekly|monthly|yearly)|[-0-9*/,]+ [-0-9*/,]+ [-0-9*/,?LW]+ [-0-9A-Za-z*/,]+ [-0-9A-Za-z*/,?L#]+)",
        "must be a cron expression of five fields, such as '0 2 * * 0'",
        100,
    ),
]
"""Cron expression of five fields."""

TimeZone = Annotated[
    str,
    Checked("[A-Za-z][-+_A-Za-z0-9]*(/[-+_A-Za-z0-9]+){0,2}", "must be an IANA time zone, such as Asia/Shanghai", 64),
]
"""IANA time zone."""

Text64 = Annotated[str, Field(max_length=64)]
Text128 = Annotated[str, Field(max_length=128)]
Text256 = Annotated[str, Field(max_length=256)]
Text1024 = Annotated[str, Field(max_length=1024)]
Message = Annotated[str, Field(max_length=4096)]
Identifier = Annotated[str, Field(min_length=1, max_length=128)]
"""Plain identifier of bounded length: field names, module names, map keys."""

_RFC3339 = re.compile(
    "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]+)?([Zz]|[-+][0-9]{2}:[0-9]{2})"
)
_FIRST_YEAR, _LAST_YEAR = 1900, 2200


def _written_as_time(value: Any) -> Any:
    if isinstance(value, datetime) or (isinstance(value, str) and _RFC3339.fullmatch(value)):
        return value
    raise PydanticCustomError("text", "{text}", {"text": "must be a time with an offset, such as 2026-01-31T00:00:00Z"})


def _within_the_years(value: datetime) -> datetime:
    if not _FIRST_YEAR <= value.year <= _LAST_YEAR:  # further on, adding a duration or an offset has no result
        text = f"must be a time of the years {_FIRST_YEAR} to {_LAST_YEAR}"
        raise PydanticCustomError("text", "{text}", {"text": text})
    return value


Timestamp = Annotated[
    AwareDatetime,
    BeforeValidator(_written_as_time),
    AfterValidator(_within_the_years),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""RFC 3339 time with an offset."""

Count = Annotated[int, Field(ge=0, le=2**53)]
"""Whole number, 0 or more."""

Labels = Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=32)]
"""Kubernetes labels."""

Annotations = Annotated[dict[str, Annotated[str, Field(max_length=1024)]], Field(max_length=32)]
"""Kubernetes annotations."""


def as_timedelta(text: str) -> timedelta:
    """The timedelta of a `Duration`. Raises ValueError where the text is none."""
    return parse_duration(text)


def as_milliseconds(text: str) -> float:
    """Milliseconds of a `Latency` such as `100ms` or `2s`. Raises ValueError where the text is none."""
    match = re.fullmatch(r"(\d{1,6})(ms|s)", text, re.ASCII)
    if match is None:
        msg = f"{text!r} is no latency; write a whole number of ms or s, such as 100ms or 2s"
        raise ValueError(msg)
    return float(match[1]) * (1 if match[2] == "ms" else 1000)


def cel_seconds(expression: str) -> str:
    """CEL of the seconds in a `Duration` expression; 0 where its text is malformed (another rule says so)."""
    unit = " : ".join(f"{expression}.endsWith('{u}') ? {n}" for u, n in (("d", 86_400), ("h", 3_600), ("m", 60)))
    number = f"int({expression}.substring(0, {expression}.size() - 1))"
    return f"({expression}.matches('^{_DURATION}$') ? {number} * ({unit} : 1) : 0)"


def cel_number(expression: str) -> str:
    """CEL of the number in a decimal text; 0 where the text is malformed (another rule says so)."""
    return f"({expression}.matches('^[0-9]+([.][0-9]+)?$') ? double({expression}) : 0.0)"


@dataclass(frozen=True, slots=True)
class StorageLocation:
    """A storage URI taken apart: the claim to mount or the bucket (neither: a path of the node), and the path under it."""

    claim: str | None
    path: str
    bucket: str | None = None


def parse_storage_uri(uri: str) -> StorageLocation:
    """Claim, bucket and path of a `StorageURI`.

    `pvc://models/trader/v1` is claim `models`, path `trader/v1` (relative to the claim's root, "" for the root);
    `file:///mnt/x` is claim None, path `/mnt/x`; `s3://models/v1` is bucket `models`, path `v1`, and so is `oss://models/v1`.
    Raises ValueError for every other text.
    """
    named = re.fullmatch(
        r"(?:pvc://([a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)|(?:s3|oss)://([a-z0-9][-a-z0-9.]{1,61}[a-z0-9]))(?:/(.*))?",
        uri,
        re.ASCII,
    )
    path = named[3] or "" if named else uri.removeprefix("file://")
    if ".." in PurePosixPath(path).parts or not (named or uri.startswith("file:///")):
        msg = f"{uri!r}: write pvc://<claim>/<path>, file:///<path>, s3://<bucket>/<path> or oss://<bucket>/<path> without '..'"
        raise ValueError(msg)
    return StorageLocation(named[1], path.strip("/"), named[2]) if named else StorageLocation(None, path)
