"""A release: one version, every image under it, and a changelog made of the fragments."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml
from pages import ROOT, Page

VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
VALUES = yaml.safe_load((ROOT / "charts" / "tradewind" / "values.yaml").read_text(encoding="utf-8"))


def images() -> set[str]:
    return {path.parent.name for path in (ROOT / "images").glob("*/Containerfile")}


def test_the_charts_pull_each_image_of_a_release_by_its_version() -> None:
    """No tag of its own: the template takes appVersion, which is pyproject's version (docs/generate.py)."""
    told = {name: image for name, image in VALUES["image"].items() if isinstance(image, dict)}
    named = {
        name: image for name, image in told.items() if "reference" not in image
    }  # a reference is somebody else's image
    assert named.keys() == images()
    assert VALUES["image"]["tag"] == ""
    assert {(image["tag"], image["digest"]) for image in named.values()} == {("", "")}
    assert {image["repository"] for image in named.values()} == {f"tradewind/{name}" for name in named}


def test_the_steps_build_and_push_each_image() -> None:
    (loop,) = re.findall(r"for name in (.*?); do", Page(ROOT / "docs" / "releasing.md").text)
    assert set(loop.split()) == images()


def test_no_other_file_states_the_version() -> None:
    stated = re.compile(rf"(?<![\d.]){re.escape(VERSION)}(?![\d.])")
    files = [*(ROOT / "images").rglob("*"), *(ROOT / "charts").rglob("*"), ROOT / "Makefile", ROOT / "README.md"]
    files = [path for path in files if path.is_file() and "__pycache__" not in path.parts]
    found = {path for path in files if stated.search(path.read_text(encoding="utf-8"))}
    assert {path.name for path in found} == {"Chart.yaml"}


def test_the_changelog_of_a_release_is_made_of_the_fragments(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "changes", tmp_path / "changes")
    note = tmp_path / "changes" / "+a-toy.added.md"
    note.write_text("A toy.\n", encoding="utf-8")
    towncrier = [
        str(Path(sys.executable).parent / "towncrier"),
        "build",
        "--yes",
        "--version",
        "9.9.9",
        "--date",
        "2026-01-02",
    ]
    subprocess.run(towncrier, cwd=tmp_path, check=True, capture_output=True)
    log = (tmp_path / "CHANGELOG.md").read_text(encoding="utf-8")
    release = log.partition("<!-- towncrier release notes start -->\n")[2]
    assert release.strip().startswith("## 9.9.9 (2026-01-02)")
    assert "- A toy." in release
    assert {path.name for path in (tmp_path / "changes").iterdir()} == {"README.md", "allowed-rules.yaml"}


def test_each_fragment_says_something() -> None:
    fragments = list((ROOT / "changes").glob("+*.md"))
    assert [path.name for path in fragments if not path.read_text(encoding="utf-8").strip()] == []
