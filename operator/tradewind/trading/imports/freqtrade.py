"""Trades of freqtrade: rows of its SQLite database, its `show-trades` and REST JSON, and the result of a backtest.

| here | in the database | in JSON |
| --- | --- | --- |
| margin | `max_stake_amount`, else `stake_amount` | the same |
| net profit | `close_profit_abs` | `profit_abs` |
| stop, as a share of the price | `initial_stop_loss_pct` (a ratio) / leverage | `initial_stop_loss_ratio` / leverage |

A stop-loss of freqtrade is a share of the margin, ours of the price: hence the division. In JSON `initial_stop_loss_pct` is in
percent, in the database it is a ratio, so JSON is read by `_ratio`. Times are UTC.

Belongs here: where freqtrade keeps what. Does not belong here: opening the database (cli/import_files.py).
"""

from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Any, Final

from tradewind.trading.imports.drafts import Draft
from tradewind.trading.imports.fields import is_empty, number, shown
from tradewind.trading.imports.options import Unit
from tradewind.trading.imports.problems import FileError, Reason, RowError

SOURCE: Final = "freqtrade"
NEEDED: Final = frozenset({"pair", "is_open", "open_rate", "stake_amount", "open_date", "close_date"})
"""What tells a trade of freqtrade from another row."""
DOLLARS: Final = frozenset({"USD", "USDT", "USDC", "BUSD", "FDUSD", "TUSD", "USDP", "DAI", "PYUSD", "USDE"})
"""Stake currencies that are taken as US dollars."""


def trade_draft(row: Mapping[str, Any], currency: str | None = None) -> Draft | None:
    """A trade; None: it is still open.

    Args:
        row: by the names of the database or of JSON.
        currency: of the stake where the row does not say it.

    Raises:
        RowError: it lacks what every trade has, or its money is no dollars.
    """
    missing = NEEDED - {"close_date"} - row.keys()
    if missing:
        raise RowError(min(missing), Reason.MISSING, "missing; is this a trade of freqtrade?")
    if row["is_open"]:
        return None
    _demand_dollars(row, currency)
    in_json = "profit_abs" in row
    leverage = 1.0 if is_empty(row.get("leverage")) else number("leverage", row["leverage"], low=1, high=1000)
    stop_name = "initial_stop_loss_ratio" if in_json else "initial_stop_loss_pct"
    size_name = "stake_amount" if is_empty(row.get("max_stake_amount")) else "max_stake_amount"
    profit_name = "profit_abs" if in_json else "close_profit_abs"
    if is_empty(row.get(profit_name)):
        raise RowError(
            profit_name, Reason.MISSING, "empty or missing in a trade that is closed; was the export cut short?"
        )
    id_name = "trade_id" if "trade_id" in row else "id"
    tags = [str(row[name]) for name in ("strategy", "enter_tag") if not is_empty(row.get(name))]
    values = {
        "id": row.get(id_name),
        "decided_at": row.get("open_date"),
        "closed_at": row.get("close_date"),
        "symbol": row["pair"],
        "action": "open_short" if row.get("is_short") else "open_long",
        "size_usd": row[size_name],
        "leverage": leverage,
        "pnl_usd": row.get(profit_name),
        "exit_reason": row.get("exit_reason") or row.get("sell_reason"),
        "model": "/".join([SOURCE, *tags]),
    }
    if not is_empty(row.get(stop_name)):
        values["stop_loss_pct"] = abs(number(stop_name, row[stop_name], low=-1000, high=1000)) / leverage
    places = {
        "id": id_name, "decided_at": "open_date", "closed_at": "close_date", "symbol": "pair", "action": "is_short",
        "size_usd": size_name, "pnl_usd": profit_name, "stop_loss_pct": stop_name,
    }  # fmt: skip
    units = {"stop_loss_pct": Unit.FRACTION, "take_profit_pct": Unit.FRACTION, "confidence": Unit.FRACTION}
    asked = row.get("open_rate_requested")
    price = row["open_rate"] if is_empty(asked) else asked
    return Draft({k: v for k, v in values.items() if v is not None}, places, zone=UTC, units=units, price=price)


def json_trades(document: Any) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    """The trades of a JSON export, with the stake currency where the export says it once for all.

    Raises:
        FileError: it is no export of freqtrade.
    """
    match document:
        case {"strategy": dict() as strategies} if all(
            isinstance(s, dict) and "trades" in s for s in strategies.values()
        ):
            for name, result in strategies.items():
                for row in result["trades"]:
                    yield {"strategy": name, **row} if isinstance(row, dict) else row, result.get("stake_currency")
        case {"trades": list() as trades}:
            for row in trades:
                yield row, None
        case list() as trades:
            for row in trades:
                yield row, None
        case _:
            raise FileError(
                "is no export of freqtrade: neither the result of a backtest, nor a list of trades as `freqtrade show-trades "
                "--print-json` or the REST API give it"
            )


def _demand_dollars(row: Mapping[str, Any], currency: str | None) -> None:
    names = ("stake_currency", "quote_currency")
    told = next((str(row[name]) for name in names if not is_empty(row.get(name))), currency)
    if told is None and "/" in str(row["pair"]):
        told = str(row["pair"]).split("/")[1].split(":")[0]
    if told is None or told.upper() not in DOLLARS:
        raise RowError(
            "stake_currency", Reason.CURRENCY, f"{shown(told)} is no US dollar, and sizes and profits are in USD here; convert the trades and "
            "import them with --format table"
        )  # fmt: skip
