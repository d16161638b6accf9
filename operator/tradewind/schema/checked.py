"""How a text type is said: a pattern that the API server and Python read alike, and what to write instead.

Belongs here: the annotation. Does not belong here: any type that uses it (scalars.py, names.py).
"""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True, slots=True)
class Checked:
    """Annotation of a text type: a pattern with a message that says what to write instead.

    Attributes:
        pattern: uses what RE2 and `re` read alike and no quotes or backslashes; it must match the whole text.
        message: names what to write instead.
        max_length: in characters.
        forbid: texts that must not be in it.
        trimmed: whether blanks at its ends are refused.
        int_or_string: whether whole numbers may stand without quotes.
    """

    pattern: str
    message: str
    max_length: int
    forbid: tuple[str, ...] = ()
    trimmed: bool = False
    int_or_string: bool = False

    @property
    def cel(self) -> str:
        """The check as CEL over `self`."""
        if self.int_or_string:
            return f"type(self) == int ? self >= 0 : self.matches('^{self.pattern}$')"
        rules = [f"self.matches('^{_cel_text(self.pattern)}$')"]
        rules += [f"!self.contains('{text}')" for text in self.forbid]
        if self.trimmed:
            rules.append("!self.startsWith(' ') && !self.endsWith(' ')")
        return " && ".join(rules)

    def holds(self, text: str) -> bool:
        """Whether the text is of this type, its length left aside."""
        return (
            re.fullmatch(self.pattern, text, re.ASCII) is not None
            and not any(part in text for part in self.forbid)
            and not (self.trimmed and text != text.strip(" "))
        )

    def check(self, text: str) -> str:
        """The text, or an error with this type's message."""
        if not self.holds(text):
            raise PydanticCustomError("text", "{text}", {"text": self.message})
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner = core_schema.str_schema(max_length=self.max_length, strict=True)
        checked: CoreSchema = core_schema.no_info_after_validator_function(self.check, inner)
        if self.int_or_string:
            return core_schema.no_info_before_validator_function(_int_as_text, checked)
        return checked

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        validations = [{"rule": self.cel, "message": self.message}]
        if self.int_or_string:
            return {"x-kubernetes-int-or-string": True, "maxLength": self.max_length} | {
                "x-kubernetes-validations": validations
            }
        return {"type": "string", "maxLength": self.max_length, "x-kubernetes-validations": validations}


def _int_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _cel_text(pattern: str) -> str:
    """The pattern inside a CEL text: what is not ASCII as its code point, so that a definition shows what it allows."""
    return "".join(
        c if c.isascii() else f"\\u{ord(c):04x}" if ord(c) <= 0xFFFF else f"\\U{ord(c):08x}" for c in pattern
    )
