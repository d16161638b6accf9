"""Spools on one volume: what a dead replica left is written by another one, and nobody touches what a living one has."""

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from gateway_rig import Rig, ask, until

from tradewind.gateway import neighbours
from tradewind.gateway.app import create_app
from tradewind.gateway.neighbours import Lease
from tradewind.gateway.spool import Spool, SpoolFullError

AWAY = "postgresql://u:s3cret@127.0.0.1:9/x"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "LOOK_SECONDS", 0.05)


def aged(folder: Path) -> None:
    """Nobody has signed there for long."""
    past = time.time() - 2 * neighbours.DEAD_AFTER_SECONDS
    os.utime(folder / ".lock", (past, past))


async def left_by(rig: Rig, folder: Path, *names: str) -> None:
    """A replica answers without the database, and dies."""
    app = create_app(replace(rig.settings, dsn=AWAY, spool_dir=folder, spool_shared=True, replica=folder.name))
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://g") as client:
        await until(lambda: app.state.gateway.watcher.current)
        for name in names:
            assert (await client.post("/v1/decisions", json=ask(name))).status_code == 200
    assert (folder / "decisions.jsonl").exists()


async def test_what_a_dead_replica_left_is_written_by_another(rig: Rig) -> None:
    dead = rig.folder / "spools" / "dead"
    await left_by(rig, dead, "d1", "d2")
    await rig.gateway(spool_dir=rig.folder / "spools" / "r0", spool_shared=True)
    await asyncio.sleep(0.3)
    assert not await rig.rows()  # it may come back under its name
    aged(dead)
    await until(lambda: not dead.exists())
    rows = {row["decision_id"]: row for row in await rig.rows()}
    assert {name: row["bar_from_evidence"] for name, row in rows.items()} == dict.fromkeys(
        ("d1", "d2"), "database_outage"
    )


async def test_two_that_look_at_once_write_it_once(rig: Rig) -> None:
    dead = rig.folder / "spools" / "dead"
    await left_by(rig, dead, *(f"d{n}" for n in range(20)))
    aged(dead)
    for name in ("r0", "r1"):
        await rig.gateway(spool_dir=rig.folder / "spools" / name, spool_shared=True, replica=name)
    await until(lambda: not dead.exists())
    assert len(await rig.rows()) == 20
    assert not await rig.rows("SELECT * FROM tradewind.conflicting_answers")


async def test_a_replica_that_lives_keeps_its_spool_however_silent_it_is(rig: Rig) -> None:
    silent = rig.folder / "spools" / "silent"
    await left_by(rig, silent, "d1")
    lease = Lease(silent)
    assert lease.take()
    aged(silent)
    await rig.gateway(spool_dir=rig.folder / "spools" / "r0", spool_shared=True)
    await asyncio.sleep(0.3)
    assert (silent / "decisions.jsonl").exists()
    assert not await rig.rows()
    lease.release()
    await until(lambda: not silent.exists())
    assert len(await rig.rows()) == 1


async def test_a_record_that_cannot_go_in_keeps_the_folder(rig: Rig) -> None:
    dead = rig.folder / "spools" / "dead"
    await left_by(rig, dead, "d1")
    with (dead / "decisions.jsonl").open("ab") as file:
        file.write(b'{"decision_id": "half')
    aged(dead)
    client = await rig.gateway(spool_dir=rig.folder / "spools" / "r0", spool_shared=True)
    refused = dead / "decisions.refused.jsonl"
    await until(lambda: refused.exists() and not (dead / "decisions.ingesting.jsonl").exists())
    assert refused.read_bytes() == b'{"decision_id": "half\n'
    assert len(await rig.rows()) == 1
    assert "tradewind_spool_refused_total 1.0" in (await client.get("/metrics")).text


async def test_nothing_is_spooled_into_a_folder_that_another_replica_takes_in(tmp_path: Path) -> None:
    folder = tmp_path / "r0"
    other, own = Lease(folder), Lease(folder)
    spool = Spool(folder, 10_000, own)
    assert other.take()
    with pytest.raises(SpoolFullError):
        await spool.append({"decision_id": "d", "request_hash": ""})
    (folder / ".lock").unlink()  # taken in: the other one removes the folder
    other.release()
    folder.rmdir()
    await spool.append({"decision_id": "d", "request_hash": ""})
    assert own.take()
    assert not Lease(folder).take()
    own.release()


def test_a_lock_that_was_lost_is_not_believed(tmp_path: Path) -> None:
    lease = Lease(tmp_path)
    assert lease.take()
    (tmp_path / ".lock").unlink()
    new = Lease(tmp_path)
    assert new.take()
    assert not lease.take()
    new.release()
