"""Why a logged decision teaches, where it is not its own trade's label, and why it does not."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Teaching(StrEnum):
    """Why a sample is imitated when it is not the label of its own trade."""

    LOGGED_HOLD = "hold"
    COUNTERFACTUAL_HOLD = "counterfactual_hold"
    PAPER_HOLD = "paper_hold"
    """A hold while the other arm's answer lost: on paper, or really where it was the drawn one."""
    PAPER_MISSED_HOLD = "paper_missed_hold"
    """A hold while the other arm's answer earned on paper; to be avoided."""


PAPER: Final = "paper_"
"""Begins the label of whatever was learned from a result on paper; what follows is the label that a real one would have."""


class Dropped(StrEnum):
    """Why a logged decision gives no sample."""

    REPLAY = "replay"
    FALLBACK = "fallback"
    INVALID = "invalid_answer"
    UNANSWERED = "unanswered"
    NOT_FILLED = "not_filled"
    OPEN = "open"
    NOT_IMITATED = "not_imitated"
    OFF_GRID = "off_grid"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    HOLD_SURPLUS = "hold_surplus"
    OVER_MAX_SAMPLES = "over_max_samples"
    PURGED = "purged"
    EMBARGOED = "embargoed"


DROPPED: Final[Mapping[Dropped, str]] = {
    Dropped.REPLAY: "replayed, not live; dataset.includeReplay takes them",
    Dropped.FALLBACK: "answered by the fallback, not by an arm",
    Dropped.INVALID: "the answer was no valid decision",
    Dropped.UNANSWERED: "no answer came",
    Dropped.NOT_FILLED: "the order was rejected or not filled",
    Dropped.OPEN: "the trade is still open, or its outcome was never reported",
    Dropped.NOT_IMITATED: "its label teaches nothing, as that of a bad trade under sft",
    Dropped.OFF_GRID: "the grids that answers are written on cannot say it",
    Dropped.DUPLICATE: "another decision has the same prompt",
    Dropped.NEAR_DUPLICATE: "another decision has almost the same prompt",
    Dropped.HOLD_SURPLUS: "a hold beyond the share that holds have in the log",
    Dropped.OVER_MAX_SAMPLES: "older than the newest dataset.maxSamples",
    Dropped.PURGED: "its trade was open when the evaluation rows begin",
    Dropped.EMBARGOED: "its trade closed within dataset.split.embargo before the evaluation rows begin",
}
"""The reasons in words."""
