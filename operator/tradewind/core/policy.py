"""What an installation allows the authors of our objects: hosts, folders of nodes, places in the cluster, open gateways.

A rule is a function from a spec to `PolicyFault`s here; each kind's decision asks `version_faults`, `run_faults` or
`gateway_faults` in one line, makes no pod while there is one, and says so in a condition. Belongs here: the values and the
rules. Does not belong here: what hosts are (trading/hosts.py), where the values come from (shell/settings.py).
"""

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import AfterValidator, Field

from tradewind.api.common import CommonStatus, Toleration
from tradewind.api.endpoint import Gateway
from tradewind.api.evaluation import Evaluation
from tradewind.api.external_model import ExternalModel
from tradewind.api.model_version import ModelVersionSpec, Serving
from tradewind.api.placement import Affinity, NodeSelectorTerm, PodAffinityTerm
from tradewind.api.training_run import TrainingRunSpec
from tradewind.core.conditions import Fact
from tradewind.schema.rules import StrictModel
from tradewind.schema.scalars import parse_storage_uri
from tradewind.trading.arm_health import reason_of
from tradewind.trading.error_kinds import REMEDIES, ErrorCause
from tradewind.trading.hosts import SECRET_HOSTS_KEY, Egress, Reach, Refused, judged
from tradewind.trading.settings.stores import Store, endpoint_of, token_endpoint_of

_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
_LOADERS = ("PYTHON", "LD_")
_HOSTNAME = "kubernetes.io/hostname"
POLICY_KEPT = "PolicyKept"
"""The condition of an object that the policy refuses, or refused once."""


class PolicyReason(StrEnum):
    """Why an object is refused by the policy of its installation; of hosts, the reasons of arms say it."""

    HOST_PATH_NOT_ALLOWED = "HostPathNotAllowed"
    """A file:// URI names a folder of the node that policy.hostPaths does not list, or lists for reading alone."""
    SCHEDULING_NOT_ALLOWED = "SchedulingNotAllowed"
    """A priority class, toleration, node selector or affinity is not in the lists of the policy."""
    OPEN_GATEWAY_NOT_ALLOWED = "OpenGatewayNotAllowed"
    """gateway.auth.disabled, where policy.allowUnauthenticatedGateways is false."""
    VARIABLE_NOT_ALLOWED = "VariableNotAllowed"
    """A variable of gateway.env that policy.gatewayVariables does not list, or one by which code is loaded."""
    STORE_NOT_ALLOWED = "StoreNotAllowed"
    """The lists of egress do not name the host of a store, or not for a key without TLS."""
    SERVICE_ACCOUNT_NOT_ALLOWED = "ServiceAccountNotAllowed"
    """A store is to be reached as a ServiceAccount that policy.serviceAccounts does not list, or as two in one pod."""
    PROXY_NOT_ALLOWED = "ProxyNotAllowed"
    """A proxy of gateway.env that the lists of egress do not name."""
    POLICY_KEPT = "PolicyKept"
    """What was refused is allowed now, or was changed."""


def _normal(prefix: str) -> str:
    if not prefix.startswith("/") or prefix != _path(prefix) or prefix == "/" or ".." in prefix.split("/"):
        msg = "must be an absolute path below / without '.', '..', doubled or trailing slashes, such as /srv/models"
        raise ValueError(msg)
    return prefix


class HostPath(StrictModel):
    """A folder of the nodes that file:// URIs may lie in."""

    prefix: Annotated[str, Field(max_length=512), AfterValidator(_normal)]
    """The folder; what lies in it is mounted from there, so that a link in it leads nowhere else."""
    read_only: bool = True
    """false: TrainingRuns may write there."""

    def below(self, path: str) -> str:
        """The rest of a path in this folder; "": the folder itself."""
        return _path(path).removeprefix(self.prefix).strip("/")


Keys = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=317)], ...], Field(max_length=256)]


class Policy(StrictModel):
    """What authors may do, by the values `policy` of the chart. In lists of keys and names `*` stands for any text."""

    allow_unauthenticated_gateways: bool = False
    """Whether gateway.auth.disabled is obeyed."""
    host_paths: Annotated[tuple[HostPath, ...], Field(max_length=64)] = ()
    """Folders of the nodes for file:// URIs."""
    priority_classes: Keys = ("*",)
    """PriorityClasses; those that begin with system- must be written out."""
    toleration_keys: Keys = (
        "nvidia.com/*", "amd.com/*", "aliyun.com/*", "*.aliyun.com/*", "*.alibabacloud.com/*", "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable", "dedicated", "pool", "workload",
    )  # fmt: skip
    """Keys of taints that may be tolerated; a toleration without a key, of every taint, needs the entry `*`."""
    node_selector_keys: Keys = (
        "topology.kubernetes.io/*", "node.kubernetes.io/instance-type", "kubernetes.io/arch", "kubernetes.io/os", "nvidia.com/*",
        "amd.com/*", "aliyun.com/*", "*.aliyun.com/*", "alibabacloud.com/*", "*.alibabacloud.com/*", "aliyun.accelerator/*",
        "dedicated", "pool", "workload",
    )  # fmt: skip
    """Labels of nodes that pods may be bound to, by selector or affinity."""
    gateway_variables: Keys = ("*",)
    """Names of variables in gateway.env; those by which code is loaded (PYTHON..., LD_...) must be written out."""
    service_accounts: Keys = ()
    """ServiceAccounts that pods may run as to reach a store; whoever may name one has the rights of its role in the cloud."""
    affinity_namespaces: Keys = ()
    """Other namespaces whose pods an affinity may name."""
    egress: Egress = Egress()
    """Hosts that gateways may ask."""

    def folder(self, path: str, *, write: bool) -> HostPath | None:
        """The narrowest entry that has a path of the node; None: there is none."""
        normal = _path(path)
        having = [
            entry
            for entry in self.host_paths
            if (normal == entry.prefix or normal.startswith(f"{entry.prefix}/")) and not (write and entry.read_only)
        ]
        return max(having, key=lambda entry: len(entry.prefix), default=None)


@dataclass(frozen=True, slots=True)
class PolicyFault:
    """What is refused: the field, why, and what to do."""

    reason: str
    field: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}; {self.remedy}"


def version_faults(spec: ModelVersionSpec, policy: Policy) -> tuple[PolicyFault, ...]:
    """Of a ModelVersion; paths begin with `spec`."""
    faults: list[PolicyFault] = []
    if spec.external is not None:
        faults += _hosts(spec.external, policy)
    if spec.adapter is not None:
        faults += _storage(policy, ("spec.adapter.uri", spec.adapter.uri))
        base = spec.adapter.base_model
        faults += _storage(policy, ("spec.adapter.baseModel.uri", base.uri))
        faults += _stores(policy, ("spec.adapter", spec.adapter.uri, spec.adapter.store))
        faults += _stores(policy, ("spec.adapter.baseModel", base.uri, base.store))
    if spec.model is not None:
        faults += _storage(policy, ("spec.model.uri", spec.model.uri))
        faults += _stores(policy, ("spec.model", spec.model.uri, spec.model.store))
    if spec.external is None:
        faults += _serving(spec.serving, policy, "spec.serving")
        faults += _evaluation(spec.evaluation, policy, "spec.evaluation")
    return tuple(faults)


def _evaluation(evaluation: Evaluation, policy: Policy, at: str) -> Iterator[PolicyFault]:
    """Folders that a version's Job reads."""
    for name, part in (("dataset", evaluation.dataset), ("bars", evaluation.bars)):
        if part is not None and part.uri is not None:
            yield from _storage(policy, (f"{at}.{name}.uri", part.uri))
            yield from _stores(policy, (f"{at}.{name}", part.uri, part.store))


def run_faults(
    spec: TrainingRunSpec, policy: Policy, warm_start: ModelVersionSpec | None = None, at: str = "spec"
) -> tuple[PolicyFault, ...]:
    """Of a TrainingRun, or of a schedule's template.

    Args:
        spec: of the run.
        policy: of the installation.
        warm_start: whose adapter the run reads.
        at: where the spec stands.
    """
    read = [(f"{at}.baseModel.uri", spec.base_model.uri)]
    stored = [(f"{at}.baseModel", spec.base_model.uri, spec.base_model.store)]
    stored.append((f"{at}.output", spec.output.uri, spec.output.store))
    if spec.dataset.uri is not None:
        read.append((f"{at}.dataset.uri", spec.dataset.uri))
        stored.append((f"{at}.dataset", spec.dataset.uri, spec.dataset.store))
    if warm_start is not None and warm_start.adapter is not None:
        read.append((f"{at}.warmStartFrom", warm_start.adapter.uri))
        stored.append((f"{at}.warmStartFrom", warm_start.adapter.uri, warm_start.adapter.store))
    return (
        *_storage(policy, *read),
        *_stores(policy, *stored),
        *_storage(policy, (f"{at}.output.uri", spec.output.uri), write=True),
        *_placed(policy, at, spec.node_selector, spec.tolerations),
        *_priority(policy, at, spec.priority_class_name),
        *_serving(spec.model_version.serving, policy, f"{at}.modelVersion.serving"),
        *_evaluation(spec.model_version.evaluation, policy, f"{at}.modelVersion.evaluation"),
    )


def gateway_faults(gateway: Gateway, policy: Policy) -> tuple[PolicyFault, ...]:
    """Of an Endpoint's gateway."""
    at = "spec.gateway"
    faults: list[PolicyFault] = []
    if gateway.auth.disabled and not policy.allow_unauthenticated_gateways:
        faults.append(
            PolicyFault(
                PolicyReason.OPEN_GATEWAY_NOT_ALLOWED,
                f"{at}.auth.disabled",
                "this installation allows no gateway that everybody may call",
                "name a Secret with a token in auth.secretRef, or for a trial have an administrator set "
                "policy.allowUnauthenticatedGateways in the values of the chart",
            )
        )
    faults += _placed(policy, at, gateway.node_selector, gateway.tolerations)
    faults += _priority(policy, at, gateway.priority_class_name)
    faults += _affinity(policy, f"{at}.affinity", gateway.affinity)
    faults += _variables(gateway, policy, at)
    faults += _proxies(gateway, policy, at)
    return tuple(faults)


def policy_fact(faults: Sequence[PolicyFault], status: CommonStatus) -> Fact | None:
    """`PolicyKept` with all that is refused; None: nothing is, and nothing was."""
    if faults:
        return Fact(POLICY_KEPT, False, faults[0].reason, "; ".join(map(str, faults))[:1024])
    kept = Fact(POLICY_KEPT, True, PolicyReason.POLICY_KEPT, "the installation allows all that the spec asks for")
    return kept if status.condition(POLICY_KEPT) is not None else None


def reach_of(external: ExternalModel, policy: Policy) -> Reach | Refused:
    """Whether an API may be asked, and what its name may resolve to."""
    ref = external.secret_ref
    # What begins with two dots is the kubelet's own in a mounted folder, and no pod with it would be admitted.
    if ref is not None and (ref.key == SECRET_HOSTS_KEY or ref.key.startswith("..")):
        return Refused(ErrorCause.SECRET_HOST, f"{ref.key} is not the API key")
    return judged(external.base_url, policy.egress, credential=ref is not None)


def _hosts(external: ExternalModel, policy: Policy) -> Iterator[PolicyFault]:
    reach = reach_of(external, policy)
    if not isinstance(reach, Refused):
        return
    field, remedy = "spec.external.baseURL", REMEDIES[reach.cause]
    if reach.cause is ErrorCause.SECRET_HOST:
        field, remedy = (
            "spec.external.secretRef.key",
            "name the key of the Secret that holds the API key in a new ModelVersion",
        )
    yield PolicyFault(reason_of(reach.cause), field, reach.message, remedy)


def _variables(gateway: Gateway, policy: Policy, at: str) -> Iterator[PolicyFault]:
    """A folder of a mounted ConfigMap or Secret as PYTHONPATH would be code that reads every key of the pod."""
    for variable in gateway.env:
        loads = variable.name.startswith(_LOADERS)
        if variable.name in policy.gateway_variables or (
            not loads and _listed(variable.name, policy.gateway_variables)
        ):
            continue
        yield PolicyFault(
            PolicyReason.VARIABLE_NOT_ALLOWED,
            f"{at}.env[{variable.name}]",
            "code is loaded by it" if loads else f"{variable.name} is not in policy.gatewayVariables",
            "leave it out, or have an administrator add it to policy.gatewayVariables in the values of the chart",
        )


def _proxies(gateway: Gateway, policy: Policy, at: str) -> Iterator[PolicyFault]:
    """Who names a proxy chooses what a gateway connects to. One in a Secret is of whoever writes the Secret."""
    for variable in gateway.env:
        if variable.name.lower() not in _PROXIES or not variable.value:
            continue
        value = variable.value.strip()
        url = f"http://{value.rpartition('://')[2].rpartition('@')[2]}"
        reach = judged(url, policy.egress, credential=False)
        if isinstance(reach, Refused):
            yield PolicyFault(
                PolicyReason.PROXY_NOT_ALLOWED,
                f"{at}.env[{variable.name}]",
                reach.message,
                "have an administrator add the proxy to egress.allowedInternalHosts, or to egress.allowedHosts where it is public, "
                "in the values of the chart",
            )


def _storage(policy: Policy, *uris: tuple[str, str], write: bool = False) -> Iterator[PolicyFault]:
    for field, uri in uris:
        location = parse_storage_uri(uri)
        if location.claim or location.bucket or policy.folder(location.path, write=write) is not None:
            continue
        known = ", ".join(entry.prefix for entry in policy.host_paths if not (write and entry.read_only))
        what = "written to" if write else "read"
        message = f"{uri} is a folder of the node, and of those " + (
            f"only {known} may be {what} here" if known else f"none may be {what} here"
        )
        yield PolicyFault(
            PolicyReason.HOST_PATH_NOT_ALLOWED,
            field,
            message,
            "use a PersistentVolumeClaim (pvc://claim/path), or have an administrator list the folder in policy.hostPaths in the "
            "values of the chart",
        )


def _stores(policy: Policy, *stored: tuple[str, str, Store | None]) -> Iterator[PolicyFault]:
    """Of one pod."""
    accounts: dict[str, str] = {}
    for at, uri, store in stored:
        if store is None:
            continue
        urls = [(f"{at}.store.endpoint", endpoint_of(uri, store))]
        if (account := store.service_account_name) is not None:
            field = f"{at}.store.serviceAccountName"
            urls.append((field, token_endpoint_of(uri, store)))
            accounts.setdefault(account, field)
            if not _listed(account, policy.service_accounts):
                yield _account(field, f"{account} is not in policy.serviceAccounts", "an access key in store.secretRef")
        for field, url in urls:
            reach = judged(url, policy.egress, credential=True)
            if isinstance(reach, Refused):
                yield PolicyFault(
                    PolicyReason.STORE_NOT_ALLOWED,
                    field,
                    reach.message,
                    "name another store, or have an administrator add the host to egress.allowedHosts, or to egress.allowedInternalHosts "
                    "where it lies inside (http:// before it, where the key may go there without TLS), in the values of the chart",
                )
    if len(accounts) > 1:
        names = " and ".join(accounts)
        yield _account(
            list(accounts.values())[1], f"one pod would run as {names}", "one ServiceAccount with both roles"
        )


def _account(field: str, message: str, instead: str) -> PolicyFault:
    remedy = f"use {instead}, or have an administrator add it to policy.serviceAccounts in the values of the chart"
    return PolicyFault(PolicyReason.SERVICE_ACCOUNT_NOT_ALLOWED, field, message, remedy)


def _serving(serving: Serving, policy: Policy, at: str) -> Iterator[PolicyFault]:
    yield from _placed(policy, at, serving.node_selector, serving.tolerations)


def _placed(
    policy: Policy, at: str, selector: Iterable[str], tolerations: Sequence[Toleration]
) -> Iterator[PolicyFault]:
    for key in selector:
        if not _listed(key, policy.node_selector_keys):
            yield _scheduling(
                f"{at}.nodeSelector", f"{key} is not in policy.nodeSelectorKeys", "policy.nodeSelectorKeys"
            )
    for number, toleration in enumerate(tolerations):
        if not toleration.key:
            if "*" not in policy.toleration_keys:
                message = "a toleration without a key is one of every taint"
                yield _scheduling(f"{at}.tolerations[{number}]", message, "policy.tolerationKeys ('*')")
        elif not _listed(toleration.key, policy.toleration_keys):
            message = f"{toleration.key} is not in policy.tolerationKeys"
            yield _scheduling(f"{at}.tolerations[{number}].key", message, "policy.tolerationKeys")


def _priority(policy: Policy, at: str, name: str | None) -> Iterator[PolicyFault]:
    if name is None or name in policy.priority_classes:
        return
    if name.startswith("system-") or not _listed(name, policy.priority_classes):
        yield _scheduling(
            f"{at}.priorityClassName", f"{name} is not in policy.priorityClasses", "policy.priorityClasses"
        )


def _affinity(policy: Policy, at: str, affinity: Affinity | None) -> Iterator[PolicyFault]:
    """Labels of nodes, and pods near which nodes are: pods of other namespaces would name the nodes of the control plane."""
    if affinity is None:
        return
    nodes = affinity.node_affinity
    if nodes is not None:
        required = nodes.required_during_scheduling_ignored_during_execution
        terms: list[NodeSelectorTerm] = list(required.node_selector_terms) if required is not None else []
        terms += [each.preference for each in nodes.preferred_during_scheduling_ignored_during_execution]
        for key in dict.fromkeys(expression.key for term in terms for expression in term.match_expressions):
            if not _listed(key, policy.node_selector_keys):
                message = f"{key} is not in policy.nodeSelectorKeys"
                yield _scheduling(f"{at}.nodeAffinity", message, "policy.nodeSelectorKeys")
    for name, pods in (("podAffinity", affinity.pod_affinity), ("podAntiAffinity", affinity.pod_anti_affinity)):
        if pods is None:
            continue
        near: list[PodAffinityTerm] = list(pods.required_during_scheduling_ignored_during_execution)
        near += [each.pod_affinity_term for each in pods.preferred_during_scheduling_ignored_during_execution]
        for term in near:
            if term.topology_key != _HOSTNAME and not _listed(term.topology_key, policy.node_selector_keys):
                message = f"topologyKey {term.topology_key} is not in policy.nodeSelectorKeys"
                yield _scheduling(f"{at}.{name}", message, "policy.nodeSelectorKeys")
            for namespace in term.namespaces:
                if not _listed(namespace, policy.affinity_namespaces):
                    message = f"namespace {namespace} is not in policy.affinityNamespaces"
                    yield _scheduling(f"{at}.{name}", message, "policy.affinityNamespaces")


def _scheduling(field: str, message: str, value: str) -> PolicyFault:
    remedy = f"leave it out, or have an administrator add it to {value} in the values of the chart"
    return PolicyFault(PolicyReason.SCHEDULING_NOT_ALLOWED, field, message, remedy)


def _listed(text: str, patterns: Iterable[str]) -> bool:
    """`*` alone lists every text of an ordinary name; brackets and question marks are no patterns."""
    return any(fnmatchcase(text, pattern.replace("[", "[[]").replace("?", "[?]")) for pattern in patterns)


def _path(path: str) -> str:
    """A path as the kernel takes it, by its text alone: one slash, no dots."""
    return "/" + posixpath.normpath(path).strip("/") if path.strip("/") else "/"
