"""What a file holds: named by its user, or told by what only one kind of file has; never guessed.

Belongs here: the names of formats and their signs. Does not belong here: reading them.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

from tradewind.trading.imports.freqtrade import NEEDED


class Format(StrEnum):
    """What can be imported."""

    SEED_JSON = "seed-json"
    """Labelled decisions in the seed's shape: a JSON array."""
    SEED_JSONL = "seed-jsonl"
    """The same, one object a line."""
    SEED_TRAINING_DATA = "seed-training-data"
    """The seed's table training_data: CSV, JSON, JSON Lines, or a dump of PostgreSQL."""
    SEED_TRADES = "seed-trades"
    """The seed's table trades: outcomes of decisions."""
    FREQTRADE_SQLITE = "freqtrade-sqlite"
    """freqtrade's database."""
    FREQTRADE_JSON = "freqtrade-json"
    """freqtrade's trades as JSON, or the result of a backtest."""
    TABLE = "table"
    """Any CSV or xlsx, by a mapping file."""


def format_of_json(first: Any) -> Format | None:
    """By the first value of a JSON text: the object of the first line, the first of the array, or the whole document."""
    if not isinstance(first, Mapping):
        return None
    names = first.keys()
    if {"input", "output"} <= names:
        return Format.SEED_JSON
    if {"strategy", "strategy_comparison"} <= names or {"trades", "trades_count"} <= names or names >= NEEDED:
        return Format.FREQTRADE_JSON
    return format_of_columns(names)


def format_of_columns(names: Collection[str]) -> Format | None:
    """By the headings of a table, in lower case."""
    if {"decision_id", "data"} <= set(names):
        return Format.SEED_TRAINING_DATA
    return Format.SEED_TRADES if {"decision_id", "pnl", "status"} <= set(names) else None


def format_of_tables(names: Collection[str]) -> Format | None:
    """By the tables of a dump."""
    found = [kind for kind, table in TABLES.items() if table in names]
    return found[0] if len(found) == 1 else None


TABLES: Mapping[Format, str] = {Format.SEED_TRAINING_DATA: "training_data", Format.SEED_TRADES: "trades"}
"""Formats that a dump can hold, and their table."""
