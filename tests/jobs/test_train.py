import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from train_rig import Trainer, running_trainer, wait_for

from tradewind.predictor.artifact import verify_trained_base
from tradewind.predictor.decoder import Decoder
from tradewind.predictor.failure import StartError
from tradewind.predictor.grammar import Grammar
from tradewind.predictor.loader import completion_tokeniser, encode_prompt, load, static_beginning
from tradewind.predictor.settings import Decoding, parse_settings
from tradewind.pretrained import agreement
from tradewind.trading.prompt import render_prompt
from tradewind.training import merged
from tradewind.training.artifact import published_sha256
from tradewind.training.files import folder_sha256
from tradewind.training.outcome import JobError
from tradewind.training.tokenizer import load_tokenizer, probe_tokens
from workshop.samples import random_input

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    with running_trainer(tmp_path_factory.mktemp("train")) as trainer:
        yield trainer


@pytest.fixture(scope="module")
def undisturbed(trainer: Trainer) -> dict:
    started = trainer.start(trainer.config(trainer.folder / "undisturbed"))
    assert started.wait() == 0, started.log.read_text()
    return started.result


def test_a_run_publishes_an_adapter_that_verifies_and_says_what_it_is_made_of(trainer: Trainer, undisturbed) -> None:
    adapter = Path(undisturbed["adapter"])
    assert published_sha256(adapter) == undisturbed["sha256"]
    names = {path.name for path in adapter.iterdir()}
    assert names >= {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "README.md", "SHA256SUMS"}
    assert "probe.jsonl" in names
    assert undisturbed["steps"] == 18
    assert undisturbed["epoch"] == 3
    assert undisturbed["plan"]["method"] == "lora"
    assert "no CUDA GPU" in undisturbed["plan"]["reason"]
    assert undisturbed["resumedFrom"] is None
    log = (trainer.folder / "log-0").read_text()
    losses = [float(value) for value in re.findall(r'"eval_loss": ([0-9.]+)', log)]
    assert undisturbed["evalLoss"] == min(losses) < losses[0]
    assert "beginnings that prompts share are computed once" in undisturbed["plan"]["reason"]
    assert "tokens at once takes" in undisturbed["plan"]["reason"]
    (curves,) = (trainer.folder / "undisturbed" / "tensorboard").iterdir()
    assert curves.read_bytes().count(b"eval/loss") == len(losses)
    card = (adapter / "README.md").read_text()
    assert trainer.data_sha256 in card
    assert "2026-02-01" in card
    provenance = json.loads((adapter / "training.json").read_text())
    assert provenance["hyperparameters"]["seed"] == 7
    assert str(trainer.folder) not in "".join(path.read_text() for path in adapter.glob("*.json"))


def test_a_finished_run_never_trains_again(trainer: Trainer, undisturbed) -> None:
    started = trainer.start(trainer.config(trainer.folder / "undisturbed"))
    assert started.wait() == 0
    assert started.result == undisturbed
    assert "is complete" in started.log.read_text()


def test_terminated_then_killed_then_resumed_gives_the_very_same_adapter(trainer: Trainer, undisturbed) -> None:
    output = trainer.folder / "disturbed"
    config = trainer.config(output)

    terminated = trainer.start(config)
    wait_for(lambda: list(output.glob("checkpoints/step-*")))
    terminated.kill(signal.SIGTERM)
    assert terminated.wait() == 75, terminated.log.read_text()
    stopped_at = terminated.result["step"]
    assert terminated.result["reason"] == "Interrupted"
    assert 3 <= stopped_at < 18
    assert (output / "checkpoints" / f"step-{stopped_at}" / "checkpoint.json").is_file()

    killed = trainer.start(config)
    wait_for(lambda: [p for p in output.glob("checkpoints/step-*") if int(p.name[5:]) > stopped_at])
    killed.kill(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (output / "adapter").exists(), "killed too late to show anything"
    newest = max(output.glob("checkpoints/step-*"), key=lambda p: int(p.name[5:]))
    with (newest / "adapter_model.safetensors").open("r+b") as weights:
        weights.truncate(1000)  # as a lost node leaves it

    resumed = trainer.start(config)
    assert resumed.wait() == 0, resumed.log.read_text()
    assert resumed.result["resumedFrom"] is not None
    assert resumed.result["resumedFrom"] < int(newest.name[5:])
    assert resumed.result["sha256"] == undisturbed["sha256"]
    assert resumed.result["evalLoss"] == undisturbed["evalLoss"]
    assert resumed.result["baseEvalLoss"] == undisturbed["baseEvalLoss"]


def test_a_checkpoint_of_the_release_before_is_resumed_from(trainer: Trainer, undisturbed) -> None:
    output = trainer.folder / "upgraded"
    terminated = trainer.start(trainer.config(output))
    wait_for(lambda: list(output.glob("checkpoints/step-*")))
    terminated.kill(signal.SIGTERM)
    assert terminated.wait() == 75, terminated.log.read_text()

    hashed = json.loads((Path(undisturbed["adapter"]) / "training.json").read_text())
    for name in ("run", "image", "steps", "bestStep", "baseSha256"):
        del hashed[name]
    hashed["lora"]["dropout"] = 0.1
    hashed["hyperparameters"] |= {"epochs": 3.0, "learning_rate": 0.02}
    hashed["hyperparameters"]["extra"] = {
        "weight_decay": 0.0, "max_grad_norm": 1.0, "lr_scheduler_type": "linear", "adam_beta1": 0.9, "adam_beta2": 0.999,
        "gradient_checkpointing": "auto", "early_stopping_patience": 0, "logging_steps": 10, "max_steps": None,
        "max_too_long_share": 0.01, "threads": 1,
    }  # fmt: skip
    text = json.dumps([hashed, hashed.pop("learningRate")], sort_keys=True)
    rewrite_as_the_release_before(output, hashlib.sha256(text.encode()).hexdigest())

    upgraded = trainer.start(trainer.config(output))
    assert upgraded.wait() == 0, upgraded.log.read_text()
    assert upgraded.result["resumedFrom"] == terminated.result["step"]
    assert upgraded.result["sha256"] == undisturbed["sha256"]
    assert upgraded.result["message"] == ""


def rewrite_as_the_release_before(output: Path, fingerprint: str) -> None:
    """Manifests of checkpoints as they were when they carried a hash of every field instead of the fields."""
    for file in output.glob("checkpoints/step-*/checkpoint.json"):
        manifest = json.loads(file.read_text())
        file.write_text(json.dumps({key: manifest[key] for key in ("step", "files")} | {"fingerprint": fingerprint}))


def test_a_checkpoint_of_another_request_is_not_used_and_the_result_says_what_differs(trainer: Trainer) -> None:
    output, asked = trainer.folder / "asked-anew", trainer.config(trainer.folder / "asked-anew")
    terminated = trainer.start(asked)
    wait_for(lambda: list(output.glob("checkpoints/step-*")))
    terminated.kill(signal.SIGTERM)
    assert terminated.wait() == 75, terminated.log.read_text()

    rewrite_as_the_release_before(output, "another")
    unknown = trainer.start(asked)
    wait_for(lambda: unknown.log.exists() and "from the start" in unknown.log.read_text())
    unknown.kill(signal.SIGTERM)
    assert unknown.wait() == 75, unknown.log.read_text()
    assert "an earlier release wrote it" in unknown.result["message"]

    changed = asked | {"hyperparameters": asked["hyperparameters"] | {"epochs": "1"}}
    restarted = trainer.start(changed)
    assert restarted.wait() == 0, restarted.log.read_text()
    assert restarted.result["resumedFrom"] is None
    assert "hyperparameters.epochs was 3 and is 1" in restarted.result["message"]
    assert "hyperparameters.epochs was 3 and is 1" in restarted.log.read_text()


def test_other_data_than_the_gates_passed_is_refused(trainer: Trainer) -> None:
    started = trainer.start(trainer.config(trainer.folder / "other", datasetSha256="0" * 64))
    assert started.wait() == 65
    assert started.result["reason"] == "DatasetMismatch"
    assert started.result["actual"] == trainer.data_sha256


def test_another_base_than_the_run_asks_for_is_not_trained_on(trainer: Trainer) -> None:
    started = trainer.start(trainer.config(trainer.folder / "other-base", baseSha256="0" * 64))
    assert started.wait() == 65
    assert started.result["reason"] == "BaseMismatch"
    assert started.result["expected"] == "0" * 64 != started.result["actual"]


def test_data_without_a_stated_hash_is_what_its_manifest_says(trainer: Trainer) -> None:
    started = trainer.start(trainer.config(trainer.folder / "unstated", datasetSha256=None))
    assert started.wait() == 65
    assert "set datasetSha256 or bring a manifest.json" in started.result["message"]


def test_a_training_that_diverges_is_started_over_at_half_the_rate_and_then_given_up(trainer: Trainer) -> None:
    config = trainer.config(trainer.folder / "diverging")
    config["hyperparameters"] |= {"warmupSteps": 0, "extra": {"threads": "1", "weight_decay": "1e90"}}
    started = trainer.start(config)
    assert started.wait() == 67, started.log.read_text()
    assert "lower hyperparameters.learningRate below 0.01" in started.result["message"]
    assert started.log.read_text().count("diverged at learning rate") == 2


def test_rows_that_are_too_long_end_the_run_before_the_model_is_loaded(trainer: Trainer) -> None:
    config = trainer.config(trainer.folder / "long")
    config["hyperparameters"]["maxLength"] = 64
    started = trainer.start(config)
    assert started.wait() == 66
    assert started.result["reason"] == "TooLong"


def test_a_warm_start_must_fit_and_then_begins_where_it_ended(trainer: Trainer, undisturbed) -> None:
    config = trainer.config(trainer.folder / "warm", warmStart=undisturbed["adapter"])
    config["lora"]["rank"] = 8
    refused = trainer.start(config)
    assert refused.wait() == 64
    assert "lora.rank" in refused.result["message"]
    config["lora"]["rank"] = 4
    config["hyperparameters"] |= {"epochs": "0.2", "learningRate": "0.000000001"}
    warm = trainer.start(config)
    assert warm.wait() == 0, warm.log.read_text()
    assert warm.result["evalLoss"] == pytest.approx(undisturbed["evalLoss"], rel=1e-4)
    assert warm.result["baseEvalLoss"] == undisturbed["baseEvalLoss"]


def test_what_was_gained_is_against_the_base_without_an_adapter(trainer: Trainer, undisturbed) -> None:
    config = trainer.config(trainer.folder / "untrained")
    config["hyperparameters"] |= {"epochs": "0.2", "learningRate": "0.000000001"}
    untrained = trainer.start(config)
    assert untrained.wait() == 0, untrained.log.read_text()
    assert untrained.result["evalLoss"] == pytest.approx(undisturbed["baseEvalLoss"], rel=1e-5)
    assert undisturbed["evalLoss"] < undisturbed["baseEvalLoss"]


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_a_merged_model_answers_as_base_and_adapter_and_is_made_once(trainer: Trainer) -> None:
    config = trainer.config(trainer.folder / "whole", merged=True)
    config["hyperparameters"] |= {"epochs": "1"}
    first = trainer.start(config)
    assert first.wait() == 0, first.log.read_text()
    made, folder = first.result["merged"], trainer.folder / "whole" / "merged"
    assert published_sha256(folder) == made["sha256"]
    assert made["difference"] < 1e-3
    assert "LoRA adapter merged in" in (folder / "README.md").read_text()
    served = [
        decisions(folder, made["sha256"]),
        decisions(trainer.base, first.result["sha256"], first.result["adapter"]),
    ]
    assert served[0] == served[1]
    assert served[0] != decisions(trainer.base, folder_sha256(trainer.base))

    again = trainer.start(config)
    assert again.wait() == 0
    assert again.result == first.result
    assert "merging" not in again.log.read_text()

    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])  # as a lost node leaves it
    mended = trainer.start(config)
    assert mended.wait() == 0, mended.log.read_text()
    assert mended.result == first.result
    assert published_sha256(folder) == made["sha256"]


def test_a_finished_run_that_lacks_its_merged_model_merges_and_does_not_train(trainer: Trainer, undisturbed) -> None:
    shutil.copytree(trainer.folder / "undisturbed", trainer.folder / "later")
    later = trainer.start(trainer.config(trainer.folder / "later", merged=True))
    assert later.wait() == 0, later.log.read_text()
    assert later.result == undisturbed | {"merged": later.result["merged"]}
    assert "eval_loss" not in later.log.read_text()
    assert published_sha256(trainer.folder / "later" / "merged") == later.result["merged"]["sha256"]


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_a_merged_model_that_answers_otherwise_is_not_published(
    trainer: Trainer, undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = Path(undisturbed["adapter"])
    tokenizer = load_tokenizer(adapter)
    monkeypatch.setattr(agreement, "TOLERANCE", {torch.float32: -1.0, torch.bfloat16: -1.0})
    with pytest.raises(JobError, match="the merged model's log-probabilities differ"):
        merged.publish_merged(
            tmp_path / "merged", trainer.base, adapter, tokenizer, probe_tokens(tokenizer), {"objective": "sft"}
        )
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_names_the_base_that_its_server_looks_for(trainer: Trainer, undisturbed) -> None:
    adapter = Path(undisturbed["adapter"])
    assert verify_trained_base(adapter, trainer.base, None, allow=False) is True
    with pytest.raises(StartError, match="was trained on a base that hashes to"):
        verify_trained_base(adapter, trainer.base, "0" * 64, allow=False)


def decisions(base: Path, sha256: str, adapter: str | None = None) -> list[list[int]]:
    """What a server writes for some prompts."""
    flags = ["--model-name", "v", "--base", str(base), "--sha256", sha256]
    loaded = load(parse_settings([*flags, *(["--adapter", adapter] if adapter else [])]))
    plan = Grammar(completion_tokeniser(loaded.tokenizer)).plan("BTC", None)
    decoder = Decoder(loaded.model, static_beginning(loaded.tokenizer), decoding=Decoding.GREEDY)
    draw = random.Random(3)
    prompts = [encode_prompt(loaded.tokenizer, render_prompt(random_input(draw), "BTC")) for _ in range(6)]
    return [list(decoder.write(prompt, plan).tokens) for prompt in prompts]


def test_the_command_line_names_the_missing_configuration() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TRADEWIND_CONFIG"}
    command = [sys.executable, str(ROOT / "jobs" / "train.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 64
    assert "TRADEWIND_CONFIG: is not set" in json.loads(done.stdout)["message"]
