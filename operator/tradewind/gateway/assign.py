"""Which arm a decision goes to, who is its shadow, and what an arm may see. Pure: the routing document, the request and the time decide.

Belongs here: the draw, limits, flips, and the view of one arm. Does not belong here: the commit (database.py), inheriting an
open position's arm (the same SQL statement that commits), whose a stated position is (trading/account.py), asking (arms.py).
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from tradewind.gateway.database import Context, Stored
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.trading.account import Account, account_shown, of_scope, visible
from tradewind.trading.assignment import Arm, draw_arm, has_shadow
from tradewind.trading.decision import Action, DecisionInput, DecisionRequest, Limits, Scope
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
class ShadowDraw:
    """The arm that a draw passed over. `asked`: whether the decision is one of the share that has a shadow."""

    arm: Arm
    version: str
    sha256: str | None
    asked: bool


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


def shadow_of(routing: Routing, stored: Stored) -> ShadowDraw | None:
    """The shadow of a draw that was committed; None where the mode asks nobody, or another experiment runs by now."""
    experiment = routing.experiment
    if experiment is None or stored.arm is None or stored.experiment_uid != experiment.uid:
        return None
    arm = Arm(stored.arm).other
    if experiment.shadow == "none" or (experiment.shadow == "candidate" and arm is Arm.BASELINE):
        return None
    version = experiment.candidate if arm is Arm.CANDIDATE else experiment.baseline
    asked = has_shadow(experiment.uid, stored.decision_id, float(experiment.shadow_share))
    return ShadowDraw(arm, version, routing.arms[version].sha256, asked)


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


def flips(
    action: Action, question_account: Account, scope: Scope, *, named: bool, continued_action: str | None
) -> bool:
    """Whether an answer inside a position ends it and opens another.

    An opening against the position's direction does. One in its direction is more of the same where the request says that
    the position is open (by its id, or among its positions); where it says nothing, the old one counts as gone.
    """
    if not action.opens or continued_action is None:
        return False
    if continued_action != action:
        return True
    stated = question_account.positions is not None and not question_account.is_flat(scope.symbol, scope.book)
    return not named and not stated


def view(
    request: DecisionRequest,
    account: Account,
    context: Context | None,
    version: str,
    *,
    flipped: bool,
    external_fields: Collection[str] | None,
) -> DecisionInput:
    """What one arm is shown.

    Args:
        request: as asked. Its `recent_history` is not passed on: it may tell of the other arm's decisions.
        account: its stated positions.
        context: of the version; None (the database is down) shows all positions and no history.
        version: the drawn one or the shadow: a fallback stands in for it and sees the same.
        flipped: the position that was continued has ended: whoever is drawn is asked as if it were gone.
        external_fields: fields of account_state that may leave for an external API; None: all.
    """
    state: dict[str, JsonValue] = dict(request.account_state)
    if context is not None:
        scope = request.scope
        shown = visible(account, version, context.owners, context.holders, context.ended)
        if flipped:
            ended = of_scope(account, context.continued_position, scope.symbol, scope.book)
            shown = [place for place in shown if place not in ended]
        state = account_shown(state, shown)
    if external_fields is not None:
        state = {name: value for name, value in state.items() if name in external_fields}
    history = () if context is None else context.history
    return DecisionInput(market_data=request.market_data, account_state=state, recent_history=history)


def _champion(routing: Routing) -> Draw:
    return Draw(routing.champion, routing.arms[routing.champion].sha256)


def _drawn(routing: Routing, experiment: ExperimentRoute, decision_id: str, published: BlockWeight) -> Draw:
    weight = float(published.candidate_weight)
    arm = draw_arm(experiment.uid, decision_id, weight)
    version = experiment.candidate if arm is Arm.CANDIDATE else experiment.baseline
    return Draw(version, routing.arms[version].sha256, experiment.uid, arm, weight, published.block, published.epoch)
