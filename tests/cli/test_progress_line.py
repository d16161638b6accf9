"""One line of a training's progress."""

import pytest

from tradewind.cli.progress_line import in_words, progress_line
from tradewind.cli.watch import changes, facts

FULL = {"percent": 48.2, "step": 482, "totalSteps": 1000, "etaSeconds": 190, "loss": 1.23456, "evalLoss": 1.4, "tokensPerSecond": 1412.7}  # fmt: skip
WORDS = "48 %, step 482 of 1000, ETA 3m 10s, loss 1.235, evaluation loss 1.4, 1,413 tokens/s"


def test_a_terminal_has_a_bar_and_a_file_has_the_words() -> None:
    assert progress_line(FULL, bar=False) == WORDS
    assert progress_line(FULL, bar=True) == f"[##########----------] {WORDS}"
    assert progress_line({"percent": 0.0}, bar=False) == "0 %"
    assert progress_line({"percent": 100.0, "etaSeconds": 0}, bar=True) == f"[{'#' * 20}] 100 %"


def test_a_report_that_says_something_new_is_a_line_and_the_same_one_none() -> None:
    def of(**progress: float) -> dict[tuple[str, str, str], dict[str, str]]:
        body = {"kind": "TrainingRun", "status": {"phase": "Training", "progress": FULL | progress}}
        return {("n", "TrainingRun", "r"): dict(facts(body))}

    assert changes(of(), of(), "T") == []
    assert changes(of(), of(loss=1.1), "T") == [f"T  TrainingRun/r  progress: {WORDS.replace('1.235', '1.1')}"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0s"), (59.6, "1m"), (3605, "1h"), (7500, "2h 5m"), (273_600, "3d 4h")]
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
