"""Where things lie and which addresses the cluster uses. No behaviour beyond joining paths."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

NETNS = "tradewind"
NODE_NAME = "tradewind"
HOST_LINK = "tradewind0"
HOST_ADDRESS = "10.97.0.1"
NODE_ADDRESS = "10.97.0.2"
LINK_PREFIX = 30
DEAD_END_ADDRESS = "10.97.1.1"
DEAD_END_GATEWAY = "10.97.1.2"
SERVICE_CIDR = "10.96.0.0/16"
SERVICE_FIRST_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"
POD_CIDR = "10.244.0.0/16"
API_PORT = 6443
CGROUP = "tradewind"
IMAGE_PREFIX = "docker.io/tradewind"


def cache_root() -> Path:
    """`$XDG_CACHE_HOME/tradewind`, or `~/.cache/tradewind`: outside every checkout, so that clones share it."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "tradewind"


@dataclass(frozen=True)
class Layout:
    """Every folder the driver writes to. `cache` outlives `down`; `state` describes one cluster and dies with it."""

    cache: Path
    repo: Path

    @classmethod
    def default(cls) -> Layout:
        return cls(cache=cache_root(), repo=Path(__file__).resolve().parent.parent)

    @property
    def here(self) -> Path:
        return self.repo / "cluster"

    @property
    def state(self) -> Path:
        return self.cache / "cluster"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def records(self) -> Path:
        return self.state / "processes"

    @property
    def certs(self) -> Path:
        return self.state / "certs"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment with our cluster's KUBECONFIG and programs."""
        path = f"{self.bin}:{os.environ.get('PATH', '')}"
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": path}

    @property
    def volumes(self) -> Path:
        """Parent of every hostPath PersistentVolume."""
        return self.state / "volumes"

    @property
    def bin(self) -> Path:
        """A link to the folder of the binaries that this cluster runs."""
        return self.state / "bin"

    @property
    def containerd_root(self) -> Path:
        """Images and snapshots: a cache, kept by `down`."""
        return self.cache / "containerd"

    @property
    def containerd_state(self) -> Path:
        return self.state / "containerd"

    @property
    def containerd_socket(self) -> Path:
        return self.containerd_state / "containerd.sock"

    @property
    def ready_marker(self) -> Path:
        return self.state / "ready.json"

    @property
    def timings(self) -> Path:
        return self.cache / "timings.json"
