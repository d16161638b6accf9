"""Scores that are no numbers are never an answer, and a server that can give no others ends."""

import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from predictor_process import QUESTION, Running, command, started
from safetensors.torch import load_file, save_file
from tiny_llama import Served, read_termination, tiny_llama

from tradewind.predictor.decoder import Decoder
from tradewind.predictor.grammar import Grammar
from tradewind.predictor.loader import completion_tokeniser, encode_prompt, static_beginning
from tradewind.predictor.row import NotFiniteError
from tradewind.predictor.settings import Decoding

DAMAGED = "𐍈"
BAD = 'tradewind_predictor_bad_passes_total{kind="%s"}'


def changed(served: Served, folder: Path, change: Any) -> Served:
    """The same model with other weights in its base."""
    base = shutil.copytree(served.base, folder / "base")
    file = base / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, {"format": "pt"})
    return replace(served, base=base)


def overflow(weights: dict[str, torch.Tensor]) -> None:
    """Inner values of some 1e5: within float32, and beyond the 65,504 of float16."""
    for name in weights:
        if "up_proj" in name or "gate_proj" in name:
            weights[name] *= 400


def test_a_base_that_overflows_float16_never_becomes_ready(served: Served, tmp_path: Path) -> None:
    wide = changed(served, tmp_path, overflow)
    half = command(wide, tmp_path, "--dtype", "float16")
    done = subprocess.run(half, capture_output=True, timeout=150, check=False)
    assert done.returncode == 64, done.stderr.decode()
    message = read_termination(tmp_path / "log")
    assert message["reason"] == "NotFinite"
    assert "use --dtype bfloat16 or float32 (serving.dtype)" in message["message"]
    with started(wide, tmp_path, "--dtype", "float32") as server:
        assert server.predict(QUESTION)[0] == 200


@pytest.fixture(scope="module")
def damaged(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A base in which one token's row is no numbers: only prompts with that letter meet it."""
    token = served.tokenizer(DAMAGED, add_special_tokens=False)["input_ids"][0]

    def damage(weights: dict[str, torch.Tensor]) -> None:
        weights["model.embed_tokens.weight"][token] = torch.nan

    return changed(served, tmp_path_factory.mktemp("damaged"), damage)


def ask(letter: str) -> dict[str, Any]:
    return {**QUESTION, "market_data": {"note": letter}}


def test_a_bad_pass_is_an_error_and_three_in_a_row_end_the_server(damaged: Served, tmp_path: Path) -> None:
    with started(damaged, tmp_path) as server:
        for letters in (DAMAGED * 2, "x", DAMAGED * 2, "x"):  # never three in a row
            for letter in letters:
                status, body, _ = server.predict(ask(letter))
                assert status == (500 if letter == DAMAGED else 200)
                if status == 500:
                    assert body["error"]["code"] == "model_not_finite"
        assert server.metric(BAD % "not_finite") == 4
        assert server.call("/v2/health/ready")[0] == 200
        assert server.call("/tradewind/v1/live")[0] == 200
        ends(server, ask(DAMAGED), "NotFinite")


def ends(server: Running, question: Any, reason: str) -> None:
    for _ in range(3):
        assert server.predict(question)[0] == 500
    assert server.process.wait(30) == 70
    message = read_termination(server.log)
    assert message["reason"] == reason
    assert "3 decisions in a row failed" in message["message"]


def test_a_device_that_fails_for_good_ends_the_server(served: Served, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    program = (str(Path(__file__).with_name("failing_device.py")), str(broken))
    with started(served, tmp_path, program=program) as server:
        assert server.predict(QUESTION)[0] == 200
        broken.touch()
        status, body, _ = server.predict(QUESTION)
        assert (status, body["error"]["code"]) == (500, "model_failed")
        assert "device-side assert" in body["error"]["message"]
        broken.unlink()
        assert server.predict(QUESTION)[0] == 200
        broken.touch()
        ends(server, QUESTION, "ServerFailed")


def test_a_busy_server_is_alive(served: Served, tmp_path: Path) -> None:
    """The probe of the manifest gives it 5 s."""
    long = {**QUESTION, "market_data": {"x": list(range(350))}}
    with started(served, tmp_path, "--max-queue", "64") as server:
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(server.predict, *[long] * 16) for _ in range(4)]
            waits = []
            while not all(each.done() for each in asked):
                began = time.monotonic()
                assert server.call("/tradewind/v1/live")[0] == 200
                waits.append(time.monotonic() - began)
                time.sleep(0.05)
        assert {each.result()[0] for each in asked} == {200}
        assert len(waits) > 3
        assert max(waits) < 5


@pytest.mark.parametrize("decoding", Decoding)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_no_choice_rests_on_scores_that_are_no_numbers(tokenizer: Any, decoding: Decoding, value: float) -> None:
    model = tiny_llama(tokenizer, seed=3)
    decoder = Decoder(model, static_beginning(tokenizer), decoding=decoding)
    plan = Grammar(completion_tokeniser(tokenizer)).plan("BTC", None)
    prompt = encode_prompt(tokenizer, "Decision: ")
    decoder.write(prompt, plan)
    (token, *_) = tokenizer("0.5", add_special_tokens=False)["input_ids"]
    with torch.no_grad():  # the head of one digit: the action is scored as before, the fields after it are not
        model.lm_head.weight[token] = value
    with pytest.raises(NotFiniteError):
        decoder.write(prompt, plan)
