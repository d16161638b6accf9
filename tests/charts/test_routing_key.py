"""The key that signs what gateways obey: made once, found again, and nowhere but in its Secret and the operator's mount."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_tools import EXISTING, KUBE_VERSION, ROOT, helm, template

from tradewind.trading.signature import Signer

pytestmark = pytest.mark.e2e  # needs the helm that `make cluster` builds

CHART = str(ROOT / "charts" / "tradewind")
NAME = "tradewind-routing-key"


def secret(documents: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [d for d in documents if d["kind"] == "Secret" and d["metadata"]["name"] == NAME]
    return found


def deployment(documents: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [d for d in documents if d["kind"] == "Deployment"]
    pod: dict[str, Any] = found["spec"]["template"]["spec"]
    return pod


@contextmanager
def cluster_with(*secrets: dict[str, Any]) -> Iterator[int]:
    """An API server that has these Secrets and nothing else, as far as a chart that looks up can tell; its port."""
    found = {s["metadata"]["name"]: s for s in secrets}
    core = {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [{"name": "secrets", "singularName": "", "namespaced": True, "kind": "Secret", "verbs": ["get"]}],
    }
    fixed = {
        "/version": {"major": "1", "minor": "34", "gitVersion": f"v{KUBE_VERSION}"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "groups": []},
        "/api/v1": core,
    }

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            answer = fixed.get(path) or found.get(path.removeprefix("/api/v1/namespaces/desk/secrets/"))
            status = 200 if answer else 404
            body = json.dumps(answer or {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def upgraded(kept: dict[str, Any], folder: Path) -> Any:
    """What helm makes of the chart where the cluster has this Secret already."""
    with cluster_with(kept) as port:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            "users": [{"name": "x", "user": {}}],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config), encoding="utf-8")
        where = ("--kubeconfig", str(path), "--dry-run=server", "--kube-version", KUBE_VERSION, "-n", "desk")
        return helm("template", "tradewind", CHART, *where, *EXISTING)


def test_the_chart_makes_a_key_that_the_operator_can_use_and_keeps_it_on_uninstall() -> None:
    made = secret(template("tradewind", *EXISTING))
    assert made["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert set(made["stringData"]) == {"routing.key"}
    assert len(Signer(made["stringData"]["routing.key"].encode()).public_keys) == 1


def test_each_installation_has_a_key_of_its_own() -> None:
    keys = {
        secret(template("tradewind", *EXISTING, "--set", f"installation=i{n}"))["stringData"]["routing.key"]
        for n in (1, 2)
    }
    assert len(keys) == 2


def test_an_upgrade_finds_the_key_again(tmp_path: Path) -> None:
    key = secret(template("tradewind", *EXISTING))["stringData"]["routing.key"]
    kept = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": NAME, "namespace": "desk"},
        "data": {"routing.key": base64.b64encode(key.encode()).decode()},
    }
    made = upgraded(kept, tmp_path)
    assert made.returncode == 0, made.stderr
    again = secret([d for d in yaml.safe_load_all(made.stdout) if d])
    assert again["stringData"]["routing.key"] == key
    empty = upgraded({**kept, "data": {"other": "eA=="}}, tmp_path)
    assert empty.returncode != 0
    assert f"Secret {NAME} in namespace desk has no key routing.key" in empty.stderr


def test_it_lands_nowhere_but_in_its_secret_and_is_mounted_in_the_operator_alone() -> None:
    documents = template("tradewind", *EXISTING)
    key = secret(documents)["stringData"]["routing.key"]
    body = "".join(key.splitlines()[1:-1])
    others = json.dumps([d for d in documents if d["kind"] != "Secret"])
    assert body not in others
    assert base64.b64encode(key.encode()).decode() not in others
    users = [d for d in documents if NAME in json.dumps(d) and d["kind"] != "Secret"]
    assert [(d["kind"], d["metadata"]["name"]) for d in users] == [("Deployment", "tradewind-operator")]
    pod = deployment(documents)
    (volume,) = [v for v in pod["volumes"] if v["name"] == "routing-key"]
    assert volume["secret"] == {
        "secretName": NAME,
        "defaultMode": 0o440,
        "items": [{"key": "routing.key", "path": "routing.key"}],
    }
    (container,) = pod["containers"]
    (mount,) = [m for m in container["volumeMounts"] if m["name"] == "routing-key"]
    environment = {e["name"]: e.get("value") for e in container["env"]}
    assert mount["readOnly"] is True
    assert environment["TRADEWIND_ROUTING_KEY_FILE"] == f"{mount['mountPath']}/routing.key"


def test_a_key_of_ones_own_and_keys_that_overlap() -> None:
    old = Signer.generated().public_keys[0]
    own = ("--set", "routing.existingSecret.name=signing", "--set", "routing.existingSecret.key=tls.key")
    documents = template("tradewind", *EXISTING, *own, "--set", f"routing.trustedKeys[0]={old}")
    assert not [d for d in documents if d["kind"] == "Secret"]
    pod = deployment(documents)
    (volume,) = [v for v in pod["volumes"] if v["name"] == "routing-key"]
    assert volume["secret"]["secretName"] == "signing"
    assert volume["secret"]["items"] == [{"key": "tls.key", "path": "routing.key"}]
    environment = {e["name"]: e.get("value") for e in pod["containers"][0]["env"]}
    assert environment["TRADEWIND_ROUTING_TRUSTED_KEYS"] == old
