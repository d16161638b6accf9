"""Decisions in few forward passes: forced text rides along, undecided candidates are scored together, prose comes last.

Four savings, none of which changes what is written:
- what a prompt has in common with the instruction, or with another prompt, is read once (passes.py);
- forced tokens go in with the next pass (jump-forward), in the canonical tokens of the grammar;
- a pass may carry the undecided candidates of the next field as a tree: each node sees the row and its own ancestors alone
  (a 4-D mask) and sits at its own depth's position, so that one pass scores what would take one pass a token;
- a greedy pass also carries a draft of all that is left: what was last written after the same action. Where greedy agrees
  with the draft, the scores it needs next are there already; where it does not, nothing is lost but the draft.

`greedy` takes the likeliest allowed token at each step, as plain constrained decoding does. `scored` takes the candidate
whose tokens together are likeliest. The action's candidates are always scored whole: `probabilities` is their softmax.

An answer is a computation that stops at each pass it needs (`Steps`), so that several may be in the making at once and share
their passes (batcher.py). Here belongs what is chosen. Texts, tokenizers and HTTP do not.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from llguidance import LLMatcher, LLTokenizer

from tradewind.predictor.grammar import FieldPlan, Plan, Value, as_action
from tradewind.predictor.passes import Passes
from tradewind.predictor.row import NO_DRAFT, NO_TREE, Draft, Row, Steps, Tree, finite
from tradewind.predictor.settings import Decoding
from tradewind.predictor.trie import ROOT, Trie
from tradewind.trading.decision import Action, TradeDecision


@dataclass(frozen=True, slots=True)
class Written:
    """A decision as it was decoded.

    Attributes:
        decision: the decision.
        tokens: every token of the completion, forced ones included, without the stop token.
        probabilities: of the actions, adding up to 1; 0 for an action that the limits bar.
        forward_passes: model calls, the prompt's included.
        action_at: `time.perf_counter()` when the action was chosen.
    """

    decision: TradeDecision
    tokens: tuple[int, ...]
    probabilities: Mapping[Action, float]
    forward_passes: int
    action_at: float


class ModelUnsupportedError(Exception):
    """What was asked of the server cannot be done with this model or tokenizer."""


@dataclass(frozen=True, slots=True)
class Prose:
    """How the free text after the decision is bounded: llguidance masks, a grammar, tokens after which it is closed."""

    tokenizer: LLTokenizer
    max_tokens: int
    closing: tuple[int, ...]

    def matcher(self) -> LLMatcher:
        """A fresh matcher at the first character of the prose."""
        grammar = LLMatcher.grammar_from_regex(r'[^"\\\x00-\x1F\x7F]{0,3000}"\}')
        matcher = LLMatcher(self.tokenizer, grammar)
        if matcher.is_error():
            raise ModelUnsupportedError(f"llguidance refuses the grammar of the prose: {matcher.get_error()}")
        return matcher


class Decoder:
    """Writes decisions with one model. Not thread-safe: one thread at a time."""

    def __init__(
        self,
        model: Any,
        static_ids: Sequence[int],
        *,
        decoding: Decoding,
        speculate: int = 16,
        prose: Prose | None = None,
    ) -> None:
        """Compute the static beginning's cache.

        Args:
            model: a transformers causal language model with sdpa or eager attention, in eval mode.
            static_ids: tokens with which every prompt begins; others are answered too, without the cache.
            decoding: how values are chosen.
            speculate: tokens of undecided candidates that a pass may carry along; 0 is one free token a pass.
            prose: how reasoning is written, or None for none.

        What the model keeps of a text is keys and values alone: `check_servable` has seen to it.
        """
        self.passes = Passes(model)
        self._decoding = decoding
        self._speculate = speculate
        self._prose = prose
        self._last_action: Action | None = None
        self._last_values: dict[Action, Mapping[str, Value]] = {}
        with torch.inference_mode():
            self.passes.read_for_good(static_ids)

    @property
    def prose_tokens(self) -> int:
        """The most tokens that prose may add to an answer, its closing included."""
        return 0 if self._prose is None else self._prose.max_tokens + 8

    @torch.inference_mode()
    def write(self, prompt_ids: Sequence[int], plan: Plan) -> Written:
        """The decision for a prompt, alone; see `writing`."""
        steps = self.writing(self.passes.row(prompt_ids), plan)
        try:
            want = next(steps)
            while True:
                (logits,) = self.passes.run([want])
                if logits is not None:
                    want = steps.send(logits)
        except StopIteration as stop:
            written: Written = stop.value
            return written

    def writing(self, row: Row, plan: Plan) -> Steps[Written]:
        """The decision for a prompt, pass by pass, within `torch.inference_mode()`.

        Args:
            row: of the whole prompt's tokens, as training tokenises prompts (`passes.row`).
            plan: what may be written.

        Raises:
            NotFiniteError: a pass gave scores that are not numbers.
        """
        prompt_tokens = len(row.cached) + len(row.waiting)
        action, probabilities = yield from self._choose_action(row, plan)
        chosen_at = time.perf_counter()
        values: dict[str, Value] = {"action": action}
        following = list(plan.fields_after(action))
        while following:
            field = following.pop(0)
            values[field.name] = yield from self._choose(row, field, following, action)
        self._last_action, self._last_values[action] = action, values
        row.waiting.extend(plan.tail)
        reasoning = b"" if self._prose is None else (yield from self._write_prose(row, self._prose))
        return Written(
            decision=plan.decision(values, reasoning.decode(errors="ignore")),
            tokens=tuple([*row.cached, *row.waiting][prompt_tokens:]),
            probabilities=probabilities,
            forward_passes=row.passes,
            action_at=chosen_at,
        )

    def _choose_action(self, row: Row, plan: Plan) -> Steps[tuple[Action, dict[Action, float]]]:
        field = plan.action
        row.waiting.extend(field.forced)
        likely = self._last_action
        draft = NO_DRAFT if likely is None else self._draft(field, ROOT, plan.fields_after(likely), likely)
        scores = yield from _score_whole(row, field.trie, draft)
        shares = torch.softmax(torch.tensor(scores, dtype=torch.float64), dim=0).tolist()
        probabilities = dict.fromkeys(Action, 0.0)
        probabilities.update({as_action(value): share for value, share in zip(field.values, shares, strict=True)})
        chosen = _best(scores) if self._decoding is Decoding.SCORED else _walk_scored(row.last_scores, field.trie)
        row.waiting.extend(_path(field.trie, chosen))
        return as_action(field.values[chosen]), probabilities

    def _choose(self, row: Row, field: FieldPlan, following: Sequence[FieldPlan], action: Action) -> Steps[Value]:
        row.waiting.extend(field.forced)
        if self._decoding is Decoding.SCORED and len(field.values) > 1:
            scores = yield from _score_whole(row, field.trie)
            chosen = _best(scores)
            row.waiting.extend(_path(field.trie, chosen))
        else:
            chosen = yield from self._walk(row, field, following, action)
        return field.values[chosen]

    def _walk(self, row: Row, field: FieldPlan, following: Sequence[FieldPlan], action: Action) -> Steps[int]:
        """Greedy from the root to a leaf, with as many passes as the scored nodes leave open."""
        trie, node = field.trie, ROOT
        while trie.candidate[node] < 0:
            ahead = row.ahead()
            if len(trie.children[node]) == 1:
                best = {}
            elif ahead is not None:
                best = _greedy_children(ahead, [node], trie)
            else:
                carried = trie.undecided_below(node, self._speculate)
                tree = _tree(trie, carried, node, [n for n in carried if len(trie.children[n]) > 1])
                logits = yield from row.score(tree, self._draft(field, node, following, action))
                best = _greedy_children(logits, [node, *(carried[at] for at in tree.scored)], trie)
            while node in best or len(trie.children[node]) == 1:
                node = best[node] if node in best else trie.children[node][0]
                row.waiting.append(trie.token[node])
        return trie.candidate[node]

    def _draft(self, field: FieldPlan, node: int, following: Sequence[FieldPlan], action: Action) -> Draft:
        """Tokens from a node of a field to the answer's last choice, as last written after the action."""
        values = self._last_values.get(action, {})
        tokens: list[int] = []
        choices: list[int] = []
        for each in (field, *following):
            if self._decoding is Decoding.SCORED or self._speculate == 0 or values.get(each.name) not in each.values:
                break
            leaf = each.trie.candidate.index(each.values.index(values[each.name]))
            path = [ROOT, *reversed(each.trie.ancestors(leaf, ROOT))]
            if each is not field:
                tokens.extend(each.forced)
            elif node not in path:
                break
            else:
                path = path[path.index(node) :]
            for above, below in pairwise(path):
                if len(each.trie.children[above]) > 1 and tokens:
                    choices.append(len(tokens))
                tokens.append(each.trie.token[below])
        last = choices[-1] if choices else 0  # nothing is chosen after it
        return Draft(tokens[:last], choices)

    def _write_prose(self, row: Row, prose: Prose) -> Steps[bytes]:
        """Greedy prose under the grammar; closed after `max_tokens`, at the next character's end."""
        matcher = prose.matcher()
        written: list[int] = []
        while not matcher.is_stopped() and not matcher.is_accepting():
            if len(written) >= prose.max_tokens and matcher.validate_tokens(list(prose.closing)) == len(prose.closing):
                written.extend(prose.closing)
                row.waiting.extend(prose.closing)
                break
            (logits,) = yield from row.score(NO_TREE, NO_DRAFT)
            allowed = torch.frombuffer(bytearray(matcher.compute_logit_bias()), dtype=torch.uint8)[: logits.shape[0]]
            barred = torch.ones(logits.shape[0], dtype=torch.bool)
            barred[: allowed.shape[0]] = allowed == 0
            score, best = logits.masked_fill(barred.to(logits.device), -torch.inf).max(dim=-1)
            finite([float(score)])  # a maximum is no number where one of its numbers is none
            token = int(best)
            if not matcher.consume_token(token):
                raise ModelUnsupportedError(f"llguidance refused its own token: {matcher.get_error()}")
            written.append(token)
            row.waiting.append(token)
        text: bytes = prose.tokenizer.decode_bytes(written)
        return text.removesuffix(b'"}')


def _tree(trie: Trie, carried: Sequence[int], start: int, scored: Sequence[int]) -> Tree:
    """Nodes below a start, some of which are scored."""
    at = {node: index for index, node in enumerate(carried)}
    paths = [trie.ancestors(node, start) for node in carried]
    return Tree(carried, [trie.token[node] for node in carried], paths, [at[node] for node in scored])


def _score_whole(row: Row, trie: Trie, draft: Draft = NO_DRAFT) -> Steps[list[float]]:
    """Log-probability of each candidate's tokens, over the whole vocabulary, in one pass; indexed by candidate."""
    carried = trie.inner()
    logits = yield from row.score(_tree(trie, carried, ROOT, carried), draft)
    scored = [ROOT, *carried]
    edges = [(line, child) for line, node in enumerate(scored) for child in trie.children[node]]
    lines, children = [line for line, _ in edges], [child for _, child in edges]
    # In single precision: a sum over a large vocabulary is most of the work outside the model. What is not a number in a line is in it.
    sums = logits.float().logsumexp(dim=-1).double()
    picked = logits[lines, [trie.token[child] for child in children]].double()
    steps = finite((picked - sums[lines]).tolist())
    total = [0.0] * len(trie.token)
    scores = [0.0] * (max(trie.candidate) + 1)
    row.last_scores = dict(zip(children, picked.tolist(), strict=True))
    for child, step in zip(children, steps, strict=True):  # breadth first: the parent's total is there
        total[child] = total[trie.parent[child]] + step
        if trie.candidate[child] >= 0:
            scores[trie.candidate[child]] = total[child]
    return scores


def _walk_scored(scores: Mapping[int, float], trie: Trie) -> int:
    """The leaf that greedy reaches where every node is scored; the lowest token wins a tie, as argmax has it."""
    node = ROOT
    while trie.candidate[node] < 0:
        node = max(trie.children[node], key=lambda child: scores[child])
    return trie.candidate[node]


def _greedy_children(logits: torch.Tensor, scored: Sequence[int], trie: Trie) -> dict[int, int]:
    """For each scored node that branches, the child that greedy takes; one transfer from the device."""
    edges = [(line, child) for line, node in enumerate(scored) for child in trie.children[node]]
    picked = finite(logits[[line for line, _ in edges], [trie.token[child] for _, child in edges]].tolist())
    best: dict[int, tuple[float, int]] = {}
    for (line, child), score in zip(edges, picked, strict=True):
        node = scored[line]
        if node not in best or score > best[node][0]:
            best[node] = (score, child)
    return {node: child for node, (_, child) in best.items()}


def _best(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=scores.__getitem__)


def _path(trie: Trie, candidate: int) -> list[int]:
    leaf = trie.candidate.index(candidate)
    return [trie.token[node] for node in reversed(trie.ancestors(leaf, ROOT))]
