"""The limits of an Endpoint as gateways keep them and as an evaluation asks within them: one translation for both."""

from decimal import Decimal

from tradewind.api.endpoint import EndpointLimits
from tradewind.trading.routing import LevelLimits


def level_limits(limits: EndpointLimits) -> dict[str, LevelLimits]:
    """By permission level, in the order of their names."""
    return {
        level: LevelLimits(
            max_leverage=each.max_leverage,
            max_size_usd=Decimal(each.max_size_usd),
            max_stop_loss_pct=Decimal(each.max_stop_loss_pct) if each.max_stop_loss_pct else None,
            allow_no_stop=each.allow_no_stop,
        )
        for level, each in sorted(limits.permission_levels.items())
    }
