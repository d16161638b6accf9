"""What would make a replica stand still: plans that read every row, and a garbage collector with much to walk over."""

import gc
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from gateway_rig import Rig, ask

from tradewind.gateway import __main__ as process
from tradewind.gateway import servers, statements

MANY = 300


async def test_an_answer_that_is_remembered_is_a_handful_of_objects(rig: Rig) -> None:
    gateway = await rig.gateway()

    async def answered(first: int) -> int:
        for number in range(first, first + MANY):
            answer = await gateway.post(
                "/v1/decisions", json=ask(f"d{number}", scope={"symbol": "BTC", "book": f"{number}"})
            )
            assert answer.status_code == 200, answer.text
            rig.arms["api"].seen.clear()
            rig.arms["api"].headers.clear()
        gc.collect()
        return len(gc.get_objects())

    before = await answered(0)
    assert (await answered(MANY)) - before < 4 * MANY


async def test_the_collector_does_not_walk_over_what_was_loaded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = rig.settings
    seen: list[int] = []
    monkeypatch.setattr(servers, "run", lambda *_, **__: seen.append(gc.get_freeze_count()))
    monkeypatch.setattr(process, "configure_logging", lambda: None)
    monkeypatch.setattr(process, "all_settings", lambda _: (settings,))
    try:
        with pytest.raises(SystemExit):
            process.main()
    finally:
        gc.unfreeze()
    assert seen
    assert seen[0] > len(sys.modules)


async def test_shadows_are_stored_by_lookups_in_a_small_table_too(rig: Rig) -> None:
    """A connection keeps the plan that it made when the table was small: a join would read the whole Endpoint ever after."""
    gateway = await rig.gateway()
    for number in range(120):
        scope = {"symbol": "BTC", "book": f"{number % 40}"}
        assert (await gateway.post("/v1/decisions", json=ask(f"d{number}", scope=scope))).status_code == 200
    await rig.rows("ANALYZE")
    parameters = {"installation": "tradewind", "namespace": "ns", "endpoint": "trader", "shadows": "[]"}
    async with await psycopg.AsyncConnection.connect(rig.dsn, cursor_factory=psycopg.AsyncClientCursor) as connection:
        cursor = await connection.execute(f"EXPLAIN (FORMAT JSON) {statements.STORE_SHADOWS}", parameters)
        (told,) = await cursor.fetchone() or ([],)
    (scan,) = (node for node in nodes(told[0]["Plan"]) if node.get("Relation Name") == "decisions")
    assert "decision_id" in scan.get("Index Cond", "")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan and all below it."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)
