"""What is deleted in time, and what is still needed then."""

import asyncio


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
