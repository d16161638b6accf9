"""An arm's JSON becomes a decision as it stands, or an error with the field that is wrong. Nothing is repaired.

Belongs here: the validation of answers and the kinds of errors that count against an arm. Does not belong here: HTTP.
"""

import json
import math
from collections.abc import Mapping

from pydantic import JsonValue, ValidationError

from tradewind.schema.rules import first_fault
from tradewind.schema.storable import STRICT_JSON, RefusedJsonError, cleaned, unstorable
from tradewind.trading.decision import Limits, TradeDecision, limit_violation, percent_for_fraction
from tradewind.trading.error_kinds import ErrorCause, ErrorKind

MAX_DETAIL = 300
MAX_PROBABILITIES = 16
MAX_NAME = 64
_ROUNDED = 1e-3  # what rounding may add to a sum of probabilities

UNREACHED = frozenset({ErrorKind.TIMEOUT, ErrorKind.TRANSPORT, ErrorKind.STATUS})
"""Kinds that open the breaker. An arm that answers nonsense is reachable: the guardrail deals with it."""


class ArmError(Exception):
    """The arm gave no usable answer. `detail` goes to the database and the log: it holds no secret and no account data of ours.

    It may hold names that the arm chose, and of an API's refusal 160 of its own characters; what cannot be stored is replaced.

    Attributes:
        kind: what it is to the evidence.
        detail: in words.
        cause: what somebody has to do about it; None: it is the arm's answer that is wrong.
        again: whether the same question may be answered if it is asked again.
        wait: seconds for which the arm asked to be left alone; None: it did not.
        refused: it is JSON that readers disagree about, so that no other way of reading may be tried.
    """

    def __init__(
        self,
        kind: ErrorKind,
        detail: str,
        *,
        cause: ErrorCause | None = None,
        again: bool = False,
        wait: float | None = None,
        refused: bool = False,
    ) -> None:
        self.kind = kind
        self.detail = cleaned(detail, MAX_DETAIL)
        self.cause = cause
        self.again = again
        self.wait = wait
        self.refused = refused
        super().__init__(self.detail)


def parse_json(text: str | bytes) -> JsonValue:
    """One JSON value and nothing around it.

    Raises:
        ArmError: invalid_json; also for a key that comes twice, NaN and infinities, which readers disagree about.
    """
    try:
        value: JsonValue = STRICT_JSON.decode(text if isinstance(text, str) else _decoded(text))
    except RefusedJsonError as error:
        raise refused_json(error) from None
    except (ValueError, RecursionError) as error:
        raise ArmError(ErrorKind.INVALID_JSON, f"the answer is not one JSON object: {type(error).__name__}") from None
    return value


def parse_object(text: str | bytes) -> dict[str, JsonValue]:
    """One JSON object and nothing around it.

    Raises:
        ArmError: as `parse_json`; also for another JSON value.
    """
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ArmError(ErrorKind.INVALID_JSON, "the answer is JSON, but not an object")
    return value


def refused_json(error: RefusedJsonError) -> ArmError:
    """The error of JSON that readers disagree about."""
    return ArmError(ErrorKind.INVALID_JSON, f"the answer is not one JSON object: {error.args[0]}", refused=True)


def _decoded(body: bytes) -> str:
    return body.decode(json.detect_encoding(body), "surrogatepass")


def parse_decision(value: Mapping[str, JsonValue], *, symbol: str, limits: Limits | None) -> TradeDecision:
    """A decision within schema and limits.

    Raises:
        ArmError: invalid_decision or over_limit.
    """
    fields = dict(value)
    fault = unstorable(fields)
    if fault is not None:
        raise ArmError(ErrorKind.INVALID_DECISION, str(fault))
    leverage = fields.get("leverage")
    if isinstance(leverage, float) and leverage.is_integer():
        fields["leverage"] = int(leverage)  # 2.0 is 2 in JSON
    percent = percent_for_fraction(fields)
    if percent is not None:
        raise ArmError(ErrorKind.INVALID_DECISION, percent)
    try:
        decision = TradeDecision.model_validate_json(json.dumps(fields), strict=True)
    except ValidationError as error:
        wrong = first_fault(error)
        detail = f"{wrong.field}: {wrong.message}" if wrong.field else wrong.message
        raise ArmError(ErrorKind.INVALID_DECISION, detail) from None
    except RecursionError:
        raise ArmError(ErrorKind.INVALID_DECISION, "the decision is nested too deep") from None
    violation = limit_violation(decision, symbol=symbol, limits=limits)
    if violation is not None:
        kind = ErrorKind.INVALID_DECISION if violation.startswith("symbol") else ErrorKind.OVER_LIMIT
        raise ArmError(kind, violation)
    return decision


def parse_probabilities(value: JsonValue) -> dict[str, float]:
    """Probabilities of the actions as an own model states them: without them its scores were no numbers, whatever it says.

    Raises:
        ArmError: invalid_decision.
    """
    if not isinstance(value, dict) or not 0 < len(value) <= MAX_PROBABILITIES or unstorable(value) is not None:
        raise _no_probabilities("not an object of numbers by action")
    numbers = {
        name: p
        for name, p in value.items()
        if isinstance(p, int | float) and not isinstance(p, bool) and len(name) <= MAX_NAME and 0 <= p <= 1
    }
    if len(numbers) != len(value):
        raise _no_probabilities("one of them is no number from 0 to 1")
    total = math.fsum(numbers.values())
    if abs(total - 1) > _ROUNDED:
        raise _no_probabilities(f"they add up to {total:g}")
    return {name: float(p) for name, p in numbers.items()}


def _no_probabilities(why: str) -> ArmError:
    return ArmError(
        ErrorKind.INVALID_DECISION, f"_probabilities: {why}; an own model's answer needs them, adding up to 1"
    )
