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
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("USER", "tradewind")

from tradewind.pretrained.files import file_sha256
from tradewind.trading.dataset import Sample, build_dataset, dataset_lines
from tradewind.trading.exits import ExitCode
from tradewind.trading.gates import evaluate_gates
from tradewind.training.config import SnapshotConfig, load_snapshot_config, resolve_time
from tradewind.training.files import (
    EVAL_FILE,
    MANIFEST_FILE,
    TRAIN_FILE,
    Example,
    dataset_sha256,
    published_folder,
)  # fmt: skip
from tradewind.training.log import DecisionLog, Range
from tradewind.training.outcome import JobError, bad_config, write_result
from tradewind.training.stored import bring

FLAGS = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
FLAGS.add_argument("--config", type=Path, help="JSON file; default: the variable TRADEWIND_CONFIG")
FLAGS.add_argument("--result", type=Path, help="file for the result's JSON; default: /dev/termination-log")
FLAGS.add_argument("--dsn-env", default="TRADEWIND_DSN", help="variable that holds the database's DSN")

logger = logging.getLogger("snapshot")


def main(argv: Sequence[str] | None = None) -> int:
    flags = FLAGS.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        result = snapshot(load_snapshot_config(flags.config), os.environ.get(flags.dsn_env, ""))
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

    # One consistent view of the log.
    with DecisionLog(dsn) as log:
        now = log.now()
        chosen = Range(resolve_time(config.since, now), resolve_time(config.until, now), config.symbols)
        if chosen.since and chosen.until and chosen.since >= chosen.until:
            raise bad_config("since", f"{chosen.since.isoformat()} is not before until, {chosen.until.isoformat()}")
        rows = list(log.decisions(config.endpoint, chosen))

    # What is taught, and whether it is fit to be.
    dataset = build_dataset(rows, config.imitation(), config.split)
    gates = [
        {"name": str(gate.name), "value": gate.value, "threshold": gate.threshold, "passed": gate.passed}
        for gate in evaluate_gates(dataset, config.gates, now)
    ]
    logger.info("%d decisions, %d samples, dropped %s", len(rows), len(dataset.samples),
                {str(reason): count for reason, count in dataset.dropped.items()})  # fmt: skip
    too_long = (
        0 if config.base_tokenizer is None else preflight(dataset.samples, config.base_tokenizer, config.max_length)
    )

    # The folder, whole or not at all.
    per_label = dict(Counter(sample.label for sample in dataset.samples))
    per_action = dict(Counter(str(sample.action) for sample in dataset.samples))
    per_regime = dict(Counter(sample.regime for sample in dataset.samples if sample.regime).most_common(16))
    imported = {row.decision_id: row.imported_from for row in rows if row.imported_from is not None}
    taught = {sample.decision_id for sample in dataset.samples}
    per_import = Counter(source for decision_id, source in imported.items() if decision_id in taught)
    per_source = dict(Counter(sample.source_model for sample in dataset.samples).most_common(16))
    try:
        with published_folder(config.output) as folder:
            (folder / TRAIN_FILE).write_text(dataset_lines(dataset.train), encoding="utf-8", newline="\n")
            (folder / EVAL_FILE).write_text(dataset_lines(dataset.evaluation), encoding="utf-8", newline="\n")
            write_parquet(folder / "dataset.parquet", dataset.train, dataset.evaluation)
            sha256 = dataset_sha256(folder)
            manifest = {
                "sha256": sha256,
                "snapshotAt": now.isoformat(),
                "watermark": None if dataset.watermark is None else dataset.watermark.isoformat(),
                "rows": {"read": len(rows), "train": len(dataset.train), "eval": len(dataset.evaluation)},
                "dropped": {str(reason): count for reason, count in dataset.dropped.items()},
                "perLabel": per_label,
                "perAction": per_action,
                "perRegime": per_regime,
                "perSourceModel": per_source,
                "imported": {
                    "read": len(imported),
                    "decisions": per_import.total(),
                    "perSource": dict(per_import.most_common()),
                },
                "gates": gates,
                "files": {name: file_sha256(folder / name) for name in (TRAIN_FILE, EVAL_FILE, "dataset.parquet")},
                "config": config.model_dump(mode="json", by_alias=True, exclude={"output", "base_tokenizer", "stores"}),
            }
            text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
            (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise bad_config("output", f"{config.output}: {error.strerror}; mount a writable volume with room") from error

    stored.publish_dataset()
    return {
        "sha256": sha256,
        "rows": len(dataset.samples),
        "trainRows": len(dataset.train),
        "evalRows": len(dataset.evaluation),
        "perLabel": per_label,
        "perAction": per_action,
        "perRegime": per_regime,
        "dropped": manifest["dropped"],
        "tooLong": too_long,
        "watermark": manifest["watermark"],
        "gates": gates,
        "uri": str(config.output),
    }


def preflight(samples: Sequence[Sample], base: Path, max_length: int) -> int:
    """Whether the tokenizer gives every sample back; how many are longer than the trainer will take (it judges)."""
    from tradewind.training.base import load_tokenizer
    from tradewind.training.preflight import tokenize

    tokenizer = load_tokenizer(base)
    examples = [Example(sample.prompt, sample.completion, sample.weight, sample.desirable) for sample in samples]
    return tokenize(examples, tokenizer, max_length=max_length, max_too_long_share=1.0).too_long


def write_parquet(path: Path, train: Sequence[Sample], evaluation: Sequence[Sample]) -> None:
    """A typed copy for notebooks; the JSON Lines files are what is hashed and trained on."""
    import pyarrow as pa
    from pyarrow import parquet

    text, moment = pa.string(), pa.timestamp("us", tz="UTC")
    schema = pa.schema(
        {"split": text, "decision_id": text, "decided_at": moment, "ends_at": moment, "symbol": text, "action": text,
         "label": text, "weight": pa.float64(), "regime": text, "source_model": text, "prompt": text, "completion": text}
    )  # fmt: skip
    rows = [
        sample.as_json() | {"split": split, "decided_at": sample.decided_at, "ends_at": sample.ends_at}
        for split, samples in (("train", train), ("eval", evaluation))
        for sample in samples
    ]
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


if __name__ == "__main__":
    sys.exit(main())
