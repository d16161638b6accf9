"""What the container is started with. Here belongs parsing and refusing, with a remedy; not what the settings do."""

import argparse
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

from pydantic import TypeAdapter, ValidationError

from tradewind.predictor.failure import StartError
from tradewind.schema.names import Symbol
from tradewind.schema.rules import first_fault
from tradewind.trading.exits import ExitCode

DEFAULT_TERMINATION_LOG = Path("/dev/termination-log")
THREADS = "TRADEWIND_THREADS"
_SYMBOL: TypeAdapter[str] = TypeAdapter(Symbol)


class Decoding(StrEnum):
    """How a field's value is chosen. The two differ in what they maximise and are never mixed in one server."""

    GREEDY = "greedy"
    SCORED = "scored"


class Reasoning(StrEnum):
    """Whether prose follows the decision: none, at most 60 tokens, or at most 512."""

    NONE = "none"
    BRIEF = "brief"
    FULL = "full"

    @property
    def max_tokens(self) -> int:
        """Tokens after which the prose is closed."""
        return {Reasoning.NONE: 0, Reasoning.BRIEF: 60, Reasoning.FULL: 512}[self]


class Quantization(StrEnum):
    """What weights are kept in: as they are, or in 8 or 4 bits."""

    NONE = "none"
    INT8 = "int8"
    INT4 = "int4"

    @property
    def bits(self) -> int:
        """Of a weight; 0 where nothing is quantised."""
        return {Quantization.NONE: 0, Quantization.INT8: 8, Quantization.INT4: 4}[self]


@dataclass(frozen=True, slots=True)
class Settings:
    """The server's settings, checked.

    Attributes:
        model_name: name on the endpoint's path, the ModelVersion's name.
        base: directory of the base model, or of the whole model where there is no adapter.
        adapter: directory of the LoRA adapter, or None.
        sha256: pinned hash of the adapter, or of the base where there is no adapter.
        base_sha256: pinned hash of the base below an adapter; None: whatever lies there.
        merge: fold the adapter into the weights (faster), or apply it at run time.
        decoding: see `Decoding`.
        reasoning: see `Reasoning`.
        dtype: auto is bf16 on a GPU that has it, else fp16 there, and fp32 on a CPU.
        max_queue: requests that may wait or run at once; the next one gets 503 with Retry-After.
        max_prompt_tokens: of a prompt; longer ones get 413. 0: what memory allows.
        attention: how attention is computed; auto is sdpa where the model has it.
        base_mismatch: what is done with an adapter that was trained on another base.
        quantization: see `Quantization`.
        min_agreement: share of decisions that must stay the same when weights are quantised, above 0 and up to 1.
        speculate: tokens of undecided candidates that a pass may carry along; 0 decodes one token a pass.
        symbols: decided on once before the server is ready, so that the first question about one waits for nothing.
        threads: CPU threads of the tensor library; 0: OMP_NUM_THREADS, or the pod's CPU limit.
        port: HTTP port.
        termination_log: where the reason of a refused start is written.
    """

    model_name: str
    base: Path
    adapter: Path | None
    sha256: str
    base_sha256: str | None
    merge: bool
    decoding: Decoding
    reasoning: Reasoning
    dtype: str
    max_queue: int
    max_prompt_tokens: int
    attention: str
    base_mismatch: str
    quantization: Quantization
    min_agreement: float
    speculate: int
    symbols: tuple[str, ...]
    threads: int
    port: int
    termination_log: Path


def parse_settings(argv: Sequence[str]) -> Settings:
    """Settings from the command line and TRADEWIND_THREADS.

    Raises:
        StartError: exit 64, naming the option and what it takes.
    """
    options = _parser().parse_args(list(argv))
    for name, given in (("--sha256", options.sha256), ("--base-sha256", options.base_sha256)):
        if given is not None and not re.fullmatch(r"[0-9a-f]{64}", given):
            raise _invalid(f"{name} takes 64 lower-case hex digits, got {given!r}")
    if options.base_sha256 is not None and options.adapter is None:
        raise _invalid("--base-sha256 goes with --adapter: without one --sha256 is the base's own hash")
    if options.quantization is not Quantization.NONE and options.adapter is not None and not options.merge:
        raise _invalid(
            "--quantization goes with --merge true (serving.merge): an adapter beside quantised weights is not served"
        )
    threads = os.environ.get(THREADS, "0")
    if not threads.isdecimal():
        raise _invalid(f"{THREADS} takes a whole number of threads, got {threads!r}")
    given = vars(options) | {"symbols": tuple(options.symbols or ())}
    return Settings(threads=int(threads), **given)


def options_table() -> Iterator[tuple[str, str, str]]:
    """Option or variable, default and meaning, as docs/serving.md shows them."""
    for action in _parser()._actions:
        if action.dest != "help":
            default = "required" if action.required else "" if action.default is None else str(action.default).lower()
            yield action.option_strings[0], default, action.help or ""
    yield (
        THREADS,
        "",
        "(environment) threads of the tensor library; otherwise OMP_NUM_THREADS, or the pod's CPU limit rounded up",
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m tradewind.predictor", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--model-name", required=True, help="name on the endpoint's path")
    add("--base", type=Path, required=True, help="directory of the base model")
    add("--adapter", type=Path, help="directory of the LoRA adapter")
    add("--sha256", required=True, help="pinned hash of the adapter, or of the base without one")
    add("--base-sha256", help="pinned hash of the base below an adapter; nothing: whatever lies there")
    add("--merge", type=_boolean, default=True, help="fold the adapter into the weights")
    add(
        "--decoding",
        type=Decoding,
        choices=list(Decoding),
        default=Decoding.GREEDY,
        help="greedy: the likeliest token at each step; scored: the likeliest whole candidate; one of them per server",
    )
    add(
        "--reasoning",
        type=Reasoning,
        choices=list(Reasoning),
        default=Reasoning.NONE,
        help="prose after the decision: none, brief (closed after 60 tokens), full (after 512)",
    )
    add(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="auto",
        help="of the weights; auto: fp32 on a CPU, bf16 (else fp16) on a GPU",
    )
    add("--max-queue", type=_at_least(1), default=32, help="requests that may wait or run at once")
    add(
        "--max-prompt-tokens",
        type=_at_least(0, most=1 << 20),
        default=0,
        help="tokens of a prompt; a longer one gets 413; 0: what the pod's memory limit (or the GPU) leaves room for",
    )
    add(
        "--attention",
        choices=("auto", "sdpa", "eager"),
        default="auto",
        help="how attention is computed; auto: sdpa, or eager where the model has no sdpa",
    )
    add(
        "--base-mismatch",
        choices=("refuse", "allow"),
        default="refuse",
        help="an adapter whose training.json names another base than the one that lies there: exit 65, or served and said so",
    )
    add(
        "--quantization",
        type=Quantization,
        choices=list(Quantization),
        default=Quantization.NONE,
        help="weights of linear layers in 8 or 4 bits, quantised while loading, after the merge",
    )
    add(
        "--min-agreement",
        type=_share,
        default=0.99,
        help="share of decisions that quantised weights must leave as they were; fewer: exit 64, QuantizationDisagrees",
    )
    add("--speculate", type=_at_least(0), default=16, help="undecided tokens that a pass may carry along")
    add(
        "--symbol",
        dest="symbols",
        action="append",
        type=_symbol,
        help="a symbol that is decided on before the server is ready; once for each, others are answered too",
    )
    add("--port", type=_at_least(1), default=8080, help="HTTP port")
    add(
        "--termination-log",
        type=Path,
        default=DEFAULT_TERMINATION_LOG,
        help="file for the reason of a refused start",
    )
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _invalid(message)


def _invalid(message: str) -> StartError:
    return StartError(ExitCode.BAD_CONFIG, ExitCode.BAD_CONFIG.reason, message)


def _boolean(text: str) -> bool:
    match text:
        case "true":
            return True
        case "false":
            return False
        case _:
            raise argparse.ArgumentTypeError(f"takes true or false, got {text!r}")


def _symbol(text: str) -> str:
    try:
        return _SYMBOL.validate_python(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(first_fault(error).message) from None


def _share(text: str) -> float:
    value = float(text) if re.fullmatch(r"[0-9]{1,3}([.][0-9]{1,9})?", text) else 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"takes a share above 0 and up to 1, got {text!r}")
    return value


def _at_least(least: int, most: int = 65535) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        value = int(text) if text.isdecimal() else -1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"takes a whole number from {least} to {most}, got {text!r}")
        return value

    return whole_number
