"""What a trading system states about its open positions, and which of them an arm may see.

Belongs here: the one schema of `account_state.positions`, the identity of a position, and what a statement says about a
scope. Does not belong here: whose position an id is (the gateway's database). Everything else in the account state passes
through as it came.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydantic import AwareDatetime, JsonValue, TypeAdapter, ValidationError

from tradewind.schema.names import Identifier
from tradewind.schema.times import ReportTime

POSITIONS = "positions"
POSITIONS_AT = "positions_at"

ID_FIELDS = ("positionid", "id", "tradeid", "ticket", "position", "posid", "dealid")
"""Names under which trading systems state the id of a position, as `_plain` spells them; the first that holds one counts."""
SYMBOL_FIELDS = ("symbol", "pair", "instrumentid", "instrument", "tradingpair", "ticker", "instid", "coin", "asset")
BOOK_FIELDS = ("book",)
SIZE_FIELDS = (
    "size", "sizeusd", "amount", "quantity", "qty", "contracts", "positionamt", "szi", "pos", "volume", "notional",
    "notionalusd",
)  # fmt: skip
_CLOSED = {"closed", "close", "flat", "liquidated"}

_identifier: TypeAdapter[str] = TypeAdapter(Identifier)
_time: TypeAdapter[datetime] = TypeAdapter(ReportTime)


class AccountError(ValueError):
    """The statement cannot be read: the field, what is wrong, and the remedy."""

    def __init__(self, field: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.field, self.remedy = field, remedy


@dataclass(frozen=True, slots=True)
class StatedPosition:
    """One entry of `account_state.positions`.

    Attributes:
        index: its place among the entries.
        position_id: its id, the same text whatever form it came in; None: none is given.
        symbol: as it was spelled; None: not given.
        book: of the scope; None: not given.
        is_open: whether it says that something is open; entries of size 0 are not.
    """

    index: int
    position_id: str | None
    symbol: str | None
    book: str | None
    is_open: bool


@dataclass(frozen=True, slots=True)
class Account:
    """The positions that a request states.

    Attributes:
        positions: in their order; None: the request says nothing about positions.
        stated_at: when that was so; None: when the request came.
    """

    positions: tuple[StatedPosition, ...] | None
    stated_at: AwareDatetime | None

    @property
    def position_ids(self) -> list[str]:
        """Ids of all entries that have one."""
        return [p.position_id for p in self.positions or () if p.position_id is not None]

    def is_flat(self, symbol: str, book: str) -> bool:
        """Whether it says that nothing is open in the scope. An entry that may be of the scope counts as one that is."""
        return self.positions is not None and not any(p.is_open and _may_be(p, symbol, book) for p in self.positions)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a scope: the version whose decision opened there."""

    symbol: str
    book: str
    version: str


def account_of(account_state: Mapping[str, JsonValue]) -> Account:
    """The stated positions.

    Raises:
        AccountError: positions is no list or mapping of objects, an id is neither text nor a whole number, or the time is
            none.
    """
    stated_at = account_state.get(POSITIONS_AT)
    try:
        at = None if stated_at is None else _time.validate_python(stated_at)
    except ValidationError:
        raise AccountError(
            f"account_state.{POSITIONS_AT}",
            "is no time with an offset",
            "give the time of the positions, or leave it out",
        ) from None
    entries = entries_of(account_state.get(POSITIONS))
    return Account(None if entries is None else tuple(_read(i, entry) for i, entry in enumerate(entries)), at)


def entries_of(value: JsonValue) -> list[Mapping[str, JsonValue]] | None:
    """The entries of `positions`: a list of objects, or a mapping of objects whose keys are their symbols.

    Raises:
        AccountError: it is something else.
    """
    if value is None:
        return None
    if isinstance(value, dict):
        items: list[JsonValue] = [
            {"symbol": key, **entry} if isinstance(entry, dict) else entry for key, entry in value.items()
        ]
    elif isinstance(value, list):
        items = value
    else:
        raise AccountError(
            f"account_state.{POSITIONS}", "is no list", "give a list of objects, [] where nothing is open"
        )
    entries = [item for item in items if isinstance(item, dict)]
    if len(entries) != len(items):
        at = next(i for i, item in enumerate(items) if not isinstance(item, dict))
        raise AccountError(
            f"account_state.{POSITIONS}.{at}", "is no object", "give each position as an object with its position_id"
        )
    return [*entries]


def position_id_of(entry: Mapping[str, JsonValue], place: str = f"account_state.{POSITIONS}") -> str | None:
    """The id of a stated position as the reports have it: 17, 17.0 and "17" are one id, null is none.

    Raises:
        AccountError: an id is neither text nor a whole number: what cannot be told apart must not be shown.
    """
    for name, key in _named(entry, ID_FIELDS):
        value = entry[key]
        if value is None or value == "" or (name == "position" and not isinstance(value, str)):
            continue
        try:
            return _identifier.validate_python(value)
        except ValidationError:
            raise AccountError(
                f"{place}.{key}", "is no id", "give a text of 1 to 128 characters or a whole number, or leave it out"
            ) from None
    return None


def visible(
    account: Account,
    version: str,
    owners: Mapping[str, str],
    holders: Iterable[Holder],
    ended: Collection[str] = frozenset(),
) -> list[int]:
    """Places of the stated positions that a version may see: its own, and those that no version opened.

    A position with an id belongs to the version that has it now (the last that opened one of that name); one whose id
    nobody knows may be the other arm's, not reported yet, and is shown to none. A position without an id is known by its
    symbol alone: it is left out where another version holds a scope that it may be of. So is one whose id has ended: netting
    ids come back, and the other arm's may not be reported yet.

    Args:
        account: as stated.
        version: the ModelVersion that is asked.
        owners: version that opened each id last.
        holders: who holds which scope now.
        ended: ids whose last known position is no longer open.
    """
    others = [h for h in holders if h.version != version]
    shown = []
    for position in account.positions or ():
        known = position.position_id is not None
        mine = not known or owners.get(str(position.position_id)) == version
        if mine and (not known or position.position_id in ended):
            mine = not any(_may_be(position, h.symbol, h.book) for h in others)
        if mine:
            shown.append(position.index)
    return shown


def of_scope(account: Account, position_id: str | None, symbol: str, book: str) -> set[int]:
    """Places of the entries that are a scope's position: by its id, or nameless and perhaps of the scope."""
    return {
        p.index
        for p in account.positions or ()
        if (p.position_id is None and _may_be(p, symbol, book))
        or (position_id is not None and p.position_id == position_id)
    }


def account_shown(account_state: Mapping[str, JsonValue], places: Collection[int]) -> dict[str, JsonValue]:
    """The account state with those positions alone, in the form in which it came."""
    shown = dict(account_state)
    positions = shown.get(POSITIONS)
    if isinstance(positions, list):
        shown[POSITIONS] = [entry for i, entry in enumerate(positions) if i in places]
    elif isinstance(positions, dict):
        shown[POSITIONS] = {key: entry for i, (key, entry) in enumerate(positions.items()) if i in places}
    return shown


def _read(index: int, entry: Mapping[str, JsonValue]) -> StatedPosition:
    return StatedPosition(
        index=index,
        position_id=position_id_of(entry, f"account_state.{POSITIONS}.{index}"),
        symbol=_text(entry, SYMBOL_FIELDS),
        book=_text(entry, BOOK_FIELDS),
        is_open=_is_open(entry),
    )


def _text(entry: Mapping[str, JsonValue], names: Iterable[str]) -> str | None:
    return next((value for _, key in _named(entry, names) if isinstance(value := entry[key], str) and value), None)


def _named(entry: Mapping[str, JsonValue], names: Iterable[str]) -> list[tuple[str, str]]:
    """The fields of an entry that have one of these names, in the order of the names; spellings differ in case and _."""
    found = {_plain(key): key for key in reversed([*entry])}
    return [(name, found[name]) for name in names if name in found]


def _is_open(entry: Mapping[str, JsonValue]) -> bool:
    if entry.get("is_open") is False or str(entry.get("status", "")).lower() in _CLOSED:
        return False
    sizes = [number for _, key in _named(entry, SIZE_FIELDS) if (number := _number(entry[key])) is not None]
    return not sizes or any(sizes)


def _number(value: JsonValue) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):  # 10**400 is a number, but no float
        return None


def _may_be(position: StatedPosition, symbol: str, book: str) -> bool:
    """Whether an entry may be of a scope: spellings of a symbol differ (BTC, BTCUSDT, BTC/USDT:USDT), so only another one rules it out."""
    if position.book is not None and position.book != book:
        return False
    if position.symbol is None:
        return True
    stated, asked = _plain(position.symbol), _plain(symbol)
    return stated.startswith(asked) or asked.startswith(stated)


def _plain(symbol: str) -> str:
    return "".join(character for character in symbol.casefold() if character.isalnum())
