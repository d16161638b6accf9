"""One champion an Endpoint, in any order: promote, rollback, experiments that start, end and vanish, versions that are deleted and
made anew, statuses that are lost, an operator that is killed between two writes, and a second Endpoint beside.

The Endpoints, their experiments and the stages are decided by the product; rows and objects are kept as database and API server do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import permutations
from typing import Any, cast

import pytest
from golden_worlds import Case, build, carried_out, published, version
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.ab_experiment_status import ABExperimentPhase, ABExperimentStatus, VerdictStatus
from tradewind.api.common import Resource, VersionStatusRef
from tradewind.api.endpoint import Endpoint, EndpointStatus
from tradewind.api.model_version import ModelVersion, Stage
from tradewind.core.decision import Apply, Decision, RecordPromotion
from tradewind.core.endpoint import TERMINAL, Promotion
from tradewind.core.endpoint.holders import may_answer
from tradewind.core.identity import is_meant, is_same
from tradewind.core.model_version.observe import observe
from tradewind.trading.routing import Routing

POINTS = ("desk", "trader")
API = "deepseek-api"
OWN = ("v1", "v2")
NAMES = (API, *OWN)
points, names = st.sampled_from((*POINTS, "trader", "trader")), st.sampled_from((*NAMES, "v1"))
mostly, looks = st.sampled_from((True, True, False)), st.sampled_from((3, 0))


def made(name: str, variant: int, *, ready: bool) -> ModelVersion:
    """A version; another variant of a name asks or serves something else."""
    if name != API:
        return version(name, {"sha256": f"{NAMES.index(name)}{variant}" * 32, "ready": ready})
    return version(name, {"spec": {"external": {"model": f"m{variant}"}}, "ready": ready})


@dataclass
class Point:
    """An Endpoint, the experiment of it that there is, and the rows of its promotions, oldest first."""

    case: Case
    trial: Case | None = None
    rows: list[RecordPromotion] = field(default_factory=list)

    @property
    def status(self) -> EndpointStatus:
        return cast("Endpoint", self.case.resource).status

    @property
    def trial_status(self) -> ABExperimentStatus:
        assert self.trial is not None
        return cast("ABExperiment", self.trial.resource).status

    @property
    def newest(self) -> Promotion | None:
        """As the database tells it."""
        if not self.rows:
            return None
        row = self.rows[-1]
        first = row.experiment_uid is None and row.request is None
        return Promotion(row.version, row.sha256, row.spec_sha256, first, row.request, self._before(row.version))

    def _before(self, name: str) -> VersionStatusRef | None:
        for at in reversed(range(len(self.rows))):
            took = self.rows[at]
            if took.version == name and took.previous not in (None, took.version):
                whom = [row for row in self.rows[:at] if row.version == took.previous]
                return ref(whom[-1]) if whom else None
        return None


def ref(row: RecordPromotion) -> VersionStatusRef:
    return VersionStatusRef(name=row.version, sha256=row.sha256, spec_sha256=row.spec_sha256)


class Champions(RuleBasedStateMachine):
    """Everything that may happen, a step at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.versions = {name: made(name, 0, ready=True) for name in NAMES}
        self.points = {name: Point(self._endpoint(name)) for name in POINTS}
        self.turns: dict[tuple[str, str], Iterator[None]] = {}
        self.now = self.points["trader"].case.now
        self.count = 0

    def _endpoint(self, name: str) -> Case:
        facts: Any = {"versions": None, "promotion": None}
        return build("endpoint", {"resource": {"metadata": {"name": name}}, "facts": facts})

    def _number(self) -> int:
        self.count += 1
        return self.count

    # --- what people and the world do ---------------------------------------------------------------------------------

    @rule(point=points, name=names, looks=looks)
    def promote(self, point: str, name: str, looks: int) -> None:
        self._ask(point, promote=f"{name}/r{self._number()}", by="ada", reason="because")
        self.look(point, looks)

    @rule(point=points, looks=looks)
    def rollback(self, point: str, looks: int) -> None:
        self._ask(point, rollback=f"r{self._number()}", by="ada")
        self.look(point, looks)

    @rule(name=names, same=mostly, ready=mostly)
    def make(self, name: str, same: bool, ready: bool) -> None:
        """A version anew, with another spec or the first one, or one whose pods come and go."""
        self.versions[name] = made(name, 0 if same else 1, ready=ready)

    @rule(point=points, candidate=st.sampled_from(OWN), looks=looks)
    def begin(self, point: str, candidate: str, looks: int) -> None:
        """An experiment; one that was there is deleted, also while it runs. After three looks it has started, where it may."""
        uid = f"ab-{self._number()}"
        patch: Any = {
            "resource": {
                "metadata": {"name": "ab", "uid": uid},
                "spec": {"endpointRef": {"name": point}, "candidate": candidate},
                "status": None,
            },
            "facts": {"table": None, "epochs": None, "versions": None},
        }
        self.points[point].trial = build("ab_experiment", patch)
        self.turns.pop((point, "trial"), None)
        self.look(point, looks)

    @rule(point=points, promoted=mostly)
    def judge(self, point: str, promoted: bool) -> None:
        """The evidence says which; its own look at the Endpoint may be older than a request by hand."""
        here = self.points[point]
        if here.trial is None or here.trial_status.t0 is None or here.trial_status.phase in TERMINAL:
            return
        told = {"decision": "promote" if promoted else "rollback", "reason": "Better", "time": self.now}
        phase = ABExperimentPhase.SUCCEEDED if promoted else ABExperimentPhase.ROLLED_BACK
        ended = here.trial_status.model_copy(update={"phase": phase, "verdict": VerdictStatus.model_validate(told)})
        here.trial = replace(here.trial, resource=here.trial.resource.model_copy(update={"status": ended}))

    @rule(point=points, name=names, what=st.sampled_from(("version", "experiment", "status", "operator")))
    def lose(self, point: str, name: str, what: str) -> None:
        """A version or an experiment is deleted; an Endpoint is made anew, as from Git, which leaves its rows alone; the operator is
        killed between two writes."""
        here = self.points[point]
        match what:
            case "version":
                self.versions.pop(name, None)
            case "experiment":
                here.trial = None
            case "status":
                asked, here.case = here.case.resource.metadata.annotations, self._endpoint(point)
                self._annotate(point, asked)
                self.turns.pop((point, "case"), None)
            case _:
                self.turns.clear()

    # --- what the operator does ---------------------------------------------------------------------------------------

    @rule(point=points, who=st.sampled_from(("case", "trial")), steps=st.integers(1, 3))
    def go_on(self, point: str, who: str, steps: int) -> None:
        """A few writes of a turn, whatever happened since it has read."""
        for _ in range(steps):
            turn = self.turns.setdefault((point, who), self._turn(point, who))
            if next(turn, "over") == "over":
                del self.turns[point, who]
                return

    @rule(point=points, times=st.integers(1, 3))
    def look(self, point: str, times: int) -> None:
        """Whole turns of both, with nobody between."""
        for who in ("trial", "case") * times:
            self.turns.pop((point, who), None)
            list(self._turn(point, who))

    def settle(self) -> None:
        """Nothing happens any more: the books agree."""
        self.turns.clear()
        for point in (*POINTS, *POINTS):
            self.look(point, 2)
        for here in self.points.values():
            self._agree(here)

    def teardown(self) -> None:
        self.settle()

    def _turn(self, point: str, who: str) -> Iterator[None]:
        here = self.points[point]
        self.now += timedelta(seconds=1)
        case: Case | None = here.case if who == "case" else here.trial
        if case is None or case.resource.status.phase in TERMINAL:  # type: ignore[attr-defined]
            return
        read, versions = case.resource.status, dict(self.versions)  # type: ignore[attr-defined]
        facts: dict[str, Any] = {"versions": versions}
        if who == "case":
            used = frozenset(row.request for row in here.rows if row.request is not None)
            trials = () if here.trial is None else (here.trial.resource,)
            facts |= {"promotion": here.newest, "used": used, "experiments": trials}
        else:
            facts |= {"endpoint": here.case.resource, "recorded": True}
        decision = case.decide(self.now, **facts)
        if who == "case":
            self._is_sound(here, decision, versions, facts["experiments"])
        yield
        for effect in decision.effects:
            self._carry_out(here, who, effect)
            yield
        now: Case | None = getattr(here, who)
        if now is not None and now.resource.metadata.uid == case.resource.metadata.uid and now.resource.status is read:  # type: ignore[attr-defined]
            status = type(read).model_validate(decision.status.to_manifest())  # type: ignore[attr-defined]
            setattr(here, who, replace(now, resource=now.resource.model_copy(update={"status": status})))

    def _carry_out(self, here: Point, who: str, effect: Any) -> None:
        if isinstance(effect, RecordPromotion):
            first = effect.experiment_uid is None and effect.request is None
            known = {(row.request, row.experiment_uid, row.version) for row in here.rows}
            if not (here.rows if first else (effect.request, effect.experiment_uid, effect.version) in known):
                here.rows.append(effect)
        elif who == "case":
            here.case = replace(here.case, seen=carried_out("endpoint", here.case.seen, effect))

    def _ask(self, point: str, **values: str) -> None:
        self._annotate(point, {f"tradewind.dev/{key}": value for key, value in values.items()})

    def _annotate(self, point: str, annotations: Mapping[str, str]) -> None:
        here = self.points[point]
        metadata = here.case.resource.metadata
        metadata = metadata.model_copy(update={"annotations": {**metadata.annotations, **annotations}})
        here.case = replace(here.case, resource=here.case.resource.model_copy(update={"metadata": metadata}))

    # --- what must hold -----------------------------------------------------------------------------------------------

    def _is_sound(
        self, here: Point, decision: Decision, versions: dict[str, ModelVersion], trials: tuple[ABExperiment, ...]
    ) -> None:
        """Of one decision, against what it was decided on."""
        status = cast("EndpointStatus", decision.status)
        champion, available = status.champion_ref, status.condition("ChampionAvailable")
        assert available is not None
        mine = versions.get(champion.name) if champion is not None else None
        answers = mine is not None and champion is not None and is_meant(mine, champion) and may_answer(mine)
        assert (available.status == "True") == answers
        assert answers or available.message
        before = here.status.champion_ref
        if before is not None and champion is not None and not is_same(champion, before):
            stored = bool(here.rows) and is_same(
                champion, ref(here.rows[-1])
            )  # the operator was killed before it said so
            assert answers or stored, "somebody who cannot answer took the place of a champion"
        for row in (effect for effect in decision.effects if isinstance(effect, RecordPromotion)):
            assert is_meant(versions[row.version], ref(row))
            if row.experiment_uid is not None:
                (earned,) = [trial.status for trial in trials if trial.metadata.uid == row.experiment_uid]
                assert earned.verdict is not None
                assert earned.verdict.decision == "promote"
                assert earned.candidate_ref is not None
                assert is_same(ref(row), earned.candidate_ref), "what was not tested is promoted"
        document = published(decision)
        if document is not None:
            self._is_routed_soundly(here, document, status, decision, trials)

    def _is_routed_soundly(
        self,
        here: Point,
        document: Routing,
        status: EndpointStatus,
        decision: Decision,
        trials: tuple[ABExperiment, ...],
    ) -> None:
        champion = status.champion_ref
        assert champion is not None
        assert document.champion == champion.name
        assert document.arms[document.champion].spec_sha256 == champion.spec_sha256
        at = next(
            i for i, e in enumerate(decision.effects) if isinstance(e, Apply) and e.manifest["kind"] == "ConfigMap"
        )
        stored = [*here.rows, *(e for e in decision.effects[:at] if isinstance(e, RecordPromotion))]
        assert document.champion in {row.version for row in stored}, "obeyed before it was stored"
        arms = {document.champion, document.fallback}
        if document.experiment is not None:
            (held,) = [trial for trial in trials if trial.metadata.uid == document.experiment.uid]
            assert held.status.phase not in TERMINAL
            assert status.active_experiment is not None
            assert status.active_experiment.uid == document.experiment.uid
            arms |= {document.experiment.baseline, document.experiment.candidate}
        waiting = {name for trial in trials for name in (trial.spec.baseline, trial.spec.candidate) if name == API}
        assert document.arms.keys() <= arms | waiting, "somebody is asked who has no place"

    def _agree(self, here: Point) -> None:
        """In peace: rows, status and what is routed speak of one champion, or the Endpoint says what it lacks."""
        status, available = here.status, here.status.condition("ChampionAvailable")
        assert available is not None
        assert status.by_hand is None
        if status.champion_ref is None:
            assert (available.status, bool(available.message)) == ("False", True)
            return
        assert here.rows
        promoted = here.rows[-1]
        unbound = (
            promoted.request is None and promoted.experiment_uid is None
        )  # a first one that was made anew binds nobody
        assert unbound or is_same(status.champion_ref, ref(promoted))
        routing = here.case.seen.routing
        if available.status == "True" and routing is not None and routing.champion != status.champion_ref.name:
            ready = status.condition("Ready")
            assert ready is not None
            assert ready.status == "False", "another answers, and nobody says so"

    @invariant()
    def stages_agree(self) -> None:
        for one in self.versions.values():
            place = Place([here.case.resource for here in self.points.values()])
            seen = next_value(observe(one, place))  # type: ignore[arg-type]
            reigns = [
                name
                for name, here in self.points.items()
                if here.status.champion_ref is not None and is_meant(one, here.status.champion_ref)
            ]
            assert (seen.stage is Stage.CHAMPION) == bool(reigns)
            assert {f"Endpoint/{name}" for name in reigns} <= set(seen.holders)


class Place:
    """A namespace with these Endpoints, and nothing served."""

    def __init__(self, endpoints: list[Resource]) -> None:
        self.endpoints = endpoints

    def is_going(self, _: str) -> bool:
        return False

    def unread(self, *_: object) -> tuple[()]:
        return ()

    def naming(self, kind: type[Resource], _: Resource) -> tuple[Resource, ...]:
        return tuple(self.endpoints) if kind is Endpoint else ()

    async def read(self, *_: str) -> None:
        return None


def next_value(coroutine: Any) -> Any:
    """What a coroutine that waits for nobody returns."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for somebody")


TestChampions = Champions.TestCase
TestChampions.settings = settings(
    max_examples=80, stateful_step_count=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


STEPS = {
    "judge": lambda m: m.judge("trader", promoted=True),
    "other": lambda m: m.make("v1", same=False, ready=True),
    "status": lambda m: m.lose("trader", "v1", "status"),
    "by hand": lambda m: m.promote("trader", "v1", 3),
    "rollback": lambda m: m.rollback("trader", 3),
}


@pytest.mark.parametrize("tested", [True, False])
def test_every_order_of_what_chance_seldom_brings_together(tested: bool) -> None:
    """A verdict, a version made anew with another spec, a lost status, and both verbs, each followed by a look."""
    for order in permutations(STEPS, 4):
        machine = Champions()
        machine.look("trader", 1)
        if tested:
            machine.begin("trader", "v1", 3)
        for step in order:
            STEPS[step](machine)
            machine.look("trader", 1)
            machine.stages_agree()
        machine.settle()
