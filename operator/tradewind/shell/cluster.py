"""The one module that talks to the Kubernetes API: read, server-side apply, create, delete, write a status, post an Event.

Objects go in and out as plain JSON. A missing object is None, a conflict or a refusal is an exception that names the object.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import getproxies

import aiohttp
import yaml
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from tradewind.core.decision import FIELD_MANAGER

Json = dict[str, Any]

_JSON = "application/json"
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_PAGE = 100
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class ClusterError(Exception):
    """The API server refused or did not answer. `status` is the HTTP status (0: no answer); retried with back-off."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Cluster:
    """An authenticated client. Use as an async context manager."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api
        self._paths: dict[tuple[str, str], tuple[str, bool]] = {}

    @classmethod
    async def connect(cls, context: str | None = None) -> Self:
        """Inside a pod by its ServiceAccount, else by KUBECONFIG; by that where a context of it is named.

        Raises:
            ClusterError: no cluster is configured, or there is no such context; the message says what to do.
        """
        try:
            if context is not None:
                raise config.ConfigException("a context is named")
            config.load_incluster_config()
        except config.ConfigException:
            known = [found["name"] for found in _contexts()[0]]
            if context is not None and known and context not in known:
                raise ClusterError(f"context {context!r} is not in KUBECONFIG; it has {', '.join(known)}", 0) from None
            try:
                await config.load_kube_config(context=context)
            except (config.ConfigException, OSError, yaml.YAMLError, TypeError, AttributeError, KeyError) as error:
                what = (
                    str(error) if isinstance(error, config.ConfigException | OSError) else "no kubeconfig can be read"
                )
                message = f"no cluster is configured ({what}): set KUBECONFIG to a file with a current context"
                message += f", or name one by --context: {', '.join(known)}" if known else ""
                raise ClusterError(message, 0) from error
        settings = client.Configuration.get_default_copy()
        if not getproxies():  # else aiohttp looks for a netrc file before each request, in a thread
            settings.client_session_kwargs = {"trust_env": False}
        return cls(client.ApiClient(settings))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._api.close()

    async def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> Json | None:
        """One object, or None."""
        try:
            return await self._call("GET", await self._path(api_version, kind, namespace, name))
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    async def serves(self, api_version: str) -> bool:
        """Whether the cluster has an API; one whose server is away (503) is not there."""
        base = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            await self._call("GET", base)
        except ClusterError as error:
            if error.status in (404, 503):
                return False
            raise
        return True

    async def select(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> Sequence[Json]:
        """All objects of a kind (namespace None: of the cluster) that the selectors match."""
        chosen = {"label_selector": label_selector, "field_selector": field_selector}
        return (await self.listing(api_version, kind, namespace, **chosen))[0]

    async def listing(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> tuple[Sequence[Json], str]:
        """The same, with the resourceVersion that the list is of."""
        selectors = (("labelSelector", label_selector), ("fieldSelector", field_selector))
        query = [(name, text) for name, text in selectors if text]
        items: list[Json] = []
        version = ""
        async for page, version in self._pages(await self._path(api_version, kind, namespace, None), query):  # noqa: B007 - of the last page
            items += page
        for item in items:
            item.setdefault("apiVersion", api_version)
            item.setdefault("kind", kind)
        return items, version

    async def pages(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        metadata: bool = False,
        label_selector: str = "",
    ) -> AsyncIterator[tuple[Sequence[Json], str]]:
        """All objects of a kind, some at a time, each time with the resourceVersion that the whole list is of.

        Args:
            metadata: of each object its metadata alone.
        """
        query = [("labelSelector", label_selector)] if label_selector else []
        accept = _METADATA if metadata else _JSON
        async for page, version in self._pages(await self._path(api_version, kind, namespace, None), query, accept):
            for item in page:
                item["apiVersion"], item["kind"] = api_version, kind
            yield page, version

    async def _pages(
        self, path: str, query: list[tuple[str, str]], accept: str = _JSON
    ) -> AsyncIterator[tuple[list[Json], str]]:
        """Nothing else runs while an answer is decoded: so a list comes in pages."""
        more = ""
        while True:
            asked = [*query, ("limit", str(_PAGE)), *([("continue", more)] if more else [])]
            answer = await self._call("GET", path, query=asked, accept=accept)
            metadata = answer["metadata"]
            yield answer.get("items") or [], metadata["resourceVersion"]
            more = metadata.get("continue") or ""
            if not more:
                return

    async def apply(self, manifest: Mapping[str, Any], *, manager: str = FIELD_MANAGER) -> Json:
        """Server-side apply, forced, as the operator's field manager or another.

        It takes over whatever has the name: children are applied by `children.Children`, which binds the manifest to what it
        has seen.
        """
        path = await self._path_of(manifest)
        query = [("fieldManager", manager), ("force", "true")]
        return await self._call("PATCH", path, body=dict(manifest), query=query, content="application/apply-patch+yaml")

    async def create(self, manifest: Mapping[str, Any]) -> Json | None:
        """Create, and give what was made; None: it exists already, which is fine."""
        metadata = manifest["metadata"]
        path = await self._path(manifest["apiVersion"], manifest["kind"], metadata.get("namespace"), None)
        try:
            return await self._call("POST", path, body=dict(manifest), query=[("fieldManager", FIELD_MANAGER)])
        except ClusterError as error:
            if error.status != 409:
                raise
            return None

    async def delete(self, api_version: str, kind: str, namespace: str, name: str, *, uid: str) -> None:
        """Delete this very object with its dependents in the background; absent is fine, another by then is a conflict (409)."""
        path = await self._path(api_version, kind, namespace, name)
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        try:
            await self._call("DELETE", path, body={**options, "preconditions": {"uid": uid}})
        except ClusterError as error:
            if error.status != 404:
                raise

    async def merge(
        self, api_version: str, kind: str, namespace: str, name: str, patch: Mapping[str, Any], *, subresource: str = ""
    ) -> Json:
        """JSON merge patch of an object or one of its subresources."""
        path = await self._path(api_version, kind, namespace, name)
        path = f"{path}/{subresource}" if subresource else path
        query = [("fieldManager", FIELD_MANAGER)]
        return await self._call("PATCH", path, body=dict(patch), query=query, content="application/merge-patch+json")

    async def write_status(self, resource: Mapping[str, Any], status: Mapping[str, Any]) -> Json:
        """Replace the status, bound to the resourceVersion that was read: a concurrent change is a conflict (409)."""
        metadata = resource["metadata"]
        path = await self._path(resource["apiVersion"], resource["kind"], metadata["namespace"], metadata["name"])
        body = {**resource, "status": dict(status)}
        return await self._call("PUT", f"{path}/status", body=body, query=[("fieldManager", FIELD_MANAGER)])

    async def event(
        self, regarding: Mapping[str, Any], *, reason: str, message: str, warning: bool, action: str, now: datetime
    ) -> None:
        """Post one Event about a resource. An Event that cannot be posted is dropped: it must not stop the work."""
        metadata = regarding["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"generateName": f"{name[:50]}-", "namespace": namespace},
            "eventTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "reportingController": "tradewind.dev/operator",
            "reportingInstance": "tradewind-operator",
            "action": action,
            "reason": reason[:128] or "Changed",
            "note": message[:1000],
            "type": "Warning" if warning else "Normal",
            "regarding": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "name": name,
                "namespace": namespace,
                "uid": metadata["uid"],
            },
        }
        try:
            await self._call("POST", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", body=body)
        except ClusterError:
            return

    async def review_token(self, token: str, audience: str) -> str | None:
        """The user name behind a ServiceAccount token for this audience, or None if it is not good."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        status = (await self._call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body=body)).get("status", {})
        if not status.get("authenticated") or audience not in status.get("audiences", []):
            return None
        username: str | None = status.get("user", {}).get("username")
        return username

    async def whoami(self) -> str:
        """The name by which the API server knows the user of this connection.

        Raises:
            ClusterError: it does not say.
        """
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await self._call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=body)
        name = ((answer.get("status") or {}).get("userInfo") or {}).get("username")
        if not name:
            raise ClusterError("the API server does not say who you are (SelfSubjectReview without a user name)", 0)
        return str(name)

    async def _path_of(self, manifest: Mapping[str, Any]) -> str:
        metadata = manifest["metadata"]
        return await self._path(manifest["apiVersion"], manifest["kind"], metadata.get("namespace"), metadata["name"])

    async def _path(self, api_version: str, kind: str, namespace: str | None, name: str | None) -> str:
        plural, namespaced = await self._plural(api_version, kind)
        base = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        if namespaced and namespace:
            base += f"/namespaces/{namespace}"
        return f"{base}/{plural}" + (f"/{name}" if name else "")

    async def _plural(self, api_version: str, kind: str) -> tuple[str, bool]:
        known = self._paths.get((api_version, kind))
        if known:
            return known
        base = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            resources = (await self._call("GET", base)).get("resources", [])
        except ClusterError as error:
            if error.status == 404:
                raise ClusterError(f"the cluster does not serve {api_version}: install it first", 404) from error
            raise
        for resource in resources:
            if "/" not in resource["name"]:
                self._paths[api_version, resource["kind"]] = (resource["name"], bool(resource["namespaced"]))
        try:
            return self._paths[api_version, kind]
        except KeyError:
            raise ClusterError(f"the cluster does not serve {kind} in {api_version}", 404) from None

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        query: list[tuple[str, str]] | None = None,
        content: str = _JSON,
        accept: str = _JSON,
    ) -> Json:
        headers = {"Accept": accept, "Content-Type": content}
        try:
            request = await self._api.param_serialize(
                method, path, query_params=query or [], header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            answer = await self._api.call_api(*request, _request_timeout=30)
            raw = await answer.read()
        except ApiException as error:
            raise ClusterError(f"{method} {path}: {_reason(error.body) or error.reason}", error.status or 0) from error
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            where = self._api.configuration.host
            raise ClusterError(f"{method} {path}: no answer from {where} ({type(error).__name__})", 0) from error
        if not 200 <= answer.status <= 299:
            raise ClusterError(f"{method} {path}: {_reason(raw) or answer.reason}", answer.status)
        try:
            decoded: Json = json.loads(raw) if raw else {}
        except ValueError as error:
            where = self._api.configuration.host
            raise ClusterError(f"{method} {path}: {where} answers no JSON: is it an API server?", 0) from error
        return decoded


def current_namespace(context: str | None = None) -> str:
    """The namespace of a pod, else that of KUBECONFIG's current (or named) context; "default" where neither says one."""
    if context is None and _OWN_NAMESPACE.is_file():
        return _OWN_NAMESPACE.read_text(encoding="utf-8").strip() or "default"
    known, current = _contexts()
    named = current if context is None else next((found for found in known if found["name"] == context), None)
    return str(((named or {}).get("context") or {}).get("namespace") or "default")


def _contexts() -> tuple[list[Json], Json | None]:
    """Contexts of KUBECONFIG, and the current one; nothing where it cannot be read, which `connect` says."""
    try:
        known, current = config.kube_config.list_kube_config_contexts()
    except (config.ConfigException, OSError, yaml.YAMLError, TypeError, AttributeError):
        return [], None
    return known, current


def _reason(body: bytes | str | None) -> str:
    try:
        message = json.loads(body or "{}").get("message", "")
    except ValueError:
        message = str(body)
    return str(message)[:1000]
