"""Whether an arm answers is found out by asking it, at its price, and told to the operator, in metrics and in the log."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from fastapi.responses import Response
from gateway_rig import Rig, ask

from tradewind.gateway.answers import ArmError
from tradewind.gateway.health import ArmWatch
from tradewind.trading.arm_health import ArmHealth, ArmReason
from tradewind.trading.error_kinds import REMEDIES, ErrorCause, ErrorKind
from tradewind.trading.routing import ArmTarget, Routing

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def watched(rig: Rig, name: str = "api", **changes: Any) -> None:
    arms = rig.document["arms"]
    rig.publish(arms=arms | {name: arms[name] | {"probeSeconds": 0} | changes})
    await rig.seen()


async def known(rig: Rig, name: str = "api") -> dict[str, Any]:
    rows = await rig.rows("SELECT arms FROM tradewind.gateway_replicas")
    return next((arm for row in rows for arm in row["arms"] or () if arm["version"] == name), {})


async def becomes(rig: Rig, *, healthy: bool | None, cause: str | None = None, name: str = "api") -> dict[str, Any]:
    """Waits until the operator would read this of an arm."""

    async def is_so() -> bool:
        found = await known(rig, name)
        return bool(found) and (found["healthy"], found["error_cause"]) == (healthy, cause)

    await until_true(is_so)
    return await known(rig, name)


async def until_true(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(15):
        while not await condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.05)


async def probes(rig: Rig, count: int) -> bool:
    return len(await rig.rows("SELECT version FROM tradewind.probes")) >= count


async def forgotten(rig: Rig) -> bool:
    return not await known(rig)


async def test_an_arm_is_asked_once_when_it_appears_and_the_price_is_kept(rig, gateway):
    await watched(rig)
    found = await becomes(rig, healthy=True)
    await asyncio.sleep(0.6)  # two more looks
    assert len(rig.arms["api"].seen) == 1
    (probe,) = await rig.rows("SELECT * FROM tradewind.probes")
    assert (probe["version"], probe["replica"], probe["error_kind"], probe["cost_cny"]) == (
        "api", "r0", None, Decimal("0.5"),
    )  # fmt: skip
    assert found["target"] == Routing.from_json(rig.routing_file.read_text()).arms["api"].digest
    text = (await gateway.get("/metrics")).text
    assert 'tradewind_arm_healthy{version="api"} 1.0' in text
    assert 'tradewind_arm_health_changes_total{reason="Answers",version="api"} 1.0' in text
    assert 'tradewind_probe_cost_cny_total{version="api"} 0.5' in text
    assert await rig.rows("SELECT decision_id FROM tradewind.decisions") == []


async def test_nothing_of_an_account_is_in_the_question(rig, gateway):
    await gateway.post("/v1/decisions", json=ask("d", account_state={"balance": 600.0, "note": "of-the-account"}))
    await watched(rig)
    await becomes(rig, healthy=True)
    assert "of-the-account" not in json.dumps(rig.arms["api"].seen[-1])


async def test_an_operator_that_asks_for_no_probes_gets_none(rig, gateway):
    await asyncio.sleep(0.6)
    assert rig.arms["api"].seen == []
    assert await known(rig) == {}


@pytest.mark.parametrize(
    ("status", "cause"), [(401, "credential"), (402, "balance"), (404, "not_found"), (422, "parameter")]
)
async def test_a_status_is_told_by_its_cause(rig, gateway, status: int, cause: str):
    rig.arms["api"].status(status)
    await watched(rig)
    found = ArmHealth.model_validate(await becomes(rig, healthy=False, cause=cause))
    assert str(status) in found.message
    assert REMEDIES[cause] in found.message
    assert "sk-very-secret" not in found.message
    assert 'tradewind_arm_healthy{version="api"} 0.0' in (await gateway.get("/metrics")).text


async def test_a_key_that_is_put_right_is_tried_at_once(rig, gateway):
    key = rig.folder / "api-key"
    key.unlink()
    await watched(rig)
    await becomes(rig, healthy=False, cause="secret")
    assert await rig.rows("SELECT version FROM tradewind.probes") == [], "nothing was asked, so nothing was paid"
    await asyncio.sleep(0.3)
    key.write_text("sk-other\n")
    await becomes(rig, healthy=True)
    assert rig.arms["api"].headers[-1]["authorization"] == "Bearer sk-other"


async def test_one_error_of_a_decision_is_no_news_when_the_probe_is_answered(rig, gateway):
    await watched(rig)
    before = await becomes(rig, healthy=True)
    answers: list[Response | None] = [Response("nonsense"), None]

    async def behave(_: dict[str, Any]) -> Response | None:
        return answers.pop(0) if answers else None

    rig.arms["api"].behave = behave
    await gateway.post("/v1/decisions", json=ask("d"))
    assert (await rig.row("d"))["error_kind"] == "invalid_json"
    await until_true(lambda: probes(rig, 2))
    assert await known(rig) == before


async def test_what_goes_on_failing_is_told_and_the_first_answer_ends_it(rig, gateway):
    await watched(rig)
    await becomes(rig, healthy=True)
    rig.arms["api"].content("I would rather not say.")
    await gateway.post("/v1/decisions", json=ask("d1"))
    found = await becomes(rig, healthy=False)
    assert ArmHealth.model_validate(found).reason is ArmReason.INVALID_ANSWERS
    asked = len(rig.arms["api"].seen)
    rig.arms["api"].behave = None
    assert (await gateway.post("/v1/decisions", json=ask("d2"))).json()["_model_used"] == "api"
    await becomes(rig, healthy=True)
    assert len(rig.arms["api"].seen) == asked + 1, "the decision's own answer tells, without a probe"


async def test_another_target_is_another_arm(rig, gateway):
    await watched(rig)
    first = await becomes(rig, healthy=True)
    rig.arms["api"].status(404)
    await watched(rig, model="deepseek-caht")
    found = await becomes(rig, healthy=False, cause="not_found")
    assert found["target"] != first["target"]


async def test_a_probe_goes_through_an_open_breaker_and_closes_it(rig):
    gateway = await rig.gateway(breaker_failures=1, breaker_open_seconds=600.0)
    rig.arms["api"].status(503)
    await gateway.post("/v1/decisions", json=ask("d1"))
    rig.arms["api"].behave = None
    await watched(rig)
    await becomes(rig, healthy=True)
    assert (await gateway.post("/v1/decisions", json=ask("d2"))).json()["_model_used"] == "api"


async def test_the_operator_hears_of_a_change_at_once(rig, gateway):
    async with await psycopg.AsyncConnection.connect(rig.dsn, autocommit=True) as connection:
        await connection.execute("LISTEN tradewind")
        rig.arms["api"].status(401)
        await watched(rig)
        heard = []
        async for notice in connection.notifies(timeout=5):
            heard.append((notice.payload, (await known(rig)).get("healthy")))
            if heard[-1][1] is False:
                break
    assert heard[-1] == ("ns/trader/arms", False), "what is told of is stored before"


async def test_an_arm_that_is_gone_says_nothing_any_more(rig, gateway):
    await watched(rig)
    await becomes(rig, healthy=True)
    await watched(rig, probeSeconds=None)
    await until_true(lambda: forgotten(rig))
    assert 'tradewind_arm_healthy{version="api"}' not in (await gateway.get("/metrics")).text


# --- when an arm is probed -------------------------------------------------------------------------------------------


def watch(seconds: float = 3600.0) -> ArmWatch:
    target = ArmTarget.model_validate(
        {"protocol": "openai", "baseURL": "http://api.test", "model": "m", "probeSeconds": seconds}
    )
    return ArmWatch("api", target, ArmHealth(version="api", target=target.digest, since=NOW), due=0.0)


def refused(cause: ErrorCause = ErrorCause.CREDENTIAL, **more: Any) -> ArmError:
    return ArmError(ErrorKind.STATUS, "HTTP status 401", cause=cause, **more)


def test_what_goes_unasked_is_probed_again_and_what_is_asked_is_not():
    arm = watch(3600.0)
    assert arm.answered(10.0, NOW) is True
    assert arm.due == 3610.0
    assert arm.answered(3000.0, NOW) is False, "no news"
    assert arm.due == 6600.0
    idle = watch(0.0)
    idle.answered(10.0, NOW)
    assert idle.due is None


def test_what_fails_is_asked_ever_more_rarely_and_what_is_paid_for_more_rarely_still():
    free, paid = watch(), watch()
    pauses: dict[bool, list[float]] = {False: [], True: []}
    for arm, costs in ((free, False), (paid, True)):
        for _ in range(9):
            arm.failed(refused(), 0.0, NOW, paid=costs)
            assert arm.due is not None
            pauses[costs].append(arm.due)
    assert pauses[False] == [5, 10, 20, 40, 60, 60, 60, 60, 60]
    assert pauses[True] == [30, 60, 120, 240, 480, 600, 600, 600, 600]


def test_an_api_that_asks_to_be_left_alone_is():
    arm = watch()
    arm.failed(refused(ErrorCause.RATE, wait=900.0), 0.0, NOW, paid=False)
    assert arm.due == 900.0


def test_an_error_in_other_words_is_no_news_and_another_cause_is():
    arm = watch()
    assert arm.failed(ArmError(ErrorKind.STATUS, "request 1", cause=ErrorCause.SERVER), 0.0, NOW, paid=False) is True
    assert arm.failed(ArmError(ErrorKind.STATUS, "request 2", cause=ErrorCause.SERVER), 9.0, NOW, paid=False) is False
    assert arm.health.detail == "request 1"
    assert arm.failed(refused(), 9.0, NOW, paid=False) is True


def test_a_breaker_that_is_open_says_nothing_of_the_arm():
    arm = watch()
    arm.answered(0.0, NOW)
    arm.doubted(ArmError(ErrorKind.BREAKER_OPEN, "not asked"), 1.0)
    assert arm.due == 3600.0
    arm.doubted(ArmError(ErrorKind.OVER_LIMIT, "leverage 9"), 1.0)
    assert arm.due == 3600.0


def test_doubts_in_a_row_are_one_probe():
    arm = watch()
    arm.answered(0.0, NOW)
    arm.probed_at = 0.0
    arm.doubted(refused(), 1.0)
    assert arm.due == 5.0, "not before five seconds after the last probe"
    arm.doubted(refused(), 2.0)
    assert arm.due == 5.0
    arm.probed_at = -100.0
    arm.doubted(refused(), 3.0)
    assert arm.due == 3.0


@pytest.mark.parametrize("cause", list(ErrorCause))
def test_each_cause_has_a_word_of_its_own(cause: ErrorCause):
    found = ArmHealth(version="a", target="t", healthy=False, error_kind="status", error_cause=cause, since=NOW)
    assert found.reason not in (ArmReason.FAILED, ArmReason.ANSWERS, ArmReason.PROBING)


@pytest.mark.parametrize(
    "kind",
    sorted(set(ErrorKind) - {ErrorKind.STATUS, ErrorKind.UNAVAILABLE, ErrorKind.BREAKER_OPEN, ErrorKind.OVER_LIMIT}),
)
def test_each_kind_without_a_cause_has_a_word(kind: ErrorKind):
    found = ArmHealth(version="a", target="t", healthy=False, error_kind=kind, since=NOW)
    assert found.reason in (ArmReason.TIMED_OUT, ArmReason.NOT_CONNECTED, ArmReason.INVALID_ANSWERS)
