"""`tradewind lint FILE|FOLDER|-...`: what the API server and the operator would refuse, without a cluster.

Belongs here: which files, which documents are ours, and the lines that are printed. Does not belong here: reading files
(manifest_file.py) and what is wrong with one of our objects (api/parse.py).

Exit codes: 0 no problem; 1 there is one, or a folder has nothing of ours.
"""

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradewind.api.annotations import unknown_annotations
from tradewind.api.common import API_VERSION, GROUP
from tradewind.api.model_version import ModelVersion
from tradewind.api.parse import InvalidSpec, parse_manifest
from tradewind.api.registry import BY_KIND
from tradewind.cli.manifest_file import Document, UnreadableError, as_mapping, read_documents
from tradewind.core.prompts import PromptFault, prompt_of
from tradewind.trading.exits import CommandExit

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

STDIN = Path("-")
_ENDINGS = (".yaml", ".yml", ".json")
_ALIKE = 0.75
_SHOWN_KINDS = 6


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `lint` to the command line."""
    parser = subparsers.add_parser("lint", help="check manifests of Tradewind's kinds, without a cluster")
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="YAML or JSON with any number of documents, a folder (*.yaml, *.yml, *.json in it and below), or - for stdin",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints one line a problem; see the exit codes above."""
    seen, files, problems = Seen(), 0, 0
    for path in args.files:
        before = seen.ours
        for file, in_folder in _files(path):
            files += 1
            for problem in lint(file, seen, in_folder=in_folder):
                problems += 1
                print(problem, file=sys.stderr)
        if path.is_dir() and seen.ours == before:
            problems += 1
            print(f"{path}: no object of {GROUP} in this folder: is it the right one?", file=sys.stderr)
    print(f"{files} file(s), {problems} problem(s): {seen}")
    return CommandExit.NO if problems else CommandExit.DONE


@dataclass
class Seen:
    """What was in the files: objects of ours, and the kinds of those that were passed over."""

    ours: int = 0
    others: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        told = f"{self.ours} object(s) of {GROUP}"
        if not self.others:
            return told
        kinds = [f"{count} {kind}" for kind, count in self.others.most_common(_SHOWN_KINDS)]
        more = ", ..." if len(self.others) > _SHOWN_KINDS else ""
        return f"{told}, {self.others.total()} of other kinds passed over ({', '.join(kinds)}{more})"


def lint(path: Path, seen: Seen | None = None, *, in_folder: bool = False) -> Iterator[str]:
    """The problems of one file, each with file, line, object and field; `seen` is counted on.

    An empty file is a problem where it was named, and none where its folder was.
    """
    seen = seen or Seen()
    shown = "stdin" if path == STDIN else str(path)
    try:
        content = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
        documents = read_documents(content.decode("utf-8"))
    except UnreadableError as error:
        yield f"{shown}:{error.line}: cannot be read: {error}"
        return
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        yield f"{shown}:{line}: cannot be read: not UTF-8 ({error.reason}); save it as UTF-8"
        return
    except OSError as error:
        yield f"{shown}: cannot be read: {error.strerror or error}"
        return
    if not documents and not in_folder:
        yield f"{shown}:1: is empty: there is no object in it"
    names: dict[tuple[str, ...], int] = {}
    texts = _config_maps(documents)
    for document in documents:
        for line, key, first in document.twice:
            yield f'{shown}:{line}: key "{_word(key)}" is set twice (first in line {first}): remove one'
        for path_of, found in _objects(document.content, ""):
            for at, message in _problems(found, path_of, document, seen, names):
                yield f"{shown}:{at}: {message}"
            told = _prompt_problem(found, texts)
            if told is not None:
                yield f"{shown}:{document.line_of(f'{path_of}spec.external.promptTemplate')}: {told}"


def _config_maps(documents: Iterable[Document]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """ConfigMaps of the file by namespace and name."""
    found = (as_mapping(each) for document in documents for _, each in _objects(document.content, ""))
    return {_place(each): each for each in found if (each.get("apiVersion"), each.get("kind")) == ("v1", "ConfigMap")}


def _place(found: Mapping[str, Any]) -> tuple[str, str]:
    metadata = as_mapping(found.get("metadata"))
    return str(metadata.get("namespace", "")), str(metadata.get("name", ""))


def _prompt_problem(found: Any, texts: Mapping[tuple[str, str], Mapping[str, Any]]) -> str | None:
    """What is wrong with the words of a version whose ConfigMap stands in the same file."""
    version = parse_manifest(found) if as_mapping(found).get("kind") == "ModelVersion" else None
    external = version.spec.external if isinstance(version, ModelVersion) else None
    if external is None or external.prompt_template is None:
        return None
    text = texts.get((_place(found)[0], external.prompt_template.name))
    prompt = None if text is None else prompt_of(external.prompt_template, {"data": as_mapping(text.get("data"))})
    if not isinstance(prompt, PromptFault):
        return None
    return f"ModelVersion {_place(found)[1]}: spec.external.promptTemplate: {prompt.message}"


def _objects(content: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The objects of a document with their paths in it: itself, or the items of a List."""
    kind = as_mapping(content).get("kind")
    items = as_mapping(content).get("items")
    if isinstance(kind, str) and kind.endswith("List") and isinstance(items, list):
        for index, item in enumerate(items):
            yield from _objects(item, f"{path}items[{index}].")
        return
    yield path, content


def _problems(
    found: Any, path: str, document: Document, seen: Seen, names: dict[tuple[str, ...], int]
) -> Iterator[tuple[int, str]]:
    """Line and words of each problem of one object."""
    line = document.line_of(path.removesuffix("."))
    if not isinstance(found, Mapping):
        yield line, f"is no object but {type(found).__name__}; write apiVersion, kind, metadata and spec"
        return
    wrong = _not_ours(found, seen)
    if wrong is not None:
        if wrong:
            yield document.line_of(path + wrong.partition(":")[0]), wrong
        return
    seen.ours += 1
    kind, metadata = str(found["kind"]), as_mapping(found.get("metadata"))
    name = _word(metadata.get("name", "?"))
    known = (kind, str(metadata.get("namespace", "")), str(metadata.get("name", "")))
    if "name" in metadata and known in names:
        yield line, f"{kind} {name}: is in this file twice (first in line {names[known]}): the last one would stay"
    names.setdefault(known, line)
    parsed = parse_manifest(found)
    if isinstance(parsed, InvalidSpec):
        for error in parsed.errors:
            yield document.line_of(f"{path}{error.path}"), f"{kind} {name}: {error}"
        return
    for annotation in sorted(parsed.metadata.annotations):
        for message in unknown_annotations(kind, [annotation]):
            at = document.line_of(f"{path}metadata.annotations.{annotation}")
            yield at, f"{kind} {name}: metadata.annotations: {message}"


def _not_ours(found: Mapping[str, Any], seen: Seen) -> str | None:
    """What is wrong with kind and apiVersion, "" where it is an object of somebody else's, None where it is ours."""
    version, kind = found.get("apiVersion"), found.get("kind")
    if not isinstance(kind, str) or not kind:
        return f"kind: missing; one of ours is {', '.join(BY_KIND)}, each with apiVersion: {API_VERSION}"
    if version is not None and not isinstance(version, str):
        return f"apiVersion: must be text, got {version!r}"
    if not version:
        meant = f"; {kind} has {API_VERSION}" if kind in BY_KIND else ""
        return f"apiVersion: missing{meant}"
    group, slash, _ = version.rpartition("/")
    if version == API_VERSION:
        if kind in BY_KIND:
            return None
        alike = get_close_matches(kind.lower(), [name.lower() for name in BY_KIND], 1)
        meant = next((f"; did you mean {name}?" for name in BY_KIND if alike and name.lower() == alike[0]), "")
        return f"kind: {_word(kind)} is none of {GROUP}; it has {', '.join(BY_KIND)}{meant}"
    if GROUP in (group, version):
        return f"apiVersion: {_word(version)} is not served; write {API_VERSION}"
    if _looks_like_ours(group if slash else version):
        return f"apiVersion: {_word(version)} is not our group; write {API_VERSION}"
    if kind in BY_KIND and ("." not in group or group.endswith(".k8s.io")):
        return f"apiVersion: {_word(version)} has no kind {kind}; {kind} of Tradewind has {API_VERSION}"
    seen.others[f"{kind} of {group}" if kind in BY_KIND else kind] += 1
    return ""


def _looks_like_ours(group: str) -> bool:
    """A misspelt group: tradewind.io, tradewnd.dev, Tradewind.dev."""
    group = group.lower()
    return "tradewind" in group.split(".") or SequenceMatcher(None, group, GROUP).ratio() >= _ALIKE


def _word(text: Any) -> str:
    """What somebody wrote, as it may stand in a line of text."""
    return re.sub(r"[^\S ]|[\x00-\x1f\x7f-\x9f]", " ", str(text))[:128]


def _files(path: Path) -> Iterator[tuple[Path, bool]]:
    """The files that are meant, in the order of their names, and whether a folder was named; hidden folders are left out."""
    if path == STDIN or not path.is_dir():
        yield path, False
        return
    for folder, below, names in os.walk(path):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(_ENDINGS) and not name.startswith("."):
                yield Path(folder) / name, True
