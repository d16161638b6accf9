"""A queue that is told to stop stops, also when a wish comes in at that very moment."""

import asyncio

from tradewind.shell.workqueue import WorkQueue


async def test_a_wish_at_the_moment_of_stopping_does_not_swallow_it() -> None:
    async def work(_: str) -> None:
        return None

    queue: WorkQueue[str] = WorkQueue(work, on_error=lambda *_: None)
    task = asyncio.create_task(queue.run(1))
    await asyncio.sleep(0.05)
    queue.add_after("a", 60)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=2)
    assert done, "the cancellation was lost"
    assert task.cancelled()
