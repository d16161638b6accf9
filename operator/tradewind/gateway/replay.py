"""The data's clock: a replay endpoint decides at `as_of`, and waits for the operator at every new block.

Belongs here: which clock a request is on, and the 425 handshake. Does not belong here: weights (assign.py).
"""

import time
from datetime import UTC, datetime, timedelta

from tradewind.gateway.database import Database
from tradewind.gateway.errors import RETRY_BLOCK_SECONDS, ApiError, ErrorCode
from tradewind.trading.decision import DecisionRequest
from tradewind.trading.routing import Routing, replay_block

_REMIND_SECONDS = 1.0
_FUTURE = timedelta(days=1)
_FIRST = datetime(1900, 1, 1, tzinfo=UTC)
"""Before the first year with its offset, the database's times are none that Python reads: the row would stand, and never be read."""


def decision_time(routing: Routing, request: DecisionRequest, now: datetime) -> datetime:
    """`as_of` on a replay endpoint, the gateway's clock on a live one.

    Raises:
        ApiError: 422, `as_of` is missing on a replay endpoint or given on a live one, in the future, or before 1900.
    """
    if routing.clock == "replay" and request.as_of is None:
        raise ApiError(
            ErrorCode.AS_OF_REQUIRED,
            "as_of: this endpoint runs on the data's clock (clock: replay)",
            "add as_of, the time of the market data, e.g. 2026-01-01T00:00:00Z",
            field="as_of",
        )
    if routing.clock == "live" and request.as_of is not None:
        raise ApiError(
            ErrorCode.AS_OF_REFUSED,
            "as_of: this endpoint runs on the gateway's clock (clock: live)",
            "remove as_of, or ask an Endpoint with clock: replay",
            field="as_of",
        )
    if request.as_of is not None and request.as_of > now + _FUTURE:
        raise ApiError(
            ErrorCode.AS_OF_IN_FUTURE,
            f"as_of: {request.as_of.isoformat()} lies in the future",
            "give the time of the market data; the replay's clock never goes back",
            field="as_of",
        )
    if request.as_of is not None and request.as_of < _FIRST:
        raise ApiError(
            ErrorCode.INVALID_REQUEST,
            f"as_of: {request.as_of.isoformat()} is before any market data",
            f"give the time of the market data, from {_FIRST.date()} on",
            field="as_of",
        )
    return request.as_of or now


class BlockGate:
    """Holds requests at a block whose weight is not published, and tells the operator that the clock is there."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reminded = float("-inf")

    async def refuse(self, block: int, as_of: datetime) -> ApiError:
        """Advances the clock and returns the 425. A lost NOTIFY is repeated every second while somebody waits.

        Raises:
            DatabaseDownError: the clock could not be written.
        """
        now = time.monotonic()
        remind = now - self._reminded >= _REMIND_SECONDS
        if remind:
            self._reminded = now
        await self._database.advance_clock(as_of, remind=remind)
        return ApiError(
            ErrorCode.BLOCK_NOT_PUBLISHED,
            f"as_of lies in block {block} of the replay, whose weight is not published yet",
            "send the same request again after retry_after_seconds",
            field="as_of",
            retry_after=RETRY_BLOCK_SECONDS,
        )

    async def entered(self, routing: Routing, before: datetime | None, as_of: datetime) -> None:
        """After an answered request: tells the operator if the clock came into a new block with it.

        Raises:
            DatabaseDownError: it could not be told; its poll will find out.
        """
        experiment = routing.experiment
        if experiment is None or (before is not None and as_of <= before):
            return
        old = -1 if before is None else max(-1, replay_block(experiment, before)[0])
        if replay_block(experiment, as_of)[0] > old:
            await self._database.notify()
