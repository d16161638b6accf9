"""Manifests of the tests: our kinds with the smallest settings, Secrets, and the stand-in arms."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway_client import TOKEN
from installation import ARMS, STAND_INS

from workshop.client import Json

API_KEY = "api-key-of-the-e2e-tests"


def resource(kind: str, name: str, spec: Mapping[str, Any], **metadata: Any) -> Json:
    """One of our kinds."""
    return {
        "apiVersion": "tradewind.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": dict(spec),
    }


def external(name: str, behaviour: str, *, host: str = ARMS, scheme: str = "http", **more: Any) -> Json:
    """A ModelVersion behind OpenAI's protocol: one behaviour of arms.py."""
    spec = {"protocol": "openai", "baseURL": f"{scheme}://{host}/{behaviour}/v1", "model": f"arm-{behaviour}"}
    key = {"secretRef": {"name": "arm-key", "key": "api-key"}, "timeout": "5s"}
    return resource("ModelVersion", name, {"external": {**spec, **key, **more}})


def endpoint(
    name: str, fallback: str, *, replicas: int = 1, gateway: Mapping[str, Any] | None = None, **more: Any
) -> Json:
    settings = {
        "replicas": replicas,
        "resources": {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}},
        "breaker": {"failures": 5, "openFor": "2s"},
        **(gateway or {}),
    }
    limits = {
        "symbols": ["EURUSD"],
        "permissionLevels": {"L1": {"maxLeverage": 2, "maxSizeUSD": "100", "allowNoStop": True}},
    }
    spec = {"fallback": fallback, "allowAutoPromote": True, "gateway": settings, "limits": limits}
    return resource("Endpoint", name, {**spec, **more})


def experiment(name: str, point: str, baseline: str | None, candidate: str, **more: Any) -> Json:
    arms = {"candidate": candidate} | ({"baseline": baseline} if baseline else {})
    return resource("ABExperiment", name, {"endpointRef": {"name": point}, **arms, **more})


def secrets() -> list[Json]:
    """What every namespace with an Endpoint needs beside the database's Secret."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "tradewind-gateway"},
            "stringData": {"token": TOKEN},
        },
        api_key("arm-key", API_KEY),
    ]


def api_key(name: str, key: str, *more: str) -> Json:
    """A Secret with a key for the stand-in arms, and for more hosts."""
    hosts = (*STAND_INS, f"{ARMS}:80", *more)  # https at port 80 is another than at its own
    data = {"api-key": key, "allowedHosts": "\n".join(hosts)}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def arms_server(image: str, name: str = "arms") -> list[Json]:
    """arms.py as a Deployment and a Service, in the image that has a plain Python at hand."""
    labels = {"app": name}
    script = (Path(__file__).parent / "arms.py").read_text(encoding="utf-8")
    container = {
        "name": "arms",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/opt/venv/bin/python", "-u", "/srv/arms/arms.py"],
        "ports": [{"name": "http", "containerPort": 8000}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 3},
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "script", "mountPath": "/srv/arms", "readOnly": True}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "script", "configMap": {"name": f"{name}-script"}}],
    }
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-script"}, "data": {"arms.py": script}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
    ]
