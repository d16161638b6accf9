"""The project's own images: built when their content changed, then imported into the node or pushed to a registry."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cluster import containers, context, current, node, roots, transfer
from cluster.buildah import Buildah
from cluster.layout import IMAGE_PREFIX, Layout
from cluster.packages import missing_packages
from workshop.progress import Progress, StepError

KEPT_TAGS = 3
TOOLS = {"buildah", "mmdebstrap", "skopeo"}
SBOM = "/usr/share/doc/tradewind/sbom.cdx.json"


@dataclass(frozen=True)
class Image:
    """One of `images/<name>/Containerfile`, and the base it is built on here."""

    name: str
    root: str
    arguments: tuple[tuple[str, str], ...] = ()
    helpers: tuple[tuple[str, str], ...] = ()  # build argument -> the base of a stage that does not stay

    @property
    def build_arguments(self) -> dict[str, str]:
        bases = {name: roots.ROOTS[root].reference() for name, root in (("BASE", self.root), *self.helpers)}
        return {**bases, **dict(self.arguments)}


IMAGES = {
    image.name: image
    for image in (
        Image("postgres", "postgres", helpers=(("PYTHON", "python"),)),
        Image("operator", "python"),
        Image("gateway", "python"),
        Image("demo", "python"),
        Image("predictor", "torch", (("TORCH", "base"),)),
        Image("trainer", "torch", (("TORCH", "base"),)),
    )
}
NAMES = tuple(IMAGES)


def build_all(layout: Layout, names: Iterable[str], progress: Progress) -> dict[str, str]:
    """Build and deliver the named images. Returns name -> reference with the content's tag. Errors: StepError."""
    unknown = [name for name in names if name not in IMAGES]
    if unknown:
        raise StepError(f"no image is called {', '.join(unknown)}", f"choose from {', '.join(NAMES)}")
    if not current.requested() and node.processes_of(layout).pid("containerd") is None:
        raise StepError("no cluster runs to import images into", "start one with `python3 cluster up`")
    _demand_tools()
    buildah = Buildah(layout.cache / "buildah")
    prefix = current.registry() if current.requested() else IMAGE_PREFIX
    references = {name: _ensure(layout, buildah, IMAGES[name], prefix, progress) for name in names}
    _remember(_index(layout), references)
    return references


def prepare(layout: Layout, names: Iterable[str], progress: Progress) -> None:
    """Build the named images and deliver them to nobody, so that a cluster need not run yet. Errors: StepError."""
    _demand_tools()
    buildah = Buildah(layout.cache / "buildah")
    for name in names:
        _built(layout, buildah, _stage(layout, IMAGES[name]), progress)


def built(layout: Layout) -> dict[str, str]:
    """Name -> reference of the images that were built last, here or for a registry. Errors: StepError when one is missing."""
    try:
        found: dict[str, str] = json.loads(_index(layout).read_text())
    except (OSError, ValueError):
        found = {}
    if missing := [name for name in NAMES if name not in found]:
        raise StepError(f"images are missing: {', '.join(missing)}", "python3 cluster images")
    return found


def sbom(layout: Layout, name: str) -> str:
    """What is installed in the image of the present content, as it was listed while it was built. Errors: StepError."""
    if name not in IMAGES:
        raise StepError(f"no image is called {name}", f"choose from {', '.join(NAMES)}")
    buildah, staged = Buildah(layout.cache / "buildah"), _stage(layout, IMAGES[name])
    if not buildah.has(staged.local):
        raise StepError(f"image {name} is not built in its present content", f"python3 cluster images {name}")
    return buildah.read(staged.local, SBOM)


def moving_tags(repo: Path) -> tuple[str, str]:
    """Tags of the newest build: `dev`, and the version of the checkout, which the chart names where no other is set."""
    text = tomllib.loads((repo / "pyproject.toml").read_text(encoding="utf-8"))
    return "dev", str(text["project"]["version"])


def _demand_tools() -> None:
    absent = sorted(TOOLS & set(missing_packages()))
    if absent:
        raise StepError(f"not installed: {', '.join(absent)}", f"apt-get install {' '.join(absent)} (as root)")


@dataclass(frozen=True)
class Staged:
    """An image whose context lies ready, with the tag that its content has."""

    image: Image
    containerfile: Path
    context: Path
    tag: str
    log: Path

    @property
    def local(self) -> str:
        """Its name in buildah's storage."""
        return f"localhost/tradewind/{self.image.name}:{self.tag}"


def _stage(layout: Layout, image: Image) -> Staged:
    containerfile = layout.repo / "images" / image.name / "Containerfile"
    staged = layout.cache / "contexts" / image.name
    try:
        content = context.stage(layout.repo, containerfile, staged)
    except FileNotFoundError as error:
        reason = f"image {image.name} copies {error.filename}, which is not in the checkout"
        raise StepError(reason, f"restore it, or change {containerfile.relative_to(layout.repo)}") from error
    tag = hashlib.sha256(f"{content} {image.build_arguments}".encode()).hexdigest()[:12]
    return Staged(image, containerfile, staged, tag, layout.cache / "logs" / f"image-{image.name}.log")


def _built(layout: Layout, buildah: Buildah, staged: Staged, progress: Progress) -> None:
    """The image in buildah's storage."""
    if buildah.has(staged.local):
        return
    image, log = staged.image, staged.log
    log.unlink(missing_ok=True)
    for root in (image.root, *(root for _, root in image.helpers)):
        with progress.step(f"base image {root}"):
            roots.ensure(layout, buildah, roots.ROOTS[root])
    with progress.step(f"image {image.name}: build", waits_for=f"buildah; log: {log}"):
        buildah.build(staged.context, staged.containerfile, staged.local, image.build_arguments, log)


def _ensure(layout: Layout, buildah: Buildah, image: Image, prefix: str, progress: Progress) -> str:
    staged = _stage(layout, image)
    local, log = staged.local, staged.log
    wanted = [f"{prefix}/{image.name}:{each}" for each in (staged.tag, *moving_tags(layout.repo))]
    if not current.requested() and transfer.delivered(layout, wanted):
        return wanted[0]
    _built(layout, buildah, staged, progress)
    if current.requested():
        with progress.step(f"image {image.name}: push"):
            for reference in wanted:
                buildah.push(local, reference, log)
    else:
        with progress.step(f"image {image.name}: import"):
            transfer.import_image(layout, buildah, local, wanted, log)
            _forget_old(layout, buildah, image.name, keep=staged.tag)
    return wanted[0]


def _forget_old(layout: Layout, buildah: Buildah, name: str, keep: str) -> None:
    """Drop all but the newest few tags: a running pod may still restart from the one before."""
    local, remote = f"localhost/tradewind/{name}:", f"{IMAGE_PREFIX}/{name}:"
    # buildah lists the newest first.
    others = [tag for tag in (reference.rpartition(":")[2] for reference in buildah.tags(local[:-1])) if tag != keep]
    for tag in others[KEPT_TAGS - 1 :]:
        buildah.remove(local + tag)
    kept = {remote + tag for tag in (*moving_tags(layout.repo), keep, *others[: KEPT_TAGS - 1])}
    present = containers.image_targets(layout)
    containers.delete_images(layout, [ref for ref in present if ref.startswith(remote) and ref not in kept])
    transfer.prune(layout)


def _index(layout: Layout) -> Path:
    """What was pushed is not what was imported: each has a file of its own."""
    return layout.cache / ("images-pushed.json" if current.requested() else "images.json")


def _remember(index: Path, references: dict[str, str]) -> None:
    """Keep name -> reference for whoever fills in manifests."""
    try:
        known = json.loads(index.read_text())
    except (OSError, ValueError):
        known = {}
    index.write_text(json.dumps({**known, **references}, indent=1, sort_keys=True) + "\n")
