"""TrainingSchedule among the kinds."""

from collections.abc import Iterator

from tradewind.api.training_schedule import TrainingSchedule
from tradewind.core.kind import Kind
from tradewind.core.training_schedule import decide
from tradewind.core.training_schedule.observe import observe
from tradewind.core.world import Neighbour


def neighbours(_: TrainingSchedule) -> Iterator[Neighbour]:
    """Nobody reads a schedule."""
    yield from ()


TRAINING_SCHEDULE = Kind(TrainingSchedule, observe, decide, neighbours)
