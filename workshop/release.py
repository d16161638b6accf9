"""The release before this one, as source: what upgrades start from."""

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEFORE_THE_FIRST = "4202a7b6db86624c3f5af41eff40661d0eeae46e"
"""Until there is a tag: before versions were known by hashes, tenants had roles and routing was signed (schema 0014)."""


def earlier() -> str:
    """The newest tag `v*` before HEAD, else the commit above."""
    return _git("tag", "--list", "v*", "--merged", "HEAD~1", "--sort=-version:refname").decode().partition("\n")[0] or (
        BEFORE_THE_FIRST
    )


def unpack(revision: str, folder: Path, *paths: str) -> Path:
    """The files of a revision in a folder, all or those below some paths.

    Raises:
        subprocess.CalledProcessError: the checkout does not have the revision, as a shallow clone.
    """
    archive = _git("archive", "--format=tar", revision, *paths)
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True).stdout
