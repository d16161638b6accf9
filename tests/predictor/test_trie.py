import pytest

from tradewind.predictor.trie import ROOT, Trie

PERCENT = [(5, 9), (5, 6, 9), (5, 6, 7, 9), (8, 9)]


def test_leaves_spell_their_candidates() -> None:
    trie = Trie.of(PERCENT)
    for index, sequence in enumerate(PERCENT):
        leaf = trie.candidate.index(index)
        assert tuple(trie.token[node] for node in reversed(trie.ancestors(leaf, ROOT))) == sequence


def test_nodes_are_breadth_first_and_children_ascend() -> None:
    trie = Trie.of(PERCENT)
    assert list(trie.depth) == sorted(trie.depth)
    for children in trie.children:
        tokens = [trie.token[child] for child in children]
        assert tokens == sorted(tokens)


def test_only_branching_nodes_are_carried() -> None:
    trie = Trie.of(PERCENT)
    carried = trie.undecided_below(ROOT, 99)
    assert [trie.token[node] for node in carried] == [5, 6]  # 8 and 7 have one way on
    assert trie.undecided_below(ROOT, 1) == carried[:1]


def test_a_candidate_that_begins_another_is_refused() -> None:
    with pytest.raises(ValueError, match="beginning of another"):
        Trie.of([(1, 2), (1, 2, 3)])


def test_a_single_candidate_needs_no_choice() -> None:
    assert Trie.of([()]).candidate == (0,)
