"""No answer of a stopped candidate a second later, on real gateways that are asked all the time; a replica that is cut off obeys the expiry."""

import os
import statistics
from pathlib import Path

import pytest
from stop_trials import Lag, Trials, double, trials

from api_double import write_config
from tradewind.cli import stop
from workshop.postgres import PostgresServer

PROMISED_SECONDS = 1.0
TRIALS = int(os.environ.get("STOP_TRIALS") or 200)


async def tried(server: PostgresServer, folder: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> str:
    """Stops so often; what came of it in a sentence."""
    monkeypatch.setattr(stop, "_EVERY", 0.1)
    with double() as api:
        write_config(folder / "config", monkeypatch, f"http://127.0.0.1:{api.server_port}")
        async with trials(server, folder, api) as made:
            for number in range(count):
                await made.trial(number)
            late = await made.after()
            return told(made, late, count)


def told(made: Trials, late: dict[str, list[Lag]], count: int) -> str:
    assert len(made.done) == count
    words = []
    for name, lags in late.items():
        # A machine that runs nobody for a while is no fault of the gateway's.
        too_late = [lag for lag in lags if lag.seconds > PROMISED_SECONDS + lag.trial.stalled]
        assert not too_late, f"{name}: {too_late}"
        seconds = sorted(lag.seconds for lag in lags)
        worst, middle = seconds[-1], statistics.median(seconds)
        over = sum(each > PROMISED_SECONDS for each in seconds)
        words.append(
            f"{name} {worst:+.3f} s at worst, {middle:+.3f} s in the middle, {over} of {len(seconds)} over {PROMISED_SECONDS} s"
        )
    asked = max((trial.stopped_at - trial.asked_at).total_seconds() for trial in made.done)
    stalled = max(trial.stalled for trial in made.done)
    return (
        f"{count} stops, answers {made.statuses}; last answer of the candidate after the document, or the expiry: {'; '.join(words)}; "
        f"from the request to the document {asked:.3f} s at most; the machine stalled for {stalled:.3f} s at most"
    )


async def test_stops(stoppable_postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    print(await tried(stoppable_postgres, tmp_path, monkeypatch, 3))


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_two_hundred_stops(
    stoppable_postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(await tried(stoppable_postgres, tmp_path, monkeypatch, TRIALS))
