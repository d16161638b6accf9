"""`tradewind lint FILE...`: what the API server would refuse, without an API server."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tradewind.api.annotations import unknown_annotations
from tradewind.api.common import API_VERSION
from tradewind.api.parse import InvalidSpec, parse_manifest

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `lint` to the command line."""
    parser = subparsers.add_parser("lint", help="check manifests of Tradewind's kinds, without a cluster")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="YAML, any number of documents")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints one line a problem; exit code 1 where there is one."""
    problems = [problem for path in args.files for problem in lint(path)]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(args.files)} file(s), {len(problems)} problem(s)")
    return 1 if problems else 0


def lint(path: Path) -> Iterator[str]:
    """The problems of one file, each with file, object and field. Other people's kinds are passed over."""
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        yield f"{path}: cannot be read: {' '.join(str(error).split())}"
        return
    for number, document in enumerate(documents, 1):
        if not isinstance(document, dict):
            if document is not None:
                yield f"{path}: document {number} is no object; write apiVersion, kind, metadata and spec"
            continue
        if document.get("apiVersion") != API_VERSION:
            continue
        parsed, kind = parse_manifest(document), str(document.get("kind"))
        if isinstance(parsed, InvalidSpec):
            name = (document.get("metadata") or {}).get("name", "?")
            yield f"{path}: {kind} {name}: {parsed.message}"
            continue
        for message in unknown_annotations(kind, parsed.metadata.annotations):
            yield f"{path}: {kind} {parsed.name}: metadata.annotations: {message}"
