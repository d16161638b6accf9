"""Train an adapter on a snapshot: what a TrainingRun's Job runs.

    python jobs/train.py --config train.json --result result.json

Without --config the JSON comes from TRADEWIND_CONFIG; without --result it goes to /dev/termination-log. Exit codes: 0 done,
64 bad configuration, 65 wrong or unreadable data, 66 preflight, 67 diverged twice, 68 out of memory, 75 interrupted after a
checkpoint. Killed at any moment and started again, it resumes and ends with the same adapter.
"""

import argparse
import atexit
import gc
import hashlib
import json
import logging
import os
import platform
import shutil
import signal
import sys
import tempfile
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

from tradewind.trading.artifact import PROBE_ROWS
from tradewind.trading.exits import ExitCode
from tradewind.training.config import TrainConfig, load_config
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
        result = train(load_config(TrainConfig, flags.config))
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
    from tradewind.training.files import write_atomic
    from tradewind.training.finished import ADAPTER, RESULT, finished_result
    from tradewind.training.inputs import read_inputs
    from tradewind.training.ranks import Ranks
    from tradewind.training.stored import StoredOutput, bring
    from tradewind.training.told import progress_of

    ranks = Ranks()
    if os.environ.get("WORLD_SIZE", "1") != "1":
        from tradewind.training.peers import VARIABLES, join

        ranks = join(os.environ, silence_seconds=config.silence_seconds, stopped=lambda: stopping)
        for name in VARIABLES:
            os.environ.pop(name, None)

    own_data = config.dataset.is_relative_to(config.output)
    stored = bring(
        config.stores, config.output, dataset=own_data, reads_alone=not ranks.first, stopped=lambda: stopping
    )
    if not ranks.first:  # what it writes is nobody's but its own
        scratch = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
        config = config.model_copy(update={"output": Path(scratch)})
        stored = StoredOutput(config.output)
    adapter, report = config.output / ADAPTER, config.output / RESULT
    earlier: dict[str, Any] | None = ranks.share(finished_result(config) if ranks.first else None)
    if earlier is not None:
        logger.info("the run is complete")
        if not ranks.first:
            return {"rank": ranks.rank, "steps": earlier["steps"]}
        return with_merged(config, stored, earlier)

    try:
        config.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise bad_config(
            "output", f"{config.output} cannot be made: {error.strerror}; mount a writable volume"
        ) from error
    given = read_inputs(config)
    examples, eval_examples = given.examples, given.eval_examples

    import torch
    from transformers import set_seed
    from transformers.utils.logging import disable_progress_bar

    from tradewind.pretrained.cpu import cpu_threads
    from tradewind.training import base
    from tradewind.training.agreed import (
        DIVERGED,
        agreed_fit,
        agreed_limit,
        agreed_resumption,
        check_method,
        share_records,
        sharing_a_machine,
    )
    from tradewind.training.arguments import training_arguments
    from tradewind.training.artifact import publish_adapter
    from tradewind.training.checkpoint import Checkpoints
    from tradewind.training.events import FOLDER as CURVES
    from tradewind.training.events import EventFile
    from tradewind.training.memory import RECORD, Record, choose_fit, limit_bytes, memory_bytes, set_checkpointing
    from tradewind.training.packing import Packing
    from tradewind.training.plan import plan_of
    from tradewind.training.planner import DDP, FSDP, Fit, Strategy, Taken, choose_strategy, plan_words, smaller
    from tradewind.training.preflight import check_room, check_stop_token, tokenize
    from tradewind.training.probe import probe_lines
    from tradewind.training.progress import ProgressReporter
    from tradewind.training.request import LAYERS, NODES, earlier_fingerprint, request_of
    from tradewind.training.sharding import ShardedPeers, lack_of_sharding, shard
    from tradewind.training.sharing import choose_sharing, costs_of
    from tradewind.training.tokenizer import load_tokenizer
    from tradewind.training.trainer import AdapterTrainer, DivergedError

    # Preflight.
    threads = int(extra.threads or 0) or int(os.environ.get("OMP_NUM_THREADS", "0")) or cpu_threads()
    torch.set_num_threads(threads)
    disable_progress_bar()
    divergences_file = config.output / DIVERGED
    share_records(ranks, config.output)
    machine = sharing_a_machine(ranks, os.environ.get("TRADEWIND_NODE_NAME") or platform.node())
    earlier_plan = Record.read(config.output)
    no_room = earlier_plan.taken.reason if earlier_plan is not None and earlier_plan.method == "qlora" else ""
    killed_at = earlier_plan.taken.fit if earlier_plan is not None and config.after_out_of_memory else None
    lack = lack_of_sharding(on_gpu=torch.cuda.is_available())
    if lack and config.strategy == FSDP:
        raise bad_config("strategy", f"{lack}; set it to ddp, or train in an image with torch 2.7 or later")
    if not no_room:
        no_room = base.lack_of_room(config.base, shared_by=1 if lack or config.strategy == DDP else ranks.size)
    method = base.choose_method(config.method, no_room="" if config.strategy == FSDP else no_room)
    check_method(ranks, method)
    strategy = choose_strategy(
        config.strategy,
        nodes=ranks.size,
        quantised=method.name == "qlora",
        weight_bytes=base.parameters_of(config.base) * method.dtype.itemsize,
        limit=agreed_limit(ranks, memory_bytes(sharing=machine)),
        before=None if earlier_plan is None else earlier_plan.strategy,
        lack=lack,
    )
    tokenizer = load_tokenizer(config.base)
    fit = partial(tokenize, tokenizer=tokenizer, max_length=settings.max_length, max_too_long_share=max_too_long_share)
    ready, ready_eval = fit(examples), fit(eval_examples)
    changed = ready.changed + ready_eval.changed
    logger.info("%s; %d samples, %d to evaluate, %d too long, %d that the tokenizer changes", method.reason, len(ready.samples),
                len(ready_eval.samples), ready.too_long + ready_eval.too_long, changed)  # fmt: skip
    plan = plan_of(config, ready.samples, ready_eval.samples)
    parts = [plan.training(rank, ranks.size) for rank in range(ranks.size)]

    facts: dict[str, Any] = {
        "baseModel": config.base_uri or config.base.name,
        "baseRevision": config.base_revision,
        "baseConfigSha256": hashlib.sha256((config.base / "config.json").read_bytes()).hexdigest(),
        "datasetSha256": given.dataset_sha256,
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
        filter(None, (given.manifest.get("watermark"), parent.get("watermark"))),
        key=datetime.fromisoformat,
        default=None,
    )
    provenance = facts | {
        "baseSha256": given.base_sha256,
        "watermark": watermark,
        "lora": config.lora.model_dump(mode="json"),
        "hyperparameters": settings.model_dump(mode="json"),
        **({} if plan.sides is None else {"kto": config.kto.model_dump(mode="json")}),
        "run": config.run,
        "image": os.environ.get("TRADEWIND_IMAGE_DIGEST", ""),
    }
    progress_url = config.progress_url if ranks.first else None
    progress = ProgressReporter(progress_url, config.progress_token_file, config.progress_seconds)
    ran_out = earlier_plan is not None and earlier_plan.ran_out

    def record(taken: Taken, *, ran_out: bool = False) -> None:
        Record(taken, method.name, config.attempt, strategy.name, ran_out).write(config.output)
        stored.keep(config.output / RECORD)

    def take_less(taken: Taken, error: BaseException) -> None:
        """Record what is gone on with; by the next attempt, where a process cannot go on without the others."""
        less = smaller(taken.fit, longest=plan.longest, asked=extra.gradient_checkpointing)
        if less is None:
            raise out_of_memory(error) from error
        logger.warning("out of memory at %d tokens at once; going on with %s", taken.fit.max_tokens, less)
        words = f"{taken.reason}, then ran out of memory: {less.max_tokens} tokens at once"
        record(Taken(less, words), ran_out=True)
        if strategy.name == FSDP:
            message = f"a node ran out of memory at {taken.fit.max_tokens} tokens at once; the next attempt takes {less.max_tokens}"
            raise JobError(ExitCode.INTERRUPTED, ExitCode.OUT_OF_MEMORY.reason, message) from error

    model: Any = None
    trainer: Any = None
    whole = ranks

    while True:
        # A training that diverged is started over once, at half the learning rate.
        divergences = json.loads(divergences_file.read_text(encoding="utf-8")) if divergences_file.is_file() else 0
        learning_rate = float(settings.learning_rate) / 2**divergences
        facts["method"] = provenance["method"] = method.name
        decisive = facts | {"learningRate": learning_rate}
        model = trainer = None  # one model at a time
        shares_base = strategy.name == FSDP
        ranks = ShardedPeers.of(whole) if shares_base else whole
        gc.collect()
        torch.cuda.empty_cache()
        try:
            set_seed(settings.seed)
            model, attention = base.load_model(config.base, method, tokenizer, to_share=shares_base)
            check_stop_token(tokenizer, model)
            check_room(model, plan.room_lengths)
            costs = costs_of(model)
            model, targets = base.with_adapter(model, config, method, given.base_sha256)
            if shares_base:
                shard(model, targets, on_gpu=torch.cuda.is_available())
            ranks.copy_weights(model.parameters())
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
        asked = (
            decisive
            | {"baseSha256": given.base_sha256, NODES: ranks.size}
            | ({} if targets.as_asked else {LAYERS: list(targets.modules)})
        )
        checkpoints = stored.checkpoints(
            Checkpoints(
                config.output / "checkpoints",
                request_of(config, asked),
                earlier_fingerprint(config, decisive, given.manifest.get("watermark")),
                config.checkpoint.keep,
            )
        )
        resumed = agreed_resumption(ranks, checkpoints, asked=config.checkpoint.resume)
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
            steps = [own for part in parts for own in (part[index].samples for index in range(len(part))) if own]

            tried: list[Taken] = []

            def trying(fit: Fit, tried: list[Taken] = tried) -> None:
                tried.append(Taken(fit, f"tried {fit.max_tokens} tokens at once"))
                record(tried[-1])

            limit = limit_bytes(sharing=machine)
            limit = agreed_limit(ranks, limit) if shares_base else limit
            try:
                found_fit = choose_fit(model, sharing.costs, steps, tokenizer.pad_token_id,
                                       asked=extra.gradient_checkpointing, half=half, limit=limit,
                                       killed_at=killed_at, before=trying, ranks=ranks)  # fmt: skip
            except MemoryError as error:
                take_less(tried[-1], error)
                raise
            found_fit = agreed_fit(ranks, found_fit)
            may_share = config.strategy == "auto" and ranks.size > 1 and not lack
            if found_fit is None and may_share and (method.name, strategy.name) == ("lora", DDP):
                strategy = Strategy(
                    FSDP, "and a share of the base: beside all of it, a step of the longest sample does not fit"
                )
                continue
            may_quantise = config.method == "auto" and config.strategy != FSDP and torch.cuda.is_available()
            if found_fit is None and may_quantise and method.name == "lora":
                strategy = Strategy(DDP, "")
                method = base.choose_method(
                    "auto", no_room="a step of the longest sample does not fit with weights of two bytes"
                )
                continue
            if found_fit is None:
                raise out_of_memory(MemoryError(f"a step of the longest sample ({plan.longest} tokens) does not fit"))
            taken = found_fit
            record(taken)
        logger.info("%s", taken.reason)
        packing = Packing(sharing.costs, taken.fit.max_tokens)

        began = time.monotonic()
        curves = EventFile(config.output / CURVES, config.attempt, step=resumed.step or 0)
        try:
            arguments = training_arguments(config, learning_rate, method.dtype, rank=ranks.rank)
            trainer = AdapterTrainer(
                model=model,
                args=arguments,
                train=parts[ranks.rank],
                evaluation=plan.evaluation,
                pad_token_id=tokenizer.pad_token_id,
                packing=packing,
                checkpoints=checkpoints,
                eval_every_steps=settings.eval_every_steps,
                patience=int(extra.early_stopping_patience),
                sides=plan.sides,
                kto_after=plan.sft_steps,
                noise_alpha=float(extra.neftune_noise_alpha),
                ranks=ranks,
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
            take_less(taken, error)
            ran_out = True
            continue
        break

    step = trainer.state.global_step
    if trainer.interrupted:
        progress.report(
            progress_of(trainer, config, resumed.message), force=True
        )  # the pod may be gone before it is asked
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
    ranks.leave()
    if not ranks.first:
        return {"rank": ranks.rank, "steps": step}
    # What was evaluated, and where that is little, what was trained on last.
    questions = [example.prompt for example in (*eval_examples, *examples[-PROBE_ROWS:])]
    sha256 = publish_adapter(adapter, trainer.model, tokenizer, provenance, probe_lines(questions))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    result = {
        "adapter": str(adapter),
        "sha256": sha256,
        "baseSha256": given.base_sha256,
        "steps": step,
        "bestStep": provenance["bestStep"],
        "epoch": round(min(step / len(plan.steps), 1.0) * epochs, 3),
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
                *(
                    [f"{ranks.size} nodes, each with its part of every step {strategy.why}".strip()]
                    if ranks.size > 1
                    else []
                ),
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


if __name__ == "__main__":
    sys.exit(main())
