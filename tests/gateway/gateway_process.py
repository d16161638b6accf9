"""A gateway as its own process, for what only a process can do: be told to stop, and be killed."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys

import httpx
from gateway_rig import Rig


class Process:
    """`python -m tradewind.gateway` on the rig's database, routing file and arms."""

    def __init__(self, rig: Rig, **environment: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        settings = {
            "TRADEWIND_DSN": rig.dsn, "TRADEWIND_ROUTING": f"file:{rig.routing_file}", "TRADEWIND_NAMESPACE": "ns",
            "TRADEWIND_ROUTING_TRUST": "" if environment.get("TRADEWIND_ROUTING_KEYS") else "unsigned",
            "TRADEWIND_ENDPOINT": "trader", "TRADEWIND_AUTH": "disabled", "TRADEWIND_HOST": "127.0.0.1",
            "TRADEWIND_PORT": str(port), "TRADEWIND_SPOOL_DIR": str(rig.folder / "spool-of-the-process"),
        }  # fmt: skip
        self.log = rig.folder / "gateway.log"
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "tradewind.gateway"]
            self.process = subprocess.Popen(
                command, env={**os.environ, **settings, **environment}, stdout=log, stderr=log
            )

    async def ready(self, client: httpx.AsyncClient) -> None:
        async with asyncio.timeout(60):
            while True:
                assert self.process.poll() is None, self.log.read_text()
                with contextlib.suppress(httpx.HTTPError):
                    metrics = (await client.get("/metrics")).text
                    if "tradewind_database_up 1.0" in metrics and (await client.get("/readyz")).status_code == 200:
                        return
                await asyncio.sleep(0.05)
