"""The work queue: each key once in line, never twice at a time, no wish lost, failures back off."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tradewind.shell.workqueue import WorkQueue

TICK = 0.01


@asynccontextmanager
async def working(
    work: Callable[[str], Awaitable[float | None]], workers: int = 3, **options: float
) -> AsyncIterator[tuple[WorkQueue[str], list[tuple[str, Exception, float]]]]:
    errors: list[tuple[str, Exception, float]] = []
    queue: WorkQueue[str] = WorkQueue(work, on_error=lambda *error: errors.append(error), **options)
    task = asyncio.create_task(queue.run(workers))
    await asyncio.sleep(0)
    yield queue, errors
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], seconds: float = 2.0) -> None:
    for _ in range(int(seconds / 0.002)):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not come true")


async def test_a_key_stands_in_line_once() -> None:
    turns: Counter[str] = Counter()

    async def work(key: str) -> None:
        turns[key] += 1

    queue: WorkQueue[str] = WorkQueue(work, on_error=lambda *_: None)
    for _ in range(5):
        queue.add("a")
    queue.add("b")
    assert queue.depth == 2
    task = asyncio.create_task(queue.run(2))
    await until(lambda: turns.total() == 2)
    await asyncio.sleep(TICK)
    assert turns == {"a": 1, "b": 1}
    assert queue.depth == 0
    task.cancel()


async def test_never_two_workers_on_a_key_and_what_was_added_meanwhile_gets_another_turn() -> None:
    at_work, most, turns = 0, 0, 0
    gate = asyncio.Event()

    async def work(_: str) -> None:
        nonlocal at_work, most, turns
        at_work, turns = at_work + 1, turns + 1
        most = max(most, at_work)
        await gate.wait()
        at_work -= 1

    async with working(work, workers=4) as (queue, _):
        queue.add("a")
        await until(lambda: at_work == 1)
        for _ in range(3):
            queue.add("a")
        await asyncio.sleep(TICK)
        assert turns == 1
        gate.set()
        await until(lambda: turns == 2)
        await asyncio.sleep(TICK)
    assert (most, turns) == (1, 2)


async def test_other_keys_go_on_beside_a_slow_one() -> None:
    done: list[str] = []
    gate = asyncio.Event()

    async def work(key: str) -> None:
        if key == "slow":
            await gate.wait()
        done.append(key)

    async with working(work, workers=2) as (queue, _):
        queue.add("slow")
        for key in "abc":
            queue.add(key)
        await until(lambda: len(done) == 3)
        assert "slow" not in done
        gate.set()
        await until(lambda: "slow" in done)


async def test_of_several_wishes_the_earliest_counts() -> None:
    turns: list[float] = []
    loop = asyncio.get_running_loop()

    async def work(_: str) -> None:
        turns.append(loop.time())

    async with working(work) as (queue, _):
        start = loop.time()
        queue.add_after("a", 5.0)
        queue.add_after("a", 0.05)
        queue.add_after("a", 3.0)
        await until(lambda: bool(turns))
        assert 0.045 <= turns[0] - start < 1.0
        await asyncio.sleep(5 * TICK)
    assert len(turns) == 1


async def test_a_turn_now_takes_the_place_of_a_turn_later() -> None:
    turns = 0

    async def work(_: str) -> None:
        nonlocal turns
        turns += 1

    async with working(work) as (queue, _):
        queue.add_after("a", 0.05)
        queue.add("a")
        await until(lambda: turns == 1)
        await asyncio.sleep(0.1)
    assert turns == 1


async def test_work_says_when_it_wants_another_turn() -> None:
    turns = 0

    async def work(_: str) -> float | None:
        nonlocal turns
        turns += 1
        return TICK if turns < 3 else None

    async with working(work) as (queue, _):
        queue.add("a")
        await until(lambda: turns == 3)
        await asyncio.sleep(3 * TICK)
    assert turns == 3


async def test_failures_back_off_and_success_forgets_them() -> None:
    outcomes = iter([True, True, True, False, True, False])
    turns = 0

    async def work(_: str) -> None:
        nonlocal turns
        turns += 1
        if next(outcomes):
            raise RuntimeError(f"turn {turns}")

    async with working(work, base_delay=0.01, max_delay=0.03) as (queue, errors):
        queue.add("a")
        await until(lambda: turns == 4)
        await asyncio.sleep(0.06)
        queue.add("a")
        await until(lambda: turns == 6)
    delays = [delay for _, _, delay in errors]
    for delay, nominal in zip(delays, [0.01, 0.02, 0.03, 0.01], strict=True):
        assert 0.75 * nominal <= delay <= 1.25 * nominal
    assert [key for key, _, _ in errors] == ["a"] * 4


async def test_news_do_not_hurry_a_key_that_fails_but_a_change_does() -> None:
    async def work(_: str) -> None:
        raise RuntimeError("again")

    async with working(work, base_delay=60.0) as (queue, errors):
        queue.add_soon("a", 0.0)
        await until(lambda: len(errors) == 1)
        for _ in range(10):
            queue.add_soon("a", 0.0)
            await asyncio.sleep(0.002)
        assert len(errors) == 1
        queue.add("a")
        await until(lambda: len(errors) == 2)


async def test_progress_is_noted() -> None:
    async def work(_: str) -> None:
        return None

    async with working(work) as (queue, _):
        before = queue.last_progress
        await asyncio.sleep(TICK)
        queue.add("a")
        await until(lambda: queue.last_progress > before)


async def test_a_round_leaves_those_alone_whose_turn_comes_in_time() -> None:
    """Seen: a round brought two hundred experiments into line at once, and renewals of weights stood behind them for 18 s."""
    turns: list[str] = []

    async def work(key: str) -> None:
        turns.append(key)

    async with working(work) as (queue, _):
        queue.add_after("soon", 45 * TICK)
        queue.add_after("late", 100.0)
        queue.add_round(("late", "soon", "never"), 60 * TICK)
        await until(lambda: len(turns) == 3)
        assert turns == ["late", "never", "soon"]  # at 0, at 40, as it was
        queue.add_round([str(number) for number in range(200)], 60.0)
        await until(lambda: len(turns) == 4)
        await asyncio.sleep(TICK)
        assert turns[3:] == ["0"]


async def test_it_is_drained_once_nothing_is_in_line_or_in_work() -> None:
    go = asyncio.Event()

    async def work(_: str) -> None:
        await go.wait()

    async with working(work) as (queue, _):
        await queue.drained()
        queue.add("a")
        waiting = asyncio.create_task(queue.drained())
        await asyncio.sleep(TICK)
        queue.add("a")
        assert not waiting.done()
        go.set()
        await waiting
        assert queue.depth == 0
