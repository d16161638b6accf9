"""The Go module of the cluster, and the key its binaries are cached under."""

import re
from pathlib import Path

import pytest

from cluster.build import PROGRAMS, RENAMED, required_version, source_hash
from cluster.containers import SYSTEM_IMAGES

GO = Path(__file__).resolve().parents[2] / "cluster" / "go"
GO_MOD = (GO / "go.mod").read_text()


def test_hash_follows_content_and_names(tmp_path):
    (tmp_path / "a").write_text("one")
    first = source_hash(tmp_path)
    assert source_hash(tmp_path) == first
    (tmp_path / "a").write_text("two")
    changed = source_hash(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, changed, source_hash(tmp_path)}) == 3


def test_every_program_comes_from_a_tool_line_or_a_main_of_ours():
    (listed,) = re.findall(r"^tool \((.*?)^\)", GO_MOD, re.MULTILINE | re.DOTALL)
    tools = listed.split()
    built = {re.sub(r"/v\d+$", "", tool).rpartition("/")[2] for tool in tools}
    ours = {main.parent.name for main in GO.glob("*/main.go")}
    assert {RENAMED.get(name, name) for name in built} | ours == set(PROGRAMS)
    assert set(SYSTEM_IMAGES) <= set(PROGRAMS)


def test_staging_modules_fit_the_release():
    release = required_version(GO_MOD, "k8s.io/kubernetes")
    staging = set(re.findall(r"k8s\.io/\S+ => k8s\.io/\S+ (v\S+)", GO_MOD))
    assert staging == {release.replace("v1.", "v0.", 1)}


def test_versions_the_documentation_promises():
    assert required_version(GO_MOD, "k8s.io/kubernetes").startswith("v1.34.")
    assert required_version(GO_MOD, "github.com/kserve/kserve") == "v0.20.0"
    with pytest.raises(LookupError, match=r"go\.mod requires no"):
        required_version(GO_MOD, "example.com/absent")
