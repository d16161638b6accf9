"""Long prompts are read in pieces, bounded by memory, and change nothing about what is written."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_decoding import plain_constrained_greedy
from predictor_process import QUESTION, started
from prompt_memory import long_prompt
from tiny_llama import Served, train_tokenizer

from tradewind.predictor.decoder import Decoder
from tradewind.predictor.grammar import Grammar
from tradewind.predictor.loader import completion_tokeniser, static_beginning
from tradewind.predictor.memory import affordable_tokens, free_memory
from tradewind.predictor.passes import CHUNK
from tradewind.predictor.row import empty_cache
from tradewind.predictor.settings import Decoding
from tradewind.pretrained.servable import check_servable, positions_of
from workshop.tiny_llama import Shape, make_llama


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("shared", [True, False])
def test_what_is_read_in_pieces_is_answered_as_in_one(attention: str, shared: bool) -> None:
    tokenizer = train_tokenizer("llama3")
    shape = Shape(hidden=64, heads=4, key_value_heads=2, tied=False, spread=0.3, positions=8192)
    model = make_llama(tokenizer, shape, seed=3).eval()
    plan = Grammar(completion_tokeniser(tokenizer)).plan("BTC", None)
    prompt = long_prompt(tokenizer, 3 * CHUNK)
    assert len(prompt) > 2 * CHUNK
    expected = plain_constrained_greedy(model, prompt, plan)
    model.set_attn_implementation(attention)
    beginning = static_beginning(tokenizer) if shared else []
    written = Decoder(model, beginning, decoding=Decoding.GREEDY).write(prompt, plan)
    assert list(written.tokens) == expected
    if attention == "sdpa":
        assert written.forward_passes <= 20 + len(prompt) // CHUNK
        scored = Decoder(model, beginning, decoding=Decoding.SCORED).write(prompt, plan)
        assert scored.forward_passes <= 8 + len(prompt) // CHUNK


def test_a_usual_prompt_is_read_in_one_pass() -> None:
    tokenizer = train_tokenizer("llama3")
    model = make_llama(tokenizer, Shape(hidden=64, tied=False), seed=3).eval()
    decoder = Decoder(model, static_beginning(tokenizer), decoding=Decoding.SCORED)
    prompt = long_prompt(tokenizer, CHUNK - 450)
    assert CHUNK / 2 < len(prompt) < CHUNK
    written = decoder.write(prompt, Grammar(completion_tokeniser(tokenizer)).plan("BTC", None))
    assert written.forward_passes <= (6 if written.decision.action.opens else 2)


def test_memory_grows_with_a_prompt_and_not_with_its_square() -> None:
    """With a mask over the whole of it 24,000 tokens took 2.7 GiB of this model."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("prompt_memory.py")), "15000"],
        capture_output=True, text=True, timeout=280, check=False, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tokens, mebibytes, _ = (float(word) for word in done.stdout.split()[-3:])
    assert tokens > 12_000
    assert mebibytes < 400


def test_what_fits_into_memory_is_computed_from_what_a_token_takes() -> None:
    tokenizer = train_tokenizer("llama3")
    model = make_llama(tokenizer, Shape(hidden=64, heads=4, key_value_heads=2), seed=3)
    some, more = (affordable_tokens(model, free=mebibytes << 20) for mebibytes in (100, 200))
    kept = 2 * 2 * 2 * 16 * 4  # keys and values of two layers of two heads of 16 numbers of 4 bytes
    assert 0 < more - some < (100 << 20) / kept
    assert affordable_tokens(model, free=1 << 20) == 0
    cache = empty_cache(model.config)
    with torch.inference_mode():
        model(input_ids=torch.ones(1, 10, dtype=torch.long), past_key_values=cache, use_cache=True)
    assert sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values)) == 10 * kept


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({"memory.max": "1000000", "memory.stat": "anon 300000\nfile 500000\nfile_mapped 200000\n"}, 500_000),
        ({"memory.max": "1000000", "memory.stat": "anon 1300000\n"}, 0),
        ({"memory.max": "max", "memory.stat": "anon 3\n"}, 900 * 1024),
        ({"memory.max": "9000000", "memory.stat": "anon 3\n"}, 900 * 1024),
        ({"memory/memory.limit_in_bytes": "400000", "memory/memory.stat": "rss 100000\nmapped_file 100000\n"}, 200_000),
        ({}, 900 * 1024),
    ],
)
def test_free_memory_is_within_the_pods_limit(tmp_path: Path, files: dict[str, str], free: int) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    node = tmp_path / "meminfo"
    node.write_text("MemTotal:  2000 kB\nMemAvailable:     900 kB\n")
    assert free_memory(tmp_path, node) == free


def test_a_prompt_over_the_bound_is_told_how_long_it_may_be(served: Served, tmp_path: Path) -> None:
    with started(served, tmp_path, "--max-prompt-tokens", "800") as server:
        assert server.predict(QUESTION)[0] == 200
        for words in (600, 60_000):  # the second is not even tokenised
            status, body, _ = server.predict({**QUESTION, "market_data": {"x": "long " * words}})
            assert status == 413
            assert body["error"]["field"] == "market_data"
            assert "allows 800 tokens" in body["error"]["message"]
            assert "serving.resources.limits.memory" in body["error"]["remedy"]
        assert server.predict(QUESTION)[0] == 200


def test_a_window_that_never_binds_is_served_and_exact(tokenizer: Any) -> None:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, MistralConfig, MistralForCausalLM

    shape = {
        "vocab_size": len(tokenizer), "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "initializer_range": 0.3,
        "max_position_embeddings": 8192, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1,
    }  # fmt: skip
    grammar = Grammar(completion_tokeniser(tokenizer))
    window = 1500
    for model in (
        MistralForCausalLM(MistralConfig(**shape, sliding_window=window)),
        Gemma3ForCausalLM(
            Gemma3TextConfig(**shape, sliding_window=window, layer_types=["sliding_attention", "full_attention"])
        ),
    ):
        model.eval()
        check_servable(model, tokenizer)
        assert positions_of(model.config) == window
        plan = grammar.plan("BTC", None)
        decoder = Decoder(model, static_beginning(tokenizer), decoding=Decoding.GREEDY)
        for tokens in (300, 1300):  # the second is read in two pieces
            prompt = long_prompt(tokenizer, tokens)[: window - plan.longest]
            assert list(decoder.write(prompt, plan).tokens) == plain_constrained_greedy(model, prompt, plan)
