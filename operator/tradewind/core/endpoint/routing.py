"""The routing document: what every gateway of an Endpoint obeys. One builder; the published one where nothing changes."""

from datetime import datetime, timedelta
from decimal import Decimal

from tradewind.api.ab_experiment import ABExperiment, Mode
from tradewind.api.common import SecretKeyRef, VersionStatusRef
from tradewind.api.endpoint import Endpoint
from tradewind.api.external_model import ExternalModel, Prices
from tradewind.api.model_version import ModelVersion
from tradewind.core.endpoint.holders import fallback_of, is_as_seen
from tradewind.core.endpoint.intact import last_generation
from tradewind.core.endpoint.manifests import credential_path
from tradewind.core.endpoint.seen import TERMINAL, Seen
from tradewind.core.evidence import settlement_of
from tradewind.core.identity import spec_sha256, version_sha256
from tradewind.core.limits import level_limits
from tradewind.core.model_version.manifests import predictor_url
from tradewind.core.policy import Policy, reach_of
from tradewind.core.prompts import PromptFault, source_of
from tradewind.schema.json_text import as_object
from tradewind.schema.scalars import as_milliseconds, as_timedelta
from tradewind.trading.completions import served_name
from tradewind.trading.hosts import Reach, Refused
from tradewind.trading.routing import (
    OWN_PROTOCOL,
    ArmRefusal,
    ArmTarget,
    BlockWeight,
    ExperimentRoute,
    Protocol,
    Routing,
    RoutingLimits,
    TokenPrices,
    generation_after,
)

ROUTING_LIFETIME = timedelta(seconds=30)
ROUTING_RENEWAL = timedelta(seconds=10)
OWN_PROBE_SECONDS = 60.0
"""An own model answers for nothing."""
UNWATCHED_AFTER = timedelta(minutes=3)
"""A live weight whose evidence was not computed for so long is no longer renewed: it expires and the champion answers."""


def routing_of(
    endpoint: Endpoint,
    seen: Seen,
    champion: VersionStatusRef | None,
    active: ABExperiment | None,
    now: datetime,
    policy: Policy,
) -> Routing | None:
    """The document to publish: the one that is published already (the same object) where nothing is to change."""
    fallback, fault = fallback_of(endpoint, seen)
    broken = fault is not None and fault.holds is False
    if champion is None or fallback is None or broken or (active is not None and active.status.phase in TERMINAL):
        return seen.routing
    roles = [champion]
    names = {champion.name, fallback.name}
    experiment = _experiment_route(endpoint, active, seen)
    if experiment is not None and active is not None:
        names |= {experiment.baseline, experiment.candidate}
        roles += [ref for ref in (active.status.baseline_ref, active.status.candidate_ref) if ref is not None]
    if not names <= seen.versions.keys() or not all(is_as_seen(seen.versions[ref.name], ref) for ref in roles):
        return seen.routing
    appointed = frozenset(names)
    names |= _to_be_probed(seen)
    kept = seen.in_position if seen.database_error is None else frozenset(seen.routing.arms if seen.routing else ())
    names |= kept & seen.versions.keys()
    pinned = kept - appointed
    now = now.replace(microsecond=0)
    renewed = now + ROUTING_LIFETIME
    if active is not None and not _watched(active, seen, now):  # whoever takes the document away renews nothing by it
        renewed = min(renewed, seen.routing.expires_at if seen.routing is not None else now)
    document = Routing(
        endpoint=endpoint.name,
        generation=seen.routing.generation if seen.routing else 0,
        published_at=now,
        expires_at=renewed,
        clock=endpoint.spec.clock.value,
        champion=champion.name,
        fallback=fallback.name,
        arms={name: _arm(seen.versions[name], seen, policy, pinned=name in pinned) for name in sorted(names)},
        experiment=experiment,
        limits=RoutingLimits(
            permission_levels=level_limits(endpoint.spec.limits),
            symbols=endpoint.spec.limits.symbols,
        ),
        external_fields=endpoint.spec.external_fields,
        labels=endpoint.spec.labels,
        max_hold_seconds=int(as_timedelta(endpoint.spec.max_hold).total_seconds()),
        on_database_outage=endpoint.spec.on_database_outage,
        flips=endpoint.spec.flips,
        retries=endpoint.spec.retries,
        reports=endpoint.spec.reports,
    )
    if seen.routing is not None:
        times = {"published_at": seen.routing.published_at, "expires_at": seen.routing.expires_at}
        if document.model_copy(update=times) == seen.routing:
            live = experiment is not None and experiment.mode == "Live"
            fresh = seen.routing.expires_at - now > ROUTING_LIFETIME - ROUTING_RENEWAL + timedelta(seconds=1)
            return document if live and not fresh and renewed > seen.routing.expires_at else seen.routing
    # Rising even after the ConfigMap was deleted by hand.
    generation = generation_after(max(document.generation, last_generation(endpoint, now)), now)
    return document.model_copy(update={"generation": generation})


def _watched(active: ABExperiment, seen: Seen, now: datetime) -> bool:
    """Whether somebody looks at what the candidate does: a live weight that nobody watches is not renewed."""
    if active.spec.mode is not Mode.LIVE or active.status.weight is None or active.status.weight.desired in (None, "0"):
        return True
    looked = active.status.last_evaluated_time
    return seen.database_error is None and looked is not None and now - looked < UNWATCHED_AFTER


def _to_be_probed(seen: Seen) -> set[str]:
    """External arms of experiments that have not started: who is asked nothing is found out by nobody else."""
    return {
        name
        for e in seen.experiments
        if e.status.phase not in TERMINAL and e.metadata.deletion_timestamp is None
        for name in (e.spec.baseline, e.spec.candidate)
        if name is not None and name in seen.versions and seen.versions[name].spec.external is not None
    }


def _experiment_route(endpoint: Endpoint, active: ABExperiment | None, seen: Seen) -> ExperimentRoute | None:
    if active is None or active.status.t0 is None or active.status.baseline_ref is None:
        return None
    weight = active.status.weight
    blocks: tuple[BlockWeight, ...] = ()
    if active.spec.mode is Mode.REPLAY:
        blocks = tuple(
            BlockWeight(block=row.block, epoch=row.epoch, candidate_weight=row.candidate_weight)
            for row in sorted(seen.epochs, key=lambda row: row.block)
        )
        published = seen.routing.experiment if seen.routing is not None else None
        if endpoint.status.active_experiment is None or endpoint.status.active_experiment.uid != active.metadata.uid:
            blocks = ()  # the facts are those of another experiment
        elif seen.database_error is not None:  # published blocks are facts, whether or not they can be read now
            blocks = published.blocks if published is not None and published.uid == active.metadata.uid else ()
    return ExperimentRoute(
        uid=active.metadata.uid,
        name=active.name,
        mode=active.spec.mode.value,
        t0=active.status.t0,
        block_seconds=int(settlement_of(active, endpoint).block_length.total_seconds()),
        baseline=active.status.baseline_ref.name,
        candidate=active.spec.candidate,
        candidate_weight=Decimal(weight.desired) if weight and weight.desired else Decimal(0),
        epoch=max((b.epoch for b in blocks), default=active.status.epoch or 0),
        blocks=blocks,
        shadow=(active.status.basis.shadow if active.status.basis else None) or "none",
        shadow_share=Decimal(active.spec.traffic.shadow_share),
    )


def is_as_routed(seen: Seen, routing: Routing) -> bool:
    """Whether every arm of a document exists as it is there: else its pods keep the Secrets that they have."""
    return all(
        name in seen.versions and target.spec_sha256 in (None, spec_sha256(seen.versions[name]))
        for name, target in routing.arms.items()
    )


def credentials_of(seen: Seen, routing: Routing) -> dict[str, SecretKeyRef]:
    """Secrets of the external versions that may be asked. One whose host is not allowed reaches no pod."""
    found: dict[str, SecretKeyRef] = {}
    for name, target in routing.arms.items():
        external = seen.versions[name].spec.external if name in seen.versions else None
        if external is not None and external.secret_ref is not None and target.refusal is None:
            found[name] = external.secret_ref
    return found


def arm_target(version: ModelVersion, policy: Policy) -> ArmTarget:
    """How the gateway asks a version, or why it does not."""
    external = version.spec.external
    if external is not None:
        reach = reach_of(external, policy)
        refusal = ArmRefusal(cause=reach.cause, message=reach.message) if isinstance(reach, Refused) else None
        key = external.secret_ref if refusal is None else None
        return ArmTarget(
            protocol=Protocol(external.protocol),
            base_url=external.base_url,
            model=external.model,
            credential_file=credential_path(version.name, key) if key is not None else None,
            networks=reach.networks if isinstance(reach, Reach) else (),
            plain_http=isinstance(reach, Reach) and reach.plain,
            refusal=refusal,
            timeout_seconds=as_milliseconds(external.timeout) / 1000,
            max_retries=external.retry.max,
            retry_budget=Decimal(external.retry.budget),
            price_per_call_cny=Decimal(external.price_per_call_cny) if external.price_per_call_cny else None,
            prices=_token_prices(external.prices),
            symbol_aliases=external.symbol_aliases,
            temperature=_temperature(external),
            response_format=external.response_format,
            max_tokens=external.max_tokens,
            extra_body=({} if external.thinking is None else {"thinking": {"type": external.thinking}})
            | (as_object(external.extra_body) if external.extra_body else {}),
            spec_sha256=spec_sha256(version),
            probe_seconds=as_timedelta(external.probe_interval).total_seconds(),
        )
    plain, sha256 = version.spec.serving.runtime == "huggingface", version_sha256(version)
    return ArmTarget(
        protocol=Protocol.VLLM if plain else OWN_PROTOCOL,
        outside=False,
        base_url=predictor_url(version.name, version.namespace),
        model=served_name(version.name, str(sha256)) if plain else version.name,
        timeout_seconds=as_milliseconds(version.spec.serving.timeout) / 1000,
        sha256=sha256,
        spec_sha256=spec_sha256(version),
        probe_seconds=OWN_PROBE_SECONDS,
    )


def _arm(version: ModelVersion, seen: Seen, policy: Policy, *, pinned: bool) -> ArmTarget:
    """How a version is asked; pinned: a position is open with what came into the document, whoever has its name now."""
    target = arm_target(version, policy)
    known = seen.routing.arms.get(version.name) if seen.routing is not None else None
    if pinned and known is not None and known.spec_sha256 not in (None, target.spec_sha256):
        return known
    return _as_worded(target, version, seen)


def _as_worded(target: ArmTarget, version: ModelVersion, seen: Seen) -> ArmTarget:
    """The target with the version's own words. While they cannot be used the last ones stay, or it is not asked at all."""
    ref = version.spec.external.prompt_template if version.spec.external is not None else None
    if ref is None:
        return target
    read = seen.prompts.get(version.name) or PromptFault("the prompt of the version was not read yet")
    known = seen.routing.arms.get(version.name) if seen.routing is not None else None
    last = known.prompt if known is not None else None
    if isinstance(read, PromptFault) and last is not None and last.source == source_of(ref):
        read = last
    if isinstance(read, PromptFault):
        return target.model_copy(update={"prompt_fault": read.message})
    return target.model_copy(update={"prompt": read})


def _temperature(external: ExternalModel) -> float | None:
    if external.temperature is None:
        return Protocol(external.protocol).temperature
    return None if external.temperature == "none" else float(external.temperature)


def _token_prices(prices: Prices | None) -> TokenPrices | None:
    if prices is None:
        return None
    cached, written = prices.cached_input_per_million, prices.cache_write_per_million
    return TokenPrices(
        input=Decimal(prices.input_per_million),
        cached_input=None if cached is None else Decimal(cached),
        cache_write=None if written is None else Decimal(written),
        output=Decimal(prices.output_per_million),
        cny_per_unit=Decimal(prices.cny_per_usd or 1),
    )
