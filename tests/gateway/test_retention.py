"""What is deleted in time, and what is still needed then."""

import asyncio

import psycopg

from tradewind.gateway.statements import PURGE


async def test_decisions_past_their_retention_go_with_their_reports(rig):
    gateway = await rig.gateway(abandoned_after=0.1, retention=3600.0)
    for name in ("old", "new"):
        await rig.trade(gateway, name, f"p-{name}", scope={"symbol": "BTC", "book": name})
        await rig.close(gateway, name)
    await rig.rows("UPDATE tradewind.decisions SET received_at = now() - interval '2 hours' WHERE decision_id = 'old'")
    await asyncio.sleep(0.5)
    for table in ("decisions", "executions", "outcomes"):
        assert [r["decision_id"] for r in await rig.rows(f"SELECT decision_id FROM tradewind.{table}")] == ["new"]


async def test_what_is_still_needed_outlives_its_retention(rig):
    """Open positions, and what an experiment without a verdict is judged on: its draws and the baseline's decisions before."""
    gateway = await rig.gateway(abandoned_after=0.1, retention=3600.0)
    for uid, baseline, decision in (("running", "api", None), ("over", "other", "promote")):
        await rig.rows(
            "INSERT INTO tradewind.experiments (installation, namespace, endpoint, experiment_uid, name, mode, baseline, candidate,"
            " t0, alpha, spec, decision, decided_at) VALUES (%s, 'ns', 'trader', %s, 'e', 'Live', %s, 'v1', now(), 0.05, '{}', %s,"
            " CASE WHEN %s::text IS NOT NULL THEN now() - interval '40 days' END)",
            rig.settings.installation, uid, baseline, decision, decision,
        )  # fmt: skip
    for name in ("free", "open", "prior", "mine", "theirs"):
        await rig.trade(gateway, name, f"p-{name}", scope={"symbol": "BTC", "book": name})
        if name != "open":
            await rig.close(gateway, name)
    for names, columns in {
        ("free", "open"): "drawn_version = 'retired'",
        ("mine",): "experiment_uid = 'running', arm = 'candidate', candidate_weight = 0.5",
        ("theirs",): "experiment_uid = 'over', arm = 'candidate', candidate_weight = 0.5",
    }.items():
        await rig.rows(f"UPDATE tradewind.decisions SET {columns} WHERE decision_id = ANY(%s)", list(names))
    await rig.rows("UPDATE tradewind.decisions SET received_at = now() - interval '2 hours'")
    await asyncio.sleep(0.5)
    kept = [
        r["decision_id"] for r in await rig.rows("SELECT decision_id FROM tradewind.decisions ORDER BY decision_id")
    ]
    assert kept == ["mine", "open", "prior"]
    await rig.close(gateway, "open")
    await asyncio.sleep(0.5)
    assert len(await rig.rows()) == 2


async def test_prices_go_in_time_unless_an_experiment_has_no_verdict(rig):
    gateway = await rig.gateway(abandoned_after=0.1, retention=3600.0)
    bar = {"symbol": "BTC", "seconds": 60, "open": 100.0, "high": 100.0, "low": 100.0, "close": 100.0}
    starts = ["2026-01-05T10:00:00Z", "2026-01-05T10:01:00Z"]

    async def kept():
        await asyncio.sleep(0.5)
        bars = await rig.rows("SELECT starts_at FROM tradewind.bars ORDER BY starts_at")
        return len(bars), len(await rig.rows("SELECT pointer FROM tradewind.request_prices"))

    await rig.rows(
        "INSERT INTO tradewind.experiments (installation, namespace, endpoint, experiment_uid, name, mode, baseline, candidate,"
        " t0, alpha, spec) VALUES (%s, 'ns', 'trader', 'u', 'e', 'Live', 'api', 'v1', now(), 0.05, '{}')",
        rig.settings.installation,
    )
    assert (await gateway.post("/v1/prices", json=[bar | {"start": start} for start in starts])).status_code == 200
    await rig.rows(
        "INSERT INTO tradewind.request_prices (installation, namespace, endpoint, pointer, decision_id, symbol, at, known_at,"
        " received_at) VALUES (%s, 'ns', 'trader', '/market_data/p', 'd', 'BTC', now(), now(), now() - interval '2 hours')",
        rig.settings.installation,
    )
    await rig.rows("UPDATE tradewind.bars SET received_at = now() - interval '2 hours' WHERE starts_at = %s", starts[0])
    assert await kept() == (2, 1)
    await rig.rows("UPDATE tradewind.experiments SET decision = 'rollback', decided_at = now()")
    assert await kept() == (1, 0)


async def test_the_log_of_changes_ends_where_no_look_trusts_it_any_more(rig):
    gateway = await rig.gateway(abandoned_after=0.1)
    for name in ("old", "new"):
        await rig.trade(gateway, name, f"p-{name}", scope={"symbol": "BTC", "book": name})
    await rig.rows("UPDATE tradewind.changes SET at = now() - interval '49 hours' WHERE decision_id = 'old'")
    await asyncio.sleep(0.5)
    assert {r["decision_id"] for r in await rig.rows("SELECT decision_id FROM tradewind.changes")} == {"new"}


async def test_a_sweep_that_finds_nothing_due_reads_no_decision(rig):
    """Seen: 12 s each minute, of each replica, at two million decisions of which none was due."""
    await rig.rows(
        "INSERT INTO tradewind.decisions (installation, namespace, endpoint, decision_id, request_hash, request, scope_symbol,"
        " drawn_version, assignment_key, decided_at, state, answer)"
        " SELECT %s, 'ns', 'trader', 'd' || n, '', '{}', 'BTC', 'api', 'd' || n, now() - n * interval '1 minute', 'answered', '{}'"
        "   FROM generate_series(1, 5000) n",
        rig.settings.installation,
    )
    await rig.rows("ANALYZE tradewind.decisions")
    given = {
        "installation": rig.settings.installation,
        "namespace": "ns",
        "endpoint": "trader",
        "retention": 30 * 86400.0,
    }
    async with await psycopg.AsyncConnection.connect(rig.dsn) as connection:
        explained = await connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {PURGE}", given)
        ((told,),) = await explained.fetchall()

    def read(node):
        mine = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) if "Relation Name" in node else 0
        return mine + sum(read(each) for each in node.get("Plans", ()))

    assert read(told[0]["Plan"]) == 0, told
