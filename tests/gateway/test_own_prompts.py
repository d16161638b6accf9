"""A team's own words through a real gateway: sent exactly, named in the row, and another arm once they change."""

import asyncio
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.responses import JSONResponse, Response
from gateway_rig import Rig, ask, until

from tradewind.trading.assignment import Arm
from tradewind.trading.evidence import Requests
from tradewind.trading.evidence.requests import RequestRow
from tradewind.trading.external_prompt import PromptTemplate
from tradewind.trading.prompt import CONTRACT

WORDS = {
    "system": "Momentum only, {not more}. {{contract}}\nLimits: {{ limits }}",
    "user": "{{symbol}} {{market_data}}|{{account_state}}|{{recent_history}}",
    "source": "momentum/system+user",
}
OTHER = WORDS | {"system": "Reversal only. {{contract}}"}
MARKET = {"BTC": {"price": 68500.0}, "note": "{{symbol}} is not filled in: {{secret}}"}
T0 = datetime(2026, 1, 1, tzinfo=UTC)


async def target(rig: Rig, **changes: Any) -> None:
    rig.publish(arms=rig.document["arms"] | {"api": rig.document["arms"]["api"] | {"timeoutSeconds": 2} | changes})
    await rig.seen()


def identity(words: dict[str, str]) -> str:
    return PromptTemplate(**words).identity


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
async def test_the_words_are_sent_as_they_are_and_the_fields_filled_once(rig, gateway, protocol: str):
    await target(rig, protocol=protocol, prompt=WORDS)
    answer = await gateway.post("/v1/decisions", json=ask("d", market_data=MARKET))
    assert answer.json()["_model_used"] == "api"
    (seen,) = rig.arms["api"].seen
    said = [part["content"] for part in seen["messages"]]
    system, user = said if protocol == "openai" else (seen["system"], *said)
    assert (
        system
        == f"Momentum only, {{not more}}. {CONTRACT.strip()}\nLimits: leverage at most 3, size_usd at most 100, stop_loss_pct above 0"
    )
    assert user == (
        'BTC {"BTC":{"price":68500.0},"note":"{{symbol}} is not filled in: {{secret}}"}'
        '|{"balance":600.0,"permission_level":"L2","positions":[]}|[]'
    )


async def test_only_what_may_leave_is_put_into_the_words(rig, gateway):
    rig.publish(externalFields=["balance"])
    await target(rig, prompt=WORDS)
    await gateway.post("/v1/decisions", json=ask("d"))
    (seen,) = rig.arms["api"].seen
    assert '|{"balance":600.0}|' in seen["messages"][1]["content"]


async def test_each_row_has_the_hash_of_its_words_also_where_there_was_no_answer(rig, gateway):
    await target(rig, prompt=WORDS)
    await gateway.post("/v1/decisions", json=ask("good"))
    rig.arms["api"].content("I would rather not")
    await gateway.post("/v1/decisions", json=ask("bad", scope={"symbol": "ETH"}))
    good, bad = await rig.row("good"), await rig.row("bad")
    digest = PromptTemplate(**WORDS).digest
    assert good["reported_model"] == f"{identity(WORDS)}/chat-7/fp_1"
    assert (bad["error_kind"], bad["reported_model"]) == ("invalid_json", None)
    assert [row["calls"][0]["prompt"] for row in (good, bad)] == [digest, digest]


async def test_a_shadow_says_its_words_too(rig, gateway):
    await target(rig, prompt=WORDS)
    rig.publish(experiment=rig.experiment(shadow="both", candidateWeight="1"))
    await rig.seen()
    await gateway.post("/v1/decisions", json=ask("d"))
    await until(lambda: rig.arms["api"].seen)
    async with asyncio.timeout(15):
        while not (rows := await rig.rows("SELECT * FROM tradewind.shadows")):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert rows[0]["reported_model"] == f"{identity(WORDS)}/chat-7/fp_1"


async def test_other_words_are_another_arm_to_an_experiment(rig, gateway):
    """As when the API reports another model; the source alone is none."""
    names = []
    for at, words in enumerate((WORDS, WORDS | {"source": "copied/system+user"}, OTHER)):
        await target(rig, prompt=words)
        await gateway.post("/v1/decisions", json=ask(f"d{at}", scope={"symbol": "BTC", "book": str(at)}))
        names.append((await rig.row(f"d{at}"))["reported_model"])
    assert names[0] == names[1] != names[2]

    def changes(told: list[str]) -> list[tuple[Arm, str]]:
        rows = [
            RequestRow(f"d{n}", Arm.CANDIDATE, T0 + n * timedelta(days=1), reported_model=m) for n, m in enumerate(told)
        ]
        log = Requests.from_rows(rows).log(T0 + timedelta(days=9), math.inf, T0 + timedelta(hours=1))
        return [(change.arm, change.now) for change in log.changes]

    assert changes(names[:2]) == []
    assert changes(names) == [(Arm.CANDIDATE, names[2])]


async def test_a_name_without_a_fingerprint_is_no_change_of_words(rig, gateway):
    await target(rig, prompt=WORDS)
    said = iter([{"model": "m"}, {"model": "m", "system_fingerprint": "f"}, {}])
    answer = {"choices": [{"message": {"content": '{"action": "hold", "symbol": "BTC", "confidence": 0.5}'}}]}

    async def behave(_: dict[str, Any]) -> Response:
        return JSONResponse(answer | next(said))

    rig.arms["api"].behave = behave
    rows = []
    for at in range(3):
        await gateway.post("/v1/decisions", json=ask(f"d{at}"))
        name = (await rig.row(f"d{at}"))["reported_model"]
        rows.append(RequestRow(f"d{at}", Arm.BASELINE, T0 + at * timedelta(days=1), reported_model=name))
    assert [row.reported_model for row in rows] == [f"{identity(WORDS)}{end}" for end in ("/m", "/m/f", "")]
    assert Requests.from_rows(rows).log(T0 + timedelta(days=9), math.inf, T0 + timedelta(hours=1)).changes == ()


async def test_without_words_nothing_is_sent_and_the_reason_is_told(rig, gateway):
    await target(rig, promptFault="ConfigMap momentum does not exist: create it", probeSeconds=3600)
    answer = (await gateway.post("/v1/decisions", json=ask("d"))).json()
    row = await rig.row("d")
    assert (answer["_model_used"], rig.arms["api"].seen) == ("safe", [])
    assert (row["error_kind"], row["error_cause"]) == ("unavailable", "prompt")
    assert row["error_detail"] == "ConfigMap momentum does not exist: create it"
    watch = gateway.app.state.gateway.health
    await until(lambda: any(arm["version"] == "api" and arm["healthy"] is False for arm in watch.known()))
    assert rig.arms["api"].seen == []
    await target(rig, promptFault=None, prompt=WORDS)
    await until(lambda: any(arm["version"] == "api" and arm["healthy"] for arm in watch.known()))


async def test_changed_words_are_probed_anew(rig, gateway):
    await target(rig, prompt=WORDS, probeSeconds=3600)
    await until(lambda: len(rig.arms["api"].seen) == 1)
    await target(rig, prompt=OTHER)
    await until(lambda: len(rig.arms["api"].seen) == 2)
    assert rig.arms["api"].seen[1]["messages"][0]["content"].startswith("Reversal only.")
