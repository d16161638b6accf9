"""Keys, certificates and kubeconfig files, made with openssl: one authority signs everything in the cluster."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from cluster.layout import API_PORT, HOST_ADDRESS, NODE_ADDRESS, NODE_NAME, SERVICE_FIRST_ADDRESS
from cluster.shell import run

DAYS = "3650"
KSERVE_WEBHOOK = "kserve-webhook-server-service.kserve.svc"


@dataclass(frozen=True)
class Identity:
    """One certificate. `names`: subjectAltName entries of a server; a client has none."""

    file: str
    common_name: str
    organization: str = ""
    names: tuple[str, ...] = ()


IDENTITIES = (
    Identity(
        "apiserver",
        "kube-apiserver",
        names=(
            "DNS:kubernetes",
            "DNS:kubernetes.default",
            "DNS:kubernetes.default.svc",
            "DNS:kubernetes.default.svc.cluster.local",
            "DNS:localhost",
            f"IP:{SERVICE_FIRST_ADDRESS}",
            f"IP:{NODE_ADDRESS}",
            f"IP:{HOST_ADDRESS}",
            "IP:127.0.0.1",
        ),
    ),
    Identity("kubelet-server", f"system:node:{NODE_NAME}", names=(f"DNS:{NODE_NAME}", f"IP:{NODE_ADDRESS}")),
    Identity("kserve-webhook", KSERVE_WEBHOOK, names=(f"DNS:{KSERVE_WEBHOOK}", f"DNS:{KSERVE_WEBHOOK}.cluster.local")),
    Identity("admin", "tradewind-admin", "system:masters"),
    Identity("apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters"),
    Identity("controller-manager", "system:kube-controller-manager"),
    Identity("scheduler", "system:kube-scheduler"),
    Identity("kubelet", f"system:node:{NODE_NAME}", "system:nodes"),
    Identity("proxy", "system:kube-proxy"),
)
KUBECONFIGS = ("admin", "controller-manager", "scheduler", "kubelet", "proxy")


def make_all(folder: Path) -> None:
    """Write `ca`, every identity, the service-account key pair and the kubeconfigs into `folder` (mode 0700)."""
    folder.mkdir(parents=True, mode=0o700)
    # Python 3.13 verifies strictly: a CA must say that it signs certificates.
    usage = ("-addext", "keyUsage=critical,digitalSignature,keyCertSign,cRLSign")
    subject = ("-subj", "/CN=tradewind-ca")
    _openssl("req", "-x509", *_new_key(folder, "ca"), "-days", DAYS, *subject, *usage, "-out", folder / "ca.crt")
    for identity in IDENTITIES:
        _issue(folder, identity)
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", folder / "sa.key")
    _openssl("pkey", "-in", folder / "sa.key", "-pubout", "-out", folder / "sa.pub")
    for name in KUBECONFIGS:
        (folder / f"{name}.kubeconfig").write_text(kubeconfig(folder, name))
    for path in folder.iterdir():
        path.chmod(0o600)


def kubeconfig(folder: Path, name: str) -> str:
    """A kubeconfig (JSON is YAML) with the certificate of identity `name` inside."""
    cluster = {"server": f"https://{NODE_ADDRESS}:{API_PORT}", "certificate-authority-data": encoded(folder / "ca.crt")}
    user = {
        "client-certificate-data": encoded(folder / f"{name}.crt"),
        "client-key-data": encoded(folder / f"{name}.key"),
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tradewind", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "tradewind", "context": {"cluster": "tradewind", "user": name, "namespace": "default"}}],
        "current-context": "tradewind",
    }
    return json.dumps(document, indent=1) + "\n"


def encoded(path: Path) -> str:
    """Contents in base64, as kubeconfigs and Secrets want them."""
    return base64.b64encode(path.read_bytes()).decode()


def _issue(folder: Path, identity: Identity) -> None:
    subject = (f"/O={identity.organization}" if identity.organization else "") + f"/CN={identity.common_name}"
    request = folder / f"{identity.file}.csr"
    extensions = folder / f"{identity.file}.ext"
    lines = ["basicConstraints=CA:FALSE", "keyUsage=digitalSignature"]
    if identity.names:
        lines += ["extendedKeyUsage=serverAuth", f"subjectAltName={','.join(identity.names)}"]
    else:
        lines += ["extendedKeyUsage=clientAuth"]
    extensions.write_text("\n".join(lines) + "\n")
    _openssl("req", *_new_key(folder, identity.file), "-subj", subject, "-out", request)
    signer = ("-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-CAcreateserial")
    out = ("-days", DAYS, "-extfile", extensions, "-out", folder / f"{identity.file}.crt")
    _openssl("x509", "-req", "-in", request, *signer, *out)
    request.unlink()
    extensions.unlink()


def _new_key(folder: Path, name: str) -> tuple[str | Path, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", folder / f"{name}.key")


def _openssl(*arguments: str | Path) -> None:
    run(["openssl", *arguments], remedy="`openssl version` must say 3.0 or newer")
