"""A mapping file: which column of a table is which field, in which unit, in which time zone, and what its words mean here.

    source: desk
    timeZone: Asia/Shanghai
    fields:
      id: {column: order}
      decided_at: {column: opened, format: "%d.%m.%Y %H:%M"}
      action: {column: side, values: {buy: open_long, sell: open_short}}
      stop_loss_pct: {column: sl, unit: percent}
      confidence: {value: 0.5, unit: fraction}
    market:
      price: {column: entry, as: number}

Belongs here: the file's model, and a record of a table by it. Does not belong here: files, and the reading of a field's value
(build.py).
"""

from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from tradewind.schema.names import Book
from tradewind.schema.rules import StrictModel
from tradewind.trading.evidence.cells import Cells
from tradewind.trading.imports.drafts import NAMES, Draft
from tradewind.trading.imports.fields import is_empty, shown
from tradewind.trading.imports.json_rows import JsonText
from tradewind.trading.imports.options import FRACTIONS, Unit
from tradewind.trading.imports.problems import FileError, Reason, RowError

IN_THE_COLUMN: Final = "offset"
"""As a time zone: each time of the table carries its offset, or is Unix time."""
_NUMBERS: Final = frozenset({"size_usd", "leverage", *FRACTIONS, "pnl_usd", "duration_hours"})
_TIMES: Final = frozenset({"decided_at", "closed_at"})
_OBJECTS: Final = frozenset({"market_data", "account_state", "recent_history"})
_NEEDED: Final = ("decided_at", "symbol", "action")


class As(StrEnum):
    """What the cells of an input column are."""

    NUMBER = "number"
    TEXT = "text"
    JSON = "json"


class Column(StrictModel):
    """Where a field comes from: a column, or one value for all rows."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    column: Annotated[str, Field(min_length=1)] | None = None
    value: JsonValue = None
    unit: Unit | None = None
    format: str | None = None
    values: dict[str, JsonValue] | None = None
    kind: Annotated[As | None, Field(alias="as")] = None

    @field_validator("values", mode="before")
    @classmethod
    def _words_are_texts(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if any(isinstance(word, bool) for word in values):
            raise ValueError("YAML reads yes, no, on and off as true and false; write such words in quotes")
        return {str(word) if isinstance(word, int | float) else word: meant for word, meant in values.items()}

    @model_validator(mode="after")
    def _comes_from_one_place(self) -> Self:
        if (self.column is None) == (self.value is None):
            raise ValueError("give either column or value")
        return self


class TableMapping(StrictModel):
    """The whole file. Unknown keys are refused."""

    source: Annotated[Book, Field(min_length=1)]
    """Name of the system that the table is from; ids are unique within it."""
    time_zone: str
    """Of times without an offset: a name such as Asia/Shanghai or UTC; `offset` where each time carries its own."""
    decimal: Literal[".", ","] = "."
    fields: dict[str, Column]
    """By our names."""
    market: dict[str, Column] = Field(default_factory=dict)
    """What is told of the symbol: `market_data.SYMBOL.NAME`."""
    market_wide: dict[str, Column] = Field(default_factory=dict)
    """What is told of the whole market: `market_data.NAME`."""
    account: dict[str, Column] = Field(default_factory=dict)
    """`account_state.NAME`."""

    @property
    def zone(self) -> tzinfo | None:
        """Of times without an offset."""
        return None if self.time_zone == IN_THE_COLUMN else ZoneInfo(self.time_zone)

    @property
    def columns(self) -> tuple[str, ...]:
        """Headings that must be there, in lower case."""
        parts = (self.fields, self.market, self.market_wide, self.account)
        return tuple(
            dict.fromkeys(c.column.strip().lower() for part in parts for c in part.values() if c.column is not None)
        )

    def draft(self, cells: Cells) -> Draft:
        """A record of the table under our names.

        Raises:
            RowError: a cell cannot be read, or has a word that the mapping does not know.
        """
        values: dict[str, Any] = {}
        for name, column in self.fields.items():
            value = _field(name, column, cells)
            if not is_empty(value):
                values[name] = value
        if self.market or self.market_wide:
            told = {name: _told(column, cells) for name, column in self.market.items()}
            wide = {name: _told(column, cells) for name, column in self.market_wide.items()}
            values["market_data"] = wide | ({str(values.get("symbol")): told} if told else {})
        if "market_data" in values:
            values.setdefault("account_state", {name: _told(column, cells) for name, column in self.account.items()})
        places = {name: column.column or f"fields.{name}" for name, column in self.fields.items()}
        units = {name: column.unit for name, column in self.fields.items() if column.unit is not None}
        return Draft(values, {"market_data": "market", **places}, zone=self.zone, units=units)


def read_mapping(content: Any) -> TableMapping:
    """A mapping from the YAML value of its file.

    Raises:
        ValueError: it is none; the message names the key and the remedy.
    """
    if not isinstance(content, dict):
        raise ValueError("is no mapping file: it must have source, timeZone and fields")  # noqa: TRY004 - what is wrong is the file
    try:
        mapping = TableMapping.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        told = {
            "timeZone": "say the time zone of the table's times, such as Asia/Shanghai or UTC; offset where each time carries its own",
            "source": "name the system that the table is from, such as source: desk",
            "fields": "say which column is which field",
        }.get(place, "set it")
        said = {"missing": f"is missing; {told}", "extra_forbidden": "is unknown; remove it"}
        raise ValueError(f"{place}: {said.get(first['type'], first['msg'])}") from None
    _demand_sense(mapping)
    return mapping


def _demand_sense(mapping: TableMapping) -> None:
    try:
        _ = mapping.zone
    except (ValueError, OSError, KeyError):  # ZoneInfo's own errors are all three
        raise ValueError(
            f"timeZone: {mapping.time_zone!r} is no time zone; write a name such as Asia/Shanghai or UTC, or offset where each time "
            "carries its own"
        ) from None
    for name, column in mapping.fields.items():
        if name not in NAMES:
            raise ValueError(f"fields.{name}: is unknown; fields are {', '.join(NAMES)}")
        if name in FRACTIONS and column.unit is None:
            raise ValueError(f"fields.{name}.unit: is missing; say percent (2 means 2 %) or fraction (0.02 means 2 %)")
        if name not in FRACTIONS and column.unit is not None:
            raise ValueError(
                f"fields.{name}.unit: only {', '.join(FRACTIONS)} have a unit; sizes and profits are in USD"
            )
        if column.format is not None and name not in _TIMES:
            raise ValueError(f"fields.{name}.format: only {', '.join(sorted(_TIMES))} have a format")
        if column.kind is not None:
            raise ValueError(f"fields.{name}.as: only market, marketWide and account have it; remove it")
    for name in _NEEDED:
        if name not in mapping.fields:
            raise ValueError(f"fields.{name}: is missing; say which column it is, or give one value for all rows")
    if "market_data" in mapping.fields and (mapping.market or mapping.market_wide):
        raise ValueError("market: fields.market_data says it already; keep one of them")
    if not ("market_data" in mapping.fields or mapping.market or mapping.market_wide):
        raise ValueError(
            "market: is missing; say which columns tell what the market was, such as market: {price: {column: entry, as: number}}"
        )
    if "account_state" in mapping.fields and mapping.account:
        raise ValueError("account: fields.account_state says it already; keep one of them")
    for part, columns in (
        ("market", mapping.market),
        ("marketWide", mapping.market_wide),
        ("account", mapping.account),
    ):
        for name, column in columns.items():
            if column.column is not None and column.kind is None and column.values is None:
                raise ValueError(f"{part}.{name}.as: is missing; say number, text or json")
            if column.unit is not None or column.format is not None:
                raise ValueError(
                    f"{part}.{name}: unit and format belong to fields; a model is shown the cell as it stands"
                )


def _cell(column: Column, cells: Cells, read: Callable[[str, str, str], Any]) -> Any:
    """What a column of the mapping says: its fixed value, a word that it translates, or its cell as `read` takes it.

    Args:
        column: of the mapping.
        cells: of the row.
        read: from the column's name, its heading and the text of the cell; an empty cell says nothing.
    """
    if column.column is None:
        return column.value
    heading = column.column.strip().lower()
    text = cells.text(heading)
    if not text:
        return None
    if column.values is not None:
        return _word(column, text)
    return read(column.column, heading, text)


def _field(name: str, column: Column, cells: Cells) -> Any:
    def read(title: str, heading: str, text: str) -> Any:
        if name in _NUMBERS:
            return _number(title, heading, cells)
        if name in _OBJECTS:
            return _json(title, text)
        if name in _TIMES:
            return _time(column, text)
        return cells.flag_of(heading) if name == "profitable" else text

    return _cell(column, cells, read)


def _told(column: Column, cells: Cells) -> Any:
    def read(title: str, heading: str, text: str) -> Any:
        if column.kind is As.NUMBER:
            return _number(title, heading, cells)
        return _json(title, text) if column.kind is As.JSON else text

    return _cell(column, cells, read)


def _word(column: Column, text: str) -> Any:
    values: Mapping[str, Any] = column.values or {}
    if text not in values:
        known = ", ".join(map(str, values))
        raise RowError(
            column.column or "", Reason.WORD, f"{shown(text)} is not in the mapping's values ({known}); add it there"
        )
    return values[text]


def _number(field: str, heading: str, cells: Cells) -> float | None:
    try:
        return cells.number_of(heading)
    except ValueError as error:
        raise RowError(field, Reason.NUMBER, str(error).removeprefix(f"{cells.place(heading)}: ")) from None


def _time(column: Column, text: str) -> Any:
    if column.format is None:
        return text
    try:
        return datetime.strptime(text, column.format)  # noqa: DTZ007 - its zone is the mapping's, unless the format reads one
    except ValueError:
        raise RowError(column.column or "", Reason.TIME, f"{shown(text)} is not written as {column.format}") from None


def _json(field: str, text: str) -> Any:
    try:
        return JsonText(text).document()
    except FileError as error:
        raise RowError(field, Reason.MALFORMED, str(error)) from None
