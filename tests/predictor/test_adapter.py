"""What an adapter adds is served as it was trained, or not at all: of which kind it is, on which base, merged or beside it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from predictor_process import command, started
from tiny_llama import Served, directory_sha256, read_termination
from transformers import LlamaForCausalLM

from tradewind.predictor import adapter as adapters
from tradewind.predictor.artifact import hash_files
from tradewind.predictor.failure import StartError
from tradewind.predictor.loader import load
from tradewind.predictor.settings import parse_settings
from tradewind.trading.artifact import artifact_sha256
from workshop.tiny_llama import Shape, make_llama

pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing:FutureWarning",  # peft's name for it is an old one
    "ignore:Model has `tie_word_embeddings=True`",
    "ignore:Model with `tie_word_embeddings=True`",
)
IDS = torch.tensor([[5, 6, 7, 8]])


def on(base: Any, served: Served, folder: Path, config: Any) -> Served:
    """An adapter of some kind on a model, as pods mount the two."""
    from peft import get_peft_model

    base.save_pretrained(folder / "base")
    served.tokenizer.save_pretrained(folder / "base")
    adapted = get_peft_model(base, config)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))
    adapted.save_pretrained(str(folder / "adapter"), save_embedding_layers=False)
    return Served(folder / "base", folder / "adapter", directory_sha256(folder / "adapter"), served.tokenizer)


def logits(served: Served, *extra: str) -> torch.Tensor:
    required = ["--model-name", "v1", "--base", str(served.base), "--sha256", served.sha256]
    settings = parse_settings([*required, "--adapter", str(served.adapter), *extra])
    with torch.inference_mode():
        return load(settings).model(input_ids=IDS).logits


def tied(served: Served) -> LlamaForCausalLM:
    return make_llama(served.tokenizer, Shape(hidden=64, heads=4, key_value_heads=2, tied=True, spread=0.3)).eval()


def lora(**more: Any) -> Any:
    from peft import LoraConfig

    return LoraConfig(**{"r": 4, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, **more})


@pytest.mark.parametrize("modules", [["q_proj", "lm_head"], ["embed_tokens", "v_proj"], ["embed_tokens", "lm_head"]])
def test_an_adapter_on_one_end_of_a_tied_base_changes_that_end_alone(
    served: Served, tmp_path: Path, modules: list[str]
) -> None:
    """Merged into weights that head and embedding share, it changed both: 0 of 8 decisions were those of the adapter."""
    made = on(tied(served), served, tmp_path, lora(target_modules=modules))
    assert torch.allclose(logits(made), logits(made, "--merge", "false"), atol=1e-3)


def test_a_sum_that_answers_otherwise_than_its_parts_is_not_served(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the untying this is how a head of a tied base would be merged."""
    made = on(tied(served), served, tmp_path, lora(target_modules=["q_proj", "lm_head"]))
    monkeypatch.setattr(adapters, "_untie", lambda _: None)
    with pytest.raises(
        StartError, match=r"differ by [\d.]+ on a prompt, rounding to float32 explains 0\.001"
    ) as refused:
        logits(made)
    assert refused.value.code == 65
    assert refused.value.reason == "MergedDiffers"
    assert "serving.merge: false" in refused.value.message


def kinds() -> dict[str, Callable[[], Any]]:
    import peft

    task = {"task_type": "CAUSAL_LM"}
    layers = {"target_modules": ["q_proj", "v_proj"]}
    return {
        "PROMPT_TUNING": lambda: peft.PromptTuningConfig(**task, num_virtual_tokens=4),
        "PREFIX_TUNING": lambda: peft.PrefixTuningConfig(**task, num_virtual_tokens=4),
        "P_TUNING": lambda: peft.PromptEncoderConfig(**task, num_virtual_tokens=4, encoder_hidden_size=16),
        "LOHA": lambda: peft.LoHaConfig(**layers, r=4),
        "LOKR": lambda: peft.LoKrConfig(**layers, r=4),
        "IA3": lambda: peft.IA3Config(**layers, feedforward_modules=[]),
        "DoRA": lambda: lora(use_dora=True),
        "RSLoRA": lambda: lora(use_rslora=True),
        "ALORA": lambda: lora(**task, alora_invocation_tokens=[5, 6]),
    }


@pytest.mark.parametrize("merge", ["true", "false"])
@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "ALORA"])
def test_an_adapter_that_the_server_would_leave_out_is_refused(
    served: Served, tmp_path: Path, kind: str, merge: str
) -> None:
    made = on(LlamaForCausalLM.from_pretrained(served.base), served, tmp_path, kinds()[kind]())
    with pytest.raises(
        StartError, match="would be left out" if kind == "ALORA" else f"the adapter is a {kind}"
    ) as refused:
        logits(made, "--merge", merge)
    assert refused.value.code == 64


@pytest.mark.parametrize("kind", ["LOHA", "LOKR", "IA3", "DoRA", "RSLoRA"])
def test_an_adapter_that_changes_layers_is_served_merged_and_beside_its_base(
    served: Served, tmp_path: Path, kind: str
) -> None:
    made = on(LlamaForCausalLM.from_pretrained(served.base), served, tmp_path, kinds()[kind]())
    merged = logits(made)
    assert torch.allclose(merged, logits(made, "--merge", "false"), atol=1e-3)
    bare = parse_settings(["--model-name", "v1", "--base", str(made.base), "--sha256", made.sha256])
    with torch.inference_mode():
        assert not torch.allclose(merged, load(bare).model(input_ids=IDS).logits, atol=1e-2)


def test_an_adapter_of_another_shape_says_so(served: Served, tmp_path: Path) -> None:
    wide = make_llama(served.tokenizer, Shape(hidden=32, heads=4, key_value_heads=2, tied=False))
    made = on(wide, served, tmp_path, lora())
    with pytest.raises(StartError, match="does not fit the base") as refused:
        logits(replace(made, base=served.base))
    assert refused.value.code == 65


@pytest.fixture(scope="module")
def trained(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """The adapter as a training publishes it: training.json names the hash of the base."""
    adapter = shutil.copytree(served.adapter, tmp_path_factory.mktemp("trained") / "adapter")
    said = {"baseModel": "pvc://models/base", "baseSha256": artifact_sha256(hash_files(served.base))}
    (adapter / "training.json").write_text(json.dumps(said))
    return replace(served, adapter=adapter, sha256=directory_sha256(adapter))


def other_base(served: Served, folder: Path) -> Served:
    """A base of the same shape and other weights: everything loads."""
    base = folder / "other"
    shutil.copytree(served.base, base)
    model = make_llama(served.tokenizer, Shape(hidden=64, heads=4, key_value_heads=2, tied=False, spread=0.3), seed=9)
    model.save_pretrained(base)
    return replace(served, base=base)


@pytest.mark.parametrize("pinned", [False, True])
def test_an_adapter_of_another_base_of_the_same_shape_is_never_served(
    trained: Served, tmp_path: Path, pinned: bool
) -> None:
    wrong = other_base(trained, tmp_path)
    theirs, ours = (artifact_sha256(hash_files(each.base)) for each in (trained, wrong))
    pin = ["--base-sha256", ours] if pinned else []  # whoever pins it has pinned the wrong one
    done = subprocess.run(command(wrong, tmp_path, *pin), capture_output=True, timeout=60, check=False)
    assert done.returncode == 65
    message = read_termination(tmp_path / "log")
    assert (message["reason"], message["expected"], message["actual"]) == ("BaseMismatch", theirs, ours)
    assert theirs in message["message"]
    assert ours in message["message"]
    assert "serving.baseMismatch: allow" in message["message"]


def test_which_base_it_is_on_is_said(trained: Served, served: Served, tmp_path: Path) -> None:
    wrong = other_base(trained, tmp_path)
    for given, extra, matches in (
        (trained, [], True),
        (served, [], None),
        (wrong, ["--base-mismatch", "allow"], False),
    ):
        with started(given, tmp_path, *extra) as server:
            assert server.call("/tradewind/v1/verification")[1]["baseMatches"] is matches
