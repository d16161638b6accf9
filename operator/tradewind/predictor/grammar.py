"""The skeleton of a decision in tokens: what is forced, and what each free field may be.

A completion is `trading.prompt.render_completion`'s text and nothing else, so its values are enumerable. Every candidate of
every field is tokenised inside a whole completion, as training tokenises it, and cut out at token boundaries that no
neighbouring value moves. So each sequence that can be written is the canonical one; a token mask over bytes would also
admit `op`+`en` where training has only ever shown `open`. The cuts are checked: random completions put together from the
pieces must equal the tokenisation of their text.

Here belongs turning the schema, the grids, the symbol and the limits into tries. Scoring them is the decoder's business.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from tradewind.predictor.trie import Trie
from tradewind.trading.completions import Writable
from tradewind.trading.decision import Action, Limits, TradeDecision
from tradewind.trading.prompt import (
    CONFIDENCE_GRID,
    DECISION_FIELDS,
    LEVERAGE_GRID,
    PERCENT_GRID,
    SIZE_GRID_USD,
    render_completion,
    render_value,
    snap_to_grid,
)

Value = float | Action
"""What a field may hold."""

OPENING = (Action.OPEN_LONG, Action.OPEN_SHORT)
FLAT = (Action.CLOSE, Action.HOLD)
_SAMPLE_PROSE = "a"  # stands for prose: where it starts, the forced text ends
_CHECKED_COMPLETIONS = 64
_CACHED_PLANS = 256


class GrammarError(Exception):
    """This tokenizer cannot write this symbol's decisions canonically, piece by piece."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenised text: token ids, and for each the offset in characters at which its text ends."""

    ids: tuple[int, ...]
    ends: tuple[int, ...]


Tokenise = Callable[[Sequence[str]], Sequence[Tokens]]
"""Texts to tokens without special tokens, as training tokenises completions."""


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """One free field: tokens forced before it, its candidates, and a trie over their tokens (terminator included)."""

    name: str
    forced: tuple[int, ...]
    values: tuple[Value, ...]
    trie: Trie


@dataclass(frozen=True, slots=True)
class Plan:
    """All that can be written for one request. After the action come the fields of its kind; `tail` ends the text.

    `tail` is empty without prose (the last field's terminator closes the object), else the forced opening of the prose.
    """

    symbol: str
    action: FieldPlan
    opening: tuple[FieldPlan, ...]
    flat: tuple[FieldPlan, ...]
    tail: tuple[int, ...]

    def fields_after(self, action: Action) -> tuple[FieldPlan, ...]:
        """The fields that are still free once the action is known."""
        return self.opening if action.opens else self.flat

    def decision(self, values: Mapping[str, Value], reasoning: str = "") -> TradeDecision:
        """The decision that the chosen values spell."""
        action = as_action(values["action"])
        chosen = {name: value for name, value in values.items() if name != "action"}
        return _decision(action, self.symbol).model_copy(update={**chosen, "reasoning": reasoning})

    @property
    def longest(self) -> int:
        """Tokens of the longest completion, prose left out."""
        kinds = (self.opening, self.flat)
        fields = max(sum(len(f.forced) + max(f.trie.depth) for f in kind) for kind in kinds)
        return len(self.action.forced) + max(self.action.trie.depth) + fields + len(self.tail)


def as_action(value: Value) -> Action:
    """The value of the action field as what it is."""
    assert isinstance(value, Action)
    return value


class Grammar:
    """Plans by symbol and limits; a symbol's first request tokenises its candidates, later ones find them."""

    def __init__(self, tokenise: Tokenise, *, reasoning: bool = False) -> None:
        """Args: tokenise: see `Tokenise`. reasoning: whether prose follows the decision."""
        self._tokenise = tokenise
        self._reasoning = reasoning
        self._pieces = lru_cache(maxsize=_CACHED_PLANS)(self._cut)
        self._plans = lru_cache(maxsize=_CACHED_PLANS)(self._build)

    def plan(self, symbol: str, limits: Limits | None) -> Plan:
        """The plan of a request.

        Raises:
            GrammarError: the tokenizer merges a value with its surroundings in a way that cannot be cut.
        """
        writable = Writable.within(limits)
        stops = None if 0 in writable.stops else len(writable.stops)
        return self._plans(symbol, len(writable.sizes), len(writable.leverages), stops)

    def _build(self, symbol: str, sizes: int, leverages: int, stops: int | None) -> Plan:
        """Plan of the first so many sizes and leverages, and of so many stops above 0 (None: any, and none)."""
        pieces = self._pieces(symbol)
        allowed = {"size_usd": slice(sizes), "leverage": slice(leverages)}
        if stops is not None:
            allowed["stop_loss_pct"] = slice(1, 1 + stops)
        opens = sizes > 0 and stops != 0
        actions = (*OPENING, *FLAT) if opens else FLAT

        def field(kind: Mapping[str, Mapping[Value, tuple[int, ...]]], name: str) -> FieldPlan:
            values = tuple(kind[name])[allowed.get(name, slice(None))]
            return _field_plan(name, values, [kind[name][value] for value in values])

        either = {**pieces.opening["action"], **pieces.flat["action"]}
        return Plan(
            symbol=symbol,
            action=_field_plan("action", actions, [either[action] for action in actions]),
            opening=tuple(field(pieces.opening, name) for name in pieces.opening if name != "action") if opens else (),
            flat=tuple(field(pieces.flat, name) for name in pieces.flat if name != "action"),
            tail=pieces.tail,
        )

    def _cut(self, symbol: str) -> "_Pieces":
        kinds: dict[bool, dict[str, tuple[Value, ...]]] = {
            True: {
                "action": OPENING,
                "size_usd": SIZE_GRID_USD,
                "leverage": LEVERAGE_GRID,
                "stop_loss_pct": PERCENT_GRID,
                "take_profit_pct": PERCENT_GRID,
                "confidence": CONFIDENCE_GRID,
            },
            False: {"action": FLAT, "confidence": CONFIDENCE_GRID},
        }
        written = {
            opens: {
                name: self._write(symbol, as_action(fields["action"][0]), name, values)
                for name, values in fields.items()
            }
            for opens, fields in kinds.items()
        }
        action_cuts = [_cuts(kind, "action") for kind in written.values()]
        action_cut = min(set.intersection(*action_cuts), default=0)
        cut = {opens: _cut_table(kind, action_cut) for opens, kind in written.items()}
        pieces = {
            opens: {
                name: {value: text.between(cut[opens], name) for value, text in texts.items()}
                for name, texts in kind.items()
            }
            for opens, kind in written.items()
        }
        tails = {
            text.after(cut[opens]["confidence"]) for opens, k in written.items() for text in k["confidence"].values()
        }
        if len(tails) != 1:
            raise GrammarError(f"symbol {symbol}: the text after the decision tokenises in {len(tails)} ways")
        result = _Pieces(pieces[True], pieces[False], tails.pop())
        self._check(symbol, result)
        return result

    def _write(self, symbol: str, action: Action, name: str, values: Sequence[Value]) -> dict[Value, "_Text"]:
        """A completion a candidate, the other fields at their first value."""
        decisions = [
            _decision(as_action(value), symbol)
            if name == "action"
            else _decision(action, symbol).model_copy(update={name: value})
            for value in values
        ]
        return dict(zip(values, self._texts(decisions), strict=True))

    def _texts(self, decisions: Sequence[TradeDecision]) -> list["_Text"]:
        prose = [d.model_copy(update={"reasoning": _SAMPLE_PROSE}) for d in decisions]
        texts = [render_completion(decision, reasoning=self._reasoning) for decision in prose]
        return [_Text(t, d, k) for t, d, k in zip(texts, decisions, self._tokenise(texts), strict=True)]

    def _check(self, symbol: str, pieces: "_Pieces") -> None:
        """Random completions put together from pieces equal the tokenisation of their whole text."""
        draw = random.Random(symbol)  # noqa: S311 - a sample of completions, not a secret
        chosen = [
            {name: draw.choice(list(candidates)) for name, candidates in kind.items()}
            for kind in (pieces.opening, pieces.flat)
            for _ in range(_CHECKED_COMPLETIONS)
        ]
        decisions = [
            _decision(as_action(c["action"]), symbol).model_copy(update={n: v for n, v in c.items() if n != "action"})
            for c in chosen
        ]
        for choice, text in zip(chosen, self._texts(decisions), strict=True):
            kind = pieces.opening if as_action(choice["action"]).opens else pieces.flat
            ids = [token for name, value in choice.items() for token in kind[name][value]]
            ids.extend(pieces.tail)
            if tuple(ids) != text.tokens.ids[: len(ids)] or (not self._reasoning and len(ids) != len(text.tokens.ids)):
                raise GrammarError(
                    f"symbol {symbol}: this tokenizer does not write {text.text} as the sum of its fields;"
                    " choose a base with a byte-level tokenizer"
                )


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Tokens of each candidate from the cut before its field to the cut after it, by field and value."""

    opening: Mapping[str, Mapping[Value, tuple[int, ...]]]
    flat: Mapping[str, Mapping[Value, tuple[int, ...]]]
    tail: tuple[int, ...]


class _Text:
    """A completion with the span of each value and its tokens."""

    def __init__(self, text: str, decision: TradeDecision, tokens: Tokens) -> None:
        self.text = text
        self.tokens = tokens
        self.end: dict[str, int] = {}
        position = 0
        for name in DECISION_FIELDS:
            key = f'"{name}":'
            position = text.index(key, position) + len(key)
            value = getattr(decision, name)
            position += len(render_value(value)) - isinstance(value, str)
            self.end[name] = position  # a string ends before its closing quote

    def boundaries_after(self, name: str) -> set[int]:
        """Token boundaries past a value's end, relative to it."""
        return {end - self.end[name] for end in self.tokens.ends if end > self.end[name]}

    def between(self, cuts: Mapping[str, int], name: str) -> tuple[int, ...]:
        """Tokens from the cut before a field to the cut after it."""
        names = list(cuts)
        before = names.index(name) - 1
        start = self.end[names[before]] + cuts[names[before]] if before >= 0 else 0
        stop = self.end[name] + cuts[name]
        return tuple(i for i, end in zip(self.tokens.ids, self.tokens.ends, strict=True) if start < end <= stop)

    def after(self, cut: int) -> tuple[int, ...]:
        """Tokens from the cut after the last field to the text's end, or to the start of the prose."""
        start = self.end["confidence"] + cut
        stop = len(self.text) - len(f'{_SAMPLE_PROSE}"}}') if '"reasoning":' in self.text else len(self.text)
        return tuple(i for i, end in zip(self.tokens.ids, self.tokens.ends, strict=True) if start < end <= stop)


def _cuts(kind: Mapping[str, Mapping[Value, _Text]], name: str) -> set[int]:
    """Boundaries after a field that neither its own value nor the next field's moves."""
    names = list(kind)
    neighbours = names[names.index(name) : names.index(name) + 2]
    return set.intersection(*(text.boundaries_after(name) for n in neighbours for text in kind[n].values()))


def _cut_table(kind: Mapping[str, Mapping[Value, _Text]], action_cut: int) -> dict[str, int]:
    """For each field the first boundary past its value at which it can be cut off."""
    table = {name: min(_cuts(kind, name), default=0) for name in kind} | {"action": action_cut}
    for name, cut in table.items():
        if cut <= 0:
            raise GrammarError(f"field {name}: this tokenizer leaves no stable token boundary after its value")
    return table


def _field_plan(name: str, values: Sequence[Value], sequences: Sequence[Sequence[int]]) -> FieldPlan:
    shared = 0
    while len({seq[shared] if shared < len(seq) else None for seq in sequences}) == 1 and shared < len(sequences[0]):
        shared += 1
    try:
        trie = Trie.of([seq[shared:] for seq in sequences])
    except ValueError as error:
        raise GrammarError(f"field {name}: {error}") from None
    return FieldPlan(name, tuple(sequences[0][:shared]), tuple(values), trie)


def _decision(action: Action, symbol: str) -> TradeDecision:
    """A decision of an action's kind with every other field at the first value of its grid."""
    blank = TradeDecision(
        action=action, symbol=symbol, size_usd=SIZE_GRID_USD[0], leverage=LEVERAGE_GRID[0],
        stop_loss_pct=PERCENT_GRID[0], take_profit_pct=PERCENT_GRID[0], confidence=CONFIDENCE_GRID[0],
    )  # fmt: skip
    return snap_to_grid(blank)
