"""Plain vLLM, for real: the files that our container hands over, the gateway's own questions, our predictor beside it.

`.venv/bin/python -m workshop.vllm` installs it. Slow, since it starts two servers a model and teaches the model first.
"""

import importlib.util
import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tiny_llama import Served
from vllm_rig import NAME, Server, drawn, learned, predictor, questions, vllm

from tradewind.gateway.protocols import PROTOCOLS, ArmQuestion
from tradewind.pretrained.tokens import encode_prompts
from tradewind.trading.completions import COMPLETIONS_PATH, served_name
from tradewind.trading.decision import DecisionInput, Limits
from tradewind.trading.prompt import render_prompt
from tradewind.trading.routing import ArmTarget, Protocol
from workshop.vllm import program

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(program() is None, reason="vLLM is not installed: .venv/bin/python -m workshop.vllm"),
]
ROOT = Path(__file__).parents[2]
ASKED = 40


# Of a random model each prompt has another answer, and bytes are spelt in one way alone; with longer tokens a model must have
# learned how a decision is spelt, as every version has that a training made.
@pytest.fixture(scope="module", params=["bytes, random", "llama3, learned"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, Server, Server]]:
    family, _, kind = request.param.partition(", ")
    tmp = tmp_path_factory.mktemp(family)
    served = drawn(tmp, family) if kind == "random" else learned(tmp, family, hidden=256, layers=4, steps=120)
    with vllm(served, tmp) as plain, predictor(served, tmp, "--decoding", "greedy") as ours:
        yield served, plain, ours


def asked(served: Served, question: dict[str, Any]) -> ArmQuestion:
    limits = question["limits"]
    target = ArmTarget(protocol=Protocol.VLLM, outside=False, base_url="", model=served_name(NAME, served.sha256))
    shown = DecisionInput(**{name: question[name] for name in DecisionInput.model_fields})
    return ArmQuestion(target, shown, question["symbols"][0], None if limits is None else Limits(**limits))


def answer(plain: Server, question: ArmQuestion) -> dict[str, Any]:
    path, body = PROTOCOLS[Protocol.VLLM].request(question)
    assert path == COMPLETIONS_PATH
    status, told = plain.call(path, dict(body))
    assert status == 200, told
    decision = PROTOCOLS[Protocol.VLLM].read(json.dumps(told).encode(), question).decision
    return decision.model_dump(mode="json", exclude={"reasoning"})


def test_both_runtimes_decide_the_same(both: tuple[Served, Server, Server]) -> None:
    served, plain, ours = both
    differ, seen = [], set()
    for question in questions(ASKED):
        _, told = ours.call(f"/v1/models/{NAME}:predict", {"instances": [question]})
        (own,) = told["predictions"]
        mine = {name: value for name, value in own.items() if not name.startswith("_") and name != "reasoning"}
        theirs = answer(plain, asked(served, question))
        seen.add(json.dumps(mine))
        if theirs != mine:
            differ.append((mine, theirs))
    print(f"{ASKED - len(differ)} of {ASKED} are the same, {len(seen)} of them different ones", *differ, sep="\n")
    assert not differ
    assert len(seen) >= 4


def test_the_adapter_is_asked_and_not_its_base(both: tuple[Served, Server, Server]) -> None:
    served, plain, _ = both
    same = 0
    for question in (asked(served, each) for each in questions(12)):
        path, body = PROTOCOLS[Protocol.VLLM].request(question)
        _, base = plain.call(path, {**body, "model": "base"})
        _, adapted = plain.call(path, dict(body))
        same += base["choices"][0]["text"] == adapted["choices"][0]["text"]
    assert same < 12


def test_a_spelt_end_token_ends_no_prompt(both: tuple[Served, Server, Server]) -> None:
    """vLLM's own tokens of the prompt are counted: with the tokenizer of the folder there would be fewer."""
    served, plain, _ = both
    (one,) = questions(1)
    question = asked(served, one | {"market_data": {"news": f"sell {served.tokenizer.eos_token} now", "é": "跌破"}})
    path, body = PROTOCOLS[Protocol.VLLM].request(question)
    _, told = plain.call(path, dict(body))
    (wanted,) = encode_prompts(served.tokenizer, [render_prompt(question.shown, question.symbol)])
    assert told["usage"]["prompt_tokens"] == len(wanted)
    assert len(wanted) > len(served.tokenizer(str(body["prompt"]))["input_ids"])


@pytest.mark.parametrize("symbol", ["BTC/USDT:USDT", "沪深300", 'A"B\\C (1|2)*'])
def test_every_spelling_of_a_symbol_is_written(both: tuple[Served, Server, Server], symbol: str) -> None:
    served, plain, _ = both
    (one,) = questions(1)
    assert answer(plain, asked(served, one | {"symbols": [symbol]}))["symbol"] == symbol


def test_another_hash_is_not_there(both: tuple[Served, Server, Server]) -> None:
    served, plain, _ = both
    (one,) = questions(1)
    _, body = PROTOCOLS[Protocol.VLLM].request(asked(served, one))
    status, told = plain.call(COMPLETIONS_PATH, {**body, "model": served_name(NAME, "b" * 64)})
    assert status == 404, told


def test_a_question_that_does_not_fit_is_refused(both: tuple[Served, Server, Server]) -> None:
    served, plain, _ = both
    (one,) = questions(1)
    long = asked(served, one | {"market_data": {"news": "x y " * 4000}})
    status, told = plain.call(COMPLETIONS_PATH, dict(PROTOCOLS[Protocol.VLLM].request(long)[1]))
    assert status == 400, told


def test_the_benchmark_measures_both(both: tuple[Served, Server, Server], tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("benchmark_job", ROOT / "jobs" / "benchmark.py")
    assert spec is not None
    assert spec.loader is not None
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    served, plain, ours = both
    for name, server in (("vllm", plain), ("predictor", ours)):
        options = ["--url", server.url, "--model", NAME, "--sha256", served.sha256, "--protocol", name]
        out = tmp_path / name
        assert job.main([*options, "--requests", "40", "--concurrency", "1,4,16", "--result", str(out)]) == 0
        result = json.loads(out.read_text())
        print(
            name, json.dumps({key: result[key] for key in ("p50Ms", "p99Ms", "valid", "forwardPasses", "concurrency")})
        )
        assert (result["verified"], result["valid"]) == (True, 1.0), result["problems"]


def test_what_is_being_written_is_written_when_it_is_told_to_stop(both: tuple[Served, Server, Server]) -> None:
    """The last test of each model: its vLLM ends here, as a pod's does that is deleted."""
    served, plain, _ = both
    path, body = PROTOCOLS[Protocol.VLLM].request(asked(served, questions(1)[0]))
    long = {**body, "structured_outputs": {"regex": "a{400}"}, "max_tokens": 500}
    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(plain.call, path, long) for _ in range(2)]
        time.sleep(0.3)
        plain.process.terminate()
        answers = [each.result() for each in asking]
    assert [status for status, _ in answers] == [200, 200]
    assert {told["choices"][0]["finish_reason"] for _, told in answers} == {"stop"}
    assert plain.process.wait(60) in (0, -signal.SIGTERM)
