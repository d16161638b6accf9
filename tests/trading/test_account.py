"""What a statement of positions says, in every form, and that no arm ever sees the other's."""

import random
from typing import Any

import pytest

from tradewind.trading.account import (
    Account,
    AccountError,
    Holder,
    account_of,
    account_shown,
    of_scope,
    position_id_of,
    visible,
)


def stated(positions: Any) -> Account:
    return account_of({"positions": positions})


FORMS_OF_17: list[dict[str, Any]] = [
    {"position_id": 17},
    {"position_id": "17"},
    {"position_id": 17.0},
    {"id": 17},
    {"id": None, "trade_id": 17},
    {"position_id": None, "id": None, "tradeId": "17"},
    {"ticket": 17, "symbol": "BTC"},
    {"position": "17"},
    {"position": {"side": "long"}, "dealId": 17},
    {"position": 1.5, "positionId": "17"},
]


@pytest.mark.parametrize("entry", FORMS_OF_17, ids=str)
def test_one_id_in_every_form(entry: dict[str, Any]) -> None:
    assert position_id_of(entry) == "17"
    account = account_of({"positions": [entry]})
    assert account.position_ids == ["17"]
    assert visible(account, "a", {"17": "a"}, []) == [0]
    assert visible(account, "b", {"17": "a"}, []) == []
    assert visible(account, "a", {}, []) == []  # nobody is known to have opened it


@pytest.mark.parametrize("entry", [{"id": "017"}, {"id": "17.0"}, {"id": "١٧"}, {"id": "0x11"}], ids=str)
def test_other_spellings_are_other_ids(entry: dict[str, Any]) -> None:
    assert position_id_of(entry) not in (None, "17")


@pytest.mark.parametrize("value", [True, 17.5, float("nan"), [17], {"id": 17}, " ", " 17", "a\0b", 2.0**60, "x" * 129])
def test_what_is_no_id_is_refused(value: Any) -> None:
    with pytest.raises(AccountError, match="no id") as error:
        account_of({"positions": [{}, {"trade_id": value}]})
    assert error.value.field == "account_state.positions.1.trade_id"
    assert "whole number" in error.value.remedy


@pytest.mark.parametrize("positions", ["none", 3, True, [17], [{}, None], {"BTC": 1}, {"BTC": [{}]}])
def test_what_are_no_positions(positions: Any) -> None:
    with pytest.raises(AccountError) as error:
        stated(positions)
    assert error.value.field.startswith("account_state.positions")


@pytest.mark.parametrize("at", ["2026-01-01T00:00:00", "soon", True, [], 5])
def test_what_is_no_time(at: Any) -> None:
    with pytest.raises(AccountError) as error:
        account_of({"positions": [], "positions_at": at})
    assert error.value.field == "account_state.positions_at"


def test_everything_else_passes_through() -> None:
    state: dict[str, Any] = {
        "balance": 1,
        "positions": {"BTC": {"id": 1}, "ETH": {"id": 2, "leg": {"id": 9}}},
        "x": [None],
    }
    account = account_of(state)
    assert [p.symbol for p in account.positions or ()] == ["BTC", "ETH"]
    assert account_shown(state, {1}) == {"balance": 1, "positions": {"ETH": {"id": 2, "leg": {"id": 9}}}, "x": [None]}
    assert account_shown({"positions": [{"id": 1}, {"id": 2}]}, [0]) == {"positions": [{"id": 1}]}
    assert account_of({"balance": 1}) == account_of({"positions": None}) == Account(None, None)
    assert account_shown({"balance": 1}, ()) == {"balance": 1}


SPELLINGS = ["BTC", "btc", "BTCUSDT", "BTC/USDT", "BTC/USDT:USDT", "BTC-USDT-PERP", "BTC_USDT", "BTC-PERP", "Btc"]


@pytest.mark.parametrize("spelled", SPELLINGS)
@pytest.mark.parametrize("asked", ["BTC", "BTC/USDT:USDT"])
def test_a_symbol_in_any_spelling_is_not_flat(spelled: str, asked: str) -> None:
    for name in ("symbol", "pair", "instrument_id", "coin", "ticker"):
        positions = [{name: spelled, "size": 1}]
        if asked == "BTC" or not spelled.endswith("PERP"):  # another venue's spelling of the whole pair
            assert not stated(positions).is_flat(asked, ""), name
    assert account_of({"positions": [{"symbol": "ETH", "size": 1}]}).is_flat(asked, "")


@pytest.mark.parametrize(
    ("entry", "is_open"),
    [
        ({"size": 0}, False),
        ({"positionAmt": "0.000"}, False),
        ({"position_amt": "0.000"}, False),
        ({"SIZE_USD": 0}, False),
        ({"contracts": -0.0}, False),
        ({"amount": 0, "notional": 0}, False),
        ({"amount": 0, "contracts": 2}, True),
        ({"szi": "-0.5"}, True),
        ({"size": "unknown"}, True),
        ({"size": True}, True),
        ({"size": None}, True),
        ({"size": 10**400}, True),
        ({"size": "nan"}, True),
        ({}, True),
        ({"is_open": False, "amount": 5}, False),
        ({"status": "CLOSED", "amount": 5}, False),
        ({"status": "liquidated"}, False),
        ({"status": "open", "amount": 5}, True),
    ],
)
def test_whether_an_entry_is_open(entry: dict[str, Any], is_open: bool) -> None:
    for positions in ([entry | {"symbol": "BTC"}], {"BTC": entry}, [{"symbol": "ETH", "size": 1}, entry]):
        account = stated(positions)
        assert account.is_flat("BTC", "") is not is_open
        assert account.is_flat("BTC", "b") is not is_open  # it names no book: it may be of any


def test_books_keep_positions_apart() -> None:
    account = account_of({"positions": [{"symbol": "BTC", "book": "short", "size": 1}]})
    assert account.is_flat("BTC", "long")
    assert not account.is_flat("BTC", "short")
    assert account_of({"positions": []}).is_flat("BTC", "")
    assert not account_of({}).is_flat("BTC", "")  # nothing is said


def test_what_a_scope_has() -> None:
    account = account_of({"positions": [{"id": 1}, {"symbol": "BTC"}, {"symbol": "ETH"}, {"id": 2, "symbol": "BTC"}]})
    assert of_scope(account, "1", "BTC", "") == {0, 1}
    assert of_scope(account, None, "ETH", "") == {2}


def test_a_netting_id_that_has_ended_is_judged_by_who_holds() -> None:
    account = account_of({"positions": [{"id": "BTC", "symbol": "BTC", "size": 1}]})
    owners, theirs = {"BTC": "a"}, [Holder("BTC", "", "b")]
    assert visible(account, "a", owners, theirs) == [0]  # it is open, in a book of its own
    assert visible(account, "a", owners, theirs, {"BTC"}) == []
    assert visible(account, "a", owners, [Holder("ETH", "", "b")], {"BTC"}) == [0]
    assert visible(account, "b", owners, theirs, {"BTC"}) == []


@pytest.mark.parametrize("seed", range(40))
def test_never_the_other_arms_position(seed: int) -> None:
    """Histories of openings and closes by two arms; a statement at any moment, each position in a random form."""
    say = random.Random(seed)
    owners: dict[str, str] = {}
    ended: set[str] = set()
    live: dict[str, tuple[str, str, bool]] = {}  # symbol: id, arm, reported
    for step in range(200):
        symbol = say.choice(["BTC", "ETH", "SOL"])
        if symbol in live and say.random() < 0.4:
            position_id, _, _ = live.pop(symbol)
            ended.add(position_id)
        elif symbol not in live:
            position_id = say.choice([symbol, str(step)])  # netting, or a number of its own
            live[symbol] = position_id, say.choice("ab"), False
        elif not live[symbol][2] and say.random() < 0.7:
            position_id, arm, _ = live[symbol]
            live[symbol] = position_id, arm, True
            owners[position_id] = arm
            ended.discard(position_id)
        entries, arms = [], []
        for held, (position_id, arm, _) in live.items():
            entries.append(in_some_form(say, held, position_id))
            arms.append(arm)
        account = stated(entries)
        holders = [Holder(held, "", arm) for held, (_, arm, _) in live.items()]
        for version in "ab":
            shown = visible(account, version, owners, holders, ended)
            assert all(arms[place] == version for place in shown), (step, entries, owners, ended)
            known = [
                place
                for place, (position_id, arm, reported) in enumerate(live.values())
                if arm == version and reported and account.positions and account.positions[place].position_id
            ]
            assert set(known) <= set(shown)  # and its own, once it is reported


def in_some_form(say: random.Random, symbol: str, position_id: str) -> dict[str, Any]:
    name = say.choice(["position_id", "id", "trade_id", "ticket", "dealId"])
    forms: list[Any] = [position_id]
    if position_id.isdecimal():
        forms += [int(position_id), float(position_id)]
    entry: dict[str, Any] = {
        say.choice(["symbol", "pair", "coin"]): say.choice([symbol, f"{symbol}/USDT:USDT", symbol.lower()])
    }
    if say.random() < 0.8:
        entry[name] = say.choice(forms)
    for other in ("position_id", "id"):
        if other not in entry and say.random() < 0.2:
            entry[other] = None
    return entry | {"size": say.choice([1, "2.5", -3])}
