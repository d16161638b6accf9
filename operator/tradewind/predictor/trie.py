"""The candidates of one field as token sequences merged on their common beginnings. Pure: no tensors, no tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

ROOT: Final = 0


@dataclass(frozen=True, slots=True)
class Trie:
    """Nodes are numbered breadth first, the root is 0; all tuples are indexed by node.

    Attributes:
        token: the token that leads to a node; -1 for the root.
        parent: the node above; -1 for the root.
        children: the nodes below, by ascending token, so that the first of equal scores is the lowest token.
        depth: tokens from the root.
        candidate: index of the candidate that ends here, at leaves; -1 elsewhere.
        undecided: whether this node or one below it has several children: a pass must score it.
    """

    token: tuple[int, ...]
    parent: tuple[int, ...]
    children: tuple[tuple[int, ...], ...]
    depth: tuple[int, ...]
    candidate: tuple[int, ...]
    undecided: tuple[bool, ...]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]]) -> Self:
        """The trie of the candidates, in their order.

        Raises:
            ValueError: a candidate's tokens are the beginning of another's, so the choice between them is ambiguous.
        """
        token, parent, depth, candidate = [-1], [-1], [0], [-1]
        children: list[tuple[int, ...]] = []
        members = [list(range(len(sequences)))]
        node = 0
        while node < len(token):
            at = depth[node]
            ended = [i for i in members[node] if len(sequences[i]) == at]
            if ended and len(members[node]) > 1:
                raise ValueError(f"candidate {ended[0]} is the beginning of another one")
            candidate[node] = ended[0] if ended else -1
            below: list[int] = []
            for following in sorted({sequences[i][at] for i in members[node] if i not in ended}):
                below.append(len(token))
                token.append(following)
                parent.append(node)
                depth.append(at + 1)
                candidate.append(-1)
                members.append([i for i in members[node] if sequences[i][at] == following])
            children.append(tuple(below))
            node += 1
        undecided = [len(below) > 1 for below in children]
        for node in range(len(token) - 1, 0, -1):
            undecided[parent[node]] = undecided[parent[node]] or undecided[node]
        return cls(tuple(token), tuple(parent), tuple(children), tuple(depth), tuple(candidate), tuple(undecided))

    def inner(self) -> list[int]:
        """Every node but the root and the leaves: what a pass carries to score whole candidates."""
        return [node for node in range(1, len(self.token)) if self.children[node]]

    def undecided_below(self, start: int, limit: int) -> list[int]:
        """Up to `limit` nodes below `start`, nearest first, whose scores may be needed to go on from there."""
        found: list[int] = []
        level = [start]
        while level:
            level = [child for node in level for child in self.children[node] if self.undecided[child]]
            found.extend(level)
        return found[:limit]

    def ancestors(self, node: int, stop: int) -> list[int]:
        """The nodes from `node` itself up to, but without, `stop`."""
        path: list[int] = []
        while node != stop:
            path.append(node)
            node = self.parent[node]
        return path
