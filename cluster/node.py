"""The node: control plane, kubelet, kube-proxy and cluster DNS, started in order, each awaited.

A cluster is always made fresh: etcd's data dies with its processes, and so do the volumes. Images survive.
"""

from __future__ import annotations

import shutil
import subprocess
from http import HTTPStatus
from pathlib import Path
from string import Template

from cluster import certs, containers, netns
from cluster.layout import (
    API_PORT,
    CGROUP,
    DNS_ADDRESS,
    NETNS,
    NODE_ADDRESS,
    NODE_NAME,
    POD_CIDR,
    SERVICE_CIDR,
    Layout,
)
from cluster.shell import GENERAL_REMEDY, Processes
from workshop.client import Answer, Cluster, is_true, state
from workshop.namespace import Namespace
from workshop.progress import Progress, StepError, say
from workshop.waiting import wait_for

PROCESSES = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "containerd",
    "kubelet",
    "kube-proxy",
)
DATABASE = "http://127.0.0.1:2379"


def processes_of(layout: Layout) -> Processes:
    return Processes(records=layout.records, logs=layout.logs)


def missing_processes(layout: Layout) -> list[str]:
    """Names of the node's processes that do not run."""
    processes = processes_of(layout)
    return [name for name in PROCESSES if processes.pid(name) is None]


def refuse_foreign(layout: Layout) -> None:
    """Raise when the network namespace carries a cluster with another cache folder (another user's, say)."""
    listed = subprocess.run(["ip", "netns", "pids", NETNS], capture_output=True, text=True, check=False).stdout
    for pid in listed.split():
        try:
            program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
        except OSError:
            continue
        if program.endswith("/kube-apiserver") and not program.startswith(f"{layout.state}/"):
            reason = f"another cluster runs here: {program}, pid {pid}"
            raise StepError(reason, "use it or stop it with the XDG_CACHE_HOME it was started with")


def start(layout: Layout, kube: Cluster, binaries: Path, progress: Progress) -> None:
    """Start a fresh node; `stop` must have run. Errors: StepError."""
    processes = processes_of(layout)
    layout.state.mkdir(parents=True, exist_ok=True)
    layout.volumes.mkdir(exist_ok=True)
    layout.bin.symlink_to(binaries)
    (layout.state / "resolv.conf").write_text("# empty on purpose: nothing outside the cluster can be resolved\n")
    with progress.step("network namespace, certificates"):
        netns.up()
        certs.make_all(layout.certs)
        shutil.copyfile(layout.certs / "admin.kubeconfig", layout.kubeconfig)
        layout.kubeconfig.chmod(0o600)
    with progress.step("etcd, kube-apiserver", waits_for="the API to be ready"):
        _start_api(layout, processes)
        wait_for_api(kube, processes, seconds=90, remedy=GENERAL_REMEDY)
    with progress.step("controllers, scheduler, containerd, system images"):
        _start_controllers(layout, processes)
        containers.start(layout, processes)
        containers.import_system_images(layout)
    with progress.step("kubelet, kube-proxy, CoreDNS", waits_for="the node and cluster DNS"):
        _start_kubelet(layout, processes)
        manifest = Template((layout.here / "manifests/coredns.yaml").read_text())
        image = containers.system_image(layout, "coredns")
        kube.apply(manifest.substitute(dns=DNS_ADDRESS, image=image), patience_seconds=10)
        remedy = f"`{layout.bin}/kubectl describe node` and the logs in {layout.logs} say more"
        wait_for(
            "node Ready",
            lambda: kube.get("Node", NODE_NAME),
            lambda node: _running(processes, *PROCESSES) and is_true(node, "Ready"),
            seconds=120,
            show=state,
            say=say,
            remedy=remedy,
            log=processes.log("kubelet"),
        )
        Namespace(kube, "kube-system", say).wait_available("coredns", seconds=120)


def wait_for_api(kube: Cluster, processes: Processes, *, seconds: float, remedy: str) -> None:
    """Until the API server says that it is ready. Errors: StepError, at once when it or etcd has ended."""

    def ready(answer: Answer) -> bool:
        return _running(processes, "etcd", "kube-apiserver") and answer.status == HTTPStatus.OK

    log = processes.log("kube-apiserver")
    wait_for("the API server's /readyz", kube.readiness, ready, seconds=seconds, say=say, remedy=remedy, log=log)


def stop(layout: Layout) -> None:
    """End every process, mount, namespace and interface of the cluster, and delete its state (not its images).

    Errors: StepError when the namespace belongs to a cluster with another cache folder; that one is left alone.
    """
    refuse_foreign(layout)
    processes = processes_of(layout)
    processes.stop("kubelet", seconds=5)
    containers.end_all(layout, processes)
    for name in ("kube-proxy", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
        processes.stop(name, seconds=5)
    containers.unmount_all(layout)
    containers.remove_cgroups()
    netns.down()
    _remove_traces(layout)
    if layout.state.exists():
        for entry in layout.state.iterdir():
            # The logs tell why a cluster died, so they stay until the next start overwrites them.
            if entry.name == "logs":
                continue
            if entry.is_symlink() or not entry.is_dir():
                entry.unlink()
            else:
                shutil.rmtree(entry)


def _start_api(layout: Layout, processes: Processes) -> None:
    pki = layout.certs
    etcd_data = layout.state / "etcd"
    etcd_data.mkdir(mode=0o700)
    processes.start(
        "etcd",
        [
            layout.bin / "etcd",
            f"--data-dir={etcd_data}",
            f"--listen-client-urls={DATABASE}",
            f"--advertise-client-urls={DATABASE}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=default=http://127.0.0.1:2380",
            # The data is not meant to survive a crash.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ],
    )
    processes.start(
        "kube-apiserver",
        [
            layout.bin / "kube-apiserver",
            f"--etcd-servers={DATABASE}",
            f"--advertise-address={NODE_ADDRESS}",
            f"--secure-port={API_PORT}",
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            "--authorization-mode=Node,RBAC",
            "--anonymous-auth=false",
            "--allow-privileged=true",
            "--enable-admission-plugins=NodeRestriction",
            f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
            f"--kubelet-client-key={pki}/apiserver-kubelet.key",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki}/sa.pub",
            f"--service-account-signing-key-file={pki}/sa.key",
        ],
    )


def _start_controllers(layout: Layout, processes: Processes) -> None:
    pki = layout.certs
    processes.start(
        "kube-controller-manager",
        [
            layout.bin / "kube-controller-manager",
            f"--kubeconfig={pki}/controller-manager.kubeconfig",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={pki}/sa.key",
            f"--root-ca-file={pki}/ca.crt",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
        ],
    )
    processes.start(
        "kube-scheduler",
        [
            layout.bin / "kube-scheduler",
            f"--kubeconfig={pki}/scheduler.kubeconfig",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
        ],
    )


def _start_kubelet(layout: Layout, processes: Processes) -> None:
    containers.make_cgroups()
    values = {
        "certs": layout.certs,
        "state": layout.state,
        "socket": layout.containerd_socket,
        "cgroup": CGROUP,
        "dns": DNS_ADDRESS,
        "node_address": NODE_ADDRESS,
        "node_name": NODE_NAME,
        "pod_cidr": POD_CIDR,
    }
    for name in ("kubelet.yaml", "kube-proxy.yaml"):
        (layout.state / name).write_text(Template((layout.here / "templates" / name).read_text()).substitute(values))
    processes.start(
        "kubelet",
        [
            layout.bin / "kubelet",
            f"--config={layout.state}/kubelet.yaml",
            f"--kubeconfig={layout.certs}/kubelet.kubeconfig",
            f"--root-dir={layout.state}/kubelet",
            f"--cert-dir={layout.state}/kubelet-certs",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={NODE_ADDRESS}",
        ],
    )
    processes.start("kube-proxy", [layout.bin / "kube-proxy", f"--config={layout.state}/kube-proxy.yaml"])


def _running(processes: Processes, *names: str) -> bool:
    """Raise as soon as one of them has ended, instead of waiting for the timeout."""
    for name in names:
        processes.require(name)
    return True


def _remove_traces(layout: Layout) -> None:
    """What the kubelet and the network plugins write outside the state folder, whatever their configuration says."""
    links = Path("/var/log/containers")
    for link in links.iterdir() if links.is_dir() else []:
        if link.is_symlink() and str(link.readlink()).startswith(f"{layout.state}/"):
            link.unlink()
    results = Path("/var/lib/cni/results")
    for result in results.iterdir() if results.is_dir() else []:
        if f"{layout.containerd_state}/" in result.read_text(errors="replace"):
            result.unlink()
