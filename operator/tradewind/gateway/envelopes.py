"""What stands around an answer, the same in several protocols: comments before the body, an answer as a tool's arguments.

Belongs here: parts of envelopes that are no one protocol's. Does not belong here: a protocol's own envelope (protocols/), and what
the answer inside means (reading.py).
"""

import json

from pydantic import JsonValue

from tradewind.gateway.answers import ArmError
from tradewind.gateway.reading import Rule
from tradewind.trading.error_kinds import ErrorKind


def without_comments(body: bytes, rules: set[Rule]) -> bytes:
    """The body after comments and blank lines that kept the connection alive."""
    rest = body.lstrip()
    while rest.startswith(b":"):
        rules.add(Rule.COMMENTS)
        rest = rest.partition(b"\n")[2].lstrip()
    return rest if rules else body


def arguments_text(arguments: JsonValue, where: str, rules: set[Rule]) -> str:
    """The arguments of a tool call as the answer's text.

    Args:
        arguments: as the API has them, a text or an object.
        where: their path in the envelope, for the error.
        rules: what was needed is added to it.

    Raises:
        ArmError: invalid_json; they are neither.
    """
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments)
    if not isinstance(arguments, str):
        raise ArmError(ErrorKind.INVALID_JSON, f"{where}: neither an object nor a text")
    rules.add(Rule.TOOL_CALL)
    return arguments


def only_call(calls: list[JsonValue]) -> JsonValue:
    """The one tool call of an answer.

    Raises:
        ArmError: invalid_json; there are several, and which one is the answer is not said.
    """
    if len(calls) > 1:
        raise ArmError(ErrorKind.INVALID_JSON, f"{len(calls)} tool calls: which one is the answer is not said")
    return calls[0]
