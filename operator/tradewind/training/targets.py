"""Which layers of a base get an adapter: resolved whole, or refused with what there is.

Architectures name their layers differently, and a list of names that matches in part trains a part in silence. Belongs here:
names of modules. Does not belong here: making the adapter.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import nn
from transformers.pytorch_utils import Conv1D

from tradewind.pretrained.fault import listed
from tradewind.trading.settings.adapter import ALL_LINEAR, Lora
from tradewind.training.outcome import bad_config

_DEFAULT: Final = Lora().target_modules
_ATTENTION: Final = re.compile(r"(^|_)att(entio)?n")  # self_attn, attention, attn, self_attention


@dataclass(frozen=True, slots=True)
class Targets:
    """What `LoraConfig` is told.

    Attributes:
        modules: endings of names, or `all-linear`.
        exclude: regular expression of modules that stay as they are; None: none.
        names: every module that gets an adapter, in full.
        as_asked: whether the names are those that were asked for.
    """

    modules: tuple[str, ...]
    exclude: str | None
    names: tuple[str, ...]
    as_asked: bool

    @property
    def words(self) -> str:
        """For people: the endings and how many layers they name."""
        kinds = Counter(name.rpartition(".")[2] for name in self.names)
        return ", ".join(f"{count} {name}" for name, count in sorted(kinds.items()))


def resolve_targets(model: Any, asked: Sequence[str]) -> Targets:
    """The layers that a request names in this model.

    The default names (q, k, v, o) stand for the projections of attention, by whatever names a model has them. Other names must
    each be a linear layer. Towers that text does not reach (of images, of sound) have no say.

    Args:
        model: a transformers causal language model.
        asked: `lora.targetModules`.

    Raises:
        JobError: exit 64, with the layers that there are.
    """
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D | nn.Embedding)  # those of bitsandbytes are subclasses
    }
    tower = _text_tower(model)
    text = {name: module for name, module in linear.items() if not tower or name.startswith(tower) or "." not in name}
    outside = set(linear) - set(text)
    head = {_name_of(model, model.get_output_embeddings()), _name_of(model, model.get_input_embeddings())}
    layers = [name for name, module in text.items() if not isinstance(module, nn.Embedding) and name not in head]
    exclude = rf"(?!{re.escape(tower)}).*\..*" if outside and tower else None
    if tuple(asked) == (ALL_LINEAR,):
        return Targets((ALL_LINEAR,), exclude, tuple(layers), as_asked=True)

    if set(asked) == set(_DEFAULT):
        attention = [name for name in layers if _in_attention(name)]
        if {name.rpartition(".")[2] for name in attention} == set(_DEFAULT):
            return Targets(tuple(asked), exclude, tuple(attention), as_asked=True)
        if attention:
            return Targets(_endings(attention, text), exclude, tuple(attention), as_asked=False)

    absent = [name for name in asked if not any(_ends(full, name) for full in text)]
    if absent:
        kinds = {name.rpartition(".")[2] for name in layers}
        raise bad_config(
            "lora.targetModules",
            f"{listed(absent)} is no layer of this {model.config.model_type} model; it has {listed(kinds, 24)}: name some of"
            f" these, or {ALL_LINEAR}",
        )
    names = tuple(full for full in text if any(_ends(full, name) for name in asked))
    _refuse_tied(model, names)
    return Targets(tuple(asked), exclude, names, as_asked=True)


def _refuse_tied(model: Any, names: Sequence[str]) -> None:
    tied: Mapping[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
    shared = {key.removesuffix(".weight") for pair in tied.items() for key in pair}
    both = sorted(shared & set(names))
    if both:
        raise bad_config(
            "lora.targetModules",
            f"{both[0]} shares its weights with {listed(shared - {both[0]})}: an adapter on one would change the other once it is"
            " merged; leave it out",
        )


def _text_tower(model: Any) -> str:
    """The part of a composite model that reads text, with a dot at its end; empty where all of it does."""
    name = _name_of(model, model.get_input_embeddings())
    parent = name.rpartition(".")[0]
    return f"{parent}." if parent else ""


def _name_of(model: Any, module: Any) -> str:
    return next((name for name, other in model.named_modules() if other is module and module is not None), "")


def _in_attention(name: str) -> bool:
    return any(_ATTENTION.search(part) for part in name.split(".")[:-1])


def _ends(full: str, name: str) -> bool:
    return full == name or full.endswith(f".{name}")


def _endings(wanted: Sequence[str], all_names: Mapping[str, Any]) -> tuple[str, ...]:
    """The shortest endings that name the wanted modules and no other."""
    others = set(all_names) - set(wanted)
    endings: set[str] = set()
    for name in wanted:
        parts = name.split(".")
        options = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        endings.add(next(end for end in options if not any(_ends(other, end) for other in others)))
    return tuple(sorted(endings))
