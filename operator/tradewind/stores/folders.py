"""Folders of files in a store: `SHA256SUMS` is written last and read first, so that what has none does not exist.

A reader takes the files that it names, each by its hash, and nothing else that may lie there. A writer puts the files first and
`SHA256SUMS` by a request that fails where there is one already: what is published stays as it is.
"""

import logging
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from tradewind.pretrained.files import INDEX_FILE, file_sha256
from tradewind.stores.bucket import Bucket
from tradewind.stores.faults import damaged, missing, refused
from tradewind.trading.artifact import SUMS_FILE, artifact_sha256, sums_text

_LINE: Final = re.compile(r"([0-9a-f]{64}) [ *](?:\./)?(\S(?:.*\S)?)", re.ASCII)
_MAX_FILES: Final = 100_000
_DRAFT: Final = ".fetching"

_logger = logging.getLogger(__name__)


def fetch_folder(
    bucket: Bucket, target: Path, *, below: str = "", sha256: str | None = None, only: tuple[str, ...] = ()
) -> str:
    """Bring a published folder and return its hash. Files that lie there already with the right hash are not fetched again.

    Args:
        bucket: where it lies.
        target: folder on the disk; it is made.
        below: folder in the bucket, relative to its prefix.
        sha256: what the folder must hash to.
        only: endings of the names that are wanted, without the index of weights that are not; empty: all.

    Raises:
        StoreError: exit 65 where a file is missing, was cut or swapped, or the folder is another than `sha256` says.
    """
    sums = published_sums(bucket, below)
    at = f"{below}/" if below else ""
    if sums is None:
        message = (
            f"there is no {at}{SUMS_FILE}: nothing was published there, or not to its end; for files that you have copied there, "
            f"make it with sha256sum and upload it last"
        )
        raise missing(bucket.folder, message)
    actual = artifact_sha256(sums)
    if sha256 not in (None, actual):
        message = (
            f"{at}{SUMS_FILE} is of a folder that hashes to {actual}, and {sha256} is asked for; restore the files, or name the hash of "
            "what lies there"
        )
        raise damaged(bucket.folder, message)
    wanted = {name: stated for name, stated in sums.items() if not only or (name.endswith(only) and name != INDEX_FILE)}
    target.mkdir(parents=True, exist_ok=True)
    _logger.info("fetching %d files of %s/%s", len(wanted), bucket.folder.uri, below)
    for name, stated in sorted(wanted.items()):
        fetch_file(bucket, f"{at}{name}", target / name, stated)
    if not only:
        (target / SUMS_FILE).write_text(sums_text(sums), encoding="utf-8", newline="\n")
    return actual


def fetch_file(bucket: Bucket, name: str, target: Path, sha256: str) -> None:
    """Bring one object, which must have this hash.

    Raises:
        StoreError: exit 65 where it is missing or has another.
    """
    if target.is_file() and file_sha256(target) == sha256:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f"{_DRAFT}-{target.name}")
    try:
        found = bucket.fetch(name, draft)
        if found is None:
            raise missing(bucket.folder, f"{name} is not there, though it is listed: upload it again, {SUMS_FILE} last")
        if found != sha256:
            message = (
                f"{name} hashes to {found} and {sha256} is listed: it was cut, swapped or changed; upload it again"
            )
            raise damaged(bucket.folder, message)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def published_sums(bucket: Bucket, below: str = "") -> dict[str, str] | None:
    """What a folder's SHA256SUMS says, hash by path; None where there is none.

    Raises:
        StoreError: exit 65 where it cannot be read.
    """
    name = f"{below}/{SUMS_FILE}" if below else SUMS_FILE
    content = bucket.read(name)
    if content is None:
        return None
    sums: dict[str, str] = {}
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        lines = [""]
    for number, line in enumerate(lines, start=1):
        matched = _LINE.fullmatch(line)
        if matched is None or not is_inside(matched[2]) or len(sums) >= _MAX_FILES:
            raise damaged(
                bucket.folder, f"line {number} of {name} is no `<sha256>  <path>`: make it with sha256sum again"
            )
        sums[matched[2]] = matched[1]
    if not sums:
        raise damaged(bucket.folder, f"{name} is empty: make it with sha256sum again")
    sums.pop(SUMS_FILE, None)
    return sums


def publish_folder(
    bucket: Bucket,
    source: Path,
    hashes: Mapping[str, str],
    *,
    below: str,
    beside: Mapping[str, Path] | None = None,
    replace: bool = False,
) -> None:
    """Publish a folder whole, or not at all. The very same one that is there already is left as it is.

    Args:
        bucket: where it goes.
        source: on the disk.
        hashes: of its files but SHA256SUMS, by path.
        below: folder in the bucket.
        beside: other files that must be there before it counts as published, by their path in the bucket.
        replace: what was published there before is withdrawn first; only for what nobody can have used yet.

    Raises:
        StoreError: exit 64, AlreadyPublished: another folder is published there.
    """
    earlier = published_sums(bucket, below)
    if earlier == dict(hashes):
        return
    if earlier is not None:
        if not replace:
            raise _taken(bucket, below)
        bucket.delete(f"{below}/{SUMS_FILE}")
    for name in sorted(hashes):
        bucket.put(f"{below}/{name}", source / name)
    for name, file in (beside or {}).items():
        bucket.put(name, file)
    if not bucket.create(f"{below}/{SUMS_FILE}", sums_text(hashes).encode()) and published_sums(bucket, below) != dict(
        hashes
    ):
        raise _taken(bucket, below)
    _logger.info("published %d files at %s/%s", len(hashes), bucket.folder.uri, below)


def is_inside(name: str) -> bool:
    """Whether a path that a store names stays in the folder that it is fetched into."""
    path = PurePosixPath(name)
    return (
        not path.is_absolute()
        and ".." not in path.parts
        and str(path) == name
        and "\\" not in name
        and "\0" not in name
    )


def _taken(bucket: Bucket, below: str) -> Exception:
    message = f"{below} is published there with other content, and is not overwritten, since a ModelVersion may serve it; give the run another name"
    return refused(bucket.folder, "AlreadyPublished", message)
