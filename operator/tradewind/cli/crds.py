"""`tradewind crds`: write the CRDs from the types, check that what is committed is what they say, and that kinds only grew.

Belongs here: arguments, files and git. Does not belong here: the CRDs (api/crd.py) and their comparison (api/crd_changes.py).

Exit codes: 0 done; 1 a file is out of date (--check), or a kind has changed otherwise than by additions (--since); 2 there is
nothing of that name to compare with.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tradewind.api import crd
from tradewind.api.crd_changes import Allowed, breaking_changes
from tradewind.api.registry import KINDS

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

ALLOWED = Path("changes/allowed-rules.yaml")


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `crds` to the command line."""
    parser = subparsers.add_parser("crds", help="generate the CRDs and their reference")
    crd.add_arguments(parser)
    parser.add_argument(
        "--since",
        nargs="?",
        const="",
        metavar="TAG|DIR",
        help="write nothing; exit 1 if the kinds did more than grow since this git tag, or the CRDs in this folder "
        "(default: the newest tag v* before HEAD)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes or checks the generated files, or compares the kinds with earlier ones."""
    return crd.run(args) if args.since is None else _compare(args.directory, args.since)


def _compare(checkout: Path, since: str) -> int:
    try:
        since = since or _newest_tag(checkout)
        if not since:
            print("no tag v* in this checkout yet: the kinds are compared with nothing")
            return 0
        old = _crds(checkout, since)
        allowed = _allowed(checkout / ALLOWED)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        told = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        print(f"tradewind crds: {told}", file=sys.stderr)
        return 2
    changes = breaking_changes(old, [crd.crd(kind) for kind in KINDS], allowed)
    for change in changes:
        remedy = f"; if no object can break it, say why in {ALLOWED}: {change.rule}" if change.rule else ""
        print(f"{change.where}: {change.what}{remedy}", file=sys.stderr)
    print(f"{len(old)} kinds since {since}: {len(changes)} change(s) that are no additions")
    return 1 if changes else 0


def _newest_tag(checkout: Path) -> str:
    """Empty where there is none, or no git."""
    if not (checkout / ".git").exists():
        return ""
    return _git(checkout, "tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname").partition("\n")[0]


def _crds(checkout: Path, since: str) -> list[dict[str, Any]]:
    folder = Path(since)
    if folder.is_dir():
        texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))]
    else:
        names = _git(checkout, "ls-tree", "--name-only", since, "crds/").splitlines()
        texts = [_git(checkout, "show", f"{since}:{name}") for name in names if name.endswith(".yaml")]
    documents = [yaml.safe_load(text) for text in texts]
    found = [d for d in documents if isinstance(d, dict) and d.get("kind") == "CustomResourceDefinition"]
    if not found:
        raise ValueError(f"{since} holds no CustomResourceDefinition; give a tag of this repository or a folder")
    return found


def _allowed(path: Path) -> list[Allowed]:
    entries = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    try:
        allowed = [Allowed(**entry) for entry in entries or []]
    except TypeError:
        raise ValueError(f"{path}: each entry has where, rule and reason") from None
    for entry in allowed:
        if not str(entry.reason).strip():
            raise ValueError(f"{path}: the rule of {entry.where} is allowed without a reason")
    return allowed


def _git(checkout: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(checkout), *arguments], check=True, capture_output=True, text=True).stdout
