"""Money, fees and words in the forms in which bots send them."""

import json
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from tradewind.trading.reports import (
    Event,
    EventKind,
    EventReport,
    ExecutionReport,
    OutcomeReport,
    fees_of,
    outcome_event,
    words_of,
)

AT = "2026-01-01T00:00:00Z"


def outcome(**fields: Any) -> OutcomeReport:
    return OutcomeReport.model_validate({"closed_at": AT, "pnl": 1} | fields)


def event(kind: str, **fields: Any) -> EventReport:
    return EventReport.model_validate({"decision_id": "d", "event": kind, "at": AT} | fields)


@pytest.mark.parametrize(
    ("given", "means"),
    [
        (12.5, "12.5"),
        (0.1, "0.1"),
        (-3, "-3"),
        ("12.5", "12.5"),
        (" 12.5 ", "12.5"),
        ("12.5 USDT", "12.5"),
        ("12.5 usdc", "12.5"),
        ("-1e-3", "-0.001"),
        ("+7", "7"),
        ("1e-20000", "0"),
        (1e12, "1e12"),
    ],
)
def test_money_is_read_exactly(given: Any, means: str) -> None:
    assert outcome(pnl=given).pnl == Decimal(means)


@pytest.mark.parametrize(
    "given",
    [True, False, float("nan"), float("inf"), "NaN", "-Infinity", "sNaN", "1e400", 1.1e12, 10**400, "", "much", "12.5 BTC",
     "1,234.5", "12.5USDT x", [1], {"amount": 1}, "0x10", "1_000", "1_5", "\uff11\uff12", "\u0661", "322e999999", "1" * 501],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_what_is_no_money_is_refused_by_name(given: Any) -> None:
    with pytest.raises(ValidationError) as error:
        outcome(pnl=given)
    assert error.value.errors()[0]["loc"] == ("pnl",)
    with pytest.raises(ValidationError):
        event("cash_flow", amount_usd=given)


def test_no_result_is_a_result() -> None:
    assert outcome(pnl=None).pnl is None
    with pytest.raises(ValidationError):
        OutcomeReport.model_validate({"closed_at": AT})


@pytest.mark.parametrize("given", [0, -1, "0.0", True, "1e-30"])
def test_exposure_is_above_zero(given: Any) -> None:
    with pytest.raises(ValidationError):
        event("add", notional_usd=given)
    body = {"status": "opened", "opened_at": AT, "position_id": 1}
    with pytest.raises(ValidationError):
        ExecutionReport.model_validate(body | {"filled_notional_usd": given})


@pytest.mark.parametrize(
    ("given", "usd", "unpriced"),
    [
        (None, "0", False),
        ("", "0", False),
        (0.12, "0.12", False),
        (-0.05, "-0.05", False),  # a maker's rebate
        ("0.12 USDT", "0.12", False),
        ("-0.12", "-0.12", False),
        ("0.001 BNB", "0", True),
        ({"cost": 0.12, "currency": "USDT"}, "0.12", False),  # ccxt
        ({"cost": 0.12, "currency": "USDT", "rate": 0.0004}, "0.12", False),
        ({"cost": None, "currency": None}, "0", False),
        ({"cost": 0.001, "currency": "BNB"}, "0", True),
        ({"cost": "0.001", "currency": "BNB", "usd_rate": "600"}, "0.6", False),
        ([{"amount": "0.1", "token": "USDT"}, {"amount": "0.2", "token": "USDC"}], "0.3", False),  # hummingbot
        ([{"cost": 0.1, "currency": "USDT"}, {"cost": 1, "currency": "OKB"}], "0.1", True),
        ([{"cost": 0.1, "currency": "USDT"}, -0.02, None], "0.08", False),
        ([], "0", False),
        ({}, "0", False),
    ],
)
def test_fees_in_every_form(given: Any, usd: str, unpriced: bool) -> None:
    fees = fees_of(given)
    assert (fees.usd, fees.unpriced) == (Decimal(usd), unpriced)
    stored = outcome_event(outcome(fees=given))
    assert stored.money("fees_usd") in ((None, Decimal(0)) if given is None else (Decimal(usd),))
    assert bool(stored.body.get("fees_unpriced")) is unpriced
    if isinstance(given, dict) and given:
        assert json.loads(stored.body["fees"]) == given  # kept as it was said


@pytest.mark.parametrize(
    "given",
    [True, "much", float("nan"), {"cost": True}, {"cost": "x"}, [1e13], {"cost": 1, "currency": "BNB", "usd_rate": 0}],
)
def test_what_are_no_fees(given: Any) -> None:
    with pytest.raises(ValidationError) as error:
        outcome(fees=given)
    assert error.value.errors()[0]["loc"] == ("fees",)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, "unspecified"),
        ("", "unspecified"),
        ("  ", "unspecified"),
        ("roi", "roi"),
        ("a\0b", "a\ufffdb"),
        ("a\ud800b", "a\ufffdb"),
        ("two\r\nlines\t", "two  lines"),
        (7, "7"),
        (True, "true"),
        ({"why": ["\ud800", 1]}, '{"why": ["\ufffd", 1]}'),
        (float("nan"), "NaN"),
        ("止损", "止损"),
        ("x" * 5000, "x" * 1000),
    ],
)
def test_words_are_kept_as_they_can_be(given: Any, kept: str) -> None:
    assert outcome(exit_reason=given).exit_reason == kept
    assert event("close", exit_reason=given).exit_reason == kept
    words_of(given).encode()


@pytest.mark.parametrize(
    ("given", "hours"),
    [(6, 6.0), ("6.5", 6.5), ("6 hours", None), (None, None), (-1, None), ("nan", None), (10**400, None), ([], None)],
)
def test_a_duration_that_is_none_is_left_out(given: Any, hours: float | None) -> None:
    assert outcome(duration_hours=given).duration_hours == hours


@pytest.mark.parametrize(
    ("kind", "fields", "missing"),
    [
        ("open", {"notional_usd": 1}, "position_id"),
        ("open", {"position_id": 1}, "notional_usd"),
        ("add", {"price": 1}, "notional_usd"),
        ("reduce", {}, "notional_usd"),
        ("cash_flow", {}, "amount_usd"),
        ("correct", {"by": "x", "why": "y"}, "target"),
        ("void", {"target": "outcome", "why": "y"}, "by"),
        ("void", {"target": "outcome", "by": "x"}, "why"),
    ],
)
def test_an_event_says_what_it_needs(kind: str, fields: dict[str, Any], missing: str) -> None:
    with pytest.raises(ValidationError, match=f"{missing} is required"):
        event(kind, **fields)


def test_an_event_names_its_position() -> None:
    with pytest.raises(ValidationError, match="decision_id is required or position_id"):
        EventReport.model_validate({"event": "close", "at": AT})
    with pytest.raises(ValidationError, match="both given"):
        event("close", pnl=1, total_pnl=1)
    with pytest.raises(ValidationError):
        event("close", pnk=1)
    assert event("reduce", quantity=1).quantity == 1


def test_ids_of_events() -> None:
    one, same = event("close", total_pnl="1.5").to_event(), event("close", total_pnl=1.5).to_event()
    assert one.event_id == same.event_id
    assert one.event_id != event("close", total_pnl=1.6).to_event().event_id
    assert event("close", total_pnl=1, event_id=7).to_event().event_id == "7"


def test_repetitions_are_told_by_value() -> None:
    def close(**body: Any) -> Event:
        return Event("e", EventKind.CLOSE, outcome().closed_at, body)

    assert close(pnl="1.50").says_the_same(close(pnl="1.5"))
    assert not close(pnl="1.5").says_the_same(close(pnl="1.6"))
    assert close(exit_reason="nan").says_the_same(close(exit_reason="nan"))
    assert close(position_id="1e9999999").says_the_same(close(position_id="1e9999999"))
    assert not close(position_id="1e3").says_the_same(close(position_id="1000"))


@pytest.mark.parametrize(
    "fees",
    [
        "1_0",
        "\uff11\uff12",
        "1e400",
        "322e999999",
        "-1e999999",
        {"amount": "1_0"},
        [{"amount": 1, "usd_rate": "1e999999"}],
    ],
)
def test_fees_are_plain_numbers_too(fees: Any) -> None:
    """Seen: `1_0` was a fee of 10, and an exponent of seven digits an internal error."""
    with pytest.raises(ValidationError, match="fees"):
        outcome(fees=fees)


@pytest.mark.parametrize("note", [float("nan"), float("inf"), "\ud83d", [[["\ude00"]]]], ids=repr)
def test_what_stands_beside_a_fee_never_loses_the_money(note: Any) -> None:
    """Seen: NaN or half a surrogate pair in a note made the whole outcome an internal error."""
    report = outcome(fees={"amount": 0.25, "currency": "USDT", "note": note})
    body = outcome_event(report).body
    assert (body["fees_usd"], body["total_pnl"]) == ("0.25", "1")
    assert report.fingerprint == outcome(fees={"amount": 0.25, "currency": "USDT", "note": note}).fingerprint
    json.dumps(body, allow_nan=False, ensure_ascii=False).encode()


def test_a_fee_smaller_than_any_database_holds_is_none() -> None:
    assert outcome_event(outcome(fees="1e-20000")).body["fees_usd"] == "0"


@pytest.mark.parametrize("hours", ["1_0", "\u0661"])
def test_a_length_of_time_in_other_digits_is_left_out(hours: str) -> None:
    assert outcome(duration_hours=hours).duration_hours is None
