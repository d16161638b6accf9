"""Tiny models, each as a folder of a base and one of an adapter, and both servers on them."""

import argparse
import json
import os
import random
import subprocess
import sys
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.predictor import learn_format
from golden_worlds import PLATFORM, resource_of
from tiny_llama import Served, directory_sha256

from tradewind.core.decision import Owner
from tradewind.core.model_version.vllm import HANDOVER_PATH, build_vllm_service
from tradewind.predictor import handover
from workshop.apiserver import free_ports
from workshop.samples import random_texts
from workshop.tiny_llama import FAMILIES, Shape, make_llama, train_tokenizer, write
from workshop.vllm import program, serving

NAME = "v1"


@dataclass(frozen=True)
class Server:
    """A server on loopback."""

    url: str
    process: subprocess.Popen[bytes]

    def call(self, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return response.status, json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")


def learned(folder: Path, family: str, *, hidden: int, layers: int, steps: int) -> Served:
    """A base that has learned to write decisions, and an adapter that has learned other ones."""
    tokenizer = tokenizer_of(family)
    shape = Shape(hidden, layers, max(hidden // 64, 2), positions=2048, tied=False)
    model = make_llama(tokenizer, shape)
    learn_format(model, tokenizer, argparse.Namespace(seed=0, steps=steps))
    write(folder / "base", model, tokenizer)
    return _adapted(
        folder, model, tokenizer, lambda it: learn_format(it, tokenizer, argparse.Namespace(seed=5, steps=steps // 2))
    )


def drawn(folder: Path, family: str) -> Served:
    """The same with random weights that have learned nothing: its decisions differ from prompt to prompt."""
    tokenizer = tokenizer_of(family)
    model = make_llama(
        tokenizer, Shape(64, heads=2, key_value_heads=1, tied=False, spread=0.3)
    )  # heads that vLLM knows
    write(folder / "base", model, tokenizer)
    return _adapted(folder, model, tokenizer, lambda _: None, init_lora_weights=False)


def tokenizer_of(family: str) -> Any:
    cuts = FAMILIES[family]
    return train_tokenizer(random_texts(150), cuts, vocabulary=0 if family == "bytes" else 900, begin=True)


def _adapted(folder: Path, model: Any, tokenizer: Any, learn: Callable[[Any], None], **more: Any) -> Served:
    from peft import LoraConfig, get_peft_model

    adapter = folder / "adapter"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that the latter renamed
        adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=32, target_modules=["q_proj", "v_proj"], **more))
        learn(adapted)
        adapted.save_pretrained(str(adapter))
    (adapter / "README.md").unlink(missing_ok=True)
    return Served(folder / "base", adapter, directory_sha256(adapter), tokenizer)


@contextmanager
def vllm(served: Served, tmp: Path, *, threads: int = 1) -> Iterator[Server]:
    """vLLM on what was handed over, by the container's own command with the folders of this machine."""
    into = tmp / "handover"
    into.mkdir()
    options = [f"--base={served.base}", f"--adapter={served.adapter}", f"--sha256={served.sha256}", f"--into={into}"]
    assert handover.main([*options, f"--termination-log={tmp / 'log'}"]) == 0
    (port,) = free_ports(1)
    python = program()
    assert python is not None
    base = {"uri": "pvc://models/base"}
    adapter = {"uri": "pvc://models/v1", "sha256": served.sha256, "baseModel": base}
    spec = {"adapter": adapter, "serving": {"runtime": "huggingface"}}
    version = resource_of({"kind": "ModelVersion", "metadata": {"name": NAME}, "spec": spec})
    service = build_vllm_service(version, Owner.of(version), PLATFORM)
    assert service is not None
    (container,) = service["spec"]["predictor"]["containers"]
    here = {
        "/mnt/base": served.base,
        "/mnt/adapter": served.adapter,
        HANDOVER_PATH: into,
        "0.0.0.0": "127.0.0.1",
        "8080": port,
    }
    command = [*container["command"], *container["args"]]
    for there, place in here.items():
        command = [part.replace(there, str(place)) for part in command]
    given = {each["name"]: each["value"] for each in container["env"]}
    path = f"{python.parent}:{os.environ['PATH']}"
    cpu = {"OMP_NUM_THREADS": str(threads), "VLLM_CPU_KVCACHE_SPACE": "1"}
    environment = given | {"HOME": str(tmp), "PATH": path, "TMPDIR": str(tmp), "PYTHONPATH": ""} | cpu
    with serving(command, port, tmp / "vllm.log", environment) as process:
        yield Server(f"http://127.0.0.1:{port}", process)


@contextmanager
def predictor(served: Served, tmp: Path, *options: str, threads: int = 1) -> Iterator[Server]:
    """Our own server on the same files."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tradewind.predictor", "--model-name", NAME, "--base", str(served.base)]
    command += [
        "--adapter",
        str(served.adapter),
        "--sha256",
        served.sha256,
        "--termination-log",
        str(tmp / "ours.term"),
    ]
    command += ["--port", str(port), *options]
    environment = {"TRADEWIND_THREADS": str(threads)}
    with serving(command, port, tmp / "ours.log", environment, health="/v2/health/ready") as process:
        yield Server(f"http://127.0.0.1:{port}", process)


def questions(count: int, *, seed: int = 3) -> list[dict[str, Any]]:
    """Questions as the gateway asks our predictor, of every symbol, with and without limits."""
    from benchmarks.predictor import market

    from workshop.samples import SYMBOLS

    draw = random.Random(seed)
    limits = (
        None,
        {"max_leverage": 3, "max_size_usd": 100},
        {"max_leverage": 20, "max_size_usd": 5000, "max_stop_loss_pct": 0.05},
    )
    return [
        {**market(draw, draw.randrange(4, 20)).model_dump(mode="json"), "symbols": [SYMBOLS[n % len(SYMBOLS)]], "limits": limits[n % 3]}
        for n in range(count)
    ]  # fmt: skip
