"""`python3 start.py COMMAND...`: run a command on files that are still those that were verified.

Copied into the pod by `predictor/handover.py` and run in vLLM's image, so it needs nothing but Python's own library. When the pod
starts, the files were verified a moment ago. When a container of it is started anew, that was long ago, and what lies on a
volume may be another: each file is hashed again, and another one, or one more, ends it with 65.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

VERIFIED_FILE = "verified.json"
_STARTED = Path("/tmp/.tradewind-started")  # noqa: S108 - in the pod's own emptyDir, which a container's restart leaves
_TERMINATION_LOG = Path("/dev/termination-log")
_BAD_DATA = 65


def main(command: list[str], *, started: Path = _STARTED, termination_log: Path = _TERMINATION_LOG) -> int:
    """Become the command; the exit code where its files are others."""
    message = _mismatch() if started.exists() else None
    if message is None:
        started.touch()
        os.execvp(command[0], command)  # noqa: S606 - that is what it is for
    text = json.dumps({"reason": "ArtifactMismatch", "message": message})
    print(text, file=sys.stderr)
    if termination_log.exists():
        termination_log.write_text(text, encoding="utf-8")
    return _BAD_DATA


def _mismatch() -> str | None:
    verified = json.loads((Path(__file__).parent / VERIFIED_FILE).read_text(encoding="utf-8"))
    for folder, hashes in verified.items():
        other = changed(Path(folder), hashes)
        if other is not None:
            return f"{folder}/{other} is not what was verified when the pod started; restore it, or publish it anew"
    return None


def changed(folder: Path, hashes: dict[str, str]) -> str | None:
    """The first file that is another than its hash says, or has none; None: all are as they were."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in sorted(found | set(hashes)):
        if name not in found or name not in hashes or _sha256(folder / name) != hashes[name]:
            return name
    return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
