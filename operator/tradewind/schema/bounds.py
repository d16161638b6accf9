"""Bounds of settings that users write and programs read: one table, so that what one side accepts the other starts with.

Belongs here: the bounds, and the annotation that refuses what lies outside in CEL and in Python. Does not belong here: the
variables of the gateway (gateway/settings.py), the fields of a kind (api/), the routing document (trading/routing.py).
"""

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tradewind.schema.durations import format_duration
from tradewind.schema.scalars import as_milliseconds, as_timedelta

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000))


@dataclass(frozen=True, slots=True)
class Bounds:
    """Lowest and highest value, both allowed; times in seconds."""

    low: float
    high: float


DECISION_TIMEOUT = Bounds(0.1, 900)
"""A whole decision. Models that think for minutes are asked for decisions, too."""
ARM_TIMEOUT = Bounds(0.001, DECISION_TIMEOUT.high)
"""One question to an arm: never longer than the longest decision."""
DATABASE_TIMEOUT = Bounds(0.05, 30)
PROBE_INTERVAL = Bounds(0, 30 * 86_400)
"""How long an arm may go unasked; 0: for ever."""
BREAKER_FAILURES = Bounds(1, 10_000)
BREAKER_OPEN = Bounds(0.01, 3600)
RETENTION = Bounds(0, 999_999 * 86_400)
"""Up to the longest `Duration` that can be written."""
RETENTION_KEPT = Bounds(30 * 86_400, 999_999 * 86_400)
"""What an Endpoint may say: a shorter one would erase what was decided, and why, before anybody looked."""
RETIRE_AFTER = Bounds(60, 999_999 * 86_400)
"""How long a predictor that nobody needs goes on running."""
SPOOL_BYTES = Bounds(0, 2**40)
SPOOL_GRACE = Bounds(0, 3_600)
ABANDONED_AFTER = Bounds(1, 86_400)
POOL_SIZE = Bounds(1, 500)
PORT = Bounds(0, 65_535)
MOST_DECISIONS = Bounds(1, 100_000)
MOST_CONNECTIONS = Bounds(1, 100_000)
REQUEST_TIMEOUT = Bounds(0.05, 300)
"""Head or body of a request to the gateway."""


@dataclass(frozen=True, slots=True)
class Within:
    """Annotation of a text type: the time lies within the bounds.

    Attributes:
        bounds: in seconds.
        latency: whether the text is a `Latency` (ms, s); otherwise it is a `Duration` (s, m, h, d), whose least is 1s.
    """

    bounds: Bounds
    latency: bool

    @property
    def message(self) -> str:
        """What is allowed, as users write it."""
        low, high = self.bounds.low, self.bounds.high
        if self.latency:
            return "must be from " + " to ".join(f"{t * 1000:g}ms" if t < 1 else f"{t:g}s" for t in (low, high))
        return "must be from " + " to ".join(format_duration(timedelta(seconds=math.ceil(t))) for t in (low, high))

    @property
    def cel(self) -> str:
        """The check as CEL over `self`; true where the text is malformed (the type's own rule says so)."""
        number = "int(self.substring(0, self.size() - {}))"
        if self.latency:
            pattern = "(ms|s)"
            time = f"self.endsWith('ms') ? {number.format(2)} : {number.format(1)} * 1000"
        else:
            pattern = "[smhd]"
            unit = " : ".join(f"self.endsWith('{name}') ? {size}" for name, size in _UNITS)
            time = f"{number.format(1)} * ({unit} : 1000)"
        low, high = math.ceil(self.bounds.low * 1000), math.floor(self.bounds.high * 1000)
        return f"!self.matches('^[0-9]{{1,6}}{pattern}$') || [{time}].all(ms, ms >= {low} && ms <= {high})"

    def check(self, text: str) -> str:
        """The text, or an error with this annotation's message."""
        seconds = as_milliseconds(text) / 1000 if self.latency else as_timedelta(text).total_seconds()
        if not self.bounds.low <= seconds <= self.bounds.high:
            raise PydanticCustomError("text", "{text}", {"text": self.message})
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        made = handler(schema)
        rules = [*made.get("x-kubernetes-validations", ()), {"rule": self.cel, "message": self.message}]
        return made | {"x-kubernetes-validations": rules}
