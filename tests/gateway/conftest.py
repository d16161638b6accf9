"""The gateway's surroundings as fixtures; see gateway_rig.py."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from gateway_rig import Arm, Rig, arms_app, build_rig, serving


@pytest.fixture(scope="session")
def arms_server() -> Iterator[tuple[dict[str, Arm], str]]:
    arms: dict[str, Arm] = {}
    with serving(arms_app(arms)) as url:
        yield arms, url


@pytest.fixture
async def rig(postgres_dsn: str, tmp_path: Path, arms_server: tuple[dict[str, Arm], str]) -> AsyncIterator[Rig]:
    rig = await build_rig(postgres_dsn, tmp_path, *arms_server)
    yield rig
    await rig._stack.aclose()


@pytest.fixture
async def gateway(rig: Rig) -> httpx.AsyncClient:
    return await rig.gateway()
