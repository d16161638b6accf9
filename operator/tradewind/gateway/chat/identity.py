"""Whose decision a completion is that names none: a repetition by the client must be the decision that it repeats.

The official client repeats 408, 409, 429, 5xx and lost connections by itself, twice, with the same body. It sends no
Idempotency-Key of its own, only how often it has repeated (`x-stainless-retry-count`). So an id is made of the question itself
and of the time at which it was first asked, and the same question is looked for before it is asked:

    asked for the first time, as far as is known    the same question of the last LEASE seconds is the same decision
    repeated by the client (the header says so)     the same question of the last 15 minutes

Two replicas make the same id, so that whoever comes second finds the first in the database also where that is still being
answered. In a replay the data's clock is part of the question, and the id is the question's alone.

Belongs here: ids that nobody gave. Does not belong here: what the same id means (decide.py).
"""

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from tradewind.gateway.chat.refused import unreadable
from tradewind.gateway.database import Database, DatabaseDownError
from tradewind.gateway.statements import KEY
from tradewind.schema.names import is_name
from tradewind.trading.decision import DecisionRequest, request_hash

KEY_HEADER: Final = "idempotency-key"
RETRIES_HEADER: Final = "x-stainless-retry-count"
RETRY_SECONDS: Final = 900.0
"""The official client waits 10 minutes for an answer, and then repeats."""
_WINDOW_SECONDS = 30
_HASH_LENGTH = 32

ASKED_LATELY: Final = f"""
SELECT d.decision_id FROM tradewind.decisions d
WHERE {KEY} AND d.decision_id = ANY(%(ids)s) AND d.decided_at >= %(since)s
ORDER BY d.decided_at DESC LIMIT 1
"""


async def identify(
    request: DecisionRequest,
    headers: Mapping[str, str],
    database: Database,
    *,
    now: datetime,
    lease: float,
    replay: bool,
) -> str:
    """The id of the decision that a request is about.

    Args:
        request: as read from the completion.
        headers: of the HTTP request, by lower-case names.
        database: where earlier ones are looked for; while it is down, the id is that of a first question.
        now: when the request came.
        lease: seconds for which a question may still be being answered.
        replay: whether it is asked on the data's clock.

    Raises:
        ApiError: 400 the Idempotency-Key is no id.
    """
    if request.decision_id is not None:
        return request.decision_id
    key = headers.get(KEY_HEADER)
    if key is not None:
        if not is_name(key):
            raise unreadable(
                "Idempotency-Key", "is no id", "give 1 to 128 visible characters without a blank at its ends"
            )
        return key
    asked = f"chat-{request_hash(request).hex()[:_HASH_LENGTH]}"
    if replay:
        return asked
    horizon = max(lease, _WINDOW_SECONDS, RETRY_SECONDS if _is_repeated(headers) else 0.0)
    newest = math.floor(now.timestamp() / _WINDOW_SECONDS)
    oldest = math.floor((now.timestamp() - horizon) / _WINDOW_SECONDS)
    ids = [f"{asked}-{window:x}" for window in range(oldest, newest + 1)]
    since = now - timedelta(seconds=horizon)
    try:
        found = await database.rows(ASKED_LATELY, {"ids": ids, "since": since})
    except DatabaseDownError:
        return ids[-1]
    return str(found[0]["decision_id"]) if found else ids[-1]


def _is_repeated(headers: Mapping[str, str]) -> bool:
    count = headers.get(RETRIES_HEADER, "0")
    return count.isascii() and count.isdecimal() and count.strip("0") != ""
