"""The gateway's surroundings as fixtures; see gateway_rig.py."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from gateway_rig import Arm, Rig, arms_app, build_rig, serving

from tradewind.gateway import routing_source


@pytest.fixture(scope="session")
def arms_server() -> Iterator[tuple[dict[str, Arm], str]]:
    arms: dict[str, Arm] = {}
    with serving(arms_app(arms)) as url:
        yield arms, url


@pytest.fixture(scope="session", autouse=True)
def quick_poll() -> Iterator[None]:
    """Tests publish often and wait each time until it is seen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(routing_source, "FILE_POLL_SECONDS", 0.02)
        yield


@pytest.fixture
async def rig(postgres_dsn: str, tmp_path: Path, arms_server: tuple[dict[str, Arm], str]) -> AsyncIterator[Rig]:
    rig = await build_rig(postgres_dsn, tmp_path, *arms_server)
    yield rig
    await rig._stack.aclose()


@pytest.fixture
async def gateway(rig: Rig) -> httpx.AsyncClient:
    return await rig.gateway()
