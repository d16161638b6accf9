"""The distribution's packages that the node is made of, and their installation on Debian and Ubuntu."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from cluster.layout import Layout
from cluster.shell import run

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))


def cni_folder() -> Path | None:
    """Where the distribution keeps the `ptp` plugin: /usr/lib/cni on Debian, /opt/cni/bin elsewhere."""
    return next((folder for folder in CNI_FOLDERS if (folder / "ptp").exists()), None)


def _tool(name: str) -> Callable[[], bool]:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return lambda: shutil.which(name, path=path) is not None


# Debian's package -> what shows that it is there.
PACKAGES: dict[str, Callable[[], bool]] = {
    "buildah": _tool("buildah"),
    "ca-certificates": lambda: Path("/etc/ssl/certs/ca-certificates.crt").exists(),
    "conntrack": _tool("conntrack"),
    "containerd": _tool("containerd"),
    "containernetworking-plugins": lambda: cni_folder() is not None,
    "iproute2": _tool("ip"),
    "iptables": _tool("iptables"),
    "mmdebstrap": _tool("mmdebstrap"),
    "nftables": _tool("nft"),
    "openssl": _tool("openssl"),
    "runc": _tool("runc"),
    "skopeo": _tool("skopeo"),
    "util-linux": _tool("nsenter"),
}


def missing_packages() -> list[str]:
    return [name for name, present in PACKAGES.items() if not present()]


def install_missing(layout: Layout) -> list[str]:
    """Install what is missing with apt-get, without recommended extras. Returns the names. Errors: StepError."""
    missing = missing_packages()
    if not missing:
        return []
    log = layout.cache / "logs" / "packages.log"
    remedy = f"install them yourself: apt-get install {' '.join(missing)}"
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update"], log=log, remedy=remedy, env=env)
    # The distribution would start its own containerd service; the node brings its own, on another socket.
    run(["apt-get", "install", "-y", "--no-install-recommends", *missing], log=log, remedy=remedy, env=env)
    return missing
