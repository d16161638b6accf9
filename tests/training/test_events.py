import struct
from pathlib import Path

import pytest

from tradewind.training.events import EventFile

# The file below, as TensorBoard 2.21's own reader took it: version, start of a session, two points.
AS_READ = (
    "1800000000000000a37f4b220900002060b813da411a0d627261696e2e4576656e743a320db7880b0f000000000000006d53"
    "2b090900002060b813da4110013a0208011edcaaf5200000000000000029eda9500900002060b813da41100a2a130a110a0a"
    "747261696e2f6c6f7373150000803e2f0412233c00000000000000c8b7a3520900002060b813da4110ac022a2e0a100a0965"
    "76616c2f6c6f7373150000003f0a1a0a13747261696e2f6c6561726e696e675f72617465156f12833acbea26fe"
)


def records(file: Path) -> list[bytes]:
    content, found = file.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        found.append(content[12 : 12 + length])
        content = content[16 + length :]
    return found


def write(folder: Path, *, attempt: int = 1, step: int = 0) -> Path:
    events = EventFile(folder, attempt, step=step, clock=lambda: 1_750_000_000.5)
    events.add(step + 10, {"train/loss": 0.25})
    events.add(step + 300, {"eval/loss": 0.5, "train/learning_rate": 0.001})
    (file,) = folder.glob(f"*attempt-{attempt:04d}")
    return file


def test_the_file_is_byte_for_byte_one_that_tensorboard_reads(tmp_path: Path) -> None:
    assert write(tmp_path).read_bytes().hex() == AS_READ


def test_tensorboard_reads_it(tmp_path: Path) -> None:
    """Where it is installed."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write(tmp_path)
    write(tmp_path, attempt=2, step=100)
    found = reader.EventAccumulator(str(tmp_path))
    found.Reload()
    assert found.Tags()["scalars"] == ["train/loss", "eval/loss", "train/learning_rate"]
    assert [(one.step, one.value) for one in found.Scalars("train/loss")] == [(10, 0.25), (110, 0.25)]
    assert [one.step for one in found.Scalars("eval/loss")] == [400], (
        "300 was made after the step that was resumed from"
    )


def test_a_disk_that_takes_nothing_ends_the_curves_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    events = EventFile(tmp_path / "file" / "below", 1)
    events.add(1, {"train/loss": 1.0})
    events.add(2, {"train/loss": 1.0})
    assert caplog.text.count("curves end here") == 1


def test_numbers_that_are_not_finite_are_written_as_they_are(tmp_path: Path) -> None:
    EventFile(tmp_path, 1).add(1, {"train/loss": float("nan")})
    (file,) = tmp_path.iterdir()
    assert struct.pack("<f", float("nan")) in records(file)[-1]
