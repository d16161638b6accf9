"""`tradewind get -o manifests`: objects as files that can be applied again, in Git or after a disaster.

Belongs here: what of an object is its author's, and the order of the files. Does not belong here: reading the objects
(objects.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from tradewind.api.annotations import known_annotations
from tradewind.api.common import API_VERSION, IN_USE_BY_LABEL
from tradewind.api.registry import BY_KIND as API_KINDS

Json = Mapping[str, Any]

_ORDER = ("ModelVersion", "Endpoint", "TrainingSchedule", "TrainingRun", "ABExperiment")
"""What is named before what names it."""
_APPLIED_BEFORE = "kubectl.kubernetes.io/last-applied-configuration"


def as_manifests(objects: Sequence[Json]) -> str:
    """The documents, one after the other.

    Without status, and without what ties an object to a cluster: uid, owners, finalizers. Without verbs: each acts once, and who
    remembers that is the status. What has ended is left out and named: applied again it would begin anew.
    """
    ended = [f"{o['kind']}/{o['metadata']['name']}" for o in objects if _has_ended(o)]
    kept = sorted((o for o in objects if not _has_ended(o)), key=_place)
    head = [f"# left out, since it has ended: {', '.join(ended)}\n"] if ended else []
    return "".join([*head, *(f"---\n{yaml.safe_dump(_own(o), sort_keys=False)}" for o in kept)])


def _has_ended(body: Json) -> bool:
    return API_KINDS[body["kind"]].batch and bool((body.get("status") or {}).get("completionTime"))


def _place(body: Json) -> tuple[str, int, str]:
    metadata = body["metadata"]
    return metadata.get("namespace", ""), _ORDER.index(body["kind"]), metadata["name"]


def _own(body: Json) -> Json:
    metadata = body["metadata"]
    meant = {key: metadata[key] for key in ("name", "namespace") if key in metadata}
    labels = {key: value for key, value in metadata.get("labels", {}).items() if key != IN_USE_BY_LABEL}
    annotations = dict(_lasting(body["kind"], metadata.get("annotations", {})))
    more = {key: value for key, value in (("labels", labels), ("annotations", annotations)) if value}
    return {"apiVersion": API_VERSION, "kind": body["kind"], "metadata": {**meant, **more}, "spec": body["spec"]}


def _lasting(kind: str, annotations: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    acts = known_annotations(kind)
    return ((key, value) for key, value in annotations.items() if key not in acts and key != _APPLIED_BEFORE)
