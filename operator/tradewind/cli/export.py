"""`tradewind export modelversion/NAME`: a version's files as an OCI image that KServe mounts, with its provenance.

Where the files come from does not matter: they are believed by the hash that the version pins, before a byte is written.

Belongs here: what is exported, labels, and words. Does not belong here: the layout itself (oci_layout.py).

Exit codes: 0 written; 1 there is no such version, it has no files, or the files are other ones; 2 the request is wrong or nobody
answers.
"""

import argparse
import asyncio
import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tradewind.api.common import API_VERSION
from tradewind.api.model_version import ModelVersion, Provenance
from tradewind.api.parse import InvalidSpec, parse
from tradewind.cli.objects import kind_named
from tradewind.cli.oci_layout import LayoutError, read_base, write_layout
from tradewind.cli.scope import add_scope, connected, namespace_of, not_there
from tradewind.core.identity import spec_sha256, version_sha256
from tradewind.core.lineage import shown
from tradewind.shell.cluster import ClusterError
from tradewind.trading.artifact import SUMS_FILE, artifact_sha256, sums_text
from tradewind.trading.exits import CommandExit

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

LABEL: Final = "dev.tradewind."
"""Prefix of the labels that tell where a version comes from."""


class RefusedError(Exception):
    """The version cannot be exported; the message says why and what to do."""


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `export` to the command line."""
    parser = subparsers.add_parser("export", help="write a model version as an OCI image that KServe serves from")
    parser.add_argument("object", help="modelversion/NAME, or modelversion with the name after it")
    parser.add_argument("name", nargs="?", help="its name")
    add_scope(parser)
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FOLDER",
        help="the version's files on this machine; believed by their hash",
    )
    parser.add_argument(
        "--to", required=True, metavar="oci:PATH", help="folder of the OCI image layout; it does not exist yet"
    )
    parser.add_argument(
        "--base",
        metavar="oci:PATH[:NAME]",
        help="layout of an image with sh, ln and sleep, under the files: KServe's ociModelMode modelcar runs them",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes the image; see the exit codes above."""
    try:
        name, target = _name(args), _path(args.to, "--to")
        version = asyncio.run(_version(args, namespace_of(args), name))
        source = _source(version, args.source)
        hashes = verified(version, source)
        base = None
        if args.base is not None:
            folder, _, image = str(_path(args.base, "--base")).partition(":")
            base = read_base(Path(folder), image or None)
        digest = write_layout(target, source, hashes, name=name, labels=labels(version), base=base)
    except (RefusedError, LayoutError) as error:
        print(f"tradewind export: {error}", file=sys.stderr)
        return CommandExit.NO
    except OSError as error:
        print(
            f"tradewind export: {error.filename}: {error.strerror}: mind where it lies, room and rights",
            file=sys.stderr,
        )
        return CommandExit.NOT_ASKED
    except (ValueError, ClusterError) as error:
        print(f"tradewind export: {error}", file=sys.stderr)
        return CommandExit.NOT_ASKED
    print(f"{target}: image {name}, {digest}")
    print(f"push it with: skopeo copy --preserve-digests oci:{target}:{name} docker://REGISTRY/REPOSITORY:TAG")
    return CommandExit.DONE


def verified(version: ModelVersion, source: Path) -> Mapping[str, str]:
    """SHA-256 of each file of the folder, once they are what the version pins.

    Raises:
        RefusedError: they are other ones; the first file that its SHA256SUMS contradicts is named.
    """
    hashes = {}
    for path in sorted(source.rglob("*")):
        if path.is_file():
            with path.open("rb") as stream:
                hashes[path.relative_to(source).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    content = {path: sha256 for path, sha256 in hashes.items() if path != SUMS_FILE}
    found, pinned = artifact_sha256(content), version_sha256(version)
    if found != pinned:
        raise RefusedError(
            f"--from: {source} has sha256 {found}, ModelVersion {version.name} pins {pinned}{_first(source, content)}: "
            "copy the folder whole, and nothing else into it"
        )
    sums = source / SUMS_FILE
    if sums.is_file() and sums.read_text(encoding="utf-8", errors="replace") != sums_text(content):
        raise RefusedError(
            f"--from: {sums} does not name the files beside it, which are the version's: copy the folder anew"
        )
    return hashes


def labels(version: ModelVersion) -> dict[str, str]:
    """What the image says of itself; nothing of this object or this moment, so that the same version is the same image."""
    made, adapter = version.status.provenance or Provenance(), version.spec.adapter
    base = adapter.base_model if adapter is not None else None
    told = {
        "modelversion": version.name,
        "kind": "adapter" if adapter is not None else "model",
        "sha256": version_sha256(version),
        "spec-sha256": spec_sha256(version),
        "training-run": adapter.training_run if adapter is not None else None,
        "base-model": None if base is None else made.base_model or base.uri,
        "base-revision": None if base is None else made.base_revision or base.revision,
        "base-sha256": None if base is None else base.sha256,
        "dataset-sha256": made.dataset_sha256,
        "watermark": shown(made.watermark),
    }
    known = {f"{LABEL}{key}": value for key, value in told.items() if value}
    return {"org.opencontainers.image.title": version.name, **known}


def _first(source: Path, content: Mapping[str, str]) -> str:
    """The first file that the folder's own SHA256SUMS contradicts."""
    try:
        lines = (source / SUMS_FILE).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return f"; it has no {SUMS_FILE} that could say which file is another one"
    named = {path: sha256 for sha256, _, path in (line.partition("  ") for line in lines)}
    for path in sorted({*named, *content}):
        if path not in content:
            return f"; {path} is missing"
        if path not in named:
            return f"; {path} is not of it"
        if named[path] != content[path]:
            return f"; {path} is another one or was cut"
    return ""


def _source(version: ModelVersion, folder: Path | None) -> Path:
    """The folder with the files, or how to come by one."""
    spec = version.spec
    if spec.external is not None:
        raise RefusedError(
            f"ModelVersion {version.name} is an external API: its weights are its provider's, so there is nothing to export"
        )
    part = spec.adapter or spec.model
    assert part is not None
    if folder is None:
        scheme, _, rest = part.uri.partition("://")
        claim = rest.partition("/")[0]
        how = f"copy {part.uri} with the client of that store"
        if scheme == "pvc":
            how = f"copy it from a pod that mounts the claim {claim}, as `kubectl cp` does, or run this command in a Job that mounts it"
        raise ValueError(f"--from: missing; the files lie at {part.uri}, which this command does not read: {how}")
    if not folder.is_dir():
        raise ValueError(f"--from: {folder} is no folder")
    return folder


def _path(text: str, option: str) -> Path:
    """A path, with or without `oci:` before it.

    Raises:
        ValueError: it names something else than a layout, or nothing.
    """
    scheme, mark, rest = text.partition(":")
    if mark and scheme != "oci" and "/" not in scheme:
        raise ValueError(f"{option}: {text}: write oci:PATH, an OCI image layout; push it with skopeo")
    path = rest if mark and scheme == "oci" else text
    if not path:
        raise ValueError(f"{option}: {text}: a path is missing; write oci:PATH")
    return Path(path)


def _name(args: argparse.Namespace) -> str:
    what, _, name = args.object.partition("/")
    if kind_named(what).kind != ModelVersion.__name__:
        raise ValueError(f"{what}: a ModelVersion is exported; write modelversion/NAME")
    if bool(name) == bool(args.name):
        raise ValueError(f"name: write one, as {what}/NAME")
    return str(name or args.name)


async def _version(args: argparse.Namespace, namespace: str, name: str) -> ModelVersion:
    async with connected(args) as cluster:
        body = await cluster.get(API_VERSION, ModelVersion.__name__, namespace, name)
        if body is None:
            raise RefusedError(await not_there(cluster, ModelVersion.__name__, namespace, name))
        version = parse(ModelVersion, {"kind": ModelVersion.__name__, **body})
    if isinstance(version, InvalidSpec):
        raise RefusedError(f"ModelVersion {name} cannot be read: {version.message}")
    return version
