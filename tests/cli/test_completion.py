"""`tradewind completion`: what the shells themselves make of the scripts."""

import shutil
import subprocess

import pytest

from tradewind.main import cli

BASH = """
source /dev/stdin <<'SCRIPT'
{script}
SCRIPT
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _tradewind; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
CASES = [
    ("tradewind ab", {"abort"}),
    ("tradewind get ab", {"abexperiment"}),
    ("tradewind explain training", {"trainingrun", "trainingschedule"}),
    ("tradewind get --out", {"--output"}),
    ("tradewind get -o ''", {"text", "wide", "json", "yaml", "name", "manifests"}),
    ("tradewind completion z", {"zsh"}),
    ("tradewind nonsense x", {""}),
]


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("words", "completed"), CASES)
def test_bash_completes(words: str, completed: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = BASH.format(script=script("bash", capsys), words=words)
    done = subprocess.run(["bash", "-u", "-c", text], capture_output=True, text=True, check=True)
    assert set(done.stdout.removesuffix("\n").split("\n")) == completed
    assert not done.stderr


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(("words", "completed"), CASES[:-1])
def test_fish_completes(words: str, completed: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = words.removesuffix("''")
    done = subprocess.run(
        ["fish", "-c", f"source; complete -C {words!r}"],
        input=script("fish", capsys),
        capture_output=True,
        text=True,
        check=True,
    )
    assert {line.partition("\t")[0] for line in done.stdout.splitlines()} == completed


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_takes_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    text = script("zsh", capsys) + "\nprint -r -- $_comps[tradewind]"
    done = subprocess.run(["zsh", "-f", "-c", text], capture_output=True, text=True, check=True)
    assert "_tradewind" in done.stdout
