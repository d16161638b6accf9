"""A namespace with versions in use is deleted: it is gone within a minute, with the operator there and after it was away."""

import json
from collections.abc import Iterator

import pytest
from installation import RELEASE, SESSION_LABEL, SYSTEM, Installation
from space import Space

from manifests import endpoint, external, secrets
from tradewind.api.common import IN_USE_FINALIZER
from workshop.client import Json
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

SECONDS = 60
VERSIONS = 150
NOWHERE = {"nodeSelector": {"pool": "nowhere"}}
"""Endpoints hold their versions without a gateway that runs."""


@pytest.fixture
def going(space: Space, installation: Installation) -> Iterator[Space]:
    """The module's namespace, with all that the chart puts into it; made anew afterwards for those that upgrade the chart."""
    yield space
    operator(space, 1)
    if not space.cluster.get("Namespace", space.name):
        labels = {SESSION_LABEL: SYSTEM}
        space.cluster.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space.name, "labels": labels}}
        )
        installation.upgrade()
        space.apply(*secrets())


def operator(space: Space, replicas: int) -> None:
    space.cluster.kubectl("-n", SYSTEM, "scale", f"deployment/{RELEASE}-operator", f"--replicas={replicas}")
    wait_for(
        "the operator's pods",
        lambda: len(space.cluster.select("Pod", SYSTEM, "app.kubernetes.io/component=operator")),
        lambda count: count == replicas,
        seconds=90,
    )


def held(space: Space) -> list[str]:
    """Versions with the operator's finalizer."""
    versions = [v["metadata"] for v in space.select("ModelVersion")]
    return [v["name"] for v in versions if IN_USE_FINALIZER in v.get("finalizers", [])]


def used(count: int) -> list[Json]:
    """Versions that carry the finalizer, as if an Endpoint each had them in use."""
    versions = [external(f"v{n}", "steady") for n in range(count)]
    return [{**v, "metadata": {**v["metadata"], "finalizers": [IN_USE_FINALIZER]}} for v in versions]


def delete(space: Space) -> None:
    space.cluster.kubectl("delete", "namespace", space.name, "--wait=false")


def wait_gone(space: Space) -> None:
    wait_for(
        "the namespace to be gone",
        lambda: space.cluster.get("Namespace", space.name),
        lambda found: found is None,
        seconds=SECONDS,
        show=lambda found: json.dumps((found or {}).get("status", {}).get("conditions", []))[-600:],
    )


def test_versions_in_use_do_not_keep_a_namespace(going: Space) -> None:
    names = [f"e{n}" for n in range(4)]
    for name in names:
        going.apply(external(f"v-{name}", "steady"), endpoint(name, f"v-{name}", gateway=NOWHERE))
    wait_for("the versions to be held", lambda: held(going), lambda found: len(found) == len(names), seconds=60)
    delete(going)
    wait_gone(going)


def test_a_namespace_that_was_deleted_while_the_operator_was_away_goes_once_it_is_back(going: Space) -> None:
    operator(going, 0)
    going.cluster.kubectl("-n", going.name, "apply", "-f", "-", given=json.dumps(listed(used(VERSIONS))))
    delete(going)
    wait_for(
        "the operator's Role to be gone before the versions",
        lambda: going.kubectl("get", "roles", "-o", "name"),
        lambda found: not found,
        seconds=SECONDS,
    )
    assert len(held(going)) == VERSIONS
    operator(going, 1)
    wait_gone(going)


def listed(items: list[Json]) -> Json:
    return {"apiVersion": "v1", "kind": "List", "items": items}
