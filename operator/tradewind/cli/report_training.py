"""The report of a TrainingRun: its curves, its data, what it gained and what it is made of. Pure: a manifest in, text out.

Belongs here: what is shown of a run. Does not belong here: where the manifest comes from (report.py), the layout
(templates/training.html.jinja) and figures' geometry (report_figure.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import nan

from tradewind.api.training_run import TrainingRun
from tradewind.api.training_run_status import CurvePoint, TrainingRunPhase
from tradewind.cli.progress_line import in_words, progress_line
from tradewind.cli.report_figure import Bound, Figure, Line, draw_figure, steps
from tradewind.cli.report_gates import gate_rows
from tradewind.cli.report_page import environment
from tradewind.cli.report_text import UNKNOWN, Row, known
from tradewind.trading.teaching import DROPPED

_TONES = {
    TrainingRunPhase.SUCCEEDED: "good",
    TrainingRunPhase.FAILED: "bad",
    TrainingRunPhase.INVALID: "bad",
}
_OUTCOMES = {
    TrainingRunPhase.SUCCEEDED: "Succeeded",
    TrainingRunPhase.SKIPPED: "Skipped: nothing was trained",
    TrainingRunPhase.FAILED: "Failed",
    TrainingRunPhase.INVALID: "Invalid: nothing was trained",
}


@dataclass(frozen=True, slots=True)
class TrainingPage:
    """What the template shows, every number as text; rows are empty where there is nothing to say."""

    run: TrainingRun
    generated_at: datetime
    lead: str
    tone: str
    outcome: str
    message: str
    tiles: tuple[tuple[str, str], ...]
    losses: Figure | None
    learning_rate: Figure | None
    gate_rows: tuple[Row, ...]
    data_rows: tuple[Row, ...]
    dropped_rows: tuple[Row, ...]
    plan: tuple[tuple[str, str], ...]
    made_of: tuple[tuple[str, str], ...]


def render_training(run: TrainingRun, now: datetime) -> str:
    """The whole HTML document."""
    return environment().get_template("training.html.jinja").render(page=view(run, now))


def view(run: TrainingRun, now: datetime) -> TrainingPage:
    """What the template shows of a run."""
    status, spec = run.status, run.spec
    ended = status.condition("Succeeded")
    curve = status.progress.curve if status.progress else ()
    dataset = status.dataset
    source = f"decisions of {spec.dataset.endpoint}" if spec.dataset.endpoint else f"the rows in {spec.dataset.uri}"
    return TrainingPage(
        run=run,
        generated_at=now,
        lead=f"{spec.objective} of {spec.base_model.uri} on {source}",
        tone="flat" if status.phase is None else _TONES.get(status.phase, "flat"),
        outcome=_OUTCOMES.get(status.phase, str(status.phase)) if status.phase else "Not looked at yet",
        message=_message(run, ended.message if ended is not None else ""),
        tiles=tuple(_tiles(run)),
        losses=_loss_figure(run, curve),
        learning_rate=_rate_figure(curve),
        gate_rows=gate_rows(status.gates),
        data_rows=tuple(_data_rows(dataset.per_label, dataset.per_action)) if dataset else (),
        dropped_rows=tuple(_dropped_rows(dataset.dropped)) if dataset else (),
        plan=tuple(_plan(run)),
        made_of=tuple(_made_of(run)),
    )


def _message(run: TrainingRun, said: str) -> str:
    progress = run.status.progress
    if run.status.phase is TrainingRunPhase.TRAINING and progress is not None and progress.percent is not None:
        return progress_line(progress.to_manifest(), bar=False)
    return said


def _tiles(run: TrainingRun) -> Iterator[tuple[str, str]]:
    status = run.status
    result, progress = status.result, status.progress
    gain = result.gain if result is not None else None
    if gain is not None and result is not None:
        yield (
            f"{100 * gain:.1f} %",
            f"of the base model's evaluation loss gone: {known(result.base_eval_loss)} to {known(result.eval_loss)}",
        )
    elif (loss := result.eval_loss if result else progress.eval_loss if progress else None) is not None:
        yield known(loss), "evaluation loss"
    if progress is not None and progress.total_steps:
        yield f"{progress.step or 0:,}", f"steps of {progress.total_steps:,}"
    elif result is not None and result.steps is not None:
        yield f"{result.steps:,}", "steps"
    if status.dataset is not None and status.dataset.rows is not None:
        yield f"{status.dataset.rows:,}", "rows"
    if result is not None and result.seconds is not None:
        yield in_words(result.seconds), "of training in the last attempt"
    speed = result.tokens_per_second if result else progress.tokens_per_second if progress else None
    if speed:
        yield f"{speed:,.0f}", "tokens a second"
    if status.cost_cny is not None:
        yield f"{status.cost_cny:,.2f} CNY", f"{(status.gpu_seconds or 0) / 3600:,.2f} GPU hours"


def _loss_figure(run: TrainingRun, curve: Sequence[CurvePoint]) -> Figure | None:
    result = run.status.result
    base = result.base_eval_loss if result else None
    bounds = [] if base is None else [Bound(f"base model {known(base)}", "even", base)]
    return draw_figure(
        "Loss by optimiser step, in nats a token" if run.spec.objective == "sft" else "Loss by optimiser step",
        steps(),
        [_line("training", "baseline", curve, "loss"), _line("evaluation", "candidate", curve, "eval_loss")],
        tick=lambda loss: f"{loss:g}",
        value=known,
        bounds=bounds,
        reach=(0.0,),
    )


def _rate_figure(curve: Sequence[CurvePoint]) -> Figure | None:
    line = _line("learning rate", "even", curve, "learning_rate")
    return draw_figure(
        "Learning rate by optimiser step", steps(), [line], tick=lambda rate: f"{rate:g}", reach=(0.0,), height=120
    )


def _line(name: str, tone: str, curve: Sequence[CurvePoint], of: str) -> Line:
    values = [getattr(point, of) for point in curve]
    return Line(name, tone, [point.step for point in curve], [nan if value is None else value for value in values])


def _data_rows(per_label: Mapping[str, int], per_action: Mapping[str, int]) -> Iterator[Row]:
    for what, counts in (("label", per_label), ("action", per_action)):
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            yield f"{what} {name}", f"{count:,}", f"{100 * count / max(sum(counts.values()), 1):.1f} %"


def _dropped_rows(dropped: Mapping[str, int]) -> Iterator[Row]:
    meanings = {str(reason): words for reason, words in DROPPED.items()}
    for reason, count in sorted(dropped.items(), key=lambda item: (-item[1], item[0])):
        yield reason, f"{count:,}", meanings.get(reason, "")


def _plan(run: TrainingRun) -> Iterator[tuple[str, str]]:
    settings, lora, plan = run.spec.hyperparameters, run.spec.lora, run.status.plan
    if plan is not None and plan.method:
        yield "Method", f"{plan.method}. {plan.reason or ''}".strip()
    yield (
        "Adapter",
        f"rank {lora.rank}, alpha {lora.alpha}, dropout {lora.dropout}, on {', '.join(lora.target_modules)}",
    )
    optimiser = (
        f"learning rate {settings.learning_rate}, {settings.epochs} epochs, "
        f"{settings.batch_size * settings.gradient_accumulation} samples a step, {settings.warmup_steps} warm-up steps, "
        f"seed {settings.seed}"
    )
    yield "Optimiser", optimiser
    if run.spec.warm_start_from:
        yield "Started from", run.spec.warm_start_from


def _made_of(run: TrainingRun) -> Iterator[tuple[str, str]]:
    status = run.status
    dataset, result = status.dataset, status.result
    yield "Run", f"{run.namespace}/{run.name}, uid {run.metadata.uid}"
    if status.source:
        yield "Schedule", status.source
    if dataset is not None:
        yield (
            "Data set",
            f"sha256 {dataset.sha256 or UNKNOWN}, up to {dataset.watermark or UNKNOWN}, in {dataset.uri or UNKNOWN}",
        )
    if result is not None:
        yield "Base model", f"{run.spec.base_model.uri}, sha256 {result.base_sha256 or UNKNOWN}"
        yield (
            "Adapter",
            f"sha256 {result.sha256 or UNKNOWN}, in {result.uri or UNKNOWN}, trained by torch {result.torch or UNKNOWN}",
        )
    if status.model_version_ref is not None:
        yield "ModelVersion", status.model_version_ref.name
    counts = (("started", status.attempts), ("failed", status.failures), ("interrupted", status.interruptions))
    attempts = ", ".join(f"{count} {what}" for what, count in counts if count)
    if attempts:
        yield "Attempts", attempts
    if status.last_exit:
        yield "Last exit", status.last_exit
