"""Where a gateway's spool lies: on a disk of the pod's own, or on a claim that all pods share."""

from dataclasses import replace
from typing import Any

import golden_worlds

from tradewind.api.endpoint import EndpointSpec
from tradewind.core.decision import Apply

CASE = golden_worlds.load("endpoint", "renews-expiry-and-keeps-the-generation")


def pod(gateway: dict[str, Any]) -> dict[str, Any]:
    manifest = CASE.resource.spec.to_manifest()  # type: ignore[attr-defined]
    spec = EndpointSpec.model_validate(manifest | {"gateway": manifest.get("gateway", {}) | gateway})
    decision = replace(CASE, resource=CASE.resource.model_copy(update={"spec": spec})).decide()
    (deployment,) = (
        e.manifest for e in decision.effects if isinstance(e, Apply) and e.manifest["kind"] == "Deployment"
    )
    return dict(deployment["spec"]["template"]["spec"])


def spool(gateway: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Volume, place of the mount, and variables."""
    made = pod(gateway)
    (container,) = made["containers"]
    (volume,) = (each for each in made["volumes"] if each["name"] == "spool")
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "spool")
    variables = {each["name"]: each.get("value") for each in container["env"] if "SPOOL" in each["name"]}
    return volume, mount, variables


def test_without_a_claim_it_goes_with_the_pod() -> None:
    volume, mount, variables = spool({})
    assert volume == {"name": "spool", "emptyDir": {"sizeLimit": "256Mi"}}
    assert variables == {"TRADEWIND_SPOOL_DIR": mount["mountPath"], "TRADEWIND_SPOOL_GRACE_SECONDS": "120"}


def test_what_lies_on_a_pods_own_disk_is_waited_for_before_the_pod_is_killed() -> None:
    own, shared = pod({}), pod({"spool": {"claimName": "spools"}})
    assert own["terminationGracePeriodSeconds"] == shared["terminationGracePeriodSeconds"] + 120


def test_on_a_claim_each_pod_has_a_folder_that_the_others_see() -> None:
    volume, mount, variables = spool({"spool": {"claimName": "spools"}})
    assert volume == {"name": "spool", "persistentVolumeClaim": {"claimName": "spools"}}
    assert mount == {"name": "spool", "mountPath": "/var/spool/tradewind"}
    name = CASE.resource.metadata.name
    assert variables == {
        "TRADEWIND_SPOOL_DIR": f"/var/spool/tradewind/{name}/$(TRADEWIND_REPLICA)",
        "TRADEWIND_SPOOL_SHARED": "enabled",
    }


def test_the_name_of_the_pod_is_known_where_the_folder_is_named() -> None:
    """Kubernetes fills in what was defined before."""
    (container,) = pod({"spool": {"claimName": "spools"}})["containers"]
    names = [each["name"] for each in container["env"]]
    assert names.index("TRADEWIND_REPLICA") < names.index("TRADEWIND_SPOOL_DIR")
