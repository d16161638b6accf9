"""A Job's folders in object stores: what it reads is brought, and what it makes is put there as it is made.

Belongs here: in which order, under which names, and what a later attempt finds again. Does not belong here: requests and hashes
(tradewind/stores), what is trained. A Job without stores has all of this as well, doing nothing.
"""

import contextlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from tradewind.stores.bucket import STOPPED, Bucket
from tradewind.stores.faults import StoreError, refused
from tradewind.stores.folders import fetch_file, fetch_folder, is_inside, publish_folder, published_sums
from tradewind.trading.artifact import artifact_sha256
from tradewind.trading.exits import ExitCode
from tradewind.trading.settings.stores import Stores
from tradewind.training.artifact import published_sha256
from tradewind.training.checkpoint import MANIFEST, MAX_MESSAGE, Checkpoints, Resumption
from tradewind.training.files import folder_hashes, write_atomic
from tradewind.training.finished import ADAPTER, MERGED, RESULT
from tradewind.training.outcome import JobError
from tradewind.training.request import differences

OWNER: Final = "owner.json"
DATASET: Final = "dataset"
_CHECKPOINTS: Final = "checkpoints"
_STEP: Final = re.compile(r"checkpoints/step-([0-9]{1,12})/checkpoint\.json")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """A run's folder. `bucket` None: it is on a volume, and nothing has to be put anywhere.

    Attributes:
        folder: on the disk.
    """

    folder: Path
    bucket: Bucket | None = None

    def checkpoints(self, local: Checkpoints) -> Checkpoints:
        """The same checkpoints, put into the store as they are written and looked for there."""
        if self.bucket is None:
            return local
        return StoredCheckpoints(**{each.name: getattr(local, each.name) for each in fields(local)}, bucket=self.bucket)

    def keep(self, file: Path) -> None:
        """Put a small file of the run's folder, for later attempts."""
        if self.bucket is not None:
            with as_job_errors():
                self.bucket.put(file.name, file)

    def publish(self) -> None:
        """The adapter with the report on it: it counts as published once both are there."""
        if self.bucket is not None:
            adapter = self.folder / ADAPTER
            with as_job_errors():
                publish_folder(
                    self.bucket, adapter, folder_hashes(adapter), below=ADAPTER, beside={RESULT: self.folder / RESULT}
                )

    def publish_merged(self) -> None:
        """The merged model; the report that names it is kept before."""
        if self.bucket is not None:
            merged = self.folder / MERGED
            with as_job_errors():
                publish_folder(self.bucket, merged, folder_hashes(merged), below=MERGED, replace=True)

    def has_merged(self, sha256: str | None) -> bool:
        """Whether the merged model of that hash is published."""
        if self.bucket is None:
            return sha256 is not None and published_sha256(self.folder / MERGED) == sha256
        with as_job_errors():
            sums = published_sums(self.bucket, MERGED)
        return sums is not None and artifact_sha256(sums) == sha256

    def publish_dataset(self) -> None:
        """The snapshot. A snapshot whose Job did not tell of it is replaced: nobody has trained on it."""
        if self.bucket is not None:
            dataset = self.folder / DATASET
            with as_job_errors():
                publish_folder(self.bucket, dataset, folder_hashes(dataset), below=DATASET, replace=True)

    def restore(self, *, dataset: bool) -> None:
        """What earlier Jobs of the run have left: a published adapter with its report, small files, the dataset."""
        bucket = self.bucket
        if bucket is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        published = published_sums(bucket, ADAPTER) is not None
        left_out = (OWNER,) if published else (OWNER, RESULT)
        found = [name for name in bucket.names() if "/" not in name and name.endswith(".json") and name not in left_out]
        for name in found:
            content = bucket.read(name)
            if content is not None:
                write_atomic(self.folder / name, content.decode("utf-8"))
        if published:
            fetch_folder(bucket, self.folder / ADAPTER, below=ADAPTER)
        elif dataset:
            fetch_folder(bucket, self.folder / DATASET, below=DATASET)


def bring(
    stores: Stores,
    output: Path,
    *,
    dataset: bool = False,
    reads_alone: bool = False,
    stopped: Callable[[], bool] = lambda: False,
) -> StoredOutput:
    """Fetch what a Job reads and take its output folder into possession.

    Args:
        stores: of its configuration.
        output: the run's folder on the disk.
        dataset: whether the dataset is the run's own, in its output.
        reads_alone: another process writes the output: of it, only the dataset is brought.
        stopped: whether the pod is being stopped.

    Raises:
        JobError: as `tradewind/stores` says it; exit 64, OutputTaken: the folder is another run's; exit 75 where it was stopped.
    """
    with as_job_errors():
        for folder in stores.read:
            fetch_folder(Bucket(folder, stopped=stopped), folder.path, sha256=folder.sha256, only=folder.only)
        if stores.output is None:
            return StoredOutput(output)
        made = StoredOutput(output, Bucket(stores.output, stopped=stopped))
        if reads_alone:
            if dataset and made.bucket is not None:
                fetch_folder(made.bucket, output / DATASET, below=DATASET)
            return StoredOutput(output)
        _claim(made, stores.owner)
        made.restore(dataset=dataset)
    return made


@contextlib.contextmanager
def as_job_errors() -> Iterator[None]:
    """A fault of a store ends the Job."""
    try:
        yield
    except StoreError as error:
        if error.reason == STOPPED:
            raise JobError(ExitCode.INTERRUPTED, "Interrupted", f"stopped by SIGTERM: {error.message}") from None
        raise JobError(error.code, error.reason, error.message) from None


def _claim(output: StoredOutput, owner: str) -> None:
    """Two runs under one folder would write over each other's files before either is published."""
    bucket = output.bucket
    assert bucket is not None
    ours = json.dumps({"owner": owner}) + "\n"
    if bucket.create(OWNER, ours.encode()):
        return
    there = bucket.read(OWNER)
    if there is not None and there.decode("utf-8", errors="replace") != ours:
        message = (
            f"it is the output of {there.decode('utf-8', errors='replace')[:200].strip()}, and this is {owner}; name another folder in "
            "spec.output.uri, or give the run another name"
        )
        raise refused(bucket.folder, "OutputTaken", message)


@dataclass(frozen=True, slots=True)
class StoredCheckpoints(Checkpoints):
    """Checkpoints that are in a store too: their files first, the manifest last."""

    bucket: Bucket | None = None

    @contextlib.contextmanager
    def write(self, step: int) -> Iterator[Path]:
        """As it is; a store that does not answer costs this checkpoint, not the training."""
        with Checkpoints.write(self, step) as draft:
            yield draft
        try:
            self._put(step)
        except StoreError as error:
            if not error.passes:
                raise JobError(error.code, error.reason, error.message) from None
            _logger.warning("the checkpoint of step %d is not in the store: %s", step, error.message)

    def newest(self) -> Resumption:
        """As it is, of those in the store; only the one that is resumed from is fetched."""
        refusals: list[str] = []
        with as_job_errors():
            for step in self._steps():
                problem = self._fetch(step)
                if problem is None:
                    break
                refusals.append(f"Not used: step-{step}: {problem}")
        found = Checkpoints.newest(self)
        return replace(found, message=". ".join(filter(None, (*refusals, found.message)))[:MAX_MESSAGE])

    @property
    def _there(self) -> Bucket:
        assert self.bucket is not None
        return self.bucket

    def _steps(self) -> list[int]:
        """Whose manifests are in the store, newest first."""
        found = (_STEP.fullmatch(name) for name in self._there.names(_CHECKPOINTS))
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def _put(self, step: int) -> None:
        local, at = self.folder / f"step-{step}", f"{_CHECKPOINTS}/step-{step}"
        manifest = local / MANIFEST
        for name in json.loads(manifest.read_text(encoding="utf-8"))["files"]:
            self._there.put(f"{at}/{name}", local / name)
        self._there.put(f"{at}/{MANIFEST}", manifest)
        kept = [number for number in self._steps() if number <= step][: self.keep]
        for name in self._there.names(_CHECKPOINTS):
            number = name.split("/")[1].removeprefix("step-")
            if not number.isdecimal() or int(number) not in kept:
                self._there.delete(name)  # `checkpoint.json` sorts before the weights but what trainers add before it

    def _fetch(self, step: int) -> str | None:
        """Bring a checkpoint; why not, where it is not one of this run's that verifies."""
        folder, at = self.folder / f"step-{step}", f"{_CHECKPOINTS}/step-{step}"
        content = self._there.read(f"{at}/{MANIFEST}")
        try:
            manifest: Any = json.loads(content or b"")
            files = {str(name): str(stated["sha256"]) for name, stated in manifest["files"].items()}
            if changed := differences(manifest["request"], self.request):
                return changed
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return f"no readable manifest: {error!r}"
        if outside := next((name for name in files if not is_inside(name)), None):
            return f"its manifest names {outside!r}"
        try:
            for name, sha256 in files.items():
                fetch_file(self._there, f"{at}/{name}", folder / name, sha256)
        except StoreError as error:
            if error.code is not ExitCode.BAD_DATA:
                raise
            shutil.rmtree(folder, ignore_errors=True)
            return error.message.rpartition(": ")[0] or error.message
        write_atomic(folder / MANIFEST, (content or b"").decode("utf-8"))
        return None


__all__ = ["StoredCheckpoints", "StoredOutput", "bring"]
