"""Durations: what users may write, what they may not, and back to text."""

from datetime import timedelta

import pytest

from tradewind.schema.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("14d", timedelta(days=14)),
        ("24h", timedelta(days=1)),
        ("30m", timedelta(minutes=30)),
        ("45s", timedelta(seconds=45)),
        ("1d12h", timedelta(hours=36)),
        ("0s", timedelta(0)),
    ],
)
def test_parses(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "14", "d", "1.5h", "-1h", "12h1d", "1h1h", " 1h", "1w", "1h\n", "٣d"])
def test_anything_else_is_refused_with_field_and_remedy(text: str) -> None:
    with pytest.raises(ValueError, match=r"spec\.maxHold.*such as 14d"):
        parse_duration(text, "spec.maxHold")


@pytest.mark.parametrize("value", [14, None, 1.5])
def test_yaml_that_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(value)  # type: ignore[arg-type]


def test_longer_than_a_timedelta_is_refused() -> None:
    assert parse_duration("999999999d") == timedelta(days=999_999_999)
    with pytest.raises(ValueError, match="too long"):
        parse_duration("999999999d24h")


@pytest.mark.parametrize(("text", "shortest"), [("24h", "1d"), ("36h", "1d12h"), ("90s", "1m30s"), ("0s", "0s")])
def test_formats_to_the_shortest_text(text: str, shortest: str) -> None:
    assert format_duration(parse_duration(text)) == shortest


@pytest.mark.parametrize("duration", [timedelta(seconds=-1), timedelta(milliseconds=5)])
def test_what_text_cannot_say_is_refused(duration: timedelta) -> None:
    with pytest.raises(ValueError, match="whole number of seconds"):
        format_duration(duration)
