"""Base images made from the distribution's packages with mmdebstrap, where no registry serves any."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import dataclass

from cluster.buildah import Buildah
from cluster.layout import Layout
from cluster.shell import run

SUITE = "trixie"
RECIPE_VERSION = "1"


@dataclass(frozen=True)
class Root:
    """A Debian root: the packages beyond the minimal set."""

    name: str
    packages: tuple[str, ...]

    def reference(self) -> str:
        """Name of the base image; the tag changes with whatever goes in."""
        recipe = json.dumps([RECIPE_VERSION, SUITE, self.packages])
        return f"localhost/tradewind-root/{self.name}:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


ROOTS = {
    root.name: root
    for root in (
        Root("python", ("ca-certificates", "python3", "python3-venv")),
        # Without OpenBLAS torch multiplies matrices with the reference BLAS, many times slower.
        Root("torch", ("ca-certificates", "libopenblas0-pthread", "python3", "python3-torch", "python3-venv")),
        Root("postgres", ("postgresql-17",)),
    )
}


def ensure(layout: Layout, buildah: Buildah, root: Root) -> str:
    """Build the base image unless buildah's storage has it; returns its name. Errors: StepError."""
    reference = root.reference()
    if buildah.has(reference):
        return reference
    folder = layout.cache / "roots"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{root.name}.tar"
    archive.unlink(missing_ok=True)
    log = layout.cache / "logs" / f"root-{root.name}.log"
    run(
        [
            "mmdebstrap",
            "--variant=minbase",
            f"--include={','.join(root.packages)}",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            *_apt_options(),
            SUITE,
            archive,
            *_mirror(),
        ],
        log=log,
        remedy="check that apt-get update works here; the mirror comes from apt's own sources",
    )
    buildah.from_archive(archive, reference, log)
    archive.unlink()
    for stale in buildah.tags(reference.rpartition(":")[0]):
        if stale != reference:
            buildah.remove(stale)
    return reference


def _mirror() -> list[str]:
    """The Debian mirror that this machine's apt uses, where it names one: a proxy or mirror set up there serves here too."""
    command = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Label: Debian"]
    try:
        sites = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    except FileNotFoundError:
        return []  # mmdebstrap has a default of its own
    return [site for site in sites if site.endswith("/debian")][:1]


def _apt_options() -> list[str]:
    """This machine's apt proxy and date settings, for the apt that mmdebstrap runs."""
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-Valid-Until", "Acquire::Check-Date")
    try:
        dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return []
    return [
        f"--aptopt={line.rstrip(';')}"
        for line in dump.splitlines()
        if line.startswith(wanted) and not line.endswith('"";')
    ]
