"""What goes into an image: the files its Containerfile copies, staged so that equal content gives equal layers."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

# Any fixed moment: the time of a checkout must not change a layer.
STAGED_AT = 1_577_836_800
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache")


def copied_paths(containerfile: str) -> tuple[str, ...]:
    """What a Containerfile copies from the repository; the exec form of COPY is not used here."""
    paths: list[str] = []
    for line in re.findall(r"^COPY (.+)$", containerfile.replace("\\\n", " "), re.MULTILINE):
        words = line.split()[:-1]
        if not any(word.startswith("--from=") for word in words):  # of another stage
            paths += [word for word in words if not word.startswith("--")]
    return tuple(paths)


def stage(repo: Path, containerfile: Path, target: Path) -> str:
    """Fill `target` with the build context and return its content hash (12 hex digits, Containerfile included).

    Errors: FileNotFoundError when a copied path is missing.
    """
    text = containerfile.read_text()
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in copied_paths(text):
        source, copy = repo / path, target / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
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
