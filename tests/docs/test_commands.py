"""What the pages tell people to type or to open exists: commands, options, targets, values, files, links.

Whether the commands of README and install.md do on a cluster what the pages say: tests/e2e/test_docs_commands.py.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import PAGES, ROOT, Page, commands

from tradewind.api.registry import KINDS, VERBS
from tradewind.cli.commands import build_parser
from tradewind.cli.lint import lint

PACKAGE = ROOT / "operator" / "tradewind"
MADE = ("build", ".venv")
"""Folders that commands make."""
VALUES = yaml.safe_load((ROOT / "charts" / "tradewind" / "values.yaml").read_text(encoding="utf-8"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.path.relative_to(ROOT)))


def program(words: list[str]) -> tuple[str, list[str]]:
    """Name and arguments of a command, without variables before it, a path to it, and what it is piped into."""
    words = list(words)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    ends = (at for at, word in enumerate(words) if word in {"|", ">", "&&", ";", "||"})
    words = words[: next(ends, len(words))]
    return (Path(words[0]).name, words[1:]) if words else ("", [])


def spoken(page: Page) -> Iterator[list[str]]:
    """Commands within the text."""
    for span in page.spans():
        yield from commands(span) if span.count("'") % 2 == 0 and span.count('"') % 2 == 0 else ()


@each_page
def test_every_tradewind_command_is_one(page: Page, capsys: pytest.CaptureFixture[str]) -> None:
    for words, whole in [(c, True) for c in page.commands()] + [(c, False) for c in spoken(page)]:
        name, arguments = program(words)
        if name not in {"tradewind", "kubectl-tradewind"} or not arguments:
            continue
        told = refusal(arguments, capsys)
        mentioned = not whole and ("arguments are required" in told or "one of the arguments" in told)
        assert not told or mentioned, f"{' '.join(words)}: {told}"


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command line says against these arguments; empty: nothing."""
    try:
        build_parser().parse_args(arguments)
    except SystemExit as end:
        return capsys.readouterr().err if end.code else ""
    return ""


@each_page
def test_every_make_target_exists(page: Page) -> None:
    for words in (*page.commands(), *spoken(page)):
        name, arguments = program(words)
        if name == "make":
            wanted = {word for word in arguments if "=" not in word and not word.startswith("-")}
            assert wanted <= TARGETS, words


@each_page
def test_every_script_exists_and_knows_its_words_and_options(page: Page) -> None:
    for words in (*page.commands(), *spoken(page)):
        name, arguments = program(words)
        if name in {"python", "python3"} and arguments:
            source, arguments = script(arguments)
            text = source.read_text(encoding="utf-8")
            options = [word.partition("=")[0] for word in arguments if word.startswith("--")]
            subcommands = arguments[:1] if source.parent.name == "cluster" else []
            for word in (*options, *subcommands):
                assert f'"{word}"' in text, f"{word} of {' '.join(words)}"


def script(arguments: list[str]) -> tuple[Path, list[str]]:
    """The file that python runs, and what is left for it."""
    module = arguments[0] == "-m"
    named = arguments[1].replace(".", "/") if module else arguments[0]
    for place in (ROOT, PACKAGE.parent):
        for file in (place / named, place / f"{named}.py", place / named / "__main__.py"):
            if file.is_file():
                return file, arguments[2 if module else 1 :]
    raise AssertionError(f"python {' '.join(arguments)}: there is no such program")


def value(path: str) -> object:
    """What values.yaml has there; KeyError where it has nothing."""
    found: Any = VALUES
    for key in path.split("."):
        found = found[key]
    return found


@each_page
def test_every_helm_value_that_is_set_exists(page: Page) -> None:
    for words in (*page.commands(), *spoken(page)):
        for option, setting in pairwise(words):
            if option == "--set":
                value(re.split(r"[=\[]", setting)[0])  # of a list, the list


def test_every_value_of_the_table_exists_with_its_default() -> None:
    (install,) = [page for page in PAGES if page.path.name == "install.md"]
    rows = re.findall(
        r"^\| (`.*?) \| (.*?) \|", install.prose.partition("## Values")[2].partition("\n## ")[0], re.MULTILINE
    )
    assert len(rows) > 5
    for names, defaults in rows:
        parent = ""
        for name, default in zip(re.findall(r"`([^`]+)`", names), defaults.split(", ") * 2, strict=False):
            path = f"{parent}{name}" if name.startswith(".") else name
            parent = path.rpartition(".")[0]
            told = {"none": "", "the chart's version": ""}.get(default, default.strip("`"))
            assert value(path) == yaml.safe_load(told or "''"), path


@each_page
def test_every_manifest_that_is_applied_is_accepted(page: Page) -> None:
    for words in page.commands():
        name, arguments = program(words)
        if name == "kubectl" and "apply" in arguments:
            file = ROOT / arguments[arguments.index("-f") + 1]
            assert list(lint(file)) == [] or f"> {file.name}" in page.text  # or made by a command of the page


@each_page
def test_every_name_of_ours_in_the_api_group_exists(page: Page) -> None:
    plurals = {kind.plural for kind in KINDS}
    for name in re.findall(r"\b([a-z]+)\.tradewind\.dev\b", page.text):
        assert name in plurals
    for verb in re.findall(r"kubectl annotate .*? tradewind\.dev/([a-z]+)=", page.text):
        assert verb in {*VERBS, "by"}


@each_page
def test_every_file_that_is_named_exists(page: Page) -> None:
    names = [*page.spans(), *(word for words in page.commands() for word in words)]
    missing = [name for name in names if not named_file_exists(name)]
    assert not missing


def named_file_exists(name: str) -> bool:
    """False for what looks like a path of this checkout, or like a file of it, and is none."""
    path, _, symbol = name.partition(":")
    first = path.partition("/")[0]
    if not re.fullmatch(r"[\w.*/{},-]+", path) or not first or first in MADE:
        return True
    if "/" not in path:
        return not re.fullmatch(r"test_\w+\.py", path) or any((ROOT / "tests").rglob(path))
    if (ROOT / first).is_dir():
        places = (ROOT,)
    elif first == "tradewind":
        places = (PACKAGE.parent,)
    elif (PACKAGE / first).is_dir() and (path.endswith((".py", "/"))):
        places = (PACKAGE,)
    else:
        return True
    found = [file for place in places for choice in choices(path) for file in place.glob(choice.rstrip("/"))]
    if symbol and found and found[0].is_file():
        return symbol in found[0].read_text(encoding="utf-8")
    return bool(found)


def choices(path: str) -> list[str]:
    """`a/{b,c}` is a/b and a/c."""
    if braces := re.search(r"\{([^}]*)\}", path):
        return [path.replace(braces[0], choice) for choice in braces[1].split(",")]
    return [path]


@each_page
def test_every_link_leads_to_a_page_and_a_heading(page: Page) -> None:
    for link in page.links():
        target, _, anchor = link.partition("#")
        file = (page.path.parent / target).resolve() if target else page.path
        assert file.exists(), link
        if anchor and file.suffix == ".md":
            assert anchor in Page(file).anchors(), link
