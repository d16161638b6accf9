"""Bars: nothing of the future is known at an entry, and a file that is not what it says is refused."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tradewind.evaluation.bars import read_bars
from tradewind.training.outcome import JobError

T0 = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
HEAD = "time,open,high,low,close\n"


def bars(folder: Path, text: str) -> Path:
    (folder / "bars.csv").write_text(text)
    return folder


def hourly(closes: list[float], start: datetime = T0) -> str:
    lines = [f"{(start + n * HOUR).isoformat()},{c},{c + 1},{c - 1},{c}" for n, c in enumerate(closes)]
    return HEAD + "\n".join(lines) + "\n"


def test_the_entry_is_the_last_close_that_was_known(tmp_path: Path) -> None:
    read = read_bars(bars(tmp_path, hourly([10, 11, 12])))
    assert read.entry("BTC", T0 + HOUR, HOUR) == 10
    assert read.entry("BTC", T0 + 2 * HOUR - timedelta(seconds=1), HOUR) == 10, (
        "the bar that is still being made is not known"
    )
    assert read.entry("BTC", T0 + 2 * HOUR, HOUR) == 11
    assert read.entry("BTC", T0 + 4 * HOUR, HOUR) == 12
    assert read.entry("BTC", T0 + 4 * HOUR + timedelta(seconds=1), HOUR) is None, "older than maxGap"
    assert read.entry("BTC", T0, HOUR) is None


def test_a_bar_before_a_gap_ends_when_bars_of_its_length_end(tmp_path: Path) -> None:
    text = hourly([10, 11, 12]) + f"{(T0 + 50 * HOUR).isoformat()},20,21,19,20\n"
    read = read_bars(bars(tmp_path, text))
    assert read.entry("BTC", T0 + 3 * HOUR, HOUR) == 12
    assert read.entry("BTC", T0 + 49 * HOUR, HOUR) is None
    assert read.entry("BTC", T0 + 51 * HOUR, HOUR) == 20


def test_symbols_have_prices_of_their_own_and_an_unknown_one_has_none(tmp_path: Path) -> None:
    text = "symbol," + HEAD + f"BTC,{T0.isoformat()},1,2,1,2\nETH,{T0.isoformat()},5,6,5,6\n"
    read = read_bars(bars(tmp_path, text))
    at = T0 + timedelta(days=1)
    assert [read.entry(symbol, at, HOUR) for symbol in ("BTC", "ETH", "SOL")] == [2, 6, None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column time"),
        ("date,open,high,low,close\n2026-03-02,1,1,1,1\n", "no column time"),
        (HEAD, "has no bar"),
        (HEAD + "2026-03-02T00:00:00,1,1,1,1\n", "no zone"),
        (HEAD + "yesterday,1,1,1,1\n", "is none"),
        (HEAD + "2026-03-02T00:00:00Z,1,1,1,\n", "must be numbers"),
        (HEAD + "2026-03-02T00:00:00Z,1,1,1\n", "must be numbers"),
        (HEAD + "2026-03-02T00:00:00Z,nan,1,1,1\n", "no prices of a bar"),
        (HEAD + "2026-03-02T00:00:00Z,1,inf,1,1\n", "no prices of a bar"),
        (HEAD + "2026-03-02T00:00:00Z,1,1,0,1\n", "no prices of a bar"),
        (HEAD + "2026-03-02T00:00:00Z,2,1,1,1\n", "no prices of a bar"),
        (HEAD + "2026-03-02T01:00:00Z,1,1,1,1\n2026-03-02T00:00:00Z,1,1,1,1\n", "not after the one before"),
        (HEAD + "2026-03-02T01:00:00Z,1,1,1,1\n2026-03-02T01:00:00Z,1,1,1,1\n", "not after the one before"),
        ("symbol," + HEAD + ",2026-03-02T00:00:00Z,1,1,1,1\n", "symbol is empty"),
    ],
)
def test_what_is_no_bar_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(JobError, match=said) as caught:
        read_bars(bars(tmp_path, text))
    assert (caught.value.code, caught.value.reason) == (65, "InvalidBars")


def test_a_file_in_another_encoding_or_none_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"no bars\.csv"):
        read_bars(tmp_path)
    (tmp_path / "bars.csv").write_bytes(b"\xff\xfe\x00t\x00i")
    with pytest.raises(JobError, match="UTF-8"):
        read_bars(tmp_path)
