"""A candidate that is stopped: what was drawn for it and is not answered yet becomes the champion's, and nobody's evidence."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gateway_rig import HOLD, OPEN, Rig, ask, until

from tradewind.trading.assignment import Arm, draw_arm

STOPS, AT_ONCE = 40, 5


def of_book(name: str, **extra: Any) -> dict[str, Any]:
    return ask(name, scope={"symbol": "BTC", "book": name}, **extra)


async def test_no_answer_of_the_candidate_is_given_after_a_stop_whenever_it_comes(rig: Rig) -> None:
    """200 decisions, each at another moment of its life when the stop is seen."""
    chance = random.Random(13)
    rig.arms["v1"].answer = dict(HOLD)

    async def slow(_: dict[str, Any]) -> None:
        await asyncio.sleep(chance.random() * 0.1)

    rig.arms["v1"].behave = slow
    gateway = await rig.gateway()
    database = gateway.app.state.gateway.database  # type: ignore[attr-defined]
    finishing: set[str] = set()
    finish = database.finish

    async def noted(parameters: dict[str, Any], shadow: Any = None) -> bool:
        finishing.add(parameters["decision_id"])
        return bool(await finish(parameters, shadow))

    database.finish = noted
    given: dict[str, tuple[dict[str, Any], bool]] = {}
    for stop in range(STOPS):
        rig.publish(experiment=rig.experiment(uid=f"exp-{stop}", candidateWeight="1"))
        await rig.seen()
        tasks = {}
        for number in range(AT_ONCE):
            name = f"s{stop}-{number}"
            tasks[name] = asyncio.create_task(gateway.post("/v1/decisions", json=of_book(name)))
            await asyncio.sleep(chance.random() * 0.04)
        rig.publish(experiment=None)
        await rig.seen()
        decided = frozenset(finishing)  # these were answered when it was seen
        for name, task in tasks.items():
            answer = await task
            assert answer.status_code == 200, answer.text
            given[name] = answer.json(), name in decided
    before = {name for name, (answer, _) in given.items() if answer["_model_used"] == "v1"}
    after = given.keys() - before
    assert {name for name, (_, decided) in given.items() if not decided} <= after
    assert len(before) > 10
    assert len(after) > 10  # both are met
    rows = {row["decision_id"]: row for row in await rig.rows()}
    judged = {row["decision_id"] for row in await rig.rows("SELECT decision_id FROM tradewind.judged_rows")}
    for name in after:
        answer, row = given[name][0], rows[name]
        assert (answer["_model_used"], answer["_arm"], answer["_experiment"], answer["_fallback"]) == (
            "api",
            None,
            None,
            False,
        )
        assert (row["arm"], row["experiment_uid"], row["candidate_weight"], row["error_kind"]) == (
            None,
            None,
            None,
            None,
        )
        assert (row["drawn_version"], row["answered_by"], row["bar_from_evidence"]) == ("api", "api", None)
        assert name not in judged
        again = await gateway.post("/v1/decisions", json=of_book(name))
        assert again.json() == answer
    for name in before:
        assert (rows[name]["arm"], rows[name]["answered_by"]) == ("candidate", "v1")
    assert f"tradewind_withdrawn_draws_total {len(after)}.0" in (await gateway.get("/metrics")).text


@pytest.fixture
def held(rig: Rig) -> asyncio.Event:
    """The candidate answers nobody until this is set."""
    freed = asyncio.Event()

    async def behave(_: dict[str, Any]) -> None:
        while not freed.is_set():  # noqa: ASYNC110 - of another loop
            await asyncio.sleep(0.01)

    rig.arms["v1"].behave = behave
    rig.document["arms"]["v1"]["timeoutSeconds"] = 20
    return freed


async def test_a_candidate_that_hangs_is_left_the_moment_it_is_stopped(rig: Rig, held: asyncio.Event) -> None:
    rig.publish(experiment=rig.experiment(candidateWeight="1", shadow="both"))
    gateway = await rig.gateway()
    await rig.seen()
    asked = asyncio.create_task(gateway.post("/v1/decisions", json=of_book("d")))
    await until(lambda: rig.arms["v1"].seen)
    assert not held.is_set()
    rig.publish(experiment=None)
    answer = (await asked).json()  # nobody freed it
    assert (answer["_model_used"], answer["_arm"]) == ("api", None)
    assert not await rig.rows("SELECT * FROM tradewind.shadows")
    held.set()


async def test_one_that_waits_for_its_scope_is_not_asked_of_the_candidate(rig: Rig, held: asyncio.Event) -> None:
    rig.publish(experiment=rig.experiment(candidateWeight="1"))
    gateway = await rig.gateway()
    await rig.seen()
    first = asyncio.create_task(gateway.post("/v1/decisions", json=ask("d1")))
    await until(lambda: rig.arms["v1"].seen)
    rig.arms["api"].answer = dict(HOLD)
    second = asyncio.create_task(gateway.post("/v1/decisions", json=ask("d2")))
    in_work = gateway.app.state.gateway.metrics.in_work  # type: ignore[attr-defined]
    await until(lambda: in_work.collect()[0].samples[0].value == 2)
    rig.publish(experiment=None)
    answers = [(await task).json() for task in (first, second)]
    assert {(answer["_model_used"], answer["_arm"]) for answer in answers} == {("api", None)}
    assert len(rig.arms["v1"].seen) == 1
    held.set()


async def test_a_candidate_that_becomes_champion_answers_what_it_was_asked(rig: Rig, held: asyncio.Event) -> None:
    rig.publish(experiment=rig.experiment(candidateWeight="1"))
    gateway = await rig.gateway()
    await rig.seen()
    asked = asyncio.create_task(gateway.post("/v1/decisions", json=of_book("d")))
    await until(lambda: rig.arms["v1"].seen)
    rig.publish(experiment=None, champion="v1")
    await rig.seen()
    held.set()
    answer = (await asked).json()
    assert (answer["_model_used"], answer["_arm"]) == ("v1", "candidate")


async def test_a_position_is_led_to_its_end_by_who_opened_it(rig: Rig) -> None:
    rig.publish(experiment=rig.experiment(candidateWeight="1"))
    gateway = await rig.gateway()
    await rig.seen()
    opened = await rig.trade(gateway, "d", "p1")
    assert opened["_model_used"] == "v1"
    rig.publish(experiment=None)
    await rig.seen()
    rig.arms["v1"].answer = OPEN | {"action": "close", "size_usd": 0.0}
    account = ask()["account_state"] | {"positions": [{"position_id": "p1", "symbol": "BTC", "size": 1}]}
    follow_up = (await gateway.post("/v1/decisions", json=ask("e", account_state=account))).json()
    assert (follow_up["_model_used"], follow_up["action"]) == ("v1", "close")
    fresh = (await gateway.post("/v1/decisions", json=of_book("f"))).json()
    assert (fresh["_model_used"], fresh["_arm"]) == ("api", None)


async def test_without_the_database_a_stopped_draw_is_the_champions_and_no_evidence(
    rig: Rig, held: asyncio.Event
) -> None:
    rig.publish(experiment=rig.experiment(candidateWeight="1"))
    gateway = await rig.gateway()
    await rig.seen()
    asked = asyncio.create_task(gateway.post("/v1/decisions", json=of_book("d")))
    await until(lambda: rig.arms["v1"].seen)
    database = gateway.app.state.gateway.database  # type: ignore[attr-defined]
    probing = database._call

    async def away(statement: str, parameters: Any, **how: Any) -> Any:
        if how.get("probe"):
            return []
        return await probing(statement, parameters, **how)

    database._call, database.up = away, False
    rig.publish(experiment=None)
    answer = (await asked).json()
    assert (answer["_model_used"], answer["_arm"]) == ("api", None)
    database._call, database.up = probing, True
    await until(lambda: not gateway.app.state.gateway.spool.pending)  # type: ignore[attr-defined]
    row = await rig.row("d")
    assert (row["answered_by"], row["bar_from_evidence"]) == ("api", "database_outage")
    held.set()


def ending(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def test_a_replica_that_hears_of_no_stop_takes_no_answer_of_the_candidate_after_the_expiry(
    rig: Rig, held: asyncio.Event
) -> None:
    """The draw stands: it must not hang on how long an answer takes."""
    rig.publish(experiment=rig.experiment(candidateWeight="0.5"), expiresAt=ending(1.2))
    gateway = await rig.gateway()
    await rig.seen()
    name = next(each for each in map(str, range(99)) if draw_arm("exp-1", each, 0.5) is Arm.CANDIDATE)
    answer = (await gateway.post("/v1/decisions", json=of_book(name))).json()
    assert (answer["_model_used"], answer["_arm"], answer["_fallback"]) == ("safe", "candidate", True)
    row = await rig.row(name)
    assert (row["arm"], row["error_kind"], row["bar_from_evidence"]) == ("candidate", "unavailable", None)
    assert "expired" in row["error_detail"]
    assert row["answered_at"] < datetime.fromisoformat(rig.document["expiresAt"]) + timedelta(seconds=1)
    assert [r["decision_id"] for r in await rig.rows("SELECT decision_id FROM tradewind.judged_rows")] == [name]
    held.set()


async def test_weights_that_are_renewed_in_time_break_nothing_off(rig: Rig, held: asyncio.Event) -> None:
    rig.publish(experiment=rig.experiment(candidateWeight="1"), expiresAt=ending(1.2))
    gateway = await rig.gateway()
    await rig.seen()
    asked = asyncio.create_task(gateway.post("/v1/decisions", json=of_book("d")))
    await until(lambda: rig.arms["v1"].seen)
    rig.publish()
    await rig.seen()
    await asyncio.sleep(1.5)
    held.set()
    answer = (await asked).json()
    assert (answer["_model_used"], answer["_fallback"]) == ("v1", False)


async def test_a_draw_of_a_dead_replica_is_not_asked_of_the_candidate_after_the_expiry(rig: Rig) -> None:
    rig.publish(experiment=rig.experiment(candidateWeight="1"))
    gateway = await rig.gateway()
    await rig.seen()
    assert (await gateway.post("/v1/decisions", json=of_book("d"))).status_code == 200
    asked = len(rig.arms["v1"].seen)
    await rig.rows(
        "UPDATE tradewind.decisions SET state = 'assigned', answer = NULL, answered_by = NULL, answered_at = NULL, holding = false,"
        " held_since = NULL, asking_until = now() - interval '1 s'"
    )
    rig.publish(expiresAt=ending(-1))
    await rig.seen()
    answer = (await gateway.post("/v1/decisions", json=of_book("d"))).json()
    assert (answer["_model_used"], answer["_arm"], answer["_fallback"]) == ("safe", "candidate", True)
    assert len(rig.arms["v1"].seen) == asked


async def test_a_candidate_that_is_the_fallback_answers_as_that(rig: Rig, held: asyncio.Event) -> None:
    gateway = await rig.gateway()
    rig.publish(experiment=rig.experiment(candidateWeight="1"), fallback="v1", expiresAt=ending(2.0))
    await rig.seen()
    asked = asyncio.create_task(gateway.post("/v1/decisions", json=of_book("d")))
    await asyncio.sleep(2.2)
    held.set()
    answer = (await asked).json()
    assert (answer["_model_used"], answer["_fallback"]) == ("v1", False)
