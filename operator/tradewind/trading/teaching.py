"""Why a logged decision teaches, where it is not its own trade's label, and why it does not."""

from enum import StrEnum


class Teaching(StrEnum):
    """Why a sample is imitated when it is not the label of its own trade."""

    LOGGED_HOLD = "hold"
    COUNTERFACTUAL_HOLD = "counterfactual_hold"


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
