"""What an interrupted helm leaves behind, told by helm itself; the API server is the little that helm asks of one."""

import base64
import gzip
import json
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from workshop import charts
from workshop.client import Cluster

BUILT = Path.home() / ".cache" / "tradewind" / "cluster" / "bin"
HELM = shutil.which("helm", path=f"{os.environ['PATH']}:{BUILT}")
pytestmark = pytest.mark.skipif(HELM is None, reason="helm is not built yet: `make cluster`")


def record(release: str, revision: int, status: str) -> dict[str, Any]:
    """A release as helm stores it."""
    info = {"first_deployed": "2026-01-01T00:00:00Z", "last_deployed": "2026-01-01T00:00:00Z", "status": status}
    chart = {"metadata": {"name": release, "version": "1.0.0", "apiVersion": "v2"}}
    text = json.dumps({"name": release, "info": info, "chart": chart, "version": revision, "namespace": "there"})
    stored = base64.b64encode(base64.b64encode(gzip.compress(text.encode()))).decode()
    labels = {"owner": "helm", "name": release, "status": status, "version": str(revision)}
    metadata = {"name": f"sh.helm.release.v1.{release}.v{revision}", "namespace": "there", "labels": labels}
    return {"metadata": metadata, "type": "helm.sh/release.v1", "data": {"release": stored}}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[Cluster, list[dict[str, Any]]]]:
    records: list[dict[str, Any]] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body: dict[str, Any] = {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
            if "/secrets" in self.path:
                body = {"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": records}
            text = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    named = [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}]
    config = {
        "apiVersion": "v1", "kind": "Config", "clusters": named, "users": [{"name": "u", "user": {}}], "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }  # fmt: skip
    (tmp_path / "config").write_text(json.dumps(config))
    assert HELM is not None
    env = {
        "PATH": f"{Path(HELM).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "KUBECONFIG": str(tmp_path / "config"),
    }
    with Cluster(env) as found:
        yield found, records
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("states", "revision"),
    [
        ([], None), (["deployed"], None), (["superseded", "deployed"], None), (["failed"], None), (["pending-install"], 1),
        (["deployed", "pending-upgrade"], 2), (["superseded", "deployed", "pending-rollback"], 3),
    ],
)  # fmt: skip
def test_a_pending_record_is_known_by_its_name(
    states: list[str], revision: int | None, cluster: tuple[Cluster, list[dict[str, Any]]]
) -> None:
    found, records = cluster
    records += [record("tradewind", number, state) for number, state in enumerate(states, 1)]
    records.append(record("tradewind-crds", 7, "pending-install"))
    expected = None if revision is None else f"sh.helm.release.v1.tradewind.v{revision}"
    assert charts.interrupted(found, "there", "tradewind") == expected
    assert charts.interrupted(found, "there", "tradewind-crds") == "sh.helm.release.v1.tradewind-crds.v7"
