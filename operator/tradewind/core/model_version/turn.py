"""What one turn of a ModelVersion rests on: what was seen, why conditions say what they say, the status that follows.

Belongs here: the types that observing, deciding and evaluating share. Does not belong here: decisions.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any

from tradewind.api.endpoint import Endpoint, EndpointArmStatus
from tradewind.api.model_version import ModelVersion, ServingImages, Stage
from tradewind.core.conditions import Fact, with_facts
from tradewind.core.decision import Decision, Effect, JobFacts, Manifest, Owner
from tradewind.core.hindrance import Hindrance
from tradewind.core.model_version.manifests import build_inference_service, predictor_url
from tradewind.core.model_version.rest import Rest, rest_of
from tradewind.core.model_version.vllm import HANDOVER_CONTAINER, build_vllm_service
from tradewind.core.platform import Platform
from tradewind.core.policy import policy_fact, version_faults
from tradewind.core.prompts import Prompt

TEMPLATE_HASH = "tradewind.dev/template-hash"
STOP = "serving.kserve.io/stop"
"""KServe removes the Deployment and the Service of what has this annotation, and makes them anew without it."""


class Reason(StrEnum):
    """Why a condition of a ModelVersion says what it says."""

    EXTERNAL = "External"
    """An external API: there is nothing to verify, to serve or to measure."""
    PROMPT_READ = "PromptRead"
    """The words of external.promptTemplate are there and can be used."""
    STARTING = "Starting"
    """The predictor is not up yet."""
    SERVING = "Serving"
    """The predictor answers."""
    NOT_SERVING = "NotServing"
    """The predictor answered before, and does not now."""
    VERIFIED = "Verified"
    """What is served has the hash that the spec pins."""
    ARTIFACT_MISMATCH = "ArtifactMismatch"
    """What is served is another artifact than the spec pins."""
    TOKENIZER_ROUND_TRIP = "TokenizerRoundTrip"
    """The tokenizer does not give back the text that it was given."""
    INVALID_CONFIGURATION = "InvalidConfiguration"
    """The predictor refuses its settings or files."""
    BASE_MISMATCH = "BaseMismatch"
    """The adapter says that it was trained on another base than the one that lies there."""
    BROKEN_FILE = "BrokenFile"
    """A file is cut, or is not what its name says."""
    BASE_INCOMPLETE = "BaseIncomplete"
    """The base lacks weights that its architecture has."""
    ADAPTER_INCOMPLETE = "AdapterIncomplete"
    """The adapter lacks weights, or has some that do not fit the base."""
    MERGED_DIFFERS = "MergedDiffers"
    """Merged into the base, the adapter answers otherwise than beside it."""
    NOT_FINITE = "NotFinite"
    """The model's scores are no numbers."""
    TOKENIZER_UNSUPPORTED = "TokenizerUnsupported"
    """Prose cannot be bounded with this tokenizer."""
    QUANTIZATION_DISAGREES = "QuantizationDisagrees"
    """Quantised, the model decides otherwise more often than serving.minAgreement allows."""
    RUNTIME_NOT_AVAILABLE = "RuntimeNotAvailable"
    """The installation names no image for serving.runtime huggingface: image.vllm.reference in the values of the chart."""
    AUTOSCALER_NOT_AVAILABLE = "AutoscalerNotAvailable"
    """The cluster has no metrics server, by which serving.autoscaling would go."""
    PREDICTOR_FAILED = "PredictorFailed"
    """The predictor ended again and again."""
    BENCHMARKING = "Benchmarking"
    """The served model is being measured."""
    BENCHMARK_FAILED = "BenchmarkFailed"
    """It could not be measured."""
    MEASURED = "Measured"
    """It was measured and keeps what the spec asks for."""
    GATE_FAILED = "GateFailed"
    """It was measured and does not keep what the spec asks for."""
    ENDPOINT_MISSING = "EndpointMissing"
    """The Endpoint that evaluation.dataset names is not there."""
    NOT_ENOUGH_ROWS = "NotEnoughRows"
    """Too few recorded decisions are later than what was trained on: nothing is judged, and it is tried again."""
    RETIRED = "Retired"
    """Nobody has needed it for serving.retireAfter: its pods are gone, or go within a minute. Who needs it starts them again."""
    WAKING = "Waking"
    """It was retired and is needed again: its predictor is started."""
    READY = "Ready"
    """Verified, served and measured."""


@dataclass(frozen=True, slots=True)
class PredictorPod:
    """A predictor's pod: whether it is ready, and what it said when it last ended."""

    name: str
    ready: bool
    restarts: int = 0
    exit_code: int | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    image_id: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """The InferenceService as KServe reports it, and the Deployment behind it.

    Attributes:
        told_to_stop: by its annotation.
        deployed: the Deployment is there.
        images: of its containers, by their names.
    """

    ready: bool
    ready_replicas: int
    message: str = ""
    template_hash: str = ""
    told_to_stop: bool = False
    deployed: bool = True
    images: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Arm:
    """What an Endpoint found of the version by asking it."""

    endpoint: str
    status: EndpointArmStatus


@dataclass(frozen=True, slots=True)
class Seen:
    """Facts about a version; None is: not there, or not known.

    Attributes:
        holders: who must not lose it, and therefore keeps it from being deleted.
        users: all who ask it, may begin to without a word, or are about to: the holders, and more.
        arms: of each Endpoint that asks it.
        hindrance: what keeps a predictor's pod from running.
        prompt: the words that an external version is to be asked with; None: it has none of its own.
        metrics: the cluster tells what pods use; True where nobody asks, and of what is served already.
        namespace_going: its namespace is being deleted, and with it whoever needs the version.
        endpoint: whose log the evaluation asks; None: none is named, or it is not there.
        champion: of that Endpoint, where it is another version.
    """

    service: Service | None = None
    pods: tuple[PredictorPod, ...] = ()
    benchmark: JobFacts | None = None
    holders: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    stage: Stage = Stage.CANDIDATE
    arms: tuple[Arm, ...] = ()
    hindrance: Hindrance | None = None
    prompt: Prompt | None = None
    metrics: bool = True
    namespace_going: bool = False
    endpoint: Endpoint | None = None
    champion: ModelVersion | None = None


@dataclass(frozen=True)
class Turn:
    """What one decision rests on."""

    version: ModelVersion
    seen: Seen
    now: datetime
    platform: Platform
    owner: Owner

    @cached_property
    def template(self) -> Manifest:
        """The InferenceService, with the hash of what it asks for."""
        plain = self.version.spec.serving.runtime == "huggingface"
        build = build_vllm_service if plain else build_inference_service
        made = build(self.version, self.owner, self._with_images(self.images))
        assert made is not None
        digest = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16]
        annotations = {**made["metadata"]["annotations"], TEMPLATE_HASH: digest}
        if self.rest.stopped:  # beside the hash: a version that is started again is served by the same template
            annotations[STOP] = "true"
        return {**made, "metadata": {**made["metadata"], "annotations": annotations}}

    @cached_property
    def rest(self) -> Rest:
        """Whether its pods are to run."""
        service = self.seen.service
        told, deployed = (service.told_to_stop, service.deployed) if service is not None else (False, False)
        users = (*self.seen.holders, *self.seen.users)
        return rest_of(self.version, users, self.now, told=told, deployed=deployed)

    @property
    def installed(self) -> ServingImages:
        """The images that this installation serves new versions by."""
        plain = self.version.spec.serving.runtime == "huggingface"
        return ServingImages(predictor=self.platform.predictor_image, vllm=self.platform.vllm_image if plain else None)

    @cached_property
    def images(self) -> ServingImages:
        """The images that serve it: the installation's, and while much rests on it those that it was served by before."""
        plain, installed = self.version.spec.serving.runtime == "huggingface", self.installed
        if not (self.tested or self.seen.stage is Stage.CHAMPION):
            return installed
        if self.version.status.images is not None:
            return self.version.status.images
        found = self.seen.service.images if self.seen.service is not None else {}
        first, second = found.get("kserve-container"), found.get(HANDOVER_CONTAINER)
        known = (second, first) if plain else (first, None)
        return installed if known[0] is None else ServingImages(predictor=known[0], vllm=known[1])

    def _with_images(self, images: ServingImages) -> Platform:
        return replace(
            self.platform, predictor_image=images.predictor, vllm_image=images.vllm or self.platform.vllm_image
        )

    @property
    def tested(self) -> bool:
        """Whether a running experiment measures it."""
        return any(holder.startswith("ABExperiment/") for holder in self.seen.holders)

    @cached_property
    def policy(self) -> Fact | None:
        """Whether the installation allows what the spec asks for; None: there is nothing to say."""
        return policy_fact(version_faults(self.version.spec, self.platform.policy), self.version.status)

    @property
    def digest(self) -> str:
        """The template's hash."""
        return str(self.template["metadata"]["annotations"][TEMPLATE_HASH])

    @property
    def pinned(self) -> bool:
        """Whether a running experiment measures what is served: an operator upgrade does not change that."""
        service = self.seen.service
        return self.tested and service is not None and service.template_hash not in ("", self.digest)

    def decision(
        self, effects: tuple[Effect, ...], *facts: Fact, again: timedelta | None = None, **changes: Any
    ) -> Decision:
        """The status with these facts and changes, and what is done before it is written."""
        old, generation = self.version.status, self.version.metadata.generation
        facts = facts if self.policy is None else (*facts, self.policy)
        status = old.model_copy(
            update={
                "observed_generation": generation,
                "conditions": with_facts(old.conditions, facts, generation=generation, now=self.now),
                "stage": self.seen.stage,
                "in_use_by": tuple(holder[:256] for holder in self.seen.holders[:32]),
                "url": predictor_url(self.version.name, self.version.namespace),
                **({} if self.version.spec.external is not None else self._served()),
                **changes,
            }
        )
        times = [t for t in (again, self.rest.again) if t is not None]
        return Decision(status, effects, min(times, default=None))

    def _served(self) -> dict[str, Any]:
        """What is kept of how it is served, whatever else is found."""
        rest = self.rest
        if (self.policy is not None and self.policy.holds is False) or self.images.vllm == "":
            return {}  # nothing is made of it
        return {"images": self.images, "unused_since": rest.unused_since, "retired_time": rest.retired_time}


def expected(version: ModelVersion) -> str | None:
    """The hash that the spec names."""
    if version.spec.adapter is not None:
        return version.spec.adapter.sha256
    return version.spec.model.sha256 if version.spec.model is not None else None


def verified_fact(version: ModelVersion, verified: bool) -> Fact:  # noqa: FBT001 - a fact and its opposite
    """`ArtifactVerified`."""
    reason = Reason.VERIFIED if verified else Reason.ARTIFACT_MISMATCH
    adapter = version.spec.adapter
    base = "" if adapter is None else f", base {adapter.base_model.sha256 or 'not pinned: adapter.baseModel.sha256'}"
    return Fact("ArtifactVerified", verified, reason, f"sha256 {expected(version)}{base}")


def ready_fact(passed: bool, verified: bool, message: str) -> Fact:  # noqa: FBT001 - what was found, in order
    """`Ready` of a version that was judged."""
    if passed:
        return Fact("Ready", True, Reason.READY, "verified, served and measured")
    if not verified:
        return Fact("Ready", False, Reason.ARTIFACT_MISMATCH, "what answers is not the artifact that the spec names")
    return Fact("Ready", False, Reason.GATE_FAILED, message)
