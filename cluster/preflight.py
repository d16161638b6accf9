"""Says in seconds whether this machine can carry the cluster, and what to do where it cannot. Changes nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cluster.layout import DEAD_END_ADDRESS, HOST_ADDRESS, HOST_LINK, SERVICE_FIRST_ADDRESS
from cluster.packages import missing_packages

GO_MINIMUM = (1, 26)
DISK_FRESH_GIB = 25.0
DISK_BUILT_GIB = 5.0


@dataclass(frozen=True)
class Machine:
    """The facts the rules look at; gathered by `inspect`, made by hand in tests."""

    system: str
    uid: int
    go_version: tuple[int, int] | None
    free_gib: float
    built: bool
    missing: tuple[str, ...]
    can_install: bool
    filesystem: str
    address_owner: str | None


@dataclass(frozen=True)
class Problem:
    """One thing that is missing, and its remedy."""

    what: str
    remedy: str


def inspect(cache: Path, *, built: bool) -> Machine:
    """Gather the facts. `built`: binaries and base images are in the cache already, so less disk is needed."""
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    return Machine(
        system=sys.platform,
        uid=os.geteuid(),
        go_version=_go_version(),
        free_gib=shutil.disk_usage(existing).free / 2**30,
        built=built,
        missing=tuple(missing_packages()),
        can_install=shutil.which("apt-get") is not None,
        filesystem=_filesystem(existing),
        address_owner=_address_owner(),
    )


def problems(machine: Machine) -> list[Problem]:
    """Every problem at once, so that the user need not find them one by one."""
    if machine.system != "linux":
        return [
            Problem(
                f"this is {machine.system}, and the local cluster needs Linux (namespaces, cgroups, nftables)",
                "use a cluster of your own: CLUSTER=current IMAGE_REGISTRY=<registry/path> with KUBECONFIG pointing at it",
            )
        ]
    found: list[Problem] = []
    if machine.uid != 0:
        found.append(
            Problem(
                f"running as uid {machine.uid}, and a node needs root (namespaces, mounts, cgroups)",
                "run it with sudo, or use a cluster of your own with CLUSTER=current IMAGE_REGISTRY=<registry/path>",
            )
        )
    wanted = ".".join(map(str, GO_MINIMUM))
    if machine.go_version is None:
        found.append(
            Problem("Go is not on PATH", f"install Go {wanted} or newer (https://go.dev/dl) and put it on PATH")
        )
    elif machine.go_version < GO_MINIMUM:
        have = ".".join(map(str, machine.go_version))
        found.append(Problem(f"Go {have} is too old", f"install Go {wanted} or newer (https://go.dev/dl)"))
    need = DISK_BUILT_GIB if machine.built else DISK_FRESH_GIB
    if machine.free_gib < need:
        found.append(
            Problem(
                f"{machine.free_gib:.1f} GiB of disk are free, {need:.0f} GiB are needed",
                "free some disk, or point XDG_CACHE_HOME at a larger one",
            )
        )
    if machine.filesystem in {"overlay", "tmpfs"}:
        found.append(
            Problem(
                f"the cache folder lies on {machine.filesystem}, where containers cannot have their root file systems",
                "point XDG_CACHE_HOME at a disk (ext4, xfs, btrfs)",
            )
        )
    if machine.missing and not machine.can_install:
        found.append(
            Problem(
                f"not installed: {', '.join(machine.missing)} (Debian's names; this machine has no apt-get to get them)",
                "install them with your distribution's package manager",
            )
        )
    if machine.address_owner is not None:
        found.append(
            Problem(
                f"the addresses of the cluster (10.96.0.0/16, 10.97.0.0/16, 10.244.0.0/16) are in use by {machine.address_owner}",
                "end the VPN or the cluster that uses them, or use that cluster with CLUSTER=current",
            )
        )
    return found


def _go_version() -> tuple[int, int] | None:
    if shutil.which("go") is None:
        return None
    answer = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"go(\d+)\.(\d+)", answer)
    return (int(match[1]), int(match[2])) if match else None


def _filesystem(folder: Path) -> str:
    """Type of the file system that holds `folder`, by the longest mount point that is a prefix of it."""
    best, kind = "", ""
    target = str(folder.resolve())
    for line in Path("/proc/mounts").read_text().splitlines() if Path("/proc/mounts").exists() else []:
        _, mount, this_kind, *_ = line.split()
        if (target == mount or target.startswith(mount.rstrip("/") + "/")) and len(mount) >= len(best):
            best, kind = mount, this_kind
    return kind


def _address_owner() -> str | None:
    """The interface that already routes one of our ranges, if it is neither ours nor the default route."""
    if shutil.which("ip") is None:
        return None
    default = _device(
        subprocess.run(["ip", "route", "show", "default"], capture_output=True, text=True, check=False).stdout
    )
    for address in (SERVICE_FIRST_ADDRESS, HOST_ADDRESS, DEAD_END_ADDRESS, "10.244.0.1"):
        answer = subprocess.run(["ip", "route", "get", address], capture_output=True, text=True, check=False).stdout
        device = _device(answer)
        if device not in {None, default, HOST_LINK, "lo"}:
            return device
    return None


def _device(route: str) -> str | None:
    match = re.search(r"\bdev (\S+)", route)
    return match[1] if match else None
