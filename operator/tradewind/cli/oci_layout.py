"""A folder as an OCI image layout, by digest: the same files under the same labels are the same image.

Files lie under `/models`, where KServe looks for a model in an image: as a volume (`ociModelMode: native`), or in a container beside
the predictor (`modelcar`), which runs `sh`, `ln` and `sleep` of the image and so needs a base that has them.

Belongs here: tar, digests, manifest, config and index of the layout. Does not belong here: what a version is, and whether its files
are the right ones (export.py).
"""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

Json = Mapping[str, Any]

ROOT: Final = "models"
"""Folder of the image that KServe mounts or links to."""
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
"""Not compressed: weights hardly shrink, and a layer's digest is then that of its content whatever packs it."""
NAME: Final = "org.opencontainers.image.ref.name"
_LARGE: Final = 1 << 20
"""Bytes from which a file has a layer of its own, which images of other versions share."""
_MOST_LAYERS: Final = 64
"""Overlay file systems have an end at 127."""
_EPOCH: Final = "1970-01-01T00:00:00Z"


class LayoutError(Exception):
    """A layout cannot be read or written; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Base:
    """An image that the layers come on top of: its folder, manifest and config."""

    folder: Path
    manifest: Json
    config: Json


def write_layout(
    target: Path,
    source: Path,
    hashes: Mapping[str, str],
    *,
    name: str,
    labels: Mapping[str, str],
    base: Base | None = None,
) -> str:
    """Writes the layout, whole or not at all; returns the digest of the image's manifest, `sha256:<64 hex digits>`.

    Args:
        target: folder that does not exist yet.
        source: folder with the files.
        hashes: SHA-256 of each file that belongs to the image, by relative path with `/`.
        name: of the image in the layout's index.
        labels: of the config, and annotations of the manifest.
        base: its layers come first.

    Raises:
        LayoutError: `target` exists, a file changed since it was hashed, or a blob of `base` is not what its digest says.
        OSError: it cannot be written.
    """
    if target.exists():
        raise LayoutError(f"--to: {target} exists; name a folder that does not, or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    blobs = _Blobs(draft)
    try:
        digest = _image(blobs, source, hashes, name=name, labels=labels, base=base)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return digest


def read_base(folder: Path, name: str | None) -> Base:
    """The image of a layout: the one of that name, or the only one.

    Raises:
        LayoutError: there is none, there are several, it is one for several platforms, or a blob is damaged.
    """
    try:
        index = json.loads((folder / "index.json").read_bytes())
        found = [one for one in index["manifests"] if name is None or one.get("annotations", {}).get(NAME) == name]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LayoutError(f"--base: {folder} is no OCI image layout ({error}); make one with `skopeo copy`") from None
    if len(found) != 1:
        names = ", ".join(str(one.get("annotations", {}).get(NAME)) for one in index["manifests"]) or "none"
        raise LayoutError(f"--base: {folder} has {len(found)} such images; name one as oci:PATH:NAME, of {names}")
    if found[0].get("mediaType") != MANIFEST:
        raise LayoutError(
            f"--base: {folder} has {found[0].get('mediaType')}; copy one platform, as `skopeo --override-arch amd64 copy` does"
        )
    manifest = json.loads(_blob(folder, found[0]["digest"]))
    return Base(folder, manifest, json.loads(_blob(folder, manifest["config"]["digest"])))


def _image(
    blobs: "_Blobs", source: Path, hashes: Mapping[str, str], *, name: str, labels: Mapping[str, str], base: Base | None
) -> str:
    layers, diffs = [], []
    if base is not None:
        for layer in base.manifest["layers"]:
            blobs.copy(base.folder, layer["digest"])
            layers.append({key: layer[key] for key in ("mediaType", "digest", "size")})
        diffs += base.config["rootfs"]["diff_ids"]
    for paths in _layers(source, hashes):
        layer = blobs.layer(source, {path: hashes[path] for path in paths})
        layers.append(layer)
        diffs.append(layer["digest"])
    of_base = base.config if base is not None else {}
    config = {
        "created": _EPOCH,
        "architecture": of_base.get("architecture", "amd64"),
        "os": of_base.get("os", "linux"),
        "config": {
            **of_base.get("config", {}),
            "Labels": {**(of_base.get("config", {}).get("Labels") or {}), **labels},
        },
        "rootfs": {"type": "layers", "diff_ids": diffs},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blobs.text(config, CONFIG),
        "layers": layers,
        "annotations": dict(labels),
    }
    described = blobs.text(manifest, MANIFEST)
    index = {"schemaVersion": 2, "manifests": [{**described, "annotations": {NAME: name}}]}
    blobs.root.joinpath("index.json").write_bytes(_dumped(index))
    blobs.root.joinpath("oci-layout").write_bytes(_dumped({"imageLayoutVersion": "1.0.0"}))
    return str(described["digest"])


def _layers(source: Path, hashes: Mapping[str, str]) -> list[Sequence[str]]:
    """Paths of each layer: small files together, large ones each by itself as long as there is room for that."""
    large = [path for path in sorted(hashes) if (source / path).stat().st_size >= _LARGE]
    small = [path for path in sorted(hashes) if path not in set(large)]
    together = -(-len(large) // _MOST_LAYERS) or 1
    return [*([small] if small else []), *(large[at : at + together] for at in range(0, len(large), together))]


class _Blobs:
    """Content by its digest, in the draft of a layout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder = root / "blobs" / "sha256"
        self._folder.mkdir(parents=True)

    def text(self, document: Json, media_type: str) -> dict[str, Any]:
        """Stores JSON; its descriptor."""
        data = _dumped(document)
        digest = hashlib.sha256(data).hexdigest()
        self._folder.joinpath(digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def copy(self, folder: Path, digest: str) -> None:
        """Takes a blob of another layout, verified."""
        source, hexadecimal = _path(folder, digest), digest.removeprefix("sha256:")
        shutil.copyfile(source, self._folder / hexadecimal)
        with self._folder.joinpath(hexadecimal).open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != hexadecimal:
                raise LayoutError(f"--base: {source} is not what its name says: it is damaged; copy the base anew")

    def layer(self, source: Path, hashes: Mapping[str, str]) -> dict[str, Any]:
        """Packs files; its descriptor, whose digest is that of the tar itself."""
        part = self._folder / "part"
        with part.open("wb") as stream:
            counted = _Counted(stream)
            with tarfile.open(fileobj=counted, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                for folder in _folders(hashes):
                    tar.addfile(_entry(folder, tarfile.DIRTYPE, 0o755))
                for path in sorted(hashes):
                    _pack(tar, source / path, path, hashes[path])
        digest = counted.sha256.hexdigest()
        part.rename(self._folder / digest)
        return {"mediaType": LAYER, "digest": f"sha256:{digest}", "size": counted.size}


class _Counted(io.RawIOBase):
    """Passes bytes on; their hash and number are known at the end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.sha256, self.size = stream, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        self.size += len(data)
        return self._stream.write(data)


class _Hashed(io.RawIOBase):
    """Reads a file and hashes what was read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.sha256 = stream, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.sha256.update(data)
        return data


def _pack(tar: tarfile.TarFile, file: Path, path: str, sha256: str) -> None:
    entry = _entry(f"{ROOT}/{path}", tarfile.REGTYPE, 0o644)
    entry.size = file.stat().st_size
    with file.open("rb") as stream:
        hashed = _Hashed(stream)
        tar.addfile(entry, hashed)
    if hashed.sha256.hexdigest() != sha256:
        raise LayoutError(f"--from: {file} changed while it was read; export a folder that nobody writes")


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    """An entry of nobody in particular, at no time."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime = kind, mode, 0
    return entry


def _folders(paths: Mapping[str, str]) -> list[str]:
    found = {ROOT}
    for path in paths:
        parts = path.split("/")[:-1]
        found |= {"/".join((ROOT, *parts[: at + 1])) for at in range(len(parts))}
    return sorted(found)


def _path(folder: Path, digest: str) -> Path:
    algorithm, _, hexadecimal = digest.partition(":")
    if algorithm != "sha256" or len(hexadecimal) != 64 or not set(hexadecimal) <= set("0123456789abcdef"):
        raise LayoutError(f"--base: digest {digest!r}: sha256:<64 hex digits> is read")
    return folder / "blobs" / algorithm / hexadecimal


def _blob(folder: Path, digest: str) -> bytes:
    try:
        data = _path(folder, digest).read_bytes()
    except OSError as error:
        raise LayoutError(f"--base: {error.filename}: {error.strerror}; copy the base anew") from None
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
        raise LayoutError(f"--base: blob {digest} is damaged; copy the base anew")
    return data


def _dumped(document: Json) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
