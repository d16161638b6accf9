"""Trainings on several nodes, each a process of this machine: the very Job's script, over gloo on loopback."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes_rig import (
    adapter,
    asked,
    codes,
    logs,
    two_agree_with_one,
    uneven_rows,
)
from train_rig import Trainer, free_port, running_trainer, wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    """The last step of each epoch has one sample: of two nodes, one has none. Every third row is to avoid."""
    with running_trainer(tmp_path_factory.mktemp("nodes")) as trainer:
        yield uneven_rows(trainer)


@pytest.mark.parametrize("objective", ["sft", "sft-then-kto"])
def test_two_nodes_train_what_one_trains(trainer: Trainer, objective: str) -> None:
    alone = asked(trainer, f"alone-{objective}", objective=objective, dropout="0")
    together = asked(trainer, f"together-{objective}", objective=objective, dropout="0")
    one, two = two_agree_with_one(trainer, alone, together, objective)
    assert "2 nodes, each with its part of every step" in two.result["plan"]["reason"]
    assert two.others[0].result == {"rank": 1, "steps": one.result["steps"]}
    assert not list(Path(together["output"]).glob("*/.*draft*"))


def test_terminated_then_lost_then_resumed_gives_the_very_same_adapter(trainer: Trainer) -> None:
    """SIGTERM reaches one node, and both save; then the other is killed, and the first ends for want of it."""
    undisturbed = asked(trainer, "undisturbed")
    calm = trainer.start(undisturbed, nodes=2)
    assert codes(calm) == [0, 0], logs(calm)

    config = asked(trainer, "disturbed")
    output = Path(config["output"])
    terminated = trainer.start(config, nodes=2)
    wait_for(lambda: list(output.glob("checkpoints/step-*/checkpoint.json")))
    terminated.others[0].kill(signal.SIGTERM)
    assert codes(terminated) == [75, 75], logs(terminated)
    stopped_at = terminated.result["step"]
    assert terminated.others[0].result["step"] == stopped_at
    assert (output / "checkpoints" / f"step-{stopped_at}" / "checkpoint.json").is_file()
    assert 3 <= stopped_at < calm.result["steps"]

    lost = trainer.start(config, nodes=2)
    wait_for(lambda: [p for p in output.glob("checkpoints/step-*") if int(p.name[5:]) > stopped_at])
    lost.others[0].kill(signal.SIGKILL)
    began = time.monotonic()
    assert codes(lost) == [75, -signal.SIGKILL], logs(lost)
    assert time.monotonic() - began < 60, "a connection that ends tells at once"
    assert lost.result["reason"] == "NodeLost"
    assert not (output / "adapter").exists(), "killed too late to show anything"

    resumed = trainer.start(config, nodes=2)
    assert codes(resumed) == [0, 0], logs(resumed)
    assert resumed.result["resumedFrom"] > stopped_at
    assert resumed.result["sha256"] == calm.result["sha256"]
    assert resumed.result["evalLoss"] == calm.result["evalLoss"]


def test_a_node_that_falls_silent_ends_the_other_in_the_stated_time(trainer: Trainer) -> None:
    config = asked(trainer, "silent", silenceSeconds=5)
    started = trainer.start(config, nodes=2)
    wait_for(lambda: list(Path(config["output"]).glob("checkpoints/step-*/checkpoint.json")))
    started.others[0].kill(signal.SIGSTOP)
    began = time.monotonic()
    wait_for(lambda: started.result_file.is_file(), 90)
    assert 3 < time.monotonic() - began < 60
    started.others[0].kill(signal.SIGKILL)
    assert codes(started) == [75, -signal.SIGKILL]
    assert started.result["reason"] == "NodeLost"


def test_a_checkpoint_of_one_node_is_not_gone_on_from_by_two(trainer: Trainer) -> None:
    config = asked(trainer, "grown")
    alone = trainer.start(config)
    wait_for(lambda: list(Path(config["output"]).glob("checkpoints/step-*/checkpoint.json")))
    alone.kill(signal.SIGTERM)
    assert codes(alone) == [75], logs(alone)
    both = trainer.start(config, nodes=2)
    assert codes(both) == [0, 0], logs(both)
    assert both.result["resumedFrom"] is None
    assert "numNodes was 1 and is 2" in both.result["message"]


def test_a_finished_run_of_two_nodes_is_merged_once_and_trained_no_more(trainer: Trainer) -> None:
    config = asked(trainer, "finished")
    trained = trainer.start(config, nodes=2)
    assert codes(trained) == [0, 0], logs(trained)
    merged = trainer.start(config | {"merged": True}, nodes=2)
    assert codes(merged) == [0, 0], logs(merged)
    assert merged.result["merged"]["sha256"]
    assert merged.result | {"merged": None} == trained.result | {"merged": None}
    again = trainer.start(config | {"merged": True}, nodes=2)
    assert codes(again) == [0, 0], logs(again)
    assert again.result == merged.result
    assert again.others[0].result == {"rank": 1, "steps": trained.result["steps"]}


def test_torchrun_starts_it_too(trainer: Trainer) -> None:
    config = asked(trainer, "torchrun")
    file, result = trainer.folder / "torchrun.json", trainer.folder / "torchrun-result.json"
    file.write_text(json.dumps(config))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes=1", "--nproc-per-node=2"]
    launch += ["--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    script = [str(ROOT / "jobs" / "train.py"), "--config", str(file)]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HOME": str(trainer.folder), "PYTHONPATH": path}
    ended = subprocess.run([*launch, *script], env=environment, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert not result.exists()
    (report,) = [json.loads(line) for line in ended.stdout.splitlines() if '"sha256"' in line]
    assert report["steps"] == 11
    assert adapter(config).is_file()
