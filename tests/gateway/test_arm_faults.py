"""Whatever an arm says or provokes is its own error: the fallback answers, the row is answered, the caller sees 200."""

import json
import socket
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
import structlog
from fastapi.responses import JSONResponse, Response
from gateway_rig import OPEN, Rig, ask

from tradewind.gateway import arms
from tradewind.gateway.protocols import PROTOCOLS
from tradewind.gateway.protocols.kserve import KServePredict
from tradewind.trading.decision import Action
from tradewind.trading.routing import Protocol

NUL, HALF = "\0", "\ud83d"


def says(rig: Rig, name: str, body: object) -> None:
    """Makes an arm answer with this JSON, unusual characters escaped."""

    async def behave(_: dict) -> Response:
        return Response(json.dumps(body), media_type="application/json")

    rig.arms[name].behave = behave


def chat(decision: dict, **more: object) -> dict:
    return {"choices": [{"message": {"content": json.dumps(decision)}}]} | more


async def asked(rig: Rig, gateway, champion: str) -> dict:
    """The row of a decision that was answered with 200."""
    rig.publish(champion=champion)
    await rig.seen()
    answer = await gateway.post("/v1/decisions", json=ask("d1"))
    row = await rig.row("d1")
    assert (answer.status_code, row["state"]) == (200, "answered"), answer.text
    return row


@pytest.mark.parametrize("odd", [NUL, HALF, "\udc00", HALF + NUL])
@pytest.mark.parametrize("champion", ["api", "v1"])
@pytest.mark.parametrize(
    "make",
    [
        lambda odd: OPEN | {"reasoning": odd},
        lambda odd: OPEN | {"symbol": "BTC" + odd},
        lambda odd: OPEN | {"action": odd},
        lambda odd: {odd: 1},
        lambda odd: OPEN | {"size_usd": odd},
    ],
)
async def test_a_decision_that_cannot_be_stored_is_the_arms_error(rig, gateway, champion, odd, make):
    says(rig, champion, chat(make(odd)) if champion == "api" else {"predictions": [make(odd)]})
    row = await asked(rig, gateway, champion)
    assert (row["answered_by"], row["error_kind"]) == ("safe", "invalid_decision")
    assert row["error_detail"]


@pytest.mark.parametrize("odd", [NUL, HALF, "\udc00", HALF + NUL])
@pytest.mark.parametrize("make", [lambda odd: {f"confid{odd}ence": 1}, lambda odd: {"note": {"deep": [odd]}}])
async def test_what_is_said_beside_a_decision_and_cannot_be_stored_is_left_out(rig, gateway, odd, make):
    says(rig, "v1", {"predictions": [OPEN | make(odd)]})
    assert (await asked(rig, gateway, "v1"))["error_kind"] == "invalid_decision"  # our own model keeps to the schema
    says(rig, "api", chat(OPEN | make(odd) | {"note_2": "kept"}))
    rig.publish(champion="api")
    await rig.seen()
    assert (
        await gateway.post("/v1/decisions", json=ask("d2", scope={"symbol": "BTC", "book": "b"}))
    ).status_code == 200
    row = await rig.row("d2")
    assert (row["answered_by"], row["reading_rules"], row["extra"]) == ("api", ["extra"], {"note_2": "kept"})


async def test_a_field_with_an_endless_name_is_cut_in_the_detail(rig, gateway):
    says(rig, "v1", {"predictions": [OPEN | {"x" * 50_000: 1}]})
    row = await asked(rig, gateway, "v1")
    assert (row["error_kind"], len(row["error_detail"])) == ("invalid_decision", 300)


@pytest.mark.parametrize(
    "text", ["1e999", "-Infinity", "NaN", "1" + "0" * 400, "1" + "0" * 5000, "[" * 90_000 + "]" * 90_000]
)
@pytest.mark.parametrize("name", ["size_usd", "leverage"])
async def test_numbers_and_depths_that_nobody_reads(rig, gateway, name, text):
    body = json.dumps(chat(OPEN | {name: 0})).replace(f'\\"{name}\\": 0', f'\\"{name}\\": {text}')

    async def behave(_: dict) -> Response:
        return Response(body, media_type="application/json")

    rig.arms["api"].behave = behave
    row = await asked(rig, gateway, "api")
    assert row["answered_by"] == "safe"
    assert row["error_kind"] in ("invalid_decision", "invalid_json")


@pytest.mark.parametrize(
    ("more", "reported"),
    [
        ({"model": f"m{HALF}"}, "m\ufffd"),
        ({"system_fingerprint": f"{NUL}f"}, "\ufffdf"),
        ({"model": "m", "system_fingerprint": HALF}, "m/\ufffd"),
        ({"model": "m" * 5000}, "m" * 200),
        ({"model": {NUL: 1}, "system_fingerprint": 7}, None),
        ({"usage": {NUL: HALF}, HALF: NUL}, None),
    ],
)
async def test_what_an_api_says_about_itself_takes_no_answer_away(rig, gateway, more, reported):
    says(rig, "api", chat(OPEN, **more))
    row = await asked(rig, gateway, "api")
    assert (row["answered_by"], row["error_kind"], row["reported_model"]) == ("api", None, reported)


@pytest.mark.parametrize(
    "odd",
    [
        {f"hold{HALF}": 1.0}, {NUL: 1.0}, {"hold": 10**400}, {"h" * 65: 1.0}, {"hold": [[HALF]]}, HALF, {}, {str(n): 0.1 for n in range(17)},
        None, {"hold": None, "close": None}, {"hold": 0.5}, {"hold": 1.2, "close": -0.2}, {"hold": True}, {"hold": 0.0},
    ],
)  # fmt: skip
async def test_an_own_model_without_probabilities_has_not_answered(rig, gateway, odd):
    """Scores that are no numbers come as null, and the decision beside them is the first of each list."""
    says(rig, "v1", {"predictions": [OPEN | {"_probabilities": odd}]})
    row = await asked(rig, gateway, "v1")
    assert (row["answered_by"], row["error_kind"]) == ("safe", "invalid_decision")
    assert "_probabilities: " in row["error_detail"]


async def test_probabilities_add_up_to_1_as_far_as_rounding_goes(rig, gateway):
    says(rig, "v1", {"predictions": [OPEN | {"_probabilities": {"hold": 0.3333, "close": 0.6666}, f"_{NUL}": HALF}]})
    row = await asked(rig, gateway, "v1")
    assert (row["answered_by"], row["error_kind"]) == ("v1", None)
    assert row["probabilities"] == {"hold": 0.3333, "close": 0.6666}


class OddError(Exception):
    """One that nobody foresaw. Its text may hold a secret."""

    def __init__(self) -> None:
        super().__init__("sk-very-secret")


@pytest.mark.parametrize("kind", [OddError, KeyError, RecursionError, MemoryError, UnicodeEncodeError, AssertionError])
@pytest.mark.parametrize("step", ["request", "authenticate", "read"])
async def test_an_unforeseen_exception_is_the_arms_error(rig, gateway, monkeypatch, step, kind):
    class Faulty(KServePredict):
        pass

    def fail(*_: object) -> None:
        raise kind("utf-8", "x", 0, 1, "no") if kind is UnicodeEncodeError else kind()

    setattr(Faulty, step, fail)
    monkeypatch.setattr(arms, "PROTOCOLS", {**PROTOCOLS, Protocol.OPENAI: Faulty()})
    says(rig, "api", {"predictions": [OPEN]})
    rig.document["arms"]["api"]["baseURL"] = rig.document["arms"]["v1"]["baseURL"]
    with structlog.testing.capture_logs() as lines:
        row = await asked(rig, gateway, "api")
    assert (row["answered_by"], row["error_kind"]) == ("safe", "unavailable")
    assert kind.__name__ in row["error_detail"]
    assert any(line["event"] == "arm failed unexpectedly" and line["error"] == kind.__name__ for line in lines)
    assert "sk-very-secret" not in json.dumps(lines) + row["error_detail"]
    metrics = (await gateway.get("/metrics")).text
    assert 'tradewind_arm_errors_total{kind="unavailable",role="drawn",version="api"} 1.0' in metrics


async def test_a_price_that_cannot_be_told_takes_no_answer_away(rig, gateway, monkeypatch):
    class Priceless(KServePredict):
        def price(self, target, usage) -> Decimal | None:
            raise OddError

    monkeypatch.setattr(arms, "PROTOCOLS", {**PROTOCOLS, Protocol.KSERVE: Priceless()})
    row = await asked(rig, gateway, "v1")
    assert (row["answered_by"], row["error_kind"], row["cost_cny"]) == ("v1", None, None)


async def test_a_protocol_that_checks_nothing_is_checked_all_the_same(rig, gateway, monkeypatch):
    class Careless(KServePredict):
        decision: Mapping[str, Any] = MappingProxyType({})
        remarks: Mapping[str, Any] = MappingProxyType({})

        def read(self, body, question):
            answer = super().read(body, question)
            return replace(answer, decision=answer.decision.model_copy(update=self.decision), **self.remarks)

    careless = Careless()
    monkeypatch.setattr(arms, "PROTOCOLS", {**PROTOCOLS, Protocol.KSERVE: careless})
    rig.document["fallback"] = "api"
    careless.remarks = {"reported_model": NUL, "probabilities": {HALF: 1.0}}
    row = await asked(rig, gateway, "v1")
    assert (row["answered_by"], row["reported_model"], row["probabilities"]) == ("v1", "\ufffd", None)
    careless.decision, careless.remarks = {"reasoning": HALF, "action": Action.HOLD}, {}
    assert (await gateway.post("/v1/decisions", json=ask("d2"))).json()["_model_used"] == "api"
    assert (await rig.row("d2"))["error_kind"] == "invalid_decision"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1080"),
        ("all_proxy", "socks9://127.0.0.1:1080"),
        ("HTTP_PROXY", "http://127.0.0.1:port"),
        ("HTTP_PROXY", "http://[::1"),
        ("http_proxy", "ftp://127.0.0.1"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem"),
        ("SSL_CERT_FILE", "/etc/hostname"),
        ("SSLKEYLOGFILE", "/nowhere/keys"),
    ],
)
async def test_a_variable_that_no_client_can_be_made_with_is_named(rig, gateway, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    row = await asked(rig, gateway, "api")
    assert (row["answered_by"], row["error_kind"]) == ("safe", "unavailable")
    assert row["error_detail"].startswith(f"{name} of the gateway's environment")
    assert value not in row["error_detail"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NO_PROXY", "10.0.0.0/8,fd07:b51a:cc66:f0::/64"), ("no_proxy", "localhost,[::1]"), ("NO_PROXY", ",; ,["),
        ("HTTPS_PROXY", "ftp://127.0.0.1"),
    ],
)  # fmt: skip
async def test_a_variable_that_is_about_other_addresses_stops_nothing(rig, gateway, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert (await asked(rig, gateway, "api"))["answered_by"] == "api"


async def test_an_api_is_asked_through_the_proxy_that_the_environment_names(rig, gateway, monkeypatch, arms_server):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert (await asked(rig, gateway, "api"))["error_kind"] == "transport"
    monkeypatch.setenv("NO_PROXY", "fd00::/8, 127.0.0.0/8")
    rig.document["arms"]["api"]["timeoutSeconds"] = 1.5
    rig.publish()
    await rig.seen()
    assert (await gateway.post("/v1/decisions", json=ask("d2"))).json()["_model_used"] == "api"
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", arms_server[1])  # a proxy gets the whole URL: this one looks at its path alone
    rig.document["arms"]["api"] |= {"timeoutSeconds": 1.6, "baseURL": "http://api.test.invalid/api"}
    rig.publish()
    await rig.seen()
    assert (await gateway.post("/v1/decisions", json=ask("d3"))).json()["_model_used"] == "api"
    rig.publish(champion="v1")
    await rig.seen()
    assert (await gateway.post("/v1/decisions", json=ask("d4"))).json()[
        "_model_used"
    ] == "v1"  # inside the cluster: no proxy


async def test_once_it_is_mended_the_arm_is_asked_again(rig, gateway, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "ftp://127.0.0.1")
    assert (await asked(rig, gateway, "api"))["answered_by"] == "safe"
    monkeypatch.delenv("HTTP_PROXY")
    assert (await gateway.post("/v1/decisions", json=ask("d2"))).json()["_model_used"] == "api"


async def test_a_target_that_changes_to_one_without_a_client_keeps_nothing_half_done(rig, gateway, monkeypatch):
    assert (await asked(rig, gateway, "api"))["answered_by"] == "api"
    monkeypatch.setenv("HTTP_PROXY", "ftp://127.0.0.1")
    rig.document["arms"]["api"]["timeoutSeconds"] = 1.5
    rig.publish()
    await rig.seen()
    assert (await gateway.post("/v1/decisions", json=ask("d2"))).json()["_model_used"] == "safe"


@pytest.mark.parametrize("url", ["http://a..b", "http://xn--a", f"http://{'a' * 300}.test", "http://127.0.0.1:0"])
async def test_an_address_that_cannot_be_asked(rig, gateway, url):
    rig.document["arms"]["api"] |= {"baseURL": url, "credentialFile": None}
    row = await asked(rig, gateway, "api")
    assert (row["answered_by"], row["error_kind"]) == ("safe", "transport")


async def test_an_arm_that_hangs_up_or_speaks_something_else(rig, gateway):
    with socket.create_server(("127.0.0.1", 0)) as server:
        rig.document["arms"]["api"]["baseURL"] = f"http://127.0.0.1:{server.getsockname()[1]}"
        rig.publish(champion="api")
        await rig.seen()

        async def behave(_: dict) -> Response:
            return JSONResponse(None, 503)

        rig.arms["safe"].behave = behave
        response = await gateway.post("/v1/decisions", json=ask("d1"))
        assert (response.status_code, "retry-after" in response.headers) == (503, False)
    assert (await rig.row("d1"))["state"] == "failed"
