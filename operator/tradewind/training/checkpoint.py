"""Checkpoints that can be trusted: complete or not there, and of this very run.

Belongs here: the folder layout, its manifest, which checkpoint a run resumes from, which ones are dropped. Does not belong
here: what the trainer puts into one. A checkpoint is `step-<n>/` with a manifest of sizes and hashes; what has no manifest that
verifies does not exist, whatever its name says.
"""

import json
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tradewind.training.files import file_sha256, published_folder, write_atomic

MANIFEST: Final = "checkpoint.json"
_STEP = re.compile(r"step-(\d{1,12})")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of one run.

    Attributes:
        folder: where they lie.
        fingerprint: hash of everything that decides the weights; a checkpoint with another one is of another run.
        keep: how many are kept.
    """

    folder: Path
    fingerprint: str
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
            manifest = {"step": step, "fingerprint": self.fingerprint, "files": files}
            write_atomic(draft / MANIFEST, json.dumps(manifest, indent=1))
        for _, old in self._by_step()[self.keep :]:
            shutil.rmtree(old, ignore_errors=True)

    def newest(self) -> tuple[int, Path] | None:
        """Step and folder of the newest checkpoint that verifies, or None."""
        for step, folder in self._by_step():
            problem = self._problem(step, folder)
            if problem is None:
                return step, folder
            _logger.warning("checkpoint %s is not used: %s", folder.name, problem)
        return None

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

    def _problem(self, step: int, folder: Path) -> str | None:
        try:
            manifest: Any = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if manifest["step"] != step:
                return f"its manifest is of step {manifest['step']}"
            if manifest["fingerprint"] != self.fingerprint:
                return "it belongs to another base, dataset or configuration"
            for name, stated in manifest["files"].items():
                path = folder / name
                if path.stat().st_size != stated["bytes"]:
                    return f"{name} has {path.stat().st_size} bytes, its manifest says {stated['bytes']}"
                if file_sha256(path) != stated["sha256"]:
                    return f"{name} is damaged"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return f"no readable manifest or file: {error!r}"
        return None
