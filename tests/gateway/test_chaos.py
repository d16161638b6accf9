"""Real gateways, a real database and clients that do not give up, under every fault: no decision is lost, doubled or of another arm."""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import chaos_checks as checks
import chaos_faults as faults
import pytest
from chaos import World, befall, peace, world
from chaos_faults import Fault

from workshop.postgres import PostgresServer

SEED = int(os.environ.get("CHAOS_SEED") or 20261127)
DECISIONS = int(os.environ.get("CHAOS_DECISIONS") or 100_000)
MINUTES = float(os.environ.get("CHAOS_MINUTES") or 90)
"""Of the soak: it ends after so many decisions, or so long."""


async def watched(made: World) -> None:
    """What can be checked while it runs, so that a run that went wrong ends while its faults are at hand."""
    since = datetime.now(UTC)
    while True:
        await asyncio.sleep(10)
        until = datetime.now(UTC) - timedelta(seconds=5)
        with contextlib.suppress(checks.psycopg.OperationalError):
            found = await checks.newest_draws(made.dsn, since)
            assert not found, found[:3]
            since = until


async def judged(made: World, folder: Path, *, seed: int) -> str:
    """Peace, then every check; what came of it in a sentence."""
    await peace(made)
    found = await checks.everything(made.dsn, made.ledger, made.lost)
    assert not found, (
        f"{len(found)} faults with CHAOS_SEED={seed}:\n" + "\n".join(found[:8]) + f"\nafter\n{made.last_words()}"
    )
    operators, ours = await checks.verdicts(made.dsn, folder)
    assert operators == ours
    assert operators["blocks"] > 5
    count = {
        name: (await checks.rows_of(made.dsn, f"SELECT count(*) AS n FROM {where}"))[0]["n"]
        for name, where in {
            "rows": "tradewind.decisions", "barred": "tradewind.decisions WHERE bar_from_evidence IS NOT NULL",
            "conflicts": "tradewind.conflicting_answers", "taken over": "tradewind.decisions WHERE asks > 1",
            "failed": "tradewind.decisions WHERE state = 'failed'", "shadows": "tradewind.shadows",
            "epochs": "tradewind.epochs", "events": "tradewind.events",
        }.items()
    }  # fmt: skip
    ledger = made.ledger
    assert min(count["rows"], count["shadows"], count["events"], count["epochs"]) > 0
    said = (
        f"seed {seed}: {len(ledger.heard)} decisions answered in {time.monotonic() - made.began:.0f} s under {len(made.story) - 1} "
        f"faults; {ledger.asked_again} questions and {ledger.reports} reports sent, {len(ledger.trades)} positions; {count}; "
        f"{len(ledger.given_up)} never answered, {len(ledger.final)} failed for good, {len(made.lost)} lay in a spool that was thrown "
        f"away; verdict {operators['decision']} from both"
    )
    return said + "".join(f"; skipped {each}" for each in sorted(made.skipped))


async def played(made: World, lanes: Sequence[Sequence[Fault]], *, seed: int, lasting: tuple[float, float]) -> None:
    """Clients ask while the faults befall."""
    over = asyncio.Event()
    asking = [asyncio.create_task(client.run(over)) for client in made.clients]
    running = asyncio.create_task(made.operator.run())
    watching = asyncio.create_task(watched(made))
    befalling = asyncio.create_task(befall(made, lanes, seed=seed, lasting=lasting))
    try:
        done, _ = await asyncio.wait({running, watching, befalling, *asking}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        assert befalling.done(), "a client or the operator ended"
    finally:
        over.set()
        for task in (watching, befalling):
            task.cancel()
        ended = await asyncio.gather(*asking, return_exceptions=True)
        running.cancel()
        await asyncio.gather(running, watching, befalling, return_exceptions=True)
    assert not [each for each in ended if isinstance(each, BaseException)], ended


def shuffled(kinds: Sequence[Fault], chance: random.Random, count: int | None = None) -> list[Fault]:
    return chance.sample(kinds, count or len(kinds))


async def test_a_few_faults(stoppable_postgres: PostgresServer, tmp_path: Path) -> None:
    lanes = [
        [faults.killed_in_an_outage, faults.cut_off_half_way],
        [faults.locked, faults.operator_killed, faults.read_only],
    ]
    async with world(
        stoppable_postgres, tmp_path, seed=SEED, clients=8, valid=6, block=4, away=1, megabytes=64
    ) as made:
        await played(made, lanes, seed=SEED, lasting=(2, 3))
        print(await judged(made, tmp_path, seed=SEED))
        assert made.operator.deaths == 1


@pytest.mark.whole
@pytest.mark.timeout(1200)
async def test_every_fault(stoppable_postgres: PostgresServer, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    lanes = [shuffled(faults.REPLICA, chance), shuffled(faults.ALL, chance)]
    async with world(
        stoppable_postgres, tmp_path, seed=SEED, clients=8, valid=6, block=5, away=1, megabytes=64
    ) as made:
        await played(made, lanes, seed=SEED, lasting=(2.5, 4))
        print(await judged(made, tmp_path, seed=SEED))


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
async def test_a_hundred_thousand_decisions(stoppable_postgres: PostgresServer, tmp_path: Path) -> None:
    """Every fault of every replica, again and again, with the API server away for a minute."""
    seed = SEED
    stoppable_postgres.keep_statistics()  # a table of 40,000 rows that was never analysed is read from end to end
    async with world(
        stoppable_postgres, tmp_path, seed=seed, clients=32, valid=30, block=60, away=30, megabytes=1500
    ) as made:
        while len(made.ledger.heard) < DECISIONS and time.monotonic() - made.began < MINUTES * 60:
            chance = random.Random(seed)
            lanes = [shuffled(faults.REPLICA, chance), shuffled(faults.ALL, chance)]
            await played(made, lanes, seed=seed, lasting=(3, 9))
            print(f"{len(made.ledger.heard)} decisions after {time.monotonic() - made.began:.0f} s", flush=True)
            seed += 1
        print(await judged(made, tmp_path, seed=SEED))
