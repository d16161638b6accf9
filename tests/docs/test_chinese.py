"""The pages in Chinese are kept in step with the English ones: the same commands, kinds, fields and links, in the same order."""

import re

import pytest
from pages import ROOT, Page

PAIRS = [("README.md", "README.zh-CN.md"), ("docs/quickstart.md", "docs/zh/quickstart.md")]
LEFT_OUT = {"README.md": ("The tree",)}
"""Chapters that are about the sources, whose names and comments are English."""


def english(name: str) -> Page:
    return Page(ROOT / name)


def chapters(page: Page, left_out: tuple[str, ...] = ()) -> list[str]:
    """The page's chapters without those that are left out."""
    parts = re.split(r"^## ", page.text, flags=re.MULTILINE)
    return [part for part in parts if not part.startswith(left_out)] if left_out else parts


def code(text: str) -> list[str]:
    """What stands as code within the text of a chapter: commands, fields, kinds."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return sorted(set(re.findall(r"`([^`]+)`", prose)))


def blocks(text: str) -> list[str]:
    return re.findall(r"^```.*?^```$", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_the_chapters_have_the_same_commands_and_fields(one: str, other: str) -> None:
    ours, theirs = chapters(english(one), LEFT_OUT.get(one, ())), chapters(english(other))
    assert len(ours) == len(theirs)
    for mine, yours in zip(ours, theirs, strict=True):
        assert blocks(mine) == blocks(yours)
        assert code(mine) == code(yours)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_the_links_lead_to_the_same_places(one: str, other: str) -> None:
    def places(name: str) -> set[str]:
        page = english(name)
        return {str((page.path.parent / link.partition("#")[0]).resolve().relative_to(ROOT)) for link in page.links()}

    of_its_own = {one, other, "docs/quickstart.md", "docs/zh/quickstart.md"}
    tree = {"docs/architecture.md"} if one == "README.md" else set()
    assert places(one) - of_its_own - tree == places(other) - of_its_own


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_each_leads_to_the_other(one: str, other: str) -> None:
    for page, target in ((english(one), ROOT / other), (english(other), ROOT / one)):
        assert target.resolve() in {(page.path.parent / link).resolve() for link in page.links()}
