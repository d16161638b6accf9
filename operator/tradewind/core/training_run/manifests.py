"""The Jobs of a TrainingRun and the ModelVersion it registers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tradewind.api.common import API_VERSION
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import Adapter, ModelVersion
from tradewind.api.training_run import TrainingRun
from tradewind.core.decision import Manifest, Owner
from tradewind.core.manifests.common import MANAGED_BY, Mounts, child_labels, child_metadata, resources, scheduling
from tradewind.core.manifests.database import database_access
from tradewind.core.manifests.job import PROGRESS_TOKEN, JobPod, build_job, settings_of
from tradewind.core.platform import Platform
from tradewind.core.queue import QUEUE_LABEL
from tradewind.schema.scalars import as_timedelta
from tradewind.trading.settings.dataset import Selection
from tradewind.trading.settings.recipe import Recipe
from tradewind.trading.settings.stores import store_urls

OUTPUT_PATH = "/mnt/output"
BASE_PATH = "/mnt/base"
WARM_PATH = "/mnt/warm"
DATASET_PATH = "/mnt/dataset"
TOKENIZER_ENDINGS = (".json", ".model", ".txt", ".jinja")
"""Of a base in a store, what the snapshot reads: no weights."""
RENDEZVOUS_PORT = 29500
RUN_LABEL = "tradewind.dev/training-run"


def snapshot_name(run: str) -> str:
    """Name of the dataset Job."""
    return f"{run}-snapshot"


def train_name(run: str, attempt: int) -> str:
    """Name of the Job of one attempt, from 1."""
    return f"{run}-train-{attempt}"


def rendezvous_name(run: str) -> str:
    """Name of the headless Service of a run whose pods train together."""
    return f"{run}-train"


def dataset_uri(run: TrainingRun) -> str:
    """Where the snapshot lies."""
    return run.spec.dataset.uri or f"{run.spec.output.uri.rstrip('/')}/{run.name}/dataset"


def adapter_uri(run: TrainingRun) -> str:
    """Where the finished adapter lies."""
    return f"{run.spec.output.uri.rstrip('/')}/{run.name}/adapter"


def merged_uri(run: TrainingRun) -> str:
    """Where the merged model lies, if one is asked for."""
    return f"{run.spec.output.uri.rstrip('/')}/{run.name}/merged"


def checkpoint_uri(run: TrainingRun, step: int) -> str:
    """Where the trainer keeps the checkpoint of a step."""
    return f"{run.spec.output.uri.rstrip('/')}/{run.name}/checkpoints/step-{step}"


def model_version_name(run: TrainingRun) -> str:
    """Name of the ModelVersion that the run registers."""
    return run.spec.model_version.name or run.name


def build_snapshot_job(
    run: TrainingRun,
    endpoint: Endpoint,
    owner: Owner,
    platform: Platform,
    started: datetime,
    before: TrainingRun | None = None,
) -> Manifest:
    """The Job that takes the dataset: one consistent read of the Endpoint's closed trades, with its gates.

    Args:
        started: when the run started: relative bounds of the window count back from there.
        before: the run whose dataset this one's is held against.
    """
    dataset = run.spec.dataset
    mounts = Mounts(platform.policy)
    output = _output(run, platform, mounts)
    base = run.spec.base_model
    mounts.take("spec.baseModel", base.uri, base.store, BASE_PATH, sha256=base.sha256, only=TOKENIZER_ENDINGS)
    access = database_access(endpoint.spec.database)
    mounts.volumes += access.volumes
    mounts.mounts += access.mounts
    config = {
        "endpoint": {"installation": platform.installation, "namespace": run.namespace, "name": endpoint.name},
        **settings_of(dataset, Selection),
        "since": _bound(dataset.since, started),
        "until": _bound(dataset.until, started),
        **({} if run.spec.objective == "sft" else {"objective": run.spec.objective}),
        "baseTokenizer": BASE_PATH,
        "maxLength": run.spec.hyperparameters.max_length,
        "output": f"{output}/{run.name}/dataset",
        **_held_against(before),
        **mounts.stores.config,
    }
    pod = JobPod(
        script="snapshot.py",
        config=config,
        env=access.env,
        placement=scheduling(run.spec.node_selector, run.spec.tolerations),
        grace_seconds=10,
    )
    return build_job(owner, platform, snapshot_name(run.name), "snapshot", pod, mounts, activeDeadlineSeconds=3600)


def empty_window(run: TrainingRun, started: datetime) -> str | None:
    """Why no decision can lie in the window; a time and a length of time compare only once the run has started."""
    since, until = (_bound(text, started) for text in (run.spec.dataset.since, run.spec.dataset.until))
    if since is None or until is None or datetime.fromisoformat(since) < datetime.fromisoformat(until):
        return None
    return f"spec.dataset.since: {since} does not lie before until, {until}: choose another window"


def build_rendezvous(run: TrainingRun, owner: Owner) -> Manifest:
    """The Service that gives each of a run's pods a name before it is ready: they are ready once they have met."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": child_metadata(owner, rendezvous_name(run.name), "train"),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": child_labels(owner, "train"),
            "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT, "protocol": "TCP"}],
        },
    }


def build_train_job(
    run: TrainingRun,
    owner: Owner,
    platform: Platform,
    attempt: int,
    warm_start: ModelVersion | None,
    *,
    after_out_of_memory: bool = False,
) -> Manifest:
    """The Job of one attempt; it resumes from the newest checkpoint that verifies.

    Args:
        after_out_of_memory: the attempt before was killed for memory, so the trainer takes less at once.
    """
    spec = run.spec
    mounts = Mounts(platform.policy)
    base = spec.base_model
    mounts.take("spec.baseModel", base.uri, base.store, BASE_PATH, sha256=base.sha256)
    output = _output(run, platform, mounts)
    dataset = f"{output}/{run.name}/dataset"
    if spec.dataset.uri:
        mounts.take("spec.dataset", spec.dataset.uri, spec.dataset.store, DATASET_PATH)
        dataset = DATASET_PATH
    warm = warm_start.spec.adapter if warm_start is not None else None
    if warm is not None:
        mounts.take("spec.warmStartFrom", warm.uri, warm.store, WARM_PATH, sha256=warm.sha256)
    known = run.status.dataset
    config: dict[str, Any] = {
        "run": run.name,
        "attempt": attempt,
        **({"afterOutOfMemory": True} if after_out_of_memory else {}),
        "base": BASE_PATH,
        "baseUri": spec.base_model.uri,
        "baseRevision": spec.base_model.revision,
        "baseSha256": spec.base_model.sha256,
        "warmStart": WARM_PATH if warm is not None else None,
        "dataset": dataset,
        "datasetSha256": known.sha256 if known else spec.dataset.sha256,
        "output": f"{output}/{run.name}",
        **({"merged": True} if spec.output.merged else {}),
        **settings_of(spec, Recipe),
        **({"strategy": spec.strategy} if spec.num_nodes > 1 and spec.strategy != "auto" else {}),
        "progressURL": (
            f"http://{platform.progress_service}.{platform.operator_namespace}.svc:{platform.progress_port}"
            f"/v1/trainingruns/{run.namespace}/{run.name}/progress"
        ),
        "progressTokenFile": PROGRESS_TOKEN,
        **mounts.stores.config,
    }
    placement = scheduling(spec.node_selector, spec.tolerations)
    if spec.priority_class_name:
        placement["priorityClassName"] = spec.priority_class_name
    pod = JobPod(
        script="train.py",
        config=config,
        resources=resources(spec.resources),
        placement=placement,
        progress=True,
        env=_rendezvous_env(run, train_name(run.name, attempt)) if spec.num_nodes > 1 else (),
        subdomain=rendezvous_name(run.name) if spec.num_nodes > 1 else None,
    )
    extra: dict[str, Any] = {}
    if spec.num_nodes > 1:
        extra |= {"completionMode": "Indexed", "completions": spec.num_nodes, "parallelism": spec.num_nodes}
    if spec.active_deadline:
        extra["activeDeadlineSeconds"] = int(as_timedelta(spec.active_deadline).total_seconds())
    if spec.queue_name:
        extra["suspend"] = True  # the queue lets it go
    manifest = dict(build_job(owner, platform, train_name(run.name, attempt), "train", pod, mounts, **extra))
    if spec.queue_name:
        metadata = dict(manifest["metadata"])
        metadata["labels"] = {**metadata["labels"], QUEUE_LABEL: spec.queue_name}
        manifest["metadata"] = metadata
    return manifest


def _rendezvous_env(run: TrainingRun, job: str) -> list[Manifest]:
    """What torchrun would set, which a PyTorchJob sets too. It is not between: its exit code would be 1 for each of ours."""
    index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    fixed = {
        "WORLD_SIZE": str(run.spec.num_nodes),
        "MASTER_ADDR": f"{job}-0.{rendezvous_name(run.name)}.{run.namespace}.svc",
        "MASTER_PORT": str(RENDEZVOUS_PORT),
    }
    return [
        *({"name": name, "value": value} for name, value in fixed.items()),
        {"name": "RANK", "valueFrom": {"fieldRef": {"fieldPath": index}}},
        {"name": "TRADEWIND_NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]


def stores_of(run: TrainingRun, warm_start: ModelVersion | None) -> tuple[str, ...]:
    """URLs of the stores that the run's Jobs ask."""
    spec, warm = run.spec, warm_start.spec.adapter if warm_start is not None else None
    stored = [(part.uri, part.store) for part in (spec.base_model, spec.dataset, spec.output, warm) if part is not None]
    return store_urls(stored)


def adapter_of(run: TrainingRun, sha256: str, base_sha256: str | None) -> Adapter:
    """What a run has made, as its ModelVersion names it."""
    base = run.spec.base_model
    if base_sha256 is not None:
        base = base.model_copy(update={"sha256": base_sha256})
    store = run.spec.output.store
    return Adapter(uri=adapter_uri(run), store=store, sha256=sha256, base_model=base, training_run=run.name)


def build_model_version(run: TrainingRun, sha256: str, base_sha256: str | None) -> Manifest:
    """The ModelVersion, owned by nobody: what serves must outlive the run that made it."""
    template = run.spec.model_version
    spec: Mapping[str, Any] = {
        "adapter": adapter_of(run, sha256, base_sha256).to_manifest(),
        "serving": template.serving.to_manifest(),
        "evaluation": template.evaluation.to_manifest(),
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": {
            "name": model_version_name(run),
            "namespace": run.namespace,
            "labels": {**template.labels, MANAGED_BY: "tradewind", RUN_LABEL: run.name},
        },
        "spec": spec,
    }


def _output(run: TrainingRun, platform: Platform, mounts: Mounts) -> str:
    """Where the output lies in the pod."""
    output = run.spec.output
    if output.store is None:
        return mounts.add_claim(output.uri, OUTPUT_PATH)
    owner = f"{platform.installation}/{run.namespace}/{run.name}"
    mounts.stores.write("spec.output", output.uri, output.store, OUTPUT_PATH, run.name, owner)
    return OUTPUT_PATH


def _held_against(before: TrainingRun | None) -> dict[str, Any]:
    """What the dataset of an earlier run was made of, from its status."""
    known = None if before is None else before.status.dataset
    if before is None or known is None:
        return {}
    counts = {
        "perAction": known.per_action,
        "perLabel": known.per_label,
        "perSymbol": known.per_symbol,
        "perRegime": known.per_regime,
    }
    return {"before": {"run": before.name, **{name: dict(count) for name, count in counts.items() if count}}}


def _bound(text: str | None, started: datetime) -> str | None:
    """A bound of the window as an absolute time: durations count back from the start of the run."""
    if text is None:
        return None
    if "T" in text:
        return text
    return (started - as_timedelta(text)).isoformat()
