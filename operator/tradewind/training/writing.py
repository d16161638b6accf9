"""A dataset's texts on the disk: prompts while a log is read, and its files, written in order with little of them in memory.

Belongs here: the files. Does not belong here: what the samples are (trading/dataset/), and what a manifest says.
"""

import itertools
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Self

from tradewind.trading.dataset import Dataset, Sample, dataset_line
from tradewind.training.files import EVAL_FILE, TRAIN_FILE, Example
from tradewind.training.preflight import Preflighting

PARQUET_FILE: Final = "dataset.parquet"
_BATCH: Final = 1024  # samples whose texts are in memory at once


class PromptFile:
    """Prompts by number in a file without a name: it is gone with the process, or when it is closed."""

    def __init__(self, folder: Path) -> None:
        """In a folder with room for all of them."""
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - __exit__ closes it
        self._ends = array("q", [0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, prompt: str) -> None:
        """Keeps one more, before any is read."""
        self._ends.append(self._ends[-1] + self._file.write(prompt.encode()))

    def __getitem__(self, number: int) -> str:
        """The prompt of a number."""
        self._file.seek(self._ends[number])
        return self._file.read(self._ends[number + 1] - self._ends[number]).decode()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._ends) - 1


def write_files(folder: Path, dataset: Dataset, preflight: Preflighting | None) -> None:
    """Both JSON Lines files of a dataset, and their typed copy for notebooks; what is hashed and trained on are the former.

    Args:
        folder: where to.
        dataset: its prompts are read one after the other.
        preflight: takes every sample; None: there is no tokenizer.

    Raises:
        JobError: exit 66, see `Preflighting`.
        OSError: the folder cannot be written to, or is full.
    """
    with _Parquet(folder / PARQUET_FILE) as parquet:
        for name, split, side in ((TRAIN_FILE, "train", dataset.train), (EVAL_FILE, "eval", dataset.evaluation)):
            with (folder / name).open("w", encoding="utf-8", newline="\n") as file:
                for samples in _batches(side):
                    prompts = [dataset.prompts[sample.prompt] for sample in samples]
                    lines = [sample.as_json(prompt) for sample, prompt in zip(samples, prompts, strict=True)]
                    file.writelines(map(dataset_line, lines))
                    parquet.write(split, samples, lines)
                    if preflight is not None:
                        preflight.take(
                            [
                                Example(prompt, sample.completion, sample.weight, sample.desirable)
                                for sample, prompt in zip(samples, prompts, strict=True)
                            ]
                        )


class _Parquet:
    """The typed copy, a row group for each batch."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        text, moment = pa.string(), pa.timestamp("us", tz="UTC")
        self._pa = pa
        self._schema = pa.schema(
            {"split": text, "decision_id": text, "decided_at": moment, "ends_at": moment, "symbol": text, "action": text,
             "label": text, "weight": pa.float64(), "regime": text, "source_model": text, "prompt": text, "completion": text}
        )  # fmt: skip
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, split: str, samples: Sequence[Sample], lines: Sequence[dict[str, Any]]) -> None:
        """A batch of one side."""
        rows = [
            line | {"split": split, "decided_at": sample.decided_at, "ends_at": sample.ends_at}
            for sample, line in zip(samples, lines, strict=True)
        ]
        self._writer.write_table(self._pa.Table.from_pylist(rows, schema=self._schema))


def _batches(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    following = iter(samples)
    while batch := list(itertools.islice(following, _BATCH)):
        yield batch
