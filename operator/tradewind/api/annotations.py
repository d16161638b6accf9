"""Annotations in our prefix: which a kind knows, and what is said of one that it does not, most likely a misspelling.

Belongs here: names. Does not belong here: when a request is carried out (core/verbs.py).
"""

from collections.abc import Iterable
from difflib import get_close_matches

from tradewind.api.registry import VERBS

PREFIX = "tradewind.dev/"
_BESIDE = {"by": ("ABExperiment", "Endpoint"), "reason": ("ABExperiment", "Endpoint")}
"""What is told with a verb: who asks, and why."""


def known_annotations(kind: str) -> tuple[str, ...]:
    """What means something on an object of that kind: its verbs, then what is told with them."""
    verbs = [verb.name for verb in VERBS if kind in verb.kinds]
    beside = [name for name, kinds in _BESIDE.items() if kind in kinds]
    return tuple(f"{PREFIX}{name}" for name in (*verbs, *beside))


def unknown_annotations(kind: str, annotations: Iterable[str]) -> tuple[str, ...]:
    """One sentence for each annotation in our prefix that means nothing on that kind, in the order of their names."""
    known = known_annotations(kind)
    return tuple(
        _said(kind, name, known) for name in sorted(annotations) if name.startswith(PREFIX) and name not in known
    )


def _said(kind: str, name: str, known: tuple[str, ...]) -> str:
    shown = "".join(character if character.isprintable() else " " for character in name)[:128]
    if not known:
        return f"{shown}: unknown, so that nothing follows from it; {kind} knows no annotation in {PREFIX}: remove it"
    alike = get_close_matches(name.lower(), known, 1)
    meant = f"did you mean {alike[0]}? " if alike else ""
    return f"{shown}: unknown, so that nothing follows from it; {meant}{kind} knows {', '.join(known)}"
