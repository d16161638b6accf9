"""What the docs and charts repeat from the code and from pyproject.toml, written there or checked.

    python docs/generate.py          brings pages and charts up to date
    python docs/generate.py --check  changes nothing; part of `make check`

A block of a page between `<!-- generated: NAME -->` and `<!-- /generated -->` is what BLOCKS[NAME] gives; version and
appVersion of the charts are the version of pyproject.toml.

Belongs here: finding the blocks, and how rows become tables. Does not belong here: the rows (they stand beside the code).

Exit codes: 0 up to date or written, 1 something is out of date (--check), 2 a block or a meaning is missing.
"""

import argparse
import ast
import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import ModuleType

Lines = Iterable[str]
ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)
_CHART_VERSION = re.compile(r"^(version|appVersion): .*$", re.MULTILINE)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the files that are out of date, and returns the exit code."""
    parser = argparse.ArgumentParser(description="Write or check what the docs and charts repeat from the code.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 if a page or a chart is out of date"
    )
    parser.add_argument("--directory", type=Path, default=ROOT, help="root of the checkout")
    args = parser.parse_args(argv)
    try:
        stale = {path: text for path, text in _files(args.directory) if path.read_text("utf-8") != text}
    except (OSError, ValueError) as error:
        print(f"docs/generate.py: {error}", file=sys.stderr)
        return 2
    for path, text in stale.items():
        if not args.check:
            path.write_text(text, encoding="utf-8")
        print(f"{'out of date, run docs/generate.py:' if args.check else 'wrote'} {path}")
    return 1 if stale and args.check else 0


def _files(checkout: Path) -> Iterator[tuple[Path, str]]:
    """Every page with a block and every chart, as it should be.

    Raises:
        ValueError: a page asks for a block that does not exist, or a block is in no page.
    """
    used = set()

    def filled(match: re.Match[str]) -> str:
        start, name, end = match.groups()
        if name not in BLOCKS:
            raise ValueError(f"no block is called {name}; there are {', '.join(sorted(BLOCKS))}")
        used.add(name)
        return "\n".join([start.rstrip("\n"), *BLOCKS[name](), end])

    for page in sorted((checkout / "docs").rglob("*.md")):
        yield page, _BLOCK.sub(filled, page.read_text(encoding="utf-8"))
    if left := BLOCKS.keys() - used:
        raise ValueError(
            f"in no page: {', '.join(sorted(left))}; write <!-- generated: NAME --> and <!-- /generated -->"
        )
    version = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    for chart in sorted((checkout / "charts").glob("*/Chart.yaml")):
        yield chart, _CHART_VERSION.sub(rf"\1: {version}", chart.read_text(encoding="utf-8"))


# --- the blocks -------------------------------------------------------------------------------------------------------


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A table in Markdown; the first column is code."""
    yield f"| {' | '.join(header)} |"
    yield f"| {' | '.join('---' for _ in header)} |"
    for name, *rest in rows:
        yield f"| `{name}` | {' | '.join(rest)} |".replace("|  |", "| |")


def _reasons() -> Iterator[str]:
    """Every enum called ...Reason below core and trading, with the docstring of each member."""
    for package in ("tradewind.core", "tradewind.trading"):
        for module in _modules(importlib.import_module(package)):
            for name, found in vars(module).items():
                if name.endswith("Reason") and isinstance(found, type) and found.__module__ == module.__name__:
                    yield f"\n{inspect.getdoc(found)}\n"
                    yield from table(("reason", "meaning"), _meanings(found))
    yield ""


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    yield package
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        yield importlib.import_module(found.name)


def _meanings(enum: type[StrEnum]) -> Iterator[tuple[str, str]]:
    """Value and docstring of each member. Raises ValueError where one has none."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(enum))).body
    assert isinstance(body, ast.ClassDef)
    for statement, following in zip(body.body, [*body.body[1:], None], strict=True):
        if not isinstance(statement, ast.Assign):
            continue
        (target,) = statement.targets
        assert isinstance(target, ast.Name)
        match following:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield enum[target.id].value, " ".join(text.split())
            case _:
                raise ValueError(
                    f"{enum.__module__}.{enum.__name__}.{target.id}: write its meaning as a docstring below it"
                )


def metrics(found: Iterable[object]) -> Iterator[str]:
    """Name as it is scraped, type, labels and meaning of each Prometheus metric among these."""
    from prometheus_client.metrics import MetricWrapperBase

    rows: list[tuple[str, ...]] = []
    for metric in dict.fromkeys(each for each in found if isinstance(each, MetricWrapperBase)):
        if metric._name.startswith("tradewind_"):
            name = metric._name + ("_total" if metric._type == "counter" else "")
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)
            rows.append((name, str(metric._type), labels, metric._documentation))
    return table(("metric", "type", "labels", "meaning"), rows)


def environment(variables: Iterable[tuple[str, str | None, str]]) -> Iterator[str]:
    """Name, default (None: it has to be set) and meaning of each variable."""
    rows = ((name, "required" if default is None else default, meaning) for name, default, meaning in variables)
    return table(("variable", "default", "meaning"), rows)


def _guardrails() -> Iterator[str]:
    guardrails = _of("tradewind.trading.evidence.guardrails").GUARDRAILS
    rows = [(guardrail.reason, guardrail.trips, guardrail.row) for guardrail in guardrails]
    return table(("reason", "trips on", "its row counts"), rows)


def _losses() -> Iterator[str]:
    losses = _of("tradewind.trading.evidence").LOSSES
    rows = [(reason.value, f"decisions {loss.what}", loss.mend) for reason, loss in losses.items()]
    return table(("reason", "what", "what to do"), rows)


def _exit_codes() -> Iterator[str]:
    codes = _of("tradewind.trading.exits").ExitCode
    rows = [(str(code.value), f"`{code.reason}`", code.end.name.lower(), code.meaning) for code in codes]
    return table(("exit", "reason", "the attempt", "meaning"), rows)


def _command_exits() -> Iterator[str]:
    return table(
        ("exit", "meaning"), ((str(code.value), code.meaning) for code in _of("tradewind.trading.exits").CommandExit)
    )


def _commands() -> Iterator[str]:
    """Each command with the line of its help."""
    parser = _of("tradewind.cli.commands").build_parser()
    (found,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return table(("command", "what it does"), ((action.dest, str(action.help)) for action in found._choices_actions))


def _gateway_errors() -> Iterator[str]:
    codes = sorted(_of("tradewind.gateway.errors").ErrorCode, key=lambda code: code.status)
    rows = [(code.value, str(code.status), code.when, code.what_to_do) for code in codes]
    return table(("code", "status", "when", "what to do"), rows)


_of = importlib.import_module

BLOCKS: Mapping[str, Callable[[], Lines]] = {
    "reasons": _reasons,
    "guardrails": _guardrails,
    "losses": _losses,
    "exit-codes": _exit_codes,
    "command-exits": _command_exits,
    "commands": _commands,
    "operator-metrics": lambda: metrics(
        value for module in _modules(_of("tradewind.shell")) for value in vars(module).values()
    ),
    "operator-environment": lambda: environment(_of("tradewind.shell.settings").VARIABLES),
    "gateway-errors": _gateway_errors,
    "gateway-environment": lambda: environment(
        (v.name, v.default, f"{v.meaning} ({v.bounds})" if v.bounds else v.meaning)
        for v in _of("tradewind.gateway.settings").VARIABLES
    ),
    "gateway-metrics": lambda: metrics(vars(_of("tradewind.gateway.metrics").Metrics()).values()),
    "predictor-options": lambda: table(
        ("option", "default", "meaning"), _of("tradewind.predictor.settings").options_table()
    ),
}

if __name__ == "__main__":
    sys.exit(main())
