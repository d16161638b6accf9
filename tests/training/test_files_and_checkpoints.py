import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tradewind.trading.artifact import SUMS_FILE
from tradewind.trading.exits import ExitCode
from tradewind.training.artifact import published_sha256
from tradewind.training.checkpoint import MANIFEST, Checkpoints, Resumption
from tradewind.training.files import dataset_sha256, published_folder, read_examples, read_manifest, write_sums
from tradewind.training.outcome import MAX_RESULT_BYTES, JobError, write_result

RUN: dict[str, Any] = {"datasetSha256": "a" * 64, "lora.rank": 16}


def save(checkpoints: Checkpoints, step: int) -> None:
    with checkpoints.write(step) as folder:
        (folder / "weights").write_bytes(bytes(range(200)) * step)


def test_the_newest_checkpoint_that_verifies_is_taken(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, RUN, keep=3)
    assert checkpoints.newest() == Resumption()
    for step in (3, 6, 9, 12):
        save(checkpoints, step)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-12", "step-6", "step-9"], "the oldest is dropped"
    assert checkpoints.newest() == Resumption(12, tmp_path / "step-12")
    weights = tmp_path / "step-12" / "weights"
    weights.write_bytes(bytes(len(weights.read_bytes())))  # same size, other bytes
    assert checkpoints.newest() == Resumption(9, tmp_path / "step-9", "Not used: step-12: weights is damaged")
    (tmp_path / "step-9" / "checkpoint.json").unlink()
    assert checkpoints.newest().step == 6
    (tmp_path / "step-6" / "weights").unlink()
    assert checkpoints.newest().step is None


def test_a_checkpoint_that_was_never_finished_does_not_exist(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, RUN)
    save(checkpoints, 3)
    with pytest.raises(KeyboardInterrupt), checkpoints.write(6) as folder:  # noqa: PT012 - dies half-way
        (folder / "weights").write_bytes(b"half")
        raise KeyboardInterrupt
    (tmp_path / "step-9").mkdir()  # as a tool that trusts names would leave it
    (tmp_path / "step-9" / "weights").write_bytes(b"half")
    assert checkpoints.newest().step == 3


def test_a_checkpoint_of_another_run_is_not_taken_and_what_differs_is_said(tmp_path: Path) -> None:
    for step in (3, 6):
        save(Checkpoints(tmp_path, RUN | {"lora.rank": 8}), step)
    found = Checkpoints(tmp_path, RUN).newest()
    assert found == Resumption(message="Not used: step-6, step-3: lora.rank was 8 and is 16")


def test_a_run_that_starts_over_keeps_its_own_checkpoints(tmp_path: Path) -> None:
    for step in (30, 60):
        save(Checkpoints(tmp_path, RUN | {"lora.rank": 8}), step)
    save(Checkpoints(tmp_path, RUN), 10)
    assert Checkpoints(tmp_path, RUN).newest() == Resumption(10, tmp_path / "step-10")


def test_what_cannot_be_resumed_from_takes_no_place_of_a_checkpoint_that_can(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, RUN, keep=2)
    save(checkpoints, 3)
    shutil.copytree(tmp_path / "step-3", tmp_path / "step-6")
    manifest = json.loads((tmp_path / "step-6" / MANIFEST).read_text())
    (tmp_path / "step-6" / MANIFEST).write_text(json.dumps(manifest | {"step": 6, "request": RUN | {"lora.rank": 8}}))
    (tmp_path / "step-9").mkdir()
    (tmp_path / "step-9" / "weights").write_bytes(b"half")
    save(checkpoints, 12)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-12", "step-3"]
    (tmp_path / "step-12" / "weights").write_bytes(bytes(2400))
    assert checkpoints.newest().step == 3


def test_layers_that_a_later_release_resolves_otherwise_are_another_training(tmp_path: Path) -> None:
    asked = RUN | {"lora.targetModules": ["q_proj", "o_proj"]}
    save(Checkpoints(tmp_path, asked), 3)
    found = Checkpoints(tmp_path, asked | {"lora.layers": ["o_proj", "qkv_proj"]}).newest()
    assert found.message.startswith("Not used: step-3: lora.layers was")
    assert Checkpoints(tmp_path, asked).newest().step == 3


def test_a_checkpoint_of_an_earlier_release_is_taken_by_its_fingerprint(tmp_path: Path) -> None:
    save(Checkpoints(tmp_path, RUN), 3)
    file = tmp_path / "step-3" / MANIFEST
    manifest = json.loads(file.read_text())
    del manifest["request"]
    file.write_text(json.dumps(manifest | {"fingerprint": "f"}))
    assert Checkpoints(tmp_path, RUN, "f").newest().step == 3
    other = Checkpoints(tmp_path, RUN, "g").newest()
    assert other.step is None
    assert "an earlier release wrote it" in other.message


def test_a_published_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "adapter"
    for text in ("one", "two"):
        with published_folder(target) as draft:
            (draft / text).write_text(text)
    assert [path.name for path in target.iterdir()] == ["two"]
    with pytest.raises(ValueError, match="stop"), published_folder(target) as draft:  # noqa: PT012 - dies half-way
        (draft / "three").write_text("three")
        raise ValueError("stop")
    assert [path.name for path in target.iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"], "no drafts are left"


def test_an_artifact_is_what_its_sums_say(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_text("b")
    (tmp_path / "a").write_text("a")
    sha256 = write_sums(tmp_path)
    assert (tmp_path / SUMS_FILE).read_text().splitlines() == [
        "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  a",
        "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d  sub/b",
    ]
    assert published_sha256(tmp_path) == sha256
    (tmp_path / "extra").write_text("x")
    assert published_sha256(tmp_path) is None


def test_a_dataset_that_is_missing_or_broken_is_bad_data(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"train\.jsonl does not exist") as caught:
        dataset_sha256(tmp_path)
    assert caught.value.code is ExitCode.BAD_DATA
    file = tmp_path / "train.jsonl"
    file.write_text('{"prompt":"p","completion":"c","weight":1}\n{"prompt":"p"}\n')
    with pytest.raises(JobError, match="line 2 is no sample"):
        read_examples(file)
    file.write_bytes(b'{"prompt":"p","completion":"c","weight":1}\n{"prompt":"\xff')
    with pytest.raises(JobError, match="line 2 is no sample"):
        read_examples(file)
    assert read_manifest(tmp_path) == {}
    (tmp_path / "manifest.json").write_text('{"sha256": "a')
    with pytest.raises(JobError, match=r"manifest\.json is no JSON object"):
        read_manifest(tmp_path)


def test_a_weight_that_is_no_number_is_no_weight(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"prompt":"p","completion":"c","weight":Infinity}\n')
    with pytest.raises(JobError, match="line 1 is no sample"):
        read_examples(file)


def test_samples_without_weight_are_not_trained_on(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"prompt":"p","completion":"c","weight":0}\n{"prompt":"p","completion":"d","weight":0.3}\n')
    assert [example.completion for example in read_examples(file)] == ["d"]


def test_a_result_fits_into_a_termination_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "result"
    write_result({"reason": "X", "message": "m" * 5000, "gates": ["é" * 10] * 1000, "rows": 3}, file)
    text = file.read_text()
    assert len(text.encode()) <= MAX_RESULT_BYTES
    assert {"reason", "message", "rows"} == set(json.loads(text))
    assert capsys.readouterr().out.splitlines()[-1] == text


def test_a_result_that_cannot_be_written_is_still_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_result({"rows": 3}, tmp_path / "absent" / "result")
    assert capsys.readouterr().out == '{"rows":3}\n'
