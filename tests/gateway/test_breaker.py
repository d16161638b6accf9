"""The circuit breaker's states on a clock of our own."""

from tradewind.gateway.breaker import Breaker


def test_opens_after_consecutive_failures_only():
    breaker = Breaker(failures_to_open=3, open_seconds=10)
    for now in range(2):
        breaker.failed(now)
    breaker.succeeded()
    breaker.failed(3)
    breaker.failed(4)
    assert breaker.allow(5)
    breaker.failed(5)
    assert not breaker.allow(14.9)


def test_half_open_lets_one_probe_through_a_period():
    breaker = Breaker(failures_to_open=1, open_seconds=10)
    breaker.failed(0)
    assert breaker.allow(10)
    assert not breaker.allow(10)  # the probe is under way
    assert not breaker.allow(19.9)
    assert breaker.allow(20)  # it never came back: the next
    breaker.failed(21)
    assert not breaker.allow(30)
    assert breaker.allow(31)
    breaker.succeeded()
    assert breaker.allow(31)
    assert not breaker.is_open
