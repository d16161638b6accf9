"""A freqtrade dry run in small: trades with freqtrade's own fields, and what a strategy sends of them.

`Trade` has the names of freqtrade's `Trade.to_json`. Prices are a random walk; everything follows from the seed.
"""

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

FEE = 0.0004


@dataclass
class Trade:
    """One trade; `cause` is the decision whose answer opened it."""

    trade_id: int
    pair: str
    is_short: bool
    leverage: float
    stake_amount: float
    open_rate: float
    amount: float
    open_date: datetime
    cause: str
    fee_open_cost: float = 0.0
    funding_fees: float = 0.0
    realized_profit: float = 0.0
    close_date: datetime | None = None
    close_profit_abs: float | None = None
    exit_reason: str | None = None
    liquidated: bool = False
    orders: list[dict[str, Any]] = field(default_factory=list)

    @property
    def side(self) -> int:
        return -1 if self.is_short else 1

    def fill(self, at: datetime, rate: float, amount: float, ft_order_side: str) -> dict[str, Any]:
        order = {"order_filled_date": at, "safe_price": rate, "filled": amount, "ft_order_side": ft_order_side}
        self.orders.append(order)
        return order

    def exit(self, at: datetime, rate: float, amount: float) -> float:
        """Profit of an exit, net of its fees and its share of the entry's."""
        self.fill(at, rate, amount, "exit")
        share = amount / self.amount
        fees = rate * amount * FEE + self.fee_open_cost * share
        self.fee_open_cost *= 1 - share
        self.amount -= amount
        return (rate - self.open_rate) * amount * self.side - fees

    def to_json(self) -> dict[str, Any]:
        """As a strategy finds it in `Trade.get_open_trades()`."""
        return {
            "trade_id": self.trade_id, "pair": self.pair, "is_open": self.close_date is None, "is_short": self.is_short,
            "leverage": self.leverage, "stake_amount": self.stake_amount, "open_rate": self.open_rate, "amount": self.amount,
            "open_date": f"{self.open_date:%Y-%m-%d %H:%M:%S}", "funding_fees": self.funding_fees, "exit_reason": None,
        }  # fmt: skip


class Market:
    """Prices of the pairs."""

    def __init__(self, pairs: list[str], seed: int) -> None:
        self.random = random.Random(seed)
        self.prices = dict.fromkeys(pairs, 1000.0)

    def move(self) -> None:
        for pair in self.prices:
            self.prices[pair] *= 1 + self.random.gauss(0, 0.01)


@dataclass
class Report:
    """A call to make: path, body, and whether it goes as the form of freqtrade's webhook."""

    body: dict[str, Any]
    form: bool
    due: datetime


class Bot:
    """Trades on answers and writes the reports: at once, later, or twice, as strategies and webhooks do."""

    def __init__(self, pairs: list[str], seed: int) -> None:
        self.random = random.Random(seed)
        self.market = Market(pairs, seed + 1)
        self.open: dict[str, Trade] = {}
        self.trades: list[Trade] = []
        self.outbox: list[Report] = []
        self.not_filled: list[str] = []
        self.told: dict[str, datetime] = {}  # when the last report of a trade goes out

    def account(self) -> dict[str, Any]:
        """What the strategy states; the trades of all pairs, also those that the gateway knows nothing of yet."""
        return {"balance": 1000, "permission_level": "L2", "positions": [t.to_json() for t in self.open.values()]}

    def report(self, at: datetime, body: dict[str, Any], *, prompt: bool = False) -> None:
        due = at if prompt or self.random.random() < 0.7 else at + timedelta(hours=self.random.choice([3, 6, 10]))
        trade = str(body.get("position_id", body["event_id"]))
        due = self.told[trade] = max(due, self.told.get(trade, due))  # of one trade in their order
        form = self.random.random() < 0.5
        # An event has an id of its own: a strategy takes that of the order.
        self.outbox.append(Report({"at": at.isoformat(), **body}, form, due))
        if self.random.random() < 0.1:  # the answer was lost: again, later
            self.outbox.append(Report({"at": at.isoformat(), **body}, form, due + timedelta(hours=5)))

    def due(self, at: datetime) -> list[Report]:
        """Reports whose time has come; of one trade always in their order."""
        ready = [r for r in self.outbox if r.due <= at]
        self.outbox = [r for r in self.outbox if r.due > at]
        return sorted(ready, key=lambda r: (r.body["at"], r.body["event"] != "open"))

    def obey(self, pair: str, answer: dict[str, Any], at: datetime) -> None:
        """Does what was answered, within the next minutes."""
        trade, action = self.open.get(pair), answer["action"]
        at += timedelta(minutes=2)
        if trade is not None:
            wants_short = action == "open_short"
            if action == "close":
                self.close(trade, at, "exit_signal")
            elif action.startswith("open") and wants_short != trade.is_short:
                self.close(trade, at, "reversal")
                self.enter(pair, answer, at + timedelta(seconds=1))
            elif action.startswith("open"):
                self.adjust(trade, answer, at)
        elif action.startswith("open"):
            self.enter(pair, answer, at)

    def enter(self, pair: str, answer: dict[str, Any], at: datetime) -> None:
        decision = answer["decision_id"]
        if self.random.random() < 0.05:  # unfilledtimeout
            self.not_filled.append(decision)
            self.report(at, {"decision_id": decision, "event": "not_filled", "event_id": f"{decision}-timeout"})
            return
        rate, leverage = self.market.prices[pair], float(answer["leverage"])
        amount = answer["size_usd"] * leverage / rate
        trade = Trade(
            len(self.trades) + 1,
            pair,
            answer["action"] == "open_short",
            leverage,
            answer["size_usd"],
            rate,
            amount,
            at,
            decision,
        )
        self.trades.append(trade)
        self.open[pair] = trade
        trade.fee_open_cost = rate * amount * FEE
        parts = [1.0] if self.random.random() < 0.7 else [0.4, 0.6]
        for n, part in enumerate(parts):
            trade.fill(at, rate, amount * part, "entry")
            event = {
                "decision_id": decision, "position_id": trade.trade_id, "event": "add" if n else "open", "price": rate,
                "quantity": amount * part, "fees": f"{rate * amount * part * FEE} USDT", "event_id": f"{trade.trade_id}-entry-{n}",
            }  # fmt: skip
            self.report(at + timedelta(seconds=n), event, prompt=len(parts) > 1)

    def adjust(self, trade: Trade, answer: dict[str, Any], at: datetime) -> None:
        """adjust_trade_position: more of the same."""
        if len(trade.orders) > 6:
            return
        rate = self.market.prices[trade.pair]
        amount = answer["size_usd"] * trade.leverage / rate
        trade.open_rate = (trade.open_rate * trade.amount + rate * amount) / (trade.amount + amount)
        trade.amount += amount
        trade.fee_open_cost += rate * amount * FEE
        trade.fill(at, rate, amount, "entry")
        n = len(trade.orders)
        event = {
            "position_id": trade.trade_id,
            "event": "add",
            "price": rate,
            "quantity": amount,
            "event_id": f"{trade.trade_id}-{n}",
        }
        self.report(at, event, prompt=True)

    def partial_exit(self, trade: Trade, at: datetime) -> None:
        amount = trade.amount * 0.5
        rate = self.market.prices[trade.pair]
        profit = trade.exit(at, rate, amount)
        trade.realized_profit += profit
        event = {
            "position_id": trade.trade_id, "event": "reduce", "price": rate, "quantity": amount, "pnl": profit,
            "event_id": f"{trade.trade_id}-{len(trade.orders)}",
        }  # fmt: skip
        self.report(at, event, prompt=True)

    def close(self, trade: Trade, at: datetime, reason: str) -> None:
        """Flat; close_profit_abs is the whole trade's, funding included, as freqtrade counts."""
        profit = trade.exit(at, self.market.prices[trade.pair], trade.amount)
        trade.close_date, trade.exit_reason = at, reason
        trade.close_profit_abs = trade.realized_profit + profit + trade.funding_fees
        del self.open[trade.pair]
        event = {
            "position_id": trade.trade_id, "event": "close", "total_pnl": trade.close_profit_abs, "exit_reason": reason,
            "event_id": f"{trade.trade_id}-close",
        }  # fmt: skip
        self.report(at, event)

    def live(self, at: datetime) -> None:
        """What happens between questions: stops, partial exits, funding, and now and then a liquidation that nobody reports."""
        for trade in list(self.open.values()):
            chance = self.random.random()
            if chance < 0.06:
                del self.open[trade.pair]
                trade.liquidated = True
            elif chance < 0.16:
                self.close(trade, at, self.random.choice(["stop_loss", "roi", "trailing_stop_loss"]))
            elif chance < 0.26 and trade.realized_profit == 0.0:
                self.partial_exit(trade, at)
            elif chance < 0.43:
                fee = self.random.uniform(-0.02, 0.02)
                trade.funding_fees += fee
                event = {
                    "position_id": trade.trade_id,
                    "event": "cash_flow",
                    "amount_usd": fee,
                    "event_id": f"{trade.trade_id}-f-{at:%d%H}",
                }
                self.report(at, event, prompt=True)
