"""A month of a freqtrade dry run through the real gateway, on the data's clock: its decisions are evidence."""

import random
from datetime import datetime, timedelta
from typing import Any

import pytest
from freqtrade_bot import Bot, Report
from gateway_rig import OPEN, T0, ask

from tradewind.shell.database import Database
from tradewind.trading.assignment import draw_arm
from tradewind.trading.evidence.table import CLOSED

PAIRS = ["BTC/USDT:USDT", "ETH/USDT:USDT", "1000PEPE/USDT:USDT"]
STEP, DAYS = timedelta(hours=6), 30
ACTIONS = ["hold"] * 9 + ["open_long"] * 4 + ["open_short"] * 4 + ["close"] * 3


async def send(gateway, report: Report) -> None:
    """By `/v1/reports`: the form of freqtrade's webhook, or JSON from a strategy."""
    if report.form:
        texts = {name: str(value) for name, value in report.body.items()}
        response = await gateway.post("/v1/reports", data=texts)
    else:
        response = await gateway.post("/v1/reports", json=report.body)
    assert response.status_code == 200, (response.text, report)


async def a_month(rig, gateway, bot: Bot) -> dict[str, str]:
    """Decisions that were asked while the bot had no trade in the pair, or that reversed one: why each is expected."""
    say, expected = random.Random(3), {}
    for step in range(int(DAYS * 24 * 3600 / STEP.total_seconds())):
        at = T0 + step * STEP
        bot.market.move()
        bot.live(at - timedelta(hours=1))
        for report in bot.due(at - timedelta(minutes=30)):
            await send(gateway, report)
        for number, pair in enumerate(PAIRS):
            name = f"ft-{step}-{number}"
            for arm in ("api", "v1"):
                action = say.choice(ACTIONS)
                rig.arms[arm].answer = (
                    OPEN | {"action": action, "symbol": pair} | ({} if "open" in action else {"size_usd": 0})
                )
            body = ask(name, scope={"symbol": pair}, as_of=at.isoformat(), account_state=bot.account())
            flat = pair not in bot.open
            response = await gateway.post("/v1/decisions", json=body)
            assert response.status_code == 200, response.text
            answer = response.json()
            if step % 7 == 0:  # the answer was lost: the strategy asks again with a fresh candle
                body["market_data"] = {"close": bot.market.prices[pair]}
                again = (await gateway.post("/v1/decisions", json=body)).json()
                assert again == answer | {"_replayed": True}
            if flat or "_flipped" in answer:
                expected[name] = "flat" if flat else "flipped"
            bot.obey(pair, answer, at)
        for report in bot.due(at + timedelta(hours=2)):
            await send(gateway, report)
    end = T0 + timedelta(days=DAYS + 5)
    for report in bot.due(end):
        await send(gateway, report)
    return expected


async def test_a_month_of_freqtrade_is_evidence(rig, gateway) -> None:
    blocks = [{"block": b, "epoch": b + 1, "candidateWeight": "0.5"} for b in range(DAYS + 1)]
    experiment = rig.experiment(mode="Replay", t0=T0.isoformat(), blocks=blocks)
    limits = {"permissionLevels": {"L2": {"maxLeverage": 3, "maxSizeUSD": "100"}}, "symbols": None}
    rig.publish(clock="replay", experiment=experiment, limits=limits, maxHoldSeconds=5 * 86_400)
    await rig.seen()
    bot = Bot(PAIRS, seed=11)
    expected = await a_month(rig, gateway, bot)

    async with Database(rig.dsn, "tradewind") as database:
        stored = await database.evidence("ns", "trader", "exp-1", T0)
    table, requests = stored.table, stored.requests
    rows = {str(name): index for index, name in enumerate(table.decision_id)}
    found = [name for name in expected if name in rows]
    assert len(found) >= 0.99 * len(expected), sorted(set(expected) - set(rows))
    assert len(expected) > 180
    assert sum(reason == "flipped" for reason in expected.values()) > 10
    assert {name: bool(table.candidate[rows[name]]) for name in found} == {
        name: draw_arm("exp-1", name, 0.5) == "candidate" for name in found
    }
    assert len(requests.latency_ms) == len(rows)
    # Each trade's profit is that of the decision that caused it, and of no other.
    profits = {trade.cause: trade.close_profit_abs for trade in bot.trades if trade.close_date is not None}
    judged = {name: float(table.pnl[index]) for name, index in rows.items() if table.status[index] == CLOSED}
    assert judged == pytest.approx({name: profit for name, profit in profits.items() if name in rows})
    assert len(judged) >= 0.99 * len(profits)
    assert len(judged) > 60
    lost = [trade for trade in bot.trades if trade.liquidated]
    assert len(lost) > 3  # they held nothing up
    assert not any(trade.cause in judged for trade in lost)
    await the_book_is_the_bots(rig, bot)


async def the_book_is_the_bots(rig, bot: Bot) -> None:
    """Fills, exposure and who is open, as in the bot's own trades; and nothing was refused."""
    assert await rig.rows("SELECT * FROM tradewind.refused_reports") == []
    opened: dict[str, Any] = {
        row["position_id"]: row for row in await rig.rows("SELECT * FROM tradewind.executions WHERE status = 'opened'")
    }
    assert opened.keys() == {str(trade.trade_id) for trade in bot.trades}
    for trade in bot.trades:
        assert opened[str(trade.trade_id)]["decision_id"] == trade.cause
        outcome = await rig.rows("SELECT closed_at, voided FROM tradewind.outcomes WHERE decision_id = %s", trade.cause)
        assert [row["closed_at"] for row in outcome] == ([trade.close_date] if trade.close_date else [])
    assert datetime.fromisoformat((await rig.rows("SELECT min(at)::text AS at FROM tradewind.events"))[0]["at"]) >= T0
