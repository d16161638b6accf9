"""Side by side: what a round of reconciles costs in parsing, a namespace listed and parsed at every turn against the cache.

Run: `python benchmarks/cache.py`. 100 versions and 100 experiments, all but one experiment finished. A round is one turn of
each object that is not finished, as after a resync: of each object, before there was the cache.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # as a script it has its own folder there

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.common import Resource
from tradewind.api.endpoint import Endpoint
from tradewind.api.model_version import ModelVersion
from tradewind.api.parse import parse
from tradewind.shell.cache import Cache, Key, key_of
from tradewind.shell.index import open_keys
from workshop.benchmark import print_ratios, size
from workshop.progress import say

OBJECTS = size(100, 5)
ROUNDS = 3
GOAL = 100.0
API = {"external": {"baseURL": "http://api.test/v1", "model": "m"}}
SPEC = {"endpointRef": {"name": "trader"}, "candidate": "v1"}
OVER = {"phase": "Inconclusive", "completionTime": "2026-01-01T00:00:00Z"}


def objects() -> list[dict[str, object]]:
    """Manifests as the API server gives them."""
    made: list[tuple[str, str, object, object]] = [("Endpoint", "trader", {"fallback": "v0"}, {})]
    made += [("ModelVersion", f"v{n}", API, {}) for n in range(OBJECTS)]
    made += [("ABExperiment", f"ab{n}", SPEC, OVER if n else {}) for n in range(OBJECTS)]
    return [
        {
            "apiVersion": "tradewind.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": "trading", "uid": name, "resourceVersion": str(number)},
            "spec": spec,
            "status": status,
        }
        for number, (kind, name, spec, status) in enumerate(made, 1)
    ]


def parse_all(raw: list[dict[str, object]]) -> None:
    """A round as it was: every object gets a turn and is parsed, and so are all the neighbours that its turn lists.

    A version lists Endpoints and experiments, an Endpoint versions and experiments, an unfinished experiment versions; a
    finished one listed nothing.
    """
    of: dict[type[Resource], list[dict[str, object]]] = {
        kind: [o for o in raw if o["kind"] == kind.__name__] for kind in (Endpoint, ModelVersion, ABExperiment)
    }
    reads: dict[type[Resource], tuple[type[Resource], ...]] = {
        Endpoint: (ModelVersion, ABExperiment),
        ModelVersion: (Endpoint, ABExperiment),
        ABExperiment: (Endpoint, ModelVersion),
    }
    for kind, bodies in of.items():
        for body in bodies:
            parse(kind, body)
            for neighbour in reads[kind] if body["status"] != OVER else ():
                for other in of[neighbour]:
                    parse(neighbour, other)


def parse_news(cache: Cache, raw: list[dict[str, object]], bodies: dict[Key, dict[str, object]]) -> None:
    """A round now: a list that is compared by version, then for each turn the object itself and its typed neighbours."""
    for kind in ("Endpoint", "ModelVersion", "ABExperiment"):
        listed = {key_of(o): o for o in raw if o["kind"] == kind}
        versions = {key: int(o["metadata"]["resourceVersion"]) for key, o in listed.items()}  # type: ignore[index]
        for key in cache.differences(kind, None, versions, len(raw)):
            cache.take(listed[key])
        cache.keep(kind, None, versions, len(raw))
    for key in open_keys(cache):
        cache.take(bodies[key])
        cache.all(ModelVersion, "trading")
        cache.all(ABExperiment, "trading")


def seconds(round_: Callable[[], None], rounds: int = 1) -> float:
    """Processor time of the best of some rounds: this machine may be busy."""
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        round_()
        best = min(best, time.process_time() - started)
    return best


def main() -> None:
    """Both ways, and their ratio."""
    raw, cache = objects(), Cache()
    for body in raw:
        cache.take(body)
    bodies = {key_of(body): body for body in raw}
    before, after = seconds(lambda: parse_all(raw)), seconds(lambda: parse_news(cache, raw, bodies), ROUNDS)
    say(f"a round: {before:.3f} s of parsing before, {after:.4f} s now")
    print_ratios({"parsing_per_round": (before / after, GOAL)})


if __name__ == "__main__":
    main()
