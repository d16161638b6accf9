"""The paper trader: walks the bars on the data's clock, asks the gateway, reports what became of each decision.

    python -m demo.paper_trader --gateway http://trader-gateway:8080 --token-file /var/run/secrets/tradewind/token \
        --prefix r1-api --start 120 --stop 3000 --cost-bp 1.2

A decision is asked for at the close of bar t with `as_of` = that moment. What it opens is opened at the open of bar t+1
and closed at the close of bar t+1, or at its stop-loss or take-profit where the bar's low or high touched it; where both
were touched the stop counts. The profit is the real change of the price less the cost of the round trip, both on the
notional (size_usd * leverage). Execution and outcome are reported before the next decision is asked for, so at each moment
of the data's clock the gateway knows all that has happened.

At the last close before a weekend nothing is asked: a trade would be open for two days. Each bar is a book of its own: no position, no balance and no history is carried from one to the next, so an arm answers to
the market alone.

Safe to stop and start again: a decision's id is the prefix and the bar's index, the gateway answers a known id with the
stored answer, and reports are idempotent. Belongs here: the walk, the fills and the manners of a polite client. Does not
belong here: features (bars.py) and any opinion about the market.
"""

import argparse
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import httpx

from demo.bars import SYMBOL, WARMUP, Bar, account_state, load_bars, market_is_open_after, market_view

EXIT_CONFIG: Final = 64
EXIT_REFUSED: Final = 65
EXIT_GAVE_UP: Final = 75
RETRIED_STATUS: Final = frozenset({409, 425, 429, 500, 502, 503, 504})

log = logging.getLogger("paper-trader")


class TraderError(Exception):
    """The walk cannot go on; `exit_code` says why, the message says what to do."""

    def __init__(self, exit_code: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Fill:
    """A paper trade over one bar. `pnl_usd` is net of `fees_usd`; both are in whole cents."""

    notional_usd: float
    opened_at: datetime
    closed_at: datetime
    pnl_usd: float
    fees_usd: float
    exit_reason: Literal["bar_close", "stop_loss", "take_profit"]


def settle(answer: Mapping[str, object], bar: Bar, cost_bp: float) -> Fill | None:
    """What a decision earned over the bar after it; None for one that opens nothing.

    Args:
        answer: action, size_usd, leverage, stop_loss_pct, take_profit_pct; distances are fractions of the price, 0 for none.
        bar: the bar that opens after the decision was made.
        cost_bp: cost of the round trip in basis points of the notional.
    """
    side = {"open_long": 1, "open_short": -1}.get(str(answer["action"]))
    if side is None:
        return None
    size, leverage, stop, target = (
        float(str(answer[key])) for key in ("size_usd", "leverage", "stop_loss_pct", "take_profit_pct")
    )
    worst, best = ((p / bar.open - 1) * side for p in ((bar.low, bar.high) if side > 0 else (bar.high, bar.low)))
    change, reason = (bar.close / bar.open - 1) * side, "bar_close"
    if target > 0 and best >= target:
        change, reason = target, "take_profit"
    if stop > 0 and worst <= -stop:
        change, reason = -stop, "stop_loss"
    notional = size * leverage
    fees = round(notional * cost_bp / 1e4, 2)
    return Fill(
        notional_usd=round(notional, 6),
        opened_at=bar.opens_at,
        closed_at=bar.closes_at,
        pnl_usd=round(notional * change - fees, 2),
        fees_usd=fees,
        exit_reason=reason,  # type: ignore[arg-type]
    )


@dataclass(slots=True)
class Tally:
    """What one walk saw, per arm; printed as progress and left as the Job's termination message."""

    decisions: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    trades: Counter[str] = field(default_factory=Counter)
    wins: Counter[str] = field(default_factory=Counter)
    pnl_usd: dict[str, float] = field(default_factory=dict)
    fallbacks: int = 0

    def add(self, answer: Mapping[str, object], fill: Fill | None) -> None:
        """Count one decision and what it earned."""
        arm = str(answer.get("_arm") or "champion")
        self.decisions[arm] += 1
        self.actions[f"{arm}/{answer['action']}"] += 1
        self.fallbacks += bool(answer.get("_fallback"))
        if fill:
            self.trades[arm] += 1
            self.wins[arm] += fill.pnl_usd > 0
            self.pnl_usd[arm] = self.pnl_usd.get(arm, 0.0) + fill.pnl_usd

    def per_arm(self) -> dict[str, dict[str, float | int]]:
        """Decisions, trades, wins and net profit of each arm."""
        return {
            arm: {
                "decisions": count,
                "trades": self.trades[arm],
                "wins": self.wins[arm],
                "pnlUSD": round(self.pnl_usd.get(arm, 0.0), 2),
            }
            for arm, count in sorted(self.decisions.items())
        }


class Gateway:
    """A client of the decision gateway that waits when it is asked to, and gives up after `patience_seconds` a call.

    Args:
        http: a client with the base URL and the bearer token; its connections are kept.
        patience_seconds: longest time that one call may be put off by 425, 409, 503 and lost connections.
        sleep: waits so many seconds.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        http: httpx.Client,
        patience_seconds: float,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._patience = patience_seconds
        self._sleep = sleep
        self._clock = clock
        self.waits: Counter[str] = Counter()

    def post(self, path: str, body: Mapping[str, object]) -> dict[str, object]:
        """The JSON of a successful answer.

        Raises:
            TraderError: the token or the request was refused, or patience ran out.
        """
        until = self._clock() + self._patience
        pause = 0.1
        while True:
            try:
                response = self._http.post(path, json=body)
            except httpx.TransportError as error:
                self._wait("connection", f"{type(error).__name__}: {error}", pause, until, path)
                pause = min(2 * pause, 5.0)
                continue
            if response.is_success:
                answer: dict[str, object] = response.json()
                return answer
            self._check_final(response, path)
            asked = _retry_after(response)
            self._wait(str(response.status_code), response.text[:300], pause if asked is None else asked, until, path)
            pause = min(2 * pause, 5.0) if asked is None else 0.1

    def _check_final(self, response: httpx.Response, path: str) -> None:
        detail = response.text[:500]
        if response.status_code in (401, 403):
            raise TraderError(
                EXIT_CONFIG, f"the gateway refused the token of --token-file ({response.status_code}): {detail}"
            )
        settled_conflict = response.status_code == 409 and "Retry-After" not in response.headers
        if response.status_code not in RETRIED_STATUS or settled_conflict:
            raise TraderError(EXIT_REFUSED, f"POST {path} was refused ({response.status_code}): {detail}")

    def _wait(self, why: str, detail: str, seconds: float, until: float, path: str) -> None:
        self.waits[why] += 1
        if self._clock() + seconds > until:
            raise TraderError(
                EXIT_GAVE_UP, f"POST {path} was put off for {self._patience:.0f} s, last by {why}: {detail}"
            )
        self._sleep(seconds)


def walk(
    bars: tuple[Bar, ...],
    gateway: Gateway,
    *,
    prefix: str,
    start: int,
    stop: int,
    cost_bp: float,
    after_experiment: int | None = None,
    post_bars: bool = False,
    progress: Callable[[int, Tally], None] = lambda _index, _tally: None,
) -> Tally:
    """Ask and report for the bars from `start` up to but not including `stop`, one after the other.

    With `after_experiment` the walk ends once so many decisions in a row were drawn in no experiment any more. With
    `post_bars` the gateway gets each bar as it closes, for papers that know more than the coarse price of a request.
    """
    tally = Tally()
    outside = 0
    for index in range(start, stop):
        if post_bars:
            gateway.post("/v1/prices", _bar(bars[index]))
        if not market_is_open_after(bars, index):
            continue
        decision_id = f"{prefix}-{index:05d}"
        answer = gateway.post(
            "/v1/decisions",
            {
                "decision_id": decision_id,
                "scope": {"symbol": SYMBOL, "book": f"bar-{index}"},
                "as_of": bars[index].closes_at.isoformat(),
                "market_data": market_view(bars, index),
                "account_state": account_state(),
            },
        )
        fill = settle(answer, bars[index + 1], cost_bp)
        _report(gateway, decision_id, str(answer["action"]), fill)
        tally.add(answer, fill)
        progress(index, tally)
        outside = 0 if answer.get("_experiment") else outside + 1
        if after_experiment is not None and outside >= after_experiment:
            break
    return tally


def _bar(bar: Bar) -> dict[str, object]:
    return {
        "symbol": SYMBOL,
        "start": bar.opens_at.isoformat(),
        "end": bar.closes_at.isoformat(),
        "open": bar.open,
        "high": bar.high,
        "low": bar.low,
        "close": bar.close,
    }


def _report(gateway: Gateway, decision_id: str, action: str, fill: Fill | None) -> None:
    path = f"/v1/decisions/{decision_id}"
    if fill:
        gateway.post(
            f"{path}/execution",
            {
                "status": "opened",
                "opened_at": fill.opened_at.isoformat(),
                "filled_notional_usd": fill.notional_usd,
                "position_id": decision_id,
            },
        )
        gateway.post(
            f"{path}/outcome",
            {
                "closed_at": fill.closed_at.isoformat(),
                "pnl": fill.pnl_usd,
                "fees": fill.fees_usd,
                "duration_hours": 1.0,
                "exit_reason": fill.exit_reason,
            },
        )
    elif action == "close":  # nothing is open between two bars, so there is nothing to close
        gateway.post(f"{path}/execution", {"status": "rejected"})


def _retry_after(response: httpx.Response) -> float | None:
    """The pause that the answer asks for: `retry_after_seconds` of its body, which is finer than the header."""
    try:
        error = response.json()["error"]
        return max(0.05, min(float(error["retry_after_seconds"]), 30.0))
    except (KeyError, TypeError, ValueError):
        pass
    try:
        return max(0.05, min(float(response.headers["Retry-After"]), 30.0))
    except (KeyError, ValueError):
        return None


def _parse_flags() -> argparse.Namespace:
    flags = argparse.ArgumentParser(description="paper trader of the Tradewind demo")
    flags.add_argument("--gateway", required=True, help="base URL of the decision gateway")
    flags.add_argument("--token-file", type=Path, help="file with the gateway's bearer token; without it none is sent")
    flags.add_argument("--prefix", required=True, help="decision ids are <prefix>-<bar index>")
    flags.add_argument("--start", type=int, default=WARMUP, help="index of the first bar to decide on")
    flags.add_argument("--stop", type=int, default=0, help="index after the last bar to decide on (0: all bars)")
    flags.add_argument("--cost-bp", type=float, default=1.2, help="cost of a round trip, basis points of the notional")
    flags.add_argument(
        "--after-experiment", type=int, help="end after so many decisions in a row outside of any experiment"
    )
    flags.add_argument(
        "--post-bars", action="store_true", help="post each bar as it closes, for experiments with shadows"
    )
    flags.add_argument("--patience", type=float, default=300, help="seconds that one call may be put off")
    flags.add_argument("--result", type=Path, default=Path("/dev/termination-log"), help="file for the JSON summary")
    return flags.parse_args()


def main() -> None:
    options = _parse_flags()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    bars = load_bars()
    stop = min(options.stop or len(bars), len(bars) - 1)  # the last bar has no next one to trade on
    if not WARMUP <= options.start < stop:
        sys.exit(f"--start: {options.start} must be at least {WARMUP} and below --stop {stop}")
    token = options.token_file.read_text(encoding="utf-8").strip() if options.token_file else None
    began = last_line = time.monotonic()

    def progress(index: int, tally: Tally) -> None:
        nonlocal last_line
        now = time.monotonic()
        if now - last_line >= 5 or index + 1 == stop:
            last_line = now
            done = index + 1 - options.start
            arms = ", ".join(
                f"{arm} {n} ({tally.pnl_usd.get(arm, 0.0):+.2f} USD)" for arm, n in tally.decisions.items()
            )
            waits = f", waits {dict(gateway.waits)}" if gateway.waits else ""
            log.info(
                "bar %d of %d (%s), %.0f decisions/s: %s%s",
                done, stop - options.start, f"{bars[index].closes_at:%Y-%m-%d %H:%M}", done / (now - began), arms, waits,
            )  # fmt: skip

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=options.gateway, headers=headers, timeout=30) as http:
        gateway = Gateway(http, options.patience)
        try:
            tally = walk(
                bars,
                gateway,
                prefix=options.prefix,
                start=options.start,
                stop=stop,
                after_experiment=options.after_experiment,
                cost_bp=options.cost_bp,
                post_bars=options.post_bars,
                progress=progress,
            )
        except TraderError as error:
            _finish(options.result, {"reason": "TraderStopped", "message": str(error)})
            sys.exit(error.exit_code)
    seconds = time.monotonic() - began
    count = sum(tally.decisions.values())
    _finish(
        options.result,
        {
            "decisions": count,
            "arms": tally.per_arm(),
            "actions": dict(sorted(tally.actions.items())),
            "fallbacks": tally.fallbacks,
            "waits": dict(gateway.waits),
            "seconds": round(seconds, 1),
            "decisionsPerSecond": round(count / seconds, 1),
            "costBp": options.cost_bp,
        },
    )


def _finish(path: Path, summary: Mapping[str, object]) -> None:
    text = json.dumps(summary)
    if path.parent.is_dir():
        path.write_text(text[:4096], encoding="utf-8")
    print(text, flush=True)


if __name__ == "__main__":
    main()
