"""Linear layers whose weights are kept in 8 or 4 bits and computed with in the model's own numbers.

A layer's weights are widened a block of outputs at a time, just before they are multiplied: the product is the one that plain weights
have, however many tokens a pass carries, so what holds for passes of a plain model holds here. int8: a scale for each output. int4:
a scale and a middle for each output and 32 inputs. Embeddings and head stay as they are.

Belongs here: the arithmetic, and which layers of a model get it. Does not belong here: whether the answers are still the same
(quantization.py).
"""

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch.nn.functional import linear

from tradewind.pretrained.fault import listed, unfit_config

GROUP: Final = 32
"""Inputs that share a scale at 4 bits."""
_BLOCK_BYTES: Final = {"cpu": 2 << 20, "cuda": 64 << 20}
"""Widened weights that exist at a time: what a core's cache keeps, and on a GPU enough for its kernels to be worth a start."""
_MOST_LEFT: Final = 0.01
"""Share of the weights between embedding and head that may stay as they are: biases of positions and the like, no layer."""


class Int8Linear(torch.nn.Module):
    """y = (x W^T) scale + bias, W [outputs, inputs] of whole numbers from -127 to 127."""

    weight: torch.Tensor
    scale: torch.Tensor

    def __init__(self, plain: torch.nn.Linear) -> None:
        """Args: plain: the layer that it stands for; its weights are rounded to nearest."""
        super().__init__()
        weight = plain.weight.detach()
        scale = weight.abs().amax(dim=1).float().div_(127).clamp_(min=torch.finfo(torch.float32).tiny)
        rounded = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
        for block in _blocks(weight.shape[0], weight.shape[1] * 4, weight.device):
            rounded[block] = (weight[block].float() / scale[block, None]).round_()
        self.register_buffer("weight", rounded)
        self.register_buffer("scale", scale)
        self.bias = plain.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., inputs] to [..., outputs], in the numbers of x."""
        weight, scale = self.weight, self.scale
        out = x.new_empty((*x.shape[:-1], weight.shape[0]))
        first = x.dtype is torch.float16  # a sum of whole numbers would overflow it
        for block in _blocks(weight.shape[0], weight.shape[1] * x.element_size(), x.device):
            wide = weight[block].to(x.dtype)
            out[..., block] = linear(x, wide.mul_(scale[block, None]) if first else wide)
        out = out if first else out.mul_(scale)
        return out if self.bias is None else out.add_(self.bias)


class Int4Linear(torch.nn.Module):
    """y = x W + bias, W [inputs, outputs] of -8 to 7 steps from the middle of their group."""

    packed: torch.Tensor
    scale: torch.Tensor
    middle: torch.Tensor

    def __init__(self, plain: torch.nn.Linear) -> None:
        """Args: plain: the layer that it stands for, of a multiple of `GROUP` inputs; its weights are rounded to nearest."""
        super().__init__()
        weight = plain.weight.detach()
        outputs, inputs = weight.shape
        groups, half, device = inputs // GROUP, GROUP // 2, weight.device
        self.inputs, self.outputs = inputs, outputs
        packed = torch.empty((groups, half, outputs), dtype=torch.int8, device=device)
        # Of the range of fp32. Weights are rounded to steps of what is kept, so the digits that it lacks cost nothing more.
        scale = torch.empty((groups, 1, outputs), dtype=torch.bfloat16, device=device)
        middle = torch.empty_like(scale)
        for block in _blocks(outputs, inputs * 4, device):
            wide = weight[block].float().T.reshape(groups, GROUP, -1)
            low, high = wide.amin(dim=1, keepdim=True), wide.amax(dim=1, keepdim=True)
            step = ((high - low) / 15).clamp_(min=torch.finfo(torch.bfloat16).tiny).bfloat16()
            centre = (low + 8 * step.float()).bfloat16()
            rounded = (wide - centre.float()).div_(step.float()).round_().clamp_(-8, 7).to(torch.int8)
            packed[..., block] = (rounded[:, :half] & 15) | (rounded[:, half:] << 4)
            scale[..., block], middle[..., block] = step, centre
        self.register_buffer("packed", packed)
        self.register_buffer("scale", scale)
        self.register_buffer("middle", middle)
        self.bias = plain.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., inputs] to [..., outputs], in the numbers of x."""
        groups, half, _ = self.packed.shape
        out = x.new_empty((*x.shape[:-1], self.outputs))
        for block in _blocks(self.outputs, self.inputs * x.element_size(), x.device):
            packed = self.packed[..., block]
            wide = torch.empty((groups, GROUP, packed.shape[-1]), dtype=x.dtype, device=x.device)
            wide[:, :half] = (packed << 4) >> 4  # shifts keep the sign
            wide[:, half:] = packed >> 4
            scale, middle = self.scale[..., block].to(x.dtype), self.middle[..., block].to(x.dtype)
            torch.addcmul(middle, wide, scale, out=wide)
            out[..., block] = x @ wide.view(self.inputs, -1)
        return out if self.bias is None else out.add_(self.bias)


KINDS: Final = {8: Int8Linear, 4: Int4Linear}


def quantise(model: Any, bits: int) -> None:
    """Put quantised layers in the place of a model's linear ones, one after the other, each of which then lets its weights go.

    Args:
        model: a transformers causal language model, with its adapter merged.
        bits: 8 or 4.

    Raises:
        UnfitError: exit 64: layers that would stay as they are, or that 4 bits do not divide. The model is as it was then.
    """
    ends = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    places = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is torch.nn.Linear and id(child) not in ends
    ]
    _check(model, [child for _, _, child in places], bits)
    made: dict[int, torch.nn.Module] = {}  # a layer may stand in several places
    for parent, name, child in places:
        if id(child) not in made:
            made[id(child)] = KINDS[bits](child)
            child.weight = torch.nn.Parameter(child.weight.new_empty(0), requires_grad=False)
        setattr(parent, name, made[id(child)])
    _let_go(model)


def weight_bytes(model: Any) -> int:
    """Bytes of a model's weights, shared ones counted once."""
    tensors = {id(each): each for each in (*model.parameters(), *model.buffers())}
    return sum(each.numel() * each.element_size() for each in tensors.values())


def _let_go(model: Any) -> None:
    """Give back what the plain weights took, which nothing does by itself."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu":  # a view into the file keeps all of the file in memory
            tensor.data = tensor.data.clone()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with contextlib.suppress(OSError, AttributeError):  # of glibc
        ctypes.CDLL(None).malloc_trim(0)


def _check(model: Any, layers: list[torch.nn.Linear], bits: int) -> None:
    names = {id(module): name for name, module in model.named_modules()}
    taken = {id(layer.weight): layer.weight.numel() for layer in layers}
    ends = [model.get_output_embeddings(), *(each for each in model.modules() if isinstance(each, torch.nn.Embedding))]
    known = {id(parameter) for end in ends if end is not None for parameter in end.parameters()}
    left = {
        name: parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and id(parameter) not in taken and id(parameter) not in known
    }
    if not taken or sum(left.values()) > _MOST_LEFT * sum(taken.values()):
        raise unfit_config(
            f"serving.quantization: {len(left)} weights of this {model.config.model_type} model are of no plain linear layer and"
            f" would stay as they are ({listed(set(left))}); use none, or another base"
        )
    odd = {names[id(layer)] for layer in layers if bits == 4 and layer.in_features % GROUP}
    if odd:
        raise unfit_config(
            f"serving.quantization: int4 takes layers of a multiple of {GROUP} inputs, these have another number: {listed(odd)};"
            " use int8"
        )


def _blocks(outputs: int, bytes_each: int, device: torch.device) -> Iterator[slice]:
    """Outputs in pieces whose wide weights take about `_BLOCK_BYTES`."""
    step = max(_BLOCK_BYTES.get(device.type, 2 << 20) // max(bytes_each, 1) // 64 * 64, 64)
    return (slice(begin, min(begin + step, outputs)) for begin in range(0, outputs, step))
