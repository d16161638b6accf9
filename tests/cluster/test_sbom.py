"""The list of what is installed in an image: valid, complete, and the same for the same content."""

import json
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from cluster import images
from cluster.build import PROGRAMS, is_built, sbom
from cluster.buildah import Buildah
from cluster.layout import Layout
from constraints.lock import LOCKED
from images.sbom import debian, document, golang, python, read_lock, text_of

REPO = Path(__file__).resolve().parents[2]
SITE = next(folder for folder in sys.path if folder.endswith("/site-packages"))
STATUS = """\
Package: zlib1g
Status: install ok installed
Architecture: amd64
Source: zlib
Version: 1:1.3.dfsg+really1.3.1-1+b1
Description: compression library
 with: a second line

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0

Package: tzdata
Status: install ok installed
Architecture: all
Version: 2026b-0+deb13u1
"""
RELEASE = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nID=debian\n'
GO = """\
/bin/coredns: go1.26.8
\tpath\texample.com/main
\tmod\texample.com/main\t(devel)\t
\tdep\tgithub.com/a/b\tv1.2.3+incompatible\th1:AAAA=
\tdep\tk8s.io/api\tv0.0.0
\t=>\tk8s.io/api\tv0.34.3\th1:BBBB=
\tbuild\t-trimpath=true
"""


def valid(text):
    """By the schema of CycloneDX, and as the library reads it."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    read = json.loads(text)
    assert Bom.from_json(data=read) is not None  # type: ignore[attr-defined]
    return read


def versions(found):
    return {component["name"]: component["version"] for component in found["components"]}


def test_debian_packages_that_are_installed_and_no_others():
    found = valid(text_of(document("tradewind/postgres", debian(STATUS, RELEASE))))
    assert versions(found) == {"zlib1g": "1:1.3.dfsg+really1.3.1-1+b1", "tzdata": "2026b-0+deb13u1"}
    by_name = {component["name"]: component for component in found["components"]}
    assert by_name["zlib1g"]["purl"] == (
        "pkg:deb/debian/zlib1g@1%3A1.3.dfsg%2Breally1.3.1-1%2Bb1?arch=amd64&distro=debian-13"
    )
    assert by_name["zlib1g"]["properties"] == [{"name": "debian:source", "value": "zlib"}]
    (stands_on,) = found["metadata"]["component"]["properties"]
    other = document("tradewind/gateway", debian(STATUS, RELEASE))
    assert other["metadata"]["component"]["properties"] == [stands_on]
    moved = document("tradewind/gateway", debian(STATUS.replace("2026b", "2026c"), RELEASE))
    assert moved["metadata"]["component"]["properties"] != [stands_on]


def test_this_machines_python_packages_are_all_listed_and_valid():
    """A real environment of two hundred distributions, outside of any lock."""
    found = valid(text_of(document("this", python(distributions(path=[SITE]), "/nowhere", {}, "x86_64"))))
    installed = {re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower(): d.version for d in distributions(path=[SITE])}
    assert len(installed) > 100
    assert versions(found) == installed


def test_a_locked_distribution_has_the_hash_of_its_architecture():
    lock = {}
    for distribution in distributions(path=[SITE]):
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        lock[name] = (distribution.version, {"x86_64": "a" * 64, "aarch64": "b" * 64})
    lock["pytest"] = (lock["pytest"][0], {"any": "c" * 64})
    found = valid(text_of(document("this", python(distributions(path=[SITE]), SITE, lock, "aarch64"))))
    hashes = {component["name"]: component["hashes"][0]["content"] for component in found["components"]}
    assert hashes["pytest"] == "c" * 64
    assert hashes["pydantic-core"] == "b" * 64

    lock["pytest"] = ("0.1", {"any": "c" * 64})
    with pytest.raises(ValueError, match=r"pytest .* is installed, and the lock allowed 0\.1"):
        list(python(distributions(path=[SITE]), SITE, lock, "aarch64"))
    del lock["pytest"]
    with pytest.raises(ValueError, match=r"pytest .* is installed, and the lock allowed none of it"):
        list(python(distributions(path=[SITE]), SITE, lock, "aarch64"))


def test_go_modules_with_the_sums_that_go_held_them_to():
    found = valid(text_of(document("coredns", golang(GO))))
    assert {(c["name"], c["version"], c["purl"]) for c in found["components"]} == {
        ("github.com/a/b", "v1.2.3+incompatible", "pkg:golang/github.com/a/b@v1.2.3%2Bincompatible"),
        ("k8s.io/api", "v0.34.3", "pkg:golang/k8s.io/api@v0.34.3"),
        ("stdlib", "1.26.8", "pkg:golang/stdlib@1.26.8"),
    }
    sums = {c["name"]: c.get("properties") for c in found["components"]}
    assert sums["github.com/a/b"] == [{"name": "go:sum", "value": "h1:AAAA="}]


def test_the_same_content_gives_the_same_bytes_in_any_order():
    components = [*debian(STATUS, RELEASE), *golang(GO)]
    assert text_of(document("x", components)) == text_of(document("x", [*reversed(components), components[0]]))
    assert document("x", components)["serialNumber"] != document("x", components[1:])["serialNumber"]


def test_the_command_of_the_containerfiles(tmp_path):
    """As in the image of the database: another root, and nothing but the standard library."""
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(STATUS)
    output = tmp_path / "sbom.cdx.json"
    command = [sys.executable, "-I", "-S", str(REPO / "images" / "sbom.py"), "tradewind/postgres"]
    subprocess.run([*command, "--root", str(tmp_path), "--output", str(output)], check=True)
    assert set(versions(valid(output.read_text()))) == {"zlib1g", "tzdata"}


def test_each_containerfile_lists_itself_before_it_gives_up_root():
    for name in images.NAMES:
        text = (REPO / "images" / name / "Containerfile").read_text()
        assert len(re.findall(rf"^RUN .*sbom\.py tradewind/{name}\b", text, re.MULTILINE)) == 1, name
        assert text.index("sbom.py tradewind") < text.index("\nUSER ")


@pytest.mark.e2e
@pytest.mark.parametrize("name", images.NAMES)
def test_an_image_that_was_built_says_what_is_in_it(name):
    """Its lock to the letter, with the hash of each wheel, and torch where it belongs."""
    layout = Layout.default()
    found = valid(images.sbom(layout, name))
    purls = {component["purl"] for component in found["components"]}
    assert found["metadata"]["component"]["name"] == f"tradewind/{name}"
    assert any(purl.startswith("pkg:deb/debian/libc6@") for purl in purls)
    pypi = [c for c in found["components"] if c["purl"].startswith("pkg:pypi/")]
    if name == "postgres":
        assert not pypi
        assert any(purl.startswith("pkg:deb/debian/postgresql-17@") for purl in purls)
        return
    buildah, staged = Buildah(layout.cache / "buildah"), images._stage(layout, images.IMAGES[name])
    lock = read_lock(buildah.read(staged.local, "/usr/share/doc/tradewind/lock.txt"))
    committed = "models" if name in ("predictor", "trainer") else name
    assert lock == read_lock((LOCKED / f"{committed}.txt").read_text())
    machine = platform.machine()
    held = {
        key: (version, hashes.get(machine) or hashes["any"])
        for key, (version, hashes) in lock.items()
        if machine in hashes or "any" in hashes
    }
    # The base has psutil, numpy and others of its own below ours, without a hash.
    ours = {c["name"]: (c["version"], c["hashes"][0]["content"]) for c in pypi if "hashes" in c}
    assert ours == held
    has_torch = name in ("predictor", "trainer")
    assert ("torch" in {c["name"] for c in pypi}) == has_torch
    assert any(purl.startswith("pkg:deb/debian/python3-torch@") for purl in purls) == has_torch


@pytest.mark.e2e
def test_a_built_program_names_its_modules():
    layout = Layout.default()
    if shutil.which("go") is None or not is_built(layout):
        pytest.fail("the cluster's programs are not built: make cluster")
    for program in PROGRAMS:
        found = valid(sbom(layout, program))
        sums = [p for c in found["components"] for p in c.get("properties", ()) if p["name"] == "go:sum"]
        assert len(sums) == len(found["components"]) - 1, program
    assert versions(valid(sbom(layout, "kubectl")))["k8s.io/client-go"].startswith("v0.34.")
