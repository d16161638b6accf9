"""No answer of a stopped candidate a second later, on real gateways that are asked all the time; a replica that is cut off obeys the expiry."""

import os
import statistics
from pathlib import Path

import pytest
from stop_trials import Trials, double, trials

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


def told(made: Trials, late: dict[str, list[float]], count: int) -> str:
    assert len(made.done) == count
    worst = {name: max(seconds) for name, seconds in late.items()}
    assert max(worst.values()) < PROMISED_SECONDS, worst
    middle = {name: statistics.median(seconds) for name, seconds in late.items()}
    words = [f"{name} {worst[name]:+.3f} s at worst ({middle[name]:+.3f} s in the middle)" for name in late]
    return f"{count} stops, {made.statuses} answers, last answer of the candidate: {', '.join(words)}"


async def test_stops(stoppable_postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    print(await tried(stoppable_postgres, tmp_path, monkeypatch, 3))


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_two_hundred_stops(
    stoppable_postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(await tried(stoppable_postgres, tmp_path, monkeypatch, TRIALS))
