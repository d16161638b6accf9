"""Every command explains itself: argparse formats help texts, and a stray % in one is an error at the moment of need."""

import argparse

import pytest

from tradewind.cli.commands import build_parser


def test_each_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    (commands,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name in commands.choices:
        with pytest.raises(SystemExit) as ended:
            build_parser().parse_args([name, "--help"])
        assert ended.value.code == 0
        assert f"tradewind {name}" in capsys.readouterr().out
    assert len(commands.choices) > 10
