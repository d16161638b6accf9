"""Side by side: our evaluation of 2,016 decisions against the same specification written row by row.

Run: `python benchmarks/evidence.py`. The row-by-row version decides alike (tests/trading/evidence/test_naive.py keeps it
so) and stands for what a straightforward service would do at every look; the z-test is what a notebook does with
pandas, which answers an easier question (no watermark, no replay of looks, not valid when looked at repeatedly).
"""

import math
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as a script it has its own folder there

from tradewind.trading.assignment import Arm
from tradewind.trading.evidence import (
    METRICS,
    EvidenceSpec,
    ExperimentRules,
    Memory,
    Status,
    TradeRow,
    TradeTable,
    evaluate,
    judge,
)
from tradewind.trading.evidence.settings import EvidenceSettings
from workshop.benchmark import print_ratios, size
from workshop.progress import say

T0 = datetime(2026, 1, 1, tzinfo=UTC)
NOW = T0 + timedelta(days=85)


def log_e(s: float, v: float, rho: float) -> float:
    x = s / math.sqrt(v + rho)
    log_phi = (
        math.log(0.5 * math.erfc(-x / math.sqrt(2))) if x >= -8 else -x * x / 2 - math.log(-x * math.sqrt(2 * math.pi))
    )
    return math.log(2) + 0.5 * math.log(rho / (v + rho)) + s * s / (2 * (v + rho)) + log_phi


def naive_block_sums(rows: list[TradeRow], t0: datetime, now: datetime, spec: EvidenceSpec) -> list[list[float]]:
    """[U sharpe, I sharpe, U win, I win, baseline rows, candidate rows] of each complete block."""
    # A closed row has profit and notional, which its type does not say: hence the ignores, which cost the measured loop nothing.
    length = spec.block_length
    known = []
    for r in rows:
        if not t0 <= r.decided_at <= now or not 0 < r.candidate_weight < 1:
            continue
        reported = r.received_at or r.closed_at or (None if r.status is Status.OPEN else r.decided_at)
        settled = reported is not None and reported <= now and reported - r.decided_at <= spec.settlement.max_hold
        known.append((r, settled, (r.decided_at - t0) // length))
    known.sort(key=lambda k: (k[0].decided_at, k[0].decision_id))
    nb = (now - t0) // length
    for r, settled, b in known:
        if not settled and now - r.decided_at < spec.settlement.max_hold:
            nb = min(nb, b)
    known = [k for k in known if k[2] < nb]
    sums = [[0.0] * 6 for _ in range(nb)]
    if not known:
        return sums
    first = known[0][2]
    calibration = [
        r.pnl_usd / r.notional_usd if r.status is Status.CLOSED else 0.0  # type: ignore[operator]
        for r, settled, b in known
        if b == first and settled
    ]
    moved = [abs(x) for x in calibration if x]
    most = 8 * 1.4826 * statistics.median(moved) if moved else 0.0
    v0 = sum(min(abs(x), most) ** 2 for x in calibration) / len(calibration) if calibration else 0.0
    sum_y = sum_z = square = 0.0
    n = 0
    arm_square, arm_n = [0.0, 0.0], [0, 0]
    for i, (r, settled, b) in enumerate(known):
        a, w = int(r.arm is Arm.CANDIDATE), r.candidate_weight
        trade = settled and r.status is Status.CLOSED
        ret = (r.pnl_usd / r.notional_usd if trade else 0.0) if settled else None  # type: ignore[operator]
        y = (float(r.pnl_usd > 0) if trade else 0.5) if settled else float(not a)  # type: ignore[operator]
        pooled = (square + 10 * v0) / (n + 10)
        variance = (arm_square[a] + 50 * pooled) / (arm_n[a] + 50)
        sigma = max(math.sqrt(variance), 1e-6)
        z = (-3.0 if a else 0.0) if ret is None else min(max(ret / sigma, -8.0), 4.0)
        sums[b][2] += 2 * (a - w) * (y - (sum_y + 10) / (i + 20))
        sums[b][3] += w * (1 - w)
        if b != first:
            sums[b][0] += (a - w) * (z - sum_z / (i + 20))
            sums[b][1] += w * (1 - w)
        sums[b][4 + a] += 1
        sum_y += y
        sum_z += z
        if ret is not None:
            counted = (8 * sigma) ** 2 if variance > 0 and abs(ret) > 16 * sigma else ret * ret
            square += counted
            n += 1
            arm_square[a] += counted
            arm_n[a] += 1
    return sums


def naive_interval(u: list[float], i: list[float], alpha: float) -> tuple[float, float, float]:
    """Estimate and bounds by bisection, with steps outwards from the estimate."""
    info = sum(i)
    if info <= 0:
        return math.nan, -math.inf, math.inf
    estimate = sum(u) / info

    def evidence(distance: float, side: int) -> float:
        shifted = [side * (x - (estimate - side * distance) * y) for x, y in zip(u, i, strict=True)]
        return log_e(sum(shifted), sum(s * s for s in shifted), 60)

    bounds = []
    for side in (1, -1):
        low, high = 0.0, 1e-3
        while evidence(high, side) < math.log(1 / alpha):
            low, high = high, high * 1.2
            if high > 1e4:
                break
        else:
            for _ in range(40):
                middle = (low + high) / 2
                low, high = (low, middle) if evidence(middle, side) >= math.log(1 / alpha) else (middle, high)
            bounds.append(estimate - side * high)
            continue
        bounds.append(-side * math.inf)
    return estimate, bounds[0], bounds[1]


def naive_evaluate(
    rows: list[TradeRow], t0: datetime, now: datetime, spec: EvidenceSpec
) -> tuple[str, int | None, dict[str, tuple[float, float, float]]]:
    """Decision, block and intervals (win rate in its unit) of the default primary metric, without forced rows' hold."""
    sums = naive_block_sums(rows, t0, now, spec)
    decision, block = ("inconclusive" if len(sums) >= spec.max_blocks else "continue"), None
    superior = not_inferior = False
    for k in range(min(len(sums), spec.max_blocks)):
        seen = sums[: k + 1]
        if k + 1 < 7 or min(sum(b[4] for b in seen), sum(b[5] for b in seen)) < spec.min_trades_per_arm:
            continue
        s, v = sum(b[0] for b in seen), sum(b[0] ** 2 for b in seen)
        shifted = [b[2] + spec.margin(METRICS[1]) * b[3] for b in seen]
        if log_e(-s, v, 30) >= math.log(1 / spec.alpha_rollback):
            decision, block = "rollback", k
            break
        superior |= log_e(s, v, 60) >= math.log(1 / spec.alpha)
        not_inferior |= log_e(sum(shifted), sum(x * x for x in shifted), 60) >= math.log(1 / spec.alpha)
        if superior and not_inferior:
            decision, block = "promote", k
            break
    sharpe = naive_interval([b[0] for b in sums], [b[1] for b in sums], spec.alpha)
    win = naive_interval([b[2] for b in sums], [b[3] for b in sums], spec.alpha)
    return decision, block, {"sharpe": sharpe, "winRate": (win[0] / 2, win[1] / 2, win[2] / 2)}


def make_rows(count: int, effect: float, seed: int) -> list[TradeRow]:
    rng = np.random.default_rng(seed)
    returns = 0.01 * (rng.standard_t(4, count) / math.sqrt(2))
    rows = []
    for i in range(count):
        at = T0 + timedelta(hours=i)
        candidate = bool(rng.random() < 0.5)
        rows.append(
            TradeRow(
                decision_id=f"d{i:06d}",
                arm=Arm.CANDIDATE if candidate else Arm.BASELINE,
                candidate_weight=0.5,
                decided_at=at,
                status=Status.CLOSED,
                closed_at=at + timedelta(hours=4),
                notional_usd=1000.0,
                pnl_usd=1000.0 * float(returns[i] + 0.01 * effect * candidate),
            )
        )
    return rows


def seconds(work: Callable[[], object], repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def paired_table(count: int, days: int, seed: int) -> TradeTable:
    """Trades of two arms that share most of the market, each with both papers, eight hours after the decision."""
    rng = np.random.default_rng(seed)
    decided = int(T0.timestamp() * 1e6) + np.sort(rng.integers(0, days * 86_400, count)) * 1_000_000
    candidate = rng.random(count) < 0.5
    market = 0.01 * rng.standard_t(4, count)
    papers = [market + 0.003 * rng.standard_t(4, count) for _ in range(2)]
    earned = np.where(candidate, papers[1], papers[0]) + 0.001 * rng.standard_normal(count)
    hour = 3_600_000_000
    return TradeTable(
        decision_id=np.array([f"d{i:06d}" for i in range(count)]),
        candidate=candidate,
        weight=np.full(count, 0.5),
        decided_us=decided,
        status=np.zeros(count, np.int8),
        closed_us=decided + 4 * hour,
        received_us=decided + 4 * hour,
        notional=np.full(count, 1000.0),
        pnl=1000.0 * earned,
        symbol=np.full(count, "EURUSD"),
        paper_baseline=papers[0],
        paper_candidate=papers[1],
        paper_us=decided + 8 * hour,
    )


def look_with_pairs() -> tuple[float, float]:
    """Processor seconds of a look at 100,000 rows with pairs: from nothing, and a day after another look."""
    rules = {"traffic": {"policy": "fixed", "weight": "0.5", "shadow": "both"}}
    spec = EvidenceSpec(ExperimentRules.model_validate(rules))
    table = paired_table(size(100_000, 2_000), 84, 1)
    fresh: list[float] = []
    kept: list[float] = []
    for _ in range(size(5, 1)):
        memory = Memory()
        judge(table, T0, T0 + timedelta(days=82), spec, memory=memory)
        for times, keeps in ((fresh, None), (kept, memory)):
            start = time.process_time()
            judge(table, T0, T0 + timedelta(days=83), spec, memory=keeps)
            times.append(time.process_time() - start)
    return min(fresh), min(kept)


def pandas_z_test(frame: pd.DataFrame) -> float:
    """z of the difference of mean returns at one look, as a notebook has it."""
    summary = frame.groupby("arm")["ret"].agg(["mean", "var", "count"])
    base, cand = summary.loc["baseline"], summary.loc["candidate"]
    return float((cand["mean"] - base["mean"]) / math.sqrt(base["var"] / base["count"] + cand["var"] / cand["count"]))


def main() -> None:
    spec = EvidenceSpec(ExperimentRules(evidence=EvidenceSettings(boundary="anytime")))
    rows = make_rows(2016, 0.0, 1)
    table = TradeTable.from_rows(rows)
    ours = seconds(lambda: evaluate(table, T0, NOW, spec), size(50, 1))
    everything = seconds(lambda: judge(table, T0, NOW, spec), size(50, 1))
    reading = seconds(lambda: TradeTable.from_rows(rows), size(20, 1))
    naive = seconds(lambda: naive_evaluate(rows, T0, NOW, spec), size(5, 1))
    frame = pd.DataFrame({"arm": [r.arm.value for r in rows], "ret": [r.pnl_usd / r.notional_usd for r in rows]})  # type: ignore[operator]
    days = np.arange(len(frame)) // 24
    looks = [frame[days <= day] for day in range(84)]
    z_test = seconds(lambda: [pandas_z_test(look) for look in looks], size(3, 1))
    say(f"2,016 decisions, 84 looks: evaluate {ours * 1e3:.2f} ms, judge {everything * 1e3:.2f} ms")
    say(f"rows to table {reading * 1e3:.2f} ms; row by row {naive * 1e3:.2f} ms")
    say(f"pandas z-test at the same 84 looks {z_test * 1e3:.2f} ms")
    fresh, kept = look_with_pairs()
    say(
        f"a look at 100,000 rows with pairs: {fresh * 1e3:.0f} ms from nothing, {kept * 1e3:.0f} ms a day after another"
    )
    print_ratios(
        {
            "half_a_second_over_look_at_100000_pairs": (0.5 / fresh, 1.0),
            "look_from_nothing_over_look_with_kept_sums": (fresh / kept, 2.0),
            "evaluate_vs_row_by_row": (naive / ours, 8.0),
            # With the conversion of the rows, which the row-by-row version does without.
            "evaluate_and_table_vs_row_by_row": (naive / (ours + reading), 2.0),
            "evaluate_vs_pandas_z_test_at_every_look": (z_test / ours, 5.0),
        }
    )


if __name__ == "__main__":
    main()
