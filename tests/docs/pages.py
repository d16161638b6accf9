"""The pages as readers see them: code blocks, commands in them, code within text, links, headings."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"(?<=\n\n)((?: {4}\S.*\n)+)")
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_SHELL = ("sh", "bash")


@dataclass(frozen=True)
class Page:
    """One page of the documentation."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """The page without its blocks of code."""
        return _INDENTED.sub("", _FENCE.sub("", self.text))

    def blocks(self) -> list[str]:
        """Blocks that are typed into a shell, without the indentation of a list."""
        fenced = [
            re.sub(rf"^{m[1]}", "", m[3], flags=re.MULTILINE) for m in _FENCE.finditer(self.text) if m[2] in _SHELL
        ]
        return fenced + [re.sub(r"^ {4}", "", m[1], flags=re.MULTILINE) for m in _INDENTED.finditer(self.text)]

    def block(self, start: str) -> str:
        """The one block for the shell that begins like this."""
        (found,) = (block for block in self.blocks() if block.startswith(start))
        return found

    def commands(self) -> Iterator[list[str]]:
        """The words of each command of the blocks; continued lines are one, comments are left out."""
        for block in self.blocks():
            yield from commands(block)

    def spans(self) -> list[str]:
        """Code within the text; a line break in it is a space."""
        return [" ".join(span.split()) for span in _SPAN.findall(self.prose)]

    def links(self) -> list[str]:
        """Targets within this repository."""
        return [target for target in _LINK.findall(self.prose) if "://" not in target]

    def anchors(self) -> set[str]:
        """What a link may point at after `#`: GitHub's names of the headings."""
        headings = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(self.prose))
        return {heading.strip().replace(" ", "-") for heading in headings}


def commands(block: str) -> Iterator[list[str]]:
    """The words of each command of a block for the shell. A quoted text may run over several lines."""
    words = ""
    for line in block.splitlines():
        words += f"{line}\n"
        if line.endswith("\\"):
            words = words[:-2]
            continue
        try:
            found = shlex.split(words, comments=True)
        except ValueError:  # within a quoted text
            continue
        words = ""
        if found:
            yield found
    assert not words, f"a quote is not closed: {words}"


PAGES = [
    Page(path)
    for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "changes" / "README.md")
    if path.name != "CHANGELOG.md"
]
