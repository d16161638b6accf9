"""Files that survive a kill at any moment: hashes, atomic writes, folders published by one rename, the dataset's format.

Belongs here: bytes on a disk. Does not belong here: what they mean to a model.
"""

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tradewind.pretrained.files import file_sha256
from tradewind.trading.artifact import SUMS_FILE, artifact_sha256, sums_text
from tradewind.trading.exits import ExitCode
from tradewind.training.outcome import JobError

TRAIN_FILE: Final = "train.jsonl"
EVAL_FILE: Final = "eval.jsonl"
MANIFEST_FILE: Final = "manifest.json"


@dataclass(frozen=True, slots=True)
class Example:
    """One line of the dataset as the trainer needs it."""

    prompt: str
    completion: str
    weight: float
    desirable: bool = True


def folder_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every regular file below a folder but `SHA256SUMS`, by relative path with `/`."""
    return {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).as_posix() != SUMS_FILE
    }


def folder_sha256(folder: Path) -> str:
    """Hash of a folder as it lies there."""
    return artifact_sha256(folder_hashes(folder))


def write_sums(folder: Path) -> str:
    """`SHA256SUMS` of a folder; returns the artifact's hash."""
    hashes = folder_hashes(folder)
    write_atomic(folder / SUMS_FILE, sums_text(hashes))
    return artifact_sha256(hashes)


def dataset_sha256(folder: Path) -> str:
    """Hash of a dataset: of its two JSON Lines files. The Parquet copy is a convenience and no part of it.

    Raises:
        JobError: exit 65 when a file is missing.
    """
    try:
        return artifact_sha256({name: file_sha256(folder / name) for name in (TRAIN_FILE, EVAL_FILE)})
    except FileNotFoundError as error:
        raise JobError(
            ExitCode.BAD_DATA,
            "DatasetMissing",
            f"{error.filename} does not exist: let the snapshot Job make the dataset",
        ) from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a dataset's manifest.json says; empty where there is none.

    Raises:
        JobError: exit 65 where it is no JSON object.
    """
    file = folder / MANIFEST_FILE
    if not file.is_file():
        return {}
    try:
        manifest: Any = json.loads(file.read_bytes())
    except ValueError as error:
        manifest = error
    if not isinstance(manifest, dict):
        said = f"{file} is no JSON object: it was cut or damaged; snapshot again or restore it"
        raise JobError(ExitCode.BAD_DATA, "InvalidDataset", said)
    return manifest


def read_examples(path: Path) -> list[Example]:
    """The samples of a JSON Lines file.

    Raises:
        JobError: exit 65 for a line that is not a sample, named by number.
    """
    examples = []
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                sample: Any = json.loads(line)
                desirable = sample.get("desirable", True)
                example = Example(
                    str(sample["prompt"]), str(sample["completion"]), float(sample["weight"]), desirable is True
                )
                if not isinstance(desirable, bool):
                    raise TypeError(f"desirable is {desirable!r}; true or false")
                if not math.isfinite(example.weight):
                    raise ValueError(f"weight {example.weight}")
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise JobError(
                    ExitCode.BAD_DATA, "InvalidDataset", f"{path.name} line {number} is no sample: {error!r}"
                ) from None
            if example.weight > 0:
                examples.append(example)
    return examples


def write_atomic(path: Path, text: str) -> None:
    """The file has either its old content or the new, also after a power cut."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
    fsync_folder(path.parent)


@contextlib.contextmanager
def published_folder(target: Path) -> Iterator[Path]:
    """An empty folder to fill; on leaving without an error it is synced and renamed to `target`, replacing what was there.

    Left-overs of killed processes are removed on entry: one process at a time writes a target.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    drafts = target.parent.glob(f".{target.name}.draft-*")
    for left_over in drafts:
        shutil.rmtree(left_over, ignore_errors=True)
    draft = target.with_name(f".{target.name}.draft-{os.getpid()}")
    draft.mkdir()
    try:
        yield draft
        fsync_tree(draft)
        old = target.with_name(f".{target.name}.draft-old")
        if target.exists():
            target.rename(old)
        draft.rename(target)
        fsync_folder(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def fsync_tree(folder: Path) -> None:
    """Every file below a folder, and the folders themselves, are on the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        elif path.is_dir():
            fsync_folder(path)
    fsync_folder(folder)


def fsync_folder(folder: Path) -> None:
    """Entries of a folder are on the disk. Storage that cannot sync a folder (some network mounts) is left alone."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
