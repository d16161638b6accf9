"""A real but tiny Llama with its tokenizer and a LoRA, as the predictor's tests need them."""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tradewind.predictor.quantized import GROUP
from tradewind.trading.artifact import artifact_sha256
from workshop.samples import random_texts
from workshop.tiny_llama import FAMILIES, Shape, make_llama
from workshop.tiny_llama import train_tokenizer as train


@cache
def _texts() -> list[str]:
    return random_texts(150)


def train_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """A tokenizer that begins every text with a token, as most families do."""
    return train(_texts(), FAMILIES[family], vocabulary=0 if family == "bytes" else 900, begin=True)


def tiny_llama(tokenizer: PreTrainedTokenizerFast, seed: int = 0, scale: float = 0.3) -> LlamaForCausalLM:
    """Random weights, wide enough that its choices differ between prompts."""
    shape = Shape(hidden=64, heads=4, key_value_heads=2, tied=False, spread=scale)
    return make_llama(tokenizer, shape, seed=seed).eval()


def on_grid(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Weights that rounding leaves as they are: whole numbers, of which each output (and group) has both ends."""
    low, high = {8: (-127, 127), 4: (-8, 7)}[bits]
    whole = torch.randint(low, high + 1, weight.shape, generator=torch.Generator().manual_seed(5)).float()
    whole[:, 0::GROUP], whole[:, 1::GROUP] = low, high
    return whole / 256


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
