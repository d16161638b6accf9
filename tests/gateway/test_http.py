"""The surface: limits, validation, authentication, health, metrics, logs."""

import json

import httpx
import pytest
import structlog
from gateway_rig import ask

from tradewind.gateway.app import create_app
from tradewind.gateway.errors import ApiError, ErrorCode
from tradewind.gateway.settings import Settings, SettingsError
from tradewind.trading.signature import Signer


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scope": {}}, "scope.symbol"),
        ({"scope": {"symbol": "DOGE"}}, "scope.symbol"),
        ({"scope": {"symbol": "BTC", "books": 1}}, "scope.books"),
        ({"decision_id": ""}, "decision_id"),
        ({"decision_id": "x" * 129}, "decision_id"),
        ({"decision_id": "a "}, "decision_id"),
        ({"decision_id": "a\u200bb"}, "decision_id"),
        ({"decision_id": 1.5}, "decision_id"),
        ({"decision_id": True}, "decision_id"),
        ({"position_id": ["p"]}, "position_id"),
        ({"scope": {"symbol": "\u202eBTC"}}, "scope.symbol"),
        ({"scope": {"symbol": "BTC\n"}}, "scope.symbol"),
        ({"account_state": {"permission_level": "L2", "positions": 3}}, "account_state.positions"),
        ({"account_state": {"permission_level": "L2", "positions": [{"id": [1]}]}}, "account_state.positions.0.id"),
        ({"market_data": None}, "market_data"),
        ({"account_state": {"permission_level": "L9"}}, "account_state.permission_level"),
        ({"account_state": {}}, "account_state.permission_level"),
        ({"as_of": "2026-01-01T00:00:00"}, "as_of"),
        ({"as_of": "2026-01-01T00:00:00Z"}, "as_of"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_bad_requests_name_the_field_and_a_remedy(rig, gateway, change, field):
    response = await gateway.post("/v1/decisions", json=ask("d1") | change)
    error = response.json()["error"]
    assert (response.status_code, error["field"]) == (422, field)
    assert error["remedy"]
    assert await rig.rows() == []


def with_value(text):
    """A request whose `market_data.x` is written as this text."""
    return json.dumps(ask("d1", market_data={"x": 0})).replace('"x": 0', f'"x": {text}').encode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"", 400),
        (b'"text"', 422),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
        (with_value("[" * 300 + "]" * 300), 400),
        (json.dumps(ask("d1", market_data={"x": "y" * 300_000})).encode(), 413),
    ],
)
async def test_bad_bodies(rig, gateway, body, status):
    response = await gateway.post("/v1/decisions", content=body)
    assert response.status_code == status, response.text
    assert response.json()["error"]["remedy"]
    assert await rig.rows() == []


async def test_a_streamed_body_is_bounded_too(gateway):
    async def chunks():
        for _ in range(20):
            yield b" " * 64 * 1024

    assert (await gateway.post("/v1/decisions", content=chunks())).status_code == 413


async def test_bearer_token_and_its_rotation(rig, tmp_path):
    token = tmp_path / "token"
    token.write_text("first\n")
    gateway = await rig.gateway(auth_token_file=token)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "first"}):
        response = await gateway.post("/v1/decisions", json=ask("d1"), headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthorized")
    for path in ("/v1/performance", "/v1/training-data"):
        assert (await gateway.get(path)).status_code == 401
    good = await gateway.post("/v1/decisions", json=ask("d1"), headers={"Authorization": "Bearer first"})
    assert good.status_code == 200
    token.write_text("second-token\n")
    assert (
        await gateway.post("/v1/decisions", json=ask("d1"), headers={"Authorization": "Bearer first"})
    ).status_code == 401
    again = await gateway.post("/v1/decisions", json=ask("d1"), headers={"Authorization": "Bearer second-token"})
    assert again.content == good.content


async def test_not_ready_before_the_routing_is_seen(rig):
    rig.routing_file.unlink()
    app = create_app(rig.settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client,
    ):
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        refused = await client.post("/v1/decisions", json=ask("d1"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_routing")
        assert (await client.get("/nowhere")).json()["error"]["code"] == "no_such_route"


async def test_metrics(rig, gateway):
    rig.publish(experiment=rig.experiment(candidateWeight="1", epoch=5))
    await rig.seen()
    rig.arms["v1"].status(500)
    await gateway.post("/v1/decisions", json=ask("d1"))
    await gateway.post("/v1/decisions", json=ask("d1"))
    text = (await gateway.get("/metrics")).text
    for line in (
        'tradewind_decisions_total{arm="candidate",result="answered"} 1.0',
        'tradewind_decisions_total{arm="candidate",result="repeated"} 1.0',
        'tradewind_arm_errors_total{kind="status",role="drawn",version="v1"} 1.0',
        'tradewind_fallbacks_total{version="v1"} 1.0',
        'tradewind_arm_seconds_count{role="drawn",version="v1"} 1.0',
        "tradewind_routing_epoch 5.0",
        "tradewind_database_up 1.0",
        "tradewind_database_role_bound 1.0",
    ):
        assert line in text, line
    assert f"tradewind_routing_generation {float(rig.document['generation'])}" in text


async def test_one_log_line_a_decision_without_secrets_or_account_data(rig, gateway):
    rig.arms["api"].status(401)
    with structlog.testing.capture_logs() as lines:
        account = {"balance": 123456.78, "permission_level": "L2", "tax_number": "4711-0815"}
        await gateway.post("/v1/decisions", json=ask("d1", account_state=account))
    (line,) = [line for line in lines if line["event"] == "decision"]
    assert (line["decision_id"], line["drawn"], line["answered_by"], line["error"]) == ("d1", "api", "safe", "status")
    text = json.dumps(lines, default=str)
    assert not any(
        secret in text for secret in ("sk-very-secret", "123456.78", "4711-0815", rig.dsn, "s3cret-of-the-tests")
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"TRADEWIND_DSN": ""}, "TRADEWIND_DSN is not set"),
        ({"TRADEWIND_DSN": "hunter2"}, "TRADEWIND_DSN is neither"),
        ({"TRADEWIND_ROUTING": "trader-routing"}, "configmap:<namespace>/<name>"),
        ({"TRADEWIND_ROUTING_KEYS": ""}, "TRADEWIND_ROUTING_KEYS is not set; give the public keys"),
        ({"TRADEWIND_ROUTING_KEYS": "c2VjcmV0"}, "TRADEWIND_ROUTING_KEYS: key 1 is no Ed25519 public key"),
        ({"TRADEWIND_ROUTING_TRUST": "all"}, "TRADEWIND_ROUTING_TRUST is 'all'; give unsigned"),
        ({"TRADEWIND_ROUTING_TRUST": "unsigned"}, "exclude each other"),
        (
            {"TRADEWIND_ROUTING_TRUST": "unsigned", "TRADEWIND_ROUTING_KEYS": ""},
            "TRADEWIND_ROUTING_TRUST=unsigned is for a file",
        ),
        ({"TRADEWIND_AUTH": ""}, "TRADEWIND_AUTH=disabled"),
        ({"TRADEWIND_ENDPOINT": ""}, "TRADEWIND_ENDPOINT is not set"),
        ({"TRADEWIND_OPENAI": "true"}, "TRADEWIND_OPENAI is 'true'; give enabled"),
        ({"TRADEWIND_POOL_SIZE": "many"}, "TRADEWIND_POOL_SIZE is 'many'"),
    ],
)
def test_settings(change, words):
    good = {
        "TRADEWIND_DSN": "postgresql://u:hunter2@db/x", "TRADEWIND_ROUTING": "configmap:ns/trader-routing",
        "TRADEWIND_NAMESPACE": "ns", "TRADEWIND_ENDPOINT": "trader", "TRADEWIND_AUTH": "disabled",
        "TRADEWIND_ROUTING_KEYS": ", ".join(Signer.generated().public_keys),
    }  # fmt: skip
    assert Settings.from_environment(good).pool_size == 16
    with pytest.raises(SettingsError) as error:
        Settings.from_environment(good | change)
    assert words in str(error.value)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(("pause", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (30.0, "30")])
def test_retry_after_is_whole_seconds_and_the_body_has_the_pause_itself(pause: float, header: str) -> None:
    error = ApiError(ErrorCode.BLOCK_NOT_PUBLISHED, "m", "r", retry_after=pause)
    assert error.headers() == {"Retry-After": header}
    assert error.body()["error"]["retry_after_seconds"] == pause
    assert ApiError(ErrorCode.NO_ANSWER, "m", "r").headers() == {}
