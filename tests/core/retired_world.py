"""A namespace with an Endpoint, own versions and experiments, in small steps: turns that overlap, KServe, people, time.

What is decided is the kinds' own, on what the kinds' own `observe` finds, or, of an Endpoint, on the same facts. An effect is a
step of its own, the status is written last, and a write on a resource that somebody has changed is a conflict.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from golden_worlds import build, decide, resource_of

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.common import Resource
from tradewind.api.model_version import ModelVersion
from tradewind.core.conditions import is_true
from tradewind.core.decision import Apply, Decision, RecordPromotion
from tradewind.core.endpoint import TERMINAL, Promotion, ReplicaReport
from tradewind.core.identity import ref_to
from tradewind.core.model_version.observe import observe
from tradewind.core.model_version.rest import LEAD
from tradewind.core.registry import BY_KIND
from tradewind.trading.routing import ROUTING_KEY, Routing

OWN = ("v1", "v2", "v3")
RETIRE_AFTER = timedelta(hours=1)
LONGEST_TURN = timedelta(seconds=50)
Json = dict[str, Any]


@dataclass
class Served:
    """What KServe has of a version: what it was told, and what it has done."""

    manifest: Json
    deployed: bool = True
    ready: bool = True

    @property
    def told_to_stop(self) -> bool:
        return self.manifest["metadata"]["annotations"].get("serving.kserve.io/stop") == "true"


@dataclass
class Town:
    """All that the operator works on, and the turns that are under way."""

    now: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)
    point: Any = None
    versions: dict[str, Any] = field(default_factory=dict)
    trials: dict[str, Any] = field(default_factory=dict)
    served: dict[str, Served] = field(default_factory=dict)
    promotions: list[RecordPromotion] = field(default_factory=list)
    routed: Routing | None = None
    turns: dict[str, tuple[datetime, Iterator[None]]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    made: int = 0

    @classmethod
    def of(cls, champion: str = "v1", fallback: str = "v3") -> "Town":
        town = cls()
        for number, name in enumerate(OWN):
            adapter = {
                "uri": f"pvc://models/{name}",
                "sha256": f"{number}" * 64,
                "baseModel": {"uri": "pvc://models/b"},
            }
            serving = {"retireAfter": f"{int(RETIRE_AFTER.total_seconds())}s"}
            made = resource_of(
                {
                    "kind": "ModelVersion",
                    "metadata": {"name": name},
                    "spec": {"adapter": adapter, "serving": serving},
                    "status": {
                        "sha256": f"{number}" * 64,
                        "benchmark": {"p99Ms": 60},
                        "evaluation": {"passed": True},
                        "attempts": 1,
                        "conditions": {"Ready": "True"},
                    },
                }
            )
            town.versions[name] = made
        town.point = build(
            "endpoint", {"resource": {"spec": {"fallback": fallback}}, "facts": {"versions": None, "promotion": None}}
        ).resource
        status = town.point.status.model_copy(update={"champion_ref": ref_to(town.versions[champion])})
        town.point = town.point.model_copy(update={"status": status})
        town.peace()
        assert all(town.ready(name) for name in OWN)
        return town

    def rest(self, name: str, stage: str) -> None:
        """A version on its way to rest: `due` to, `said` that it is, or `stopped`."""
        self.passes(timedelta(days=1))
        status = self.versions[name].status.model_copy(update={"unused_since": self.now - timedelta(days=1)})
        self.versions[name] = self.versions[name].model_copy(update={"status": status})
        if stage != "due":
            self.turn(name)
        if stage == "stopped":
            self.passes(LEAD)
            self.turn(name)
            self.kserve(name)

    # --- the world that observe reads ---------------------------------------------------------------------------------

    def everything(self) -> list[Resource]:
        return [self.point, *self.versions.values(), *self.trials.values()]

    def naming(self, kind: type[Any], named: Resource) -> tuple[Any, ...]:
        return tuple(
            one
            for one in self.everything()
            if isinstance(one, kind)
            and any(n.kind is type(named) and n.name == named.name for n in BY_KIND[type(one).__name__].neighbours(one))
        )

    def unread(self, kind: type[Resource], namespace: str) -> tuple[str, ...]:
        return ()

    def is_going(self, namespace: str) -> bool:
        return False

    async def read(self, api_version: str, kind: str, namespace: str, name: str) -> Json | None:
        served = self.served.get(name.removesuffix("-predictor"))
        if served is None or (kind == "Deployment" and not served.deployed):
            return None
        if kind == "Deployment":
            return {"metadata": {"name": name}, "status": {"readyReplicas": int(served.ready)}}
        ready = {"type": "Ready", "status": str(served.deployed and served.ready)}
        return {**served.manifest, "status": {"conditions": [ready]}}

    async def pods(self, namespace: str, selector: str) -> Sequence[Json]:
        return ()

    async def serves(self, api_version: str) -> bool:
        return True

    async def warnings(self, namespace: str, uid: str) -> Sequence[Json]:
        return ()

    # --- turns --------------------------------------------------------------------------------------------------------

    def seen(self, name: str) -> Any:
        if name in self.versions:
            return asyncio.run(observe(self.versions[name], self))  # type: ignore[arg-type]
        if name in self.trials:
            facts = build("ab_experiment", {"facts": {"table": None, "versions": None, "epochs": None}}).seen
            return replace(facts, endpoint=self.point, versions=dict(self.versions), tested_before=0)
        newest = self.promotions[-1] if self.promotions else None
        promotion = None
        if newest is not None:
            first = newest.experiment_uid is None and newest.request is None
            promotion = Promotion(newest.version, newest.sha256, newest.spec_sha256, first, newest.request)
        facts = build("endpoint", {"facts": {"versions": None, "promotion": None}}).seen
        generation = self.routed.generation if self.routed is not None else 0
        return replace(
            facts,
            versions=dict(self.versions),
            experiments=tuple(self.trials.values()),
            promotion=promotion,
            used=frozenset(p.request for p in self.promotions if p.request is not None),
            routing=self.routed,
            replicas=tuple(ReplicaReport(pod, generation, None) for pod in sorted(facts.ready_pods)),
        )

    def get(self, name: str) -> Any:
        return self.point if name == "trader" else self.versions.get(name) or self.trials.get(name)

    def steps(self, name: str) -> Iterator[None]:
        """One turn. Whoever is not stepped on was killed."""
        resource = self.get(name)
        if resource is None or (isinstance(resource, ABExperiment) and resource.status.phase in TERMINAL):
            return
        decision: Decision = decide(resource, self.seen(name), self.now)
        yield
        for effect in decision.effects:
            self.do(name, effect)
            yield
        if self.get(name) is resource and decision.status != resource.status:
            status = type(resource.status).model_validate(decision.status.to_manifest())  # type: ignore[attr-defined]
            self.put(name, resource.model_copy(update={"status": status}))

    def do(self, name: str, effect: Any) -> None:
        match effect:
            case Apply(manifest) if manifest["kind"] == "InferenceService":
                known = self.served.get(name)
                if known is None:
                    self.served[name] = Served(dict(manifest))
                elif known.manifest != manifest:
                    before = known.told_to_stop
                    known.manifest = dict(manifest)
                    if known.told_to_stop != before:
                        self.log.append(f"{name} {'stops' if known.told_to_stop else 'starts'}")
            case Apply(manifest) if manifest["kind"] == "ConfigMap":
                self.routed = Routing.from_json(manifest["data"][ROUTING_KEY])
                self.log.append(f"routed {sorted(self.routed.arms)}, champion {self.routed.champion}")
            case RecordPromotion():
                if not any(
                    (p.request, p.experiment_uid) == (effect.request, effect.experiment_uid) for p in self.promotions
                ):
                    self.promotions.append(effect)

    def put(self, name: str, resource: Any) -> None:
        if name == "trader":
            self.point = resource
        elif name in self.versions:
            self.versions[name] = resource
        elif name in self.trials:
            self.trials[name] = resource

    def turn(self, name: str) -> None:
        """A whole turn that nobody interrupts."""
        list(self.steps(name))

    def step(self, name: str) -> None:
        """The next step of a turn that is under way, or the first of a new one."""
        _, turn = self.turns.setdefault(name, (self.now, self.steps(name)))
        if next(turn, "over") == "over":
            del self.turns[name]

    def passes(self, time: timedelta) -> None:
        """Time. No turn lasts long."""
        for name, (began, turn) in list(self.turns.items()):
            if self.now + time - began > LONGEST_TURN:
                list(turn)
                del self.turns[name]
        self.now += time

    def kserve(self, name: str) -> None:
        """One look of KServe, or of the kubelet, at what a version is told."""
        served = self.served[name]
        if served.told_to_stop:
            served.deployed = served.ready = False
        elif not served.deployed:
            served.deployed = True
        else:
            served.ready = True

    def peace(self, rounds: int = 40) -> None:
        """Everybody has whole turns, and KServe does what it is told, until nothing is to be done."""
        self.turns.clear()
        still = 0
        for _ in range(rounds):
            before = repr((self.everything(), self.served, self.promotions))
            for name in ("trader", *self.versions, *self.trials):
                self.turn(name)
            for name in self.served:
                self.kserve(name)
            self.now += timedelta(seconds=31)
            still = still + 1 if repr((self.everything(), self.served, self.promotions)) == before else 0
            if still == 3:  # longer than a version waits between saying and stopping
                return

    # --- people -------------------------------------------------------------------------------------------------------

    def asks(self, **annotations: str) -> None:
        known = {f"tradewind.dev/{name}": value for name, value in annotations.items()}
        metadata = self.point.metadata.model_copy(update={"annotations": known})
        self.point = self.point.model_copy(update={"metadata": metadata})

    def promote(self, name: str) -> None:
        self.made += 1
        self.asks(promote=f"{name}/r{self.made}", reason="tried", by="ada")

    def rollback(self) -> None:
        self.made += 1
        self.asks(rollback=f"r{self.made}", by="ada")

    def falls_back_to(self, name: str) -> None:
        spec = self.point.spec.model_copy(update={"fallback": name})
        self.point = self.point.model_copy(update={"spec": spec})

    def experiment(self, candidate: str) -> None:
        self.made += 1
        made = build(
            "ab_experiment",
            {"resource": {"metadata": {"name": f"e{self.made}"}, "spec": {"candidate": candidate}, "status": None}},
        ).resource
        assert isinstance(made, ABExperiment)
        self.trials[made.name] = made

    def ends(self, outcome: str) -> None:
        """The verdict of the experiment that runs."""
        for name, trial in self.trials.items():
            if trial.status.t0 is not None and trial.status.phase not in TERMINAL:
                decision = "promote" if outcome == "Succeeded" else "rollback"
                verdict = {"decision": decision, "reason": "Superior", "time": self.now.isoformat()}
                text = trial.status.to_manifest() | {"phase": outcome, "verdict": verdict}
                self.put(name, trial.model_copy(update={"status": type(trial.status).model_validate(text)}))
                return

    def deletes(self) -> None:
        for name in list(self.trials):
            del self.trials[name]
            self.turns.pop(name, None)

    # --- what must hold -----------------------------------------------------------------------------------------------

    def asked(self) -> set[str]:
        """Own versions that gateways may ask now."""
        return set(self.routed.arms) & set(OWN) if self.routed is not None else set()

    def stopped(self) -> set[str]:
        return {name for name, served in self.served.items() if served.told_to_stop or not served.deployed}

    def ready(self, name: str) -> bool:
        version: ModelVersion = self.versions[name]
        return is_true(version.status.conditions, "Ready")
