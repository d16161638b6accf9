"""Simulated experiments under a spec: how often equal arms are promoted, and how soon a better one is.

The public surface of the package; its modules are private to it. The spec's own code runs over simulated decisions, all runs
at once; the source of randomness is an argument.
"""

from tradewind.trading.simulation.bars import Bars, read_bars
from tradewind.trading.simulation.characteristics import Characteristics, Share
from tradewind.trading.simulation.run import operating_characteristics
from tradewind.trading.simulation.scenarios import SCENARIOS, Market, Prices, Scenario

__all__ = [
    "SCENARIOS",
    "Bars",
    "Characteristics",
    "Market",
    "Prices",
    "Scenario",
    "Share",
    "operating_characteristics",
    "read_bars",
]
