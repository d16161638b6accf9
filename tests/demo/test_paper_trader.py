import json
from collections import Counter
from datetime import UTC, datetime

import httpx
import pytest

from demo.bars import SYMBOL, WARMUP, Bar, load_bars
from demo.paper_trader import EXIT_CONFIG, EXIT_GAVE_UP, EXIT_REFUSED, Gateway, TraderError, settle, walk
from tradewind.trading.decision import DecisionRequest
from tradewind.trading.reports import ExecutionReport, OutcomeReport

BARS = load_bars()
BAR = Bar(datetime(2017, 5, 1, 10, tzinfo=UTC), open=1.0, high=1.004, low=0.997, close=1.002)


def answer(action: str = "open_long", stop: float = 0, target: float = 0) -> dict[str, object]:
    size = 0 if action == "hold" else 100
    return {
        "action": action,
        "symbol": SYMBOL,
        "size_usd": size,
        "leverage": 20,
        "stop_loss_pct": stop,
        "take_profit_pct": target,
    }


@pytest.mark.parametrize(
    ("given", "pnl", "reason"),
    [
        (answer("open_long"), 2000 * 0.002 - 0.24, "bar_close"),
        (answer("open_short"), -2000 * 0.002 - 0.24, "bar_close"),
        (answer("open_long", target=0.003), 2000 * 0.003 - 0.24, "take_profit"),
        (answer("open_long", stop=0.003, target=0.003), -2000 * 0.003 - 0.24, "stop_loss"),
        (answer("open_short", stop=0.004), -2000 * 0.004 - 0.24, "stop_loss"),
        (answer("open_short", target=0.003), 2000 * 0.003 - 0.24, "take_profit"),
    ],
)
def test_a_fill_earns_the_change_of_the_price_less_the_cost(given: dict[str, object], pnl: float, reason: str) -> None:
    fill = settle(given, BAR, cost_bp=1.2)
    assert fill is not None
    assert fill.pnl_usd == pytest.approx(pnl, abs=0.005)
    assert (fill.exit_reason, fill.notional_usd, fill.fees_usd) == (reason, 2000, 0.24)
    assert (fill.opened_at, fill.closed_at) == (BAR.opens_at, BAR.closes_at)


@pytest.mark.parametrize("action", ["hold", "close"])
def test_what_opens_nothing_fills_nothing(action: str) -> None:
    assert settle(answer(action), BAR, cost_bp=1.2) is None


class FakeGateway:
    """Answers by a script of failures first, then as the real one would; remembers what was said to it."""

    def __init__(self, *failures: httpx.Response, actions: tuple[str, ...] = ("open_long",)) -> None:
        self.failures = list(failures)
        self.actions = actions
        self.calls: list[tuple[str, dict[str, object]]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.failures:
            return self.failures.pop(0)
        said = json.loads(request.content)
        self.calls.append((request.url.path, said))
        if request.url.path == "/v1/decisions":
            action = self.actions[(len(self.calls) - 1) % len(self.actions)]
            return httpx.Response(200, json=answer(action) | {"_arm": "candidate", "_fallback": False})
        return httpx.Response(200, json={})


def gateway(fake: FakeGateway, patience: float = 10) -> tuple[Gateway, list[float]]:
    slept: list[float] = []
    http = httpx.Client(base_url="http://gateway", transport=httpx.MockTransport(fake))
    return Gateway(http, patience, sleep=slept.append, clock=lambda: sum(slept)), slept


def test_the_walk_speaks_the_gateways_schema_and_reports_before_it_asks_again() -> None:
    fake = FakeGateway()
    client, _ = gateway(fake)
    tally = walk(BARS, client, prefix="r1", start=WARMUP, stop=WARMUP + 3, cost_bp=1.2)
    assert [path for path, _ in fake.calls[:4]] == [
        "/v1/decisions",
        "/v1/decisions/r1-00120/execution",
        "/v1/decisions/r1-00120/outcome",
        "/v1/decisions",
    ]
    asked = DecisionRequest.model_validate(fake.calls[0][1])
    opened = ExecutionReport.model_validate(fake.calls[1][1])
    closed = OutcomeReport.model_validate(fake.calls[2][1])
    asked_next = DecisionRequest.model_validate(fake.calls[3][1])
    assert asked.as_of == BARS[WARMUP].closes_at
    assert opened.opened_at == BARS[WARMUP + 1].opens_at
    assert asked_next.as_of is not None
    assert closed.closed_at <= asked_next.as_of
    assert tally.per_arm()["candidate"]["trades"] == 3


def test_no_trade_is_open_over_a_weekend() -> None:
    last = next(
        i for i in range(200, 400) if BARS[i + 1].opens_at - BARS[i].closes_at > BARS[i].closes_at - BARS[i].opens_at
    )
    fake = FakeGateway()
    tally = walk(BARS, gateway(fake)[0], prefix="r1", start=last - 1, stop=last + 2, cost_bp=1.2)
    assert sum(tally.decisions.values()) == 2
    assert not any(f"-{last:05d}" in path for path, _ in fake.calls)


def test_the_walk_ends_a_while_after_the_experiment() -> None:
    fake = FakeGateway(actions=("hold",))
    asked: list[int] = []

    def answers(request: httpx.Request) -> httpx.Response:
        asked.append(len(asked))
        drawn = {"_experiment": "x"} if len(asked) <= 5 else {}
        return httpx.Response(200, json=fake(request).json() | drawn)

    http = httpx.Client(base_url="http://gateway", transport=httpx.MockTransport(answers))
    walk(BARS, Gateway(http, 10), prefix="r1", start=200, stop=215, cost_bp=1.2, after_experiment=3)
    assert len(asked) == 8


def test_walking_again_says_the_very_same() -> None:
    first, second = FakeGateway(), FakeGateway()
    walk(BARS, gateway(first)[0], prefix="r1", start=200, stop=204, cost_bp=1.2)
    walk(BARS, gateway(second)[0], prefix="r1", start=202, stop=204, cost_bp=1.2)
    assert second.calls == first.calls[6:]


def test_a_hold_reports_nothing_and_a_close_without_position_is_rejected() -> None:
    fake = FakeGateway(actions=("hold", "close"))
    tally = walk(BARS, gateway(fake)[0], prefix="r1", start=200, stop=202, cost_bp=1.2)
    assert [path for path, _ in fake.calls] == ["/v1/decisions", "/v1/decisions", "/v1/decisions/r1-00201/execution"]
    assert fake.calls[2][1] == {"status": "rejected"}
    assert tally.actions == Counter({"candidate/hold": 1, "candidate/close": 1})


def test_it_waits_as_long_as_it_is_told_and_backs_off_where_it_is_told_nothing() -> None:
    fake = FakeGateway(
        httpx.Response(425, headers={"Retry-After": "1"}, json={"error": {"retry_after_seconds": 0.2}}),
        httpx.Response(425, headers={"Retry-After": "1"}, json={"error": "another shape"}),
        httpx.Response(409, headers={"Retry-After": "1"}),
        httpx.Response(503),
        httpx.Response(503),
    )
    client, slept = gateway(fake)
    client.post("/v1/decisions", {})
    assert slept == [0.2, 1.0, 1.0, 0.1, 0.2]
    assert client.waits == Counter({"503": 2, "425": 2, "409": 1})


def test_a_lost_connection_is_tried_again() -> None:
    lost = [httpx.ConnectError("refused")]

    def flaky(request: httpx.Request) -> httpx.Response:
        if lost:
            raise lost.pop()
        return httpx.Response(200, json={"ok": True})

    http = httpx.Client(base_url="http://gateway", transport=httpx.MockTransport(flaky))
    assert Gateway(http, 10, sleep=lambda _: None).post("/v1/decisions", {}) == {"ok": True}


@pytest.mark.parametrize(
    ("failures", "code", "says"),
    [
        ([httpx.Response(401, text="no token")], EXIT_CONFIG, "--token-file"),
        ([httpx.Response(422, text="as_of: required")], EXIT_REFUSED, "as_of: required"),
        ([httpx.Response(409, text="another outcome")], EXIT_REFUSED, "another outcome"),
        ([httpx.Response(425, headers={"Retry-After": "4"}, text="not yet")] * 9, EXIT_GAVE_UP, "put off for 10 s"),
    ],
)
def test_it_gives_up_with_a_reason(failures: list[httpx.Response], code: int, says: str) -> None:
    client, _ = gateway(FakeGateway(*failures))
    with pytest.raises(TraderError, match=says) as caught:
        client.post("/v1/decisions", {})
    assert caught.value.exit_code == code
