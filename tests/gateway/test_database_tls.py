"""A gateway whose database speaks TLS: it is ready with the right CA, and says with a wrong one why it is not."""

import asyncio
from pathlib import Path

import httpx
import pytest
from gateway_process import Process
from gateway_rig import Rig, until

from tls_server import speaking_tls
from tradewind import migrations


@pytest.mark.parametrize("right", [True, False], ids=["right-ca", "wrong-ca"])
async def test_it_obeys_the_ca_that_its_pod_is_given(rig: Rig, tmp_path: Path, *, right: bool) -> None:
    with speaking_tls(tmp_path) as server:
        dsn = server.dsn()
        migrations.upgrade(dsn)
        ca = server.ca if right else server.other_ca
        gateway = Process(rig, TRADEWIND_DSN=dsn, PGSSLMODE="verify-full", PGSSLROOTCERT=str(ca))
        try:
            async with httpx.AsyncClient(base_url=gateway.url, timeout=20, trust_env=False) as client:
                if right:
                    await gateway.ready(client)
                else:
                    await until(lambda: "certificate verify failed" in gateway.log.read_text(), 30)
                    assert "tradewind_database_up 0.0" in (await client.get("/metrics")).text
        finally:
            gateway.process.terminate()
            await asyncio.to_thread(gateway.process.wait, 20)
