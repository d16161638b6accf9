"""A gateway says which rows its role of the database reaches."""

from typing import Any

from gateway_rig import Rig, until
from structlog.testing import capture_logs


async def bound(client: Any) -> bool:
    await until(lambda: client.app.state.gateway.database.bound is not None)
    return "tradewind_database_role_bound 1.0" in (await client.get("/metrics")).text


async def test_a_gateway_with_a_role_of_its_namespaces_own_says_nothing(rig: Rig) -> None:
    with capture_logs() as log:
        assert await bound(await rig.gateway())
    assert not [line for line in log if "remedy" in line]


async def test_a_gateway_with_the_owners_role_warns(rig: Rig) -> None:
    with capture_logs() as log:
        assert not await bound(await rig.gateway(dsn=rig.dsn))
    (line,) = [line for line in log if "remedy" in line]
    assert line["event"] == "the role in TRADEWIND_DSN sees and writes every namespace's rows"
    assert "tradewind tenant add" in line["remedy"]
    assert rig.dsn not in str(log)
