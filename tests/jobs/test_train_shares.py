"""A base that is shared out among two processes (FSDP2): the very Job's script, over gloo on loopback."""

import json
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from architectures import make_model
from nodes_rig import (
    adapter,
    asked,
    codes,
    logs,
    two_agree_with_one,
    uneven_rows,
)
from safetensors.torch import load_file
from train_rig import Trainer, running_trainer, wait_for

from workshop.samples import random_texts
from workshop.tiny_llama import FAMILIES, train_tokenizer, write


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    """As of several nodes: at the last step of an epoch and at the last pass of an evaluation one process has nothing of its own."""
    with running_trainer(tmp_path_factory.mktemp("shares")) as trainer:
        yield uneven_rows(trainer)


def shared(trainer: Trainer, name: str, **more: Any) -> dict[str, Any]:
    return asked(trainer, name, strategy="fsdp", **more)


@pytest.mark.parametrize("objective", ["sft", "sft-then-kto"])
def test_two_shares_train_what_one_process_trains(trainer: Trainer, objective: str) -> None:
    alone = asked(trainer, f"alone-{objective}", objective=objective, dropout="0")
    together = shared(trainer, f"together-{objective}", objective=objective, dropout="0")
    _, two = two_agree_with_one(trainer, alone, together, objective)
    names = sorted(path.name for path in adapter(together).parent.iterdir())
    assert names == sorted(path.name for path in adapter(alone).parent.iterdir())
    assert "each with its part of every step and a share of the base, as asked" in two.result["plan"]["reason"]


def test_terminated_then_lost_then_resumed_gives_the_bytes_of_two_that_hold_all_of_the_base(trainer: Trainer) -> None:
    """Sharing the base out changes no number, and no checkpoint: the second attempt holds all of it, the third a share again."""
    undisturbed = asked(trainer, "whole")
    calm = trainer.start(undisturbed, nodes=2)
    assert codes(calm) == [0, 0], logs(calm)

    config = shared(trainer, "disturbed")
    checkpoints = Path(config["output"]) / "checkpoints"

    def beyond(step: int) -> list[Path]:
        return [path for path in checkpoints.glob("step-*") if int(path.name[5:]) > step]

    terminated = trainer.start(config, nodes=2)
    wait_for(lambda: beyond(0), 120)
    terminated.others[0].kill(signal.SIGTERM)
    assert codes(terminated) == [75, 75], logs(terminated)
    stopped_at = terminated.result["step"]

    lost = trainer.start(config | {"strategy": "ddp"}, nodes=2)
    wait_for(lambda: beyond(stopped_at), 120)
    lost.others[0].kill(signal.SIGKILL)
    assert codes(lost) == [75, -signal.SIGKILL], logs(lost)

    resumed = trainer.start(config, nodes=2)
    wait_for(lambda: "resuming from step" in resumed.log.read_text(), 120)
    assert codes(resumed) == [0, 0], logs(resumed)
    assert resumed.result["resumedFrom"] > stopped_at
    assert resumed.result["sha256"] == calm.result["sha256"]
    assert resumed.result["evalLoss"] == calm.result["evalLoss"]


@pytest.mark.whole
def test_one_that_is_killed_while_layers_are_put_together_ends_the_other(trainer: Trainer) -> None:
    config = shared(trainer, "killed")
    started = trainer.start(config, nodes=2)
    wait_for(lambda: list(Path(config["output"]).glob("checkpoints/step-*/checkpoint.json")), 120)
    started.others[0].kill(signal.SIGKILL)
    assert codes(started) == [75, -signal.SIGKILL], logs(started)
    assert started.result["reason"] == "NodeLost"


def test_each_process_has_its_share_of_the_base_and_no_more(trainer: Trainer) -> None:
    config = shared(trainer, "parts")
    config["hyperparameters"]["extra"] |= {"max_steps": "1"}
    started = trainer.start(config, nodes=2)
    assert codes(started) == [0, 0], logs(started)
    found = re.findall(r"(\d+) of (\d+) weights of the base are here", logs(started))
    assert len(found) == 2
    (one, total), (other, same) = ((int(here), int(of)) for here, of in found)
    assert total == same == sum(tensor.numel() for tensor in load_file(trainer.base / "model.safetensors").values())
    assert one + other == total
    assert abs(one - other) < 0.02 * total


@pytest.mark.whole
def test_what_diverges_ends_in_both_with_the_same_code(trainer: Trainer) -> None:
    config = shared(trainer, "diverges")
    config["hyperparameters"] |= {"warmupSteps": 0, "learningRate": "999999999"}
    config["hyperparameters"]["extra"] |= {"weight_decay": "1e90", "lr_scheduler_type": "constant"}
    started = trainer.start(config, nodes=2)
    assert codes(started) == [67, 67], logs(started)
    assert started.result["reason"] == "Diverged"


@pytest.mark.whole
@pytest.mark.parametrize("where", ["measuring", "training"])
def test_one_that_runs_out_of_memory_ends_both_and_the_next_attempt_takes_less(trainer: Trainer, where: str) -> None:
    """Nobody can go on alone in the middle of a layer; the second process' record is lost with it, so the first one's has to say it."""
    config = shared(trainer, f"short-{where}")
    config["hyperparameters"]["extra"] |= {"max_steps": "4"}
    short = trainer.start(config, nodes=2, without_memory=where)
    assert codes(short) == [75, 75], logs(short)
    assert {one.result["reason"] for one in (short, *short.others)} == {"OutOfMemory"}
    before = json.loads((Path(config["output"]) / "plan.json").read_text())
    assert before["ranOut"]
    following = trainer.start(config | {"attempt": 2}, nodes=2)
    assert codes(following) == [0, 0], logs(following)
    assert f"then ran out of memory: {before['maxTokens']} tokens at once" in following.result["plan"]["reason"]


def test_a_base_of_quantised_weights_is_not_shared_out(trainer: Trainer) -> None:
    base = Path(shutil.copytree(trainer.base, trainer.folder / "quantised"))
    file = base / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": {"quant_method": "fp8"}}))
    started = trainer.start(shared(trainer, "refused", base=str(base)), nodes=2)
    assert codes(started) == [64, 64], logs(started)
    assert re.search("^strategy: .* are quantised: set it to ddp", started.result["message"]), started.result


@pytest.mark.whole
@pytest.mark.parametrize("name", ["Llama", "Qwen3-MoE", "Gemma 2, whole attention", "DeepSeek-V3", "GPT-NeoX", "GPT-2"])
def test_architectures_are_shared_out_to_the_very_bytes_of_ones_that_are_whole(trainer: Trainer, name: str) -> None:
    tokenizer = train_tokenizer(random_texts(60), FAMILIES["llama3"], vocabulary=600)
    folder = trainer.folder / re.sub(r"\W", "", name)
    base = write(folder, make_model(name, len(tokenizer), end=tokenizer.eos_token_id), tokenizer)
    found = []
    for strategy in ("ddp", "fsdp"):
        config = asked(trainer, f"{folder.name}-{strategy}", strategy=strategy, base=str(base))
        config["lora"] = {"rank": 4, "alpha": 8, "dropout": "0.1"}
        config["hyperparameters"]["extra"] |= {"max_steps": "5"}
        started = trainer.start(config, nodes=2)
        assert codes(started) == [0, 0], logs(started)
        found.append(started.result["sha256"])
    assert found[0] == found[1]
