"""A real but tiny Llama with a byte-level tokenizer and a LoRA, made on the spot in seconds."""

import hashlib
import json
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tradewind.trading.artifact import artifact_sha256
from tradewind.trading.decision import Action, Decision, DecisionInput
from tradewind.trading.prompt import (
    CONFIDENCE_GRID,
    LEVERAGE_GRID,
    PERCENT_GRID,
    SIZE_GRID_USD,
    render_completion,
    render_prompt,
)

LLAMA3_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SYMBOLS = ("BTC", "ETH", "EURUSD", "600519.SH")


def random_input(draw: random.Random) -> DecisionInput:
    return DecisionInput(
        market_data={
            "symbol": draw.choice(SYMBOLS),
            "price": round(draw.uniform(0.5, 70000), 4),
            "rsi": draw.randint(5, 95),
        },
        account_state={
            "balance": draw.randint(10, 100000),
            "permission_level": draw.choice(("L1", "L2")),
            "positions": [],
        },
        recent_history=tuple(
            {"action": draw.choice(list(Action)).value, "pnl": round(draw.uniform(-9, 9), 2)} for _ in range(2)
        ),
    )


def random_decision(draw: random.Random, symbol: str) -> Decision:
    return Decision(
        action=draw.choice(list(Action)), symbol=symbol, size_usd=draw.choice(SIZE_GRID_USD), leverage=draw.choice(LEVERAGE_GRID),
        stop_loss_pct=draw.choice(PERCENT_GRID), take_profit_pct=draw.choice(PERCENT_GRID), confidence=draw.choice(CONFIDENCE_GRID),
    )  # fmt: skip


def train_tokenizer(kind: str, vocabulary: int = 900) -> PreTrainedTokenizerFast:
    """Tokenizers in the manner of the families that are served: gpt2, llama3, deepseek (single digits), llama2 (no splits), bytes."""
    draw = random.Random(1)
    texts = []
    for _ in range(150):
        symbol = draw.choice(SYMBOLS)
        texts += [render_prompt(random_input(draw), symbol), render_completion(random_decision(draw, symbol))]
    special = ["<s>", "</s>"]
    if kind == "llama2":
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token=None))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        special += [f"<0x{byte:02X}>" for byte in range(256)]
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=special, show_progress=False, max_token_length=12
        )
    else:
        tokenizer = Tokenizer(models.BPE())
        split = {
            "bytes": [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)],
            "gpt2": [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)],
            "llama3": [
                pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated"),
                pre_tokenizers.ByteLevel(False, use_regex=False),
            ],
            "deepseek": [
                pre_tokenizers.Split(Regex(r"[\r\n]"), "isolated"),
                pre_tokenizers.Split(Regex(r"\s?\p{L}+"), "isolated"),
                pre_tokenizers.Split(Regex(r"\s?\p{P}+"), "isolated"),
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(False, use_regex=False),
            ],
        }[kind]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=258 if kind == "bytes" else vocabulary, special_tokens=special, show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def tiny_llama(vocabulary: int, seed: int = 0, layers: int = 2, scale: float = 0.3) -> LlamaForCausalLM:
    """Random weights, wide enough that its choices differ between prompts."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=64, intermediate_size=128, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048, initializer_range=scale, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@dataclass(frozen=True)
class Served:
    """Files of a model as the pods mount them."""

    base: Path
    adapter: Path
    sha256: str
    tokenizer: Any


def directory_sha256(directory: Path) -> str:
    files = [p for p in directory.rglob("*") if p.is_file()]
    return artifact_sha256(
        {p.relative_to(directory).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    )


def read_termination(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content
