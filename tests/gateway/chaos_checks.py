"""What must hold of rows, reports and verdict, whatever befell the gateways. Each check gives sentences about what does not."""

import asyncio
import importlib.util
import os
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from chaos_clients import Ledger, Trade
from chaos_operator import UID
from psycopg.rows import dict_row

from tradewind.gateway.conflicts import same_act
from tradewind.shell.database import Database
from tradewind.trading.assignment import draw_arm
from tradewind.trading.evidence import EvidenceSpec, Requests, TradeTable, judge
from tradewind.trading.evidence.report import judgement_json

SLOW_MS = 100.0
"""The latency objective by which verdicts are compared."""
_DRAWN = """
SELECT d.decision_id, d.arm, d.candidate_weight, d.epoch, d.drawn_version, d.parent_decision_id, d.received_at, d.answered_at,
       d.state, d.answer, d.answered_by, d.fallback, d.bar_from_evidence, d.experiment_uid, d.flipped_from, e.candidate_weight AS stored_weight,
       e.created_at AS stored_at, p.arm AS parent_arm, p.epoch AS parent_epoch, p.experiment_uid AS parent_experiment,
       p.drawn_version AS parent_version
  FROM tradewind.decisions d
  LEFT JOIN tradewind.epochs e ON e.epoch = d.epoch
  LEFT JOIN tradewind.decisions p ON p.decision_id = d.parent_decision_id AND p.endpoint = d.endpoint
"""


async def rows_of(dsn: str, statement: str, *parameters: Any) -> list[dict[str, Any]]:
    async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row, autocommit=True) as connection:
        return await (await connection.execute(statement, parameters)).fetchall()  # type: ignore[arg-type]


def draws(rows: Collection[Mapping[str, Any]], versions: Mapping[str, str]) -> Iterator[str]:
    """No row has another arm or weight than was drawn, and no weight was used before it was stored.

    Args:
        versions: of each arm.
    """
    for row in rows:
        name = row["decision_id"]
        if row["parent_decision_id"] is not None:
            inherited = tuple(row[f"parent_{each}"] for each in ("arm", "epoch", "experiment", "version"))
            if (row["arm"], row["epoch"], row["experiment_uid"], row["drawn_version"]) != inherited:
                yield f"{name} continues {row['parent_decision_id']} and has not its draw: {dict(row)}"
            continue
        if row["arm"] is None:
            continue
        weight = row["candidate_weight"]
        if row["arm"] != draw_arm(row["experiment_uid"], name, weight) or row["drawn_version"] != versions[row["arm"]]:
            yield f"{name} has another arm than drawn: {dict(row)}"
        # A flip is drawn anew, once the arm that holds the position has spoken.
        drawn_by = row["received_at"] if row["flipped_from"] is None else row["answered_at"]
        if row["stored_at"] is None or (drawn_by is not None and row["stored_at"] > drawn_by):
            yield f"{name} was drawn by epoch {row['epoch']}, which was not stored by then: {dict(row)}"
        elif weight not in (row["stored_weight"], 0.0):  # 0: it had run out
            yield f"{name} was drawn by {weight}, but epoch {row['epoch']} is {row['stored_weight']}"
        if row["state"] == "answered" and row["bar_from_evidence"] is None:
            allowed = {"safe"} if row["fallback"] else {row["drawn_version"]}
            if row["answered_by"] not in allowed:
                yield f"{name} was drawn for {row['drawn_version']} and answered by {row['answered_by']}"


def answers(
    ledger: Ledger,
    rows: Mapping[str, Mapping[str, Any]],
    kept: Mapping[str, list[Mapping[str, Any]]],
    lost: Collection[str],
) -> Iterator[str]:
    """Every 200 is its row, or one of several answers to a decision that is barred. Nothing is lost.

    Args:
        rows: by id.
        kept: conflicting answers by id.
        lost: ids that lay in a spool that was thrown away.
    """
    for name, heard in ledger.heard.items():
        row = rows.get(name)
        for replica, body in heard:
            if row is None:
                if name not in lost:
                    yield f"{name}, answered by {replica}, has no row: {body}"
            elif not _accounted(body, row, kept.get(name, []), name in lost):
                others = [dict(other) for other in kept.get(name, [])]
                yield f"{name}, answered by {replica}: {body} is not its row {dict(row)}, nor kept: {others}"


def _accounted(body: Mapping[str, Any], row: Mapping[str, Any], kept: list[Mapping[str, Any]], lost: bool) -> bool:
    said = {key: value for key, value in body.items() if not key.startswith("_") and key != "decision_id"}

    def told_as(answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a caller hears of a stored answer: where the position has ended, a hold of the next arm is its close."""
        return {**answer, "action": "close"} if body.get("_flipped") and answer["action"] == "hold" else answer

    given = [(other["answered_by"], told_as(other["answer"])) for other in kept]
    stored = None if row["answer"] is None else told_as(row["answer"])
    own = stored == said and row["answered_by"] == body["_model_used"]
    if own and row["bar_from_evidence"] is None:
        told = tuple(body.get(key) for key in ("_arm", "_epoch", "_experiment", "_fallback", "_flipped"))
        return told == tuple(row[key] for key in ("arm", "epoch", "experiment_uid", "fallback", "flipped_from"))
    if row["bar_from_evidence"] is None:
        return lost
    if own or (body["_model_used"], said) in given:
        return True
    # Of answers that have a trading system do the same, one is kept: they are no conflict.
    alike = [answer for _, answer in given] + ([] if stored is None else [stored])
    return lost or any(same_act(other, said) for other in alike)


def reports(
    trades: Collection[Trade],
    stored: Mapping[str, Mapping[str, Any]],
    rows: Mapping[str, Mapping[str, Any]],
    lost: Collection[str],
) -> Iterator[str]:
    """What was reported of each decision that somebody acted on was accepted, and stands there once, as it was said last."""
    for trade in trades:
        name = trade.decision_id
        if name in lost:
            continue
        pending = trade.pending
        if pending is not None:
            yield f"{name}: a report is not accepted: {pending.path} {pending.body}: {pending.refused}; {rows.get(name)}"
            continue
        row, first = stored[name], trade.reports[0].body
        if (row["executions"], row["status"]) != (1, first["status"]):
            yield f"{name}: {first['status']} was reported, and is {row}"
        if first["status"] != "opened":
            continue
        if row["opens"] != 1 or row["closes"] != 1 or row["corrections"] != len(trade.reports) - 2:
            yield f"{name}: {len(trade.reports) - 1} outcomes were reported, and are {row}"
        told = (float(row["filled_notional_usd"]), float(row["pnl_usd"]), row["position_id"])
        if told != (first["filled_notional_usd"], trade.reports[-1].body["pnl"], trade.position):
            yield f"{name}: {first} and {trade.reports[-1].body} were reported, and are {row}"
        if float(row["first_pnl_usd"]) != trade.reports[1].body["pnl"]:
            yield f"{name}: evidence goes by {row['first_pnl_usd']}, and {trade.reports[1].body} was first"


REPORTED = """
SELECT d.decision_id, x.status, x.filled_notional_usd, x.position_id, o.pnl_usd, o.first_pnl_usd,
       count(DISTINCT x.decision_id) AS executions,
       count(*) FILTER (WHERE e.kind = 'open') AS opens, count(*) FILTER (WHERE e.kind = 'close') AS closes,
       count(*) FILTER (WHERE e.kind = 'correct') AS corrections
  FROM tradewind.decisions d LEFT JOIN tradewind.executions x USING (installation, namespace, endpoint, decision_id)
  LEFT JOIN tradewind.outcomes o USING (installation, namespace, endpoint, decision_id)
  LEFT JOIN tradewind.events e USING (installation, namespace, endpoint, decision_id)
 GROUP BY d.decision_id, x.status, x.filled_notional_usd, x.position_id, o.pnl_usd, o.first_pnl_usd
"""


async def everything(dsn: str, ledger: Ledger, lost: Collection[str]) -> list[str]:
    """All that does not hold."""
    versions = {"baseline": "api", "candidate": "v1"}
    rows = {row["decision_id"]: row for row in await rows_of(dsn, _DRAWN)}
    kept: dict[str, list[Mapping[str, Any]]] = {}
    for other in await rows_of(dsn, "SELECT decision_id, answer, answered_by FROM tradewind.conflicting_answers"):
        kept.setdefault(other["decision_id"], []).append(other)
    stored = {row["decision_id"]: row for row in await rows_of(dsn, REPORTED)}
    judged = await rows_of(
        dsn,
        "SELECT decision_id, pnl_usd, notional_usd FROM tradewind.judged_rows WHERE experiment_uid = %s AND candidate_weight > 0 "
        "AND candidate_weight < 1",
        UID,
    )
    faults = [*ledger.faults, *draws(rows.values(), versions), *answers(ledger, rows, kept, lost)]
    faults += reports(ledger.trades, stored, rows, lost)
    for row in judged:
        of = rows[row["decision_id"]]
        if of["bar_from_evidence"] is not None:
            faults.append(f"{row['decision_id']} is barred ({of['bar_from_evidence']}) and is evidence")
        if of["state"] == "failed" and (row["pnl_usd"] is not None or row["notional_usd"] is not None):
            faults.append(f"{row['decision_id']} has no answer and a result: {row}")
    twice = await rows_of(
        dsn,
        "SELECT decision_id, count(*) FROM tradewind.judged_rows WHERE experiment_uid = %s GROUP BY 1 HAVING count(*) > 1",
        UID,
    )
    faults += [f"{row['decision_id']} is {row['count']} rows of evidence" for row in twice]
    return faults


async def newest_draws(dsn: str, since: datetime) -> list[str]:
    """The same of the rows that came since then; for while it runs."""
    rows = await rows_of(dsn, f"{_DRAWN} WHERE d.received_at > %s", since)
    return list(draws(rows, {"baseline": "api", "candidate": "v1"}))


async def verdicts(dsn: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The operator's, and the one from the table that `jobs/export.py` writes; over rows that are spread over a month first."""
    days = "make_interval(days => 1 + (hashtext(decision_id) & 31))"
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        for name, times in (
            ("outcomes", ("first_closed_at", "first_received_at")),
            ("decisions", ("decided_at", "answered_at")),
        ):
            moved = ", ".join(f"{time} = {time} - {days}" for time in times)
            await connection.execute(f"UPDATE tradewind.{name} SET {moved}")  # type: ignore[arg-type]
    t0, now = datetime.now(UTC) - timedelta(days=40), datetime.now(UTC)
    async with Database(dsn, "tradewind") as database:
        stored = await database.evidence("ns", "trader", UID, t0)
    table = folder / "T.csv"
    await asyncio.to_thread(_export, dsn, table)
    lines = table.read_text().splitlines()
    from_the_table = TradeTable.from_csv(lines), Requests.from_csv(lines)
    operators, ours = (_judged(t0, now, *rows) for rows in ((stored.table, stored.requests), from_the_table))
    return operators, ours


def _judged(t0: datetime, now: datetime, table: TradeTable, requests: Requests | None) -> dict[str, Any]:
    spec = EvidenceSpec()
    assert requests is not None
    names_from, names_until = spec.naming(t0, now)
    return judgement_json(judge(table, t0, now, spec, requests.log(now, SLOW_MS, names_until, names_from)))


def _export(dsn: str, table: Path) -> None:
    file = Path(__file__).parents[2] / "jobs" / "export.py"
    spec = importlib.util.spec_from_file_location("export_job", file)
    assert spec is not None
    assert spec.loader is not None
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    os.environ["TRADEWIND_DSN"] = dsn
    try:
        where = [
            "--namespace",
            "ns",
            "--endpoint",
            "trader",
            "--experiment",
            UID,
            "--result",
            str(table.with_suffix(".json")),
        ]
        assert job.main(["evidence", *where, "-o", str(table)]) == 0
    finally:
        del os.environ["TRADEWIND_DSN"]
