"""Configuration of `jobs/evaluate.py`: what the operator tells it in TRADEWIND_CONFIG, checked before anything is asked."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tradewind.schema.rules import StrictModel
from tradewind.schema.scalars import Name, Sha256
from tradewind.trading.routing import LevelLimits
from tradewind.trading.settings.evaluation import EvaluationRows, SimulatedTrades
from tradewind.trading.settings.stores import Stores
from tradewind.training.config import EndpointKey, Given


class Compared(StrictModel):
    """Whose answers stand beside the version's.

    Attributes:
        version: name of the ModelVersion, as the log has it.
        url, sha256: of one that we serve, which is asked; None: what is recorded of it counts.
        protocol: that it speaks.
    """

    version: Name
    url: Given | None = None
    sha256: Sha256 | None = None
    protocol: Literal["predictor", "vllm"] = "predictor"


class Recorded(EvaluationRows):
    """Which rows, and where they are from: the log of an Endpoint, or a folder.

    Attributes:
        sha256: of the folder's data; None: not checked.
        limits: of the Endpoint, by permission level.
    """

    endpoint: EndpointKey | None = None
    folder: Path | None = None
    sha256: Sha256 | None = None
    limits: Annotated[dict[str, LevelLimits], Field(max_length=16)] = Field(default_factory=dict)


class BarsConfig(SimulatedTrades):
    """Bars, and the rule that settles answers on them."""

    folder: Path


class EvaluateConfig(StrictModel):
    """Configuration of `jobs/evaluate.py`; without `recorded` it measures speed, validity and hostile questions alone."""

    recorded: Recorded | None = None
    bars: BarsConfig | None = None
    compared: Compared | None = None
    stores: Stores = Stores()
