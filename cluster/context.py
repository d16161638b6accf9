"""What goes into an image: the files its Containerfile copies, staged so that equal content gives equal layers."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

# Any fixed moment: the time of a checkout must not change a layer.
STAGED_AT = 1_577_836_800
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache")


@dataclass(frozen=True)
class Needs:
    """What a Containerfile asks of the repository: paths that it copies, extras that it installs."""

    paths: tuple[str, ...]
    extras: tuple[str, ...]


def read_needs(containerfile: str) -> Needs:
    """Parse the COPY instructions (the exec form is not used here) and every `--extra NAME`."""
    joined = containerfile.replace("\\\n", " ")
    paths: list[str] = []
    for line in re.findall(r"^COPY (.+)$", joined, re.MULTILINE):
        paths += [word for word in line.split()[:-1] if not word.startswith("--")]
    return Needs(paths=tuple(paths), extras=tuple(sorted(set(re.findall(r"--extra (\w+)", joined)))))


def stage(repo: Path, containerfile: Path, target: Path) -> str:
    """Fill `target` with the build context and return its content hash (12 hex digits, Containerfile included).

    pyproject.toml is cut down to the dependencies that this image installs, so that a change of the linter's
    settings does not install everything anew. Errors: FileNotFoundError when a copied path is missing.
    """
    text = containerfile.read_text()
    needs = read_needs(text)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in needs.paths:
        source, copy = repo / path, target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path == "pyproject.toml":
            copy.write_text(dependencies_only(source.read_text(), needs.extras))
        elif source.is_dir():
            shutil.copytree(source, copy, ignore=IGNORED, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, copy)
    digest = hashlib.sha256(text.encode())
    for entry in sorted(target.rglob("*")):
        entry.chmod(0o755 if entry.is_dir() else 0o644)
        os.utime(entry, (STAGED_AT, STAGED_AT))
        if entry.is_file():
            digest.update(f"{entry.relative_to(target)}\0".encode() + hashlib.sha256(entry.read_bytes()).digest())
    return digest.hexdigest()[:12]


def dependencies_only(pyproject: str, extras: tuple[str, ...]) -> str:
    """The part of pyproject.toml that decides what gets installed. JSON strings and lists are valid TOML."""
    project = tomllib.loads(pyproject)["project"]
    lines = [
        "[project]",
        f"name = {json.dumps(project['name'])}",
        'version = "0"',
        f"requires-python = {json.dumps(project['requires-python'])}",
        f"dependencies = {json.dumps(project['dependencies'])}",
        "[project.optional-dependencies]",
    ]
    lines += [f"{extra} = {json.dumps(project['optional-dependencies'][extra])}" for extra in extras]
    return "\n".join(lines) + "\n"
