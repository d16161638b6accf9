"""A replica that is told to stop stops, whatever happens at that very moment, and loses no decision that was drawn."""

import asyncio
import signal
from dataclasses import replace

import golden_worlds
import httpx
import pytest
from gateway_process import Process
from gateway_rig import Rig, ask, until

from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.core.decision import Apply, Owner
from tradewind.core.model_version.manifests import build_inference_service
from tradewind.gateway.settings import Settings
from tradewind.trading.stopping import PRE_STOP_SECONDS, graceful_seconds, pod_grace_seconds


async def test_a_change_at_the_moment_of_stopping_does_not_swallow_it(rig, gateway):
    running = gateway.app.state.gateway
    task = asyncio.create_task(running._report_forever())
    await asyncio.sleep(0.05)
    running._changed.set()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=2)
    assert done, "the cancellation was lost"
    assert task.cancelled()


@pytest.mark.parametrize("slow", ["arm", "arm and fallback"])
async def test_a_decision_under_way_is_answered_and_stored_after_the_signal(rig: Rig, slow: str) -> None:
    """The arm takes most of the decision's time, and of the fallback's where it never answers."""
    rig.document["arms"]["api"]["timeoutSeconds"] = rig.document["arms"]["safe"]["timeoutSeconds"] = 3
    rig.publish()
    rig.arms["api"].sleeps(1.3 if slow == "arm" else 30)
    rig.arms["safe"].sleeps(1.3)
    gateway = Process(rig, TRADEWIND_DECISION_TIMEOUT_SECONDS="4", TRADEWIND_DATABASE_TIMEOUT_SECONDS="5")
    try:
        async with httpx.AsyncClient(base_url=gateway.url, timeout=20, trust_env=False) as client:
            await gateway.ready(client)
            asked = asyncio.create_task(client.post("/v1/decisions", json=ask("d1")))
            await until(lambda: rig.arms["api"].seen)
            gateway.process.send_signal(signal.SIGTERM)
            answer = await asked
            with pytest.raises(httpx.ConnectError):  # while it ends, nothing new is taken
                await client.post("/v1/decisions", json=ask("d2"))
        assert (answer.status_code, answer.json()["_model_used"]) == (200, "api" if slow == "arm" else "safe")
        assert await asyncio.to_thread(gateway.process.wait, 20) == 0
    finally:
        gateway.process.kill()
        gateway.process.wait()
    row = await rig.row("d1")
    assert (row["state"], row["answered_by"]) == ("answered", answer.json()["_model_used"])


def test_stop_times_follow_from_the_timeouts() -> None:
    for decision, database in ((0.1, 0.05), (20, 1), (900, 30)):
        one_request = 3 * decision + 5 * database
        assert one_request < graceful_seconds(decision, database) <= one_request + 6
        assert pod_grace_seconds(decision, database) >= graceful_seconds(decision, database) + PRE_STOP_SECONDS + 5
    assert graceful_seconds(900, 30) > 45 * 60


@pytest.mark.parametrize("decision", ["100ms", "20s", "900s"])
def test_the_pod_is_given_the_time_that_its_process_takes(decision: str) -> None:
    case = golden_worlds.load("endpoint", "renews-expiry-and-keeps-the-generation")
    timeouts = {"decision": decision, "database": "3s"}
    manifest = case.resource.to_manifest()
    manifest["spec"]["gateway"] = manifest["spec"].get("gateway", {}) | {"timeouts": timeouts}
    decided = replace(case, resource=Endpoint.model_validate(manifest)).decide()
    (pod,) = [
        effect.manifest["spec"]["template"]["spec"]
        for effect in decided.effects
        if isinstance(effect, Apply) and effect.manifest["kind"] == "Deployment"
    ]
    (container,) = pod["containers"]
    environment = {each["name"]: each.get("value", "postgresql://u:p@db/x") for each in container["env"]}
    settings = Settings.from_environment(environment)
    graceful = graceful_seconds(settings.decision_timeout, settings.database_timeout)
    paused = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= paused + graceful + 5


@pytest.mark.parametrize(("timeout", "grace"), [("2s", None), ("15s", None), ("60s", 75), ("900s", 915)])
def test_a_predictor_that_answers_slowly_is_given_time_as_well(timeout: str, grace: int | None) -> None:
    spec = {"model": {"uri": "pvc://m/x", "sha256": "a" * 64}, "serving": {"timeout": timeout}}
    version = ModelVersion.model_validate({"kind": "ModelVersion", "metadata": {"name": "v1"}, "spec": spec})
    made = build_inference_service(version, Owner.of(version), golden_worlds.PLATFORM)
    assert made is not None
    assert made["spec"]["predictor"].get("terminationGracePeriodSeconds") == grace
