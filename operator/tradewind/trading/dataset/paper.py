"""What results on paper teach beside real ones: whether a hold was right, and what the arm that was not drawn would have earned.

Belongs here: the rule, for one decision. Does not belong here: how a paper is settled (trading/paper.py).

A row imitates the drawn arm's answer where its real result is imitated: no paper changes that, and no paper adds a second answer
to imitate. Where it does not, the other arm's answer is imitated if it earned. What is taught by paper weighs at most what a real
result of the same label does, and its label says so.
"""

from dataclasses import replace

from tradewind.trading.dataset.brief import Brief, BriefOther
from tradewind.trading.dataset.imitation import Imitation
from tradewind.trading.dataset.samples import Sample, samples_of
from tradewind.trading.decision import Action
from tradewind.trading.labels import Label
from tradewind.trading.teaching import PAPER, Dropped, Teaching

_EARNED = (Label.EXCELLENT, Label.GOOD)
_LOST = (Label.ACCEPTABLE_LOSS, Label.BAD)


def taught_by(row: Brief, imitation: Imitation, typical: float) -> tuple[Sample, ...] | Dropped:
    """What a decision teaches, by its own result and by paper, or why it teaches nothing.

    Args:
        row: known how it ended; without an `other`, or with `labels.paper` false, its own result alone teaches.
        imitation: what is imitated.
        typical: see `samples_of`.
    """
    own = samples_of(row, imitation, typical)
    other = row.other
    if other is None or not imitation.labels.paper or row.follows_up or other.completion == row.completion:
        return own
    samples = () if isinstance(own, Dropped) else own
    taught = (
        _beside_a_hold(row, other, samples, imitation)
        if row.is_hold
        else _beside_a_trade(row, other, samples, imitation)
    )
    if not taught and other.completion is None and other.label in _EARNED:
        return Dropped.OFF_GRID
    return taught or (own if isinstance(own, Dropped) else Dropped.NOT_IMITATED)


def _beside_a_hold(row: Brief, other: BriefOther, own: tuple[Sample, ...], imitation: Imitation) -> tuple[Sample, ...]:
    """The drawn arm held; whether that was right is known from what the other arm's trade did on paper."""
    if other.label is None:
        return own  # both held
    held = tuple(replace(sample, ends_at=other.closed_at) for sample in own)
    if other.label in _EARNED:
        weight = imitation.paper_weight * imitation.weight(Label.BAD)
        missed = replace(
            _plain(row, other), weight=weight, label=Teaching.PAPER_MISSED_HOLD, desirable=False,
            completion=row.completion or "", action=row.action, prompt=row.prompt, source_model=row.source_model, of_other=False,
        )  # fmt: skip
        return (*((missed,) if weight > 0 else ()), *_imitated(row, other, imitation))
    if other.label in _LOST:
        held = tuple(replace(sample, weight=imitation.right_hold_weight, label=Teaching.PAPER_HOLD) for sample in held)
    return (*held, *_avoided(row, other, imitation))


def _beside_a_trade(row: Brief, other: BriefOther, own: tuple[Sample, ...], imitation: Imitation) -> tuple[Sample, ...]:
    """The drawn arm traded, and its real result is known."""
    if any(sample.desirable and sample.label != Teaching.COUNTERFACTUAL_HOLD for sample in own):
        return (*own, *_avoided(row, other, imitation))
    if other.label in _EARNED and (earned := _imitated(row, other, imitation)):
        # Better than to hold, which is what a counterfactual hold would teach.
        return (*(sample for sample in own if not sample.desirable), *earned)
    if any(sample.desirable for sample in own):
        return (*own, *_avoided(row, other, imitation))
    if other.label is None:
        return (*own, *_right_hold(row, other, imitation))
    return (*own, *(_imitated(row, other, imitation) or _avoided(row, other, imitation)))


def _imitated(row: Brief, other: BriefOther, imitation: Imitation) -> tuple[Sample, ...]:
    """The other arm's trade, by its paper label; nothing where that is none to imitate."""
    if other.label is None or other.label is Label.BAD:
        return ()
    return _of_label(row, other, other.label, imitation)


def _avoided(row: Brief, other: BriefOther, imitation: Imitation) -> tuple[Sample, ...]:
    """The other arm's trade where it was bad on paper, and the objective learns from such."""
    return _of_label(row, other, other.label, imitation) if other.label is Label.BAD else ()


def _of_label(row: Brief, other: BriefOther, label: Label, imitation: Imitation) -> tuple[Sample, ...]:
    weight = imitation.paper_weight * imitation.weight(label)
    if weight <= 0 or other.completion is None:
        return ()
    return (replace(_plain(row, other), weight=weight, label=f"{PAPER}{label}", desirable=label is not Label.BAD),)


def _right_hold(row: Brief, other: BriefOther, imitation: Imitation) -> tuple[Sample, ...]:
    """The other arm held while the drawn one really lost."""
    weight = imitation.right_hold_weight
    if other.action is not Action.HOLD or row.label not in _LOST or row.closed_at is None or weight <= 0:
        return ()
    return (replace(_plain(row, other), weight=weight, label=Teaching.PAPER_HOLD, ends_at=row.closed_at),)


def _plain(row: Brief, other: BriefOther) -> Sample:
    """The other arm's answer to the row's question."""
    return Sample(
        prompt=other.prompt,
        completion=other.completion or "",
        weight=0.0,
        label="",
        action=other.action,
        symbol=row.symbol,
        decision_id=row.decision_id,
        decided_at=row.decided_at,
        ends_at=other.closed_at,
        source_model=other.source_model,
        regime=row.regime,
        of_other=True,
    )
