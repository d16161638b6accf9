"""A replica that is told to stop stops, whatever happens at that very moment."""

import asyncio


async def test_a_change_at_the_moment_of_stopping_does_not_swallow_it(rig, gateway):
    running = gateway.app.state.gateway
    task = asyncio.create_task(running._report_forever())
    await asyncio.sleep(0.05)
    running._changed.set()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=2)
    assert done, "the cancellation was lost"
    assert task.cancelled()
