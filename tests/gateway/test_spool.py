"""The spool: whatever one record is like, the others go in; a crash at any point neither loses nor doubles one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from gateway_rig import OPEN, Rig, ask, until

from tradewind.gateway.database import DatabaseDownError, UnstorableError
from tradewind.gateway.spool import Drained, Record, Spool, SpoolFullError

TORN = b'{"state":"answered","decision_id":"torn","request_ha'


def record(name: str, **changes: Any) -> Record:
    """A record as an outage leaves it."""
    return {
        "state": "answered", "answered_by": "api", "answer": dict(OPEN), "probabilities": None, "latency_ms": 1.0, "fallback": False,
        "error_kind": None, "error_detail": None, "cost_cny": None, "reported_model": None, "shown": {}, "decision_id": name,
        "request_hash": "00" * 32, "request": ask(name), "symbol": "BTC", "book": "", "position_id": None, "version": "api",
        "sha256": None, "decided_at": "2026-01-01T00:00:00+00:00",
    } | changes  # fmt: skip


def line(name: str, **changes: Any) -> bytes:
    return json.dumps(record(name, **changes)).encode() + b"\n"


class Folder:
    """A spool's folder, and what was taken in from it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken: list[str] = []

    def spool(self, max_bytes: int = 10**6) -> Spool:
        return Spool(self.path, max_bytes)

    def write(self, name: str, content: bytes) -> None:
        self.path.mkdir(exist_ok=True)
        (self.path / name).write_bytes(content)

    def refused(self) -> list[bytes]:
        file = self.path / "decisions.refused.jsonl"
        return file.read_bytes().splitlines() if file.exists() else []

    async def ingest(self, given: Record) -> None:
        name = str(given["decision_id"])
        if name.startswith("bad"):
            raise UnstorableError("DataError")
        self.taken.append(name)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "spool")


BAD = {
    "not JSON": b"nonsense",
    "half a line": TORN,
    "zeros of a lost block": b"\0" * 500,
    "not UTF-8": b'{"decision_id":"\xff","request_hash":""}',
    "not an object": b"[1]",
    "no id": b'{"request_hash":"00"}',
    "no hash": b'{"decision_id":"d0"}',
    "too deep": b"[" * 100_000,
    "refused by the database": line("bad")[:-1],
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("name", ["decisions.jsonl", "decisions.ingesting.jsonl"])
@pytest.mark.parametrize("at", [0, 1, 2])
async def test_a_bad_line_is_set_aside_and_the_others_go_in(folder: Folder, bad: bytes, name: str, at: int) -> None:
    lines = [line("d1"), line("d2")]
    folder.write(name, b"".join([*lines[:at], bad + b"\n", *lines[at:]]))
    spool = folder.spool()
    assert spool.pending == 3
    with structlog.testing.capture_logs() as logs:
        assert await spool.drain(folder.ingest) == Drained(2, 1)
    assert (folder.taken, folder.refused(), spool.pending) == (["d1", "d2"], [bad], 0)
    assert [log["event"] for log in logs] == ["spooled record refused"]
    assert sorted(path.name for path in folder.path.iterdir()) == ["decisions.refused.jsonl"]


async def test_what_comes_after_half_a_line_is_not_glued_to_it(folder: Folder) -> None:
    folder.write("decisions.jsonl", line("d1") + TORN)
    spool = folder.spool()
    await spool.append(record("d2"))
    await spool.append(record("d3"))
    assert await spool.drain(folder.ingest) == Drained(3, 1)
    assert (folder.taken, folder.refused(), spool.pending) == (["d1", "d2", "d3"], [TORN], 0)


async def test_half_a_line_that_nothing_follows(folder: Folder) -> None:
    folder.write("decisions.jsonl", line("d1") + TORN)
    assert await folder.spool().drain(folder.ingest) == Drained(1, 1)
    assert (folder.taken, folder.refused()) == (["d1"], [TORN])


async def test_a_record_that_an_earlier_version_glued_to_half_a_line_is_found(folder: Folder) -> None:
    folder.write("decisions.jsonl", TORN + line("d1") + line("d2"))
    assert await folder.spool().drain(folder.ingest) == Drained(2, 1)
    assert (folder.taken, folder.refused()) == (["d1", "d2"], [TORN])


@pytest.mark.parametrize("cut", range(0, 1600, 37))
async def test_a_crash_while_writing_loses_nothing_that_was_answered(folder: Folder, cut: int) -> None:
    """The last record is cut at any byte; those before it were answered, and so is one that comes later."""
    content = line("d1") + line("d2") + line("d3")
    whole = content[: len(line("d1") + line("d2"))] + content[len(line("d1") + line("d2")) :][:cut]
    folder.write("decisions.jsonl", whole)
    spool = folder.spool()
    await spool.append(record("d4"))
    await spool.drain(folder.ingest)
    assert [name for name in folder.taken if name != "d3"] == ["d1", "d2", "d4"]
    assert len(folder.refused()) <= 1


async def test_a_crash_while_taking_in_doubles_nothing_that_was_refused(folder: Folder) -> None:
    folder.write("decisions.jsonl", line("d1") + line("bad1") + TORN + b"\n" + line("d2"))

    class CrashError(BaseException):
        pass

    def crash(path: Path) -> None:
        raise CrashError

    for _ in range(3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "unlink", crash)
            with pytest.raises(CrashError):
                await folder.spool().drain(folder.ingest)
    await folder.spool().drain(folder.ingest)
    assert folder.taken == ["d1", "d2"] * 4  # by their key once in the database
    assert folder.refused() == [line("bad1")[:-1], TORN]


async def test_an_outage_in_between_keeps_all_and_refuses_nothing(folder: Folder) -> None:
    folder.write("decisions.jsonl", line("d1") + line("bad1") + line("d2"))
    down = True

    async def ingest(given: Record) -> None:
        if down and given["decision_id"] == "d2":
            raise DatabaseDownError
        await folder.ingest(given)

    spool = folder.spool()
    with pytest.raises(DatabaseDownError):
        await spool.drain(ingest)
    assert (spool.pending, folder.refused()) == (3, [])
    await spool.append(record("d3"))
    down = False
    assert await spool.drain(ingest) == Drained(3, 1)
    assert folder.taken == ["d1", "d1", "d2", "d3"]


async def test_what_comes_while_it_is_taken_in_goes_in_as_well(folder: Folder) -> None:
    spool = folder.spool()
    await spool.append(record("d1"))

    async def ingest(given: Record) -> None:
        if given["decision_id"] == "d1":
            await spool.append(record("d2"))
        await folder.ingest(given)

    await spool.drain(ingest)
    assert (folder.taken, spool.pending) == (["d1", "d2"], 0)


async def test_a_full_spool_leaves_no_half_line(folder: Folder) -> None:
    spool = folder.spool(max_bytes=len(line("d1")) + 100)
    await spool.append(record("d1"))
    with pytest.raises(SpoolFullError):
        await spool.append(record("d2"))
    await spool.drain(folder.ingest)
    assert (folder.taken, folder.refused()) == (["d1"], [])


ODD: dict[str, Callable[[Record], Record]] = {
    "missing": lambda r: {k: v for k, v in r.items() if k != "symbol"},
    "NUL": lambda r: r | {"reported_model": "a\0"},
    "half a pair": lambda r: r | {"reported_model": "\ud83d"},
    "half a pair in JSON": lambda r: r | {"answer": {"reasoning": "\ud83d"}},
    "NUL in JSON": lambda r: r | {"request": {"x\0": 1}},
    "a time that is none": lambda r: r | {"decided_at": "no time"},
    "an object for a text": lambda r: r | {"symbol": {"a": 1}},
    "a text for a truth": lambda r: r | {"fallback": "perhaps"},
    "null for a text": lambda r: r | {"version": None},
    "a hash that is none": lambda r: r | {"request_hash": "xyz"},
    "an endless number": lambda r: r | {"latency_ms": "1e9999"},
}


async def test_no_record_on_disk_blocks_the_others_or_counts_as_an_outage(rig: Rig) -> None:
    """Each of these made the database count as down, or stopped the spool behind it for good."""
    content = b"".join(
        json.dumps(odd(record(f"odd{n}"))).encode() + b"\n" + line(f"d{n}") for n, odd in enumerate(ODD.values())
    )
    rig.settings.spool_dir.mkdir()
    (rig.settings.spool_dir / "decisions.jsonl").write_bytes(content + TORN)
    with structlog.testing.capture_logs() as logs:
        client = await rig.gateway()
        gateway = client.app.state.gateway  # type: ignore[attr-defined]
        await until(lambda: not gateway.spool.pending)
    kept = (rig.settings.spool_dir / "decisions.refused.jsonl").read_bytes().splitlines()
    assert [json.loads(k)["decision_id"] for k in kept[:-1]] == [f"odd{n}" for n in range(len(ODD))]
    assert {row["decision_id"] for row in await rig.rows()} == {f"d{n}" for n in range(len(ODD))}
    assert not [log for log in logs if log["event"] == "database" and not log["up"]]
    counted = gateway.metrics.spool_refused._value
    await until(lambda: counted.get() == len(ODD) + 1)
    assert f"tradewind_spool_refused_total {len(ODD) + 1}.0" in (await client.get("/metrics")).text
