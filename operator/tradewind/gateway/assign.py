"""Which arm a decision goes to, and what that arm may see. Pure: the routing document, the request and the time decide.

Belongs here: the draw, limits, and the view of one arm. Does not belong here: the commit (database.py), inheriting an open
position's arm (the same SQL statement that commits), and asking (arms.py).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.trading.assignment import Arm, draw_arm
from tradewind.trading.decision import DecisionInput, DecisionRequest, Limits
from tradewind.trading.routing import BlockWeight, ExperimentRoute, Routing, live_weight, replay_block


@dataclass(frozen=True, slots=True)
class Draw:
    """The arm of a fresh decision. Everything but `version` is None where no experiment runs: the champion answers."""

    version: str
    sha256: str | None
    experiment_uid: str | None = None
    arm: Arm | None = None
    weight: float | None = None
    block: int | None = None
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class BlockPending:
    """The request lies in a block of a replay whose weight is not published yet."""

    block: int


def draw(routing: Routing, decision_id: str, decided_at: datetime, now: datetime) -> Draw | BlockPending:
    """Draws the arm of one decision that continues no position.

    Args:
        routing: the document obeyed.
        decision_id: the key of the draw.
        decided_at: gateway's clock, or `as_of` on a replay endpoint.
        now: wall clock; past `expires_at` a live candidate is not drawn.
    """
    experiment = routing.experiment
    if experiment is None or decided_at < experiment.t0:
        return _champion(routing)
    block, published = replay_block(experiment, decided_at)
    if routing.clock == "live":
        weight = live_weight(routing, now)
        published = BlockWeight(block=block, epoch=experiment.epoch, candidate_weight=weight)
    if published is None:
        return BlockPending(block)
    return _drawn(routing, experiment, decision_id, published)


def limits_of(routing: Routing, request: DecisionRequest) -> Limits | None:
    """Limits of the account's permission level; None where the endpoint sets none.

    Raises:
        ApiError: 422, the symbol may not be asked about, or the level is not one of the endpoint's.
    """
    symbols, levels = routing.limits.symbols, routing.limits.permission_levels
    if symbols is not None and request.scope.symbol not in symbols:
        raise ApiError(
            ErrorCode.SYMBOL_NOT_ALLOWED,
            f"scope.symbol: {request.scope.symbol} is not among the endpoint's symbols",
            f"ask about one of {', '.join(symbols)}, or add it to spec.limits.symbols of the Endpoint",
            field="scope.symbol",
        )
    if not levels:
        return None
    level = levels.get(request.permission_level or "")
    if level is None:
        raise ApiError(
            ErrorCode.PERMISSION_LEVEL_UNKNOWN,
            f"account_state.permission_level: {request.permission_level!r} has no limits at this endpoint",
            f"give one of {', '.join(sorted(levels))}, or add it to spec.limits.permissionLevels of the Endpoint",
            field="account_state.permission_level",
        )
    return level.as_limits()


def position_ids(account_state: Mapping[str, JsonValue]) -> list[str]:
    """Ids of the positions that the trading system states, those that carry one."""
    positions = account_state.get("positions")
    found = (_position_id(position) for position in positions) if isinstance(positions, list) else ()
    return [position for position in found if position is not None]


def view(
    request: DecisionRequest,
    *,
    history: Sequence[Mapping[str, JsonValue]],
    own_positions: Collection[str] | None,
    external_fields: Collection[str] | None,
) -> DecisionInput:
    """What one arm is shown.

    Args:
        request: as asked. Its `recent_history` is not passed on: it may tell of the other arm's decisions.
        history: the version's own last decisions, oldest first.
        own_positions: ids of positions that the version's decisions opened; positions with another id are left out, those
            without an id stay. None (the database is down) leaves all.
        external_fields: fields of account_state that may leave for an external API; None: all.
    """
    account = dict(request.account_state)
    positions = account.get("positions")
    if isinstance(positions, list) and own_positions is not None:
        account["positions"] = [p for p in positions if (found := _position_id(p)) is None or found in own_positions]
    if external_fields is not None:
        account = {name: value for name, value in account.items() if name in external_fields}
    return DecisionInput(market_data=request.market_data, account_state=account, recent_history=tuple(history))


def _champion(routing: Routing) -> Draw:
    return Draw(routing.champion, routing.arms[routing.champion].sha256)


def _drawn(routing: Routing, experiment: ExperimentRoute, decision_id: str, published: BlockWeight) -> Draw:
    weight = float(published.candidate_weight)
    arm = draw_arm(experiment.uid, decision_id, weight)
    version = experiment.candidate if arm is Arm.CANDIDATE else experiment.baseline
    return Draw(version, routing.arms[version].sha256, experiment.uid, arm, weight, published.block, published.epoch)


def _position_id(position: JsonValue) -> str | None:
    if not isinstance(position, dict):
        return None
    found = position.get("position_id", position.get("id"))
    return found if isinstance(found, str) else None
