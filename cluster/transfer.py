"""From buildah's storage into containerd, moving only layers that containerd does not have yet.

Layers are copied uncompressed into an OCI layout folder, and those that lie there are skipped. What goes on to containerd is
an archive of the manifest, the configuration and the missing blobs alone; afterwards the layout's big blobs become
hard links to containerd's, so that they cost no disk twice.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from cluster import containers
from cluster.buildah import Buildah
from cluster.layout import Layout

LINKED_FROM_BYTES = 1 << 20


def delivered(layout: Layout, references: list[str]) -> bool:
    """True when containerd has every one of `references`, all naming one and the same image."""
    targets = containers.image_targets(layout)
    found = {targets.get(reference) for reference in references}
    return len(found) == 1 and None not in found


def import_image(layout: Layout, buildah: Buildah, local: str, references: list[str], log: Path) -> None:
    """Make `local` of buildah's storage known to containerd as each of `references`. Errors: StepError."""
    oci = layout.cache / "oci"
    oci.mkdir(parents=True, exist_ok=True)
    buildah.export(local, oci, references[0], log)
    index = json.loads((oci / "index.json").read_text())
    entry = next(
        m for m in index["manifests"] if m["annotations"]["org.opencontainers.image.ref.name"] == references[0]
    )
    archive = layout.cache / "import.tar"
    theirs = layout.containerd_root / "io.containerd.content.v1.content" / "blobs" / "sha256"
    _write_archive(oci, entry, references, theirs, archive)
    containers.ctr(layout, "images", "import", archive)
    archive.unlink()
    _share_blobs(oci / "blobs" / "sha256", theirs)


def prune(layout: Layout) -> None:
    """Forget in the layout folder what containerd no longer has; a blob that nothing names is deleted."""
    oci = layout.cache / "oci"
    present = containers.image_targets(layout)
    index = json.loads((oci / "index.json").read_text())
    kept = [m for m in index["manifests"] if m["annotations"]["org.opencontainers.image.ref.name"] in present]
    (oci / "index.json").write_text(json.dumps({**index, "manifests": kept}))
    blobs = oci / "blobs" / "sha256"
    named: set[str] = set()
    for entry in kept:
        manifest = json.loads((blobs / _hex(entry)).read_text())
        named |= {_hex(descriptor) for descriptor in (entry, manifest["config"], *manifest["layers"])}
    for blob in blobs.iterdir():
        if blob.name not in named:
            blob.unlink()


def _write_archive(oci: Path, entry: dict[str, Any], references: list[str], theirs: Path, archive: Path) -> None:
    blobs = oci / "blobs" / "sha256"
    manifest = json.loads((blobs / _hex(entry)).read_text())
    manifests = [
        {
            **entry,
            "annotations": {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference},
        }
        for reference in references
    ]
    index = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    with tarfile.open(archive, "w") as tar:
        tar.add(oci / "oci-layout", "oci-layout")
        for descriptor in (entry, manifest["config"], *manifest["layers"]):
            # A layer that is left out is found in containerd's own content store, by its digest.
            if descriptor in (entry, manifest["config"]) or not (theirs / _hex(descriptor)).exists():
                tar.add(blobs / _hex(descriptor), f"blobs/sha256/{_hex(descriptor)}")
        member = tarfile.TarInfo("index.json")
        member.size = len(index)
        tar.addfile(member, io.BytesIO(index))


def _share_blobs(ours: Path, theirs: Path) -> None:
    for blob in ours.iterdir():
        twin = theirs / blob.name
        if twin.exists() and blob.stat().st_size >= LINKED_FROM_BYTES and not blob.samefile(twin):
            blob.unlink()
            blob.hardlink_to(twin)


def _hex(descriptor: dict[str, Any]) -> str:
    return str(descriptor["digest"]).removeprefix("sha256:")
