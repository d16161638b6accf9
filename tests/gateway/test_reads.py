"""A decision reads a few rows, however many the Endpoint has: as a tenant, with the plans that a connection keeps."""

from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest
from gateway_rig import T0, Rig, ask

ROWS = 4_000
ROUNDS = 12
"""Plans for any value are made from the sixth execution on."""
MOST_ROWS = 80
"""That a decision with a follow-up, its reports, its shadow and its reading back may read of all big tables together."""

FILL = """
SET session_replication_role = replica;
INSERT INTO tradewind.decisions (installation, namespace, endpoint, decision_id, request_hash, retry_hash, request, scope_symbol,
    scope_book, replay, decided_at, received_at, asking_until, drawn_version, assignment_key, state, answered_at, answer, answered_by,
    experiment_uid, arm, candidate_weight, block, epoch)
SELECT 'tradewind', 'ns', 'trader', 'old-' || n, '', '', '{}', 'BTC', 'book-' || n %% 50, %(replay)s, at, at, at, 'api', 'old-' || n,
       'answered', at, '{"action": "open_long"}', 'api', 'exp-1', 'baseline', 0.5, 1, 7
  FROM generate_series(1, %(rows)s) n CROSS JOIN LATERAL (SELECT CASE WHEN %(replay)s THEN timestamptz '2026-01-05' ELSE now() - interval '1 day' END
         + n * interval '1 s' AS at) t;
INSERT INTO tradewind.executions (installation, namespace, endpoint, decision_id, status, position_id, opened_at, filled_notional_usd, closed)
SELECT installation, namespace, endpoint, decision_id, 'opened', decision_id, decided_at, 100, true FROM tradewind.decisions
 WHERE decision_id LIKE 'old-%%';
INSERT INTO tradewind.outcomes (installation, namespace, endpoint, decision_id, closed_at, pnl_usd, exit_reason, label, first_closed_at, first_pnl_usd)
SELECT installation, namespace, endpoint, decision_id, decided_at + interval '1 s', 1, 'test', 'good_decision', decided_at, 1
  FROM tradewind.decisions WHERE decision_id LIKE 'old-%%';
INSERT INTO tradewind.events (installation, namespace, endpoint, decision_id, event_id, number, kind, at, body)
SELECT installation, namespace, endpoint, decision_id, 'opened', 1, 'open', decided_at, '{}' FROM tradewind.decisions
 WHERE decision_id LIKE 'old-%%';
ANALYZE tradewind.decisions, tradewind.executions, tradewind.outcomes, tradewind.events;
"""
BIG = ("decisions", "executions", "outcomes", "events", "shadows", "papers", "changes")


def _reads(dsn: str) -> dict[str, int]:
    """Rows that statements have read of each table so far; those of connections that ended are all in it."""
    sql = """SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables
              WHERE schemaname = 'tradewind' AND relname = ANY(%s)"""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return {name: int(rows) for name, rows in connection.execute(sql, [list(BIG)])}


async def _trades(rig: Rig, client: httpx.AsyncClient, name: str, replay: bool) -> None:
    for number in range(ROUNDS):
        decision_id = f"{name}{number}"
        more: dict[str, Any] = {"account_state": {"balance": 1, "permission_level": "L2", "positions": []}}
        more["scope"] = {"symbol": "BTC", "book": decision_id}
        if replay:
            more["as_of"] = (T0 + timedelta(days=10 if name == "d" else 1, minutes=number)).isoformat()
        await rig.trade(client, decision_id, decision_id, **more)
        follow_up = ask(f"{decision_id}-then", **more, position_id=decision_id)
        assert (await client.post("/v1/decisions", json=follow_up)).status_code == 200
        closed = {"closed_at": more["as_of"]} if replay else {}
        assert (await rig.close(client, decision_id, **closed)).status_code == 200
        assert (await client.get(f"/v1/decisions/{decision_id}")).status_code == 200


@pytest.mark.parametrize("replay", [False, True], ids=["live", "replay"])
@pytest.mark.parametrize("grown", ["analyzed", "never analyzed", "since it is connected"])
async def test_what_a_decision_reads_does_not_grow_with_the_endpoint(rig: Rig, grown: str, replay: bool) -> None:
    def fill() -> None:
        with psycopg.connect(rig.dsn, autocommit=True) as connection:
            for statement in FILL.split(";\n"):
                if statement.strip() and (grown == "analyzed" or "ANALYZE" not in statement):
                    connection.execute(statement, {"rows": ROWS, "replay": replay})  # type: ignore[arg-type]

    route = None if replay else rig.experiment(shadow="both")
    rig.publish(experiment=route, clock="replay" if replay else "live")
    if grown != "since it is connected":
        fill()
    client = await rig.gateway(pool_size=1)
    await rig.seen()
    if grown == "since it is connected":
        await _trades(rig, client, "early", replay)
        fill()
    before = _reads(rig.dsn)
    await _trades(rig, client, "d", replay)
    await rig._stack.aclose()  # what its connections have counted is written when they end
    after = _reads(rig.dsn)
    read = {name: (after[name] - before[name]) / ROUNDS for name in after}
    assert sum(read.values()) < MOST_ROWS, read


async def test_the_server_compiles_no_statement(rig: Rig) -> None:
    """It took a second for each decision of a large Endpoint: the estimate of a rare case was above `jit_above_cost`."""
    client = await rig.gateway(pool_size=1)
    database = client.app.state.gateway.database  # type: ignore[attr-defined]
    assert await database._call("SELECT current_setting('jit') AS jit", {}) == [{"jit": "off"}]
