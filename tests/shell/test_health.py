"""Alive is not ready: an operator without a list of each kind lives, decides nothing and says so."""

import asyncio

from aiohttp.test_utils import TestClient, TestServer

from tradewind.shell.cache import Key
from tradewind.shell.operator import _health_app
from tradewind.shell.workqueue import WorkQueue


async def statuses(queue: WorkQueue[Key], filled: asyncio.Event, *, waits: bool = False) -> tuple[int, int]:
    async with TestClient(TestServer(_health_app(queue, filled, lambda: waits))) as client:
        return (await client.get("/healthz")).status, (await client.get("/readyz")).status


async def test_alive_without_a_list_ready_with_one_and_neither_when_stuck() -> None:
    async def work(_: Key) -> None:
        return None

    queue: WorkQueue[Key] = WorkQueue(work, on_error=lambda *_: None)
    filled = asyncio.Event()
    queue.add(Key("Endpoint", "trading", "trader"))  # of a watch that was faster than the list
    assert await statuses(queue, filled) == (200, 503)
    filled.set()
    queue.last_progress = asyncio.get_running_loop().time()
    assert await statuses(queue, filled) == (200, 200)
    queue.last_progress -= 200
    assert await statuses(queue, filled) == (500, 503)


async def test_an_operator_that_waits_for_another_one_is_alive_and_not_ready() -> None:
    async def work(_: Key) -> None:
        return None

    queue: WorkQueue[Key] = WorkQueue(work, on_error=lambda *_: None)
    filled = asyncio.Event()
    filled.set()
    assert await statuses(queue, filled) == (200, 200)
    assert await statuses(queue, filled, waits=True) == (200, 503)
