"""containerd and what lies below it: its start on clean metadata, image imports, and the end of every container."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from string import Template

from cluster import tarimage
from cluster.layout import CGROUP, IMAGE_PREFIX, Layout
from cluster.packages import CNI_FOLDERS, cni_folder
from cluster.shell import GENERAL_REMEDY, Processes, run, succeeds
from workshop.progress import StepError, say
from workshop.waiting import wait_for

CGROUP_ROOT = Path("/sys/fs/cgroup")
CRI_ROOT = "io.containerd.grpc.v1.cri"
SYSTEM_IMAGES = ("pause", "coredns", "kserve-manager", "probe")


def system_image(layout: Layout, name: str) -> str:
    """Reference of an image made from one of our programs; its tag is the hash of `cluster/go`."""
    return f"{IMAGE_PREFIX}/{name}:{layout.bin.resolve().name}"


def start(layout: Layout, processes: Processes) -> None:
    """Start containerd with the images of earlier clusters, but none of their containers."""
    shutil.rmtree(layout.containerd_root / CRI_ROOT, ignore_errors=True)
    layout.containerd_state.mkdir(parents=True, exist_ok=True)
    cni = layout.state / "cni"
    cni.mkdir(parents=True, exist_ok=True)
    templates = layout.here / "templates"
    conflist = Template((templates / "cni.conflist").read_text()).substitute(data=layout.state / "cni-data")
    (cni / "10-tradewind.conflist").write_text(conflist)
    config = Template((templates / "containerd.toml").read_text()).substitute(
        root=layout.containerd_root,
        state=layout.containerd_state,
        socket=layout.containerd_socket,
        pause_image=system_image(layout, "pause"),
        cni_bin=cni_folder() or CNI_FOLDERS[0],
        cni_conf=cni,
    )
    (layout.state / "containerd.toml").write_text(config)
    _launch(layout, processes)
    leftovers = ctr(layout, "containers", "list", "-q").split()
    if leftovers:
        # The CRI plugin read them when it started: remove them, then let it read again.
        ctr(layout, "containers", "delete", *leftovers)
        processes.stop("containerd")
        _launch(layout, processes)


def ctr(layout: Layout, *arguments: str | Path) -> str:
    """Run ctr in the namespace that the kubelet uses. Errors: StepError."""
    return run(["ctr", "--address", layout.containerd_socket, "--namespace", "k8s.io", *arguments])


def import_system_images(layout: Layout) -> None:
    """Import the one-program images that this containerd does not have yet."""
    present = image_targets(layout)
    for name in SYSTEM_IMAGES:
        reference = system_image(layout, name)
        if reference not in present:
            archive = layout.state / f"{name}.tar"
            tarimage.write(layout.bin / name, name, reference, archive)
            ctr(layout, "images", "import", archive)
            archive.unlink()


def image_targets(layout: Layout) -> dict[str, str]:
    """Reference -> digest of its manifest, for every image that containerd has."""
    rows = (line.split() for line in ctr(layout, "images", "list").splitlines()[1:])
    return {row[0]: row[2] for row in rows if len(row) > 2}


def delete_images(layout: Layout, references: list[str]) -> None:
    """Delete references, and the `sha256:` ones that the CRI plugin made for images that have no other name left."""
    for reference in references:
        ctr(layout, "images", "delete", reference)
    targets = image_targets(layout)
    named = {digest for reference, digest in targets.items() if not reference.startswith("sha256:")}
    for reference, digest in targets.items():
        if digest not in named:
            ctr(layout, "images", "delete", reference)


def end_all(layout: Layout, processes: Processes) -> None:
    """End every container, shim and finally containerd. The kubelet must be gone, or it would start them again."""
    with suppress(StepError):  # what is left is known to containerd
        wait_for("the pods' processes to end", _kill_pods, lambda left: not left, seconds=15, every=0.1)
    if processes.pid("containerd") is not None:
        for task in ctr(layout, "tasks", "list", "-q").split():
            succeeds(["ctr", "--address", layout.containerd_socket, "-n", "k8s.io", "tasks", "delete", "-f", task])
        for container in ctr(layout, "containers", "list", "-q").split():
            succeeds(["ctr", "--address", layout.containerd_socket, "-n", "k8s.io", "containers", "delete", container])
    for pid in shims(layout):
        _kill(pid)
    processes.stop("containerd")


def unmount_all(layout: Layout) -> None:
    """Unmount everything under the state folder and containerd's root, deepest first."""
    roots = tuple(f"{folder}/" for folder in (layout.state.resolve(), layout.containerd_root.resolve()))
    for _ in range(5):
        mounts = [
            line.split()[1].encode().decode("unicode_escape") for line in Path("/proc/mounts").read_text().splitlines()
        ]
        ours = sorted((mount for mount in mounts if mount.startswith(roots)), key=len, reverse=True)
        if not ours:
            return
        for mount in ours:
            subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)


def make_cgroups() -> None:
    """Create our cgroup in every hierarchy (version 1), or in the one (version 2): the kubelet wants to find it."""
    for hierarchy in _hierarchies():
        (hierarchy / CGROUP).mkdir(exist_ok=True)


def remove_cgroups() -> None:
    """Remove our cgroups, children first; the kernel refuses those in use."""
    for hierarchy in _hierarchies():
        root = hierarchy / CGROUP
        for folder, _, _ in os.walk(root, topdown=False):  # unlike rglob, it passes over what goes meanwhile
            _rmdir(Path(folder))


def shims(layout: Layout) -> list[int]:
    """Pids of the container shims that serve our containerd, known by its socket on their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if "containerd-shim" in arguments[0] and str(layout.containerd_socket) in arguments:
                found.append(int(folder.name))
    return found


def _launch(layout: Layout, processes: Processes) -> None:
    processes.start("containerd", ["containerd", "--config", layout.state / "containerd.toml"])
    version = ["ctr", "--address", str(layout.containerd_socket), "--connect-timeout", "1s", "version"]

    def answers() -> bool:
        processes.require("containerd")
        return layout.containerd_socket.exists() and succeeds(version)

    log = processes.log("containerd")
    wait_for("containerd's socket", answers, seconds=30, remedy=GENERAL_REMEDY, log=log, say=say)


def _hierarchies() -> list[Path]:
    if (CGROUP_ROOT / "cgroup.controllers").exists():
        return [CGROUP_ROOT]
    return [folder for folder in CGROUP_ROOT.iterdir() if folder.is_dir() and not folder.is_symlink()]


def _cgroup_pids() -> Iterator[int]:
    """Everything that runs in our cgroup was started by our kubelet."""
    seen: set[int] = set()
    for hierarchy in _hierarchies():
        for folder, _, _ in os.walk(hierarchy / CGROUP):  # unlike rglob, it passes over what goes meanwhile
            try:
                seen.update(int(line) for line in (Path(folder) / "cgroup.procs").read_text().split())
            except OSError:
                continue
    yield from seen - {os.getpid()}


def _kill_pods() -> list[int]:
    """Pids that were still there."""
    pids = list(_cgroup_pids())
    for pid in pids:
        _kill(pid)
    return pids


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _rmdir(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
