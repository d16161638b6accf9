"""What a long prompt takes: `python prompt_memory.py TOKENS` writes its tokens, the MiB it took at most, and seconds.

In a process of its own, since the most that a process ever took never goes down.
"""

import random
import resource
import sys
import time
from typing import Any

import torch
from tiny_llama import train_tokenizer

from tradewind.predictor.decoder import Decoder
from tradewind.predictor.grammar import Grammar
from tradewind.predictor.loader import completion_tokeniser, encode_prompt, static_beginning
from tradewind.predictor.settings import Decoding
from tradewind.trading.decision import DecisionInput
from tradewind.trading.prompt import render_prompt
from workshop.tiny_llama import Shape, make_llama


def long_prompt(tokenizer: Any, tokens: int, seed: int = 1) -> list[int]:
    """A prompt of about so many tokens, of numbers that do not repeat."""
    draw = random.Random(seed)
    closes = [round(draw.uniform(1, 9), 4) for _ in range(tokens // 4)]
    prompt = encode_prompt(tokenizer, render_prompt(DecisionInput(market_data={"c": closes}, account_state={}), "BTC"))
    assert tokens / 2 < len(prompt) < tokens * 2
    return prompt


def main(tokens: int) -> None:
    tokenizer = train_tokenizer("llama3")
    shape = Shape(hidden=64, heads=4, key_value_heads=2, tied=False, positions=65536)
    decoder = Decoder(
        make_llama(tokenizer, shape, seed=3).eval(), static_beginning(tokenizer), decoding=Decoding.SCORED
    )
    plan = Grammar(completion_tokeniser(tokenizer)).plan("BTC", None)
    decoder.write(long_prompt(tokenizer, 600), plan)
    prompt = long_prompt(tokenizer, tokens)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    decoder.write(prompt, plan)
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    print(len(prompt), taken, round(time.perf_counter() - began, 1))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]))
