"""Why a logged decision teaches, where it is not its own trade's label, and why it does not."""

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
