"""How a ModelVersion is held: a finalizer that keeps it, and a label by which the admission policy names who needs it."""

from collections.abc import Mapping, Sequence
from typing import Any

from tradewind.api.common import IN_USE_BY_LABEL, IN_USE_FINALIZER


def hold_patch(metadata: Mapping[str, Any], holders: Sequence[str]) -> dict[str, Any]:
    """The metadata of a version that these need (`Kind/name`; nobody: it is let go of), bound to what was read."""
    finalizers = [name for name in metadata.get("finalizers", ()) if name != IN_USE_FINALIZER]
    return {
        "finalizers": [*finalizers, IN_USE_FINALIZER] if holders else finalizers,
        "labels": {IN_USE_BY_LABEL: holders[0].partition("/")[2] if holders else None},
        "resourceVersion": metadata["resourceVersion"],
    }


def is_held(metadata: Mapping[str, Any], holders: Sequence[str]) -> bool:
    """Whether a version is held by these already."""
    wanted = hold_patch(metadata, holders)
    known = (sorted(metadata.get("finalizers", [])), (metadata.get("labels") or {}).get(IN_USE_BY_LABEL))
    return known == (sorted(wanted["finalizers"]), wanted["labels"][IN_USE_BY_LABEL])
