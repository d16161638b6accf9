"""A training between stores: base and data from s3, checkpoints and adapter to s3, each attempt in a pod that has nothing."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from store_rig import Rig, with_sums
from train_rig import Started, Trainer, running_trainer, wait_for

from tradewind.trading.artifact import artifact_sha256
from tradewind.training.files import folder_hashes
from workshop.stores import running


@dataclass
class Between:
    trainer: Trainer
    rig: Rig
    pods: int = 0

    @property
    def models(self) -> Path:
        return self.rig.server.folder / "models"

    def start(
        self, run: str, *, owner: str | None = None, store: dict[str, Any] | None = None, **changes: Any
    ) -> Started:
        """An attempt in a new pod."""
        return self.trainer.start(self.config(run, owner=owner, store=store) | changes)

    def start_together(self, run: str, nodes: int) -> Started:
        """An attempt in new pods, on the dataset that lies in the run's own folder."""
        configs = [self.config(run, own_data=True) for _ in range(nodes)]
        return self.trainer.start_together(configs)

    def config(
        self, run: str, *, owner: str | None = None, store: dict[str, Any] | None = None, own_data: bool = False
    ) -> dict[str, Any]:
        """What a pod that has nothing is told."""
        self.pods += 1
        pod = self.trainer.folder / f"pod-{self.pods}"
        read = [
            self.rig.described("s3://models/base", pod / "base"),
            self.rig.described("s3://models/data", pod / "data", field="spec.dataset"),
        ]
        output = self.rig.described(f"s3://models/runs/{run}", pod / "out", field="spec.output", store=store or {})
        stores = {"read": read, "output": output, "owner": owner or f"tradewind/trading/{run}"}
        paths = {"base": str(pod / "base"), "dataset": str(pod / "out" / "dataset" if own_data else pod / "data")}
        return self.trainer.config(pod / "out", **paths, stores=stores)

    def steps(self, run: str) -> list[int]:
        """Checkpoints in the store."""
        found = (self.models / "runs" / run / "checkpoints").glob("step-*/checkpoint.json")
        return sorted(int(path.parent.name[5:]) for path in found)


@pytest.fixture(scope="module")
def between(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Between]:
    folder = tmp_path_factory.mktemp("between")
    with running(folder) as server, running_trainer(folder) as trainer:
        models = server.make_bucket("models")
        for name, source in (("base", trainer.base), ("data", trainer.data)):
            shutil.copytree(source, models / name)
            with_sums(models / name)
        yield Between(trainer, Rig(server, folder))


@pytest.fixture(scope="module")
def undisturbed(between: Between) -> dict[str, Any]:
    started = between.start("undisturbed")
    assert started.wait() == 0, started.log.read_text()
    return started.result


def test_what_is_in_the_store_is_whole_and_says_what_it_is(between: Between, undisturbed) -> None:
    run = between.models / "runs/undisturbed"
    assert artifact_sha256(folder_hashes(run / "adapter")) == undisturbed["sha256"]
    assert json.loads((run / "result.json").read_text()) == undisturbed
    assert (run / "adapter/SHA256SUMS").is_file()
    assert "Trading decisions, LoRA adapter" in (run / "adapter/README.md").read_text()
    assert between.steps("undisturbed") == [15, 18]  # checkpoint.keep is 2
    kept = {path.name for path in (run / "checkpoints").iterdir() if any(path.iterdir())}
    assert kept == {"step-15", "step-18"}
    log = (between.trainer.folder / "log-0").read_text()
    assert "s3cret" not in log


def test_a_merged_model_is_put_beside_the_adapter_once(between: Between, undisturbed) -> None:
    merged = between.start("undisturbed", merged=True)
    assert merged.wait() == 0, merged.log.read_text()
    run = between.models / "runs/undisturbed"
    assert artifact_sha256(folder_hashes(run / "merged")) == merged.result["merged"]["sha256"]
    assert (
        json.loads((run / "result.json").read_text())
        == merged.result
        == undisturbed | {"merged": merged.result["merged"]}
    )
    again = between.start("undisturbed", merged=True)
    assert again.wait() == 0
    assert again.result == merged.result
    assert "merging" not in again.log.read_text()
    weights = run / "merged/model.safetensors"
    (run / "merged/SHA256SUMS").unlink()  # killed between the files and the sums
    weights.write_bytes(weights.read_bytes()[:-8])
    mended = between.start("undisturbed", merged=True)
    assert mended.wait() == 0, mended.log.read_text()
    assert artifact_sha256(folder_hashes(run / "merged")) == merged.result["merged"]["sha256"]


def test_a_finished_run_never_trains_again_and_another_is_refused(between: Between, undisturbed) -> None:
    again = between.start("undisturbed")
    assert again.wait() == 0
    assert again.result == undisturbed | {name: again.result[name] for name in ("merged",) if name in again.result}
    settings = between.trainer.config(Path("/"))["hyperparameters"] | {"seed": 8}
    other = between.start("undisturbed", hyperparameters=settings)
    assert other.wait() == 64
    assert other.result["reason"] == "AlreadyPublished"
    stranger = between.start("undisturbed", owner="tradewind/elsewhere/undisturbed")
    assert stranger.wait() == 64
    assert stranger.result["reason"] == "OutputTaken"


def test_terminated_then_killed_then_damaged_then_resumed_gives_the_very_same_adapter(
    between: Between, undisturbed
) -> None:
    terminated = between.start("disturbed")
    wait_for(lambda: between.steps("disturbed"))
    terminated.kill(signal.SIGTERM)
    assert terminated.wait() == 75, terminated.log.read_text()
    stopped_at = terminated.result["step"]
    assert stopped_at in between.steps("disturbed")

    killed = between.start("disturbed")
    wait_for(lambda: max(between.steps("disturbed")) > stopped_at)
    killed.kill(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    run = between.models / "runs/disturbed"
    assert not (run / "adapter/SHA256SUMS").exists(), "killed too late to show anything"
    newest = max(between.steps("disturbed"))
    with (run / f"checkpoints/step-{newest}/adapter_model.safetensors").open("r+b") as weights:
        weights.truncate(1000)

    resumed = between.start("disturbed")
    assert resumed.wait() == 0, resumed.log.read_text()
    assert resumed.result["resumedFrom"] is not None
    assert resumed.result["resumedFrom"] < newest
    assert f"step-{newest}" in resumed.result["message"]
    assert resumed.result["sha256"] == undisturbed["sha256"]
    assert artifact_sha256(folder_hashes(run / "adapter")) == undisturbed["sha256"]


def test_two_pods_share_a_run_in_the_store_and_the_first_alone_writes_it(between: Between) -> None:
    """Each has folders of its own; what is resumed from comes to the second by the first."""
    for run in ("calm-pair", "pair"):
        shutil.copytree(between.models / "data", between.models / f"runs/{run}/dataset")
    calm = between.start_together("calm-pair", 2)
    assert calm.wait_all() == [0, 0], calm.log.read_text()

    stopped = between.start_together("pair", 2)
    wait_for(lambda: between.steps("pair"))
    stopped.others[0].kill(signal.SIGTERM)
    assert stopped.wait_all() == [75, 75], stopped.log.read_text()
    resumed = between.start_together("pair", 2)
    assert resumed.wait_all() == [0, 0], resumed.log.read_text()
    assert resumed.result["resumedFrom"] == stopped.result["step"]
    assert resumed.result["sha256"] == calm.result["sha256"]
    assert artifact_sha256(folder_hashes(between.models / "runs/pair/adapter")) == resumed.result["sha256"]
    second = between.trainer.folder / f"pod-{between.pods}" / "out"
    assert {path.name for path in second.iterdir()} == {"dataset"}


def test_a_base_that_was_swapped_trains_nothing(between: Between) -> None:
    file = between.models / "base/config.json"
    before = file.read_bytes()
    file.write_bytes(before + b"\n")
    try:
        started = between.start("swapped")
        assert started.wait() == 65
    finally:
        file.write_bytes(before)
    assert started.result["reason"] == "StoreObjectMismatch"
    assert "config.json" in started.result["message"]


def test_a_store_that_cannot_be_used_is_said_before_anything_is_trained(between: Between) -> None:
    started = between.start("nowhere", store={"region": "eu-west-9"})
    assert started.wait() == 64
    assert started.result["reason"] == "WrongRegion"
    assert started.result["message"].startswith("spec.output: s3://models/runs/nowhere: ")


QUESTION = {"market_data": {"BTC": {"change": 0.03}}, "account_state": {}, "symbols": ["BTC"], "limits": None}


def fetched(between: Between, pod: Path, sha256: str) -> subprocess.CompletedProcess[str]:
    """A predictor's init container."""
    adapter = between.rig.described("s3://models/runs/undisturbed/adapter", pod / "adapter", sha256=sha256)
    stores = {"read": [between.rig.described("s3://models/base", pod / "base"), adapter]}
    environment = os.environ | {"TRADEWIND_STORES": json.dumps(stores)}
    command = [sys.executable, "-m", "tradewind.stores"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_what_was_published_is_served_by_the_real_predictor(between: Between, undisturbed, tmp_path: Path) -> None:
    done = fetched(between, tmp_path, undisturbed["sha256"])
    assert done.returncode == 0, done.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base, adapter = str(tmp_path / "base"), str(tmp_path / "adapter")
    command = [sys.executable, "-m", "tradewind.predictor", "--model-name", "v1", "--base", base, "--adapter", adapter]
    command += ["--sha256", undisturbed["sha256"], "--base-sha256", undisturbed["baseSha256"], "--port", str(port)]
    log = tmp_path / "log"
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            [*command, "--termination-log", str(log)],
            stdout=output,
            stderr=output,
            env=os.environ | {"TRADEWIND_THREADS": "1"},
        )

        def ask(path: str, body: object = None) -> Any:
            content = None if body is None else json.dumps(body).encode()
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", content, headers)
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.loads(response.read())

        def answers() -> bool:
            assert process.poll() is None, (tmp_path / "output").read_text()
            with contextlib.suppress(OSError):
                return bool(ask("/tradewind/v1/verification"))
            return False

        try:
            wait_for(answers, 200)
            assert ask("/tradewind/v1/verification")["sha256"] == undisturbed["sha256"]
            (decision,) = ask("/v1/models/v1:predict", {"instances": [QUESTION]})["predictions"]
            assert decision["symbol"] == "BTC"
        finally:
            process.terminate()
            process.wait(30)


def test_what_was_swapped_in_the_store_or_is_another_version_is_never_served(
    between: Between, undisturbed, tmp_path: Path
) -> None:
    file = between.models / "runs/undisturbed/adapter/adapter_model.safetensors"
    before = file.read_bytes()
    file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        done = fetched(between, tmp_path, undisturbed["sha256"])
    finally:
        file.write_bytes(before)
    assert done.returncode == 65
    assert json.loads(done.stderr.splitlines()[-1])["reason"] == "StoreObjectMismatch"
    done = fetched(between, tmp_path / "other", "0" * 64)
    assert done.returncode == 65
    assert "is asked for" in done.stderr
