"""What goes into an image is known by its hash: a wheel that somebody changed is let in by nobody."""

import base64
import hashlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cluster.layout import cache_root
from constraints.lock import LOCKED, LOCKS, Wheel, best, render
from images.sbom import read_lock

REPO = Path(__file__).resolve().parents[2]
CONTAINERFILES = sorted((REPO / "images").glob("*/Containerfile"))
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
(UV_VERSION,) = re.findall(r"^UV_VERSION := (.+)$", (REPO / "Makefile").read_text(), re.MULTILINE)
UV = cache_root() / f"uv-{UV_VERSION}" / "bin" / "uv"

# As the Makefile does, in another order.
HELD = ("--verify-hashes", "--no-build-isolation", "-c")


def lock(name):
    return read_lock((LOCKED / f"{name}.txt").read_text())


def test_the_locks_are_the_constraints_of_images_with_hashes():
    pinned = dict(line.split("==") for line in (REPO / "constraints" / "images.txt").read_text().splitlines())
    locked = {(package, version) for name in LOCKS for package, (version, _) in lock(name).items()}
    assert locked == set(pinned.items()), "python constraints/lock.py"


def test_the_lock_of_the_checkout_is_its_constraints_with_hashes():
    locked = re.findall(r"^(\S+==\S+) \\$", (LOCKED / "host.txt").read_text(), re.MULTILINE)
    assert sorted(locked) == sorted((REPO / "constraints" / "host.txt").read_text().splitlines())
    backend, ours, vocabularies = re.findall(r"UV\) pip install (.*)", (REPO / "Makefile").read_text())
    assert backend.endswith("--verify-hashes -c $(LOCK) setuptools")
    assert "--verify-hashes -c $(LOCK) --no-build-isolation -e" in ours
    assert vocabularies.endswith("--no-deps --require-hashes -r $(VOCABULARIES)")


@pytest.mark.parametrize("name", ["vocabularies", "vllm"])
def test_what_is_listed_whole_is_locked_alone(name):
    locked = re.findall(r"^(\S+==\S+) \\$", (LOCKED / f"{name}.txt").read_text(), re.MULTILINE)
    assert locked == (REPO / "constraints" / f"{name}.txt").read_text().splitlines()


def test_images_and_checkout_stand_on_the_same_versions():
    lines = {name: set((REPO / "constraints" / f"{name}.txt").read_text().splitlines()) for name in ("images", "host")}
    assert lines["images"] <= lines["host"]


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_what_its_extras_ask_for_for_each_architecture(name):
    wanted = [*PROJECT["dependencies"], *(d for e in LOCKS[name].extras for d in PROJECT["optional-dependencies"][e])]
    held = lock(name)
    for requirement in map(Requirement, wanted):
        key = canonicalize_name(requirement.name)
        if key in LOCKS[name].base:
            assert key not in held
        else:
            assert held[key][0] in requirement.specifier, f"{requirement}: python constraints/lock.py"
    for package, (_, hashes) in held.items():
        assert set(hashes) in ({"any"}, set(LOCKS[name].architectures), {"any", *LOCKS[name].architectures}), package


def test_the_operator_has_no_torch_and_models_have_it_from_where_they_say():
    assert not {"torch", "transformers", "bitsandbytes"} & set(lock("operator"))
    assert "torch" not in lock("models")
    assert {"torch", "bitsandbytes", "triton"} <= set(lock("models-cuda"))
    for package, entry in lock("models").items():
        assert lock("models-cuda")[package] == entry


def test_no_index_is_named():
    for path in (REPO / "constraints").rglob("*.txt"):
        assert "://" not in path.read_text()
        assert "--index" not in path.read_text()


@pytest.mark.parametrize(
    "path", [p for p in CONTAINERFILES if p.parent.name != "postgres"], ids=lambda p: p.parent.name
)
def test_every_installation_in_an_image_is_held_to_hashes_and_builds_nothing(path):
    text = path.read_text().replace("\\\n", " ")
    commands = re.findall(r"pip install (.*?) &&", text)
    assert len(commands) == 2
    for command in commands:
        assert "--require-hashes" in command
        assert "--only-binary :all:" in command
        assert re.search(r"--requirements? ", command)
    used = {name for name in LOCKS if f"constraints/locked/{name}.txt" in text}
    assert used == {path.parent.name} or used == {"models", "models-cuda"}


def test_a_containerfile_without_python_installs_by_apt_alone():
    (text,) = (p.read_text() for p in CONTAINERFILES if p.parent.name == "postgres")
    assert "pip" not in text


def test_uv_itself_is_locked_in_the_version_of_the_makefile():
    text = (LOCKED / "uv.txt").read_text()
    assert re.findall(r"^(\S+==\S+) \\$", text, re.MULTILINE) == [f"uv=={UV_VERSION}"]
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) > 2
    assert "--require-hashes -r constraints/locked/uv.txt" in (REPO / "Makefile").read_text()


def made_wheel(folder, body="GOOD = True\n"):
    """A real wheel, byte for byte the same for the same body. Returns its SHA-256."""
    folder.mkdir(exist_ok=True)
    info = "toy-1.0.dist-info"
    files = {
        "toy.py": body,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},{len(text)}"
        for name, text in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    path = folder / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def installing(tool, wheels, target, requirements):
    """The options of the Containerfiles, with a folder in place of the index."""
    command = {
        "uv": [str(UV), "pip", "install", "--no-cache", "--python", sys.executable, "--target", str(target)],
        "pip": [str(UV.with_name("pip")), "install", "--no-cache-dir", "--target", str(target)],
    }[tool]
    command += ["--quiet", "--no-index", "--find-links", str(wheels), "--require-hashes", "--only-binary", ":all:"]
    option = "--requirements" if tool == "uv" else "--requirement"
    # What the machine's settings in the secret could say: the option wins.
    loose = {**os.environ, "UV_NO_VERIFY_HASHES": "1", "UV_REQUIRE_HASHES": "0", "PIP_REQUIRE_HASHES": "0"}
    return subprocess.run([*command, option, str(requirements)], env=loose, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_a_wheel_that_was_changed_is_refused(tool, tmp_path):
    if not UV.exists():
        pytest.skip("uv is not there: the Makefile installs it")
    good = made_wheel(tmp_path / "wheels")
    requirements = tmp_path / "lock.txt"
    requirements.write_text(render({"x86_64": [Wheel("toy", "1.0", "any", good)]}))
    done = installing(tool, tmp_path / "wheels", tmp_path / "first", requirements)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "first" / "toy.py").read_text() == "GOOD = True\n"

    bad = made_wheel(tmp_path / "wheels", "GOOD = False\n")
    refused = installing(tool, tmp_path / "wheels", tmp_path / "second", requirements)
    assert refused.returncode != 0
    assert good in refused.stderr
    assert bad in refused.stderr
    assert not (tmp_path / "second" / "toy.py").exists()


@pytest.mark.parametrize("digest", [None, "0" * 64], ids=["good", "changed"])
def test_the_checkout_is_held_to_the_hashes_of_its_constraints(digest, tmp_path):
    """Our own package has no hash, so nothing can be required there: what has one is verified."""
    if not UV.exists():
        pytest.skip("uv is not there: the Makefile installs it")
    good = made_wheel(tmp_path / "wheels")
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "ours"\nversion = "1"\ndependencies = ["toy"]\n[tool.setuptools]\npy-modules = []\n'
    )
    (tmp_path / "lock.txt").write_text(f"toy==1.0 \\\n    --hash=sha256:{digest or good}\n")
    command = [str(UV), "pip", "install", "--no-cache", "--python", sys.executable, "--target", str(tmp_path / "out")]
    command += ["--no-index", "--find-links", str(tmp_path / "wheels"), *HELD, str(tmp_path / "lock.txt"), str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if digest is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode != 0
        assert "Hash mismatch" in done.stderr
        assert good in done.stderr
    assert (tmp_path / "out" / "toy.py").exists() == (digest is None)


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_a_package_without_a_hash_is_refused(tool, tmp_path):
    if not UV.exists():
        pytest.skip("uv is not there: the Makefile installs it")
    made_wheel(tmp_path / "wheels")
    (tmp_path / "lock.txt").write_text("toy==1.0\n")
    refused = installing(tool, tmp_path / "wheels", tmp_path / "target", tmp_path / "lock.txt")
    assert refused.returncode != 0
    assert "hash" in refused.stderr
    assert not (tmp_path / "target" / "toy.py").exists()


def test_the_wheel_that_is_locked_is_the_one_that_the_images_take():
    names = {
        "a-1-cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": "stable",
        "a-1-cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": "old",
        "a-1-cp313-cp313-manylinux_2_28_x86_64.whl": "new",
        "a-1-cp313-cp313-manylinux_2_99_x86_64.whl": "too-new",
        "a-1-cp313-cp313t-manylinux_2_28_x86_64.whl": "free-threaded",
        "a-1-cp313-cp313-musllinux_1_2_x86_64.whl": "musl",
        "a-1-cp314-cp314-manylinux_2_28_x86_64.whl": "later",
        "a-1-py3-none-any.whl": "pure",
        "a-1-py2.whl": "none",
    }
    assert best(names, "x86_64") == ("x86_64", "new")
    assert best(names, "aarch64") == ("any", "pure")
    assert best({name: hash_ for name, hash_ in names.items() if hash_ == "musl"}, "x86_64") is None


def test_what_differs_between_architectures_is_marked_and_read_again():
    one, two, three = "1" * 64, "2" * 64, "3" * 64
    text = render(
        {
            "aarch64": [Wheel("a", "1", "aarch64", one), Wheel("p", "2", "any", three)],
            "x86_64": [Wheel("a", "1", "x86_64", two), Wheel("p", "2", "any", three), Wheel("x", "3", "x86_64", two)],
        }
    )
    assert read_lock(text) == {
        "a": ("1", {"aarch64": one, "x86_64": two}),
        "p": ("2", {"any": three}),
        "x": ("3", {"x86_64": two}),
    }
    assert 'x==3 ; platform_machine == "x86_64" \\\n' in text
    with pytest.raises(ValueError, match="another version on each architecture"):
        render({"aarch64": [Wheel("a", "1", "any", one)], "x86_64": [Wheel("a", "2", "any", one)]})


@pytest.mark.parametrize("text", ["a==1\n", "a==1 \\\n    --hash=md5:0\n    # any\n", "a>=1 \\\n", "a==1 \\\n"])
def test_what_is_no_lock_is_refused(text):
    with pytest.raises(ValueError, match=r"not a line of a lock|no hash for a"):
        read_lock(text)
