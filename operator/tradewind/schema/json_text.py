"""JSON that is written as text in a manifest: checked by lint and by the operator; an API server sees its braces alone.

Belongs here: reading such texts. Does not belong here: JSON of arms and callers (gateway/).
"""

from pydantic import JsonValue
from pydantic_core import PydanticCustomError

from tradewind.schema.storable import STRICT_JSON

OWN = ("model", "messages", "stream")
"""What the gateway writes itself: an answer of another model, to another question or in pieces is none."""


def checked_extra_body(text: str) -> str:
    """The text, or an error that says what is wrong with it."""
    try:
        fields = as_object(text)
    except ValueError as error:
        raise PydanticCustomError("text", "{text}", {"text": f"is no JSON object: {error}"}) from None
    taken = next((name for name in OWN if name in fields), None)
    if taken is not None:
        raise PydanticCustomError("text", "{text}", {"text": f"may not name {taken}, which Tradewind writes itself"})
    return text


def as_object(text: str) -> dict[str, JsonValue]:
    """The object.

    Raises:
        ValueError: it is none, holds NaN or an infinity, or names a key twice.
    """
    value = STRICT_JSON.decode(text)
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - it is the text that is wrong
    return value
