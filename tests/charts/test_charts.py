"""What the charts render: least privilege, hardened pods, kinds that stay, and values that are checked."""

import json
import re
import tomllib
from typing import Any

import pytest
import yaml
from chart_tools import CLUSTER_WIDE, EMBEDDED, EXISTING, ROOT, helm, kubectl, missing, refusal, template

from tradewind.api.registry import KINDS, VERBS
from tradewind.core.policy import Policy
from tradewind.migrations.tenants import role_name
from tradewind.trading.hosts import Reach, judged

pytestmark = pytest.mark.e2e  # needs the helm that `make cluster` builds: before that, all of this would be skipped

CHARTS = ("tradewind", "tradewind-crds")


def pods(documents: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{d['kind']}/{d['metadata']['name']}", d["spec"]["template"]["spec"])
        for d in documents
        if d["kind"] in {"Deployment", "StatefulSet", "Job"}
    ]


def one(documents: list[dict[str, Any]], kind: str, name: str = "") -> dict[str, Any]:
    (found,) = [d for d in documents if d["kind"] == kind and name in d["metadata"]["name"]]
    return found


def environment(deployment: dict[str, Any]) -> dict[str, Any]:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


@pytest.mark.parametrize("chart", CHARTS)
@pytest.mark.parametrize("values", [EXISTING, EMBEDDED], ids=["existing", "embedded"])
def test_lint_is_clean(chart: str, values: tuple[str, str]) -> None:
    linted = helm("lint", "--strict", str(ROOT / "charts" / chart), *(values if chart == "tradewind" else ()))
    assert linted.returncode == 0, linted.stdout
    assert "[WARNING]" not in linted.stdout
    assert "[ERROR]" not in linted.stdout


def test_the_crd_chart_ships_every_kind_and_keeps_it_on_uninstall() -> None:
    documents = template("tradewind-crds")
    assert {d["spec"]["names"]["kind"] for d in documents} == {kind.kind for kind in KINDS}
    for document in documents:
        assert document["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        committed = ROOT / "crds" / f"{document['spec']['names']['plural']}.yaml"
        assert document == yaml.safe_load(committed.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("scope", "count"),
    [((), 5), (("--set", "watchNamespaces={a,b}"), 6), (CLUSTER_WIDE, 4)],
    ids=["own", "namespaces", "cluster"],
)
def test_no_role_of_the_operator_reaches_secrets_or_uses_a_wildcard(scope: tuple[str, ...], count: int) -> None:
    roles = [d for d in template("tradewind", *EMBEDDED, *scope) if d["kind"] in {"Role", "ClusterRole"}]
    assert len(roles) == count
    for role in roles:
        for rule in role["rules"]:
            assert "secrets" not in rule["resources"]
            assert "*" not in [*rule["resources"], *rule["verbs"], *rule["apiGroups"]]
            assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"])


def allowed(documents: list[dict[str, Any]], role: str) -> dict[str, set[str]]:
    verbs: dict[str, set[str]] = {}
    for rule in one(documents, "ClusterRole", role)["rules"]:
        for resource in rule["resources"]:
            verbs.setdefault(resource, set()).update(rule["verbs"])
    return verbs


def test_the_operator_never_writes_specs_that_are_the_users_and_deletes_no_version() -> None:
    verbs = allowed(template("tradewind", *EXISTING, *CLUSTER_WIDE), "operator")
    read = {"get", "list", "watch"}
    assert verbs["endpoints"] == verbs["trainingschedules"] == read
    assert verbs["modelversions"] == read | {"create", "patch"}
    assert verbs["trainingruns"] == verbs["abexperiments"] == read | {"create", "delete"}
    for kind in KINDS:
        assert verbs[f"{kind.plural}/status"] == {"update"}
    assert verbs["pods"] == {"list"}
    assert verbs["tokenreviews"] == {"create"}


def test_what_the_operator_grants_to_gateways_it_holds_itself() -> None:
    verbs = allowed(template("tradewind", *EXISTING, *CLUSTER_WIDE), "operator")
    assert verbs["configmaps"] >= {"get", "list", "watch"}


def test_namespaced_installations_get_roles_in_their_namespaces_only() -> None:
    documents = template("tradewind", *EXISTING, "--set", "watchNamespaces={a,b}")
    roles = [d for d in documents if d["kind"] == "Role"]
    assert {d["metadata"]["namespace"] for d in roles} == {"a", "b"}
    cluster = one(documents, "ClusterRole", "operator")
    assert {r for rule in cluster["rules"] for r in rule["resources"]} == {
        "tokenreviews",
        "customresourcedefinitions",
        "namespaces",
        "modelversions",  # to let go of those of a namespace whose Role has gone
    }
    assert environment(one(documents, "Deployment"))["TRADEWIND_WATCH_NAMESPACES"] == "a,b"
    for binding in [d for d in documents if d["kind"] == "ValidatingAdmissionPolicyBinding"]:
        (selector,) = binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]
        assert selector["values"] == ["a", "b"]


def test_where_the_operator_works_is_said_to_it() -> None:
    for values, namespaces in (
        ((), "desk"),
        (("--set", "watchNamespaces={a,b}"), "a,b"),
        (CLUSTER_WIDE, ""),  # by label
    ):
        deployment = one(template("tradewind", *EXISTING, *values, namespace="desk"), "Deployment")
        assert environment(deployment)["TRADEWIND_WATCH_NAMESPACES"] == namespaces


USERS = {"operator": 65530, "migrate": 65530, "postgres": 65532}
"""Of the embedded database the user of old, whose files are in its volume."""


def test_every_pod_is_hardened() -> None:
    documents = template("tradewind", *EMBEDDED)
    assert {name for name, _ in pods(documents)} == {
        "Deployment/tradewind-operator",
        "StatefulSet/tradewind-postgres",
        "Job/tradewind-migrate",
    }
    for name, pod in pods(documents):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] == USERS[name.rpartition("-")[2]], name
        assert security["fsGroup"] == security["runAsGroup"] == security["runAsUser"], name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is (name == "Deployment/tradewind-operator")
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            inner = container["securityContext"]
            assert inner["allowPrivilegeEscalation"] is False, name
            assert inner["readOnlyRootFilesystem"] is True, name
            assert inner["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name


def test_the_operator_is_one_replica_that_is_replaced() -> None:
    deployment = one(template("tradewind", *EXISTING), "Deployment")
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["operator"]
    probes = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert {probe: container[probe]["httpGet"]["path"] for probe in probes} == probes
    service = one(template("tradewind", *EXISTING), "Service", "tradewind-operator")
    assert [port["port"] for port in service["spec"]["ports"]] == [8090, 9090]


def test_the_settings_reach_the_operator_and_are_settings_that_it_reads() -> None:
    source = (ROOT / "operator" / "tradewind" / "shell" / "settings.py").read_text(encoding="utf-8")
    found = environment(one(template("tradewind", *EXISTING, "--set", "installation=desk-a"), "Deployment"))
    assert found["TRADEWIND_INSTALLATION"] == "desk-a"
    assert found["TRADEWIND_DSN"] == {"secretKeyRef": {"name": "rds", "key": "dsn"}}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert found["TRADEWIND_IMAGE_GATEWAY"] == f"docker.io/tradewind/gateway:{version}"
    named_on_request = {"TRADEWIND_SHARD", "TRADEWIND_IMAGE_VLLM", "TRADEWIND_PULL_SECRETS_VLLM"}
    assert set(found) | named_on_request == set(
        re.findall(r'"(TRADEWIND_[A-Z_]+)"', source)
    )  # of several: test_shards.py


def policy_of(*values: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        environment(one(template("tradewind", *EXISTING, *values), "Deployment", "operator"))["TRADEWIND_POLICY"]
    )
    return found


def test_the_policy_of_the_values_is_the_one_of_the_code_unless_it_is_set() -> None:
    assert Policy.model_validate(policy_of()) == Policy()
    values = (
        *(
            "--set",
            "policy.allowUnauthenticatedGateways=true",
            "--set",
            "policy.priorityClasses={system-node-critical}",
        ),
        *("--set", "policy.hostPaths[0].prefix=/srv/models", "--set", "policy.hostPaths[0].readOnly=false"),
        *(
            "--set",
            "egress.allowedHosts={api.deepseek.com}",
            "--set",
            "egress.allowedInternalHosts={http://*.models.svc}",
        ),
    )
    found = Policy.model_validate(policy_of(*values))
    assert found.allow_unauthenticated_gateways
    assert found.priority_classes == ("system-node-critical",)
    assert [(entry.prefix, entry.read_only) for entry in found.host_paths] == [("/srv/models", False)]
    assert (found.egress.allowed_hosts, found.egress.allowed_internal_hosts) == (
        ("api.deepseek.com",),
        ("http://*.models.svc",),
    )


def test_the_stand_in_of_the_chart_may_be_asked_and_nothing_else_inside() -> None:
    found = policy_of("--set", "standin.enabled=true")
    assert found["egress"]["allowedInternalHosts"] == ["http://tradewind-standin.desk.svc"]
    sample = yaml.safe_load(
        (ROOT / "crds" / "samples" / "endpoint-trial.yaml").read_text(encoding="utf-8").split("---")[0]
    )
    url = sample["spec"]["external"]["baseURL"].replace(".tradewind.svc", ".desk.svc")
    assert isinstance(judged(url, Policy.model_validate(found).egress, credential=False), Reach)


@pytest.mark.parametrize(
    "values",
    [
        "policy.hostPaths[0].prefix=/",
        "policy.hostPaths[0].prefix=/srv/../etc",
        "egress.allowedHosts={u@x.com}",
        "policy.open=true",
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(values: str) -> None:
    assert "schema" in refusal(*EXISTING, "--set", values)


def test_a_digest_wins_over_the_tag_and_a_tag_of_its_own_over_the_common_one() -> None:
    digest = "sha256:" + "a" * 64
    values = (
        *("--set", "image.tag=dev", "--set", f"image.gateway.digest={digest}"),
        *("--set", "image.trainer.tag=gpu", "--set", "image.registry=registry.example/mirror"),
    )
    found = environment(one(template("tradewind", *EXISTING, *values), "Deployment"))
    assert found["TRADEWIND_IMAGE_GATEWAY"] == f"registry.example/mirror/tradewind/gateway@{digest}"
    assert found["TRADEWIND_IMAGE_TRAINER"] == "registry.example/mirror/tradewind/trainer:gpu"
    assert found["TRADEWIND_IMAGE_PREDICTOR"] == "registry.example/mirror/tradewind/predictor:dev"


IMAGES = ("operator", "gateway", "predictor", "trainer", "postgres")


def images(documents: list[dict[str, Any]]) -> dict[str, str]:
    """Where each image is pulled from, by whoever pulls it: pods of the chart, or the operator in its settings."""
    by_kind = dict(pods(documents))
    operator = environment(one(documents, "Deployment"))
    migrate = by_kind["Job/tradewind-migrate"]
    found = {name: operator[f"TRADEWIND_IMAGE_{name.upper()}"] for name in ("gateway", "predictor", "trainer")}
    for name, container in (
        ("operator", by_kind["Deployment/tradewind-operator"]["containers"][0]),
        ("postgres", by_kind["StatefulSet/tradewind-postgres"]["containers"][0]),
    ):
        found[name] = container["image"]
    assert migrate["containers"][0]["image"] == found["operator"]
    assert migrate["initContainers"][0]["image"] == found["postgres"]
    return found


def test_registry_tag_and_digest_hold_for_every_image() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert images(template("tradewind", *EMBEDDED)) == {n: f"docker.io/tradewind/{n}:{version}" for n in IMAGES}
    digests = {name: f"sha256:{number:064x}" for number, name in enumerate(IMAGES)}
    values = ["--set", "image.registry=registry.example/team", "--set", "image.tag=common"]
    for name, digest in digests.items():
        values += ["--set", f"image.{name}.digest={digest}", "--set", f"image.{name}.tag=own"]
    assert images(template("tradewind", *EMBEDDED, *values)) == {
        name: f"registry.example/team/tradewind/{name}@{digest}" for name, digest in digests.items()
    }
    bare = images(template("tradewind", *EMBEDDED, "--set", "image.registry=", "--set", "image.tag=common"))
    assert bare == {name: f"tradewind/{name}:common" for name in IMAGES}


ALL_IMAGES = (*IMAGES, "demo")


def with_digests(*names: str) -> tuple[str, ...]:
    values = ["--set", "image.requireDigests=true", "--set", "standin.enabled=true"]
    for name in names:
        values += ["--set", f"image.{name}.digest=sha256:{ALL_IMAGES.index(name):064x}"]
    return tuple(values)


def test_with_digests_for_all_no_tag_says_what_runs() -> None:
    documents = template("tradewind", *EMBEDDED, *with_digests(*ALL_IMAGES))
    found = [
        container["image"]
        for _, pod in pods(documents)
        for container in (*pod.get("initContainers", ()), *pod["containers"])
    ]
    operator = environment(one(documents, "Deployment", "operator"))
    found += [value for name, value in operator.items() if name.startswith("TRADEWIND_IMAGE_")]
    expected = {f"docker.io/tradewind/{n}@sha256:{i:064x}" for i, n in enumerate(ALL_IMAGES)}
    assert set(found) == expected


@pytest.mark.parametrize("name", ALL_IMAGES)
def test_where_digests_are_required_each_image_needs_its_own(name: str) -> None:
    values = with_digests(*(each for each in ALL_IMAGES if each != name))
    assert f"image.{name}.digest is empty, and image.requireDigests" in refusal(*EMBEDDED, *values)


def test_vllm_has_its_own_reference_and_its_digest_where_digests_are_required() -> None:
    """It is others' image, so that neither registry nor tag of ours is put to it; without one nothing is said of it."""
    assert "TRADEWIND_IMAGE_VLLM" not in environment(one(template("tradewind", *EXISTING), "Deployment"))
    reference = "registry.example:5000/vllm/vllm-openai:v0.32.0"
    values = ["--set", "image.registry=elsewhere", "--set", f"image.vllm.reference={reference}"]
    values += ["--set", "image.vllm.pullSecrets[0].name=v", "--set", "image.pullSecrets[0].name=acr"]
    found = environment(one(template("tradewind", *EXISTING, *values), "Deployment"))
    assert found["TRADEWIND_IMAGE_VLLM"] == reference
    assert found["TRADEWIND_PULL_SECRETS_VLLM"] == "acr,v"
    whole = with_digests(*ALL_IMAGES)
    bare = refusal(*EMBEDDED, *whole, "--set", f"image.vllm.reference={reference}")
    assert "image.vllm.reference has no digest" in bare
    assert template("tradewind", *EMBEDDED, *whole, "--set", f"image.vllm.reference={reference}@sha256:{'a' * 64}")
    assert "schema" in refusal(*EXISTING, "--set", "image.vllm.reference=has a blank")


def test_an_image_that_no_pod_runs_needs_no_digest() -> None:
    values = with_digests("operator", "gateway", "predictor", "trainer")
    assert template("tradewind", *EXISTING, *values, "--set", "standin.enabled=false")


def test_pull_secrets_reach_every_pod_the_common_ones_first_and_each_once() -> None:
    values = ["--set", "image.pullSecrets[0].name=acr", "--set", "image.pullPolicy=Always"]
    for name in IMAGES:
        values += [
            "--set",
            f"image.{name}.pullSecrets[0].name={name}",
            "--set",
            f"image.{name}.pullSecrets[1].name=acr",
        ]
    documents = template("tradewind", *EMBEDDED, *values)
    assert {name: [s["name"] for s in pod["imagePullSecrets"]] for name, pod in pods(documents)} == {
        "Deployment/tradewind-operator": ["acr", "operator"],
        "StatefulSet/tradewind-postgres": ["acr", "postgres"],
        "Job/tradewind-migrate": ["acr", "operator", "postgres"],
    }
    settings = environment(one(documents, "Deployment"))
    for name in ("gateway", "predictor", "trainer"):
        assert settings[f"TRADEWIND_PULL_SECRETS_{name.upper()}"] == f"acr,{name}"
    assert settings["TRADEWIND_PULL_POLICY"] == "Always"
    without = template("tradewind", *EMBEDDED)
    assert not [name for name, pod in pods(without) if "imagePullSecrets" in pod]
    assert environment(one(without, "Deployment"))["TRADEWIND_PULL_SECRETS_GATEWAY"] == ""


def test_a_pull_secret_that_is_missing_is_said_at_the_installation() -> None:
    """In what helm tells whoever installs: the operator may not look at Secrets."""
    if kubectl("get", "--raw", "/readyz").returncode:
        missing("no cluster answers: make cluster, or set KUBECONFIG")
    chart = str(ROOT / "charts" / "tradewind")
    secrets = ("--set", "image.pullSecrets[0].name=no-such-secret")
    shared = ("--set", "database.embedded.shareWith={default}", "--set", "fullnameOverride=notes-probe")
    made = helm("install", "notes-probe", chart, "-n", "kube-system", "--dry-run=server", *EMBEDDED, *secrets, *shared)
    assert made.returncode == 0, made.stderr
    for namespace in ("kube-system", "default"):
        assert f"WARNING: the pull Secret no-such-secret is not in namespace {namespace}." in made.stdout
    assert "kubectl -n <namespace> create secret docker-registry no-such-secret" in made.stdout
    made = helm("install", "notes-probe", chart, "-n", "kube-system", "--dry-run=server", *EMBEDDED, *shared)
    assert "pull Secret" not in made.stdout


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("caSecret", {"secret": {"secretName": "rds-ca", "defaultMode": 0o440}}),
        ("caConfigMap", {"configMap": {"name": "rds-ca"}}),
    ],
)
def test_the_ca_of_the_database_is_mounted_in_operator_and_migration(kind: str, source: dict[str, Any]) -> None:
    tls = ("--set", f"database.tls.{kind}.name=rds-ca", "--set", f"database.tls.{kind}.key=ca.pem")
    for name, pod in pods(template("tradewind", *EXISTING, *tls)):
        (container,) = pod["containers"]
        (mount,) = [m for m in container["volumeMounts"] if m["name"] == "database-ca"]
        assert {"name": "database-ca", **source} in pod["volumes"], name
        env = {e["name"]: e.get("value") for e in container["env"]}
        assert env["PGSSLMODE"] == "verify-full"
        assert env["PGSSLROOTCERT"] == f"{mount['mountPath']}/ca.pem"
    for _, pod in pods(template("tradewind", *EXISTING)):
        assert not [v for v in pod["volumes"] if v["name"] == "database-ca"]
        assert "PGSSLMODE" not in {e["name"] for e in pod["containers"][0]["env"]}


def test_no_namespace_gets_the_owners_password_of_an_embedded_database() -> None:
    """Seen: the DSN of a superuser was copied into each namespace that the database was shared with."""
    shared = ("--set", "database.embedded.shareWith={trading,research}")
    secrets = [d for d in template("tradewind", *EMBEDDED, *shared) if d["kind"] == "Secret"]
    by_name = {(d["metadata"]["namespace"], d["metadata"]["name"]): d["stringData"] for d in secrets}
    owner = by_name["desk", "tradewind-database-owner"]
    assert owner["dsn"] == f"postgresql://tradewind:{owner['password']}@tradewind-postgres.desk.svc:5432/tradewind"
    passwords = by_name["desk", "tradewind-database-tenants"]
    assert set(passwords) == {"desk", "trading", "research"}
    assert len({owner["password"], *passwords.values()}) == 4
    for namespace, password in passwords.items():
        given = by_name[namespace, "tradewind-database"]
        role = role_name("tradewind", namespace)
        assert given == {"dsn": f"postgresql://{role}:{password}@tradewind-postgres.desk.svc:5432/tradewind"}
    elsewhere = yaml.safe_dump([given for (namespace, _), given in by_name.items() if namespace != "desk"])
    assert owner["password"] not in elsewhere
    kept = [d for d in secrets if "database" in d["metadata"]["name"]]
    assert all(d["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for d in kept)


def test_a_long_namespace_and_another_installation_have_roles_of_their_own() -> None:
    name = "a" * 63
    values = (*EMBEDDED, "--set", f"database.embedded.shareWith={{{name}}}", "--set", "installation=second")
    (secret,) = [d for d in template("tradewind", *values) if d["metadata"].get("namespace") == name]
    role = role_name("second", name)
    assert secret["stringData"]["dsn"].startswith(f"postgresql://{role}:")
    assert len(role) <= 63
    assert role != role_name("tradewind", name)


def test_the_migration_makes_the_roles_and_the_operator_has_the_owners_string() -> None:
    documents = template("tradewind", *EMBEDDED)
    job = one(documents, "Job")["spec"]["template"]["spec"]
    (container,) = job["containers"]
    assert container["args"] == ["migrate", "--tenants", "/var/run/secrets/tradewind/tenants"]
    assert {"name": "TRADEWIND_INSTALLATION", "value": "tradewind"} in container["env"]
    (tenants,) = [v for v in job["volumes"] if v["name"] == "tenants"]
    assert tenants["secret"]["secretName"] == "tradewind-database-tenants"
    mounting = yaml.safe_dump([pod for name, pod in pods(documents) if "tenants" in yaml.safe_dump(pod)])
    assert mounting == yaml.safe_dump([job])
    for workload in (job, one(documents, "Deployment")["spec"]["template"]["spec"]):
        (dsn,) = [e for e in workload["containers"][0]["env"] if e["name"] == "TRADEWIND_DSN"]
        assert dsn["valueFrom"]["secretKeyRef"] == {"name": "tradewind-database-owner", "key": "dsn"}


def test_without_persistence_the_embedded_database_has_no_claim() -> None:
    kept = one(template("tradewind", *EMBEDDED), "StatefulSet")
    assert kept["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "10Gi"
    lost = one(template("tradewind", *EMBEDDED, "--set", "database.embedded.persistence.enabled=false"), "StatefulSet")
    assert "volumeClaimTemplates" not in lost["spec"]
    assert {"name": "data", "emptyDir": {}} in lost["spec"]["template"]["spec"]["volumes"]


def test_an_existing_database_starts_none_and_migrates_before_an_upgrade() -> None:
    documents = template("tradewind", *EXISTING)
    assert not [d for d in documents if d["kind"] == "StatefulSet"]
    assert [d["metadata"]["name"] for d in documents if d["kind"] == "Secret"] == ["tradewind-routing-key"]
    job = one(documents, "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "post-install,pre-upgrade"
    assert "initContainers" not in job["spec"]["template"]["spec"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["migrate"]


def test_the_migration_waits_for_an_embedded_database() -> None:
    (wait,) = one(template("tradewind", *EMBEDDED), "Job")["spec"]["template"]["spec"]["initContainers"]
    assert "pg_isready" in wait["command"][-1]
    assert "tradewind-postgres.desk.svc" in wait["command"][-1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((), "no database: set database.existingSecret.name"),
        ((*EXISTING, *EMBEDDED), "exclude each other"),
        (
            (*EXISTING, *CLUSTER_WIDE, "--set", "watchNamespaces={a}"),
            "clusterWide and watchNamespaces exclude each other",
        ),
        ((*EXISTING, "--set", "replicas=2"), "additional properties 'replicas' not allowed"),
        ((*EXISTING, "--set", "logLevel=loud"), "logLevel"),
        ((*EXISTING, "--set", "image.gateway.digest=sha1:abc"), "digest"),
        ((*EXISTING, "--set", "operator.extraEnv[0].name=TRADEWIND_DSN"), "extraEnv"),
        (
            (*EXISTING, "--set", "database.tls.caSecret.name=a", "--set", "database.tls.caConfigMap.name=b"),
            "database.tls.caSecret and database.tls.caConfigMap exclude each other",
        ),
        ((*EMBEDDED, "--set", "database.tls.caSecret.name=a"), "the embedded database has no certificate"),
        ((*EXISTING, "--set", "image.trainer.pullSecrets[0].name=A_b"), "pullSecrets"),
        ((*EXISTING, "--set", "routing.trustedKeys[0]=c2VjcmV0"), "trustedKeys"),
    ],
)
def test_wrong_values_are_refused_by_name(values: tuple[str, ...], message: str) -> None:
    made = helm("template", "x", str(ROOT / "charts" / "tradewind"), "--kube-version", "1.34.3", *values)
    assert made.returncode != 0
    assert message in made.stderr


def test_every_value_is_in_the_schema_and_has_a_comment_above_its_group() -> None:
    values = yaml.safe_load((ROOT / "charts/tradewind/values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((ROOT / "charts/tradewind/values.schema.json").read_text(encoding="utf-8"))
    assert set(values) == set(schema["properties"]) - {"global"}


def test_pods_of_the_chart_are_not_taken_for_children_of_the_operator() -> None:
    for document in template("tradewind", *EMBEDDED):
        assert document["metadata"]["labels"].get("app.kubernetes.io/managed-by") != "tradewind"


def test_every_verb_is_guarded_and_can_be_granted() -> None:
    documents = template("tradewind", *EXISTING)
    policies = [one(documents, "ValidatingAdmissionPolicy", name) for name in ("verbs", "approval", "endpoints")]
    guarded = set(re.findall(r"subresource\('([a-z]+)'\)", json.dumps(policies)))
    granted = {r.split("/")[1] for rule in one(documents, "ClusterRole", "verbs")["rules"] for r in rule["resources"]}
    assert guarded == granted
    assert guarded >= {verb.name for verb in VERBS}
