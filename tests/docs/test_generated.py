"""What pages and charts repeat from the code: found, written, missed."""

import shutil
from enum import StrEnum
from pathlib import Path

import pytest

from docs import generate

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Pages, charts and pyproject.toml of this checkout, up to date."""
    for name in ("docs", "charts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert generate.main(["--directory", str(tmp_path)]) == 0
    return tmp_path


def edit(path: Path, old: str, new: str) -> str:
    """The text before the edit."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return text


def test_an_edited_table_is_found_and_mended(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = checkout / "docs" / "reference.md"
    before = edit(page, "| `TRADEWIND_WORKERS` | 4 |", "| `TRADEWIND_WORKERS` | 5 |")
    assert generate.main(["--check", "--directory", str(checkout)]) == 1
    assert str(page) in capsys.readouterr().out
    assert generate.main(["--directory", str(checkout)]) == 0
    assert page.read_text(encoding="utf-8") == before
    assert generate.main(["--check", "--directory", str(checkout)]) == 0


def test_the_charts_have_the_version_of_the_package(checkout: Path) -> None:
    edit(checkout / "pyproject.toml", '\nversion = "', '\nversion = "7.')
    assert generate.main(["--check", "--directory", str(checkout)]) == 1
    assert generate.main(["--directory", str(checkout)]) == 0
    for chart in ("tradewind", "tradewind-crds"):
        lines = (checkout / "charts" / chart / "Chart.yaml").read_text(encoding="utf-8").splitlines()
        assert len([line for line in lines if line.partition(": ")[2].startswith("7.")]) == 2


def test_a_block_without_a_page_and_a_page_with_an_unknown_block_are_errors(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = checkout / "docs" / "reference.md"
    before = edit(page, "<!-- generated: operator-metrics -->", "<!-- generated: metrics-of-nobody -->")
    assert generate.main(["--check", "--directory", str(checkout)]) == 2
    assert "no block is called metrics-of-nobody" in capsys.readouterr().err
    page.write_text(before.replace("<!-- generated: operator-metrics -->\n", ""), encoding="utf-8")
    assert generate.main(["--check", "--directory", str(checkout)]) == 2
    assert "in no page: operator-metrics" in capsys.readouterr().err


class Told(StrEnum):
    ONE = "One"
    """The first
    of two."""

    TWO = "Two"
    """The second."""


class Untold(StrEnum):
    ONE = "One"
    TWO = "Two"
    """The second."""


def test_meanings_are_the_docstrings_and_each_member_needs_one() -> None:
    assert list(generate._meanings(Told)) == [("One", "The first of two."), ("Two", "The second.")]
    with pytest.raises(ValueError, match=r"Untold\.ONE: write its meaning"):
        list(generate._meanings(Untold))
