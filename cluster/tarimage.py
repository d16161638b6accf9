"""Images of one static program each (pause, CoreDNS, KServe's manager, the probe), written without any build tool."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

UID = "65532:65532"


def write(program: Path, entrypoint: str, reference: str, target: Path) -> None:
    """Write `target`, a docker-archive with `program` at /`entrypoint`; it is byte-identical for equal input."""
    layer = _tar({entrypoint: program.read_bytes()}, mode=0o755)
    layer_digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": [f"/{entrypoint}"], "User": UID},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    layer_name = f"{layer_digest}.tar"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [reference], "Layers": [layer_name]}]).encode()
    target.write_bytes(_tar({"manifest.json": manifest, config_name: config, layer_name: layer}, mode=0o644))


def _tar(files: dict[str, bytes], mode: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
