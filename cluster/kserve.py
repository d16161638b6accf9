"""KServe from its own Helm charts, which lie in the Go module: Standard mode, no cert-manager, no ingress."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from cluster import build, certs, containers
from cluster.layout import Layout
from cluster.shell import run
from workshop.client import Cluster
from workshop.namespace import Namespace
from workshop.progress import Progress, say
from workshop.waiting import wait_for

MODULE = "github.com/kserve/kserve"
NAMESPACE = "kserve"
WEBHOOK_SECRET = "kserve-webhook-server-cert"
# They need cert-manager, or an image (the storage initializer) that nothing here uses.
DROPPED_KINDS = frozenset({"Certificate", "Issuer", "ClusterStorageContainer"})
SERVED = (("v1beta1", "inferenceservices"), ("v1alpha1", "servingruntimes"), ("v1alpha1", "inferencegraphs"))
Manifest = dict[str, Any]


def install(layout: Layout, kube: Cluster, progress: Progress) -> None:
    """Apply CRDs and resources, and wait until the controller is Available. Errors: StepError."""
    charts = build.module_folder(layout, MODULE) / "charts"
    with progress.step("KServe CRDs"):
        kube.apply(_template(layout, charts / "kserve-crd"))
        # The controller ends itself when it starts before the API serves its kinds.
        remedy = f"`{layout.bin}/kubectl get crd inferenceservices.serving.kserve.io -o yaml` says what is wrong"
        wait_for("the API to serve InferenceService", lambda: _unserved(kube), _nothing, remedy=remedy, say=say)
    with progress.step("KServe controller", waits_for="its Deployment and webhooks"):
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        kube.apply(_webhook_secret(layout.certs))
        rendered = _template(layout, charts / "kserve-resources", "kserve.controller.deploymentMode=Standard")
        wanted = "\n---\n".join(without_kinds(rendered, DROPPED_KINDS))
        objects = parse_stream(kube.kubectl("create", "--dry-run=client", "-o", "json", "-f", "-", given=wanted))
        image = containers.system_image(layout, "kserve-manager")
        authority = certs.encoded(layout.certs / "ca.crt")
        items = [adapt(item, image=image, authority=authority) for item in objects]
        kube.apply(*items, patience_seconds=5)
        Namespace(kube, NAMESPACE, say).wait_available("kserve-controller-manager", seconds=180)


def _unserved(kube: Cluster) -> list[str]:
    answers = {version: kube.read(f"/apis/serving.kserve.io/{version}").body for version, _ in SERVED}
    return [kind for version, kind in SERVED if f'"name":"{kind}"' not in answers[version]]


def _nothing(kinds: list[str]) -> bool:
    return not kinds


def without_kinds(rendered: str, kinds: frozenset[str]) -> list[str]:
    """The documents of a YAML stream whose top-level `kind` is none of `kinds`. Empty documents are left out."""
    kept = []
    for document in re.split(r"^---\s*$", rendered, flags=re.MULTILINE):
        match = re.search(r"^kind: (\S+)", document, re.MULTILINE)
        if match is not None and match[1] not in kinds:
            kept.append(document.strip())
    return kept


def parse_stream(text: str) -> list[Manifest]:
    """Concatenated JSON objects, as `kubectl create -o json` prints them for a stream."""
    decoder, position = json.JSONDecoder(), 0
    found: list[Manifest] = []
    while (rest := text[position:].lstrip()) != "":
        position = len(text) - len(rest)
        item, length = decoder.raw_decode(rest)
        found += item["items"] if item["kind"] == "List" else [item]
        position += length
    return found


def adapt(item: Manifest, *, image: str, authority: str) -> Manifest:
    """What a node without cert-manager, ingress and the public images needs changed in one of KServe's objects."""
    item.get("metadata", {}).pop("creationTimestamp", None)
    match item["kind"]:
        case "Deployment":
            _adapt_manager(item["spec"]["template"]["spec"], image)
        case "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration":
            item["metadata"].get("annotations", {}).pop("cert-manager.io/inject-ca-from", None)
            for webhook in item["webhooks"]:
                webhook["clientConfig"]["caBundle"] = authority
        case "ConfigMap" if item["metadata"]["name"] == "inferenceservice-config":
            ingress = json.loads(item["data"]["ingress"])
            ingress |= {"disableIngressCreation": True, "disableIstioVirtualHost": True}
            item["data"]["ingress"] = json.dumps(ingress)
    return item


def _adapt_manager(pod: Manifest, image: str) -> None:
    pod["containers"] = [container for container in pod["containers"] if container["name"] == "manager"]
    manager = pod["containers"][0]
    manager |= {"image": image, "imagePullPolicy": "IfNotPresent", "command": ["/kserve-manager"]}
    # The chart waits 30 s before the first look, and a tenth of a core makes the start slow.
    manager["readinessProbe"] |= {"initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 60}
    manager["resources"] = {"requests": {"cpu": "50m", "memory": "100Mi"}, "limits": {"memory": "400Mi"}}


def _webhook_secret(folder: Path) -> Manifest:
    data = {
        "tls.crt": certs.encoded(folder / "kserve-webhook.crt"),
        "tls.key": certs.encoded(folder / "kserve-webhook.key"),
    }
    metadata = {"name": WEBHOOK_SECRET, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}


def _template(layout: Layout, chart: Path, *settings: str) -> str:
    options = [option for setting in settings for option in ("--set", setting)]
    return run([layout.bin / "helm", "template", "kserve", chart, "--namespace", NAMESPACE, *options])
