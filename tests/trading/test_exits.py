"""The table of exit codes is one: for the programs, for the operator and for people."""

from pathlib import Path

from tradewind.trading.exits import End, ExitCode, exit_code

DOCS = Path(__file__).parents[2] / "docs" / "training.md"


def test_the_docs_have_the_table() -> None:
    rows = [f"| {code.value} | {code.reason} | {code.end.name.lower()} | {code.meaning} |" for code in ExitCode]
    assert "\n".join(rows) in DOCS.read_text(encoding="utf-8")


def test_a_pod_that_is_gone_was_interrupted_and_an_unknown_code_is_a_failure() -> None:
    assert exit_code(None).end is End.INTERRUPTED
    assert exit_code(139) is ExitCode.ERROR
    assert exit_code(65) is ExitCode.BAD_DATA
