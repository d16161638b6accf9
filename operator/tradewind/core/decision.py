"""What a reconcile may ask for. Values only: the shell carries them out, in order, and nothing else.

A decision is total (any fact may be missing), idempotent (deciding on the state it asked for asks for nothing new) and
carries its reason unchanged into condition, Event and log.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal as Number
from typing import Any, Self, TypeAlias

from pydantic import BaseModel

from tradewind.api.common import Resource, VersionStatusRef
from tradewind.core.hindrance import Hindrance
from tradewind.core.queue import Wait

Manifest: TypeAlias = Mapping[str, Any]
FIELD_MANAGER = "tradewind"
"""Owner of the fields that the operator and the commands set."""


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply of a child under the operator's one field owner; what it no longer names is given up.

    What has the name and is no child of the resource that is reconciled is not written.

    Attributes:
        manager: another field owner, to keep the value of a field that the operator is about to give up.
        sealed: it is a routing document, to which the shell, which alone has the key, adds its signature.
        renews: it says what is published already, for longer.
    """

    manifest: Manifest
    manager: str = FIELD_MANAGER
    sealed: bool = False
    renews: bool = False


@dataclass(frozen=True, slots=True)
class Create:
    """Create if absent and never touch again: Jobs (immutable templates) and objects that outlive their maker.

    What has the name must be what an earlier turn has made: a child by its owner, what has no owner by our labels.
    """

    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a child by name; absent is fine, and so is that somebody else has the name.

    Attributes:
        uid: of what is no child: this very object is deleted, and none that was made since under its name.
    """

    api_version: str
    kind: str
    name: str
    uid: str | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the operator's finalizer on the object itself and name its holders in a label, or let go of both.

    The one exception to "the operator writes no metadata of its kinds": a version that serves must not vanish.
    """

    holders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PublishEpoch:
    """Store the weight of one block. The first one stored stays: epochs are idempotent by (experiment, block)."""

    endpoint: str
    experiment: str
    experiment_uid: str
    block: int
    candidate_weight: Number
    reason: str
    message: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RecordPromotion:
    """Store that a version became champion. Idempotent by (endpoint, experiment, version), by hand by (endpoint, request).

    Without experiment and request it is the first champion, stored where the Endpoint has no record yet.

    Attributes:
        reason: what kind of change it is, as a fixed word.
        request: verb and value of the annotation, `promote=v1/r1`; None: not by hand.
        requested_by: who asked by hand.
        message: why, in the words of who asked.
        spec_sha256: of all that its answers depend on.
    """

    endpoint: str
    version: str
    sha256: str | None
    previous: str | None
    experiment_uid: str | None
    reason: str
    request: str | None = None
    requested_by: str | None = None
    message: str | None = None
    spec_sha256: str | None = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class RecordExperiment:
    """Store what was started: the pair, its level and its spec. The first record of an experiment stays."""

    endpoint: str
    experiment_uid: str
    name: str
    mode: str
    baseline: VersionStatusRef
    candidate: VersionStatusRef
    t0: datetime
    alpha: float
    spec: Mapping[str, Any]
    costs: tuple[float | None, float | None, float | None] = (None, None, None)
    """CNY per USD, and what an answer of baseline and candidate costs in USD beside its calls; None: not known."""


@dataclass(frozen=True, slots=True)
class RecordVerdict:
    """Store how an experiment ended. The first verdict stays."""

    endpoint: str
    experiment_uid: str
    decision: str
    reason: str
    message: str
    decided_at: datetime
    evidence: Mapping[str, Any]


Effect: TypeAlias = Apply | Create | Delete | Hold | PublishEpoch | RecordPromotion | RecordExperiment | RecordVerdict


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one resource, and what its status says afterwards.

    Attributes:
        status: the whole new status; written once, last, and only if it differs.
        effects: carried out in order before the status is written.
        requeue_after: look again after this time even if nothing happens; None: only when something does.
    """

    status: BaseModel
    effects: tuple[Effect, ...] = ()
    requeue_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A Job as decisions need it.

    Attributes:
        exit_code: of its newest pod, of several that ran together the one that says most; None: the pod is gone.
        reason: why the Job failed, in Kubernetes' words, such as DeadlineExceeded.
        out_of_memory: the kernel killed the container for memory: also exit code 137, but no node was lost.
        result: the parsed termination message of its newest pod.
        running: as many pods of it run as are to run at once.
        hindrance: what keeps its pod from running, while none does.
        wait: why its queue holds it back, while it does.
    """

    name: str
    active: bool
    succeeded: bool
    failed: bool
    suspended: bool = False
    running: bool = False
    hindrance: Hindrance | None = None
    wait: Wait | None = None
    exit_code: int | None = None
    message: str = ""
    reason: str = ""
    out_of_memory: bool = False
    result: Mapping[str, Any] = field(default_factory=dict)
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """The resource on whose behalf children are made."""

    api_version: str
    kind: str
    name: str
    namespace: str
    uid: str

    @classmethod
    def of(cls, resource: Resource) -> Self:
        """A resource as the owner of its children."""
        meta = resource.metadata
        return cls(resource.api_version, type(resource).__name__, meta.name, meta.namespace, meta.uid)
