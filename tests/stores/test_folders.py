"""Folders against a real S3 server: fetched by their hashes, published whole, and every way to be another one refused."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from store_rig import Rig, with_sums

from tradewind.pretrained.files import file_sha256
from tradewind.stores.bucket import STOPPED, Bucket
from tradewind.stores.faults import StoreError
from tradewind.stores.folders import fetch_folder, is_inside, publish_folder, published_sums
from tradewind.trading.artifact import artifact_sha256
from tradewind.trading.exits import ExitCode
from tradewind.training.files import folder_hashes

FILES = {"config.json": b"{}", "model.safetensors": b"w" * 100_000, "deep/er/tokenizer.json": b'{"a": 1}'}


def make(folder: Path, files: dict[str, bytes] = FILES) -> str:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return with_sums(folder)


@pytest.fixture
def base(bucket_folder: Path, request: pytest.FixtureRequest) -> Path:
    """A published base of its own for each test, on the store's disk."""
    folder = bucket_folder / "bases" / request.node.name.partition("[")[0]
    make(folder)
    return folder


def uri(base: Path) -> str:
    return f"s3://models/bases/{base.name}"


def test_a_folder_is_fetched_whole_with_its_hash(rig: Rig, base: Path, tmp_path: Path) -> None:
    (base / "left-over.bin").write_bytes(b"not listed")
    actual = fetch_folder(rig.bucket(uri(base)), tmp_path / "base")
    assert actual == artifact_sha256(folder_hashes(tmp_path / "base"))
    assert (tmp_path / "base/model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert not (tmp_path / "base/left-over.bin").exists()
    assert not list((tmp_path / "base").rglob(".fetching*"))
    assert fetch_folder(rig.bucket(uri(base)), tmp_path / "other", sha256=actual) == actual


def test_only_what_is_needed_is_fetched(rig: Rig, base: Path, tmp_path: Path) -> None:
    make(
        base, {"model.safetensors.index.json": b'{"weight_map": {"a": "model.safetensors"}}'}
    )  # of no use without them
    fetch_folder(rig.bucket(uri(base)), tmp_path, only=(".json",))
    assert set(folder_hashes(tmp_path)) == {"config.json", "deep/er/tokenizer.json"}


def cut(base: Path) -> None:
    os.truncate(base / "model.safetensors", 1000)


def swapped(base: Path) -> None:
    (base / "model.safetensors").write_bytes(b"v" * 100_000)


def gone(base: Path) -> None:
    (base / "deep/er/tokenizer.json").unlink()


def unpublished(base: Path) -> None:
    (base / "SHA256SUMS").unlink()


def sums_cut(base: Path) -> None:
    os.truncate(base / "SHA256SUMS", 100)


def sums_upwards(base: Path) -> None:
    (base / "SHA256SUMS").write_text(f"{'a' * 64}  ../../../etc/passwd\n")


def sums_empty(base: Path) -> None:
    (base / "SHA256SUMS").write_text("")


@pytest.mark.parametrize(
    ("tamper", "reason", "named"),
    [
        (cut, "StoreObjectMismatch", "model.safetensors hashes to"),
        (swapped, "StoreObjectMismatch", "model.safetensors hashes to"),
        (gone, "StoreObjectMissing", "deep/er/tokenizer.json is not there"),
        (unpublished, "StoreObjectMissing", "there is no SHA256SUMS"),
        (sums_cut, "StoreObjectMismatch", "line"),
        (sums_upwards, "StoreObjectMismatch", "line 1 of SHA256SUMS"),
        (sums_empty, "StoreObjectMismatch", "SHA256SUMS is empty"),
    ],
)
def test_what_was_tampered_with_is_refused_for_good(
    rig: Rig, base: Path, tmp_path: Path, tamper, reason, named
) -> None:
    tamper(base)
    with pytest.raises(StoreError) as error:
        fetch_folder(rig.bucket(uri(base)), tmp_path / "base")
    assert (error.value.code, error.value.reason) == (ExitCode.BAD_DATA, reason)
    assert named in error.value.message
    assert error.value.message.startswith(f"spec.baseModel: {uri(base)}: ")
    shutil.rmtree(base)


def test_another_revision_is_refused_before_anything_is_fetched(rig: Rig, base: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is asked for") as error:
        fetch_folder(rig.bucket(uri(base)), tmp_path / "base", sha256="0" * 64)
    assert error.value.code is ExitCode.BAD_DATA
    assert not (tmp_path / "base").exists()


def test_what_lies_there_already_is_taken_if_it_is_the_same(rig: Rig, base: Path, tmp_path: Path) -> None:
    bucket = rig.bucket(uri(base))
    fetch_folder(bucket, tmp_path)
    (base / "model.safetensors").unlink()
    (tmp_path / "config.json").write_bytes(b"[]")
    fetch_folder(bucket, tmp_path)
    assert (tmp_path / "config.json").read_bytes() == b"{}"


def test_stopped_in_between(rig: Rig, base: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as error:
        fetch_folder(Bucket(rig.stored(uri(base)), stopped=lambda: True), tmp_path)
    assert error.value.reason == STOPPED
    assert not list(tmp_path.rglob(".fetching*"))


# --- publishing -------------------------------------------------------------------------------------------------------


def test_what_is_published_verifies_and_is_never_overwritten(rig: Rig, bucket_folder: Path, tmp_path: Path) -> None:
    make(tmp_path / "one")
    make(tmp_path / "two", FILES | {"config.json": b"[2]"})
    bucket = rig.bucket("s3://models/runs/a")
    (tmp_path / "result.json").write_text("{}")
    publish_folder(
        bucket,
        tmp_path / "one",
        folder_hashes(tmp_path / "one"),
        below="adapter",
        beside={"result.json": tmp_path / "result.json"},
    )
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=bucket_folder / "runs/a/adapter", check=True)
    assert (bucket_folder / "runs/a/result.json").read_text() == "{}"

    publish_folder(bucket, tmp_path / "one", folder_hashes(tmp_path / "one"), below="adapter")
    with pytest.raises(StoreError, match="not overwritten") as error:
        publish_folder(bucket, tmp_path / "two", folder_hashes(tmp_path / "two"), below="adapter")
    assert (error.value.code, error.value.reason) == (ExitCode.BAD_CONFIG, "AlreadyPublished")
    assert published_sums(bucket, "adapter") == folder_hashes(tmp_path / "one")
    assert (bucket_folder / "runs/a/adapter/config.json").read_bytes() == b"{}"


def test_what_was_not_published_to_its_end_does_not_exist_and_is_written_over(
    rig: Rig, bucket_folder: Path, tmp_path: Path
) -> None:
    make(tmp_path / "one")
    begun = bucket_folder / "runs/b/adapter"
    make(begun, {"config.json": b"half"})
    (begun / "SHA256SUMS").unlink()
    bucket = rig.bucket("s3://models/runs/b")
    assert published_sums(bucket, "adapter") is None
    publish_folder(bucket, tmp_path / "one", folder_hashes(tmp_path / "one"), below="adapter")
    assert fetch_folder(bucket, tmp_path / "back", below="adapter") == artifact_sha256(folder_hashes(tmp_path / "one"))


def test_a_snapshot_that_nobody_knows_of_is_replaced(rig: Rig, tmp_path: Path) -> None:
    make(tmp_path / "one")
    make(tmp_path / "two", FILES | {"config.json": b"[2]"})
    bucket = rig.bucket("s3://models/runs/c")
    for folder in (tmp_path / "one", tmp_path / "two"):
        publish_folder(bucket, folder, folder_hashes(folder), below="dataset", replace=True)
    assert published_sums(bucket, "dataset") == folder_hashes(tmp_path / "two")


def test_of_many_that_publish_at_once_one_wins(rig: Rig, tmp_path: Path) -> None:
    bucket, won = rig.bucket("s3://models/runs/d"), []

    def race(number: int) -> None:
        if bucket.create("SHA256SUMS", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bucket.read("SHA256SUMS") == str(won[0]).encode()
    assert len(won) == 1


def test_objects_in_parts(rig: Rig, bucket_folder: Path, tmp_path: Path) -> None:
    content = os.urandom(12 << 20)
    (tmp_path / "weights").write_bytes(content)
    bucket = rig.bucket("s3://models/runs/e")
    bucket.put("weights", tmp_path / "weights")
    assert (bucket_folder / "runs/e/weights").read_bytes() == content
    assert bucket.fetch("weights", tmp_path / "back") == file_sha256(tmp_path / "weights")
    assert bucket.names() == ["weights"]
    bucket.delete("weights")
    bucket.delete("weights")
    assert bucket.names() == []
    assert bucket.read("weights") is None


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("a", True),
        ("a/b.c", True),
        ("..", False),
        ("a/../b", False),
        ("/a", False),
        ("a//b", False),
        ("./a", False),
        ("a\\b", False),
        ("a/", False),
    ],
)
def test_paths_that_leave_their_folder(name: str, inside: bool) -> None:
    assert is_inside(name) is inside


# --- the init container -----------------------------------------------------------------------------------------------


def fetch_process(stores: object, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TRADEWIND_STORES": stores if isinstance(stores, str) else json.dumps(stores)}
    return subprocess.run(
        [sys.executable, "-m", "tradewind.stores"], env=environment, capture_output=True, text=True, check=False
    )


def test_the_init_container_fetches_and_says_why_not(rig: Rig, base: Path, tmp_path: Path) -> None:
    stores = {"read": [rig.described(uri(base), tmp_path / "mnt")]}
    done = fetch_process(stores, tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(folder_hashes(tmp_path / "mnt")) == set(FILES)
    swapped(base)
    shutil.rmtree(tmp_path / "mnt")
    done = fetch_process(stores, tmp_path)
    assert done.returncode == 65
    told = json.loads(done.stderr.splitlines()[-1])
    assert told["reason"] == "StoreObjectMismatch"
    assert "s3cret" not in done.stderr + done.stdout
    assert fetch_process("{}x", tmp_path).returncode == 64
