"""Passes of the model over the rows that are being written: which tokens go in together, and what is read only once.

A pass with a mask over a whole long prompt is never made: such a mask grows with the square of its tokens, so what is more than
`CHUNK` is read causally before, in pieces. What all rows together bring to a pass is bounded by `CHUNK`, too.

Belongs here: putting a pass together, making it, taking it apart. Does not belong here: what is chosen by it (decoder.py), and
whose turn it is to be answered (batcher.py).
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

import torch

from tradewind.predictor.packing import Segment, packed
from tradewind.predictor.row import NO_DRAFT, NO_TREE, Row, Want

CHUNK: Final = 1024
"""Tokens that one pass reads at most; a prompt within them is read together with the first scores."""
LINES: Final = 128
"""Tokens of one pass after which scores are wanted, at most: each takes a number for every token of the vocabulary."""
_LEAST_CHUNK: Final = 64
_LEAST_SHARED: Final = 8  # a shorter common beginning is not worth it
_KEPT_ROWS: Final = 8


class Passes:
    """The calls of one model. Not thread-safe."""

    def __init__(self, model: Any) -> None:
        """Args: model: a transformers causal language model with sdpa or eager attention, in eval mode."""
        self.packs = True
        """Whether several rows may go into one pass."""
        self.whole = False
        """Whether layers are given all that its rows attend to; see `PackedCache`."""
        self.rows = 0
        """How many were in the last one."""
        self._model = model
        self._static: list[Row] = []
        self._kept: deque[Row] = deque(maxlen=_KEPT_ROWS)

    def row(self, tokens: Sequence[int]) -> Row:
        """A row of a text, of which nothing is read."""
        return Row(self._model.config, tokens)

    def read_for_good(self, tokens: Sequence[int]) -> None:
        """Read what many texts begin with, and keep it."""
        if len(tokens) >= _LEAST_SHARED:
            row = self.row(tokens)
            while row.waiting:
                self.run([Want(row)])
            row.rest()
            self._static.append(row)

    def keep(self, row: Row, room: int) -> None:
        """Keep a row that is answered, for texts that begin like it.

        Args:
            row: the row.
            room: tokens that all kept rows together may have.
        """
        row.rest()
        self._kept.append(row)
        self.forget(room)

    def forget(self, room: int) -> None:
        """Let rows go, the longest unused ones first, until what is kept has no more than so many tokens."""
        while self._kept and sum(len(row.cached) for row in self._kept) > room:
            self._kept.popleft()

    def run(self, wants: Sequence[Want]) -> list[torch.Tensor | None]:
        """One pass over as many rows as go into it, the first ones first.

        Args:
            wants: of rows that differ, those first that have waited longest.

        Returns:
            For each want its logits [1 + scored nodes + choices, vocabulary], or None where more passes are needed: for what is too long for
            one, or since the pass was full.
        """
        planned = self._plan(wants)
        segments = list(planned.values())
        logits = self._alone(segments[0]) if len(segments) == 1 else self._together(segments)
        self.rows = len(segments)
        results: list[torch.Tensor | None] = [None] * len(wants)
        for (index, segment), part in zip(
            planned.items(), torch.split(logits, [len(segment.lines) for segment in segments]), strict=True
        ):
            row = segment.row
            row.passes += 1
            row.cache.crop(segment.chain - len(segment.ids))
            row.took(segment.chain)
            results[index] = part if segment.lines else None
        return results

    def _plan(self, wants: Sequence[Want]) -> dict[int, Segment]:
        """The segments of a pass by the index of their want."""
        planned: dict[int, Segment] = {}
        room, lines = CHUNK, LINES
        rows = [want.row for want in wants]
        for index, want in enumerate(wants):
            if planned and not self.packs:
                break
            row = want.row
            lender, borrowed = self._shared(row, rows, list(planned.values()))
            begun, left = len(row.cached) + borrowed, len(row.waiting) - borrowed
            chunk = self._chunk(begun + left)
            whole = left <= chunk
            if not whole:
                left = chunk if len(wants) == 1 else min(chunk, CHUNK // 2)  # a long one leaves room for short ones
            size = left + (want.extra if whole else 0)
            if (size <= room and want.lines <= lines) or not planned:
                if lender is not None:
                    row.skip(len(row.cached) + borrowed)
                    row.borrowed = True
                planned[index] = self._segment(want, left, whole=whole, lender=lender)
                room -= size
                lines -= len(planned[index].lines)
        return planned

    def _shared(self, row: Row, rows: Iterable[Row], before: Sequence[Segment]) -> tuple[Segment | None, int]:
        """Begin a row with what has been read of it; or the segment of this pass that will have read more, and how many more tokens."""
        most = len(row.waiting) - 1  # its last token is its own, for the scores after it
        if most < _LEAST_SHARED:
            return None, 0
        text = [*row.cached, *row.waiting[:most]]
        now = [segment.row for segment in before]
        read = [*self._static, *self._kept, *(other for other in rows if other is not row and other not in now)]
        source = max(read, key=lambda other: _common(text, other.cached), default=None)
        if source is not None and (tokens := _common(text, source.cached)) >= len(row.cached) + _LEAST_SHARED:
            row.begin_with(source, tokens)
            row.borrowed |= source not in self._static and source not in self._kept
            if source in self._kept:  # what is used again is let go last
                self._kept.remove(source)
                self._kept.append(source)
        best, borrowed = None, _LEAST_SHARED - 1
        for segment in before:
            other = segment.row
            tokens = _common(text, [*other.cached, *other.waiting[: segment.chain]]) - len(row.cached)
            if tokens > borrowed:
                best, borrowed = segment, tokens
        return (None, 0) if best is None else (best, borrowed)

    def _chunk(self, total: int) -> int:
        """Tokens of a pass. Eager attention keeps a score for each pair of tokens and head: no more than those of `CHUNK` alone."""
        if self._attention != "eager" or total <= CHUNK:
            return CHUNK
        return max(_LEAST_CHUNK, CHUNK * CHUNK // total)

    def _segment(self, want: Want, count: int, *, whole: bool, lender: Segment | None) -> Segment:
        """What a want brings to a pass: so many of its waiting tokens, and where that is all of them, its tree and draft."""
        row = want.row
        past = len(row.cached)
        tree, draft = (want.tree, want.draft) if whole else (NO_TREE, NO_DRAFT)
        drafted = (range(-1, -length - 1, -1) for length in range(1, len(draft.tokens) + 1))
        paths = [*tree.paths, *drafted]
        last = past + count - 1
        lines = (0, *(1 + at for at in tree.scored), *(len(tree.nodes) + after for after in draft.choices))
        return Segment(
            row=row,
            ids=[*row.waiting[:count], *tree.tokens, *draft.tokens],
            positions=[*range(past, past + count), *(last + len(path) for path in paths)],
            mask=self._mask(past, count, paths, [*tree.nodes, *range(-1, -len(draft.tokens) - 1, -1)]),
            chain=count,
            lines=[count - 1 + line for line in lines] if whole else [],
            lender=lender,
        )

    def _mask(self, past: int, chain: int, paths: Sequence[Sequence[int]], nodes: Sequence[int]) -> torch.Tensor | None:
        """As the model's attention takes masks: eager attention adds them to its scores, where True would count 1."""
        eager = self._attention == "eager"
        if not paths and (chain == 1 or (past == 0 and not eager)):
            return None
        seen = _tree_mask(past, chain, paths, nodes).to(self._model.device)
        if not eager:
            return seen
        dtype = self._model.dtype
        return torch.zeros_like(seen, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)

    @property
    def _attention(self) -> str:
        name: str = self._model.config.get_text_config()._attn_implementation
        return name

    def _call(self, segments: Sequence[Segment], mask: torch.Tensor | None, cache: Any) -> torch.Tensor:
        """Logits [all lines, vocabulary], segment by segment."""
        device = self._model.device
        begun = 0
        lines: list[int] = []
        for segment in segments:
            lines.extend(begun + line for line in segment.lines)
            begun += len(segment.ids)
        output = self._model(
            input_ids=torch.tensor([[token for segment in segments for token in segment.ids]], device=device),
            position_ids=torch.tensor([[at for segment in segments for at in segment.positions]], device=device),
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=torch.tensor(lines, dtype=torch.long, device=device),
        )
        logits: torch.Tensor = output.logits[0]
        return logits

    def _alone(self, segment: Segment) -> torch.Tensor:
        """Of one row, by the model as it is."""
        return self._call([segment], segment.mask, segment.row.cache)

    def _together(self, segments: Sequence[Segment]) -> torch.Tensor:
        with packed(self._model, segments, whole=self.whole) as cache:
            # The mask is not looked at: each row has its own. Of four dimensions, it is taken for one that is made.
            nothing = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=self._model.device)
            return self._call(segments, nothing, cache)


def _common(text: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two lists have in common at the beginning; by halves, since lists compare faster than their items do."""
    low, high = 0, min(len(text), len(other)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if text[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _tree_mask(past: int, chain: int, paths: Sequence[Sequence[int]], nodes: Sequence[int]) -> torch.Tensor:
    """Who sees whom, bool [1, 1, chain + nodes, past + chain + nodes]: the chain is causal, a node sees its own path."""
    size = chain + len(paths)
    mask = torch.ones(size, past + size, dtype=torch.bool).tril_(past)
    if paths:
        mask[chain:, past + chain :] = False
        column = {node: past + chain + index for index, node in enumerate(nodes)}
        lines = [chain + index for index, path in enumerate(paths) for _ in path]
        mask[lines, [column[node] for path in paths for node in path]] = True
    return mask[None, None]
