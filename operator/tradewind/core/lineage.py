"""Where a version comes from: from its rows to the pods that answer, each link held by hashes, and pods by uids.

    rows -> run -> adapter -> served -> template -> pods, and who counts on it (core/lineage_use.py)

Names prove nothing: whoever may delete an object can make another one under its name. What is not there, may not be read or was
never said is `unknown`, and never `ok`.

Belongs here: what is compared with what. Does not belong here: reading objects (cli/verify.py), Endpoints and experiments
(core/lineage_use.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from tradewind.api.common import ConditionStatus
from tradewind.api.evaluation import EvaluationDataset, EvaluationStatus
from tradewind.api.model_version import Adapter, ModelVersion, Provenance, ServingStatus
from tradewind.api.parse import InvalidSpec, parse
from tradewind.api.training_run import TrainingRun
from tradewind.api.training_run_status import DatasetStatus, ResultStatus
from tradewind.core.identity import version_sha256
from tradewind.core.manifests.common import is_child
from tradewind.core.model_version import TEMPLATE_HASH
from tradewind.core.model_version.evaluation import BITS
from tradewind.core.model_version.observe import predictor_pod
from tradewind.core.pods import is_ready
from tradewind.schema.scalars import as_timedelta

Json = Mapping[str, Any]

ROWS: Final = "rows -> run"
RUN: Final = "run -> adapter"
SERVED: Final = "adapter -> served"
TEMPLATE: Final = "template -> service"
PODS: Final = "served -> pods"
EVALUATED: Final = "evaluated"


class State(StrEnum):
    """Whether a link holds."""

    OK = "ok"
    BROKEN = "BROKEN"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a link.

    Attributes:
        what: object and field.
        value: None: it is not there, or does not say.
    """

    what: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """One line of the answer.

    Attributes:
        link: which of the chain's links it is a part of.
        why: why it is broken or unknown; "": the sides say it.
        forbidden: it is unknown since a right is missing.
        equal: it holds where both sides say the same; False: where the first is good against the second.
    """

    link: str
    state: State
    sides: tuple[Side, ...]
    why: str = ""
    forbidden: bool = False
    equal: bool = True


@dataclass(frozen=True, slots=True)
class Read:
    """An object that was asked for.

    Attributes:
        body: None: it does not exist, or may not be read.
        refused: why it may not be read; "": it may.
    """

    body: Json | None = None
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """Objects that were listed; `refused` as in `Read`."""

    items: tuple[Json, ...] = ()
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What was read.

    Attributes:
        run: the TrainingRun that spec.adapter.trainingRun names.
        parent: the ModelVersion that the run started from.
        service: the InferenceService of the version's name.
        pods: that are labelled as the service's.
        owners: of the pods, and theirs, by uid.
        endpoints: of the namespace.
        experiments: of the namespace.
        routing: ConfigMaps with routing documents, by Endpoint.
    """

    version: ModelVersion
    run: Read = Read()
    parent: Read = Read()
    service: Read = Read()
    pods: Listed = Listed()
    owners: Mapping[str, Read] = field(default_factory=dict)
    endpoints: Listed = Listed()
    experiments: Listed = Listed()
    routing: Mapping[str, Read] = field(default_factory=dict)


def compared(link: str, left: Side, right: Side, why: str = "") -> Link:
    """A link that holds where both sides say the same; `why` stands where it is broken."""
    silent = [side.what for side in (left, right) if not side.value]
    if silent:
        return Link(
            link, State.UNKNOWN, (left, right), f"{' and '.join(silent)} {'does' if len(silent) == 1 else 'do'} not say"
        )
    same = left.value == right.value
    return Link(link, State.OK if same else State.BROKEN, (left, right), "" if same else why)


def unread(link: str, what: str, read: Read | Listed, missing: str) -> Link:
    """A link whose other side is not there, or may not be read."""
    return Link(link, State.UNKNOWN, (Side(what),), read.refused or missing, forbidden=bool(read.refused))


def trained(found: Found) -> Iterator[Link]:
    """From the rows to the adapter. A version that no run here has made says so in one line."""
    spec = found.version.spec
    adapter = spec.adapter
    if spec.external is not None:
        why = "an external API has no artifact: no hash says what answers, or what it was trained on"
        yield Link(RUN, State.UNKNOWN, (Side("spec.external.baseURL", spec.external.base_url),), why)
        return
    if adapter is None or adapter.training_run is None:
        part = "model" if adapter is None else "adapter"
        why = "no TrainingRun is named, so nothing here says what it was trained on"
        yield Link(RUN, State.UNKNOWN, (Side(f"spec.{part}.sha256", version_sha256(found.version)),), why)
        return
    what = f"TrainingRun/{adapter.training_run}"
    missing = "does not exist: it was deleted, or the adapter was made elsewhere"
    run = None if found.run.body is None else parse(TrainingRun, found.run.body)
    if run is None or isinstance(run, InvalidSpec):
        read = found.run if run is None else replace(found.run, refused="")
        missing = missing if run is None else f"cannot be read: {run.message}"
        yield from (unread(link, what, read, missing) for link in (ROWS, RUN))
        return
    yield from _rows(found, run)
    yield from _adapter(found.version, adapter, run)


def _rows(found: Found, run: TrainingRun) -> Iterator[Link]:
    told, what = run.status.dataset or DatasetStatus(), f"TrainingRun/{run.name} status.dataset"
    made = found.version.status.provenance or Provenance()
    sha256 = Side(f"{what}.sha256", told.sha256)
    yield compared(ROWS, sha256, Side("status.provenance.datasetSha256", made.dataset_sha256))
    newest, source, left = told.watermark, run.spec.warm_start_from, f"{what}.watermark"
    if source is not None and newest is not None and made.watermark is not None and made.watermark > newest:
        # An adapter that training starts from has seen its own rows, and the newer of both is what counts.
        parent = None if found.parent.body is None else parse(ModelVersion, found.parent.body)
        if parent is None or isinstance(parent, InvalidSpec):
            missing = f"the adapter that training started from, whose watermark {shown(made.watermark)} may be, cannot be read"
            yield unread(ROWS, f"ModelVersion/{source}", found.parent, missing)
            return
        newest = (parent.status.provenance or Provenance()).watermark
        left = f"ModelVersion/{source} status.provenance.watermark"
    yield compared(ROWS, Side(left, shown(newest)), Side("status.provenance.watermark", shown(made.watermark)))


def _adapter(version: ModelVersion, adapter: Adapter, run: TrainingRun) -> Iterator[Link]:
    what, result = f"TrainingRun/{run.name}", run.status.result or ResultStatus()
    told = f"{what} status.result"
    ended = run.status.completion_time is not None
    made = version.status.provenance
    if made is not None and made.training_run is not None:  # of the card that lies with the adapter
        named = Side("status.provenance.trainingRun.name", made.training_run.name)
        yield compared(RUN, named, Side("spec.adapter.trainingRun", run.name))
    yield _of_ended(
        compared(RUN, Side(f"{told}.sha256", result.sha256), Side("spec.adapter.sha256", adapter.sha256)), ended=ended
    )
    registered = run.status.model_version_ref
    # Its hash is compared above: an object that was made anew from Git is the same version, whatever its uid.
    name = Side(f"{what} status.modelVersionRef.name", registered.name if registered is not None else None)
    link = compared(RUN, name, Side("metadata.name", version.name), "the run registered another version")
    yield _of_ended(link, ended=ended and registered is None)
    yield compared(RUN, Side(f"{told}.uri", result.uri), Side("spec.adapter.uri", adapter.uri))
    base = Side("spec.adapter.baseModel.sha256", adapter.base_model.sha256)
    yield compared(RUN, Side(f"{told}.baseSha256", result.base_sha256), base)


def _of_ended(link: Link, *, ended: bool) -> Link:
    """What a run has not said by its end it never says: it did not make this."""
    if not ended or link.state is not State.UNKNOWN or link.sides[0].value is not None:
        return link
    return replace(link, state=State.BROKEN, why="the run has ended without it: it did not make this version")


def served(found: Found) -> Iterator[Link]:
    """From the spec to the pods; nothing for an external version."""
    version = found.version
    if version.spec.external is not None:
        return
    part = "model" if version.spec.adapter is None else "adapter"
    pinned = Side(f"spec.{part}.sha256", version_sha256(version))
    yield compared(SERVED, pinned, Side("status.sha256", version.status.sha256))
    yield from _quantised(version)
    yield _condition(version, "ArtifactVerified", SERVED)
    what, service = f"InferenceService/{version.name}", found.service.body
    if service is None:
        yield from (unread(link, what, found.service, "does not exist: nothing is served") for link in (TEMPLATE, PODS))
        return
    metadata = service["metadata"]
    if not is_child(service, version.metadata.uid):
        owners = ", ".join(ref.get("uid", "") for ref in metadata.get("ownerReferences") or ()) or "none"
        sides = Side(f"{what} owner's uid", owners), Side("metadata.uid", version.metadata.uid)
        yield Link(TEMPLATE, State.BROKEN, sides, "what serves under the name is not this version's")
        yield Link(PODS, State.UNKNOWN, (Side(what),), "its pods are not this version's")
        return
    made = version.status.provenance or Provenance()
    annotation = Side(f"{what} {TEMPLATE_HASH}", (metadata.get("annotations") or {}).get(TEMPLATE_HASH))
    changed = "it is served by another template than it was measured with"
    yield compared(TEMPLATE, Side("status.provenance.templateHash", made.template_hash), annotation, changed)
    if found.pods.refused:
        yield unread(PODS, f"pods of {what}", found.pods, "")
        return
    ready = [pod for pod in found.pods.items if is_ready(pod)]
    if not ready:
        yield Link(PODS, State.UNKNOWN, (Side(f"pods of {what}"),), "none is ready")
    for pod in ready:
        yield _pod(pod, str(metadata.get("uid", "")), made.image, found.owners)


def _quantised(version: ModelVersion) -> Iterator[Link]:
    """Whether it was measured in the bits that the spec asks for; nothing where weights are as they are."""
    asked = version.spec.serving.quantization
    told = (version.status.serving or ServingStatus()).quantization
    if asked == "none" and told is None:
        return
    named = {bits: name for name, bits in BITS.items()}
    found = None if told is None or told.bits is None else named.get(told.bits, f"{told.bits} bits")
    yield compared(SERVED, Side("spec.serving.quantization", asked), Side("status.serving.quantization.bits", found))


def _pod(pod: Json, service_uid: str, image: str | None, owners: Mapping[str, Read]) -> Link:
    name = pod["metadata"]["name"]
    whose, refused = _belongs(pod, service_uid, owners)
    if not whose:
        sides = Side(f"Pod/{name} owners"), Side("InferenceService uid", service_uid)
        if refused:
            return Link(PODS, State.UNKNOWN, sides, refused, forbidden=True)
        return Link(PODS, State.BROKEN, sides, "it has the labels of the service's pods and is none of them")
    left = Side("status.provenance.image", image)
    right = Side(f"Pod/{name} imageID", predictor_pod(pod).image_id or None)
    link = compared(PODS, left, right)
    if link.state is State.UNKNOWN:
        return link
    measured, running = (_digest(side.value or "") for side in (left, right))
    if measured is None or running is None:
        return replace(link, state=State.UNKNOWN, why="an image without a digest is known by its name alone")
    if measured[0] != running[0]:
        return replace(
            link, state=State.UNKNOWN, why="one is the digest of a manifest, the other of an image on a node"
        )
    left, right = replace(left, value=measured[1]), replace(right, value=running[1])
    return compared(PODS, left, right, "it runs another image than was measured")


def _belongs(body: Json, uid: str, owners: Mapping[str, Read]) -> tuple[bool, str]:
    """Whether an object is owned by that uid, also by way of others; else why an owner could not be read."""
    todo, seen, refused = [body], set[str](), ""
    while todo:
        for ref in todo.pop()["metadata"].get("ownerReferences") or ():
            owner = str(ref.get("uid") or "")
            if owner and owner == uid:
                return True, ""
            if owner in seen:
                continue
            seen.add(owner)
            read = owners.get(owner, Read())
            refused = refused or read.refused
            todo += [] if read.body is None else [read.body]
    return False, refused


def _digest(image: str) -> tuple[bool, str] | None:
    """The digest of an image as the kubelet tells it, and whether it is one of a registry, which may have many names; None: it has none."""
    name, mark, digest = image.rpartition("sha256:")
    return (name.endswith("@"), mark + digest) if mark else None


def evaluated(found: Found) -> Iterator[Link]:
    """What it showed; nothing for an external version, which is measured on live decisions."""
    version = found.version
    if version.spec.external is not None:
        return
    yield _condition(version, "Evaluated", EVALUATED)
    shown_then = version.status.evaluation or EvaluationStatus()
    if not shown_then.gates:
        yield Link(EVALUATED, State.UNKNOWN, (Side("status.evaluation.gates"),), "no gate has a result")
    for gate in shown_then.gates:
        state = {True: State.OK, False: State.BROKEN, None: State.UNKNOWN}[gate.passed]
        sides = (
            Side(f"gate {gate.name}", None if gate.value is None else format(gate.value, "g")),
            Side("threshold", None if gate.threshold is None else format(gate.threshold, "g")),
        )
        why = "" if gate.passed else gate.message or "it is not passed"
        yield Link(EVALUATED, state, sides, why, equal=False)
    dataset = version.spec.evaluation.dataset
    if dataset is not None:
        yield replace(_later(version, shown_then, dataset), equal=False)


def _later(version: ModelVersion, told: EvaluationStatus, dataset: EvaluationDataset) -> Link:
    """Whether the rows that it was judged on are later than those that it was trained on."""
    made = version.status.provenance or Provenance()
    left = Side("status.evaluation.since", shown(told.since))
    right = Side("status.provenance.watermark", shown(made.watermark))
    if told.since is None or made.watermark is None:
        return compared(EVALUATED, left, right)
    if told.since >= made.watermark + as_timedelta(dataset.embargo):
        return Link(
            EVALUATED, State.OK, (left, right), f"later by evaluation.dataset.embargo, {dataset.embargo}, or more"
        )
    if dataset.uri is not None and dataset.sha256 in (None, made.dataset_sha256):
        why = "the folder may be that of its own training, whose evaluation side begins before the watermark"
        return Link(EVALUATED, State.UNKNOWN, (left, right), why)
    why = f"rows of its training, or nearer to them than evaluation.dataset.embargo ({dataset.embargo}), may be among those that it was judged on"
    return Link(EVALUATED, State.BROKEN, (left, right), why)


def _condition(version: ModelVersion, kind: str, link: str) -> Link:
    found, generation = version.status.condition(kind), version.metadata.generation
    if found is None:
        return Link(link, State.UNKNOWN, (Side(f"condition {kind}"),), "it is not said yet")
    about = Side(
        f"condition {kind}", f"{found.status} ({found.reason}), observedGeneration {found.observed_generation}"
    )
    sides = about, Side("metadata.generation", str(generation))
    if found.observed_generation != generation:
        return Link(link, State.UNKNOWN, sides, "it speaks of another generation of the spec", equal=False)
    states = {
        ConditionStatus.TRUE: State.OK,
        ConditionStatus.FALSE: State.BROKEN,
        ConditionStatus.UNKNOWN: State.UNKNOWN,
    }
    state = states[found.status]
    return Link(link, state, sides, "" if state is State.OK else found.message, equal=False)


def shown(moment: datetime | None) -> str | None:
    """A time in UTC, the same for the same moment."""
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
