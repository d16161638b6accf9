"""The object of a report that is about one object: a manifest as `kubectl get -o json` prints it.

Belongs here: reading it. Does not belong here: where it comes from (report.py), and what is shown of it.
"""

from collections.abc import Mapping
from typing import TypeVar

from tradewind.api.common import Resource
from tradewind.api.parse import InvalidSpec, parse

_R = TypeVar("_R", bound=Resource)


def read_manifest(resource: type[_R], manifest: Mapping[str, object]) -> _R:
    """The object of a manifest.

    Raises:
        ValueError: it is of another kind, or cannot be read; the message says what is wrong.
    """
    asked = resource.__name__
    kind = manifest.get("kind") if isinstance(manifest, Mapping) else None
    if kind != asked:
        msg = f"holds {kind or 'no object of a kind'}, asked was a {asked}: give it as `kubectl get -o json` prints one"
        raise ValueError(msg)
    found = parse(resource, manifest)
    if isinstance(found, InvalidSpec):
        msg = f"cannot be read: {found.message}"
        raise ValueError(msg)  # noqa: TRY004 - what is wrong is what a file says
    return found
