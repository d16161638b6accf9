"""Who is asked beside the drawn arm, where the spec does not say it."""

import pytest

from tradewind.api.model_version import ModelVersion
from tradewind.core.evidence import shadow_of

SPECS = {
    "owned": {"model": {"uri": "pvc://m/x", "sha256": "a" * 64}},
    "external": {"external": {"protocol": "openai", "baseURL": "https://api.example.com", "model": "chat"}},
}


def version(kind: str) -> ModelVersion:
    return ModelVersion.model_validate({"kind": "ModelVersion", "metadata": {"name": kind}, "spec": SPECS[kind]})


@pytest.mark.parametrize(
    ("baseline", "candidate", "shadow"),
    [
        ("external", "owned", "candidate"),
        ("owned", "owned", "both"),
        ("owned", "external", "none"),
        ("external", "external", "none"),
    ],
)
def test_by_default_nobody_is_asked_who_costs_money(baseline: str, candidate: str, shadow: str) -> None:
    assert shadow_of(None, version(baseline), version(candidate)) == shadow
    for wanted in ("none", "candidate", "both"):
        assert shadow_of(wanted, version(baseline), version(candidate)) == wanted
