"""What would have happened at every decision had either arm been drawn: returns, papers, prices, shadows that are late.

Belongs here: the markets and the ways in which arms, papers and shadows may behave in them. Does not belong here: who is drawn
(draws.py), and what is made of it (characteristics.py).

Returns are in units of the standard deviation of a trade's return. All tails are Student's t (4).
"""

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import numpy as np

from tradewind.trading.evidence.blocks import Bools, Ints
from tradewind.trading.evidence.confidence import Floats

_DEGREES = 4
_DAY = timedelta(days=1)
_REGIME = timedelta(days=42)
_TURN = 0.2  # mean of the market before it turns, and minus that afterwards
_BAD = -0.8  # a move of the market below that is a bad time: about one in five
_ACTS = 0.3  # share of the decisions that a selective arm acts on
_BIAS = 0.5
_VOLATILITY, _PERSISTENCE = 0.5, 0.9  # of the logarithm of a day's volatility


@dataclass(frozen=True)
class Market:
    """How decisions come.

    Attributes:
        decisions_per_day: evenly spaced, the first at the start of the day.
        hold: time from decision to report.
        symbols: decisions go round so many; each moves twice as much as the one before, and all share the market.

    Raises:
        ValueError: an attribute is out of bounds.
    """

    decisions_per_day: int = 24
    hold: timedelta = timedelta(hours=4)
    symbols: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.decisions_per_day <= 1440:
            raise ValueError(f"decisions_per_day: {self.decisions_per_day}; give a whole number from 1 to 1440")
        if self.hold < timedelta(0):
            raise ValueError("hold: negative; give a duration from 0s up")
        if not 1 <= self.symbols <= 8:
            raise ValueError(f"symbols: {self.symbols}; give a whole number from 1 to 8")

    @property
    def spacing(self) -> timedelta:
        """Time from a decision to the next."""
        return _DAY / self.decisions_per_day

    @property
    def overlap(self) -> int:
        """Decisions during which a position is open, its own included."""
        return max(1, round(self.hold / self.spacing))


@dataclass(frozen=True)
class Prices:
    """What an answer and a trade cost and risk in absolute units; with the defaults answers cost nothing.

    Attributes:
        reference_notional_usd: of every trade; None: not known.
        volatility: standard deviation of a trade's return, as a fraction of its notional.
        answer_usd: price of an answer of baseline and candidate.

    Raises:
        ValueError: an attribute is out of bounds.
    """

    reference_notional_usd: float | None = None
    volatility: float = 0.002
    answer_usd: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        notional = self.reference_notional_usd
        if notional is not None and not 0.0 < notional < math.inf:
            raise ValueError(f"reference notional: {notional}; give a number of USD above 0")
        if not 0.0 < self.volatility <= 1.0:
            raise ValueError(
                f"volatility: {self.volatility:g}; give a return above 0 and at most 1 (10000 basis points)"
            )
        if not all(0.0 <= price <= 1e6 for price in self.answer_usd):
            raise ValueError("answer costs: give USD from 0 to 1000000")

    @property
    def answer_cost(self) -> tuple[float, float]:
        """Price of an answer of each arm in units of a trade's standard deviation."""
        if self.reference_notional_usd is None:
            return 0.0, 0.0
        unit = self.reference_notional_usd * self.volatility
        return self.answer_usd[0] / unit, self.answer_usd[1] / unit


@dataclass(frozen=True, eq=False)
class Chances:
    """What either arm would have had; arrays of shape (runs, rows), pairs of them baseline first.

    Attributes:
        ret: return on notional; 0 where the arm holds.
        acts: the arm trades.
        papers: return on paper; 0 where the arm holds.
        market: the market's move over the time that positions stay open.
        priced: there are prices to settle papers and moves with.
        late: the candidate would be late as a shadow, and is in time when it is drawn.
        symbol: number of the symbol, shape (rows,).
    """

    ret: tuple[Floats, Floats]
    acts: tuple[Bools, Bools]
    papers: tuple[Floats, Floats]
    market: Floats
    priced: Bools
    late: Bools
    symbol: Ints

    def part(self, runs: Ints, rows: int) -> "Chances":
        """Those of some runs and of the first rows."""

        def both(arms: tuple[Any, Any]) -> tuple[Any, Any]:
            return arms[0][runs, :rows], arms[1][runs, :rows]

        return Chances(
            ret=both(self.ret),
            acts=both(self.acts),
            papers=both(self.papers),
            market=self.market[runs, :rows],
            priced=self.priced[runs, :rows],
            late=self.late[runs, :rows],
            symbol=self.symbol[:rows],
        )


@dataclass(frozen=True)
class Scenario:
    """A market and how arms, papers and shadows behave in it.

    Attributes:
        name: on the command line.
        about: in a sentence, for the help.
        shared: share of a return's variance that is the market's; 0: every return is its own, as if nothing overlapped.
        exposure: of baseline and candidate to the market.
        agreement: share of decisions at which the arms give the same answer, and have the same return; None: they never do,
            and cannot.
        clusters: volatility changes from day to day.
        regime: the market's mean turns after 42 days.
        acts: share of decisions that each arm trades at.
        paper_correlation: of a paper with the real trade; 0: it says nothing.
        paper_bias: what a paper of the candidate shows too much.
        unpriced: in bad times there are no prices.
        slow: in bad times the candidate is late as a shadow.
        longest: positions stay open for maxHold.
    """

    name: str
    about: str
    shared: float = 0.5
    exposure: tuple[float, float] = (1.0, 1.0)
    agreement: float | None = 0.0
    clusters: bool = False
    regime: bool = False
    acts: tuple[float, float] = (1.0, 1.0)
    paper_correlation: float = 0.96
    paper_bias: float = 0.0
    unpriced: bool = False
    slow: bool = False
    longest: bool = False

    def having(self, agreement: float | None, paper_correlation: float | None) -> "Scenario":
        """The scenario with what is given.

        Raises:
            ValueError: it cannot be given, or is out of bounds.
        """
        found = self
        if agreement is not None:
            demand_agreement(agreement)
            if self.agreement is None:
                raise ValueError(f"agreement: the arms of scenario {self.name} never agree; leave it out")
            found = replace(found, agreement=agreement)
        if paper_correlation is not None:
            if not 0.0 <= paper_correlation <= 1.0:
                raise ValueError(f"paper correlation: {paper_correlation:g}; give a number from 0 to 1")
            found = replace(found, paper_correlation=paper_correlation)
        return found

    def draw(self, effect: float, market: Market, shape: tuple[int, int], rng: np.random.Generator) -> Chances:
        """Chances of so many runs and rows.

        Args:
            effect: mean of the candidate's return per decision, in units of its standard deviation; that of the baseline is 0.
            market: how decisions come.
            shape: runs and rows.
            rng: source of randomness.
        """
        move = self._moves(market, shape, rng)
        acts = tuple(np.ones(shape, np.bool_) if share >= 1.0 else rng.random(shape) < share for share in self.acts)
        same = rng.random(shape) < self.agreement if self.agreement else np.zeros(shape, np.bool_)
        own = tails(rng, shape), tails(rng, shape)
        part = math.sqrt(self.shared), math.sqrt(1.0 - self.shared)
        real = [part[0] * exposure * move + part[1] * noise for exposure, noise in zip(self.exposure, own, strict=True)]
        np.copyto(real[1], real[0], where=same)
        # Where the arms give the same answer there is no difference: all of it lies in the other decisions.
        real[1] += np.where(same, 0.0, effect / (1.0 - (self.agreement or 0.0)) / math.sqrt(self.acts[1]))
        papers = [on_paper(trade, self.paper_correlation, rng) for trade in real]
        np.copyto(papers[1], papers[0], where=same)
        papers[1] += self.paper_bias
        bad = move < _BAD
        symbol = np.arange(shape[1]) % market.symbols
        size = np.exp2(symbol)

        def settled(values: Floats, act: Bools) -> Floats:
            return values * act * size

        return Chances(
            ret=(settled(real[0], acts[0]), settled(real[1], acts[1])),
            acts=(acts[0], acts[1]),
            papers=(settled(papers[0], acts[0]), settled(papers[1], acts[1])),
            market=move * size,
            priced=~bad if self.unpriced else np.ones(shape, np.bool_),
            late=bad if self.slow else np.zeros(shape, np.bool_),
            symbol=symbol,
        )

    def _moves(self, market: Market, shape: tuple[int, int], rng: np.random.Generator) -> Floats:
        """The market's move over the life of each position, of variance 1; moves of positions that overlap go together."""
        per_day = market.decisions_per_day
        overlap = market.overlap if self.shared else 1
        steps = tails(rng, (shape[0], shape[1] + overlap))
        if self.clusters:
            days = -(-steps.shape[1] // per_day)
            steps *= np.repeat(_volatility(shape[0], days, rng), per_day, axis=1)[:, : steps.shape[1]]
        total = np.cumsum(steps, axis=1)
        move = (total[:, overlap:] - total[:, :-overlap]) / math.sqrt(overlap)
        if self.regime:
            turned = np.arange(shape[1]) // per_day >= _REGIME.days
            move += np.where(turned, -_TURN, _TURN)
        return move


def demand_agreement(agreement: float) -> None:
    """Refuses a share that cannot be.

    Raises:
        ValueError: it is not from 0 to below 1.
    """
    if not 0.0 <= agreement <= 0.99:
        raise ValueError(f"agreement: {agreement:g}; give a share from 0 to 0.99: arms that always agree are equal")


def on_paper(trade: Floats, correlation: float, rng: np.random.Generator) -> Floats:
    """Papers of trades of variance 1."""
    noise = rng.standard_normal(trade.shape)
    return trade + noise * math.sqrt(1.0 / correlation**2 - 1.0) if correlation else noise


def tails(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Student's t (4), of variance 1."""
    return rng.standard_t(_DEGREES, shape) / math.sqrt(_DEGREES / (_DEGREES - 2.0))


def _volatility(runs: int, days: int, rng: np.random.Generator) -> Floats:
    """Volatility of each day, of mean square 1: its logarithm moves back and forth."""
    noise = rng.standard_normal((runs, days)) * _VOLATILITY
    level = np.empty_like(noise)
    level[:, 0] = noise[:, 0]
    fresh = math.sqrt(1.0 - _PERSISTENCE**2)
    for day in range(1, days):
        level[:, day] = _PERSISTENCE * level[:, day - 1] + fresh * noise[:, day]
    result: Floats = np.exp(level - _VOLATILITY**2)
    return result


SCENARIOS: Final[dict[str, Scenario]] = {
    scenario.name: scenario
    for scenario in (
        Scenario("iid", "independent returns; the arms agree on 60 % of the decisions", shared=0.0, agreement=0.6),
        Scenario("shared", "both arms are long a market that makes half of their variance; positions overlap"),
        Scenario("clusters", "shared, and volatility changes from day to day", clusters=True),
        Scenario(
            "opposite",
            "one arm is always long and the other short; positions overlap, volatility changes",
            shared=1.0,
            exposure=(1.0, -1.0),
            agreement=None,
            clusters=True,
        ),
        Scenario("regime", "shared, and the market's mean of 0.2 turns after 42 days", regime=True),
        Scenario(
            "selective", "clusters, and the candidate acts on 30 % of the decisions", clusters=True, acts=(1.0, _ACTS)
        ),
        Scenario(
            "selective-baseline",
            "clusters, and the baseline acts on 30 % of the decisions",
            clusters=True,
            acts=(_ACTS, 1.0),
        ),
        Scenario("biased-paper", "shared, and a paper of the candidate shows 0.5 too much", paper_bias=_BIAS),
        Scenario("weak-paper", "shared, and papers say nothing of the real trades", paper_correlation=0.0),
        Scenario(
            "missing-pairs", "clusters, and where the market falls there are no prices", clusters=True, unpriced=True
        ),
        Scenario(
            "slow-shadows",
            "clusters, and where the market falls the candidate is late as a shadow",
            clusters=True,
            slow=True,
        ),
        Scenario(
            "long-holds",
            "opposite, and positions stay open for maxHold",
            shared=1.0,
            exposure=(1.0, -1.0),
            agreement=None,
            longest=True,
        ),
    )
}
"""By their names."""
