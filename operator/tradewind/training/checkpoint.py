"""Checkpoints that can be trusted: complete or not there, and of this very run.

Belongs here: the folder layout, its manifest, which checkpoint a run resumes from, which ones are dropped. Does not belong
here: what the trainer puts into one, and what counts as the same run (request.py). A checkpoint is `step-<n>/` with a manifest of sizes and hashes; what has no manifest that
verifies does not exist, whatever its name says.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tradewind.pretrained.files import file_sha256
from tradewind.training.files import published_folder, write_atomic
from tradewind.training.request import Request, differences

MANIFEST: Final = "checkpoint.json"
MAX_MESSAGE: Final = 600  # characters; it has to fit into a status and a termination message beside others
_STEP = re.compile(r"step-(\d{1,12})")


@dataclass(frozen=True, slots=True)
class Resumption:
    """Where a run goes on.

    Attributes:
        step: of the checkpoint that it resumes from; None: from the start.
        folder: of that checkpoint.
        message: which newer checkpoints are not used, and why; empty where there is none.
    """

    step: int | None = None
    folder: Path | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of one run.

    Attributes:
        folder: where they lie.
        request: everything that decides the weights; a checkpoint that was asked for otherwise is of another run.
        fingerprint: what checkpoints carry that were written before they carried the request.
        keep: how many are kept.
    """

    folder: Path
    request: Request
    fingerprint: str = ""
    keep: int = 2

    @contextmanager
    def write(self, step: int) -> Iterator[Path]:
        """A folder to fill for a step; it becomes a checkpoint by one rename when the block ends well."""
        with published_folder(self.folder / f"step-{step}") as draft:
            yield draft
            files = {
                path.relative_to(draft).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
                for path in sorted(draft.rglob("*"))
                if path.is_file()
            }
            manifest = {"step": step, "request": dict(self.request), "files": files}
            write_atomic(draft / MANIFEST, json.dumps(manifest, indent=1))
        # What this run cannot resume from is not counted: neither what is broken, nor another request's, nor what lies ahead,
        # since this run never came so far.
        own = [
            path
            for number, path in self._by_step()
            if number <= step and self._problem(number, path, hashes=False) is None
        ]
        for _, old in self._by_step():
            if old not in own[: self.keep]:
                shutil.rmtree(old, ignore_errors=True)

    def newest(self) -> Resumption:
        """The newest checkpoint that verifies and is of this run."""
        refused: dict[str, list[str]] = {}
        for step, folder in self._by_step():
            problem = self._problem(step, folder)
            if problem is None:
                return Resumption(step, folder, _message(refused))
            refused.setdefault(problem, []).append(folder.name)
        return Resumption(message=_message(refused))

    def _by_step(self) -> list[tuple[int, Path]]:
        """Candidates, newest first."""
        if not self.folder.is_dir():
            return []
        found = [
            (int(match[1]), path)
            for path in self.folder.iterdir()
            if (match := _STEP.fullmatch(path.name)) and path.is_dir()
        ]
        return sorted(found, reverse=True)

    def _problem(self, step: int, folder: Path, *, hashes: bool = True) -> str | None:
        try:
            manifest: Any = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if manifest["step"] != step:
                return f"its manifest is of step {manifest['step']}"
            if "request" in manifest:
                if changed := differences(manifest["request"], self.request):
                    return changed
            elif manifest["fingerprint"] != self.fingerprint:
                return "another base, dataset or configuration; an earlier release wrote it and did not record which"
            for name, stated in manifest["files"].items():
                path = folder / name
                if path.stat().st_size != stated["bytes"]:
                    return f"{name} has {path.stat().st_size} bytes, its manifest says {stated['bytes']}"
                if hashes and file_sha256(path) != stated["sha256"]:
                    return f"{name} is damaged"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return f"no readable manifest or file: {error!r}"
        return None


def _message(refused: Mapping[str, list[str]]) -> str:
    return ". ".join(f"Not used: {', '.join(names)}: {problem}" for problem, names in refused.items())[:MAX_MESSAGE]
