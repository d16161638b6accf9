"""The hooks before a commit: valid, and nothing that `make check` does not run or that would be downloaded."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pages import ROOT

pytestmark = pytest.mark.whole

CONFIG = ROOT / ".pre-commit-config.yaml"
PRE_COMMIT = str(Path(sys.executable).parent / "pre-commit")


def test_the_configuration_is_valid() -> None:
    subprocess.run([PRE_COMMIT, "validate-config", str(CONFIG)], check=True)


def test_hooks_are_local_and_their_programs_are_there() -> None:
    (repository,) = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        program, *arguments = shlex.split(hook["entry"])
        assert hook["language"] == "system"
        if program == "make":
            assert f"\n{arguments[0]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
        else:
            assert (Path(sys.executable).parent / Path(program).name).is_file()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the hooks' configuration, this environment and a Makefile whose checks pass."""
    monkeypatch.setenv("PRE_COMMIT_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "checkout"
    folder.mkdir()
    shutil.copy(CONFIG, folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    (folder / "Makefile").write_text("check-static:\n\t@true\n", encoding="utf-8")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


def test_a_commit_with_an_unformatted_file_is_stopped_and_the_file_mended(checkout: Path) -> None:
    file = checkout / "jobs" / "toy.py"
    file.parent.mkdir()
    file.write_text('"""A toy."""\n\nnumber   = 1\n', encoding="utf-8")
    subprocess.run(["git", "-C", str(checkout), "add", "-A"], check=True)
    assert subprocess.run([PRE_COMMIT, "run"], cwd=checkout, capture_output=True).returncode == 1
    assert file.read_text(encoding="utf-8") == '"""A toy."""\n\nnumber = 1\n'
    subprocess.run(["git", "-C", str(checkout), "add", "-A"], check=True)
    done = subprocess.run([PRE_COMMIT, "run"], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
