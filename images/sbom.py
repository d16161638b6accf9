"""`python3 sbom.py NAME`: the CycloneDX 1.6 list of what is installed in the image that this runs in.

Runs inside every image while it is built, with the standard library alone: a tool that has to be installed would be in its own
list. Debian packages come from dpkg's status, Python distributions from their metadata, each with the hash of the wheel that
the lock beside this file allowed. The same content gives the same bytes: no time, no random number.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import sys
import uuid
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

STATUS = "var/lib/dpkg/status"
RELEASE = "usr/lib/os-release"
Json = dict[str, Any]
Lock = dict[str, tuple[str, dict[str, str]]]

_PINNED = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\]+?))? \\$")
_HASH = re.compile(r"^    --hash=sha256:([0-9a-f]{64})(?: \\)?$")
_ARCHITECTURES = re.compile(r"^    # ((?:any|[a-z0-9_]+(?:, [a-z0-9_]+)*))$")


def read_lock(text: str) -> Lock:
    """Name -> version, and SHA-256 of the wheel by architecture (`any` alone: one wheel for all). Errors: ValueError."""
    found: Lock = {}
    name, hashes = "", list[str]()
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        if pinned := _PINNED.match(line):
            name, hashes = pinned["name"], []
            found[name] = (pinned["version"], {})
        elif allowed := _HASH.match(line):
            hashes.append(allowed[1])
        elif listed := _ARCHITECTURES.match(line):
            found[name][1].update(zip(listed[1].split(", "), hashes, strict=True))
        else:
            raise ValueError(f"not a line of a lock: {line!r}; `python constraints/lock.py` makes them anew")
    if without := sorted(name for name, (_, allowed) in found.items() if not allowed):
        raise ValueError(f"no hash for {', '.join(without)}")
    return found


def debian(status: str, release: str) -> Iterator[Json]:
    """A component for each installed package. `status`: of dpkg; `release`: os-release, for the distribution's name."""
    fields: dict[str, str] = dict(re.findall(r'^(ID|VERSION_ID)="?([^"\n]*)"?$', release, re.MULTILINE))
    vendor = fields.get("ID", "debian")
    distro = "-".join(fields[key] for key in ("ID", "VERSION_ID") if fields.get(key))
    for paragraph in status.split("\n\n"):
        entry: dict[str, str] = dict(re.findall(r"^(\S+): (.*)$", paragraph, re.MULTILINE))
        if not entry.get("Status", "").endswith(" installed"):
            continue
        name, version, architecture = entry["Package"], entry["Version"], entry["Architecture"]
        purl = f"pkg:deb/{vendor}/{quote(name, safe='')}@{quote(version, safe='')}?arch={architecture}"
        if distro:
            purl += f"&distro={distro}"
        source = entry.get("Source", name)
        yield _component(name, version, purl, {"debian:source": source})


def python(found: Iterable[Distribution], own: str, lock: Lock, machine: str) -> Iterator[Json]:
    """A component for each distribution. Errors: ValueError where one is not what the lock allowed.

    own: the folder whose distributions are held to the lock; others came with the base. machine: as `platform.machine()`.
    """
    for distribution in found:
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        version = distribution.version
        component = _component(name, version, f"pkg:pypi/{name}@{quote(version, safe='')}", {})
        folder = str(distribution.locate_file(""))
        component["properties"] = [{"name": "tradewind:folder", "value": folder}]
        for expression in distribution.metadata.get_all("License-Expression") or ():
            component["licenses"] = [{"expression": expression}]
        if folder.startswith(own):
            locked, hashes = lock.get(name, ("none of it", {}))
            if locked != version:
                raise ValueError(f"{name} {version} is installed, and the lock allowed {locked}")
            component["hashes"] = [{"alg": "SHA-256", "content": hashes.get(machine) or hashes["any"]}]
        yield component


def golang(listed: str) -> Iterator[Json]:
    """A component for each module in the output of `go version -m PROGRAM`, with the sum that go.sum held it to.

    A module that another one replaces, and our own, have no sum there, and are left out; Go's own library is `stdlib`.
    """
    first, *rows = listed.splitlines()
    compiler = first.rpartition(": go")[2]
    yield _component("stdlib", compiler, f"pkg:golang/stdlib@{quote(compiler, safe='')}", {})
    for row in rows:
        match row.split("\t")[1:]:
            case ["mod" | "dep" | "=>", path, version, held] if held:
                purl = f"pkg:golang/{quote(path)}@{quote(version, safe='')}"
                yield _component(path, version, purl, {"go:sum": held})


def document(name: str, components: Iterable[Json]) -> Json:
    """The whole list. `name`: of the image or program; `components`: in any order; of two alike the first counts.

    Two lists with equal `debian:packages:sha256` stand on the same Debian packages in the same versions.
    """
    unique: dict[str, Json] = {}
    for component in components:
        unique.setdefault(component["bom-ref"], component)
    ordered = [unique[reference] for reference in sorted(unique)]
    content = json.dumps([name, ordered], sort_keys=True)
    described: Json = {"type": "container", "bom-ref": "this", "name": name}
    if packages := "".join(f"{reference}\n" for reference in sorted(unique) if reference.startswith("pkg:deb/")):
        digest = hashlib.sha256(packages.encode()).hexdigest()
        described["properties"] = [{"name": "debian:packages:sha256", "value": digest}]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"component": described},
        "components": ordered,
    }


def text_of(described: Json) -> str:
    return json.dumps(described, indent=1) + "\n"


def _component(name: str, version: str, purl: str, properties: dict[str, str]) -> Json:
    made: Json = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if properties:
        made["properties"] = [{"name": key, "value": value} for key, value in properties.items()]
    return made


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the image, such as tradewind/gateway")
    parser.add_argument("--root", type=Path, help="folder of another file system, without Python, in place of this one")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("sbom.cdx.json"))
    options = parser.parse_args()
    root = options.root or Path("/")
    components = list(debian((root / STATUS).read_text(encoding="utf-8"), _read(root / RELEASE)))
    if options.root is None:
        lock = read_lock(_read(Path(__file__).with_name("lock.txt")))
        # Only where packages are installed: PYTHONPATH and the current folder hold our own source.
        folders = [folder for folder in sys.path if folder.endswith(("/site-packages", "/dist-packages"))]
        components += python(distributions(path=folders), sys.prefix, lock, platform.machine())
    options.output.write_text(text_of(document(options.name, components)), encoding="utf-8")


if __name__ == "__main__":
    main()
