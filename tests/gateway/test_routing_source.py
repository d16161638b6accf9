"""The ConfigMap source against a small HTTP server that lists and watches as the API server does, and what forgers put there."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from gateway_process import Process
from gateway_rig import ask, serving, until

from tradewind.gateway.routing_source import ConfigMapSource, RoutingWatcher
from tradewind.gateway.routing_trust import Judge
from tradewind.trading.routing import text_sha256
from tradewind.trading.signature import Signer, Verifier


class FakeApiServer:
    """Versions of one ConfigMap; a watch ends after each event, as if its time were over."""

    def __init__(self) -> None:
        self.versions: list[tuple[str, str]] = []
        self.queries: list[dict[str, str]] = []
        self.app = FastAPI()
        self.app.get("/api/v1/namespaces/ns/configmaps")(self.configmaps)

    def item(self, version: int) -> dict:
        text, signature = self.versions[version - 1]
        return {
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"routing.json": text, "routing.sig": signature},
            "metadata": {"name": "trader-routing", "namespace": "ns", "resourceVersion": str(version)},
        }  # fmt: skip

    async def configmaps(self, request: Request):
        self.queries.append(dict(request.query_params))
        now = len(self.versions)
        if request.query_params.get("watch", "").lower() != "true":
            if len(self.queries) == 1:
                return JSONResponse({"kind": "Status", "code": 500, "message": "etcd is away"}, 500)
            items = [self.item(now)] if now else []
            meta = {"resourceVersion": str(now)}
            return JSONResponse({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": meta, "items": items})
        since = int(request.query_params["resourceVersion"])

        async def events():
            for _ in range(300):
                if len(self.versions) > since:
                    yield json.dumps({"type": "MODIFIED", "object": self.item(since + 1)}) + "\n"
                    return
                await asyncio.sleep(0.01)

        return StreamingResponse(events(), media_type="application/json")


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the client leaves its TLS context to the collector
async def test_list_watch_reconnect(rig):
    from kubernetes.aio import client

    server, signer = FakeApiServer(), Signer.generated()

    def write(text: str) -> None:
        server.versions.append((text, signer.sign(text, "ns", "trader")))

    judge = Judge("ns", "trader", Verifier(signer.public_keys), lambda: datetime.now(UTC))
    refused: list[str] = []
    with serving(server.app) as url:
        configuration = client.Configuration(host=url)
        seen = []
        source = ConfigMapSource("ns", "trader-routing", lambda: configuration)
        watcher = RoutingWatcher(source, judge, lambda routing: seen.append(routing.generation), refused.append)
        write(json.dumps(rig.document))
        task = asyncio.create_task(watcher.run())
        await until(lambda: seen)  # after a first failure
        assert seen[0] == 1
        for _ in range(3):
            rig.publish()
            write(json.dumps(rig.document))
            await until(lambda: seen[-1] == rig.document["generation"])
        then = "2026-01-01T00:00:00Z"
        stale = json.dumps(rig.document | {"generation": 1, "publishedAt": then, "expiresAt": then})
        write(stale)
        await until(lambda: "older" in refused)
        write("{broken")
        await until(lambda: "malformed" in refused)
        server.versions.append((json.dumps(rig.document), ""))
        await until(lambda: "unsigned" in refused)
        assert watcher.current is not None
        assert watcher.current.generation == 4  # neither an older nor a broken document is obeyed
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert {q["fieldSelector"] for q in server.queries} == {"metadata.name=trader-routing"}


# --- forged documents ------------------------------------------------------------------------------------------------


def forged(rig, **changes) -> dict:
    """A document that sends everything to the arm `v1`, as an attacker writes it who reads the published one."""
    now = datetime.now(UTC)
    times = {"publishedAt": now.isoformat(), "expiresAt": (now + timedelta(seconds=30)).isoformat()}
    return (
        rig.document
        | {"generation": rig.document["generation"] + 1, "champion": "v1", "fallback": "v1"}
        | times
        | changes
    )


def unsigned(rig) -> tuple[str, str, str]:
    return json.dumps(forged(rig)), "", "unsigned"


def by_a_key_of_their_own(rig) -> tuple[str, str, str]:
    text = json.dumps(forged(rig))
    return text, Signer.generated().sign(text, "ns", "trader"), "unknown_key"


def by_a_key_of_their_own_under_our_name(rig) -> tuple[str, str, str]:
    text = json.dumps(forged(rig))
    ours = rig.signer.sign(text, "ns", "trader").partition(":")[0]
    return text, f"{ours}:{Signer.generated().sign(text, 'ns', 'trader').partition(':')[2]}", "bad_signature"


def the_document_of_another_endpoint(rig) -> tuple[str, str, str]:
    text = json.dumps(forged(rig, endpoint="other"))
    return text, rig.signer.sign(text, "ns", "other"), "bad_signature"


def the_document_of_a_namesake_in_another_namespace(rig) -> tuple[str, str, str]:
    text = json.dumps(forged(rig))
    return text, rig.signer.sign(text, "elsewhere", "trader"), "bad_signature"


def the_signature_of_another_text(rig) -> tuple[str, str, str]:
    return json.dumps(forged(rig)), rig.signer.sign(json.dumps(rig.document), "ns", "trader"), "bad_signature"


def half_a_text(rig) -> tuple[str, str, str]:
    text = json.dumps(rig.document)
    return text[: len(text) // 2], rig.signer.sign(text, "ns", "trader"), "bad_signature"


def half_a_text_that_is_signed(rig) -> tuple[str, str, str]:
    text = json.dumps(rig.document)[:-9]
    return text, rig.signer.sign(text, "ns", "trader"), "malformed"


def no_signature_at_all(rig) -> tuple[str, str, str]:
    return json.dumps(forged(rig)), "AAAA:not base64", "unknown_key"


def an_earlier_document_of_this_endpoint(rig) -> tuple[str, str, str]:
    earlier = (datetime.now(UTC) - timedelta(days=3)).isoformat()
    text = json.dumps(forged(rig, generation=rig.document["generation"] - 1, publishedAt=earlier, expiresAt=earlier))
    return text, rig.signer.sign(text, "ns", "trader"), "older"


def a_generation_of_ten_to_the_fifteenth(rig) -> tuple[str, str, str]:
    text = json.dumps(forged(rig, generation=10**15))
    return text, rig.signer.sign(text, "ns", "trader"), "out_of_bounds"


def an_expiry_in_2099(rig) -> tuple[str, str, str]:
    text = json.dumps(forged(rig, expiresAt="2099-01-01T00:00:00Z"))
    return text, rig.signer.sign(text, "ns", "trader"), "out_of_bounds"


def published_in_2099(rig) -> tuple[str, str, str]:
    text = json.dumps(forged(rig, publishedAt="2099-01-01T00:00:00Z", expiresAt="2099-01-01T00:00:30Z"))
    return text, rig.signer.sign(text, "ns", "trader"), "out_of_bounds"


ATTACKS = (
    unsigned,
    by_a_key_of_their_own,
    by_a_key_of_their_own_under_our_name,
    the_document_of_another_endpoint,
    the_document_of_a_namesake_in_another_namespace,
    the_signature_of_another_text,
    half_a_text,
    half_a_text_that_is_signed,
    no_signature_at_all,
    an_earlier_document_of_this_endpoint,
    a_generation_of_ten_to_the_fifteenth,
    an_expiry_in_2099,
    published_in_2099,
)


def refusals(gateway, reason: str) -> float:
    return gateway.app.state.gateway.metrics.routing_refused.labels(reason)._value.get()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_a_forged_document_is_not_obeyed_and_the_last_good_one_goes_on(rig, attack, capsys):
    rig.sign()
    gateway = await rig.gateway()
    await rig.seen()
    watcher = gateway.app.state.gateway.watcher
    before, obeyed = watcher.current, watcher.sha256
    assert obeyed == text_sha256(json.dumps(rig.document))
    text, signature, reason = attack(rig)
    rig.put(text, signature)
    await until(lambda: refusals(gateway, reason))
    assert (watcher.current, watcher.sha256) == (before, obeyed)
    answer = await gateway.post("/v1/decisions", json=ask("d1"))
    assert answer.json()["_model_used"] == "api"
    told = capsys.readouterr()
    assert rig.document["arms"]["v1"]["baseURL"] not in told.out + told.err  # the log has nothing of what it said
    rig.publish()
    await rig.seen()  # the operator's next one is obeyed at once


async def test_a_document_that_is_deleted_changes_nothing(rig):
    rig.sign()
    gateway = await rig.gateway()
    rig.routing_file.unlink()
    rig.routing_file.with_name("routing.json.sig").unlink()
    await asyncio.sleep(0.1)
    assert (await gateway.post("/v1/decisions", json=ask("d1"))).status_code == 200


async def test_a_gateway_whose_keys_overlap_obeys_the_old_key_and_the_new_one(rig):
    rig.sign()
    old, new = rig.signer, Signer.generated()
    gateway = await rig.gateway(verifier=Verifier([*new.public_keys, *old.public_keys]))
    rig.signer = new
    rig.publish()
    await rig.seen()
    rig.signer = old
    rig.publish()
    await rig.seen()
    assert not refusals(gateway, "unknown_key")


async def test_a_process_that_starts_on_a_forged_document_is_not_ready_until_it_is_replaced(rig):
    """As at an upgrade, where an operator of an older release has published: nothing is obeyed before it is signed."""
    rig.sign()
    rig.put(json.dumps(forged(rig)))
    process = Process(rig, TRADEWIND_ROUTING_KEYS=rig.signer.public_keys[0])
    try:
        async with httpx.AsyncClient(base_url=process.url, timeout=20) as client, asyncio.timeout(60):
            while 'tradewind_routing_refused_total{reason="unsigned"}' not in await _metrics(client):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.text) == (503, "routing not seen\n")
            assert (await client.post("/v1/decisions", json=ask("d1"))).status_code == 503
            rig.publish()
            await process.ready(client)
            answer = await client.post("/v1/decisions", json=ask("d1"))
            assert answer.json()["_model_used"] == "api"
            while not (rows := await rig.rows("SELECT * FROM tradewind.gateway_replicas")):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            (row,) = rows
            assert row["routing_sha256"] == text_sha256(json.dumps(rig.document))
            assert row["published_at"] == datetime.fromisoformat(rig.document["publishedAt"])
    finally:
        process.process.terminate()
        process.process.wait(30)


async def _metrics(client) -> str:
    try:
        return (await client.get("/metrics")).text
    except httpx.HTTPError:
        return ""
