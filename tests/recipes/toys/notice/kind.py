"""Notice among the kinds."""

from collections.abc import Iterator

from tradewind.api.notice import Notice
from tradewind.core.kind import Kind, childless
from tradewind.core.notice import decide
from tradewind.core.notice.observe import observe
from tradewind.core.world import Neighbour


def neighbours(_: Notice) -> Iterator[Neighbour]:
    """Nobody reads a notice."""
    yield from ()


NOTICE = Kind(Notice, observe, childless(decide), neighbours)
