"""The ConfigMap source against a small HTTP server that lists and watches as the API server does."""

import asyncio
import json

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from gateway_rig import serving, until

from tradewind.gateway.routing_source import ConfigMapSource, RoutingWatcher


class FakeApiServer:
    """Versions of one ConfigMap; a watch ends after each event, as if its time were over."""

    def __init__(self) -> None:
        self.versions: list[str] = []
        self.queries: list[dict[str, str]] = []
        self.app = FastAPI()
        self.app.get("/api/v1/namespaces/ns/configmaps")(self.configmaps)

    def item(self, version: int) -> dict:
        return {
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"routing.json": self.versions[version - 1]},
            "metadata": {"name": "trader-routing", "namespace": "ns", "resourceVersion": str(version)},
        }  # fmt: skip

    async def configmaps(self, request: Request):
        self.queries.append(dict(request.query_params))
        now = len(self.versions)
        if request.query_params.get("watch") != "True":
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

    server = FakeApiServer()
    with serving(server.app) as url:
        configuration = client.Configuration(host=url)
        seen = []
        source = ConfigMapSource("ns", "trader-routing", lambda: configuration)
        watcher = RoutingWatcher(source, "trader", lambda routing: seen.append(routing.generation))
        server.versions.append(json.dumps(rig.document))
        task = asyncio.create_task(watcher.run())
        await until(lambda: seen == [1])  # after a first failure
        for _ in range(3):
            rig.publish()
            server.versions.append(json.dumps(rig.document))
            await until(lambda: seen[-1] == rig.document["generation"])
        stale = json.dumps(rig.document | {"generation": 1, "publishedAt": "2026-01-01T00:00:00Z"})
        server.versions.append(stale)
        server.versions.append("{broken")
        await asyncio.sleep(0.3)
        assert watcher.current is not None
        assert watcher.current.generation == 4  # neither an older nor a broken document is obeyed
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert {q["fieldSelector"] for q in server.queries} == {"metadata.name=trader-routing"}
