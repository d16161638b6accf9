"""What may be loaded: safetensors, a tokenizer that gives text back, merged or not with the same answers."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_llama import Served, train_tokenizer
from tokenizers import decoders

from tradewind.predictor.artifact import hash_files, verify_artifact, verify_base
from tradewind.predictor.failure import StartError
from tradewind.predictor.loader import load, load_tokenizer, round_trip_problem, static_beginning
from tradewind.predictor.settings import Settings, parse_settings
from tradewind.trading.artifact import artifact_sha256, sums_text
from tradewind.trading.prompt import INSTRUCTION

IDS = torch.tensor([[5, 6, 7, 8]])


def settings(served: Served, *extra: str) -> Settings:
    required = ["--model-name", "v1", "--base", str(served.base), "--sha256", served.sha256]
    return parse_settings([*required, "--adapter", str(served.adapter), *extra])


def logits(options: Settings) -> torch.Tensor:
    with torch.inference_mode():
        return load(options).model(input_ids=IDS).logits


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft's name for it is an old one
def test_the_adapter_counts_and_merging_changes_nothing(served: Served) -> None:
    merged = logits(settings(served))
    assert torch.allclose(merged, logits(settings(served, "--merge", "false")), atol=1e-4)
    assert not torch.allclose(merged, logits(replace(settings(served), adapter=None)), atol=1e-2)


@pytest.mark.parametrize("which", ["base", "adapter"])
def test_pickled_weights_are_refused(served: Served, tmp_path: Path, which: str) -> None:
    copy: Any = shutil.copytree(getattr(served, which), tmp_path / which)
    for path in copy.glob("*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    with pytest.raises(StartError, match="pickled weights are not loaded") as refused:
        load(replace(settings(served), **{which: copy}))
    assert refused.value.code == 64


def without(file: Path, part: str) -> None:
    kept = {name: tensor for name, tensor in load_file(file).items() if part not in name}
    save_file(kept, file, {"format": "pt"})


def lacks_a_layer(folder: Path) -> None:
    without(next(folder.glob("*.safetensors")), "layers.1.")


def has_another_name(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    save_file({name.replace("layers.", "blocks."): t for name, t in load_file(file).items()}, file, {"format": "pt"})


def was_cut(folder: Path) -> None:
    file = next(folder.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-7])


def is_a_pointer(folder: Path) -> None:
    next(folder.glob("*.safetensors")).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft's name for it is an old one
@pytest.mark.parametrize(
    ("which", "change", "reason", "said"),
    [
        ("base", lacks_a_layer, "BaseIncomplete", r"lacks \d+ tensors \(model\.layers\.1"),
        ("adapter", lacks_a_layer, "AdapterIncomplete", r"lacks 4 tensors .*layers\.1"),
        ("adapter", has_another_name, "AdapterIncomplete", "has too many: 8 tensors"),
        ("base", was_cut, "BrokenFile", r"model\.safetensors has \d+ bytes and says that it has"),
        ("adapter", is_a_pointer, "BrokenFile", r"adapter_model\.safetensors is a Git LFS pointer"),
    ],
)
def test_nothing_is_served_with_weights_that_are_not_there(
    served: Served, tmp_path: Path, which: str, change: Callable[[Path], None], reason: str, said: str
) -> None:
    copy: Any = shutil.copytree(getattr(served, which), tmp_path / which)
    change(copy)
    with pytest.raises(StartError, match=said) as refused:
        load(replace(settings(served), **{which: copy}))
    assert refused.value.code == 65
    assert refused.value.reason == reason


def says_config(**changed: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changed))

    return change


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), 64, "has no config.json"),
        (says_config(model_type="newest"), 64, "transformers does not know the model in .*newest"),
        (says_config(auto_map={"AutoConfig": "configuration_x.X"}, model_type="x"), 64, "does not know the model"),
        (says_config(model_type="vit"), 64, "a vit model in .* is no causal language model"),
        (says_config(model_type="t5"), 64, "a t5 model in .* is no causal language model"),
        (says_config(intermediate_size=96), 65, "of other shapes"),
        (says_config(max_position_embeddings=128), 64, "has room for 128 tokens .*decisions need 256"),
    ],
)
def test_what_cannot_be_served_is_no_load_that_is_tried_again(
    served: Served, tmp_path: Path, change: Callable[[Path], None], code: int, said: str
) -> None:
    copy: Any = shutil.copytree(served.base, tmp_path / "base")
    change(copy)
    with pytest.raises(StartError, match=said) as refused:
        load(replace(settings(served), base=copy, adapter=None))
    assert refused.value.code == code


def test_attention_is_as_it_is_asked_for(served: Served, tmp_path: Path) -> None:
    alone = replace(settings(served), adapter=None)
    found = {name: load(replace(alone, attention=name)).model for name in ("auto", "sdpa", "eager")}
    implementations = {name: model.config._attn_implementation for name, model in found.items()}
    assert implementations == {"auto": "sdpa", "sdpa": "sdpa", "eager": "eager"}
    with torch.inference_mode():
        sdpa, eager = (found[name](input_ids=IDS).logits for name in ("sdpa", "eager"))
    assert torch.allclose(sdpa, eager, atol=1e-4)
    from transformers import Gemma2Config, Gemma2ForCausalLM

    shape = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 16,
    }
    capped = Gemma2ForCausalLM(Gemma2Config(vocab_size=len(served.tokenizer), num_key_value_heads=2, **shape))
    capped.save_pretrained(tmp_path / "base")
    served.tokenizer.save_pretrained(tmp_path / "base")
    alone = replace(alone, base=tmp_path / "base")
    assert load(alone).model.config._attn_implementation == "eager"
    with pytest.raises(StartError, match="this model has no sdpa; use auto or eager") as refused:
        load(replace(alone, attention="sdpa"))
    assert refused.value.code == 64


def test_a_mislabelled_tokenizer_is_read_without_its_class(served: Served, tmp_path: Path) -> None:
    """Published byte-level tokenizers carry the name of a SentencePiece class."""
    copy = shutil.copytree(served.base, tmp_path / "base")
    config = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "LlamaTokenizerFast"}))
    tokenizer = load_tokenizer([copy])
    text = 'Market: {"price":65000.5}\nDecision: '
    assert tokenizer(text)["input_ids"] == served.tokenizer(text)["input_ids"]


def test_a_lossy_tokenizer_ends_with_66(tmp_path: Path) -> None:
    tokenizer = train_tokenizer("llama3")
    tokenizer.backend_tokenizer.decoder = decoders.WordPiece()
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(StartError, match="changes text") as refused:
        load_tokenizer([tmp_path])
    assert refused.value.code == 66
    assert refused.value.reason == "TokenizerRoundTrip"


def test_a_tokenizer_without_stop_token_is_refused() -> None:
    tokenizer = train_tokenizer("llama3")
    tokenizer.eos_token = None
    assert "eos_token" in round_trip_problem(tokenizer)


def test_the_static_beginning_is_most_of_the_instruction() -> None:
    for kind in ("llama3", "deepseek", "llama2", "bytes"):
        tokenizer = train_tokenizer(kind)
        text = tokenizer.decode(static_beginning(tokenizer), skip_special_tokens=True)
        assert text.lstrip().startswith(INSTRUCTION[:-2])


def test_an_artifact_holds_regular_files_only(served: Served, tmp_path: Path) -> None:
    copy = shutil.copytree(served.adapter, tmp_path / "adapter")
    (copy / "extra").symlink_to(served.base)
    with pytest.raises(StartError, match="extra is a link") as refused:
        verify_artifact(copy, served.sha256)
    assert refused.value.code == 65


def test_a_mismatch_names_the_file_that_changed(served: Served, tmp_path: Path) -> None:
    copy = shutil.copytree(served.adapter, tmp_path / "adapter")
    (copy / "SHA256SUMS").write_text(sums_text(hash_files(copy)))
    assert verify_artifact(copy, served.sha256) == served.sha256
    (copy / "adapter_config.json").write_text("{}")
    with pytest.raises(StartError, match=r"adapter_config\.json is not what SHA256SUMS says"):
        verify_artifact(copy, served.sha256)


def test_a_base_is_verified_through_its_links(served: Served, tmp_path: Path) -> None:
    """Folders of public models are links into a store: what they lead to is what is loaded."""
    base = tmp_path / "base"
    base.mkdir()
    for file in served.base.iterdir():
        (base / file.name).symlink_to(file)
    pinned = artifact_sha256(hash_files(served.base))
    assert verify_base(base, pinned) == pinned
    weights = base / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    weights.unlink()
    changed[-1] ^= 1
    weights.write_bytes(changed)
    with pytest.raises(StartError, match="the base model hashes to") as refused:
        verify_base(base, pinned)
    assert refused.value.code == 65


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--sha256", "abc"], "--sha256"),
        (["--base-sha256", "abc"], "--base-sha256"),
        (["--merge", "yes"], "--merge"),
        (["--decoding", "beam"], "--decoding"),
        (["--max-queue", "0"], "--max-queue"),
        (["--max-prompt-tokens", "-1"], "--max-prompt-tokens"),
        (["--attention", "flash"], "--attention"),
        (["--base-mismatch", "yes"], "--base-mismatch"),
        (["--bogus"], "--bogus"),
    ],
)
def test_bad_settings_name_the_option(served: Served, change: list[str], named: str) -> None:
    with pytest.raises(StartError, match=named) as refused:
        settings(served, *change)
    assert refused.value.code == 64


def test_an_empty_mount_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="is empty: mount the model there"):
        verify_artifact(tmp_path, "0" * 64)
