"""What ends a training before its first step, or stops it, each with its name and its exit code: never a wrong adapter."""

import hashlib
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from train_rig import Started, Trainer, running_trainer, wait_for

from tiny_base import make_base, make_dataset
from workshop.tiny_llama import Shape, make_llama, train_tokenizer, write

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    with running_trainer(tmp_path_factory.mktemp("train")) as trainer:
        yield trainer


def brief(trainer: Trainer, output: str, **changes: Any) -> dict[str, Any]:
    """Two steps."""
    config = trainer.config(trainer.folder / output, **changes)
    config["hyperparameters"]["extra"] = {"threads": "1", "max_steps": "2"}
    return config


@pytest.fixture(scope="module")
def published(trainer: Trainer) -> dict[str, Any]:
    started = trainer.start(brief(trainer, "published"))
    assert started.wait() == 0, started.log.read_text()
    return started.result


def ended(started: Started, code: int, reason: str, *words: str) -> str:
    assert started.wait() == code, started.log.read_text()
    assert started.result["reason"] == reason
    message: str = started.result["message"]
    for word in words:
        assert word in message, message
    return message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lora": {"rank": 8, "alpha": 8, "dropout": "0.1"}}, "lora.rank was 4 and is 8"),
        ({"baseRevision": "other"}, "baseRevision was"),
        ({"datasetSha256": "1" * 64}, "datasetSha256 was"),
        ({"baseSha256": "2" * 64}, "baseSha256 was"),
    ],
)
def test_the_adapter_of_another_request_under_the_same_name_is_not_reported_as_this_ones(
    trainer: Trainer, published: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    again = trainer.start(brief(trainer, "published") | change)
    ended(again, 64, "AlreadyPublished", said, "give the run another name")
    unchanged = trainer.start(brief(trainer, "published", attempt=5))
    assert unchanged.wait() == 0
    assert unchanged.result == published


def test_a_base_that_was_replaced_under_its_uri_makes_another_request(trainer: Trainer) -> None:
    base = make_base(trainer.folder / "replaced")
    config = brief(trainer, "of-replaced", base=str(base))
    assert trainer.start(config).wait() == 0
    write(base, make_llama(train_tokenizer([]), Shape(), seed=5), train_tokenizer([]))
    ended(trainer.start(config), 64, "AlreadyPublished", "baseSha256 was")


def broken_base(trainer: Trainer, name: str, change: Callable[[Path], object]) -> Started:
    base = Path(shutil.copytree(trainer.base, trainer.folder / name))
    change(base)
    return trainer.start(brief(trainer, f"out-{name}", base=str(base)))


def without(*parts: str) -> Callable[[Path], None]:
    def change(base: Path) -> None:
        kept = {n: t for n, t in load_file(base / WEIGHTS).items() if not any(part in n for part in parts)}
        save_file(kept, base / WEIGHTS, {"format": "pt"})

    return change


def cut(name: str) -> Callable[[Path], object]:
    return lambda base: (base / name).write_bytes((base / name).read_bytes()[:-100])


def pointer(base: Path) -> None:
    (base / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")


def one_layer_less(base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))


def four_bit(base: Path) -> None:
    config = json.loads((base / "config.json").read_text())
    stated = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": stated}))


def more_tokens(base: Path) -> None:
    tokenizer = train_tokenizer([])
    tokenizer.add_tokens([f"new{n}" for n in range(5)])
    tokenizer.save_pretrained(base)


def odd_special(base: Path) -> None:
    stated = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps(stated | {"eos_token": 7}))


@pytest.mark.parametrize(
    ("name", "change", "code", "reason", "words"),
    [
        ("layer", without("layers.1.mlp"), 65, "BaseIncomplete", ("lacks 3 tensors", "layers.1.mlp.down_proj")),
        ("less", one_layer_less, 65, "BaseIncomplete", ("has too many", "layers.1")),
        ("cut", cut(WEIGHTS), 65, "BrokenFile", (WEIGHTS, "copy it again")),
        ("lfs", pointer, 65, "BrokenFile", ("Git LFS pointer", "git lfs pull")),
        ("cut-tokenizer", cut("tokenizer.json"), 65, "BrokenFile", ("tokenizer.json", "is no JSON")),
        ("four-bit", four_bit, 64, "InvalidConfiguration", ("bitsandbytes", "request a GPU")),
        ("more-tokens", more_tokens, 64, "InvalidConfiguration", ("the tokenizer has 263 tokens, the model 258",)),
        ("odd", odd_special, 66, "TokenizerRoundTrip", ("use the base model's own tokenizer.json",)),
    ],
)  # fmt: skip
def test_a_base_that_is_not_whole_is_refused_by_name(
    trainer: Trainer, name: str, change: Callable[[Path], object], code: int, reason: str, words: tuple[str, ...]
) -> None:
    ended(broken_base(trainer, name, change), code, reason, *words)


def test_a_base_without_room_for_the_rows_is_refused(trainer: Trainer) -> None:
    tokenizer = train_tokenizer([])
    base = write(trainer.folder / "short", make_llama(tokenizer, Shape(positions=256)), tokenizer)
    ended(trainer.start(brief(trainer, "out-short", base=str(base))), 66, "TooLong", "the base has room for 256")


def test_a_model_that_no_server_takes_is_not_trained(trainer: Trainer) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    tokenizer = train_tokenizer([])
    windowed = MistralForCausalLM(
        MistralConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=2, sliding_window=64, eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip
    windowed.save_pretrained(trainer.folder / "windowed")
    tokenizer.save_pretrained(trainer.folder / "windowed")
    started = trainer.start(brief(trainer, "out-windowed", base=str(trainer.folder / "windowed")))
    ended(started, 64, "InvalidConfiguration", "choose a base whose layers all attend to the whole prompt")


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        (["q_proj", "query_key_value"], ("query_key_value is no layer", "gate_proj")),
        (["q_proj", "lm_head"], ("lm_head shares its weights with model.embed_tokens", "leave it out")),
        (["embed_tokens"], ("model.embed_tokens shares its weights with lm_head",)),
    ],
)
def test_layers_that_are_not_there_or_are_tied_are_refused(
    trainer: Trainer, modules: list[str], words: tuple[str, ...]
) -> None:
    config = brief(trainer, f"targets-{modules[-1]}")
    config["lora"]["targetModules"] = modules
    ended(trainer.start(config), 64, "InvalidConfiguration", "lora.targetModules", *words)


def test_the_plan_names_the_layers_and_their_share(published: dict[str, Any]) -> None:
    assert "2 k_proj, 2 o_proj, 2 q_proj, 2 v_proj" in published["plan"]["reason"]
    assert "% of the weights" in published["plan"]["reason"]


def changed_adapter(
    trainer: Trainer, published: dict[str, Any], name: str, change: Callable[[Path], object]
) -> Started:
    folder = Path(shutil.copytree(published["adapter"], trainer.folder / name))
    change(folder)
    return trainer.start(brief(trainer, f"out-{name}", warmStart=str(folder)))


def half_filled(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    save_file({n: t for n, t in load_file(file).items() if "layers.1" not in n}, file, {"format": "pt"})


def renamed(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    save_file({n.replace("layers.", "blocks."): t for n, t in load_file(file).items()}, file, {"format": "pt"})


def of_another_base(folder: Path) -> None:
    stated = json.loads((folder / "training.json").read_text())
    (folder / "training.json").write_text(json.dumps(stated | {"baseSha256": "3" * 64}))


@pytest.mark.parametrize(
    ("name", "change", "reason", "words"),
    [
        ("half", half_filled, "AdapterIncomplete", ("lacks 8 tensors", "layers.1")),
        ("renamed", renamed, "AdapterIncomplete", ("lacks", "has too many", "blocks.0")),
        ("other-base", of_another_base, "WarmStartMismatch", ("3" * 64, "leave warmStart out")),
    ],
)
def test_a_warm_start_that_does_not_fill_this_base_is_refused(
    trainer: Trainer, published: dict[str, Any], name: str, change: Callable[[Path], object], reason: str, words: Any
) -> None:
    ended(changed_adapter(trainer, published, name, change), 65, reason, *words)


def test_a_warm_start_trains_what_was_asked_for_and_knows_of_what_its_parent_knew(
    trainer: Trainer, published: dict[str, Any]
) -> None:
    everything = brief(trainer, "warm-other-layers", warmStart=published["adapter"])
    everything["lora"]["targetModules"] = ["all-linear"]
    ended(trainer.start(everything), 64, "InvalidConfiguration", "warmStart", "no adapter on", "down_proj")

    earlier = trainer.folder / "earlier-data"
    sha256 = make_dataset(earlier)
    (earlier / "manifest.json").write_text(json.dumps({"watermark": "2025-06-01T00:00:00+00:00"}))
    config = brief(trainer, "warm", warmStart=published["adapter"], dataset=str(earlier), datasetSha256=sha256)
    config["lora"]["dropout"] = "0.3"
    started = trainer.start(config)
    assert started.wait() == 0, started.log.read_text()
    adapter = Path(started.result["adapter"])
    assert json.loads((adapter / "adapter_config.json").read_text())["lora_dropout"] == 0.3
    assert json.loads((adapter / "training.json").read_text())["watermark"] == "2026-02-01T00:00:00+00:00"


def test_early_stopping_without_rows_to_evaluate_is_refused(trainer: Trainer) -> None:
    sha256 = make_dataset(trainer.folder / "all-train", evaluation=0)
    config = brief(trainer, "patient", dataset=str(trainer.folder / "all-train"), datasetSha256=sha256)
    config["hyperparameters"]["extra"]["early_stopping_patience"] = "2"
    ended(trainer.start(config), 64, "InvalidConfiguration", "early_stopping_patience", "no row to evaluate")


def test_weights_that_overflow_in_the_last_step_are_not_published(trainer: Trainer) -> None:
    sha256 = make_dataset(trainer.folder / "unevaluated", evaluation=0)
    config = brief(trainer, "last-step", dataset=str(trainer.folder / "unevaluated"), datasetSha256=sha256)
    config["hyperparameters"] |= {"warmupSteps": 0, "learningRate": "999999999"}
    config["hyperparameters"]["extra"] |= {"max_steps": "1", "weight_decay": "1e90", "lr_scheduler_type": "constant"}
    ended(trainer.start(config), 67, "Diverged", "not finite", "lower hyperparameters.learningRate")
    assert not (trainer.folder / "last-step" / "adapter").exists()
    assert not list((trainer.folder / "last-step").glob("checkpoints/step-*"))


def test_an_evaluation_that_is_not_finite_is_no_lack_of_gain(trainer: Trainer) -> None:
    config = brief(trainer, "eval-nan")
    config["hyperparameters"] |= {"warmupSteps": 0, "learningRate": "999999999", "evalEverySteps": 1}
    config["hyperparameters"]["extra"] |= {"weight_decay": "1e90", "lr_scheduler_type": "constant"}
    ended(trainer.start(config), 67, "Diverged", "the evaluation loss is nan at step 1")


def patient(trainer: Trainer, output: str) -> dict[str, Any]:
    """Ends early for want of a gain; every step that is evaluated is saved."""
    config = trainer.config(trainer.folder / output)
    config["hyperparameters"] |= {"evalEverySteps": 2, "saveEverySteps": 2, "learningRate": "5", "warmupSteps": 0}
    config["hyperparameters"]["extra"] = {"threads": "1", "early_stopping_patience": "1"}
    return config


def test_an_early_stopped_run_that_was_killed_before_it_published_publishes_the_same(trainer: Trainer) -> None:
    undisturbed = trainer.start(patient(trainer, "early"))
    assert undisturbed.wait() == 0, undisturbed.log.read_text()
    result = undisturbed.result
    assert 2 <= result["steps"] < 18
    output = trainer.folder / "early"
    assert (output / "checkpoints" / f"step-{result['steps']}").is_dir()
    shutil.rmtree(output / "adapter")  # killed between its last checkpoint and the rename
    (output / "result.json").unlink()
    again = trainer.start(patient(trainer, "early"))
    assert again.wait() == 0, again.log.read_text()
    assert again.result["resumedFrom"] == result["steps"]
    same = ("sha256", "steps", "bestStep", "evalLoss", "epoch")
    assert {name: again.result[name] for name in same} == {name: result[name] for name in same}

    # Told to stop while it evaluated for the last time: the evaluation is made up for, and not one step more is made.
    shutil.rmtree(output / "adapter")
    (output / "result.json").unlink()
    as_before_its_evaluation(output / "checkpoints" / f"step-{result['steps']}")
    resumed = trainer.start(patient(trainer, "early"))
    assert resumed.wait() == 0, resumed.log.read_text()
    assert {name: resumed.result[name] for name in same} == {name: result[name] for name in same}


def as_before_its_evaluation(checkpoint: Path) -> None:
    best, manifest = (json.loads((checkpoint / name).read_text()) for name in ("best.json", "checkpoint.json"))
    best |= {"evaluated_step": best["evaluated_step"] - 2, "without_gain": best["without_gain"] - 1}
    text = json.dumps(best)
    (checkpoint / "best.json").write_text(text)
    manifest["files"]["best.json"] = {"bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    (checkpoint / "checkpoint.json").write_text(json.dumps(manifest))


def test_a_volume_that_is_full_is_named_and_not_tried_again() -> None:
    """The words are those that a tmpfs of 60 and of 100 KiB led to."""
    from tradewind.training.outcome import storage_error

    error = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    found = storage_error(error)
    assert found is not None
    assert found.code == 64
    assert "mount a writable volume with room" in found.message
    assert storage_error(OSError(28, "No space left on device", "/mnt/x")) is not None
    assert storage_error(RuntimeError("basic_ios::clear: iostream error")) is not None
    assert storage_error(RuntimeError("anything else")) is None


def test_what_is_told_to_stop_names_a_checkpoint_that_is_there(trainer: Trainer) -> None:
    output = trainer.folder / "told"
    started = trainer.start(trainer.config(output))
    wait_for(lambda: list(output.glob("checkpoints/step-*")))
    started.kill(signal.SIGTERM)
    assert started.wait() == 75, started.log.read_text()
    assert Path(started.result["checkpoint"]).is_dir()
