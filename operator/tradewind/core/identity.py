"""Which ModelVersion is meant: its name, and a hash over everything that its answers depend on.

A name alone is no identity: whoever may delete a version can make another one under its name. Who answers (champion, fallback,
the arms of an experiment) is therefore kept as a `VersionStatusRef`, and a version that is not what the reference says is never
asked in its place. The same spec made anew, from Git after a disaster, is the same version.

Belongs here: the hash and the comparison. Does not belong here: what follows for an Endpoint (core/endpoint).
"""

import hashlib
import json
from datetime import datetime

from tradewind.api.common import VersionStatusRef
from tradewind.api.model_version import ModelVersion

_ANSWERS = frozenset({"runtime", "quantization", "merge", "dtype", "attention", "decoding", "reasoning"})
"""Fields of `serving` that change what is answered; the others say where and how many pods run."""


def version_sha256(version: ModelVersion) -> str | None:
    """The hash of the artifact that a version is pinned to; None for an external API, which has none."""
    if version.spec.adapter:
        return version.spec.adapter.sha256
    return version.spec.model.sha256 if version.spec.model else None


def spec_sha256(version: ModelVersion) -> str:
    """The hash of what a version asks or serves, of every kind, in 64 hex digits.

    Fields at their default do not count, so that a release with a new field leaves the hash of older objects as it is.
    """
    spec = version.spec
    parts = {
        "adapter": spec.adapter,
        "model": spec.model,
        "external": spec.external,
    }
    said = {
        name: part.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        for name, part in parts.items()
        if part is not None
    }
    serving = spec.serving.model_dump(mode="json", by_alias=True, exclude_defaults=True, include=set(_ANSWERS))
    if spec.external is None and serving:
        said["serving"] = serving
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def ref_to(version: ModelVersion, since: datetime | None = None) -> VersionStatusRef:
    """A version as it is now."""
    return VersionStatusRef(
        name=version.name,
        uid=version.metadata.uid,
        sha256=version_sha256(version),
        spec_sha256=spec_sha256(version),
        since=since,
    )


def is_meant(version: ModelVersion, ref: VersionStatusRef) -> bool:
    """Whether a version is what the reference speaks of, not another one under its name."""
    return version.name == ref.name and is_same(
        ref_to(version), ref
    )  # the name first: who holds what is asked of everybody


def is_same(one: VersionStatusRef, other: VersionStatusRef) -> bool:
    """Whether two references speak of the same version.

    Where one of them was kept before specs were hashed, the artifact's hash decides; an external API has none, and is then
    known by its uid alone.
    """
    if one.name != other.name or one.sha256 != other.sha256:
        return False
    if None not in (one.spec_sha256, other.spec_sha256):
        return one.spec_sha256 == other.spec_sha256
    return one.sha256 is not None or (one.uid is not None and one.uid == other.uid)
