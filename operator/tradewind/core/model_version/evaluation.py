"""What a served version shows before it takes traffic: the Job that measures and asks it, and the gates' verdict on what it found.

    no result -> Job (three attempts) -> too few decisions: held, tried again every six hours
                                     -> numbers -> gates -> Ready, or Failed for good

Belongs here: the Job's arguments, the gates, the status. Does not belong here: how numbers are measured (jobs/evaluate.py).
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from tradewind.api.common import GateResult, ObjectStatusRef
from tradewind.api.evaluation import EvaluationDataset, EvaluationStatus
from tradewind.api.model_version import BenchmarkStatus, ModelVersion, ModelVersionPhase, Provenance, ServingStatus
from tradewind.core.conditions import Fact, is_true
from tradewind.core.decision import Create, Decision, Delete, Effect, JobFacts, Manifest
from tradewind.core.limits import level_limits
from tradewind.core.manifests.common import Mounts
from tradewind.core.manifests.database import database_access
from tradewind.core.manifests.job import JobPod, build_job, settings_of
from tradewind.core.model_version.manifests import predictor_url
from tradewind.core.model_version.turn import Reason, Turn, expected, ready_fact, verified_fact
from tradewind.schema.scalars import as_milliseconds
from tradewind.trading.settings.evaluation import EvaluationRows, SimulatedTrades

ATTEMPTS: Final = 3
TRY_AGAIN: Final = timedelta(hours=6)
"""While too few decisions are later than the training data: they come with the days."""
DATASET_PATH, BARS_PATH = "/mnt/dataset", "/mnt/bars"
BITS: Final[Mapping[str, int | None]] = {"none": None, "int8": 8, "int4": 4}
"""Of a weight, by `serving.quantization`; None: nothing is quantised."""
_SOON = timedelta(seconds=5)
_SHOWN_ONCE = ("gates", "passed", "message", "hostile", "held", "completedTime")
"""Fields of the status that the Job does not tell as they are."""


def evaluated(turn: Turn, effects: tuple[Effect, ...], served: Fact) -> Decision:
    """Served and not judged yet: a Job, tried again, and what it found."""
    attempt, outcome = turn.version.status.attempts or 0, turn.seen.benchmark
    short = (turn.version.status.evaluation or EvaluationStatus()).held or 0
    if outcome is not None and outcome.succeeded and (benchmark := _benchmark(turn, outcome)) is not None:
        found = _found(turn.version, outcome)
        if found is not None and not _is_short(turn.version, found):
            return _judged(turn, effects, served, benchmark, found)
        if found is not None and turn.now - (outcome.finished_at or turn.now) < TRY_AGAIN:
            return _held(turn, effects, served, found)
        if found is not None:
            short = attempt
    ended = outcome is not None and (outcome.failed or outcome.succeeded)
    if outcome is not None and ended and attempt - short >= ATTEMPTS:
        why = outcome.result.get("message") or outcome.message or "its result could not be read"
        message = f"the evaluation failed {ATTEMPTS} times: {why}"
        failed = Fact("Ready", False, Reason.BENCHMARK_FAILED, message)
        return turn.decision(effects, served, failed, phase=ModelVersionPhase.FAILED)
    dataset = turn.version.spec.evaluation.dataset
    if dataset is not None and dataset.endpoint is not None and turn.seen.endpoint is None:
        message = f"evaluation.dataset.endpoint: there is no Endpoint {dataset.endpoint} in {turn.version.namespace}: create it"
        missing = Fact("Ready", False, Reason.ENDPOINT_MISSING, message)
        return turn.decision(effects, served, missing, phase=ModelVersionPhase.EVALUATING)
    changes: dict[str, Any] = {"phase": ModelVersionPhase.EVALUATING}
    if outcome is None or ended:
        changes["attempts"] = attempt + 1
        effects += (Create(_job(turn, attempt + 1)),)
        if short == attempt > 0:  # holds go on for as long as it takes, and their Jobs with them
            effects += (Delete("batch/v1", "Job", _job_name(turn.version, attempt)),)
    held = outcome.hindrance if outcome is not None else None
    word, message = (Reason.BENCHMARKING, "measuring the served endpoint") if held is None else (held.reason, str(held))
    measuring = Fact("Ready", False, word, message)
    return turn.decision(effects, served, measuring, again=_SOON, **changes)


def _judged(
    turn: Turn, effects: tuple[Effect, ...], served: Fact, benchmark: BenchmarkStatus, found: EvaluationStatus
) -> Decision:
    """The gates' verdict."""
    version, result = turn.version, turn.seen.benchmark.result if turn.seen.benchmark else {}
    hashed = expected(version)
    verified = bool(result.get("verified")) and bool(result.get("roundTrip")) and result.get("sha256", hashed) == hashed
    serving = _serving(result)
    verified = verified and is_quantised_as_asked(version, serving)
    gates = tuple(_gates(version, benchmark, found))
    passed = all(gate.passed is True for gate in gates)  # a number that is missing passes nothing
    message = "; ".join(
        f"{gate.name} {'unknown' if gate.value is None else format(gate.value, 'g')} against {gate.threshold:g}"
        for gate in gates
        if gate.passed is not True
    )
    reason = Reason.MEASURED if passed else Reason.GATE_FAILED
    said = "benchmark measured" if found.rows is None else f"measured, and judged on {found.rows} recorded decisions"
    return turn.decision(
        effects,
        verified_fact(version, verified),
        served,
        Fact("Evaluated", passed, reason, message or said),
        ready_fact(passed and verified, verified, message),
        phase=ModelVersionPhase.READY if passed and verified else ModelVersionPhase.FAILED,
        benchmark=benchmark,
        evaluation=found.model_copy(update={"gates": gates, "passed": passed, "message": message}),
        sha256=hashed if verified else None,
        serving=serving,
        provenance=_provenance(turn, result),
    )


def _held(turn: Turn, effects: tuple[Effect, ...], served: Fact, found: EvaluationStatus) -> Decision:
    """Nothing can be said yet, so nothing is: the version takes no traffic, and the decisions that are missing will come."""
    needed = _needed(turn.version)
    since = "" if found.since is None else f" later than {found.since:%Y-%m-%dT%H:%M:%SZ} (training data and embargo)"
    message = (
        f"{found.rows} decisions{since}, evaluation.dataset.minRows asks for {needed}: wait, or leave the newest decisions out of training "
        "(dataset.until of the TrainingRun)"
    )
    facts = (
        Fact("Evaluated", None, Reason.NOT_ENOUGH_ROWS, message),
        Fact("Ready", False, Reason.NOT_ENOUGH_ROWS, message),
    )
    kept = found.model_copy(update={"held": turn.version.status.attempts, "message": message})
    phase = ModelVersionPhase.EVALUATING
    return turn.decision(effects, served, *facts, again=timedelta(minutes=10), phase=phase, evaluation=kept)


def _provenance(turn: Turn, result: Mapping[str, Any]) -> Provenance:
    adapter = turn.version.spec.adapter
    server, card = _mapping(result.get("server")), _mapping(result.get("card"))
    run = card.get("run") or (adapter.training_run if adapter else None)
    try:
        made = Provenance.model_validate(
            {
                "trainingRun": ObjectStatusRef(name=str(run)).to_manifest() if run else None,
                "datasetSha256": card.get("datasetSha256"),
                "watermark": card.get("watermark"),
            }
        )
    except ValueError:  # the card is the adapter's, and says what its author liked
        made = Provenance()
    return made.model_copy(
        update={
            "image": next((pod.image_id for pod in turn.seen.pods if pod.ready and pod.image_id), None),
            "template_hash": turn.digest,
            "torch": str(server["torch"])[:64] if server.get("torch") else None,
            "base_model": adapter.base_model.uri if adapter else None,
            "base_revision": adapter.base_model.revision or None if adapter else None,
        }
    )


def is_quantised_as_asked(version: ModelVersion, serving: ServingStatus | None) -> bool:
    """Whether what answers has the bits that the spec asks for: the files' hash does not say."""
    told = serving.quantization if serving is not None else None
    return (told.bits if told is not None else None) == BITS[version.spec.serving.quantization]


def _serving(result: Mapping[str, Any]) -> ServingStatus | None:
    told = result.get("quantization")
    try:
        return ServingStatus.model_validate({"quantization": told}) if told else None
    except ValueError:
        return None


def _benchmark(turn: Turn, outcome: JobFacts) -> BenchmarkStatus | None:
    """What the Job measured; None where its result says nothing, or nothing that can be read."""
    result = outcome.result
    if "verified" not in result:
        return None
    try:
        levels = sorted(dict(result.get("concurrency") or {}).items(), key=lambda item: int(item[0]))
        known = ("p50Ms", "p99Ms", "decisionsPerSecond", "valid", "requests")
        return BenchmarkStatus.model_validate(
            {name: result.get(name) for name in known}
            | {
                "at": [{**measured, "concurrency": int(level)} for level, measured in levels],
                "completedTime": outcome.finished_at or turn.now.replace(microsecond=0),
            }
        )
    except (ValueError, TypeError):
        return None


def _found(version: ModelVersion, outcome: JobFacts) -> EvaluationStatus | None:
    """What recorded decisions showed; None where they were asked for and the result does not say."""
    told = _mapping(outcome.result.get("evaluation"))
    if version.spec.evaluation.dataset is not None and "rows" not in told:
        return None
    try:
        fields = {name: value for name, value in told.items() if name not in _SHOWN_ONCE}
        return EvaluationStatus.model_validate(
            fields | {"hostile": outcome.result.get("hostile"), "completedTime": outcome.finished_at}
        )
    except (ValueError, TypeError):
        return None


def _needed(version: ModelVersion) -> int:
    dataset = version.spec.evaluation.dataset
    return 0 if dataset is None else dataset.min_rows


def _is_short(version: ModelVersion, found: EvaluationStatus) -> bool:
    return (found.rows or 0) < _needed(version)


def _gates(version: ModelVersion, benchmark: BenchmarkStatus, found: EvaluationStatus) -> Iterable[GateResult]:
    """Every gate that is set, with its number."""
    wanted, hostile = version.spec.evaluation.gates, found.hostile
    of_dataset = [] if version.spec.evaluation.dataset is None else [found.valid]
    valid = [benchmark.valid, *of_dataset]
    least = None if None in valid else min(share for share in valid if share is not None)
    yield _gate("minJsonValidity", least, wanted.min_json_validity, at_least=True)
    if hostile is not None:
        known = hostile.asked and hostile.kept is not None
        share = ((hostile.kept or 0) + (hostile.refused or 0)) / (hostile.asked or 1) if known else None
        yield _gate("hostileInputs", share, "1", at_least=True, message=hostile.broken or "")
    if wanted.latency:
        objective = as_milliseconds(version.spec.serving.latency_objective.p99)
        yield _gate("latencyObjective.p99", benchmark.p99_ms, objective, at_least=False)
    simulated = found.simulated
    difference = simulated.sharpe_difference if simulated is not None else None
    error = found.calibration.error if found.calibration is not None else None
    for name, value, threshold, at_least in (
        ("minAgreement", found.agreement, wanted.min_agreement, True),
        ("minDisagreement", found.disagreement, wanted.min_disagreement, True),
        ("maxHoldShare", found.hold_share, wanted.max_hold_share, False),
        ("maxCalibrationError", error, wanted.max_calibration_error, False),
    ):
        if threshold is not None:
            yield _gate(name, value, threshold, at_least=at_least)
    if wanted.max_sharpe_loss is not None:
        upper = difference.upper if difference is not None else None
        said = "" if upper is None else "upper end of the difference's interval"
        yield _gate("maxSharpeLoss", upper, -float(wanted.max_sharpe_loss), at_least=True, message=said)


def _gate(name: str, value: float | None, asked: float | str, *, at_least: bool, message: str = "") -> GateResult:
    threshold = float(asked)
    passed = None if value is None else (value >= threshold if at_least else value <= threshold)
    return GateResult(name=name, value=value, threshold=threshold, passed=passed, message=message)


def _job(turn: Turn, attempt: int) -> Manifest:
    version, platform, name = turn.version, turn.platform, turn.version.metadata.name
    evaluation = version.spec.evaluation
    args = ["--url", predictor_url(name, version.namespace), "--model", name, "--sha256", str(expected(version))]
    args += ["--requests", str(evaluation.requests), "--concurrency", ",".join(map(str, evaluation.concurrency))]
    args += _protocol(version)
    mounts, config = Mounts(platform.policy), dict[str, Any]()
    env: list[Manifest] = []
    seconds = 900
    if evaluation.dataset is not None:
        config["recorded"] = _recorded(turn, evaluation.dataset, mounts, env)
        config["compared"] = _compared(turn.seen.champion)
        seconds = 4 * 3600
    if evaluation.bars is not None:
        bars = evaluation.bars
        mounts.take("spec.evaluation.bars", bars.uri, bars.store, BARS_PATH)
        config["bars"] = settings_of(bars, SimulatedTrades) | {"folder": BARS_PATH}
    pod = JobPod(script="evaluate.py", config=config | mounts.stores.config, args=args, env=env, grace_seconds=10)
    job = _job_name(version, attempt)
    return build_job(turn.owner, platform, job, "benchmark", pod, mounts, activeDeadlineSeconds=seconds)


def _job_name(version: ModelVersion, attempt: int) -> str:
    return f"{version.name}-benchmark-{attempt}"


def _recorded(turn: Turn, dataset: EvaluationDataset, mounts: Mounts, env: list[Manifest]) -> dict[str, Any]:
    """Rows of a folder, or of the Endpoint's log with the limits that its gateways keep."""
    told = settings_of(dataset, EvaluationRows)
    endpoint = turn.seen.endpoint
    if dataset.uri is not None:
        mounts.take("spec.evaluation.dataset", dataset.uri, dataset.store, DATASET_PATH)
        return told | {"folder": DATASET_PATH} | ({"sha256": dataset.sha256} if dataset.sha256 else {})
    assert endpoint is not None
    access = database_access(endpoint.spec.database)
    mounts.volumes += access.volumes
    mounts.mounts += access.mounts
    env += access.env
    key = {"installation": turn.platform.installation, "namespace": endpoint.namespace, "name": endpoint.name}
    limits = {level: each.to_manifest() for level, each in level_limits(endpoint.spec.limits).items()}
    return told | {"endpoint": key} | ({"limits": limits} if limits else {})


def _compared(champion: ModelVersion | None) -> dict[str, Any] | None:
    """The champion, asked where it is ours and serves; else what the log has of it."""
    if champion is None:
        return None
    if champion.spec.external is not None or not is_true(champion.status.conditions, "Ready"):
        return {"version": champion.name}
    url = predictor_url(champion.name, champion.namespace)
    told = {"version": champion.name, "url": url, "sha256": expected(champion)}
    return told | ({"protocol": "vllm"} if _protocol(champion) else {})


def _protocol(version: ModelVersion) -> list[str]:
    return ["--protocol", "vllm"] if version.spec.serving.runtime == "huggingface" else []


def _mapping(told: Any) -> Mapping[str, Any]:
    return told if isinstance(told, dict) else {}
