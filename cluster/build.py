"""The cluster's programs, compiled from Go modules and cached by the content of `cluster/go`."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

from cluster.layout import Layout
from cluster.shell import run
from images.sbom import document, golang, text_of
from workshop.progress import StepError

# What `go build` names each program, and what we call it.
RENAMED = {"server": "etcd", "manager": "kserve-manager"}
PROGRAMS = (
    "coredns",
    "etcd",
    "helm",
    "kserve-manager",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "pause",
    "probe",
)
REMEDY = "the first build downloads about 900 Go modules: check that `go mod download` works in cluster/go (GOPROXY)"


def source_hash(folder: Path) -> str:
    """First 16 hex digits of the sha256 over names and contents of every file under `folder`."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def required_version(go_mod: str, module: str) -> str:
    """The version that `go.mod` (its text) requires of `module`. Errors: LookupError."""
    match = re.search(rf"^\s*(?:require )?{re.escape(module)} (v\S+)", go_mod, re.MULTILINE)
    if match is None:
        raise LookupError(f"go.mod requires no {module}")
    return match[1]


def environment() -> dict[str, str]:
    """This process's environment, in which go builds nothing that `go.mod` and `go.sum` do not name.

    -mod=readonly: a module without a sum is an error, whatever GOFLAGS, GONOSUMDB or GOPRIVATE say; a module of another sum
    always is. GOTOOLCHAIN: the compiler is the machine's own, since a downloaded one stands in no go.sum.
    """
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "GOWORK": "off"}


def binaries(layout: Layout) -> Path:
    """The folder of the programs for the present content of `cluster/go`; it may not exist yet."""
    return layout.cache / "bin" / source_hash(layout.here / "go")


def is_built(layout: Layout) -> bool:
    folder = binaries(layout)
    return all((folder / name).exists() for name in PROGRAMS)


def build(layout: Layout) -> Path:
    """Compile every program unless that was done for this content; returns their folder. Errors: StepError."""
    target = binaries(layout)
    if is_built(layout):
        return target
    source = layout.here / "go"
    version = required_version((source / "go.mod").read_text(), "k8s.io/kubernetes")
    stamps = (
        f"-X {package}.gitVersion={version}"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    )
    fresh = target.with_name(target.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    log = layout.cache / "logs" / "go-build.log"
    run(
        # The trailing slash tells go that the target is a folder.
        [
            *("go", "build", "-buildvcs=false", "-trimpath", f"-ldflags=-s -w {' '.join(stamps)}"),
            *("-o", f"{fresh}/", "tool", "./coredns", "./pause", "./probe"),
        ],
        cwd=source,
        env=environment(),
        log=log,
        remedy=REMEDY,
    )
    for built, ours in RENAMED.items():
        (fresh / built).rename(fresh / ours)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return target


def sbom(layout: Layout, program: str) -> str:
    """The modules of a built program, as its own build information names them. Errors: StepError."""
    if not is_built(layout):
        raise StepError("the programs are not built", "python3 cluster up")
    listed = run(["go", "version", "-m", binaries(layout) / program], remedy="Go must be on PATH")
    return text_of(document(program, golang(listed)))


def module_folder(layout: Layout, module: str) -> Path:
    """Where the module cache keeps the source of `module`."""
    answer = run(
        ["go", "list", "-m", "-f", "{{.Dir}}", module],
        cwd=layout.here / "go",
        env=environment(),
        remedy=REMEDY,
    )
    return Path(answer.strip())
