"""The latency table: fifty requests to the stand-in, delayed as a commercial API's answers are, and fifty to the predictor.

    python -m demo.latency --standin http://standin/v1 --standin-key-file KEY --predictor http://v-predictor --predictor-model v

The delay is artificial and asked for request by request: evenly spread over 0.5 to 2 s, the range that the plan behind
Tradewind states for its API. The predictor's times are measured. Belongs here: measuring and the JSON of the table. Does
not belong here: how it is shown (tradewind report).
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import httpx

from demo.bars import SYMBOL, WARMUP, account_state, load_bars, market_view
from demo.standin import MODEL
from tradewind.trading.decision import DecisionInput
from tradewind.trading.prompt import render_prompt

DELAY_MS: Final = (500, 2000)
STANDIN_CONCURRENCY: Final = (
    25  # its times are artificial sleeps, which nothing else makes longer; the predictor's are taken alone
)


def summary(times_ms: list[float]) -> dict[str, float | int]:
    """Count, median, 99th percentile (nearest rank from above) and mean of times in milliseconds."""
    ordered = sorted(times_ms)
    return {
        "requests": len(ordered),
        "p50Ms": round(statistics.median(ordered), 1),
        "p99Ms": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 1),
        "meanMs": round(statistics.fmean(ordered), 1),
    }


def delays_ms(count: int) -> list[int]:
    """Delays to ask for, evenly spread over `DELAY_MS`."""
    low, high = DELAY_MS
    return [low + round((high - low) * k / max(1, count - 1)) for k in range(count)]


def _timed(send: Callable[[], httpx.Response]) -> float:
    began = time.perf_counter()
    send().raise_for_status()
    return 1000 * (time.perf_counter() - began)


def main() -> None:
    flags = argparse.ArgumentParser(description="latency table of the Tradewind demo")
    flags.add_argument("--standin", required=True, help="base URL of the stand-in, with /v1")
    flags.add_argument("--standin-key-file", type=Path, required=True)
    flags.add_argument("--predictor", required=True, help="base URL of the predictor")
    flags.add_argument("--predictor-model", required=True)
    flags.add_argument("--requests", type=int, default=50)
    flags.add_argument("--result", type=Path, default=Path("/dev/termination-log"))
    options = flags.parse_args()
    key = options.standin_key_file.read_text(encoding="utf-8").strip()
    bars = load_bars()
    asked = [market_view(bars, WARMUP + 20 * k) for k in range(options.requests)]
    prompts = [render_prompt(DecisionInput(market_data=view, account_state=account_state()), SYMBOL) for view in asked]

    with httpx.Client(timeout=30) as http, ThreadPoolExecutor(STANDIN_CONCURRENCY) as pool:

        def ask_standin(prompt: str, delay_ms: int) -> float:
            return _timed(
                lambda: http.post(
                    f"{options.standin}/chat/completions",
                    json={"model": MODEL, "messages": [{"role": "user", "content": prompt}]},
                    headers={"Authorization": f"Bearer {key}", "X-Standin-Delay-Ms": str(delay_ms)},
                )
            )

        def ask_predictor(view: object) -> float:
            instance = {
                "market_data": view,
                "account_state": account_state(),
                "recent_history": [],
                "symbols": [SYMBOL],
            }
            url = f"{options.predictor}/v1/models/{options.predictor_model}:predict"
            return _timed(lambda: http.post(url, json={"instances": [instance | {"limits": None}]}))

        delayed = list(pool.map(ask_standin, prompts, delays_ms(len(prompts))))
        served = [ask_predictor(view) for view in asked]
    table = {
        "standinArtificialDelayMs": list(DELAY_MS),
        "standin": summary(delayed),
        "predictor": summary(served),
    }
    if options.result.parent.is_dir():
        options.result.write_text(json.dumps(table), encoding="utf-8")
    print(json.dumps(table), flush=True)


if __name__ == "__main__":
    main()
