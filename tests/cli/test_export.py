"""`tradewind export`: an image is its files and its labels, nothing is written that was not verified, and skopeo takes it as it is."""

import hashlib
import json
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from api_double import JSONHandler, write_config
from tradewind.api.registry import KINDS
from tradewind.cli import oci_layout
from tradewind.main import cli
from tradewind.trading.artifact import artifact_sha256, sums_text

API = "/apis/tradewind.dev/v1alpha1"
FILES = {
    "adapter_config.json": b"{}",
    "adapter_model.safetensors": b"\1" * (1 << 20),
    "nested/deeper/card.md": b"# card\n",
}
Json = dict[str, Any]


class Server(ThreadingHTTPServer):
    """ModelVersions by name."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.versions: dict[str, Json] = {}


class Handler(JSONHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix(API)
        if path == "":
            return self.answer({"resources": [{"name": k.plural, "kind": k.kind, "namespaced": True} for k in KINDS]})
        *_, plural, name = f"{path}/".split("/")[:5] if path.count("/") == 4 else (*path.split("/"), "")
        if not name:
            return self.answer({"metadata": {"resourceVersion": "1"}, "items": list(self.server.versions.values())})
        assert plural == "modelversions"
        found = self.server.versions.get(name)
        return self.answer(found) if found else self.answer({"message": "not found"}, 404)


def body(name: str, spec: Json, **status: Any) -> Json:
    meta = {"name": name, "namespace": "trading", "uid": f"uid-{name}", "creationTimestamp": "2026-02-01T00:00:00Z"}
    return {
        "apiVersion": "tradewind.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": meta,
        "spec": spec,
        "status": status,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A published adapter."""
    made = tmp_path / "adapter"
    for path, content in FILES.items():
        made.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
        made.joinpath(path).write_bytes(content)
    made.joinpath("SHA256SUMS").write_text(sums_text(hashes()))
    return made


def hashes() -> dict[str, str]:
    return {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    base = {"uri": "pvc://models/base", "revision": "rev-7", "sha256": "b1" * 32}
    adapter = {"uri": "pvc://claim/v1", "sha256": artifact_sha256(hashes()), "baseModel": base, "trainingRun": "r1"}
    made.versions["v1"] = body(
        "v1",
        {"adapter": adapter},
        provenance={"datasetSha256": "d1" * 32, "watermark": "2026-01-31T08:00:00+08:00"},
    )
    external = {"baseURL": "https://api.test/v1", "model": "m", "secretRef": {"name": "key", "key": "api-key"}}
    made.versions["api"] = body("api", {"external": external})
    store = {"region": "us-east-1", "serviceAccountName": "reader"}
    made.versions["stored"] = body("stored", {"model": {"uri": "s3://bucket/m", "sha256": "0f" * 32, "store": store}})
    threading.Thread(target=made.serve_forever, daemon=True).start()
    write_config(tmp_path / "config", monkeypatch, f"http://127.0.0.1:{made.server_port}", namespace="trading")
    yield made
    made.shutdown()
    made.server_close()


def export(folder: Path, target: Path, *more: str) -> int:
    return cli(["export", "modelversion/v1", "--from", str(folder), "--to", f"oci:{target}", *more])


def blob(layout: Path, descriptor: Json) -> bytes:
    data = (layout / "blobs" / "sha256" / descriptor["digest"].removeprefix("sha256:")).read_bytes()
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" == descriptor["digest"]
    assert len(data) == descriptor["size"]
    return data


def image(layout: Path) -> tuple[Json, Json]:
    """Manifest and config of the only image."""
    (entry,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    manifest = json.loads(blob(layout, entry))
    return manifest, json.loads(blob(layout, manifest["config"]))


def test_the_image_has_the_files_under_models_and_says_where_they_come_from(
    server: Server, folder: Path, tmp_path: Path, capsys: Any
) -> None:
    assert export(folder, tmp_path / "out") == 0
    said = capsys.readouterr().out
    manifest, config = image(tmp_path / "out")
    (entry,) = json.loads((tmp_path / "out" / "index.json").read_bytes())["manifests"]
    assert entry["digest"] in said
    found = {}
    for layer, diff in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        blob(tmp_path / "out", layer)
        assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
        assert diff == layer["digest"]
        with tarfile.open(tmp_path / "out" / "blobs" / "sha256" / layer["digest"][7:]) as tar:
            for member in tar:
                assert (member.uid, member.gid, member.uname, member.mtime) == (0, 0, "", 0)
                if member.isfile():
                    stream = tar.extractfile(member)
                    assert stream is not None
                    found[member.name] = stream.read()
    sums = sums_text(hashes()).encode()
    assert found == {f"models/{path}": content for path, content in FILES.items()} | {"models/SHA256SUMS": sums}
    assert len(manifest["layers"]) == 2  # the large file by itself
    labels = config["config"]["Labels"]
    assert labels == manifest["annotations"]
    prefix = "dev.tradewind."
    assert labels[f"{prefix}sha256"] == artifact_sha256(hashes())
    assert labels[f"{prefix}watermark"] == "2026-01-31T00:00:00Z"
    assert (labels[f"{prefix}training-run"], labels[f"{prefix}base-revision"]) == ("r1", "rev-7")


def test_the_same_version_is_the_same_image(server: Server, folder: Path, tmp_path: Path) -> None:
    assert export(folder, tmp_path / "one") == 0
    copy = shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copy)  # other times
    copy.joinpath("adapter_config.json").chmod(0o600)
    server.versions["v1"]["metadata"] |= {"uid": "another", "creationTimestamp": "2026-03-01T00:00:00Z"}
    assert export(copy, tmp_path / "two") == 0
    assert (tmp_path / "one" / "index.json").read_bytes() == (tmp_path / "two" / "index.json").read_bytes()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: f.joinpath("adapter_model.safetensors").write_bytes(b"\1" * 9), "adapter_model.safetensors is another one or was cut"),
        (lambda f: f.joinpath("nested/deeper/card.md").unlink(), "nested/deeper/card.md is missing"),
        (lambda f: f.joinpath("more.bin").write_bytes(b""), "more.bin is not of it"),
        (lambda f: (f / "SHA256SUMS").unlink() or (f / "adapter_config.json").unlink(), "it has no SHA256SUMS"),
        (lambda f: f.joinpath("SHA256SUMS").write_text("0  x\n"), "does not name the files beside it"),
    ],
)  # fmt: skip
def test_other_files_are_refused_before_anything_is_written(
    change: Any, told: str, server: Server, folder: Path, tmp_path: Path, capsys: Any
) -> None:
    change(folder)
    before = {path.name for path in tmp_path.iterdir()}
    assert export(folder, tmp_path / "out") == 1
    assert told in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_file_that_changes_while_it_is_packed_leaves_nothing(
    server: Server, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    packed = oci_layout._pack

    def pack(tar: Any, file: Path, *more: str) -> None:
        if file.name == "card.md":
            file.write_bytes(b"# CARD\n")
        packed(tar, file, *more)

    monkeypatch.setattr(oci_layout, "_pack", pack)
    assert export(folder, tmp_path / "out") == 1
    assert "changed while it was read" in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_what_is_there_stays(server: Server, folder: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "out").mkdir()
    assert export(folder, tmp_path / "out") == 1
    assert "exists; name a folder that does not" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (
            ["modelversion/api", "--to", "oci:x", "--from", "."],
            1,
            "api is an external API: its weights are its provider's",
        ),
        (["modelversion/v1", "--to", "oci:x"], 2, "copy it from a pod that mounts the claim claim"),
        (["modelversion/stored", "--to", "x"], 2, "copy s3://bucket/m with the client of that store"),
        (["modelversion/v1", "--to", "oci:x", "--from", "/nowhere"], 2, "/nowhere is no folder"),
        (["modelversion/v1", "--to", "docker:x"], 2, "write oci:PATH"),
        (["modelversion/v1", "--to", "oci:"], 2, "a path is missing"),
        (["modelversion/vv", "--to", "oci:x"], 1, "did you mean v1?"),
        (["endpoint/e", "--to", "oci:x"], 2, "a ModelVersion is exported"),
        (["modelversion", "--to", "oci:x"], 2, "write one, as modelversion/NAME"),
    ],
)
def test_what_cannot_be_exported_is_said(words: list[str], code: int, told: str, server: Server, capsys: Any) -> None:
    assert cli(["export", *words]) == code
    assert told in capsys.readouterr().err


def test_a_base_comes_below_and_is_verified(server: Server, folder: Path, tmp_path: Path, capsys: Any) -> None:
    base = tmp_path / "base"
    tool = tmp_path / "tools"
    tool.mkdir()
    tool.joinpath("sh").write_bytes(b"#!")
    of_tool = {"sh": hashlib.sha256(b"#!").hexdigest()}
    oci_layout.write_layout(base, tool, of_tool, name="box", labels={"of": "base"})
    assert export(folder, tmp_path / "out", "--base", f"oci:{base}:box") == 0
    below, above = image(base), image(tmp_path / "out")
    assert above[0]["layers"][:1] == below[0]["layers"]
    assert above[1]["rootfs"]["diff_ids"][:1] == below[1]["rootfs"]["diff_ids"]
    assert len(above[1]["rootfs"]["diff_ids"]) == len(above[0]["layers"]) == 3
    assert above[1]["config"]["Labels"]["of"] == "base"
    blob(tmp_path / "out", above[0]["layers"][0])
    assert export(folder, tmp_path / "other", "--base", f"oci:{base}:elsewhere") == 1
    assert "has 0 such images" in capsys.readouterr().err
    (base / "blobs" / "sha256" / below[0]["layers"][0]["digest"][7:]).write_bytes(b"other")
    assert export(folder, tmp_path / "other", "--base", f"oci:{base}") == 1
    assert "is damaged" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    assert export(folder, tmp_path / "other", "--base", f"oci:{tool}") == 1
    assert "is no OCI image layout" in capsys.readouterr().err


def test_many_large_files_share_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oci_layout, "_LARGE", 1)
    shards = {f"model-{at:03}.safetensors": bytes([at]) for at in range(163)}
    (tmp_path / "m").mkdir()
    for path, content in shards.items():
        (tmp_path / "m" / path).write_bytes(content)
    found = {path: hashlib.sha256(content).hexdigest() for path, content in shards.items()}
    oci_layout.write_layout(tmp_path / "out", tmp_path / "m", found, name="m", labels={})
    manifest, _ = image(tmp_path / "out")
    assert len(manifest["layers"]) == 55  # three shards each, of at most 64 layers


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_takes_it_as_it_is(server: Server, folder: Path, tmp_path: Path) -> None:
    assert export(folder, tmp_path / "out") == 0
    source = f"oci:{tmp_path / 'out'}:v1"
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "--preserve-digests", source, f"oci-archive:{tmp_path / 'a.tar'}:v1"],
        check=True,
        capture_output=True,
    )
    told = json.loads(subprocess.run(["skopeo", "inspect", source], check=True, capture_output=True).stdout)
    (entry,) = json.loads((tmp_path / "out" / "index.json").read_bytes())["manifests"]
    assert told["Digest"] == entry["digest"]
    assert told["Labels"]["dev.tradewind.modelversion"] == "v1"
