"""`serving.quantization`: it answers as before or does not serve, and what was measured goes the whole way into the status."""

import gc
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_worlds import PLATFORM, build
from predictor_process import QUESTION, command, started
from tiny_llama import Served, directory_sha256, on_grid, read_termination, tiny_llama
from transformers import AutoModelForCausalLM

from tradewind.api.common import API_VERSION
from tradewind.core.decision import JobFacts, Owner
from tradewind.core.model_version import Reason
from tradewind.core.model_version.manifests import build_inference_service
from tradewind.predictor.failure import StartError
from tradewind.predictor.loader import load
from tradewind.predictor.probe import generated
from tradewind.predictor.quantization import load_for_serving
from tradewind.predictor.quantized import Int8Linear
from tradewind.predictor.settings import Settings, parse_settings
from tradewind.trading.artifact import PROBE_FILE
from tradewind.trading.artifact import PROBE_LEAST_ROWS as LEAST_ROWS
from tradewind.trading.artifact import PROBE_ROWS as ROWS
from tradewind.trading.decision import TradeDecision
from workshop.tiny_llama import Shape, make_llama

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """As the processes of these tests have: a hundred small questions gain nothing by a second one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def settings(base: Path, *extra: str) -> Settings:
    return parse_settings(["--model-name", "v1", "--base", str(base), "--sha256", "0" * 64, *extra])


@pytest.fixture
def base(served: Served, tmp_path: Path) -> Path:
    return shutil.copytree(served.base, tmp_path / "whole")


def refused(base: Path, *extra: str) -> StartError:
    with pytest.raises(StartError) as error:
        load_for_serving(settings(base, *extra))
    return error.value


def questions(count: int) -> str:
    return "".join(f"{each.model_dump_json()}\n" for each, _ in zip(generated(), range(count), strict=False))


# --- the gate --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoding", ["greedy", "scored"])
@pytest.mark.parametrize("bits", [8, 4])
def test_a_model_that_rounding_does_not_change_agrees_with_itself(
    served: Served, tmp_path: Path, bits: int, decoding: str
) -> None:
    model = tiny_llama(served.tokenizer)
    for name, parameter in model.named_parameters():
        if name.endswith("_proj.weight"):
            parameter.data = on_grid(parameter, bits)
    model.save_pretrained(tmp_path)
    served.tokenizer.save_pretrained(tmp_path)
    (tmp_path / PROBE_FILE).write_text(questions(ROWS))
    exact = settings(tmp_path, "--quantization", f"int{bits}", "--min-agreement", "1", "--decoding", decoding)
    loaded, told = load_for_serving(exact)
    assert told is not None
    assert told["agreement"] == told["actionAgreement"] == 1
    assert told["probabilityDifference"] < 1e-3
    assert told["bits"] == bits
    assert told["probe"] == "artifact"
    assert told["probeRows"] == ROWS
    assert told["memoryBytes"]["after"] < told["memoryBytes"]["before"]
    assert loaded.model.dtype is torch.float32


def test_made_up_questions_that_have_one_answer_measure_nothing(served: Served, tmp_path: Path) -> None:
    """Whatever a version does with its market: each of these is answered alike before and after."""
    model = tiny_llama(served.tokenizer)
    for name, parameter in model.named_parameters():
        if name.endswith("_proj.weight"):
            parameter.data = on_grid(parameter, 4)
    model.save_pretrained(tmp_path)
    served.tokenizer.save_pretrained(tmp_path)
    error = refused(tmp_path, "--quantization", "int8")
    assert error.code == 64
    assert "100 of 100 made-up questions are answered" in error.message
    assert "bring 20 questions of your market in probe.jsonl" in error.message


def test_a_model_that_decides_otherwise_is_refused_with_the_numbers(base: Path) -> None:
    """Random weights have no margin: four bits change most of their decisions."""
    error = refused(base, "--quantization", "int4")
    assert error.code == 64
    assert error.reason == "QuantizationDisagrees"
    assert "of 100 decisions are those of the weights as they are" in error.message
    assert "serving.minAgreement asks for 0.99" in error.message
    assert "int8 is closer, or use none" in error.message


def test_what_is_measured_is_what_the_gate_is_held_against(base: Path) -> None:
    """Met by the very share that was measured, missed by any more."""
    _, told = load_for_serving(settings(base, "--quantization", "int4", "--min-agreement", "0.01"))
    assert told is not None
    share = told["agreement"]
    assert 0 < share < 0.99
    load_for_serving(settings(base, "--quantization", "int4", "--min-agreement", f"{share:.2f}"))
    assert refused(base, "--quantization", "int4", "--min-agreement", f"{share + 0.01:.2f}").reason == (
        "QuantizationDisagrees"
    )


def test_the_plain_weights_leave_the_memory(base: Path) -> None:
    """Embedding and head were views into the file, and kept all of it mapped: int8 took more memory than none."""
    maps = Path("/proc/self/maps")
    plain = load(settings(base))
    assert str(base / "model.safetensors") in maps.read_text()
    del plain
    loaded, _ = load_for_serving(settings(base, "--quantization", "int8", "--min-agreement", "0.01"))
    gc.collect()
    assert str(base / "model.safetensors") not in maps.read_text()
    assert torch.isfinite(loaded.model.lm_head.weight).all()


def test_none_leaves_everything_as_it_is(base: Path) -> None:
    loaded, told = load_for_serving(settings(base))
    assert told is None
    assert not any(isinstance(each, Int8Linear) for each in loaded.model.modules())


def test_an_adapter_is_merged_before_the_sum_is_rounded(served: Served) -> None:
    """The other way round the adapter would be added to weights that nobody trained it on, or be lost."""
    named = ["--adapter", str(served.adapter)]
    merged = load(settings(served.base, *named)).model
    loaded, _ = load_for_serving(settings(served.base, *named, "--quantization", "int8", "--min-agreement", "0.01"))
    for at, plain in enumerate(merged.model.layers):
        found = loaded.model.model.layers[at].self_attn.q_proj
        wide = found.weight.float() * found.scale[:, None]
        assert (wide - plain.self_attn.q_proj.weight).abs().max() <= found.scale.max() * 0.51
    bare = AutoModelForCausalLM.from_pretrained(served.base).model.layers[0].self_attn.q_proj.weight
    assert (bare - merged.model.layers[0].self_attn.q_proj.weight).abs().max() > 0.1


# --- what is asked ---------------------------------------------------------------------------------------------------


def test_the_versions_own_questions_are_asked_instead_of_made_up_ones(base: Path) -> None:
    (base / PROBE_FILE).write_text(questions(LEAST_ROWS + 1))
    _, told = load_for_serving(settings(base, "--quantization", "int8", "--min-agreement", "0.01"))
    assert told is not None
    assert told["probe"] == "artifact"
    assert told["probeRows"] == LEAST_ROWS + 1


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (questions(3) + "{\n", 65, "line 4"),
        (questions(2) + json.dumps({**QUESTION, "symbols": []}) + "\n", 65, "line 3: symbols"),
        (questions(LEAST_ROWS - 1), 64, f"has {LEAST_ROWS - 1} questions"),
    ],
)
def test_a_probe_that_says_nothing_is_refused(base: Path, text: str, code: int, said: str) -> None:
    (base / PROBE_FILE).write_text(text)
    error = refused(base, "--quantization", "int8", "--min-agreement", "0.01")
    assert error.code == code
    assert said in error.message


def test_a_model_without_room_for_the_probe_is_refused(served: Served, tmp_path: Path) -> None:
    short = make_llama(served.tokenizer, Shape(hidden=64, heads=4, positions=256)).eval()
    short.config.max_position_embeddings = 256
    short.save_pretrained(tmp_path)
    served.tokenizer.save_pretrained(tmp_path)
    long = json.dumps({**QUESTION, "market_data": {"note": "a long story " * 80}}) + "\n"
    (tmp_path / PROBE_FILE).write_text(long * LEAST_ROWS)
    error = refused(tmp_path, "--quantization", "int8")
    assert error.code == 64
    assert "for 256 tokens of prompt and answer" in error.message


def test_made_up_questions_are_always_the_same_and_differ_from_each_other() -> None:
    once, again = [[each.prompt for each in generated()] for _ in range(2)]
    assert once == again
    assert len(set(once)) == len(once) >= ROWS


# --- what is refused before anything is loaded -----------------------------------------------------------------------


@pytest.mark.parametrize("share", ["0", "1.01", "-1", "nan", "0,9", ""])
def test_a_share_is_above_none_and_at_most_all(served: Served, share: str) -> None:
    with pytest.raises(StartError, match="--min-agreement") as error:
        settings(served.base, "--min-agreement", share)
    assert error.value.code == 64


def test_an_adapter_beside_quantised_weights_is_refused(served: Served) -> None:
    with pytest.raises(StartError, match=r"serving\.merge.*is not served") as error:
        settings(served.base, "--adapter", str(served.adapter), "--merge", "false", "--quantization", "int8")
    assert error.value.code == 64


def _gptq(base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq", "bits": 4}}))


def _nans(base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.fill_(float("nan"))
    model.save_pretrained(base)


@pytest.mark.parametrize(
    ("damage", "reason", "said"),
    [
        (_gptq, "InvalidConfiguration", "quantised already (config.json has quantization_config: gptq)"),
        (_nans, "NotFinite", "with weights as they are"),
    ],
)
def test_a_base_that_cannot_be_quantised_is_refused(
    base: Path, damage: Callable[[Path], None], reason: str, said: str
) -> None:
    damage(base)
    error = refused(base, "--quantization", "int4")
    assert error.code == 64
    assert error.reason == reason
    assert said in error.message


# --- the whole way ---------------------------------------------------------------------------------------------------


def test_a_process_that_disagrees_ends_with_64_before_it_listens(served: Served, tmp_path: Path) -> None:
    done = subprocess.run(
        [*command(served, tmp_path), "--quantization", "int4", "--port", "1"],
        capture_output=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 64, done.stderr
    message = read_termination(tmp_path / "log")
    assert message["reason"] == "QuantizationDisagrees"
    assert len((tmp_path / "log").read_bytes()) < 4096

    # What the kubelet reads of it is what the condition says.
    case = build("model_version", {"facts": {"pods": [{"name": "p", "exitCode": 64, "result": message}]}})
    status = case.decide().status
    assert status.condition("Ready").reason == Reason.QUANTIZATION_DISAGREES  # type: ignore[attr-defined]
    assert status.condition("Ready").message == message["message"]  # type: ignore[attr-defined]


def test_from_the_spec_to_the_status(served: Served, tmp_path: Path) -> None:
    """The rendered service's arguments start the process, whose answer the Job reads, whose result the status tells."""
    adapter = {"uri": "pvc://models/v1", "sha256": served.sha256, "baseModel": {"uri": "pvc://models/base"}}
    serving = {"quantization": "int8", "minAgreement": "0.5"}
    case = build(
        "model_version", {"resource": {"spec": {"adapter": adapter, "serving": serving}, "status": {"attempts": 1}}}
    )
    version: Any = case.resource
    owner = Owner(API_VERSION, "ModelVersion", "v1", "trading", "u")
    made = build_inference_service(version, owner, PLATFORM)
    assert made is not None
    args = made["spec"]["predictor"]["containers"][0]["args"]
    asked = args[args.index("--quantization") :]
    assert asked == ["--quantization", "int8", "--min-agreement", "0.5"]

    result = tmp_path / "result.json"
    with started(served, tmp_path, *asked) as server:
        _, body, _ = server.predict(QUESTION)
        answer = body["predictions"][0]
        TradeDecision.model_validate({k: v for k, v in answer.items() if not k.startswith("_")})
        told = server.call("/tradewind/v1/verification")[1]["quantization"]
        job = [str(ROOT / "jobs" / "benchmark.py"), "--url", server.url, "--model", "v1", "--sha256", served.sha256]
        done = subprocess.run(
            [sys.executable, *job, "--requests", "2", "--concurrency", "1", "--result", str(result)],
            capture_output=True, timeout=280, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    measured = json.loads(result.read_text())
    finished = datetime(2026, 3, 1, 11, 59, tzinfo=UTC)
    job_facts = JobFacts(
        name="v1-benchmark-1", active=False, succeeded=True, failed=False, result=measured, finished_at=finished
    )
    status = replace(case, seen=replace(case.seen, benchmark=job_facts)).decide().status.to_manifest()
    assert status["serving"]["quantization"] == told
    assert told["bits"] == 8
    assert 0.5 <= told["agreement"] <= 1
    assert status["sha256"] == served.sha256 == directory_sha256(served.adapter)
