"""A model and its tokenizer from local directories: safetensors only, no code from the model's own files, no network.

Here belongs transformers and peft. Whether the bytes are the pinned ones has been settled before (`artifact`).
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tradewind.predictor.adapter import with_adapter
from tradewind.predictor.failure import StartError, as_start_error
from tradewind.predictor.grammar import Tokens
from tradewind.predictor.settings import Settings
from tradewind.pretrained.fault import UnfitError
from tradewind.pretrained.files import check_files
from tradewind.pretrained.servable import check_servable
from tradewind.pretrained.tokens import difference, encode_completions, encode_prompts
from tradewind.pretrained.weights import load_base
from tradewind.trading.decision import Action, DecisionInput, TradeDecision
from tradewind.trading.exits import ExitCode
from tradewind.trading.prompt import INSTRUCTION, hold, render_completion, render_prompt

_logger = logging.getLogger(__name__)

SAMPLE_INPUTS = (
    DecisionInput(market_data={}, account_state={}),
    DecisionInput(
        market_data={"symbol": "BTC", "price": 65432.1, "change_24h": -0.0123, "rsi": 41.5, "closes": [1.0834, 1.0829]},
        account_state={"balance": 1000, "permission_level": "L1", "positions": []},
        recent_history=({"action": "hold", "pnl": -1.25, "note": "跌破支撑位 – waiting"},),
    ),
    DecisionInput(market_data={"é": "ß  two spaces", "n": 1e-07}, account_state={"balance": 0.5}),
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What serves decisions: the model, its tokenizer, and words about them for the verification route."""

    model: Any
    tokenizer: Any
    base_model: str


def load(settings: Settings) -> Loaded:
    """The model in eval mode on the GPU where there is one, and a tokenizer that reproduces every text.

    Raises:
        StartError: exit 66 where no tokenizer passes the round trip, 64 for files that cannot be served, 65 for files that are
            broken or do not belong together, 70 for weights that do not load.
    """
    tokenizer = load_tokenizer([d for d in (settings.adapter, settings.base) if d is not None])
    _refuse_pickles(settings.base)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model, attention = load_base(settings.base, attention=settings.attention, dtype=_dtype(settings.dtype, device))
        check_servable(model, tokenizer)
        model = model.to(device).eval()
        if settings.adapter is not None:
            probe = encode_prompt(tokenizer, render_prompt(SAMPLE_INPUTS[-1], "BTC"))
            model = with_adapter(model, settings.adapter, merge=settings.merge, probe=probe).eval()
    except UnfitError as error:
        raise as_start_error(error) from error
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise StartError(
            ExitCode.LOAD_FAILED, "LoadFailed", f"the weights do not load: {type(error).__name__}: {str(error)[:1500]}"
        ) from error
    _logger.info("attention=%s", attention)
    return Loaded(model, tokenizer, _base_name(settings))


def load_tokenizer(directories: Sequence[Path]) -> Any:
    """The tokenizer of the first directory that has one, checked: decode(encode(text)) == text on prompts and completions.

    A byte-level tokenizer.json that is labelled as another class may lose text in that class's hands; the file itself is
    then loaded without the class.

    Raises:
        StartError: exit 66, TokenizerRoundTrip, with the first text that came back changed; exit 64 without files.
    """
    directory = next((d for d in directories if (d / "tokenizer.json").is_file()), None)
    if directory is None:
        raise StartError(
            ExitCode.BAD_CONFIG,
            ExitCode.BAD_CONFIG.reason,
            f"no tokenizer.json in {' or '.join(map(str, directories))}: publish one",
        )
    try:
        check_files(directory)
    except UnfitError as error:
        raise as_start_error(error) from error
    loaders: tuple[Callable[[], Any], ...] = (
        lambda: AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True),
        lambda: _plain_tokenizer(directory),
    )
    problem = ""
    for loader in loaders:
        try:
            tokenizer = loader()
            problem = round_trip_problem(tokenizer)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            continue
        if not problem:
            return tokenizer
        _logger.warning("%s does not reproduce text: %s", type(tokenizer).__name__, problem)
    raise StartError(ExitCode.PREFLIGHT, "TokenizerRoundTrip", f"the tokenizer changes text: {problem[:1500]}")


def round_trip_problem(tokenizer: Any) -> str:
    """The first sample text that the tokenizer does not give back, or an empty string."""
    opening = TradeDecision(
        action=Action.OPEN_LONG, symbol="EURUSD", size_usd=250, leverage=3, stop_loss_pct=0.0075,
        take_profit_pct=0.015, confidence=0.65, reasoning="",
    )  # fmt: skip
    texts = [render_prompt(shown, symbol) for shown in SAMPLE_INPUTS for symbol in ("BTC", "EURUSD", "600519.SH")]
    texts += [render_completion(hold("BTC")), render_completion(opening), render_completion(opening, reasoning=True)]
    for text in texts:
        ids = encode_completions(tokenizer, [text])["input_ids"][0]
        back = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        if back != text:
            return difference(text, back)
    if tokenizer.eos_token_id is None:
        return "there is no end-of-sequence token: set eos_token in tokenizer_config.json"
    return ""


def encode_prompt(tokenizer: Any, text: str) -> list[int]:
    """A prompt's tokens, begun by the tokenizer's own start token where it has one, as training encodes prompts."""
    return encode_prompts(tokenizer, [text])[0]


def completion_tokeniser(tokenizer: Any) -> Callable[[Sequence[str]], list[Tokens]]:
    """Completions to tokens as training encodes them: apart from the prompt, without special tokens."""

    def tokenise(texts: Sequence[str]) -> list[Tokens]:
        encoded = encode_completions(tokenizer, texts, offsets=True)
        return [
            Tokens(tuple(ids), tuple(end for _, end in offsets))
            for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]

    return tokenise


def static_beginning(tokenizer: Any) -> list[int]:
    """The tokens that every prompt begins with: what unlike prompts have in common, within the instruction."""
    prompts = [
        encode_prompt(tokenizer, f"{INSTRUCTION}Market: {text}") for text in ("{}", '{"a":1}', "[", "9", "é", " ", "\n")
    ]
    shared: list[int] = []
    for column in zip(*prompts, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return shared


def _plain_tokenizer(directory: Path) -> Any:
    config = directory / "tokenizer_config.json"
    stated = json.loads(config.read_text()) if config.is_file() else {}
    names = {k: stated[k] for k in ("bos_token", "eos_token", "pad_token", "unk_token") if stated.get(k)}
    special = {k: v["content"] if isinstance(v, dict) else v for k, v in names.items()}
    return PreTrainedTokenizerFast(tokenizer_file=str(directory / "tokenizer.json"), **special)


def _refuse_pickles(base: Path) -> None:
    if not any(base.glob("*.safetensors")):
        raise StartError(
            ExitCode.BAD_CONFIG,
            ExitCode.BAD_CONFIG.reason,
            "the base model has no *.safetensors: pickled weights are not loaded, convert them",
        )


def _dtype(name: str, device: torch.device) -> torch.dtype:
    match name:
        case "float32":
            return torch.float32
        case "bfloat16":
            return torch.bfloat16
        case "float16":
            return torch.float16
        case _ if device.type != "cuda":
            return torch.float32
        case _:
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def _base_name(settings: Settings) -> str:
    if settings.adapter is not None:
        config = settings.adapter / "adapter_config.json"
        stated = json.loads(config.read_text()).get("base_model_name_or_path") if config.is_file() else None
        if isinstance(stated, str) and stated and not stated.startswith("/"):
            return stated
    return settings.base.name
