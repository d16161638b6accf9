"""Train an adapter on a snapshot: what a TrainingRun's Job runs.

    python jobs/train.py --config train.json --result result.json

Without --config the JSON comes from TRADEWIND_CONFIG; without --result it goes to /dev/termination-log. Exit codes: 0 done,
64 bad configuration, 65 wrong or unreadable data, 66 preflight, 67 diverged twice, 68 out of memory, 75 interrupted after a
checkpoint. Killed at any moment and started again, it resumes and ends with the same adapter.
"""

import argparse
import gc
import hashlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

# Before any import of torch or transformers: nothing is fetched, and nobody has a home or a name in a pod.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("USER", "tradewind")
# Threads that wait by spinning starve each other on a shared node: measured 4 times slower on 2 busy cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from tradewind.trading.exits import ExitCode
from tradewind.training.config import TrainConfig, load_train_config
from tradewind.training.outcome import JobError, bad_config, out_of_memory, storage_error, write_result

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--config", type=Path, help="JSON file; default: the variable TRADEWIND_CONFIG")
FLAGS.add_argument("--result", type=Path, help="file for the result's JSON; default: /dev/termination-log")

logger = logging.getLogger("train")
stopping = False


def main(argv: Sequence[str] | None = None) -> int:
    flags = FLAGS.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    previous = signal.signal(signal.SIGTERM, request_stop)
    try:
        result = train(load_train_config(flags.config))
    except JobError as error:
        logger.error("%s: %s", error.reason, error.message)  # noqa: TRY400 - the message says it all
        write_result(error.result, flags.result)
        return error.code
    except Exception as error:
        if (full := storage_error(error)) is not None:
            logger.exception("the volume")
            write_result(full.result, flags.result)
            return full.code
        logger.exception("failed")
        write_result({"reason": "Error", "message": f"{type(error).__name__}: {error}"}, flags.result)
        return ExitCode.ERROR
    finally:
        signal.signal(signal.SIGTERM, previous)
    write_result(result, flags.result)
    return ExitCode.DONE


def request_stop(*_: object) -> None:
    global stopping
    stopping = True
    logger.info("SIGTERM: saving after this step")


def train(config: TrainConfig) -> dict[str, Any]:
    global stopping
    stopping = False
    settings, extra = config.hyperparameters, config.hyperparameters.extra
    epochs, max_too_long_share = float(settings.epochs), float(extra.max_too_long_share)

    from tradewind.training.artifact import published_sha256
    from tradewind.training.files import (
        EVAL_FILE,
        TRAIN_FILE,
        dataset_sha256,
        folder_sha256,
        read_examples,
        read_manifest,
        write_atomic,
    )
    from tradewind.training.finished import ADAPTER, RESULT, finished_result
    from tradewind.training.stored import bring

    adapter, report = config.output / ADAPTER, config.output / RESULT
    divergences_file = config.output / "diverged.json"
    own_data = config.dataset.is_relative_to(config.output)
    stored = bring(config.stores, config.output, dataset=own_data, stopped=lambda: stopping)
    if (earlier := finished_result(config)) is not None:
        logger.info("%s is complete", adapter)
        return with_merged(config, stored, earlier)

    try:
        config.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise bad_config(
            "output", f"{config.output} cannot be made: {error.strerror}; mount a writable volume"
        ) from error
    if not (config.base / "config.json").is_file():
        raise bad_config("base", f"{config.base} holds no config.json: mount the base model there")

    # So is the base: a version is served on the very weights that its adapter was trained on.
    logger.info("hashing the base model in %s", config.base)
    base_sha256 = folder_sha256(config.base)
    if config.base_sha256 not in (None, base_sha256):
        message = (
            f"baseModel.sha256: {config.base} hashes to {base_sha256}, the run asks for {config.base_sha256}; "
            "restore the base model, or name its hash as it is"
        )
        raise JobError(ExitCode.BAD_DATA, "BaseMismatch", message, expected=config.base_sha256, actual=base_sha256)

    # The data is the one that passed the gates, or nothing is trained.
    manifest = read_manifest(config.dataset)
    expected, found = config.dataset_sha256 or manifest.get("sha256"), dataset_sha256(config.dataset)
    if found != expected:
        remedy = "snapshot again" if expected else "set datasetSha256 or bring a manifest.json"
        message = f"datasetSha256: {config.dataset} hashes to {found}, the run asks for {expected}; {remedy}"
        raise JobError(ExitCode.BAD_DATA, "DatasetMismatch", message, expected=expected, actual=found)
    examples, eval_examples = read_examples(config.dataset / TRAIN_FILE), read_examples(config.dataset / EVAL_FILE)
    if not examples:
        raise JobError(ExitCode.BAD_DATA, "EmptyDataset", f"{config.dataset / TRAIN_FILE} holds no sample to train on")

    import torch
    from transformers import set_seed
    from transformers.utils.logging import disable_progress_bar

    from tradewind.pretrained.cpu import cpu_threads
    from tradewind.training import base
    from tradewind.training.artifact import publish_adapter
    from tradewind.training.checkpoint import Checkpoints, Resumption
    from tradewind.training.collator import PlannedBatches, plan_batches, plan_training
    from tradewind.training.events import FOLDER as CURVES
    from tradewind.training.events import EventFile
    from tradewind.training.kto import balanced
    from tradewind.training.memory import RECORD, Record, choose_fit, limit_bytes, set_checkpointing
    from tradewind.training.packing import Packing
    from tradewind.training.planner import Fit, Taken, plan_words, smaller
    from tradewind.training.preflight import check_room, check_sides, check_stop_token, tokenize
    from tradewind.training.progress import ProgressReporter
    from tradewind.training.request import LAYERS, earlier_fingerprint, request_of
    from tradewind.training.sharing import choose_sharing, costs_of
    from tradewind.training.tokenizer import load_tokenizer
    from tradewind.training.trainer import AdapterTrainer, DivergedError, training_arguments

    # Preflight.
    threads = int(extra.threads or 0) or int(os.environ.get("OMP_NUM_THREADS", "0")) or cpu_threads()
    torch.set_num_threads(threads)
    disable_progress_bar()
    earlier_plan = Record.read(config.output)
    no_room = earlier_plan.taken.reason if earlier_plan is not None and earlier_plan.method == "qlora" else ""
    killed_at = earlier_plan.taken.fit if earlier_plan is not None and config.after_out_of_memory else None
    method = base.choose_method(config.method, no_room=no_room or base.lack_of_room(config.base))
    tokenizer = load_tokenizer(config.base)
    fit = partial(tokenize, tokenizer=tokenizer, max_length=settings.max_length, max_too_long_share=max_too_long_share)
    ready, ready_eval = fit(examples), fit(eval_examples)
    changed = ready.changed + ready_eval.changed
    logger.info("%s; %d samples, %d to evaluate, %d too long, %d that the tokenizer changes", method.reason, len(ready.samples),
                len(ready_eval.samples), ready.too_long + ready_eval.too_long, changed)  # fmt: skip

    patience = int(extra.early_stopping_patience)
    if patience and not ready_eval.samples:
        remedy = "set it to 0, or dataset.split.evalFraction so that rows are kept for evaluation"
        message = f"{patience} evaluations are to be waited for, but there is no row to evaluate; {remedy}"
        raise bad_config("hyperparameters.extra.early_stopping_patience", message)
    if not ready.samples:
        message = f"no sample of {config.dataset / TRAIN_FILE} fits hyperparameters.maxLength {settings.max_length}"
        raise JobError(ExitCode.PREFLIGHT, "TooLong", message)

    sides = None
    if config.objective != "sft":
        numbers = (
            None if value is None else float(value)
            for value in (config.kto.desirable_weight, config.kto.undesirable_weight)
        )
        check_sides(ready.samples, ready_eval.samples, config.objective)
        good, bad = numbers
        sides = balanced(ready.samples, beta=float(config.kto.beta), desirable=good, undesirable=bad)
        logger.info("kto: weight %.4g of desirable, %.4g of undesirable samples", sides.desirable, sides.undesirable)
    elif not any(sample.desirable for sample in ready.samples):
        message = (
            f"no sample of {config.dataset / TRAIN_FILE} is to be imitated; choose an objective of kto, or other data"
        )
        raise JobError(ExitCode.BAD_DATA, "EmptyDataset", message)

    # The plan: which samples share an optimiser step, to the end of the training.
    lengths = [len(sample.input_ids) for sample in ready.samples]
    planned = partial(plan_training, ready.samples, batch_size=settings.batch_size, seed=settings.seed,
                      accumulation=settings.gradient_accumulation)  # fmt: skip
    sft_share = {"sft": 1.0, "kto": 0.0, "sft-then-kto": float(config.kto.sft_share)}[config.objective]
    most = None if extra.max_steps is None else int(extra.max_steps)
    sft_most, kto_most = (None, None) if most is None else (round(most * sft_share), most - round(most * sft_share))
    sft_plan = planned(epochs=epochs * sft_share, max_steps=sft_most, desirable=True)
    plan = sft_plan + planned(epochs=epochs * (1 - sft_share), max_steps=kto_most, desirable=False)
    eval_lengths = [len(sample.input_ids) for sample in ready_eval.samples]
    eval_plan = plan_batches(eval_lengths, batch_size=4 * settings.batch_size, epochs=1, seed=settings.seed)

    room_lengths = lengths + eval_lengths
    if sides is not None:  # each prompt meets the completion of another sample
        both = ready.samples + ready_eval.samples
        room_lengths += [max(s.prompt_length for s in both) + max(s.supervised for s in both)]

    facts: dict[str, Any] = {
        "baseModel": config.base_uri or config.base.name,
        "baseRevision": config.base_revision,
        "baseConfigSha256": hashlib.sha256((config.base / "config.json").read_bytes()).hexdigest(),
        "datasetSha256": found,
        "samples": len(ready.samples),
        "method": method.name,
        "objective": config.objective,
        "warmStart": None
        if config.warm_start is None
        else published_sha256(config.warm_start) or config.warm_start.name,
    }
    # A model knows of what its parent was shown too.
    parent = {} if config.warm_start is None else base.warm_start_provenance(config.warm_start)
    watermark = max(
        filter(None, (manifest.get("watermark"), parent.get("watermark"))), key=datetime.fromisoformat, default=None
    )
    provenance = facts | {
        "baseSha256": base_sha256,
        "watermark": watermark,
        "lora": config.lora.model_dump(mode="json"),
        "hyperparameters": settings.model_dump(mode="json"),
        **({} if sides is None else {"kto": config.kto.model_dump(mode="json")}),
        "run": config.run,
        "image": os.environ.get("TRADEWIND_IMAGE_DIGEST", ""),
    }
    progress = ProgressReporter(config.progress_url, config.progress_token_file, config.progress_seconds)
    ran_out = False

    def record(taken: Taken, method: str) -> None:
        Record(taken, method, config.attempt).write(config.output)
        stored.keep(config.output / RECORD)

    model: Any = None
    trainer: Any = None

    while True:
        # A training that diverged is started over once, at half the learning rate.
        divergences = json.loads(divergences_file.read_text(encoding="utf-8")) if divergences_file.is_file() else 0
        learning_rate = float(settings.learning_rate) / 2**divergences
        facts["method"] = provenance["method"] = method.name
        decisive = facts | {"learningRate": learning_rate}
        model = trainer = None  # one model at a time
        gc.collect()
        torch.cuda.empty_cache()
        try:
            set_seed(settings.seed)
            model, attention = base.load_model(config.base, method, tokenizer)
            check_stop_token(tokenizer, model)
            check_room(model, room_lengths)
            costs = costs_of(model)
            model, targets = base.with_adapter(model, config, method, base_sha256)
            half = None if method.dtype is torch.float32 else method.dtype
            sharing = choose_sharing(
                model,
                costs,
                [s for s in ready.samples if s.desirable],
                tokenizer.pad_token_id,
                asked=extra.packing == "auto",
                half=half,
            )
            logger.info("%s", sharing.reason)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise out_of_memory(error) from error
        asked = decisive | {"baseSha256": base_sha256} | ({} if targets.as_asked else {LAYERS: list(targets.modules)})
        checkpoints = stored.checkpoints(
            Checkpoints(
                config.output / "checkpoints",
                request_of(config, asked),
                earlier_fingerprint(config, decisive, manifest.get("watermark")),
                config.checkpoint.keep,
            )
        )
        resumed = checkpoints.newest() if config.checkpoint.resume else Resumption()
        logger.info("from the start" if resumed.step is None else f"resuming from step {resumed.step}")
        if resumed.message:
            logger.warning("%s", resumed.message)
            progress.report({"attempt": config.attempt, "message": resumed.message}, force=True)

        # What a run was trained with is what it goes on with: another cut of a pass would be another order of sums.
        # But for what it was killed at for memory: nothing of that is gone on with.
        earlier_plan = Record.read(config.output) if resumed.step is not None or ran_out else None
        if earlier_plan is not None and killed_at is not None and earlier_plan.attempt != config.attempt:
            earlier_plan = None
        if earlier_plan is not None:
            taken = earlier_plan.taken
            set_checkpointing(model, on=taken.fit.checkpointing)
        else:
            steps = [tuple(ready.samples[index] for index in step) for step in plan]

            def trying(fit: Fit, name: str = method.name) -> None:
                record(Taken(fit, f"tried {fit.max_tokens} tokens at once"), name)

            found_fit = choose_fit(model, sharing.costs, steps, tokenizer.pad_token_id, asked=extra.gradient_checkpointing,
                                   half=half, limit=limit_bytes(), killed_at=killed_at, before=trying)  # fmt: skip
            if found_fit is None and config.method == "auto" and method.name == "lora" and torch.cuda.is_available():
                method = base.choose_method(
                    "auto", no_room="a step of the longest sample does not fit with weights of two bytes"
                )
                continue
            if found_fit is None:
                raise out_of_memory(MemoryError(f"a step of the longest sample ({max(lengths)} tokens) does not fit"))
            taken = found_fit
            record(taken, method.name)
        logger.info("%s", taken.reason)
        packing = Packing(sharing.costs, taken.fit.max_tokens)

        began = time.monotonic()
        curves = EventFile(config.output / CURVES, config.attempt, step=resumed.step or 0)
        try:
            arguments = training_arguments(config, learning_rate, method.dtype)
            trainer = AdapterTrainer(
                model=model,
                args=arguments,
                train=PlannedBatches(ready.samples, plan),
                evaluation=PlannedBatches(ready_eval.samples, eval_plan),
                pad_token_id=tokenizer.pad_token_id,
                packing=packing,
                checkpoints=checkpoints,
                eval_every_steps=settings.eval_every_steps,
                patience=patience,
                sides=sides,
                kto_after=len(sft_plan),
                noise_alpha=float(extra.neftune_noise_alpha),
                stop_requested=lambda: stopping,
                on_progress=lambda trainer: (  # after each step: a curve is drawn for those that are pushed alone
                    progress.report(progress_of(trainer, config, resumed.message)) if progress.due else None  # noqa: B023
                ),
                on_values=curves.add,
            )
            trainer.train_from(resumed.folder)
            if not trainer.interrupted:
                trainer.use_best()
        except DivergedError as error:
            logger.warning("diverged at learning rate %g: %s", learning_rate, error)
            if divergences:
                message = f"{error}, and before at twice the learning rate; lower hyperparameters.learningRate below {learning_rate:g}"
                raise JobError(ExitCode.DIVERGED, "Diverged", message) from error
            write_atomic(divergences_file, json.dumps(divergences + 1))
            stored.keep(divergences_file)
            continue
        except (torch.OutOfMemoryError, MemoryError) as error:
            less = smaller(taken.fit, longest=max(lengths + eval_lengths), asked=extra.gradient_checkpointing)
            if less is None:
                raise out_of_memory(error) from error
            logger.warning("out of memory at %d tokens at once; going on with %s", taken.fit.max_tokens, less)
            words = f"{taken.reason}, then ran out of memory: {less.max_tokens} tokens at once"
            record(Taken(less, words), method.name)
            ran_out = True
            continue
        break

    step = trainer.state.global_step
    if trainer.interrupted:
        message = (
            f"stopped by SIGTERM; checkpoint at step {step} of {trainer.state.max_steps}. {resumed.message}".rstrip(
                ". "
            )
        )
        checkpoint = {"checkpoint": str(checkpoints.folder / f"step-{step}"), "resumedFrom": resumed.step}
        raise JobError(
            ExitCode.INTERRUPTED, "Interrupted", message, step=step, totalSteps=trainer.state.max_steps, **checkpoint
        )

    provenance |= {"steps": step, "bestStep": trainer.best.step or step, "learningRate": learning_rate}
    progress.report(progress_of(trainer, config, resumed.message), force=True)
    base_loss = trainer.base_loss()
    sha256 = publish_adapter(adapter, trainer.model, tokenizer, provenance)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    result = {
        "adapter": str(adapter),
        "sha256": sha256,
        "baseSha256": base_sha256,
        "steps": step,
        "bestStep": provenance["bestStep"],
        "epoch": round(min(step / len(plan), 1.0) * epochs, 3),
        "loss": losses[-1] if losses else trainer.step_loss,
        "evalLoss": None if trainer.best.weights is None else round(trainer.best.eval_loss, 6),
        "baseEvalLoss": None if base_loss is None else round(base_loss, 6),
        "tokensPerSecond": round(trainer.meter.tokens_per_second, 1),
        "seconds": round(time.monotonic() - began, 1),
        "samples": len(ready.samples),
        "tooLong": ready.too_long + ready_eval.too_long,
        "changedByTokenizer": changed,
        "plan": {
            "method": method.name,
            "reason": plan_words(
                method.reason,
                attention,
                targets.words,
                base.trainable_share(trainer.model),
                sharing.reason,
                taken.reason,
            ),
            "maxLength": settings.max_length,
            "batchSize": settings.batch_size,
        },
        "learningRate": learning_rate,
        "resumedFrom": resumed.step,
        "message": resumed.message,
        "torch": torch.__version__,
    }
    write_atomic(report, json.dumps(result))
    stored.publish()
    del trainer, model
    gc.collect()
    return with_merged(config, stored, result)


def with_merged(config: TrainConfig, stored: Any, result: dict[str, Any]) -> dict[str, Any]:
    """The result of a published training, with the merged model where one is asked for and is not there yet."""
    from tradewind.training.files import write_atomic
    from tradewind.training.finished import ADAPTER, MERGED, RESULT

    if not config.merged or stored.has_merged((result.get("merged") or {}).get("sha256")):
        return result

    from tradewind.training.artifact import PROVENANCE_FILE
    from tradewind.training.merged import publish_merged
    from tradewind.training.tokenizer import load_tokenizer, probe_tokens

    adapter, target, report = (config.output / name for name in (ADAPTER, MERGED, RESULT))
    logger.info("merging the adapter into the base model")
    tokenizer = load_tokenizer(adapter)
    provenance = json.loads((adapter / PROVENANCE_FILE).read_text(encoding="utf-8"))
    sha256, difference = publish_merged(target, config.base, adapter, tokenizer, probe_tokens(tokenizer), provenance)
    result = result | {"merged": {"sha256": sha256, "difference": round(difference, 6)}}
    write_atomic(report, json.dumps(result))
    stored.keep(report)
    stored.publish_merged()
    return result


def progress_of(trainer: Any, config: TrainConfig, message: str) -> dict[str, Any]:
    from tradewind.training.curve import curve_of

    step, total = trainer.state.global_step, trainer.state.max_steps
    speed = trainer.meter.steps_per_second
    return {
        "attempt": config.attempt,
        "step": step,
        "totalSteps": total,
        "epoch": round(step / max(total, 1) * float(config.hyperparameters.epochs), 3),
        "percent": round(100 * step / max(total, 1), 1),
        "etaSeconds": round((total - step) / speed) if speed else None,
        "tokensPerSecond": round(trainer.meter.tokens_per_second, 1),
        "loss": trainer.step_loss,
        "evalLoss": trainer.eval_loss,
        "message": message or None,
        "curve": curve_of(trainer.state.log_history, step=step, loss=trainer.step_loss),
    }


if __name__ == "__main__":
    sys.exit(main())
