"""How long the loop was held up: by the operator's own work, and not by other programs."""

from prometheus_client import REGISTRY

from tradewind.shell.loop import LoopWatch


def longest() -> float | None:
    return REGISTRY.get_sample_value("tradewind_loop_longest_block_seconds")


def test_a_block_is_what_this_thread_computed_of_a_delay() -> None:
    now, computed = [0.0], [0.0]
    watch = LoopWatch(lambda: now[0], lambda: computed[0])
    watch.tick()

    def after(seconds: float, cpu: float) -> float:
        now[0] += seconds
        computed[0] += cpu
        return round(watch.tick(), 3)

    assert after(0.02, 0.0) == 0.0
    assert after(0.32, 0.3) == 0.3
    assert longest() == 0.3
    assert after(0.32, 0.01) == 0.01, "the machine was busy with others"
    after(61, 0)
    assert longest() == 0.3
    after(61, 0)
    assert longest() == 0.0
