"""An API server of a block's own, on loopback: etcd and kube-apiserver without nodes, controllers or pods that run.

with running() as api:
    subprocess.run(["kubectl", "get", "namespaces"], env={**os.environ, "KUBECONFIG": str(api.kubeconfig("somebody"))})

Everything that is asked is answered as on a cluster, and nothing comes of it but what the caller does: no Deployment becomes a
pod. Who asked what is counted by user, in the audit log.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cluster.build import binaries
from cluster.layout import Layout
from workshop.progress import StepError
from workshop.waiting import wait_for

NEEDED = ("etcd", "kube-apiserver")
REMEDY = "`python3 cluster make` builds it once, 12 minutes on two cores"
# What is written of whom: a line an answered request of those that are counted, nothing of the others.
_AUDIT = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted, Panic]
rules:
  - {level: Metadata, users: [%s]}
  - {level: None}
"""


def missing() -> str | None:
    """Which program is not built; None: all are there."""
    folder = binaries(Layout.default())
    return next((str(folder / name) for name in NEEDED if not (folder / name).is_file()), None)


@contextmanager
def running(users: Sequence[str] = ("admin",), counted: Sequence[str] = ()) -> Iterator[ApiServer]:
    """A server that ends with the block, with all that it kept.

    Args:
        users: may do everything.
        counted: those of them whose requests are counted.

    Raises:
        StepError: its programs are not built, or it does not start.
    """
    lacking = missing()
    if lacking is not None:
        raise StepError(f"{lacking} is not there", REMEDY)
    folder = Path(tempfile.mkdtemp(prefix="tradewind-api-", dir="/tmp"))
    server = ApiServer(folder, tuple(users))
    try:
        server.start(counted)
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class ApiServer:
    """etcd and kube-apiserver in a folder of their own."""

    folder: Path
    users: tuple[str, ...]
    port: int = 0
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def audit(self) -> Path:
        return self.folder / "audit.log"

    def token(self, user: str) -> str:
        """By which the server knows a user."""
        return f"token-of-{user}"

    def kubeconfig(self, user: str) -> Path:
        """A file that leads here."""
        path = self.folder / f"{user}.kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": user, "namespace": "default"}}],
            "clusters": [{"name": "here", "cluster": {"server": self.url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": user, "user": {"token": self.token(user)}}],
        }
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return path

    def start(self, counted: Sequence[str]) -> None:
        """Start both and wait until requests are answered. Errors: StepError."""
        programs = binaries(Layout.default())
        store, peer, self.port = free_ports(3)
        tokens = "".join(f"{self.token(user)},{user},{user},system:masters\n" for user in self.users)
        (self.folder / "tokens.csv").write_text(tokens)
        (self.folder / "audit.yaml").write_text(_AUDIT % ", ".join(counted))
        key = self.folder / "service-accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        self._run(
            programs / "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{store}",
            f"--advertise-client-urls=http://127.0.0.1:{store}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )
        self._run(
            programs / "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{store}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self.folder / 'certs'}",
            "--endpoint-reconciler-type=none",
            "--advertise-address=192.0.2.1",
            "--service-cluster-ip-range=10.99.0.0/16",
            "--authorization-mode=RBAC",
            # Nobody makes ServiceAccounts of namespaces here, without which a pod would be refused.
            "--disable-admission-plugins=ServiceAccount",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--audit-policy-file={self.folder / 'audit.yaml'}",
            f"--audit-log-path={self.audit}",
        )
        wait_for(
            "the API server's /readyz",
            self._refusal,
            lambda told: not told,
            seconds=120,
            log=self.folder / "kube-apiserver.log",
            remedy=REMEDY,
        )

    def requests(self, since: int = 0) -> tuple[Counter[tuple[str, str, str]], int]:
        """Answered requests by (user, verb, resource) from a place in the log on, and where it ends now."""
        found: Counter[tuple[str, str, str]] = Counter()
        end = since
        if not self.audit.exists():
            return found, end
        with self.audit.open("rb") as log:
            log.seek(since)
            for line in log:
                if not line.endswith(b"\n"):
                    break  # still being written
                end += len(line)
                event = json.loads(line)
                what = event.get("objectRef") or {}
                resource = (
                    "/".join(filter(None, (what.get("resource"), what.get("subresource")))) or event["requestURI"]
                )
                found[event["user"]["username"], event["verb"], resource] += 1
        return found, end

    def stop(self) -> None:
        """End both, the store last."""
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        self.processes = []

    def _run(self, program: Path, *arguments: str) -> None:
        with (self.folder / f"{program.name}.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [str(program), *arguments], stdout=log, stderr=log, cwd="/", env={**os.environ, "KUBECONFIG": ""}
                )
            )

    def _refusal(self) -> str:
        for process in self.processes:
            if process.poll() is not None:
                name = Path(str(process.args[0])).name  # type: ignore[index]
                raise StepError(f"{name} ended at once", "see its log", self.folder / f"{name}.log")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=2, context=context)
        try:
            connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {self.token(self.users[0])}"})
            answer = connection.getresponse()
            body = answer.read().decode(errors="replace")
        except OSError as error:
            return str(error)
        finally:
            connection.close()
        return "" if answer.status == http.HTTPStatus.OK else body


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
