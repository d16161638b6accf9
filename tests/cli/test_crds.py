"""`tradewind crds --since`: a tag or a folder, exit codes, and the list of allowed rules."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tradewind.api import crd
from tradewind.main import cli


def git(checkout: Path, *arguments: str) -> None:
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "tag.gpgSign=false")
    subprocess.run(["git", *who, "-C", str(checkout), *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return crd.generated_files()


@pytest.fixture
def checkout(tmp_path: Path, generated: dict[str, str]) -> Path:
    """A checkout with the kinds of this package."""
    for name, text in generated.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    git(tmp_path, "init", "-q")
    return tmp_path


def released(checkout: Path, tag: str) -> None:
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", tag)
    git(checkout, "tag", tag)


def edit_endpoints(checkout: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Changes the schema of the spec in the committed CRD of Endpoints."""
    path = checkout / "crds" / "endpoints.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    edit(document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])
    path.write_text(yaml.safe_dump(document), encoding="utf-8")


def test_without_a_tag_it_says_that_nothing_is_compared(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    released(checkout, "other-1")
    for folder in (checkout, tmp_path_factory.mktemp("no-git")):
        assert cli(["crds", "--directory", str(folder), "--since"]) == 0
        assert "no tag v*" in capsys.readouterr().out


def test_the_newest_tag_is_taken_by_its_version(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for tag in ("v0.9.0", "v0.10.0"):
        (checkout / "note").write_text(tag, encoding="utf-8")
        released(checkout, tag)
    assert cli(["crds", "--directory", str(checkout), "--since"]) == 0
    assert "5 kinds since v0.10.0: 0 change(s)" in capsys.readouterr().out


def test_a_field_that_a_tag_or_a_folder_had_is_missed(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    colour = {"colour": {"type": "string", "maxLength": 8}}
    edit_endpoints(checkout, lambda spec: spec["properties"].update(colour))
    released(checkout, "v0.1.0")
    for since in (["--since"], ["--since", "v0.1.0"], ["--since", str(checkout / "crds")]):
        assert cli(["crds", "--directory", str(checkout), *since]) == 1
        assert "endpoints spec.colour: the field is gone" in capsys.readouterr().err


def test_a_rule_is_allowed_by_an_entry_with_a_reason(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit_endpoints(checkout, lambda spec: spec.pop("x-kubernetes-validations"))
    released(checkout, "v0.1.0")
    command = ["crds", "--directory", str(checkout), "--since"]
    assert cli(command) == 1
    lines = capsys.readouterr().err.splitlines()
    rules = [line.partition("changes/allowed-rules.yaml: ")[2] for line in lines]
    assert all(rules)
    entries = [{"where": "endpoints spec", "rule": rule, "reason": "was checked by the operator"} for rule in rules]
    allowed = checkout / "changes" / "allowed-rules.yaml"
    allowed.parent.mkdir()
    allowed.write_text(yaml.safe_dump(entries), encoding="utf-8")
    assert cli(command) == 0
    entries[0]["reason"] = " "
    allowed.write_text(yaml.safe_dump(entries), encoding="utf-8")
    assert cli(command) == 2
    assert "without a reason" in capsys.readouterr().err
    allowed.write_text("- {where: x}", encoding="utf-8")
    assert cli(command) == 2
    assert "where, rule and reason" in capsys.readouterr().err


@pytest.mark.parametrize("since", ["v9.9.9", "changes"])
def test_what_is_not_there_is_an_error_and_no_pass(
    checkout: Path, since: str, capsys: pytest.CaptureFixture[str]
) -> None:
    released(checkout, "v0.1.0")
    assert cli(["crds", "--directory", str(checkout), "--since", since]) == 2
    assert since in capsys.readouterr().err
