"""What the tests of `tradewind import` share: points of the seed's shape, freqtrade's tables, and the command with a database."""

import json
import random
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from tradewind.main import cli

START = datetime(2026, 1, 5, tzinfo=UTC)
WHERE = ("--endpoint", "trading/trader")


def point(number: int, **changes: Any) -> dict[str, Any]:
    """A labelled decision as the seed's collector writes it; `changes` are parts or, with a dot, fields of a part."""
    rng = random.Random(number)
    at, pnl = START + timedelta(hours=number), round(rng.uniform(-4, 6), 4)
    made: dict[str, Any] = {
        "conversation_id": f"c{number:05}",
        "timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "input": {
            "market_data": {
                "BTC": {"price": round(60_000 * 1.01 ** (number % 300), 2), "rsi": 20.5 + number // 300, "trend": "bullish"},
                "market_regime": "normal",
            },
            "account_state": {"balance": 600.0, "positions": [], "permission_level": "L2"},
            "recent_history": [],
        },
        "output": {
            "action": "open_long" if number % 3 else "open_short", "symbol": "BTC", "size_usd": 60.0, "leverage": 2, "stop_loss_pct": 0.02,
            "take_profit_pct": 0.05, "reasoning": "趋势向上", "confidence": 0.75,
        },
        "result": {"profitable": pnl > 0, "pnl": pnl, "duration_hours": 6, "exit_reason": "take_profit"},
        "label": "good_decision" if pnl > 0 else "bad_decision",
    }  # fmt: skip
    for name, value in changes.items():
        part, _, field = name.partition("__")
        if field:
            made[part] = {**made[part], field: value}
        else:
            made[part] = value
    return made


def lines(*points: dict[str, Any]) -> str:
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in points)


class Import:
    """The command, run on files of one folder against one database."""

    def __init__(self, dsn: str, folder: Path, capsys: Any) -> None:
        self.dsn, self.folder, self.capsys = dsn, folder, capsys

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def __call__(self, *arguments: object) -> tuple[int, dict[str, Any]]:
        """Exit code and the JSON document; of a refused argument, its message under `said`."""
        code = cli(["import", *map(str, arguments), *WHERE, "-o", "json"])
        out, err = self.capsys.readouterr()
        return code, {"said": err, **(json.loads(out) if out else {})}

    def one(self, *arguments: object) -> tuple[int, dict[str, Any]]:
        """Exit code and the one file's result."""
        code, document = self(*arguments)
        assert "files" in document, document["said"]
        (told,) = document["files"]
        return code, told

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as connection:
            return connection.execute(sql).fetchall()

    def content(self) -> list[Any]:
        """All that was imported, but not by which file."""
        decisions = "SELECT source, source_id, content_hash, decided_at, scope_symbol, input, answer, model FROM tradewind.imported_decisions"
        outcomes = "SELECT source, source_id, content_hash, closed_at, pnl_usd, exit_reason, given_label FROM tradewind.imported_outcomes"
        return [self.rows(f"{sql} ORDER BY source, source_id") for sql in (decisions, outcomes)]


FREQTRADE_TRADES = """
CREATE TABLE trades (
    id INTEGER NOT NULL, exchange VARCHAR(25) NOT NULL, pair VARCHAR(25) NOT NULL, base_currency VARCHAR(25),
    stake_currency VARCHAR(25), is_open BOOLEAN NOT NULL, fee_open FLOAT NOT NULL, fee_open_cost FLOAT,
    fee_open_currency VARCHAR(25), fee_close FLOAT, fee_close_cost FLOAT, fee_close_currency VARCHAR(25), open_rate FLOAT NOT NULL,
    open_rate_requested FLOAT, open_trade_value FLOAT NOT NULL, close_rate FLOAT, close_rate_requested FLOAT,
    realized_profit FLOAT, close_profit FLOAT, close_profit_abs FLOAT, stake_amount FLOAT NOT NULL, max_stake_amount FLOAT,
    amount FLOAT NOT NULL, amount_requested FLOAT, open_date DATETIME NOT NULL, close_date DATETIME, stop_loss FLOAT,
    stop_loss_pct FLOAT, initial_stop_loss FLOAT, initial_stop_loss_pct FLOAT, is_stop_loss_trailing BOOLEAN NOT NULL,
    max_rate FLOAT, min_rate FLOAT, exit_reason VARCHAR(255), exit_order_status VARCHAR(100), strategy VARCHAR(100),
    enter_tag VARCHAR(255), timeframe INTEGER, trading_mode VARCHAR(7), amount_precision FLOAT, price_precision FLOAT,
    precision_mode INTEGER, contract_size FLOAT, leverage FLOAT, is_short BOOLEAN NOT NULL, liquidation_price FLOAT,
    interest_rate FLOAT NOT NULL, funding_fees FLOAT, funding_fee_running FLOAT, record_version INTEGER NOT NULL,
    PRIMARY KEY (id)
);
"""
"""As freqtrade 2024.x creates it (persistence/trade_model.py); times are UTC without an offset."""


def freqtrade_row(number: int, **changes: Any) -> dict[str, Any]:
    at = START + timedelta(hours=number)
    return {
        "id": number, "exchange": "binance", "pair": "BTC/USDT:USDT", "base_currency": "BTC", "stake_currency": "USDT",
        "is_open": 0, "fee_open": 0.0004, "open_rate": 60_000.0 * 1.01**number, "open_rate_requested": 60_000.0 * 1.01**number,
        "open_trade_value": 120.0, "close_rate": 61_000.0, "realized_profit": 1.5, "close_profit": 0.025,
        "close_profit_abs": 1.5 if number % 2 else -0.9, "stake_amount": 60.0, "max_stake_amount": 60.0, "amount": 0.002,
        "open_date": at.strftime("%Y-%m-%d %H:%M:%S.000000"),
        "close_date": (at + timedelta(hours=2)).strftime("%Y-%m-%d %H:%M:%S.000000"), "stop_loss_pct": -0.03,
        "initial_stop_loss_pct": -0.05, "is_stop_loss_trailing": 0, "exit_reason": "roi", "strategy": "Sample",
        "enter_tag": "rsi", "timeframe": 5, "trading_mode": "FUTURES", "leverage": 2.0, "is_short": number % 3 == 0,
        "interest_rate": 0.0, "record_version": 2,
    } | changes  # fmt: skip


def freqtrade_database(path: Path, *rows: dict[str, Any]) -> Path:
    connection = sqlite3.connect(path)
    connection.executescript(FREQTRADE_TRADES)
    for row in rows:
        connection.execute(
            f"INSERT INTO trades ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
        )
    connection.commit()
    connection.close()
    return path


def freqtrade_json(row: dict[str, Any]) -> dict[str, Any]:
    """The same trade as `to_json` has it: here the stop-loss is in percent, and its ratio beside it."""
    out = {
        "trade_id": row["id"], "pair": row["pair"], "base_currency": "BTC", "quote_currency": row["stake_currency"],
        "is_open": bool(row["is_open"]), "exchange": "binance", "amount": row["amount"], "stake_amount": row["stake_amount"],
        "max_stake_amount": row["max_stake_amount"], "strategy": row["strategy"], "enter_tag": row["enter_tag"], "timeframe": 5,
        "open_date": row["open_date"][:19], "open_rate": row["open_rate"], "open_rate_requested": row["open_rate_requested"],
        "close_date": row["close_date"] and row["close_date"][:19], "close_profit_abs": row["close_profit_abs"],
        "profit_abs": row["close_profit_abs"], "profit_pct": 2.5, "exit_reason": row["exit_reason"],
        "initial_stop_loss_ratio": row["initial_stop_loss_pct"], "initial_stop_loss_pct": row["initial_stop_loss_pct"] * 100,
        "leverage": row["leverage"], "is_short": bool(row["is_short"]),
    }  # fmt: skip
    return out
