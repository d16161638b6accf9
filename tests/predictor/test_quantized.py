"""The arithmetic of layers in 8 and 4 bits: what they compute, which layers they stand for, what is refused."""

from itertools import product
from typing import Any

import pytest
import torch
from tiny_llama import Served, on_grid, tiny_llama
from torch.nn.functional import linear
from transformers import GPT2Config, GPT2LMHeadModel

from tradewind.predictor import quantized
from tradewind.predictor.quantized import KINDS, Int4Linear, Int8Linear, quantise, weight_bytes
from tradewind.pretrained.fault import UnfitError
from workshop.tiny_llama import Shape, make_llama

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
RELATIVE = {8: 0.01, 4: 0.12}
"""Of the norm of what normal weights give, by bits."""


def layer(inputs: int = 256, outputs: int = 200, *, bias: bool = True, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(3)
    return torch.nn.Linear(inputs, outputs, bias=bias).to(dtype).requires_grad_(False)


@pytest.mark.parametrize(("bits", "dtype", "bias"), list(product(KINDS, DTYPES, (True, False))))
def test_a_quantised_layer_computes_what_the_layer_does_but_for_rounding(
    bits: int, dtype: torch.dtype, bias: bool
) -> None:
    plain = layer(bias=bias, dtype=dtype)
    x = torch.randn(2, 7, 256, generator=torch.Generator().manual_seed(4)).to(dtype)
    exact = linear(x.double(), plain.weight.double(), plain.bias.double() if bias else None)
    found = KINDS[bits](plain)(x)
    assert found.dtype is dtype
    assert found.shape == exact.shape
    assert (found.double() - exact).norm() / exact.norm() < RELATIVE[bits]


@pytest.mark.parametrize("bits", KINDS)
def test_weights_on_the_grid_are_kept_bit_for_bit(bits: int) -> None:
    plain = layer()
    plain.weight.copy_(on_grid(plain.weight, bits))
    x = torch.randn(5, 256)
    assert torch.allclose(KINDS[bits](plain)(x), plain(x), atol=1e-4)


@pytest.mark.parametrize(("bits", "dtype"), list(product(KINDS, DTYPES)))
def test_blocks_change_nothing(bits: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 outputs in blocks of 64 and their rest, against all at once; made in blocks as well as asked in them."""
    plain, x = layer(dtype=dtype), torch.randn(3, 256).to(dtype)
    whole = KINDS[bits](plain)(x)
    monkeypatch.setattr(quantized, "_BLOCK_BYTES", {"cpu": 1})
    assert torch.allclose(KINDS[bits](plain)(x).float(), whole.float(), atol=2e-2 if dtype is torch.bfloat16 else 2e-3)


def test_large_inputs_do_not_overflow_fp16_in_between() -> None:
    plain = layer(dtype=torch.float16)
    x = torch.full(
        (1, 256), 40.0, dtype=torch.float16
    )  # whole numbers up to 127 times that would add up to more than 65504
    plain.weight.fill_(0.01)
    assert torch.allclose(Int8Linear(plain)(x), plain(x), rtol=1e-2)


def test_nothing_and_one_value_alone_can_be_rounded() -> None:
    for kind, value in product((Int8Linear, Int4Linear), (0.0, 0.25, -3.0)):
        plain = layer(bias=False)
        plain.weight.fill_(value)
        assert torch.allclose(kind(plain)(torch.ones(1, 256)), torch.full((1, 200), 256 * value), rtol=1e-2)


@pytest.mark.parametrize(("bits", "tied"), list(product(KINDS, (True, False))))
def test_every_linear_layer_but_the_head_is_quantised(served: Served, bits: int, tied: bool) -> None:
    model = make_llama(served.tokenizer, Shape(hidden=64, heads=4, key_value_heads=2, tied=tied)).eval()
    before, head = weight_bytes(model), model.lm_head.weight
    linear_bytes = sum(
        each.weight.nbytes
        for name, each in model.named_modules()
        if isinstance(each, torch.nn.Linear) and name != "lm_head"
    )
    quantise(model, bits)
    kinds = [type(each) for name, each in model.named_modules() if name.endswith("_proj")]
    assert kinds == [KINDS[bits]] * 14
    assert model.lm_head.weight is head
    assert (model.get_input_embeddings().weight is head) == tied
    assert type(model.get_input_embeddings()) is torch.nn.Embedding
    kept = {8: 1 / 4 + 1 / 64, 4: 1 / 8 + 1 / 32}[bits]  # of four bytes: the weights, and their scales
    assert weight_bytes(model) - (before - linear_bytes) <= linear_bytes * kept * 1.05


def test_a_layer_in_two_places_stays_one(served: Served) -> None:
    model = tiny_llama(served.tokenizer)
    first, second = model.model.layers
    second.mlp.up_proj = first.mlp.up_proj
    quantise(model, 8)
    assert type(first.mlp.up_proj) is Int8Linear
    assert second.mlp.up_proj is first.mlp.up_proj


def test_layers_that_four_bits_do_not_divide_are_named_and_nothing_is_changed(served: Served) -> None:
    model = make_llama(served.tokenizer, Shape(hidden=48, heads=4)).eval()
    with pytest.raises(UnfitError, match=r"multiple of 32 inputs.*self_attn\.k_proj.*use int8") as refused:
        quantise(model, 4)
    assert refused.value.code == 64
    assert type(model.model.layers[0].self_attn.k_proj) is torch.nn.Linear
    quantise(model, 8)


def test_weights_that_would_stay_as_they_are_are_refused() -> None:
    """GPT-2 keeps its weights in a layer of its own; quantised would be nothing, and it would say int8."""
    model = GPT2LMHeadModel(GPT2Config(vocab_size=300, n_positions=512, n_embd=32, n_layer=1, n_head=2))
    with pytest.raises(UnfitError, match=r"gpt2 model are of no plain linear layer.*c_attn.*use none") as refused:
        quantise(model, 8)
    assert refused.value.code == 64
