"""Measure a served model through its endpoint, as a ModelVersion's benchmark Job does it.

    python jobs/benchmark.py --url http://v1-predictor.trading.svc --model v1 --sha256 <64 hex> --requests 40 --concurrency 1,4

First the endpoint must say that it serves the pinned artifact and that its tokenizer gives text back; with --protocol vllm it says so
by the name of the model, since a container before it has verified both. Then made-up but
well-formed questions are asked, `--requests` at each concurrency, and every answer is held against the schema, the symbol
and the limits. The result (JSON, at most 4 KiB) goes to --result or /dev/termination-log, and to stdout last. p50Ms, p99Ms
and decisionsPerSecond at the top are those of the first concurrency. Exit codes: 0 measured, whatever the numbers; 1 the
endpoint could not be reached; 64 bad configuration; 65 another artifact; 66 the tokenizer changes text.
"""

import argparse
import http.client
import json
import math
import random
import re
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from tradewind.trading.completions import COMPLETIONS_PATH, completion_request, served_name
from tradewind.trading.decision import DecisionInput, Limits, TradeDecision, limit_violation
from tradewind.trading.exits import ExitCode
from tradewind.training.outcome import JobError, bad_config, write_result

OPTIONS = argparse.ArgumentParser(add_help=False)
OPTIONS.add_argument("--url", required=True, help="of the predictor's Service, http")
OPTIONS.add_argument("--model", required=True, help="the ModelVersion's name")
OPTIONS.add_argument("--sha256", required=True, help="hash that the ModelVersion pins")
OPTIONS.add_argument("--protocol", choices=("predictor", "vllm"), default="predictor", help="what the endpoint speaks")
OPTIONS.add_argument("--requests", type=int, default=40, help="at each concurrency, 1 to 10000")
OPTIONS.add_argument("--concurrency", default="1,4", help="how many at once, e.g. 1,4,16")
OPTIONS.add_argument("--symbols", default="BTC", help="that are asked about, e.g. BTC,ETH")
OPTIONS.add_argument("--timeout", type=float, default=30.0, help="seconds for one answer")
OPTIONS.add_argument("--patience", type=float, default=60.0, help="seconds to wait for the endpoint to come up")
OPTIONS.add_argument("--seed", type=int, default=0, help="of the questions")
OPTIONS.add_argument("--result", type=Path, help="file for the result's JSON; default: /dev/termination-log")
FLAGS = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, parents=[OPTIONS]
)

LIMITS = Limits(max_leverage=5, max_size_usd=1000)
WARM_UP = 3
MAX_BUSY_RETRIES = 100


@dataclass(frozen=True)
class Endpoint:
    host: str
    port: int
    path: str
    timeout: float
    model: str
    plain: bool  # vLLM, and not our predictor

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)


@dataclass(frozen=True)
class Answer:
    milliseconds: float
    problem: str | None  # why the answer is no valid decision
    forward_passes: int
    busy: int  # times that the server asked to come again
    decision: TradeDecision | None = None  # one that keeps symbol and limits
    probabilities: dict[str, float] | None = None  # of the actions


def main(argv: Sequence[str] | None = None) -> int:
    flags = FLAGS.parse_args(argv)
    try:
        result = benchmark(flags)
    except JobError as error:
        write_result(error.result, flags.result)
        return error.code
    except (OSError, http.client.HTTPException) as error:
        message = f"{flags.url} does not answer: {type(error).__name__}: {error}; is the InferenceService Ready?"
        write_result({"reason": "EndpointUnreachable", "message": message}, flags.result)
        return ExitCode.ERROR
    write_result(result, flags.result)
    return ExitCode.DONE


def benchmark(flags: argparse.Namespace) -> dict[str, Any]:
    levels = [int(level) for level in flags.concurrency.split(",") if level.strip().isdecimal()]
    if not levels or len(levels) != len(flags.concurrency.split(",")) or not all(1 <= level <= 64 for level in levels):
        raise bad_config("--concurrency", f"takes numbers from 1 to 64 parted by commas, got {flags.concurrency!r}")
    if not 1 <= flags.requests <= 10000:
        raise bad_config("--requests", f"takes a number from 1 to 10000, got {flags.requests}")
    if not re.fullmatch(r"[0-9a-f]{64}", flags.sha256):
        raise bad_config("--sha256", "takes 64 lower-case hex digits")
    endpoint = endpoint_at("--url", flags.url, flags.model, flags.sha256, flags.protocol, flags.timeout)
    stated = stated_by(endpoint, flags.patience)
    if stated.get("sha256") != flags.sha256:
        raise JobError(
            ExitCode.BAD_DATA,
            "ArtifactMismatch",
            f"the endpoint serves {stated.get('sha256')}, the ModelVersion pins {flags.sha256}; wait for the rollout",
            verified=False,
        )
    if stated.get("roundTrip") is not True:
        raise JobError(
            ExitCode.PREFLIGHT,
            "TokenizerRoundTrip",
            "the endpoint's tokenizer does not give text back",
            roundTrip=False,
        )

    symbols = [symbol.strip() for symbol in flags.symbols.split(",")]
    draw = random.Random(flags.seed)  # noqa: S311 - reproducible, not secret
    ask_all(endpoint, [question(draw, symbols) for _ in range(WARM_UP)], 1)
    by_level: dict[str, dict[str, float]] = {}
    answers: list[Answer] = []
    for level in levels:
        began = time.perf_counter()
        got = ask_all(endpoint, [question(draw, symbols) for _ in range(flags.requests)], level)
        by_level[str(level)] = numbers(got, time.perf_counter() - began)
        answers += got
    problems = sorted({answer.problem for answer in answers if answer.problem})
    return {
        "verified": True,
        "roundTrip": True,
        **by_level[str(levels[0])],
        "valid": round(sum(answer.problem is None for answer in answers) / len(answers), 4),
        "requests": len(answers),
        "forwardPasses": max(answer.forward_passes for answer in answers),
        "busy": sum(answer.busy for answer in answers),
        "problems": [problem[:160] for problem in problems[:3]],
        "concurrency": by_level,
        "card": stated.get("card") or {},
        "server": {key: stated.get(key) for key in ("baseModel", "torch", "device", "dtype", "decoding", "reasoning")},
        **({"quantization": stated["quantization"]} if stated.get("quantization") else {}),
    }


def endpoint_at(field: str, url: str, model: str, sha256: str, protocol: str, timeout: float) -> Endpoint:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        raise bad_config(field, f"takes http://host[:port][/path], got {url!r}")
    plain = protocol == "vllm"
    name = served_name(model, sha256) if plain else model
    try:
        return Endpoint(parts.hostname, parts.port or 80, parts.path.rstrip("/"), timeout, name, plain)
    except ValueError as error:
        raise bad_config(field, f"{error}, got {url!r}") from None


def stated_by(endpoint: Endpoint, patience: float) -> dict[str, Any]:
    """What the endpoint says of what it serves."""
    return (models if endpoint.plain else verification)(endpoint, patience)


def verification(endpoint: Endpoint, patience: float) -> dict[str, Any]:
    """What the endpoint says of itself; waits while it comes up."""
    return get(endpoint, "/tradewind/v1/verification", patience)


def models(endpoint: Endpoint, patience: float) -> dict[str, Any]:
    """The same of vLLM: a model whose name has the hash is one that a container before it has verified."""
    names = [str(each.get("id")) for each in get(endpoint, "/v1/models", patience).get("data", [])]
    hashes = [name.partition("@")[2] for name in names if "@" in name]
    found = endpoint.model.partition("@")[2] if endpoint.model in names else next(iter(hashes), None)
    return {"sha256": found, "roundTrip": True}


def get(endpoint: Endpoint, path: str, patience: float) -> dict[str, Any]:
    deadline = time.monotonic() + patience
    while True:
        try:
            connection = endpoint.connect()
            connection.request("GET", f"{endpoint.path}{path}")
            response = connection.getresponse()
            body = response.read()
            connection.close()
            if response.status == 200:
                stated: dict[str, Any] = json.loads(body)
                return stated
            if response.status == 404:
                raise bad_config("--url", f"the server has no {path}: it is not what --protocol says")
            raise http.client.HTTPException(f"status {response.status}")
        except (OSError, http.client.HTTPException):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def question(draw: random.Random, symbols: Sequence[str]) -> dict[str, Any]:
    symbol = draw.choice(symbols)
    price = draw.uniform(1, 70000)
    closes = [round(price * (1 + draw.gauss(0, 0.01)), 2) for _ in range(24)]
    return {
        "market_data": {"symbol": symbol, "price": round(price, 2), "closes": closes, "rsi_14": draw.randint(10, 90)},
        "account_state": {"balance": draw.randint(100, 100000), "permission_level": "L1", "positions": []},
        "recent_history": [{"action": "hold", "confidence": 0.5, "pnl": round(draw.gauss(0, 5), 2)}],
        "symbols": [symbol],
        "limits": LIMITS.model_dump(mode="json"),
    }


def ask_all(endpoint: Endpoint, questions: Sequence[dict[str, Any]], level: int) -> list[Answer]:
    """Closed loop: `level` threads, each asks its next question when it has its answer. Answers are in the questions' order."""
    waiting = list(reversed(list(enumerate(questions))))
    answers: dict[int, Answer] = {}
    failures: list[BaseException] = []

    def work() -> None:
        try:
            connection = endpoint.connect()
            while waiting and not failures:
                try:
                    number, asked = waiting.pop()
                except IndexError:
                    break
                answers[number] = ask(connection, endpoint, asked)
            connection.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(level)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return [answers[number] for number in range(len(questions))]


def ask(connection: http.client.HTTPConnection, endpoint: Endpoint, asked: dict[str, Any]) -> Answer:
    path, body = asked_of(endpoint, asked)
    began = time.perf_counter()
    busy = 0
    while True:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answered = response.read()
        if response.status != 503 or busy == MAX_BUSY_RETRIES:
            break
        busy += 1
        time.sleep(min(float(response.headers.get("Retry-After", "1")), 5))
    milliseconds = (time.perf_counter() - began) * 1000
    if response.status != 200:
        return Answer(milliseconds, f"status {response.status}", 0, busy)
    try:
        prediction = predicted(endpoint, json.loads(answered))
        decision = TradeDecision.model_validate({k: v for k, v in prediction.items() if not k.startswith("_")})
    except (ValidationError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Answer(milliseconds, f"invalid: {type(error).__name__}: {error}", 0, busy)
    problem = limit_violation(decision, symbol=asked["symbols"][0], limits=limits_of(asked))
    return Answer(
        milliseconds,
        problem,
        int(prediction.get("_forward_passes", 0)),
        busy,
        decision if problem is None else None,
        prediction.get("_probabilities"),
    )


def limits_of(asked: dict[str, Any]) -> Limits | None:
    return None if asked["limits"] is None else Limits.model_validate(asked["limits"])


def asked_of(endpoint: Endpoint, asked: dict[str, Any]) -> tuple[str, bytes]:
    if not endpoint.plain:
        return f"{endpoint.path}/v1/models/{endpoint.model}:predict", json.dumps({"instances": [asked]}).encode()
    shown = DecisionInput(**{name: asked[name] for name in DecisionInput.model_fields})
    body = completion_request(endpoint.model, shown, asked["symbols"][0], limits_of(asked))
    return f"{endpoint.path}{COMPLETIONS_PATH}", json.dumps(body).encode()


def predicted(endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any]:
    if not endpoint.plain:
        (prediction,) = body["predictions"]
        return dict(prediction)
    (choice,) = body["choices"]
    passes = (body.get("usage") or {}).get("completion_tokens", 0)
    return {**json.loads(choice["text"]), "_forward_passes": passes}


def numbers(answers: Sequence[Answer], seconds: float) -> dict[str, float]:
    """Percentiles by nearest rank over all answers, invalid ones included: a wrong answer takes its time too."""
    times = sorted(answer.milliseconds for answer in answers)
    return {
        "p50Ms": round(times[math.ceil(0.5 * len(times)) - 1], 2),
        "p99Ms": round(times[math.ceil(0.99 * len(times)) - 1], 2),
        "decisionsPerSecond": round(len(times) / seconds, 2),
    }


if __name__ == "__main__":
    sys.exit(main())
