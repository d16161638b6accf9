"""What an Endpoint does while its decision fails: it takes the candidate's weight back and touches nothing else."""

from datetime import datetime
from decimal import Decimal

from tradewind.api.common import WeightStatus
from tradewind.api.endpoint import Endpoint
from tradewind.core.decision import Apply, Decision, Owner
from tradewind.core.endpoint.intact import judged, last_generation
from tradewind.core.endpoint.manifests import build_routing
from tradewind.core.endpoint.published import published
from tradewind.core.endpoint.seen import Seen
from tradewind.core.world import World
from tradewind.trading.routing import generation_after


async def fail_safe(endpoint: Endpoint, world: World, now: datetime) -> Decision:
    """The published document with weight 0 for a live candidate; champion, arms and limits stay as they are."""
    routing, document = await published(endpoint, world)
    routing = judged(endpoint, Seen(routing=routing, document=document), now).routing
    route = routing.experiment if routing is not None else None
    if routing is None:
        return Decision(endpoint.status)
    if route is None or route.mode != "Live" or route.candidate_weight == 0:
        mended = () if document.holds else (Apply(build_routing(Owner.of(endpoint), routing), sealed=True),)
        return Decision(endpoint.status, mended)
    safe = routing.model_copy(
        update={
            "generation": generation_after(max(routing.generation, last_generation(endpoint, now)), now),
            "published_at": now.replace(microsecond=0),
            "experiment": route.model_copy(update={"candidate_weight": Decimal(0)}),
        }
    )
    status = endpoint.status.model_copy(update={"weights": WeightStatus(desired="0")})
    return Decision(status, (Apply(build_routing(Owner.of(endpoint), safe), sealed=True),))
