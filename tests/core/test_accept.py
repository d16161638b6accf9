"""What an accepted change leaves behind: the record, the same numbers from the status alone, and rows read when they are asked for."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from golden_worlds import load

from tradewind.api.ab_experiment import ABExperiment
from tradewind.cli.experiment_file import experiment_of
from tradewind.core.ab_experiment import Turn
from tradewind.core.ab_experiment.observe import observe
from tradewind.core.decision import RecordVerdict
from tradewind.core.explain import Node, Ref, explain
from tradewind.core.world import OfExperiment
from tradewind.trading.evidence import StoredEvidence

PAIR = ("ab_experiment", "accepted-and-better-is-promoted")


def test_the_stored_verdict_carries_what_was_accepted() -> None:
    case = load(*PAIR)
    (record,) = [effect for effect in case.decide().effects if isinstance(effect, RecordVerdict)]
    assert [entry["block"] for entry in record.evidence["accepted"]] == [2]
    assert record.evidence["accepted"][0]["changes"] == [{"arm": "baseline", "known": ["api/fp1"], "now": "api/fp2"}]
    plain = load("ab_experiment", "promote-leads-to-decided").decide()
    assert all("accepted" not in e.evidence for e in plain.effects if isinstance(e, RecordVerdict))


def test_the_status_alone_gives_the_statistic_of_the_operator() -> None:
    case = load(*PAIR)
    decided = case.after(case.decide())
    read = experiment_of(decided.resource.model_dump(mode="json", by_alias=True, exclude_none=True))
    spec = Turn(case.resource, case.seen, case.now).spec  # type: ignore[arg-type]
    assert read.spec == spec
    assert read.spec.accepts[0].block == 2
    assert read.decided_at == case.now


def test_an_accept_acts_once_and_a_new_request_acts_again() -> None:
    case = load("ab_experiment", "accept-a-changed-baseline")
    for _ in range(3):
        case = case.after(case.decide())
    experiment = case.resource
    assert isinstance(experiment, ABExperiment)
    assert len(experiment.status.accepted or ()) == 1
    annotations = {"tradewind.dev/accept": "r2", "tradewind.dev/by": "bob"}
    metadata = experiment.metadata.model_copy(update={"annotations": annotations})
    again = SimpleNamespace(resource=experiment.model_copy(update={"metadata": metadata}))
    status: Any = type(case)(case.kind, "", case.now + timedelta(minutes=1), again.resource, case.seen).decide().status
    assert status.last_handled["accept"] == "r2"
    assert len(status.accepted) == 1  # nothing has changed since
    assert status.condition("Accepted").reason == "NothingToAccept"


async def test_a_replay_between_two_blocks_reads_the_rows_where_accept_is_asked_for() -> None:
    case = load("ab_experiment", "replay-between-two-blocks")
    experiment = case.resource
    assert isinstance(experiment, ABExperiment)

    class Stored:
        """The facts of the case, as a database gives them."""

        reads = 0

        async def of_experiment(self, *_: Any) -> OfExperiment:
            return OfExperiment(0, case.seen.epochs, True, case.seen.clock)

        async def settle_papers(self, *_: Any) -> None:
            pass

        async def evidence(self, *_: Any) -> Any:
            self.reads += 1
            seen = load(*PAIR).seen
            return StoredEvidence(seen.table, seen.requests, seen.lost)

    database = Stored()
    world: Any = SimpleNamespace(
        get=lambda *_: case.seen.endpoint, by_name=lambda *_: {}, database=database, memory=lambda _: None
    )
    assert (await observe(experiment, world)).table is None
    annotations = {"tradewind.dev/accept": "r1"}
    metadata = experiment.metadata.model_copy(update={"annotations": annotations})
    assert (await observe(experiment.model_copy(update={"metadata": metadata}), world)).table is not None
    assert database.reads == 1


def test_explain_names_the_remedy() -> None:
    case = load("ab_experiment", "baseline-changed-holds-promotion")
    body = case.resource.model_copy(update={"status": case.decide().status}).model_dump(mode="json", by_alias=True)
    lines = explain(Node(Ref(body["apiVersion"], "ABExperiment", "ab"), body), (), case.now)
    assert any(line.wrong and "tradewind accept" in line.remedy for line in lines)
