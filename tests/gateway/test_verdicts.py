"""The verdict from the exported CSV is the operator's, whatever came late, twice, or was corrected, and whoever was restarted.

Three histories through real gateways and a real database (days.py), looked at as an operator looks: papers are settled, rows
and losses read, and judged. Beside each look stand the same from nothing and from another connection; at the end all looks
are taken again on the rows as they are by then.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import io
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from days import TICKS_A_DAY, UID, Days, Scenario, now
from golden_worlds import Case, build
from row_model import row as row_of

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.endpoint import Endpoint
from tradewind.cli import evaluate
from tradewind.core.ab_experiment import Turn
from tradewind.core.ab_experiment.observe import observe
from tradewind.core.evidence import lost_counts
from tradewind.gateway import shadow as shadow_module
from tradewind.schema.scalars import as_milliseconds
from tradewind.shell.database import Database
from tradewind.trading.evidence import (
    Evidence,
    EvidenceSpec,
    Judgement,
    LostCounts,
    Memory,
    TradeTable,
    Verdict,
    VerdictReason,
    judge,
    judgement_json,
)
from tradewind.trading.evidence.blocks import SettledRows
from tradewind.trading.evidence.kept import KeptSums, Looked

_spec = importlib.util.spec_from_file_location("export_job", Path(__file__).parents[2] / "jobs" / "export.py")
assert _spec is not None
assert _spec.loader is not None
export_job = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(export_job)

SCENARIOS = {
    "promote": Scenario(edge=0.5, shadow="candidate", days=8, late_from=7),
    "rollback": Scenario(edge=-0.5, shadow="both", days=8, late_from=7),
    "inconclusive": Scenario(edge=0.0, shadow="both", days=8, late_from=0),
}
REASONS: dict[str, set[str]] = {
    "promote": {VerdictReason.BETTER},
    "rollback": {VerdictReason.WORSE, "FastHarm"},
    "inconclusive": {VerdictReason.MAX_DURATION, VerdictReason.MAX_HOLD_TOO_SHORT},
}
"""Of questions that come at one time the order is not told, and a guardrail that is close may trip or not."""
OF_ALL = {
    "answer of HTTP 500", "answer too late", "answer without JSON", "bar posted late", "correct", "follow-up", "gateway restarted",
    "no pair", "operator restarted", "paper after maxHold", "paper reported", "question repeated", "report doubled",
    "report repeated late", "void",
}  # fmt: skip
"""What must have happened in every history."""
OF_ONE = {
    "closed again", "no price for too long", "outcome after maxHold", "outcome never", "rejected after maxHold",
    "rejection voided",
}  # fmt: skip
"""In the last one. A few outcomes after maxHold hold every decision: they are left to a history that needs none."""
OF_ITS_TIME = ("watermark", "message", "corrected", "lost")
"""What a judgement says of its own time: absolute times, and numbers that are told and decide nothing afterwards."""


def case_of(days: Days) -> Case:
    """The experiment and its Endpoint, as they are while it runs."""
    paper = {"price": "/market_data/{symbol}/price", "horizon": "12h", "costBasisPoints": "1", "maxGap": "7h"}
    basis = {"shadow": days.scenario.shadow, "boundary": "fixedHorizon", "scaleBySymbol": True, "paper": paper}
    patch = {
        "metadata": {"namespace": "ns", "uid": UID},
        "spec": {
            "evidence": {"minDuration": "7d", "maxDuration": "8d", "maxLostShare": "0.5", "futility": False},
            "traffic": {"shadow": days.scenario.shadow},
            "guardrails": {"latencyObjective": {"p99": "60s"}, "errorRate": "0.5"},
        },
        "status": {"latencyObjective": {"p99": "60s"}, "baselineRef": {"name": "api"}, "basis": basis},
    }
    return build("ab_experiment", {"resource": patch, "facts": {"table": None}})


@dataclass
class Surroundings:
    """What an operator sees of the cluster; the database is the real one."""

    endpoint: Endpoint
    database: Database
    kept: Memory

    def get(self, *_: Any) -> Endpoint:
        return self.endpoint

    def by_name(self, *_: Any) -> dict[str, Any]:
        return {}

    def memory(self, _: str) -> Memory:
        return self.kept


@dataclass
class Look:
    """One look. `elapsed`: since the start."""

    elapsed: timedelta
    judgement: Judgement
    lost: LostCounts | None


def bits(judgement: Judgement) -> Any:
    """All that a judgement says, and every look on the way to it."""
    looks = judgement.evidence.looks
    paths = {
        **looks.not_worse,
        "better": looks.better,
        "worse": looks.worse,
        "ends": looks.ends,
        "futile": looks.futile,
    }
    return judgement_json(judgement), {name: path.tolist() for name, path in paths.items()}


def differing(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two judgements differ, but for what is of their time."""
    if not isinstance(one, dict | tuple) or type(one) is not type(other) or len(one) != len(other):
        return [] if one == other else [f"{place}: {one} is not {other}"]
    keys = [key for key in one if key not in OF_ITS_TIME] if isinstance(one, dict) else range(len(one))
    return [found for key in keys for found in differing(one[key], other[key], f"{place}.{key}")]


class Counted(Memory):
    """Counts how often something that was kept was used."""

    used = 0

    def recall(self, rows: SettledRows, spec: EvidenceSpec) -> KeptSums | None:
        found = super().recall(rows, spec)
        self.used += found is not None
        return found

    def evidence(self, look: Looked) -> Evidence | None:
        found = super().evidence(look)
        self.used += found is not None
        return found


class Operator:
    """Looks at one history, and forgets what a restart takes."""

    def __init__(self, days: Days, folder: Path) -> None:
        self.days, self.folder, self.case = days, folder, case_of(days)
        self.looks: list[Look] = []
        self.memory = Counted()
        self.restarts: list[Counted] = []

    async def turn(self, database: Database, memory: Memory, at: datetime) -> Turn:
        """What is observed and known at that time, of the experiment with the start that it has now."""
        found = self.case.resource
        assert isinstance(found, ABExperiment)
        found = found.model_copy(update={"status": found.status.model_copy(update={"t0": self.days.start})})
        world: Any = Surroundings(self.case.seen.endpoint, database, memory)
        return Turn(found, await observe(found, world), at)

    async def look(self, database: Database) -> Turn:
        """One turn: judged with what was kept, and from nothing over another connection."""
        at = now()
        turn = await self.turn(database, self.memory, at)
        judgement = turn.judge(at)
        status = turn.shown(turn.experiment.status, at)
        self.looks.append(Look(at - self.days.start, judgement, lost_counts(status.evidence)))
        async with Database(self.days.rig.dsn, "tradewind") as other:
            again = await self.turn(other, Memory(), at)
            assert bits(again.judge(at)) == bits(judgement)
        return turn

    async def exported(self, turn: Turn) -> None:
        """`tradewind evaluate` on the export of the rows of this look."""
        table, file = self.folder / "T.csv", self.folder / "experiment.yaml"
        argv = ["evidence", "--experiment", UID, "-o", str(table), "--namespace", "ns", "--endpoint", "trader"]
        with contextlib.redirect_stderr(io.StringIO()):
            assert await asyncio.to_thread(export_job.main, [*argv, "--result", str(self.folder / "result.json")]) == 0
        status = turn.shown(turn.experiment.status, turn.now)
        manifest = turn.experiment.model_copy(update={"status": status})
        file.write_text(yaml.safe_dump(manifest.model_dump(mode="json", by_alias=True, exclude_none=True)))
        parser = argparse.ArgumentParser()
        evaluate.add_parser(parser.add_subparsers())
        args = parser.parse_args(
            ["evaluate", "--trades", str(table), "--experiment", str(file), "--now", turn.now.isoformat()]
        )
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert args.run(args) == 0
        assert json.loads(out.getvalue()) == json.loads(json.dumps(judgement_json(turn.judge(turn.now))))

    async def looks_again(self, database: Database) -> None:
        """Every look, on the rows as they are now: what came later has changed nothing."""
        turn = await self.turn(database, Memory(), now())
        papers = await self.days.rig.rows("SELECT decision_id, arm, known_at FROM tradewind.papers")
        known = {(row["decision_id"], row["arm"]): row["known_at"] for row in papers}
        for number, look in enumerate(self.looks):
            at = self.days.start + look.elapsed
            slow_ms = as_milliseconds(turn.latency_objective.p99)  # type: ignore[union-attr]
            log = turn.requests.log(at, slow_ms, *reversed(turn.spec.naming(turn.t0, at)))
            # A row that waited for its pair then has it now, so that more blocks may be complete: the others are the same.
            later = judge(turn.table, turn.t0, at, turn.spec, log, look.lost)
            if look.judgement.evidence.block is not None:
                assert (later.evidence.decision, later.evidence.block) == (
                    look.judgement.evidence.decision,
                    look.judgement.evidence.block,
                )
            blocks = look.judgement.evidence.blocks
            assert {name: path[:blocks] for name, path in bits(later)[1].items()} == bits(look.judgement)[1]
            # With the papers that were known by then all of it is the same.
            again = judge(as_known(turn.table, at, known), turn.t0, at, turn.spec, log, look.lost)
            assert not differing(bits(again), bits(look.judgement)), (number, look.elapsed)


def as_known(table: TradeTable, at: datetime, known: dict[tuple[str, str], datetime]) -> TradeTable:
    """The table without the papers that were not known yet."""
    never = datetime.max.replace(tzinfo=UTC)

    def papers(values: Any, arm: str) -> Any:
        there = [known.get((str(name), arm), never) < at for name in table.decision_id]
        return np.where(there, values, np.nan)

    return replace(
        table,
        paper_baseline=papers(table.paper_baseline, "baseline"),
        paper_candidate=papers(table.paper_candidate, "candidate"),
    )


async def lived(days: Days, operator: Operator) -> None:
    """All days of a history, with looks at each day's end and between."""
    await days.begins()
    dsn = days.rig.dsn
    database = await Database(dsn, "tradewind").__aenter__()
    for tick in range(days.scenario.days * TICKS_A_DAY + 3):
        await days.happens()
        if tick % (2 * TICKS_A_DAY) == 4:  # what is new is read, and the rest is that of the look before
            await operator.look(database)
        await days.passes()
        if tick % TICKS_A_DAY == 3 or days.random.random() < 0.1:
            turn = await operator.look(database)
            if tick % 16 == 15:
                await operator.exported(turn)
        if days.random.random() < 0.06:
            await days.restarts()
        if days.random.random() < 0.08:
            days.count["operator restarted"] += 1
            await database.__aexit__(None, None, None)
            database = await Database(dsn, "tradewind").__aenter__()
            operator.restarts.append(operator.memory)
            operator.memory = Counted()
    await operator.exported(await operator.look(database))
    await operator.looks_again(database)
    await the_rows_are_those_of_the_model(days, database)
    await database.__aexit__(None, None, None)
    await days.ends()


async def the_rows_are_those_of_the_model(days: Days, database: Database) -> None:
    stored = {row["decision_id"]: row for row in await days.rig.rows()}
    for row in await days.rig.rows("SELECT * FROM tradewind.reported_papers"):
        stored[f"{row['decision_id']} {row['arm']}"] = row
    rows = {row["decision_id"]: row for row in await database.judged_rows("ns", "trader", UID)}
    assert rows.keys() == days.known.keys()
    for name, known in days.known.items():
        wanted, row = row_of(days, known, stored), rows[name]
        assert row["paper_at"] == wanted.pop("paper_at"), (name, known)
        assert {key: row[key] for key in wanted} == pytest.approx(wanted), (name, known)
        days.count["no pair"] += rows[name]["paper_candidate"] is None


@pytest.mark.parametrize("wanted", SCENARIOS)
async def test_the_csv_has_the_operators_verdict_and_no_look_ever_changes(
    wanted: str, rig: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADEWIND_DSN", rig.dsn)
    monkeypatch.setattr(shadow_module, "_TOGETHER_SECONDS", 0.005)
    days = Days(rig, SCENARIOS[wanted], seed=3 if wanted == "inconclusive" else 1)
    operator = Operator(days, tmp_path)
    await lived(days, operator)
    verdicts = [look.judgement.verdict for look in operator.looks]
    ended = next(verdict for verdict in verdicts if verdict.verdict is not Verdict.CONTINUE)
    assert ended.verdict.value == wanted
    assert ended.reason in REASONS[wanted]
    assert verdicts[0].reason == VerdictReason.NOT_ENOUGH_DATA
    assert operator.looks[-1].judgement.evidence.pairs > 80
    assert sum(memory.used for memory in (operator.memory, *operator.restarts)) > 3
    assert not (OF_ALL if wanted != "inconclusive" else OF_ALL | OF_ONE) - days.count.keys()
