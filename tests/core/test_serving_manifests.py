"""What KServe is told of a version: how many pods, by which images, and that they stop."""

from dataclasses import replace
from typing import Any

import pytest
from golden_worlds import PLATFORM, Case, build, load

from tradewind.api.model_version import ModelVersion
from tradewind.core.decision import Apply, Owner
from tradewind.core.model_version import TEMPLATE_HASH, decide

NEWER = replace(PLATFORM, predictor_image="predictor:2", vllm_image="vllm:2")
STOP = "serving.kserve.io/stop"


def served(case: Case, platform: Any = PLATFORM) -> Any:
    """The InferenceService that a decision applies; None: it leaves what there is."""
    version = case.resource
    assert isinstance(version, ModelVersion)
    decision = decide(version, case.seen, case.now, platform=platform, owner=Owner.of(version))
    made = [e.manifest for e in decision.effects if isinstance(e, Apply) and e.manifest["kind"] == "InferenceService"]
    return made[0] if made else None


def images(manifest: Any) -> set[str]:
    predictor = manifest["spec"]["predictor"]
    return {c["image"] for part in ("initContainers", "containers") for c in predictor.get(part, ())}


def test_what_is_stopped_keeps_its_template() -> None:
    running = served(load("model_version", "ready-stays-ready"))["metadata"]["annotations"]
    stopped = served(load("model_version", "retired-pods-are-stopped"))["metadata"]["annotations"]
    assert STOP not in running
    assert stopped == {**running, STOP: "true"}


@pytest.mark.parametrize(
    ("case", "stops"),
    [
        ("retires-after-a-week-of-nobody", False),
        ("retired-pods-are-stopped", True),
        ("retired-keeps-why-it-failed", True),
        ("needed-before-its-pods-went", False),
        ("waking-waits-for-the-stop", True),
        ("waking-starts-the-predictor", False),
        ("kserve-does-not-stop", False),
    ],
)
def test_pods_stop_a_minute_after_it_was_said_and_never_under_who_needs_them(case: str, *, stops: bool) -> None:
    annotations = served(load("model_version", case))["metadata"]["annotations"]
    assert annotations.get(STOP) == ("true" if stops else None)


def test_pods_by_their_load() -> None:
    scaling = {"minReplicas": 2, "maxReplicas": 5, "targetCPUUtilization": 60}
    spec = {"serving": {"replicas": 9, "autoscaling": scaling, "resources": {"requests": {"cpu": "2"}}}}
    made = served(build("model_version", {"resource": {"spec": spec}}))
    assert made["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "hpa"
    asked = {"minReplicas": 2, "maxReplicas": 5, "scaleMetric": "cpu", "scaleTarget": 60}
    assert made["spec"]["predictor"].items() >= asked.items()


@pytest.mark.parametrize("vllm", [False, True])
@pytest.mark.parametrize(
    ("facts", "keeps"),
    [
        ({"stage": "Champion", "holders": ["Endpoint/trader"]}, True),
        ({"stage": "Candidate", "holders": ["ABExperiment/ab"]}, True),
        ({"stage": "Retired", "users": ["ABExperiment/waits"]}, False),
        ({"stage": "Candidate", "holders": ["Endpoint/trader"]}, False),  # a fallback
    ],
)
def test_an_upgrade_changes_no_image_of_a_champion_or_an_arm(facts: dict[str, Any], *, keeps: bool, vllm: bool) -> None:
    """Neither where the InferenceService is there, nor where somebody deletes it in the middle of an experiment."""
    status = {"benchmark": {"p99Ms": 60}, "sha256": "a" * 64, "evaluation": {"passed": True}, "attempts": 1}
    runtime = {"runtime": "huggingface" if vllm else "tradewind"}
    first = build("model_version", {"resource": {"spec": {"serving": runtime}, "status": status}, "facts": facts})
    before = served(first)
    first = first.after(first.decide())
    for there in (True, False):
        service = replace(first.seen.service, template_hash=before["metadata"]["annotations"][TEMPLATE_HASH])
        after = served(replace(first, seen=replace(first.seen, service=service if there else None)), NEWER)
        old, new = {"predictor:1", "vllm:1"}, {"predictor:2", "vllm:2"}
        assert after is not None
        assert images(after) == ({i for i in (old if keeps else new) if vllm or "vllm" not in i})
        assert (after == before) == keeps
