"""Notice: a text that a team leaves beside its Endpoint. A toy kind.

Belongs here: the fields of the kind. Does not belong here: what the operator does with them.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from tradewind.api.common import CommonStatus, Resource
from tradewind.schema.rules import StrictModel
from tradewind.schema.scalars import Name


class NoticePhase(StrEnum):
    """For display only."""

    READY = "Ready"
    INVALID = "Invalid"


class NoticeSpec(StrictModel):
    """What the user wants of a Notice."""

    endpoint: Name
    """The Endpoint that it is about."""
    text: Annotated[str, Field(min_length=1, max_length=256)]
    """What is to be known."""


class NoticeStatus(CommonStatus):
    """What the operator sees of a Notice."""

    phase: NoticePhase | None = None
    """For display only; the condition Ready decides."""


class Notice(Resource):
    """A text that a team leaves beside its Endpoint."""

    kind: Literal["Notice"] = "Notice"
    spec: NoticeSpec
    status: NoticeStatus = NoticeStatus()
