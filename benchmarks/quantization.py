"""A model in 8 and 4 bits against the same model as it is: memory, one decision alone, and how long it takes to be ready.

    python benchmarks/quantization.py [--hidden 1024 --layers 8 --prompts 8 --dtypes float32,bfloat16]

A random Llama whose linear layers are nearly all of it is loaded as the predictor loads it, each time in a process of its own: as it
is, in int8, in int4, for each type of numbers. A process tells the bytes of its weights, its resident set once it has
answered and at its highest, the seconds of loading (the probe's 20 questions asked twice are in them), and processor
time and passes of one decision after the other, on one thread. What the weights say is not looked at: random ones have no margin,
so what share of decisions stays the same here (`agreement`) says nothing of a model that has learned something.

The ratios are as-it-is to quantised: of the weights' bytes and of the time of a pass. Below 1, quantised costs more.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as a script it has its own folder there

from workshop.benchmark import print_ratios, size
from workshop.progress import say
from workshop.samples import random_texts
from workshop.tiny_llama import FAMILIES, Shape, make_llama, train_tokenizer, write

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--hidden", type=int, default=size(1024, 64))
FLAGS.add_argument("--layers", type=int, default=size(8, 1))
FLAGS.add_argument("--prompts", type=int, default=size(8, 2), help="decisions that are timed (default: %(default)s)")
FLAGS.add_argument("--dtypes", default=size("float32,bfloat16", "float32"), help="(default: %(default)s)")
FLAGS.add_argument("--child", nargs=3, metavar=("FOLDER", "DTYPE", "QUANTIZATION"), help=argparse.SUPPRESS)

KINDS = ("none", "int8", "int4")
VOCABULARY = 900
SLOWER_AT_MOST = 0.5  # a decision may take twice as long
FEWER_BYTES = {("float32", "int8"): 3.0, ("float32", "int4"): 4.5, ("bfloat16", "int8"): 1.7, ("bfloat16", "int4"): 2.5}


@dataclass(frozen=True)
class Measured:
    """Of one process."""

    weights: int
    resident: float  # MiB
    highest: float  # MiB
    load: float  # seconds
    decision: float  # ms of processor time, median
    passes: float  # of a decision, median
    agreement: float | None


def main() -> None:
    flags = FLAGS.parse_args()
    if flags.child:
        folder, dtype, kind = flags.child
        print(json.dumps(vars(measured(Path(folder), dtype, kind, flags.prompts))))
        return
    ratios: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = made(Path(scratch), flags)
        print("dtype     weights  MiB     resident  highest  ready s  decision ms  passes  agreement")
        for dtype in flags.dtypes.split(","):
            plain = None
            for kind in KINDS:
                say(f"{dtype} {kind}")
                found = Measured(**in_a_process(folder, dtype, kind, flags.prompts))
                print(
                    f"{dtype:9} {kind:8} {found.weights / 2**20:7.1f} {found.resident:8.0f} {found.highest:8.0f} {found.load:8.1f}"
                    f" {found.decision:12.0f} {found.passes:7.1f}  {'' if found.agreement is None else found.agreement}",
                    flush=True,
                )
                plain = plain or found
                if kind != "none":
                    name = f"{kind} of {dtype}"
                    ratios[f"{name}: bytes of the weights"] = (plain.weights / found.weights, FEWER_BYTES[dtype, kind])
                    each, its = plain.decision / plain.passes, found.decision / found.passes
                    ratios[f"{name}: time of a pass"] = (each / its, SLOWER_AT_MOST)
    print_ratios(ratios)


def made(scratch: Path, flags: argparse.Namespace) -> Path:
    """The model, with the shortest probe that is taken."""
    from tradewind.predictor.probe import generated
    from tradewind.trading.artifact import PROBE_FILE, PROBE_LEAST_ROWS

    tokenizer = train_tokenizer(random_texts(100), FAMILIES["llama3"], vocabulary=VOCABULARY, begin=True)
    heads, inner = flags.hidden // 64 or 1, 8 * flags.hidden // 3 // 64 * 64
    shape = Shape(hidden=flags.hidden, layers=flags.layers, heads=heads, inner=inner, tied=False, spread=0.05)
    folder = write(scratch, make_llama(tokenizer, shape), tokenizer)
    asked = "".join(
        f"{each.model_dump_json()}\n" for each, _ in zip(generated(), range(PROBE_LEAST_ROWS), strict=False)
    )
    (folder / PROBE_FILE).write_text(asked)
    return folder


def in_a_process(folder: Path, dtype: str, kind: str, prompts: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--prompts", str(prompts), "--child", str(folder), dtype, kind]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(folder: Path, dtype: str, kind: str, prompts: int) -> Measured:
    import torch

    from tradewind.predictor.decoder import Decoder
    from tradewind.predictor.grammar import Grammar
    from tradewind.predictor.loader import completion_tokeniser, encode_prompt, static_beginning
    from tradewind.predictor.probe import generated
    from tradewind.predictor.quantization import load_for_serving
    from tradewind.predictor.quantized import weight_bytes
    from tradewind.predictor.settings import Decoding, parse_settings
    from tradewind.trading.artifact import PROBE_LEAST_ROWS

    torch.set_num_threads(1)
    told = ["--model-name", "v1", "--base", str(folder), "--sha256", "0" * 64, "--dtype", dtype]
    settings = parse_settings([*told, "--quantization", kind, "--min-agreement", "0.000001", "--decoding", "scored"])
    began = time.perf_counter()
    loaded, quantization = load_for_serving(settings)
    ready = time.perf_counter() - began
    grammar = Grammar(completion_tokeniser(loaded.tokenizer))
    decoder = Decoder(loaded.model, static_beginning(loaded.tokenizer), decoding=Decoding.SCORED)
    asked = list(generated())[: PROBE_LEAST_ROWS if kind == "none" else 0]
    for instance in asked * 2:  # what libraries keep of shapes that they have met is the same for all then
        ids, plan = encode_prompt(loaded.tokenizer, instance.prompt), grammar.plan(instance.symbols[0], instance.limits)
        decoder.write(ids, plan)
    seconds, passes = [], []
    for instance, _ in zip(generated(), range(prompts + 1), strict=False):
        ids, plan = encode_prompt(loaded.tokenizer, instance.prompt), grammar.plan(instance.symbols[0], instance.limits)
        started = time.process_time()
        written = decoder.write(ids, plan)
        seconds.append(time.process_time() - started)
        passes.append(written.forward_passes)
    resident, highest = memory("VmRSS"), memory("VmHWM")
    return Measured(
        weights=weight_bytes(loaded.model),
        resident=resident,
        highest=highest,
        load=ready,
        decision=1000 * statistics.median(seconds[1:]),  # the first one warms up
        passes=statistics.median(passes[1:]),
        agreement=None if quantization is None else quantization["agreement"],
    )


def memory(what: str) -> float:
    """MiB of this process, by the name that /proc gives it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1024


if __name__ == "__main__":
    main()
