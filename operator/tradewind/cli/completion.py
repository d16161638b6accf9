"""`tradewind completion bash|zsh|fish`: a script that completes commands, options, kinds and fixed values.

    source <(tradewind completion bash)

It is written from the argument parser once and asks nothing afterwards: a key press starts no Python. Names of objects are
not completed.

Belongs here: the shells' scripts. Does not belong here: the commands.
"""

import argparse
import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tradewind.api.registry import KINDS
from tradewind.trading.exits import CommandExit

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_KIND_ARGUMENTS = ("kind", "object")

_BASH = """\
_tradewind() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" words="" command="${{COMP_WORDS[1]}}" prev=""
  if [ "$COMP_CWORD" -gt 1 ]; then prev="${{COMP_WORDS[COMP_CWORD-1]}}"; fi
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{commands}" -- "$cur"))
    return
  fi
  case "$command $prev" in
{values}
    *)
      case "$command $cur" in
{options}
{words}
      esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _tradewind tradewind
"""
_ZSH = """\
autoload -U +X compinit && compinit -u
autoload -U +X bashcompinit && bashcompinit
"""


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `completion` to the command line."""
    parser = subparsers.add_parser("completion", help="print a completion script: source <(tradewind completion bash)")
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="for which shell")
    parser.set_defaults(run=lambda args: run(args, subparsers.choices, _helps(subparsers)))


def run(args: argparse.Namespace, commands: dict[str, argparse.ArgumentParser], helps: dict[str, str]) -> int:
    """Prints the script."""
    script = fish(commands, helps) if args.shell == "fish" else bash(commands)
    sys.stdout.write(_ZSH + script if args.shell == "zsh" else script)
    return CommandExit.DONE


def bash(commands: dict[str, argparse.ArgumentParser]) -> str:
    """The script for bash, which zsh takes, too."""
    values, options, words = [], [], []
    for name, parser in commands.items():
        for action in parser._actions:
            if action.option_strings and action.choices:
                asked = "|".join(f'"{name} {option}"' for option in action.option_strings)
                values.append(f'    {asked}) words="{" ".join(map(str, action.choices))}" ;;')
        options.append(f'        "{name} -"*) words="{" ".join(_options(parser))}" ;;')
        fixed = " ".join(_positional(parser))
        if fixed:
            words.append(f'        "{name} "*) words="{fixed}" ;;')
    return _BASH.format(
        commands=" ".join(commands), values="\n".join(values), options="\n".join(options), words="\n".join(words)
    )


def fish(commands: dict[str, argparse.ArgumentParser], helps: dict[str, str]) -> str:
    """The script for fish."""
    lines = []
    for name, parser in commands.items():
        about = shlex.quote(helps.get(name, ""))
        lines.append(f"complete -c tradewind -f -n __fish_use_subcommand -a {name} -d {about}")
        within = f"complete -c tradewind -n '__fish_seen_subcommand_from {name}'"
        for action in parser._actions:
            named = [f"-l {option[2:]}" for option in action.option_strings if option.startswith("--")]
            named += [f"-s {option[1:]}" for option in action.option_strings if not option.startswith("--")]
            takes = " -r" if action.option_strings and action.nargs != 0 else ""
            given = f" -f -a {shlex.quote(' '.join(map(str, action.choices)))}" if action.choices else ""
            if named:
                text = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
                lines.append(f"{within} {' '.join(named)}{takes}{given} -d {shlex.quote(text)}")
        fixed = " ".join(_positional(parser))
        if fixed:
            lines.append(f"{within} -f -a {shlex.quote(fixed)}")
    return "\n".join(lines) + "\n"


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings


def _positional(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Fixed words that may stand without an option: choices, and names of kinds."""
    for action in parser._actions:
        if not action.option_strings:
            yield from map(str, action.choices or ())
            if action.dest in _KIND_ARGUMENTS:
                yield from (kind.singular for kind in KINDS)


def _helps(subparsers: "Subparsers") -> dict[str, str]:
    return {str(action.dest): str(action.help or "") for action in subparsers._choices_actions}
