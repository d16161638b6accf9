"""A tiny Llama with its tokenizer, made on the spot: no weights are downloaded and none are shipped.

    tokenizer = train_tokenizer(texts, FAMILIES["llama3"], vocabulary=900)
    write(folder, make_llama(tokenizer, Shape(hidden=64)), tokenizer)

Belongs here: tokenizers in the manner of the families that are served, random weights, the folder in Hugging Face's layout.
Does not belong here: what texts look like, and any learning. This file is also mounted alone into pods that have torch and
transformers, so it imports nothing else of the workshop.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

PAD: Final = "<|pad|>"
END: Final = "<|end|>"
BEGIN: Final = "<|begin|>"
GPT2: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
FAMILIES: Final[dict[str, Sequence[str] | None]] = {
    "bytes": (),
    "gpt2": (GPT2,),
    "llama3": (LLAMA3,),
    "deepseek": (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"\p{N}"),  # single digits
    "llama2": None,
}
"""How families cut a text before tokens are merged: regular expressions, one after the other. None: see train_tokenizer."""
BYTES: Final = 256


@dataclass(frozen=True)
class Shape:
    """Of a Llama. `inner` and `key_value_heads` of 0 stand for twice `hidden` and for `heads`; `spread` is of random weights."""

    hidden: int = 32
    layers: int = 2
    heads: int = 2
    key_value_heads: int = 0
    inner: int = 0
    positions: int = 2048
    tied: bool = True
    spread: float = 0.02


def train_tokenizer(
    texts: Iterable[str], cuts: Sequence[str] | None = (), *, vocabulary: int = 0, begin: bool = False
) -> "PreTrainedTokenizerFast":
    """A BPE tokenizer in which every text decodes to itself.

    Args:
        texts: what it learns merges from.
        cuts: regular expressions that cut a text into pieces, which merges do not cross. None: as Llama 2 does, no
            pieces, "▁" for spaces, and tokens of single bytes for letters that were not in `texts`.
        vocabulary: tokens at most; too few for the bytes mean no merges at all.
        begin: put a beginning token before every text.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = [PAD, END, *([BEGIN] if begin else [])]
    more: dict[str, Any] = {}
    if cuts is None:
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token=None))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        unspaced = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        tokenizer.decoder = decoders.Sequence(unspaced)
        special += [f"<0x{byte:02X}>" for byte in range(BYTES)]
        more["max_token_length"] = 12
    else:
        tokenizer = Tokenizer(models.BPE())
        splits = [pre_tokenizers.Split(Regex(cut), behavior="isolated") for cut in cuts]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )
        tokenizer.decoder = decoders.ByteLevel()
        more["initial_alphabet"] = sorted(pre_tokenizers.ByteLevel.alphabet())
    size = max(vocabulary, len(special) + BYTES)
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False, **more)
    tokenizer.train_from_iterator(texts, trainer)
    names = {"eos_token": END, "pad_token": PAD}
    if begin:
        names["bos_token"] = BEGIN
        first = (BEGIN, tokenizer.token_to_id(BEGIN))
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN} $A", pair=f"{BEGIN} $A $B", special_tokens=[first]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, padding_side="right", **names
    )


def make_llama(tokens: "PreTrainedTokenizerFast | int", shape: Shape, *, seed: int = 0) -> "LlamaForCausalLM":
    """Random weights for a tokenizer, or for so many tokens."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    named: dict[str, Any] = {}
    if not isinstance(tokens, int):
        names = ("bos_token_id", "eos_token_id", "pad_token_id")
        named = {name: getattr(tokens, name) for name in names}
    config = LlamaConfig(
        vocab_size=tokens if isinstance(tokens, int) else len(tokens),
        hidden_size=shape.hidden,
        intermediate_size=shape.inner or 2 * shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads or shape.heads,
        max_position_embeddings=shape.positions,
        tie_word_embeddings=shape.tied,
        initializer_range=shape.spread,
        **named,
    )
    return LlamaForCausalLM(config)


def write(folder: Path, model: "LlamaForCausalLM", tokenizer: "PreTrainedTokenizerFast") -> Path:
    """Both in Hugging Face's layout; the folder."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
