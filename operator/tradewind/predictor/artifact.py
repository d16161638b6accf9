"""The bytes on disk against the hash that the ModelVersion pins: nothing unverified is loaded.

Here belongs reading files and comparing hashes. What a hash is made of is `trading.artifact`'s business.
"""

import json
import logging
from pathlib import Path
from typing import Final

from tradewind.predictor.failure import StartError, as_start_error
from tradewind.pretrained.fault import UnfitError
from tradewind.pretrained.files import check_files, file_sha256
from tradewind.trading.artifact import SUMS_FILE, artifact_sha256, sums_text
from tradewind.trading.exits import ExitCode

PROVENANCE_FILE: Final = "training.json"
_logger = logging.getLogger(__name__)


def verify_artifact(directory: Path, expected: str) -> str:
    """The artifact's hash, once it equals the pinned one.

    Args:
        directory: root of the artifact; every regular file below it counts but `SHA256SUMS`.
        expected: 64 hex digits of the ModelVersion's spec.

    Raises:
        StartError: exit 65, ArtifactMismatch, naming the first file that its own SHA256SUMS contradicts, where one does.
    """
    return artifact_sha256(verified_artifact(directory, expected))


def verified_artifact(directory: Path, expected: str) -> dict[str, str]:
    """The hash of each file of the artifact, once together they equal the pinned one.

    Raises:
        StartError: as above.
    """
    remedy = "publish the artifact again under a new ModelVersion, or restore its files"
    return _verified(directory, hash_files(directory), expected, "artifact", remedy)


def verify_base(directory: Path, expected: str) -> str:
    """The same of the base below an adapter. Folders of public models hold links, which are followed.

    Raises:
        StartError: as above.
    """
    return artifact_sha256(verified_base(directory, expected))


def verified_base(directory: Path, expected: str) -> dict[str, str]:
    """The hash of each file of the base, once together they equal the pinned one.

    Raises:
        StartError: as above.
    """
    remedy = "restore its files, or create a ModelVersion with the hash of what lies there"
    return _verified(directory, hash_files(directory, follow_links=True), expected, "base model", remedy)


def verify_trained_base(adapter: Path, base: Path, known: str | None, *, allow: bool) -> bool | None:
    """Whether the base that lies there is the one that an adapter was trained on.

    Args:
        adapter: its folder; a training of ours leaves the hash of its base in `training.json`.
        base: the base's folder.
        known: the base's hash where it has been taken already.
        allow: serve the adapter on another base, too.

    Returns:
        None where the adapter does not say what it was trained on.

    Raises:
        StartError: exit 65, BaseMismatch.
    """
    try:
        check_files(adapter)
    except UnfitError as error:
        raise as_start_error(error) from error
    file = adapter / PROVENANCE_FILE
    stated = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    expected = stated.get("baseSha256") if isinstance(stated, dict) else None
    if not isinstance(expected, str) or not expected:
        return None
    actual = known or artifact_sha256(hash_files(base, follow_links=True))
    if actual == expected:
        return True
    said = f"the adapter was trained on a base that hashes to {expected}, the one that lies there hashes to {actual}"
    if allow:
        _logger.warning("%s; served nevertheless, since serving.baseMismatch is allow", said)
        return False
    raise StartError(
        ExitCode.BAD_DATA,
        "BaseMismatch",
        f"{said}; mount the base that it was trained on, or say serving.baseMismatch: allow (--base-mismatch allow)",
        expected=expected,
        actual=actual,
    )


def _verified(directory: Path, hashes: dict[str, str], expected: str, what: str, remedy: str) -> dict[str, str]:
    actual = artifact_sha256(hashes)
    if actual == expected:
        return hashes
    raise StartError(
        ExitCode.BAD_DATA,
        "ArtifactMismatch",
        f"the {what} hashes to {actual}, the ModelVersion pins {expected}{_suspect(directory, hashes)}; {remedy}",
        expected=expected,
        actual=actual,
    )


def hash_files(directory: Path, *, follow_links: bool = False) -> dict[str, str]:
    """SHA-256 of every regular file below a directory, by relative POSIX path.

    Raises:
        StartError: exit 65 for anything that is neither a file nor a folder: a link's target can change after it was
            hashed; exit 64 when the directory is missing or empty.
    """
    if not directory.is_dir():
        raise StartError(
            ExitCode.BAD_CONFIG, ExitCode.BAD_CONFIG.reason, f"{directory} is not a directory: mount the model there"
        )
    hashes: dict[str, str] = {}
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory).as_posix()
        if (path.is_symlink() and not follow_links) or not (path.is_file() or path.is_dir()):
            raise StartError(
                ExitCode.BAD_DATA,
                "ArtifactMismatch",
                f"{relative} is a link or a special file: an artifact holds regular files only, copy its content there",
            )
        if path.is_file():
            hashes[relative] = file_sha256(path)
    if not hashes:
        raise StartError(
            ExitCode.BAD_CONFIG, ExitCode.BAD_CONFIG.reason, f"{directory} is empty: mount the model there"
        )
    return hashes


def _suspect(directory: Path, hashes: dict[str, str]) -> str:
    sums = directory / SUMS_FILE
    if not sums.is_file():
        return ""
    stated = set(sums.read_text(errors="replace").splitlines())
    for line in sums_text(hashes).splitlines():
        if line not in stated:
            return f" ({line.split('  ', 1)[1]} is not what {SUMS_FILE} says)"
    return ""
