"""Claims whose folders lie on this machine, and the tiny base model in one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from space import Space

from cluster.layout import Layout
from demo.manifest import base_model_scripts, render
from workshop.waiting import wait_for

PODS_USER = 65532
VOLUMES = Layout.default().volumes


@contextmanager
def claim(space: Space, name: str, *, kilobytes: int | None = None) -> Iterator[Path]:
    """A claim of the namespace, and its folder here; both go afterwards.

    Args:
        space: the namespace.
        name: the claim's.
        kilobytes: a file system of its own, of this size; None: a folder of the machine's.
    """
    if not VOLUMES.is_dir():
        pytest.skip("the volumes of the cluster are not on this machine (CLUSTER=current)")
    volume = f"{space.name}-{name}"
    folder = VOLUMES / volume
    wait_for(
        "the claim of an earlier session to go",
        lambda: space.get("PersistentVolumeClaim", name),
        lambda seen: seen is None,
    )
    _emptied(folder)
    folder.mkdir(parents=True)
    if kilobytes is not None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)], check=True)
    owned(folder)
    space.cluster.kubectl("delete", "pv", volume, "--ignore-not-found", "--wait=false")
    size = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    taken = {"claimRef": {"namespace": space.name, "name": name}, "persistentVolumeReclaimPolicy": "Retain"}
    kept = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume}}
    space.apply({**kept, "spec": {**size, **taken, "hostPath": {"path": str(folder), "type": "Directory"}}})
    wanted = {"resources": {"requests": {"storage": "1Gi"}}, "volumeName": volume}
    asked = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", **wanted}
    space.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": asked})
    try:
        yield folder
    finally:
        space.clear()
        space.kubectl(
            "delete", "jobs", "--all", "--wait=false"
        )  # a claim goes once no pod has it, not even one that is over
        space.kubectl("delete", "pvc", name, "--ignore-not-found", "--wait=false")
        space.cluster.kubectl("delete", "pv", volume, "--ignore-not-found", "--wait=false")
        _emptied(folder)


def owned(folder: Path) -> None:
    """The folder and all in it belong to the user of our pods."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, PODS_USER, PODS_USER)


def make_base(space: Space, images: dict[str, str]) -> None:
    """The demo's Job with the smallest sizes: a base model at `base` in the claim `models`."""
    sizes = ["--steps", "4", "--batch", "4", "--hidden", "64", "--layers", "2", "--threads", "1"]
    filled = {f"image_{name}": reference for name, reference in images.items()}
    text = render("base-model.yaml", {"job": "base", "namespace": space.name, "run": "e2e", **filled})
    job = yaml.safe_load(text)
    job["spec"]["template"]["spec"]["containers"][0]["args"] += sizes
    space.apply(base_model_scripts(), job)
    space.wait_job("base", seconds=300)


def _emptied(folder: Path) -> None:
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    shutil.rmtree(folder, ignore_errors=True)
