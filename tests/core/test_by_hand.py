"""Champions by hand, with the Endpoint and its experiment at once: in any order, killed anywhere, the books are true.

Also what is refused, each with its reason, and that a refused request is never looked at again.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from golden_worlds import Case, build, load, version

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.ab_experiment_status import ABExperimentPhase
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.core.conditions import is_true
from tradewind.core.decision import Apply, PublishEpoch, RecordPromotion, RecordVerdict
from tradewind.core.endpoint import TERMINAL, Promotion
from tradewind.core.identity import is_same
from tradewind.trading.routing import ROUTING_KEY, Routing

ADAPTER = "a" * 64
PROMOTE = {"tradewind.dev/promote": "v2/r1", "tradewind.dev/by": "ada", "tradewind.dev/reason": "v2 is cheaper"}
ROLLBACK = {"tradewind.dev/rollback": "r1", "tradewind.dev/by": "ada"}
VERSIONS = {"deepseek-api": {}, "v0": {}, "v1": {"sha256": ADAPTER}, "v2": {"sha256": "b" * 64}}


def asked(annotations: dict[str, str], **more: Any) -> Case:
    """An Endpoint whose champion is v1 and was deepseek-api before, with these annotations."""
    status = {
        "phase": "Ready",
        "championRef": {"name": "v1", "uid": "uid-v1", "sha256": ADAPTER},
        "previousChampionRef": {"name": "deepseek-api", "uid": "uid-deepseek-api"},
    }
    resource = {"metadata": {"annotations": annotations}, "status": status | more.pop("status", {})}
    facts = {"versions": VERSIONS, "promotion": {"version": "v1", "sha256": ADAPTER, "first": None}}
    return build("endpoint", {"resource": resource, "facts": {**facts, **more}})


def settled(case: Case) -> Case:
    """After some turns with nobody else about."""
    for _ in range(4):
        case = case.after(case.decide())
    return case


def condition(case: Case) -> Any:
    return case.resource.status.condition("ChampionByHand")  # type: ignore[attr-defined]


# --- refused ---------------------------------------------------------------------------------------------------------


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in PROMOTE.items() if not key.endswith(f"/{name}")}


@pytest.mark.parametrize(
    ("annotations", "facts", "reason", "told"),
    [
        (without("reason"), {}, "ReasonMissing", "tradewind.dev/reason"),
        (PROMOTE | {"tradewind.dev/reason": "  "}, {}, "ReasonMissing", "tradewind.dev/reason"),
        (PROMOTE | {"tradewind.dev/promote": "v2"}, {}, "MalformedRequest", "VERSION/REQUEST-ID"),
        (PROMOTE | {"tradewind.dev/promote": "v2/"}, {}, "MalformedRequest", "VERSION/REQUEST-ID"),
        (PROMOTE | {"tradewind.dev/promote": "V2/r1"}, {}, "MalformedRequest", "VERSION/REQUEST-ID"),
        (PROMOTE | {"tradewind.dev/promote": "v2/r\0"}, {}, "MalformedRequest", "VERSION/REQUEST-ID"),
        (ROLLBACK | {"tradewind.dev/rollback": "r\0"}, {}, "MalformedRequest", "REQUEST-ID"),
        (PROMOTE | {"tradewind.dev/reason": "\0\n"}, {}, "ReasonMissing", "tradewind.dev/reason"),
        (PROMOTE | {"tradewind.dev/promote": "v9/r1"}, {}, "VersionMissing", "v9 does not exist"),
        (PROMOTE | {"tradewind.dev/promote": "v1/r1"}, {}, "AlreadyChampion", "v1 is champion already"),
        (PROMOTE, {"versions": VERSIONS | {"v2": {"ready": False}}}, "VersionNotReady", "v2 is not Ready"),
        (PROMOTE, {"used": ["promote=v2/r1"]}, "RequestUsed", "use a new one"),
        (PROMOTE, {"status": {"championRef": None}}, "ChampionUnknown", "ask again"),
        (ROLLBACK, {"status": {"previousChampionRef": None}}, "NoPreviousChampion", "v1 is the first champion"),
        (ROLLBACK | {"tradewind.dev/rollback": "v0/r1"}, {}, "NoPreviousChampion", "leads to deepseek-api, not to v0"),
        (ROLLBACK | {"tradewind.dev/rollback": "v1/r1"}, {}, "AlreadyChampion", "somebody else may have rolled back"),
        (ROLLBACK | {"tradewind.dev/rollback": "V0/r1"}, {}, "MalformedRequest", "REQUEST-ID"),
        (ROLLBACK, {"versions": {"v1": {"sha256": ADAPTER}}, "status": {"previousChampionRef": {"name": "gone"}}},
         "VersionMissing", "gone does not exist"),
        (ROLLBACK, {"versions": VERSIONS | {"deepseek-api": {"ready": False}}}, "VersionNotReady", "is not Ready"),
        (ROLLBACK, {"status": {"previousChampionRef": {"name": "v2", "uid": "uid-v2", "sha256": "c" * 64}}},
         "VersionChanged", "v2 is not what it was"),
        (ROLLBACK, {"status": {"previousChampionRef": {"name": "v0", "uid": "another"}}}, "VersionChanged", "v0 is not what"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_once_with_its_reason(
    annotations: dict[str, str], facts: dict[str, Any], reason: str, told: str
) -> None:
    case = asked(annotations, **facts)
    before = case.resource.status.champion_ref  # type: ignore[attr-defined]
    decision = case.decide()
    assert not [e for e in decision.effects if isinstance(e, RecordPromotion) and e.request is not None]
    after = settled(case)
    status: Any = after.resource.status
    assert (condition(after).status, condition(after).reason) == ("False", reason)
    assert told in condition(after).message
    assert [entry.reason for entry in status.history] == [reason]
    assert status.by_hand is None
    assert before is None or is_same(status.champion_ref, before)
    healed = replace(after, seen=replace(after.seen, versions=asked(annotations).seen.versions, used=frozenset()))
    assert settled(healed).resource.status.champion_ref == status.champion_ref  # type: ignore[attr-defined]


def test_a_version_that_is_being_deleted_is_refused() -> None:
    case = asked(PROMOTE)
    v2 = case.seen.versions["v2"]
    going = v2.model_copy(update={"metadata": v2.metadata.model_copy(update={"deletion_timestamp": case.now})})
    after = settled(replace(case, seen=replace(case.seen, versions={**case.seen.versions, "v2": going})))
    assert condition(after).reason == "VersionDeleted"


def test_an_artifact_that_changes_after_the_request_was_taken_is_not_promoted() -> None:
    case = asked(PROMOTE)
    taken = case.after(case.decide())
    other = version("v2", {"sha256": "c" * 64})
    after = settled(replace(taken, seen=replace(taken.seen, versions={**taken.seen.versions, "v2": other})))
    assert condition(after).reason == "VersionChanged"
    assert after.resource.status.champion_ref.name == "v1"  # type: ignore[attr-defined]
    assert after.seen.promotion.request is None


def test_a_champion_that_was_made_anew_may_be_promoted_under_its_name() -> None:
    """The way out of ChampionMissing."""
    case = asked(PROMOTE | {"tradewind.dev/promote": "v1/r1"}, versions=VERSIONS | {"v1": {"sha256": "d" * 64}})
    assert not is_true(case.decide().status.conditions, "ChampionAvailable")  # type: ignore[attr-defined]
    status: Any = settled(case).resource.status
    assert (status.champion_ref.sha256, status.previous_champion_ref.name) == ("d" * 64, "deepseek-api")


# --- what a request does ---------------------------------------------------------------------------------------------


def test_a_second_rollback_goes_back_again() -> None:
    case = settled(asked(ROLLBACK))
    for request, champion, previous in (("r2", "v1", "deepseek-api"), ("r3", "deepseek-api", "v1")):
        status: Any = case.resource.status
        assert (status.champion_ref.name, status.previous_champion_ref.name) == (previous, champion)
        metadata = case.resource.metadata.model_copy(update={"annotations": {"tradewind.dev/rollback": request}})
        case = settled(replace(case, resource=case.resource.model_copy(update={"metadata": metadata})))
    assert case.seen.used == {"rollback=r1", "rollback=r2", "rollback=r3"}


def test_two_people_who_name_where_they_go_back_to_roll_back_once() -> None:
    case = settled(asked({"tradewind.dev/rollback": "deepseek-api/r1"}))
    annotations = {"tradewind.dev/rollback": "deepseek-api/r2"}
    metadata = case.resource.metadata.model_copy(update={"annotations": annotations})
    after = settled(replace(case, resource=case.resource.model_copy(update={"metadata": metadata})))
    assert condition(after).reason == "AlreadyChampion"
    assert after.resource.status.champion_ref.name == "deepseek-api"  # type: ignore[attr-defined]


def test_of_two_requests_at_once_the_rollback_is_carried_out_and_the_promotion_dropped() -> None:
    after = settled(asked(PROMOTE | ROLLBACK))
    status: Any = after.resource.status
    assert status.champion_ref.name == "deepseek-api"
    assert [entry.reason for entry in status.history] == ["Replaced", "RolledBackByHand"]
    assert set(status.last_handled) == {"promote", "rollback"}


def test_a_refused_rollback_drops_no_promotion() -> None:
    after = settled(asked(PROMOTE | ROLLBACK, status={"previousChampionRef": None}))
    status: Any = after.resource.status
    assert status.champion_ref.name == "v2"
    assert [entry.reason for entry in status.history] == ["NoPreviousChampion", "PromotedByHand"]


def test_what_is_recorded_is_text_that_a_database_takes() -> None:
    case = asked(PROMOTE | {"tradewind.dev/reason": "line\none\0", "tradewind.dev/by": "a\0da"})
    case = case.after(case.decide())
    (record,) = [e for e in case.decide().effects if isinstance(e, RecordPromotion)]
    assert (record.requested_by, record.message) == ("a da", "line one")


def test_a_newer_request_takes_the_place_of_one_that_still_waits() -> None:
    case = asked(PROMOTE)
    taken = case.after(case.decide())
    metadata = taken.resource.metadata.model_copy(update={"annotations": PROMOTE | ROLLBACK})
    after = settled(replace(taken, resource=taken.resource.model_copy(update={"metadata": metadata})))
    status: Any = after.resource.status
    assert (status.champion_ref.name, status.by_hand) == ("deepseek-api", None)
    assert [entry.reason for entry in status.history] == ["Replaced", "RolledBackByHand"]


def test_an_own_key_is_waited_for_and_said() -> None:
    """A new champion whose API key no gateway has yet is not routed to, and nobody is told that it answers."""
    case = asked({**PROMOTE, "tradewind.dev/promote": "v0/r1"}, mounted=["deepseek-api"])
    routed = case.after(replace(case, resource=case.resource.model_copy(
        update={"metadata": case.resource.metadata.model_copy(update={"annotations": {}})})).decide())  # fmt: skip
    after = settled(replace(routed, resource=case.resource))
    assert after.resource.status.champion_ref.name == "v0"  # type: ignore[attr-defined]
    assert after.seen.routing.champion == "v1"
    applied: Any = after.resource.status.condition("WeightsApplied")  # type: ignore[attr-defined]
    assert applied.status == "False"
    assert "v1 still answers" in applied.message


# --- with an experiment, in any order, killed anywhere ------------------------------------------------------------------

PHASES = {
    "start": "given its place, not started",
    "running": "gathers evidence",
    "paused-stays-paused": "paused",
    "approval-is-waited-for": "decided",
    "ramp-next-step": "ramps",
    "ramp-succeeds": "is promoted in this very moment",
}


@dataclass
class Books:
    """An Endpoint, its experiment and the database, as two actors share them; what happened, in order."""

    point: Case
    trial: Case
    promotions: list[RecordPromotion] = field(default_factory=list)
    verdicts: list[RecordVerdict] = field(default_factory=list)
    routed: list[Routing] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    down: bool = False

    def turn_of_endpoint(self) -> Iterator[None]:
        case = self.point
        newest = self.promotions[-1] if self.promotions else None
        stored = {p.request for p in self.promotions if p.request is not None}
        known = case.seen.promotion
        if newest is not None:
            known = Promotion(newest.version, newest.sha256, newest.spec_sha256, False, newest.request)
        yield from self.carried(
            "point",
            case,
            experiments=(self.trial.resource,),
            promotion=None if self.down else known,
            used=frozenset() if self.down else frozenset(stored),
            routing=self.routed[-1] if self.routed else None,
            database_error="down" if self.down else None,
        )

    def turn_of_experiment(self) -> Iterator[None]:
        facts: dict[str, Any] = {"endpoint": self.point.resource, "database_error": "down" if self.down else None}
        if self.down:
            facts |= {"table": None, "requests": None, "epochs": ()}
        yield from self.carried("trial", self.trial, **facts)

    def carried(self, name: str, case: Case, **facts: Any) -> Iterator[None]:
        """One turn; whoever stops in between was killed, or somebody else came first."""
        if case.resource.status.phase in TERMINAL:  # type: ignore[attr-defined]
            return
        version_read = case.resource.status
        decision = case.decide(**facts)
        yield
        for effect in decision.effects:
            if isinstance(effect, RecordPromotion | RecordVerdict | PublishEpoch) and self.down:
                return
            self.do(effect)
            yield
        now: Case = getattr(self, name)
        if now.resource.status is version_read:  # else the API server says: conflict
            setattr(self, name, replace(now, resource=now.after(decision).resource))

    def do(self, effect: Any) -> None:
        match effect:
            case RecordPromotion():
                known = {(p.request, p.experiment_uid, p.version) for p in self.promotions}
                keys = {p.request for p in self.promotions if p.request is not None}
                if (effect.request, effect.experiment_uid, effect.version) in known or effect.request in keys:
                    return
                self.promotions.append(effect)
                self.log.append(f"promotion {effect.version}")
            case RecordVerdict():
                last = self.verdicts[-1].decision if self.verdicts else None
                if last is None or (last == "promote" != effect.decision):
                    self.verdicts.append(effect)
                    self.log.append(f"verdict {effect.decision}")
            case Apply(manifest) if manifest["kind"] == "ConfigMap":
                document = Routing.from_json(manifest["data"][ROUTING_KEY])
                self.routed.append(document)
                self.log.append(f"routed {document.champion}")


def books(phase: str, annotations: dict[str, str]) -> Books:
    trial = load("ab_experiment", phase)
    point = build(
        "endpoint",
        {
            "now": trial.now.isoformat(),
            "resource": {
                "metadata": {"annotations": annotations},
                "status": {
                    "phase": "Ready",
                    "championRef": {"name": "deepseek-api", "uid": "uid-deepseek-api"},
                    "previousChampionRef": {"name": "v0", "uid": "uid-v0"},
                    "activeExperiment": {"name": "ab", "uid": "uid-ab"},
                },
            },
            "facts": {"versions": VERSIONS, "promotion": {"version": "deepseek-api", "first": None}},
        },
    )
    trial = replace(trial, seen=replace(trial.seen, versions=point.seen.versions))
    assert isinstance(point.resource, Endpoint)
    assert isinstance(trial.resource, ABExperiment)
    assert all(isinstance(v, ModelVersion) for v in point.seen.versions.values())
    return Books(point, trial)


def play(found: Books, chance: random.Random) -> None:
    """Both actors in small steps; they die, and the database comes and goes. Then a few turns in peace."""
    turns: dict[str, Iterator[None]] = {}
    starts = {"point": found.turn_of_endpoint, "trial": found.turn_of_experiment}
    for _ in range(chance.randrange(90)):
        found.down = chance.random() < (0.7 if found.down else 0.1)
        if chance.random() < 0.08:
            turns.clear()  # the operator was killed
        name = chance.choice(("point", "trial"))
        turn = turns.setdefault(name, starts[name]())
        if next(turn, "over") == "over":
            del turns[name]
    found.down = False
    for _ in range(6):
        for start in starts.values():
            list(start())


@pytest.mark.parametrize("verb", ["promote", "rollback"])
@pytest.mark.parametrize("phase", PHASES)
def test_the_books_are_true_in_every_order_and_whoever_is_killed(phase: str, verb: str) -> None:
    started = load("ab_experiment", phase).resource.status.t0 is not None  # type: ignore[attr-defined]
    for seed in range(40):
        found = books(phase, PROMOTE if verb == "promote" else ROLLBACK)
        play(found, random.Random(f"{phase}/{verb}/{seed}"))
        status: Any = found.point.resource.status
        trial: Any = found.trial.resource.status
        said = (seed, found.log, status.history)
        assert status.by_hand is None, said
        hands = [p for p in found.promotions if p.request is not None]
        earned = [p for p in found.promotions if p.request is None]
        assert len(hands) <= 1, said
        # Who promotes: one hand, after the experiment where that was faster, never for the same place.
        assert [p.version for p in earned] in ([], ["v1"]), said
        assert bool(earned) == (trial.phase is ABExperimentPhase.SUCCEEDED), said
        ramping = phase in ("approval-is-waited-for", "ramp-next-step", "ramp-succeeds")
        target = "v2" if verb == "promote" else "deepseek-api" if ramping else "v0"
        assert status.champion_ref.name == target, said
        assert len(hands) == (0 if target == "deepseek-api" and not earned else 1), said
        if started:
            assert [v.decision for v in found.verdicts][-1:] == ([] if earned else ["abort"]), said
            assert trial.phase is (ABExperimentPhase.SUCCEEDED if earned else ABExperimentPhase.ABORTED), said
        if hands and found.verdicts:
            assert found.log.index("verdict abort") < found.log.index(f"promotion {target}"), said
        for document in found.routed:  # nobody is sent to an arm of an experiment that the champion left
            assert document.champion == "deepseek-api" or document.experiment is None or not started, said
        for name in {"v1", "v2", "v0"} & {document.champion for document in found.routed}:
            assert found.log.index(f"promotion {name}") < found.log.index(f"routed {name}"), said


def test_a_misspelt_request_is_said_and_forgotten_once_it_is_mended() -> None:
    case = load("endpoint", "running-experiment-is-routed")
    assert case.decide().status.condition("AnnotationsKnown") is None  # type: ignore[attr-defined]

    def annotated(case: Case, **annotations: str) -> Case:
        known = {f"tradewind.dev/{name}": value for name, value in annotations.items()}
        metadata = case.resource.metadata.model_copy(update={"annotations": known})
        return replace(case, resource=case.resource.model_copy(update={"metadata": metadata}))

    wrong = annotated(case, Promote="v2/1", by="me")
    decision = wrong.decide()
    condition: Any = decision.status.condition("AnnotationsKnown")  # type: ignore[attr-defined]
    assert (condition.status, condition.reason) == ("False", "AnnotationUnknown")
    assert "tradewind.dev/Promote: unknown" in condition.message
    assert "did you mean tradewind.dev/promote?" in condition.message
    mended = annotated(wrong.after(decision), by="me").decide()
    condition = mended.status.condition("AnnotationsKnown")  # type: ignore[attr-defined]
    assert (condition.status, condition.reason) == ("True", "AnnotationsKnown")
