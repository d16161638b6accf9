"""What a notice's decision needs to know. The Endpoint may be that of a moment ago: it gets another turn when it comes."""

from tradewind.api.endpoint import Endpoint
from tradewind.api.notice import Notice
from tradewind.core.notice import Seen
from tradewind.core.world import World


async def observe(notice: Notice, world: World) -> Seen:
    """Facts about a notice."""
    return Seen(world.get(Endpoint, notice.namespace, notice.spec.endpoint))
