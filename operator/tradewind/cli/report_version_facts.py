"""What a version was asked, beside whom, and what it is made of: the page's lists in words. Pure: a version in, text out.

Belongs here: sentences about rows and provenance. Does not belong here: verdict, numbers and figures (report_version.py).
"""

from collections.abc import Iterator

from tradewind.api.evaluation import BaselineAnswers, EvaluationDataset, EvaluationStatus, HostileStatus, TaughtStatus
from tradewind.api.model_version import MemoryBytes, ModelVersion, QuantizationStatus
from tradewind.cli.report_text import UNKNOWN, measured, moment, signed

Fact = tuple[str, str]
"""What, and which."""


def share(value: float | None) -> str:
    """A share in percent with one digit after the point."""
    return f"{100 * value:.1f} %" if measured(value) else UNKNOWN


def beside(version: ModelVersion) -> str:
    """Whose answers stood beside the version's."""
    found = version.status.evaluation
    named = found.baseline.version if found and found.baseline else None
    return named or "what was recorded"


def asked_facts(version: ModelVersion) -> Iterator[Fact]:
    """Which decisions it was asked about, what stood beside, whether it was taught them, and how it met hostile questions."""
    found, dataset = version.status.evaluation, version.spec.evaluation.dataset
    if found is None:
        return
    if dataset is not None:
        yield from _rows(found, dataset)
    if found.baseline is not None:
        yield "Beside it", _beside(version, found.baseline)
    if found.taught is not None:
        yield from _taught(found.taught)
    if found.hostile is not None and found.hostile.asked is not None:
        yield "Hostile questions", _hostile(found.hostile)


def _rows(found: EvaluationStatus, dataset: EvaluationDataset) -> Iterator[Fact]:
    source = f"the log of Endpoint {dataset.endpoint}" if dataset.endpoint else f"the folder {dataset.uri}"
    yield "Decisions", f"of {source}" + (f", sha256 {dataset.sha256}" if dataset.sha256 else "")
    if found.rows is not None:
        of = "" if found.found is None else f" of {found.found:,} that could be asked about"
        sampled = ", a fixed sample by their ids" if found.found is not None and found.rows < found.found else ""
        yield "Asked about", f"{found.rows:,}{of}{sampled}; at least {dataset.min_rows:,} are needed"
    if found.since is not None:
        why = f"the training data of every compared version, and an embargo of {dataset.embargo}, end before"
        yield "Since", f"{moment(found.since)}: {why}"
    if found.first_decision is not None and found.last_decision is not None:
        yield "First and last", f"{moment(found.first_decision)} to {moment(found.last_decision)}"
    if found.good is not None and found.bad is not None:
        yield "Turned out", f"{found.good:,} well, {found.bad:,} badly"
    if found.valid is not None:
        yield "Valid", f"{share(found.valid)} of its answers are valid decisions"
    if found.log_likelihood_gap is not None:
        gap = signed(found.log_likelihood_gap, 3)
        yield "Likelihood", f"{gap} nats: mean log-probability of the actions of good decisions, less that of bad ones"


def _beside(version: ModelVersion, baseline: BaselineAnswers) -> str:
    how = {True: ", asked the same questions", False: ", as recorded; it was not asked", None: ""}
    who = beside(version) if baseline.version else "whoever was recorded"
    said = who + (how[baseline.asked] if baseline.version else "")
    if baseline.answers is not None:
        said += f"; {baseline.answers:,} answers"
    return said + (f", {share(baseline.hold_share)} hold" if baseline.hold_share is not None else "")


def _taught(taught: TaughtStatus) -> Iterator[Fact]:
    if taught.leaked is not None:
        yield "Left out as taught", f"{taught.leaked:,} whose prompt is in its training data, too"
    if taught.agreement is not None:
        asked = "" if taught.asked is None else f" {taught.asked:,}"
        told = f"it repeats {share(taught.agreement)} of{asked} good decisions of its training data"
        yield "Taught", f"{told}; far more than of the others says that it learned rows and no rule"


def _hostile(hostile: HostileStatus) -> str:
    if hostile.kept is None:
        return f"{hostile.asked:,} asked"
    kept = f"{hostile.kept:,} of {hostile.asked:,} answers kept symbol, limits and schema"
    return kept + (f"; the first that did not: {hostile.broken}" if hostile.broken else "")


def _quantised(told: QuantizationStatus) -> str:
    memory = told.memory_bytes or MemoryBytes()
    sizes = [UNKNOWN if size is None else f"{size / 2**20:,.0f} MiB" for size in (memory.before, memory.after)]
    rows, probe = told.probe_rows or 0, told.probe or UNKNOWN
    same = f"{share(told.agreement)} of {rows:,} decisions as without ({probe} probe)"
    return f"{told.bits} bits; {same}; weights {' before, '.join(sizes)} after"


def made_of(version: ModelVersion) -> Iterator[Fact]:
    """Where the version comes from, and what it was served with as it was measured."""
    spec, status, made = version.spec, version.status, version.status.provenance
    yield "Version", f"{version.namespace}/{version.name}, uid {version.metadata.uid}"
    adapter, run = spec.adapter, made.training_run if made else None
    named = run.name if run else adapter.training_run if adapter else None
    if named:
        yield "TrainingRun", named
    if made is not None and (made.dataset_sha256 or made.watermark):
        until = moment(made.watermark) if made.watermark else UNKNOWN
        yield "Training data", f"sha256 {made.dataset_sha256 or UNKNOWN}, up to {until}"
    if adapter is not None:
        base = adapter.base_model
        uri = made.base_model if made and made.base_model else base.uri
        revision = made.base_revision if made and made.base_revision else base.revision
        pinned = f"sha256 {base.sha256}" if base.sha256 else "not pinned by a hash"
        yield "Base model", f"{uri}{f', revision {revision}' if revision else ''}, {pinned}"
        yield "Adapter", f"{adapter.uri}, sha256 {adapter.sha256}"
    if spec.model is not None:
        yield "Model", f"{spec.model.uri}, sha256 {spec.model.sha256}"
    if spec.external is not None:
        yield "Model", f"{spec.external.model}, asked by protocol {spec.external.protocol} at {spec.external.base_url}"
    if status.sha256:
        yield "Served", f"sha256 {status.sha256}, verified by the predictor"
    quantised = status.serving.quantization if status.serving is not None else None
    if quantised is not None:
        yield "Quantised", _quantised(quantised)
    if made is not None and made.image:
        yield "Image", made.image
    if made is not None and made.torch:
        yield "torch", made.torch
    if made is not None and made.template_hash:
        yield "Serving template", f"hash {made.template_hash}"
    if status.benchmark is not None and status.benchmark.completed_time:
        yield "Measured", moment(status.benchmark.completed_time)
    elif status.evaluation is not None and status.evaluation.completed_time:
        yield "Measured", moment(status.evaluation.completed_time)
    if status.attempts:
        yield "Jobs", f"{status.attempts:,} started"
    if status.in_use_by:
        yield "In use by", ", ".join(status.in_use_by)
