"""What the row of a decision must be, from what days.py did: statuses, first outcomes, papers and their times, without SQL."""

from datetime import datetime
from typing import Any

from days import ACTIONS, COST, GAP, HOLDS, HORIZON, SLACK, STOP, TARGET, TICK, VERSIONS, WAITED, Days, Known


def row(days: Days, known: Known, stored: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the experiment must have of a decision. `stored`: when the questions were asked and answered, by id."""
    letter = known.plan[known.arm]
    other = next(arm for arm in VERSIONS if arm != known.arm)
    beside = other == "candidate" or days.scenario.shadow == "both"
    failures = {"e": "error", "j": "error", "t": "timeout"}
    status, pnl, notional = "open", None, known.fill or 120.0
    if letter not in ACTIONS:
        status, notional = "hold", None
    elif known.unopened is not None:
        status, notional = known.unopened, None
    elif known.first is not None:
        status, (pnl, notional) = "closed", known.first
    papers = {arm: paper(days, known, arm, stored) for arm in VERSIONS if arm == known.arm or beside}
    times = [found[1] for found in papers.values() if found is not None]
    return {
        "arm": known.arm,
        "candidate_weight": 0.5,
        "status": status,
        "notional_usd": notional,
        "pnl_usd": pnl,
        "corrected": known.corrected,
        "failed": failures.get(letter, ""),
        "shadow_failed": failures.get(known.plan[other], "") if beside else "",
        **{f"paper_{arm}": (papers.get(arm) or (None,))[0] for arm in VERSIONS},
        "paper_at": max(times, default=None),
    }


def paper(days: Days, known: Known, arm: str, stored: dict[str, dict[str, Any]]) -> tuple[float, datetime] | None:
    """What an arm's answer earned on paper, and from when that is known."""
    decided: datetime = stored[known.name]["decided_at"]
    letter = known.plan[arm]
    if letter == "t":
        return None
    if letter not in ACTIONS:  # a hold, its own or the fallback's
        return 0.0, decided
    of_prices = _of_prices(days, known, 1 if letter == "l" else -1, stored)
    if arm in known.told:
        _, ret = known.told[arm]
        at = stored[f"{known.name} {arm}"]["received_at"]
        if at + SLACK <= decided + HOLDS and (of_prices is None or at <= of_prices[1]):
            return ret, at + SLACK
    return of_prices


def _of_prices(days: Days, known: Known, side: int, stored: dict[str, dict[str, Any]]) -> tuple[float, datetime] | None:
    prices, entry, reached = days.price[known.symbol], days.price[known.symbol][known.tick], known.tick
    for tick in range(known.tick + 1, known.tick + 4):
        row = stored.get(f"h{days.seed}-{tick}-{known.symbol}")
        if row is None:
            continue
        if (tick - reached) * TICK > GAP:
            return None
        move = side * (prices[tick] / entry - 1)
        if move <= -STOP or move >= TARGET or (tick - known.tick) * TICK >= HORIZON:
            return move - COST, max(row["received_at"], row["answered_at"], row["decided_at"]) + WAITED
        reached = tick
    return None
