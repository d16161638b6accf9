"""Before the start: may this experiment run, is the Endpoint free, and what is fixed when it begins."""

from datetime import timedelta
from decimal import Decimal

from tradewind.api.ab_experiment_status import ABExperimentPhase, ABExperimentStatus, BasisStatus, HistoryEntry
from tradewind.api.endpoint import Clock
from tradewind.api.model_version import ModelVersion
from tradewind.core.ab_experiment.forecast import before_start
from tradewind.core.ab_experiment.prices import answer_cost, reference_notional
from tradewind.core.ab_experiment.seen import Reason
from tradewind.core.ab_experiment.turn import Turn, noted, weighted
from tradewind.core.conditions import Fact, is_true
from tradewind.core.decision import Decision, RecordExperiment
from tradewind.core.evidence import shadow_of
from tradewind.core.identity import ref_to


def pending(turn: Turn) -> Decision:
    """Not started: what is missing, who holds the Endpoint, or the start itself."""
    blocked = _inadmissible(turn)
    waiting = turn.experiment.status.model_copy(update={"phase": ABExperimentPhase.PENDING})
    waiting = before_start(turn, waiting)
    if blocked is not None:
        facts = (Fact("Admissible", False, *blocked), Fact("Succeeded", None, *blocked))
        return turn.decision(waiting, *facts, again=timedelta(seconds=10))
    admissible = Fact("Admissible", True, Reason.ADMISSIBLE, "can start as soon as the Endpoint is free")
    active = turn.endpoint.status.active_experiment
    if active is not None and active.uid == turn.experiment.metadata.uid:
        return _start(turn, waiting, admissible)
    holder = f"Endpoint {turn.endpoint.name} runs ABExperiment {active.name}" if active else "waiting for the Endpoint"
    message = f"{holder}: one experiment runs at a time; this one starts when it ends"
    return turn.decision(waiting, admissible, Fact("Succeeded", None, Reason.ENDPOINT_BUSY, message))


def _unpriced(turn: Turn, baseline: ModelVersion, candidate: ModelVersion) -> str | None:
    """Why returns cannot be net of the price of answers; None: they can, or need not be."""
    if not turn.experiment.spec.evidence.net_of_cost:
        return None
    if reference_notional(turn.endpoint, turn.seen.prior) is None:
        return (
            "evidence.netOfCost: the baseline has too few trades to compare prices with; set referenceNotionalUSD of Endpoint "
            f"{turn.endpoint.name}"
        )
    costs = (answer_cost(version, turn.endpoint, turn.seen.prior) for version in (baseline, candidate))
    return next((cost for cost in costs if isinstance(cost, str)), None)


def _basis(turn: Turn, baseline: ModelVersion, candidate: ModelVersion) -> BasisStatus:
    evidence, symbols = turn.experiment.spec.evidence, turn.endpoint.spec.limits.symbols
    several = symbols is None or len(symbols) > 1
    return BasisStatus(
        shadow=shadow_of(turn.experiment.spec.traffic.shadow, baseline, candidate),
        boundary=evidence.boundary,
        paper=turn.endpoint.spec.paper,
        reference_notional_usd=reference_notional(turn.endpoint, turn.seen.prior),
        scale_by_symbol=several if evidence.scale_by_symbol is None else evidence.scale_by_symbol,
    )


def _inadmissible(turn: Turn) -> tuple[Reason, str] | None:
    spec, seen = turn.experiment.spec, turn.seen
    endpoint = seen.endpoint
    if endpoint is None:
        name = spec.endpoint_ref.name
        return (
            Reason.ENDPOINT_MISSING,
            f"spec.endpointRef.name: Endpoint {name!r} does not exist: create it or correct it",
        )
    wanted = Clock.REPLAY if turn.replays else Clock.LIVE
    if endpoint.spec.clock is not wanted:
        message = (
            f"spec.mode {spec.mode} needs an Endpoint with clock {wanted}; {endpoint.name} has {endpoint.spec.clock}"
        )
        return Reason.CLOCK_MISMATCH, message
    if turn.spec.too_short is not None:
        return Reason.TOO_SHORT, f"spec.{turn.spec.too_short}"
    baseline = turn.baseline_name
    if baseline is None:
        return Reason.VERSION_NOT_READY, f"Endpoint {endpoint.name} has no champion yet to compare with"
    if baseline == spec.candidate:
        return Reason.SAME_VERSION, f"spec.candidate: {baseline} is the baseline already; name another ModelVersion"
    for field_name, name in (("baseline", baseline), ("candidate", spec.candidate)):
        version = seen.versions.get(name)
        if version is None:
            return (
                Reason.VERSION_MISSING,
                f"spec.{field_name}: ModelVersion {name!r} does not exist: create it or correct it",
            )
        if not is_true(version.status.conditions, "Ready"):
            ready = version.status.condition("Ready")
            told = f" ({ready.reason}: {ready.message})"[:600] if ready is not None else ""
            return Reason.VERSION_NOT_READY, f"spec.{field_name}: ModelVersion {name} is not Ready yet{told}"
    if seen.database_error is not None:
        return Reason.DATABASE_UNREACHABLE, seen.database_error
    why = _unpriced(turn, seen.versions[baseline], seen.versions[spec.candidate])
    if why is not None:
        return Reason.PRICE_UNKNOWN, f"spec.{why}"
    if seen.tested_before and spec.retest == "never":
        times = f"{seen.tested_before} time(s)"
        message = f"{spec.candidate} was compared with {baseline} {times} before: set spec.retest: allowed to test again at alpha/2^k"
        return Reason.ALREADY_TESTED, message
    return None


def _costs(
    turn: Turn, baseline: ModelVersion, candidate: ModelVersion
) -> tuple[float | None, float | None, float | None]:
    """CNY per USD, and what an answer of each arm costs beside its calls, as far as they are known."""
    rate = turn.endpoint.spec.costs.cny_per_usd
    first, second = (answer_cost(version, turn.endpoint, turn.seen.prior) for version in (baseline, candidate))
    return (
        None if rate is None else float(rate),
        None if isinstance(first, str) else first,
        None if isinstance(second, str) else second,
    )


def _start(turn: Turn, status: ABExperimentStatus, admissible: Fact) -> Decision:
    experiment, name = turn.experiment, turn.baseline_name
    assert name is not None
    baseline, candidate = turn.seen.versions[name], turn.seen.versions[experiment.spec.candidate]
    replay, now = experiment.spec.replay, turn.now.replace(microsecond=0)
    t0 = replay.start_time if replay is not None else now
    record = RecordExperiment(
        endpoint=turn.endpoint.name,
        experiment_uid=experiment.metadata.uid,
        name=experiment.name,
        mode=experiment.spec.mode.value,
        baseline=ref_to(baseline),
        candidate=ref_to(candidate),
        t0=t0,
        alpha=turn.spec.alpha,
        spec=experiment.spec.to_manifest(),
        costs=_costs(turn, baseline, candidate),
    )
    started = status.model_copy(
        update={
            "phase": ABExperimentPhase.RUNNING,
            "t0": t0,
            "max_hold": turn.endpoint.spec.max_hold,
            "latency_objective": turn.latency_objective,
            "basis": _basis(turn, baseline, candidate),
            "start_time": now,
            "baseline_ref": record.baseline,
            "candidate_ref": record.candidate,
        }
    )
    message = f"{candidate.name} against {baseline.name}"
    started = noted(started, HistoryEntry(time=t0, reason=Reason.STARTED, message=message))
    started = weighted(started, Decimal(0), Reason.STARTED, "the first weight follows with its epoch", t0)
    return turn.decision(
        started,
        admissible,
        Fact("Running", True, Reason.RUNNING, "collecting evidence"),
        Fact("Succeeded", None, Reason.RUNNING, "no verdict yet"),
        effects=(record,),
        again=timedelta(0),
    )
