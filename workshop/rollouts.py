"""Argo Rollouts beside us: its controller on the same API server, with AnalysisRuns that ask a web server on loopback.

The program is not part of this repository. `docs/benchmarks.md` says how it is built; it lies in the cache beside the cluster's.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from cluster.layout import cache_root
from workshop.apiserver import ApiServer
from workshop.fleet import Client, all_of
from workshop.progress import StepError

VERSION = "v1.9.1"
NAMESPACE = "argo"
EVERY = "60s"
_RUNS = f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/analysisruns"


def folder() -> Path:
    """Where the controller (`rollouts-controller`) and its kinds (`crds/*.yaml`) are to lie."""
    return cache_root() / f"argo-rollouts-{VERSION}"


class Rollouts:
    """The controller, its kinds and its runs.

    Attributes:
        answered: questions of metrics so far.
    """

    def __init__(self, api: ApiServer, client: Client, user: str, logs: Path) -> None:
        self._api, self._client, self._user, self._logs = api, client, user, logs
        self.answered = 0

    @asynccontextmanager
    async def running(self, runs: int) -> AsyncIterator[subprocess.Popen[bytes]]:
        """The controller's process, with so many AnalysisRuns of two web metrics each. Errors: StepError."""
        program = folder() / "rollouts-controller"
        if not program.is_file():
            raise StepError(f"{program} is not there", "docs/benchmarks.md, Scale, says how it is built")
        for path in sorted((folder() / "crds").glob("*-crd.yaml")):
            body: dict[str, Any] = yaml.safe_load(path.read_text())
            await self._client.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        await self._client.call("POST", "/api/v1/namespaces", body)
        site = await self._serve()
        await self._listed()
        arguments = ["--kubeconfig", str(self._api.kubeconfig(self._user)), "--leader-elect=false"]
        arguments += ["--loglevel=warning", "--metricsport=0", "--healthzPort=0"]
        popen = await asyncio.to_thread(self._started, program, arguments)
        try:
            await all_of(self._run(number, site) for number in range(runs))
            yield popen
        finally:
            popen.terminate()
            popen.wait(30)
            await self._runner.cleanup()

    def _started(self, program: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
        with (self._logs / "argo.log").open("wb") as log:
            return subprocess.Popen([str(program), *arguments], stdout=log, stderr=log)

    async def settled(self) -> None:
        """Until every run has asked each metric once, and the first round is over."""
        while True:
            listed = await self._client.call("GET", _RUNS)
            phases = [(item.get("status") or {}).get("phase") for item in listed["items"]]
            if all(phase == "Running" for phase in phases):
                break
            await asyncio.sleep(5)
        await asyncio.sleep(60)

    async def _listed(self) -> None:
        for _ in range(60):
            try:
                await self._client.call("GET", _RUNS)
            except RuntimeError:
                await asyncio.sleep(0.5)
            else:
                return
        raise StepError("AnalysisRuns are not served", "see the API server's log")

    async def _run(self, number: int, site: str) -> None:
        metric = {
            "interval": EVERY,
            "successCondition": "result >= 0",
            "failureLimit": 3,
            "provider": {"web": {"url": site, "jsonPath": "{$.value}", "timeoutSeconds": 10}},
        }
        spec = {"metrics": [{"name": name, **metric} for name in ("pnl", "errors")]}
        body = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "AnalysisRun",
            "metadata": {"name": f"run-{number}"},
            "spec": spec,
        }
        await self._client.call("POST", _RUNS, body)

    async def _serve(self) -> str:
        async def answer(_: web.Request) -> web.Response:
            self.answered += 1
            return web.json_response({"value": 1})

        app = web.Application()
        app.router.add_get("/metric", answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        assert self._runner.addresses
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/metric"
