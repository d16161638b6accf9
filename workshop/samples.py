"""Random requests and decisions of the trading domain, for tokenizers and models to read and write. Nobody earns by them."""

import random
from typing import Final

from tradewind.trading.decision import Action, DecisionInput, TradeDecision
from tradewind.trading.prompt import (
    CONFIDENCE_GRID,
    LEVERAGE_GRID,
    PERCENT_GRID,
    SIZE_GRID_USD,
    render_completion,
    render_prompt,
)

SYMBOLS: Final = ("BTC", "ETH", "EURUSD", "600519.SH")


def random_input(draw: random.Random) -> DecisionInput:
    """What an arm might be shown."""
    return DecisionInput(
        market_data={
            "symbol": draw.choice(SYMBOLS),
            "price": round(draw.uniform(0.5, 70000), 4),
            "rsi": draw.randint(5, 95),
        },
        account_state={
            "balance": draw.randint(10, 100000),
            "permission_level": draw.choice(("L1", "L2")),
            "positions": [],
        },
        recent_history=tuple(
            {"action": draw.choice(list(Action)).value, "pnl": round(draw.uniform(-9, 9), 2)} for _ in range(2)
        ),
    )


def random_decision(draw: random.Random, symbol: str) -> TradeDecision:
    """Any decision on the grids."""
    return TradeDecision(
        action=draw.choice(list(Action)),
        symbol=symbol,
        size_usd=draw.choice(SIZE_GRID_USD),
        leverage=draw.choice(LEVERAGE_GRID),
        stop_loss_pct=draw.choice(PERCENT_GRID),
        take_profit_pct=draw.choice(PERCENT_GRID),
        confidence=draw.choice(CONFIDENCE_GRID),
    )


def random_texts(count: int, *, seed: int = 1) -> list[str]:
    """So many prompts, each followed by a completion."""
    draw = random.Random(seed)
    texts = []
    for _ in range(count):
        symbol = draw.choice(SYMBOLS)
        texts += [render_prompt(random_input(draw), symbol), render_completion(random_decision(draw, symbol))]
    return texts
