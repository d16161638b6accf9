"""The bytes on disk against the hash that the ModelVersion pins: nothing unverified is loaded.

Here belongs reading files and comparing hashes. What a hash is made of is `trading.artifact`'s business.
"""

from pathlib import Path

from tradewind.predictor.failure import StartError
from tradewind.pretrained.files import file_sha256
from tradewind.trading.artifact import SUMS_FILE, artifact_sha256, sums_text
from tradewind.trading.exits import ExitCode


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
