"""The gateway's surroundings as fixtures; see gateway_rig.py."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from gateway_rig import Rig, build_rig


@pytest.fixture
async def rig(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Rig]:
    rig = await build_rig(postgres_dsn, tmp_path)
    yield rig
    await rig._stack.aclose()


@pytest.fixture
async def gateway(rig: Rig) -> httpx.AsyncClient:
    return await rig.gateway()
