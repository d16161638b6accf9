"""The wheel in an empty environment: the command line without kopf and torch, and what the bare package can do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "crds" / "samples" / "endpoint-production.yaml"
HEAVY = {"kopf", "torch", "transformers", "alembic", "sqlalchemy", "fastapi", "pandas"}


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Without this checkout on the path of Python, and without a kubeconfig."""
    kept = {
        name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "KUBECONFIG", "VIRTUAL_ENV"}
    }
    argv = [str(word) for word in words]
    return subprocess.run(
        argv, env=kept | environment, cwd="/", capture_output=True, text=True, timeout=280, check=False
    )


@pytest.fixture(scope="module")
def uv() -> str:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tradewind"
    found = [str(path) for path in sorted(cache.glob("uv-*/bin/uv"))] or [shutil.which("uv") or ""]
    if not found[-1]:
        pytest.skip("uv is not there: make fetches it")
    return found[-1]


@pytest.fixture(scope="module")
def wheel(uv: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "operator", source / "operator", ignore=ignored)
    pins = ("--build-constraints", ROOT / "constraints" / "host.txt")
    built = run(uv, "build", "--wheel", "-q", "--python", sys.executable, "--out-dir", source / "dist", *pins, source)
    assert built.returncode == 0, built.stderr
    (found,) = (source / "dist").glob("*.whl")
    return found


def installed(uv: str, wheel: Path, extra: str, folder: Path) -> Path:
    """The programs of an environment with this wheel alone."""
    made = run(uv, "venv", "-q", "--python", sys.executable, folder)
    assert made.returncode == 0, made.stderr
    pins = ("-c", ROOT / "constraints" / "host.txt")
    done = run(uv, "pip", "install", "-q", "--python", folder / "bin" / "python", *pins, f"{wheel}{extra}")
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.fixture(scope="module")
def cli(uv: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(uv, wheel, "[cli]", tmp_path_factory.mktemp("cli") / "venv")


def test_the_command_line_needs_neither_kopf_nor_torch(cli: Path, uv: str) -> None:
    listed = run(uv, "pip", "list", "--python", cli / "python", "--format", "freeze").stdout
    names = {line.partition("==")[0].lower() for line in listed.splitlines()}
    assert {"tradewind", "kubernetes"} <= names
    assert not names & HEAVY


def test_every_command_of_a_person_runs(cli: Path, tmp_path: Path) -> None:
    assert run(cli / "tradewind", "--version").stdout.startswith("tradewind ")
    linted = run(cli / "tradewind", "lint", SAMPLE)
    assert (linted.returncode, "0 problem(s)" in linted.stdout) == (0, True), linted.stderr
    for command in (
        "get",
        "wait",
        "explain",
        "abort",
        "promote",
        "lint",
        "evaluate",
        "simulate",
        "report",
        "completion",
    ):
        helped = run(cli / "tradewind", command, "--help")
        assert helped.returncode == 0, helped.stderr
        assert f"usage: tradewind {command}" in helped.stdout, f"{command} is not there: {helped.stdout}"
    lost = run(cli / "tradewind", "get", HOME=str(tmp_path))
    assert lost.returncode == 2
    assert "no cluster is configured" in lost.stderr
    for words in (["migrate"], ["operator"]):
        needed = run(cli / "tradewind", *words, TRADEWIND_DSN="postgresql://localhost/nothing")
        assert needed.returncode == 2, needed.stderr
        assert "pip install 'tradewind[operator]'" in needed.stderr


def test_the_bare_package_lints_and_says_what_the_rest_needs(
    uv: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bare = installed(uv, wheel, "", tmp_path_factory.mktemp("bare") / "venv")
    assert run(bare / "tradewind", "lint", SAMPLE).returncode == 0
    needed = run(bare / "tradewind", "get", "endpoints", "-A")
    assert needed.returncode == 2
    assert "tradewind get: needs the package" in needed.stderr
    assert "pip install 'tradewind[cli]'" in needed.stderr
    assert run(bare / "tradewind", "get", "--help").returncode == 2
