"""Who must be looked at when something changes: an index of what was seen, fed by watch events alone."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from tradewind.core.manifests.common import OWNER_KIND, OWNER_NAME
from tradewind.core.training_schedule import SCHEDULE_LABEL
from tradewind.shell.reconcile import Key

Json = Mapping[str, Any]


class Index:
    """Objects of ours by kind, as last seen; only what is needed to find neighbours."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Json]] = defaultdict(dict)

    def seen(self, body: Json, *, deleted: bool) -> Iterator[Key]:
        """Note an event and name everybody it concerns."""
        key = key_of(body)
        if deleted:
            self._objects[key.kind].pop((key.namespace, key.name), None)
        else:
            self._objects[key.kind][key.namespace, key.name] = body
        yield key
        yield from self._neighbours(key, body)

    def notified(self, payload: str) -> Iterator[tuple[Key, bool]]:
        """Experiments that a database notification `namespace/endpoint` concerns, and whether they replay."""
        namespace, _, name = payload.partition("/")
        endpoint = self._objects["Endpoint"].get((namespace, name))
        active = ((endpoint or {}).get("status") or {}).get("activeExperiment") or {}
        if endpoint is not None and active.get("name"):
            replay = endpoint.get("spec", {}).get("clock") == "replay"
            yield Key("ABExperiment", namespace, active["name"]), replay

    def everything(self) -> Iterator[Key]:
        """Every object of ours."""
        for kind, objects in self._objects.items():
            for namespace, name in objects:
                yield Key(kind, namespace, name)

    def _neighbours(self, key: Key, body: Json) -> Iterator[Key]:
        spec, status = body.get("spec") or {}, body.get("status") or {}
        namespace = key.namespace
        match key.kind:
            case "Endpoint":
                active = (status.get("activeExperiment") or {}).get("name")
                if active:
                    yield Key("ABExperiment", namespace, active)
                champions = [(status.get(field) or {}).get("name") for field in ("championRef", "previousChampionRef")]
                for name in filter(None, {spec.get("fallback"), *champions}):
                    yield Key("ModelVersion", namespace, name)
            case "ABExperiment":
                yield Key("Endpoint", namespace, (spec.get("endpointRef") or {}).get("name", ""))
                baseline = (status.get("baselineRef") or {}).get("name")
                for name in filter(None, {spec.get("candidate"), baseline}):
                    yield Key("ModelVersion", namespace, name)
                yield from self._scheduled(body, namespace)
            case "ModelVersion":
                yield from self._all("Endpoint", namespace)
                yield from self._all("ABExperiment", namespace, unfinished=True)
                yield from self._all("TrainingSchedule", namespace)
                run = ((spec.get("adapter") or {}).get("trainingRun")) or ""
                if run:
                    yield Key("TrainingRun", namespace, run)
            case "TrainingRun":
                yield from self._scheduled(body, namespace)

    def _all(self, kind: str, namespace: str, *, unfinished: bool = False) -> Iterator[Key]:
        for (place, name), body in list(self._objects[kind].items()):
            if place == namespace and not (unfinished and (body.get("status") or {}).get("completionTime")):
                yield Key(kind, place, name)

    def _scheduled(self, body: Json, namespace: str) -> Iterator[Key]:
        schedule = (body["metadata"].get("labels") or {}).get(SCHEDULE_LABEL)
        if schedule:
            yield Key("TrainingSchedule", namespace, schedule)


def key_of(body: Json) -> Key:
    """The key of one of our objects."""
    return Key(body["kind"], body["metadata"]["namespace"], body["metadata"]["name"])


def owner_of(body: Json) -> Key | None:
    """The owner of a child, by its labels."""
    labels = body["metadata"].get("labels") or {}
    kind, name = labels.get(OWNER_KIND), labels.get(OWNER_NAME)
    return Key(kind, body["metadata"]["namespace"], name) if kind and name else None
