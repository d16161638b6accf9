"""`tradewind get -o manifests`: what was applied comes out again, and nothing of the cluster that it was in."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tradewind.api.parse import InvalidSpec, parse
from tradewind.api.registry import BY_KIND
from tradewind.cli.manifests import as_manifests
from tradewind.main import cli

SAMPLES = Path(__file__).parents[2] / "crds" / "samples"


def _applied() -> list[dict[str, Any]]:
    """Our kinds of all samples, each once by kind and name."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(SAMPLES.glob("*.yaml"))]
    found = (o for text in texts for o in yaml.safe_load_all(text) if o and o["kind"] in BY_KIND)
    return list({(o["kind"], o["metadata"]["name"]): o for o in found}.values())


def _in_a_cluster(applied: dict[str, Any], **status: Any) -> dict[str, Any]:
    metadata = {
        **applied["metadata"],
        "uid": "4c3f",
        "resourceVersion": "812",
        "generation": 3,
        "creationTimestamp": "2026-03-01T12:00:00Z",
        "finalizers": ["tradewind.dev/in-use"],
        "ownerReferences": [{"kind": "TrainingRun", "name": "weekly", "uid": "77"}],
        "managedFields": [{"manager": "kubectl"}],
        "labels": {**applied["metadata"].get("labels", {}), "team": "fx", "tradewind.dev/in-use-by": "trader"},
        "annotations": {
            **applied["metadata"].get("annotations", {}),
            "note": "kept",
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
        },
    }
    return {**applied, "metadata": metadata, "status": {"phase": "Running", **status}}


def test_what_was_applied_comes_out_again_and_is_valid() -> None:
    applied = _applied()
    documents = list(yaml.safe_load_all(as_manifests([_in_a_cluster(o) for o in applied])))
    assert len(documents) == len(applied) > 5
    by_name = {(d["kind"], d["metadata"]["name"]): d for d in documents}
    for before in applied:
        after = by_name[before["kind"], before["metadata"]["name"]]
        assert set(after) == {"apiVersion", "kind", "metadata", "spec"}
        assert set(after["metadata"]) <= {"name", "namespace", "labels", "annotations"}
        assert after["metadata"]["labels"] == before["metadata"].get("labels", {}) | {"team": "fx"}
        assert after["metadata"]["annotations"]["note"] == "kept"
        assert after["spec"] == before["spec"]
        assert not isinstance(parse(BY_KIND[after["kind"]].resource, after), InvalidSpec)


def test_what_is_named_comes_before_what_names_it() -> None:
    kinds = [d["kind"] for d in yaml.safe_load_all(as_manifests([_in_a_cluster(o) for o in _applied()]))]
    first = {kind: kinds.index(kind) for kind in kinds}
    last = {kind: len(kinds) - 1 - kinds[::-1].index(kind) for kind in kinds}
    assert last["ModelVersion"] < first["Endpoint"]
    assert last["Endpoint"] < min(first["ABExperiment"], first["TrainingRun"], first["TrainingSchedule"])


def test_a_verb_is_not_asked_for_again() -> None:
    point = next(o for o in _applied() if o["kind"] == "Endpoint")
    point = {**point, "metadata": {**point["metadata"], "annotations": {"tradewind.dev/promote": "v2/r1"}}}
    (document,) = yaml.safe_load_all(as_manifests([_in_a_cluster(point)]))
    assert document["metadata"]["annotations"] == {"note": "kept"}


def test_what_has_ended_is_named_and_left_out() -> None:
    experiment = next(o for o in _applied() if o["kind"] == "ABExperiment")
    text = as_manifests([_in_a_cluster(experiment, phase="RolledBack", completionTime="2026-03-02T12:00:00Z")])
    assert text == f"# left out, since it has ended: ABExperiment/{experiment['metadata']['name']}\n"


def test_manifests_are_not_watched(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli(["get", "-A", "-w", "-o", "manifests"]) == 2
    assert "leave out -w" in capsys.readouterr().err
