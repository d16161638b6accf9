import itertools

import pytest

from tradewind.training.outcome import JobError


def test_a_step_is_dealt_in_parts_of_as_many_samples_and_about_as_many_tokens() -> None:
    from tradewind.training.collator import deal

    for size, count in itertools.product((1, 2, 3, 4), range(14)):
        lengths = [100 + 37 * n % 90 for n in range(count)]
        parts = deal(lengths, size)
        assert sorted(itertools.chain.from_iterable(parts)) == list(range(count))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        if count % size == 0 and count:
            tokens = [sum(lengths[index] for index in part) for part in parts]
            assert max(tokens) - min(tokens) <= max(lengths) - min(lengths)


def test_pairs_of_a_part_are_those_of_the_whole_step() -> None:
    from tradewind.training.collator import PlannedBatches
    from tradewind.training.preflight import TokenizedSample

    samples = [TokenizedSample((n,) * (3 + n) + (10 + n,), 2, 1.0) for n in range(5)]
    plan = [(0, 1, 2, 3, 4)]
    whole = PlannedBatches(samples, plan, True)[0]
    pairs = dict(zip(whole.samples, whole.pairs, strict=True))
    parts = [PlannedBatches(samples, plan, True, rank, 2)[0] for rank in range(2)]
    assert sorted(len(part.samples) for part in parts) == [2, 3]
    for part in parts:
        assert [pairs[sample] for sample in part.samples] == list(part.pairs)
    last = PlannedBatches(samples, [(4,)], False, 1, 2)[0]
    assert last.samples == last.pairs == ()


@pytest.mark.parametrize(
    ("environment", "stopped", "reason", "words"),
    [
        ({"WORLD_SIZE": "2"}, False, "InvalidConfiguration", "RANK, MASTER_ADDR, MASTER_PORT: not set"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, True, "Interrupted", "while waiting for the other nodes"),
        ({"WORLD_SIZE": "2", "RANK": "1"}, True, "Interrupted", "while waiting for the other nodes"),
    ],
)
def test_who_finds_nobody_says_so(environment, stopped, reason, words) -> None:
    from train_rig import free_port

    from tradewind.training.peers import join

    if len(environment) > 1:
        environment = environment | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    with pytest.raises(JobError, match=words) as caught:
        join(environment, silence_seconds=5, stopped=lambda: stopped)
    assert caught.value.reason == reason


def test_nodes_that_do_not_meet_are_told_what_to_look_at(monkeypatch) -> None:
    from train_rig import free_port

    from tradewind.training import peers

    monkeypatch.setattr(peers, "MEETING_SECONDS", 1.0)
    environment = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    with pytest.raises(JobError, match=r"spec\.queueName") as caught:
        peers.join(environment, silence_seconds=5, stopped=lambda: False)
    assert caught.value.reason == "NodesMissing"


def test_alone_there_is_nobody_to_join() -> None:
    from tradewind.training.peers import join
    from tradewind.training.ranks import Ranks

    assert join({}, silence_seconds=5, stopped=lambda: False) == Ranks()
