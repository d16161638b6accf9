"""What rows must come of questions and reports: the rules in plain Python, with books of its own.

It knows nothing of the gateway but the hash of the draw: no fold, no SQL.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tradewind.trading.assignment import draw_arm

UID = "exp-1"
VERSIONS = {"baseline": "api", "candidate": "v1"}
EXPOSURE = 120.0  # size 60, leverage 2


@dataclass
class Known:
    """One decision as the model knows it."""

    name: str
    scope: str
    order: int
    arm: str
    parent: "Known | None" = None
    flipped: "Known | None" = None
    action: str | None = None
    holding: bool = False
    since: datetime | None = None  # answered
    released: str | None = None
    stated: datetime | None = None  # when it was said to be gone
    old: bool = False  # older than maxHold
    events: dict[str, dict[str, Any]] = field(default_factory=dict)  # those that stand
    first: tuple[float, float, datetime] | None = None  # pnl, notional, closed_at: what was first known
    corrections: int = 0
    body: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None

    @property
    def opening(self) -> dict[str, Any] | None:
        return next((e for e in self.events.values() if e["kind"] == "open"), None)

    @property
    def close(self) -> dict[str, Any] | None:
        return next((e for e in self.events.values() if e["kind"] == "close"), None)

    @property
    def not_opened(self) -> str | None:
        return next((e["kind"] for e in self.events.values() if e["kind"] in ("rejected", "not_filled")), None)

    @property
    def is_open(self) -> bool:
        return self.opening is not None and self.close is None

    @property
    def position(self) -> str | None:
        return None if self.opening is None else self.opening["position"]

    def books(self) -> tuple[float, float, float | None]:
        """Exposure now, largest exposure, what was earned in all (None: not flat, or not known)."""
        cost = peak = earned = cash = 0.0
        total: float | None = None
        for event in self.events.values():
            match event["kind"]:
                case "open" | "add":
                    cost += event["notional"]
                    peak = max(peak, cost)
                case "reduce":
                    cost -= event["notional"]
                    earned += event["pnl"]
                case "cash_flow":
                    cash += event["amount"]
                    total = None if total is None else total + event["amount"]
                case "close":
                    if event.get("total") is not None:
                        total = event["total"]
                    elif event.get("pnl") is not None:
                        total = earned + cash + event["pnl"]
                    cost = 0.0
        return cost, peak, total

    @property
    def filled(self) -> float:
        return sum(e["notional"] for e in self.events.values() if e["kind"] in ("open", "add"))


class Model:
    """All decisions, and who holds which scope."""

    def __init__(self) -> None:
        self.decisions: dict[str, Known] = {}

    def holders(self, scope: str) -> list[Known]:
        return [d for d in self.decisions.values() if d.scope == scope and d.holding]

    def release(self, known: Known, by: str) -> None:
        known.holding, known.released = False, by

    def ask(
        self,
        name: str,
        scope: str,
        *,
        stated: list[str] | None,
        at: datetime,
        named: str | None,
        script: dict[str, str],
        answered: datetime,
    ) -> Known:
        """A new question. `stated`: ids among its positions, None: it says nothing of them; `at`: of the statement."""
        if named is not None:
            parents = [d for d in self.decisions.values() if d.scope == scope and d.position == named and d.is_open]
        else:
            for held in self.holders(scope):
                begun = held.opening["at"] if held.opening else held.since
                if stated == [] and begun is not None and begun < at:
                    self.release(held, "stated")
                    held.stated = at
                elif held.old:
                    self.release(held, "max_hold")
            parents = self.holders(scope)
        parents.sort(key=lambda d: (d.position in (stated or []), d.order))
        parent = parents[-1] if parents else None
        arm = parent.arm if parent else str(draw_arm(UID, name, 0.5))
        known = Known(name, scope, len(self.decisions), arm, parent)
        self.decisions[name] = known
        self.answer(known, script, says=bool(stated) or named is not None, answered=answered)
        return known

    def answer(self, known: Known, script: dict[str, str], *, says: bool, answered: datetime) -> None:
        """The drawn arm's answer, and that of the one drawn anew where it flips. `says`: the position is said to be open."""
        action = script[VERSIONS[known.arm]]
        if known.parent is not None and action.startswith("open") and (known.parent.action != action or not says):
            known.flipped, known.parent = known.parent, None
            if known.flipped.holding:
                self.release(known.flipped, "flip")
            known.arm = str(draw_arm(UID, known.name, 0.5))
            action = script[VERSIONS[known.arm]]
        known.action = action
        known.holding = action.startswith("open") and known.parent is None
        known.since = answered

    def after(self, known: Known, *, was_open: bool, event_at: datetime) -> None:
        """What follows from a change of the events for the scope and for what was first known."""
        _, peak, total = known.books()
        if known.first is not None and total is None:
            known.corrections += 1  # void
        if known.not_opened is not None:
            self.release(known, "not_opened")
        elif known.close is not None:
            self.release(known, "closed" if total is not None else "unpriced")
            if total is not None:
                if known.first is None:
                    known.first = (total, peak, known.close["at"])
                else:
                    known.corrections += 1
        elif known.opening is None:
            self.release(known, "not_opened")
        elif not was_open:  # opened, or open again
            gone = known.released in ("flip", "max_hold")
            if known.released == "stated" and known.stated is not None:
                gone = known.opening["at"] <= known.stated
            if not gone:
                known.holding, known.released = True, None

    def row(self, known: Known) -> dict[str, Any]:
        """What the experiment must have of it."""
        _, peak, _ = known.books()
        if known.action in ("hold", "close"):
            status, notional = "hold", None
        elif known.first is not None:
            status, notional = "closed", known.first[1]
        elif known.not_opened is not None:
            status, notional = known.not_opened, None
        else:
            status, notional = "open", peak if known.opening else EXPOSURE
        pnl = known.first[0] if status == "closed" and known.first else None
        return {"arm": known.arm, "candidate_weight": 0.5, "status": status, "notional_usd": notional, "pnl_usd": pnl}
