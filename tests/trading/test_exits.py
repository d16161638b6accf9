"""The table of exit codes, as the operator reads it."""

from tradewind.trading.exits import End, ExitCode, exit_code


def test_a_pod_that_is_gone_was_interrupted_and_an_unknown_code_is_a_failure() -> None:
    assert exit_code(None).end is End.INTERRUPTED
    assert exit_code(139) is ExitCode.ERROR
    assert exit_code(65) is ExitCode.BAD_DATA
