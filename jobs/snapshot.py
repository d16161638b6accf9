"""Snapshot the decision log into a dataset: what a TrainingRun's first Job runs.

    TRADEWIND_DSN=postgresql://... python jobs/snapshot.py --config snapshot.json --result result.json

Without --config the JSON comes from TRADEWIND_CONFIG; without --result it goes to /dev/termination-log. Writes train.jsonl,
eval.jsonl, dataset.parquet and manifest.json into one folder. The same rows give the same sha256. Exit codes: 0 done, also when
gates fail (they are data, the operator decides); 64 bad configuration, 65 no readable data, 66 preflight.
"""

import argparse
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("USER", "tradewind")

from tradewind.pretrained.files import file_sha256
from tradewind.trading.dataset import build_dataset
from tradewind.trading.drift import Mix, Mixes, drift
from tradewind.trading.exits import ExitCode
from tradewind.trading.gates import evaluate_gates
from tradewind.trading.teaching import PAPER
from tradewind.training.config import SnapshotConfig, load_config, resolve_time
from tradewind.training.files import EVAL_FILE, MANIFEST_FILE, TRAIN_FILE, dataset_sha256, published_folder
from tradewind.training.log import DecisionLog, Range
from tradewind.training.outcome import JobError, bad_config, write_result
from tradewind.training.preflight import Preflighting
from tradewind.training.stored import bring
from tradewind.training.writing import PARQUET_FILE, PromptFile, write_files

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--config", type=Path, help="JSON file; default: the variable TRADEWIND_CONFIG")
FLAGS.add_argument("--result", type=Path, help="file for the result's JSON; default: /dev/termination-log")
FLAGS.add_argument("--dsn-env", default="TRADEWIND_DSN", help="variable that holds the database's DSN")

logger = logging.getLogger("snapshot")


def main(argv: Sequence[str] | None = None) -> int:
    flags = FLAGS.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        result = snapshot(load_config(SnapshotConfig, flags.config), os.environ.get(flags.dsn_env, ""))
    except JobError as error:
        logger.error("%s: %s", error.reason, error.message)  # noqa: TRY400 - the message says it all
        write_result(error.result, flags.result)
        return error.code
    except Exception as error:
        logger.exception("failed")
        write_result({"reason": "Error", "message": f"{type(error).__name__}: {error}"}, flags.result)
        return ExitCode.ERROR
    write_result(result, flags.result)
    return ExitCode.DONE


def snapshot(config: SnapshotConfig, dsn: str) -> dict[str, Any]:
    if not dsn:
        raise bad_config(
            "TRADEWIND_DSN", "is not set; mount the Secret that spec.database.secretRef of the Endpoint names"
        )

    stored = bring(config.stores, config.output.parent)
    tokenizer = None if config.base_tokenizer is None else load_tokenizer(config.base_tokenizer)

    # The folder, whole or not at all: prompts wait beside it for the choice that all rows make.
    try:
        with published_folder(config.output) as folder:
            with PromptFile(folder) as prompts:
                # One consistent view of the log, row by row.
                with DecisionLog(dsn) as log:
                    now = log.now()
                    rows = log.decisions(config.endpoint, window(config, now), papers=config.labels.paper)
                    dataset = build_dataset(rows, config.imitation(), config.split, prompts)

                # What is taught, how that has changed, and whether it is fit to be.
                mixes = Mixes.of(dataset.samples)
                drifts = {} if config.before is None else drift(config.before.mixes, mixes)
                gates = [
                    {"name": str(gate.name), "value": gate.value, "threshold": gate.threshold, "passed": gate.passed}
                    for gate in evaluate_gates(dataset, config.gates, now, max(drifts.values(), default=None))
                ]
                dropped = {str(reason): count for reason, count in dataset.dropped.items()}
                logger.info("%d decisions, %d samples, dropped %s", dataset.read, len(dataset.samples), dropped)
                # Whether the tokenizer gives every sample back, and how many are longer than the trainer will take (it judges).
                total = len(dataset.samples)
                checking = (
                    None if tokenizer is None else Preflighting(tokenizer, max_length=config.max_length, total=total)
                )
                write_files(folder, dataset, checking)

            sha256 = dataset_sha256(folder)
            samples = dataset.samples
            made_of = {f"per{mix.value.title()}": dict(mixes.counts[mix]) for mix in Mix}
            moved = None if config.before is None else {
                "run": config.before.run, **{str(mix): round(value, 6) for mix, value in drifts.items()}
            }  # fmt: skip
            per_source = dict(Counter(sample.source_model for sample in samples).most_common(16))
            taught = {
                sample.decision_id: sample.imported_from for sample in samples if sample.imported_from is not None
            }
            per_import = Counter(taught.values())
            by_paper = [sample for sample in samples if sample.label.startswith(PAPER)]
            papers = {
                "read": dataset.papers,
                "decisions": len({sample.decision_id for sample in by_paper}),
                "samples": len(by_paper),
            }
            watermark = None if dataset.watermark is None else dataset.watermark.isoformat()
            manifest = {
                "sha256": sha256,
                "snapshotAt": now.isoformat(),
                "watermark": watermark,
                "rows": {"read": dataset.read, "train": len(dataset.train), "eval": len(dataset.evaluation)},
                "dropped": dropped,
                **made_of,
                "drift": moved,
                "perSourceModel": per_source,
                "imported": {
                    "read": dataset.imported,
                    "decisions": per_import.total(),
                    "perSource": dict(per_import.most_common()),
                },
                "papers": papers,
                "gates": gates,
                "files": {name: file_sha256(folder / name) for name in (TRAIN_FILE, EVAL_FILE, PARQUET_FILE)},
                "config": config.model_dump(
                    mode="json", by_alias=True, exclude={"output", "base_tokenizer", "before", "stores"}
                ),
            }
            text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
            (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise bad_config("output", f"{config.output}: {error.strerror}; mount a writable volume with room") from error

    stored.publish_dataset()
    return {
        "sha256": sha256,
        "rows": len(samples),
        "trainRows": len(dataset.train),
        "evalRows": len(dataset.evaluation),
        **made_of,
        "drift": moved,
        "dropped": dropped,
        "paperRows": len(by_paper),
        "tooLong": 0 if checking is None else checking.too_long,
        "watermark": watermark,
        "gates": gates,
        "uri": str(config.output),
    }


def window(config: SnapshotConfig, now: datetime) -> Range:
    """The decisions that are taken, as points in time."""
    chosen = Range(resolve_time(config.since, now), resolve_time(config.until, now), config.symbols)
    if chosen.since and chosen.until and chosen.since >= chosen.until:
        raise bad_config("since", f"{chosen.since.isoformat()} is not before until, {chosen.until.isoformat()}")
    return chosen


def load_tokenizer(base: Path) -> Any:
    """The tokenizer of a base; what reads it is heavy, and few snapshots by hand have one."""
    from tradewind.training.tokenizer import load_tokenizer

    return load_tokenizer(base)


if __name__ == "__main__":
    # Tokenizers need no torch. Where it can be found, transformers imports it: half a gigabyte, and ten seconds.
    sys.modules["torch"] = None  # type: ignore[assignment]
    sys.exit(main())
