"""Objects of our kinds as an API server hands them over, right and wrong, in the worlds of the golden cases.

Each begins as a sample or a golden case and changes at places that its CustomResourceDefinition names: to another value that
the definition takes, to one at a bound or beyond it, or to something that no client should send.
"""

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml
from golden_worlds import GOLDEN, KIND_CASES, Case, load, merged

from fuzz_json import NAMES, TEXTS, TIMES
from tradewind.api.crd import crd
from tradewind.api.registry import BY_KIND

SAMPLES = Path(__file__).parents[2] / "crds" / "samples"
CANARY = "sk-canary-f00dfeed"
"""A secret that somebody wrote where none belongs."""
_MISPLACED = ("apiKey", "token", "password", "secret", "credential")
_SEEN_ALWAYS = ("holders", "stage", "schema_missing", "tested_before")
WORDS = (
    "0s", "1s", "30s", "90m", "24h", "14d", "366d", "999999d", "000001h", "1ms", "100ms", "2s", "999999s", "1d12h", "14 d", "\u0661d", "0", "1", "0.0", "1.0",
    "0.05", "0.5", "0.000000001", "0.999999999", "1000", "1000.5", "999999999999.999999999", "2", "100", "-1", "1e3", "0.1234567890", ".5", "5.",
    "500m", "8Gi", "0Gi", "1.5Gi", "999999999999999Pi", ".5", "4G", "1k", "v1", "api", "trader", "a", "a-b", "a" * 63, "a" * 64, "a.b", "x-", "A",
    "a" * 64, "0" * 64, "F" * 64, "ab" * 32, "pvc://models/runs/v1", "pvc://models", "pvc://m/../x", "file:///mnt/models", "file:///mnt//x/", "oss://b/x",
    "https://api.test/v1", "http://api.test", "https://api.test:443/v1/", "http://[::1]:8080/v1", "http://10.0.0.1", "https://u:p@api.test", "HTTPS://API",
    "https://api.test/v1/chat/completions", "0 2 * * 0", "@daily", "*/5 * * * *", "0 0 31 2 *", "60 * * * *", "0 0 L * ?", "@reboot", "Asia/Shanghai", "UTC",
    "Mars/Olympus", "Europe/Berlin", "2026-01-31T00:00:00Z", "2026-02-29T00:00:00Z", "1999-01-01T00:00:00+14:00", "2999-12-31T23:59:59.999999-14:00",
    "90d", "0d", "99999d", "BTC", "BTC/USDT:USDT", "\u5e01\u5b89", "all-linear", "q_proj", "L2", "openai", "{}", '{"top_p": 0.5}', '{"a": NaN}', '{"a": 1, "a": 2}',
    "pvc://m/" + "a" * 504, "file:///" + "b" * 504, "https://" + "a.b" * 160, "nvidia.com/gpu", "tradewind.dev/x", "100", "1", "True", "live", "replay", "draw", "refuse",
)  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """An object with the world that it is decided in."""

    kind: str
    raw: dict[str, Any]
    case: Case
    about: str


@cache
def schema_of(kind: str) -> dict[str, Any]:
    """The definition's schema of one kind."""
    schema: dict[str, Any] = crd(BY_KIND[kind])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@cache
def _bases() -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Manifests of each kind: of every sample, and of every golden case."""
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {kind: [] for kind in BY_KIND}
    for file in sorted(SAMPLES.glob("*.yaml")):
        for document in yaml.load_all(file.read_text(encoding="utf-8"), yaml.CSafeLoader):
            if document and document.get("kind") in found:
                found[document["kind"]].append((file.stem, document))
    for kind, name in KIND_CASES:
        base = yaml.load((GOLDEN / kind / "base.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
        patch = yaml.load((GOLDEN / kind / name / "input.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
        manifest = merged(base, patch)["resource"]
        typed = load(kind, name).resource
        text = {
            "metadata": manifest["metadata"],
            "kind": manifest["kind"],
            "apiVersion": typed.api_version,
            "spec": manifest["spec"],
        }
        status = typed.status.to_manifest()  # type: ignore[attr-defined]
        found[manifest["kind"]].append((f"{kind}/{name}", text | {"status": status}))
    return {kind: [(about, _as_json(each)) for about, each in many] for kind, many in found.items()}


def _as_json(manifest: dict[str, Any]) -> dict[str, Any]:
    """As an API server has it: YAML's times are texts."""
    made: dict[str, Any] = json.loads(json.dumps(manifest, default=lambda time: time.isoformat()))
    return made


@cache
def _cases(kind: str) -> list[tuple[str, str]]:
    return [(folder, name) for folder, name in KIND_CASES if type(load(folder, name).resource).__name__ == kind]


def kinds() -> tuple[str, ...]:
    """Those that are decided about in golden cases."""
    return tuple(kind for kind in BY_KIND if _cases(kind))


def drawn(random: Random, kind: str | None = None) -> Drawn:
    """An object of a kind in one of its worlds."""
    kind = kind or random.choice(kinds())
    about, base = random.choice(_bases()[kind])
    folder, name = random.choice(_cases(kind))
    if "/" in about and random.randrange(2):
        folder, name = about.split("/")
    case = load(folder, name)
    raw = copy.deepcopy(base)
    metadata = raw.setdefault("metadata", {})
    metadata |= {
        "namespace": "trading",
        "uid": case.resource.metadata.uid or "u",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "generation": 2,
    }
    if random.randrange(2):
        metadata["name"] = case.resource.name
    given: dict[str, Any] = case.resource.status.to_manifest()  # type: ignore[attr-defined]
    # From its start on, an experiment's spec stays: nobody has another's status then.
    if "status" not in raw and random.randrange(2) and not (kind == "ABExperiment" and "phase" in given):
        raw["status"] = given
    started = kind == "ABExperiment" and "phase" in raw.get("status", {})
    for _ in range(0 if started and random.randrange(2) else random.choice((0, 1, 1, 2, 3, 6))):
        if started:
            del raw["status"]
            started = False
        raw["spec"] = _elsewhere(random, raw.get("spec", {}), schema_of(kind)["properties"]["spec"])
    if random.randrange(3) == 0 and kind != "ABExperiment":
        raw["status"] = _other_status(random, kind)
    if random.randrange(8) == 0:
        at = random.choice([*_objects(raw.get("spec"), schema_of(kind)["properties"]["spec"])] or [raw])
        at[random.choice(_MISPLACED)] = CANARY
    if random.randrange(8) == 0:
        metadata["annotations"] = {f"tradewind.dev/{random.choice(('promote', 'rollback', 'pause', 'abort', 'accept', 'approve', 'x'))}": random.choice(
            ("v1/r1", "r1", "", "/", "v1/", "/r", "a" * 300, *TEXTS[:12]))} | {"kubectl.kubernetes.io/last-applied-configuration": CANARY}  # fmt: skip
    if random.randrange(12) == 0:
        metadata["name"] = random.choice(("a" * 63, "a" * 253, "x", "1x", "X", "", "a.b", "tr\u00e4der"))
    if kind == "TrainingRun" and not raw.get("status", {}).get("attempts"):  # whose Job would be looked for
        case = replace(case, seen=replace(case.seen, training=None))
    return Drawn(kind, raw, _in_another_world(random, case), f"{about} in {folder}/{name}")


def _other_status(random: Random, kind: str) -> dict[str, Any]:
    """A status as an operator writes it, though not this object's: what it was before somebody made the spec another."""
    _, other = random.choice([each for each in _bases()[kind] if "status" in each[1]])
    status: dict[str, Any] = copy.deepcopy(other["status"])
    return status


def _in_another_world(random: Random, case: Case) -> Case:
    """The case with facts left out, or at another time."""
    seen = case.seen
    if random.randrange(3) == 0:
        defaults = type(seen)()
        names = [f.name for f in fields(seen) if f.name not in _SEEN_ALWAYS]
        seen = replace(seen, **{name: getattr(defaults, name) for name in random.sample(names, random.randrange(1, 4))})
    now = case.now + random.choice(
        (
            timedelta(0),
            timedelta(0),
            timedelta(seconds=45),
            timedelta(days=3),
            timedelta(days=400),
            timedelta(days=-400),
        )
    )
    return replace(case, seen=seen, now=now)


def _objects(value: Any, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The objects below a value whose fields the definition names."""
    if isinstance(value, dict) and "properties" in schema:
        yield value
        for name, child in schema["properties"].items():
            yield from _objects(value.get(name), child)
    elif isinstance(value, list) and "items" in schema:
        for each in value:
            yield from _objects(each, schema["items"])


def _elsewhere(random: Random, value: Any, schema: dict[str, Any]) -> Any:
    """The value with a change at one place below it."""
    properties = schema.get("properties")
    if isinstance(value, dict) and properties and random.randrange(10):
        name = random.choice(tuple(properties))
        if name in value and random.randrange(6) == 0:
            return {key: each for key, each in value.items() if key != name}
        child = properties[name]
        made = _elsewhere(random, value[name], child) if name in value else value_of(random, child)
        return value | {name: made}
    if isinstance(value, list) and value and "items" in schema and random.randrange(4):
        at = random.randrange(len(value))
        match random.randrange(4):
            case 0:
                return [*value, copy.deepcopy(value[at])]
            case 1:
                return value[:at] + value[at + 1 :]
            case _:
                return [*value[:at], _elsewhere(random, value[at], schema["items"]), *value[at + 1 :]]
    return value_of(random, schema)


def value_of(random: Random, schema: dict[str, Any], depth: int = 0) -> Any:
    """A value that a schema takes, or in one of eight cases one that it may not."""
    if random.randrange(24) == 0:
        return random.choice((None, "", 0, -1, 1.5, True, [], {}, "x", 2**63, 1e308, [[]], {"a": {}}, *TEXTS[8:14]))
    if "enum" in schema:
        return random.choice((*schema["enum"], *schema["enum"], "Other"))
    if schema.get("x-kubernetes-int-or-string"):
        return random.choice((0, 1, 8, 2**31, *matching(schema)))
    match schema.get("type"):
        case "object":
            return _object(random, schema, depth)
        case "array":
            count = random.choice((0, 1, 1, 2, 3, schema.get("maxItems", 3) + (random.randrange(8) == 0)))
            return [value_of(random, schema["items"], depth + 1) for _ in range(min(count, 40))]
        case "integer":
            low, high = schema.get("minimum", -5), min(schema.get("maximum", 2**31), 2**31)
            return random.choice((low, high, low + 1, high - 1, random.randint(int(low), int(high)), low - 1, high + 1))
        case "number":
            low, high = schema.get("minimum", -1e6), schema.get("maximum", 1e15)
            return random.choice((low, high, random.uniform(low, high), 0, 0.1, 1e-300, high * 2))
        case "boolean":
            return bool(random.randrange(2))
        case "string" if schema.get("format") == "date-time":
            return random.choice(("2026-01-31T00:00:00Z", "2026-03-01T12:00:00.5+08:00", *TIMES))
    return random.choice(matching(schema))


def _object(random: Random, schema: dict[str, Any], depth: int) -> dict[str, Any]:
    if "additionalProperties" in schema:
        names = random.sample(("a", "L1", "L2", "example.com/x", *NAMES), random.randrange(4))
        return {name: value_of(random, schema["additionalProperties"], depth + 1) for name in names}
    properties, required = schema.get("properties", {}), schema.get("required", [])
    share = (2, 4, 8)[min(depth, 2)]
    return {
        name: value_of(random, child, depth + 1)
        for name, child in properties.items()
        if name in required or random.randrange(share) == 0
    }


def matching(schema: dict[str, Any]) -> tuple[str, ...]:
    """Texts for a schema: those that its rules take, and a few of the others."""
    rules = tuple(rule["rule"] for rule in schema.get("x-kubernetes-validations", ()))
    return _matching(rules, schema.get("minLength", 0), schema.get("maxLength", 10**6))


@cache
def _matching(rules: tuple[str, ...], least: int, most: int) -> tuple[str, ...]:
    patterns = [
        re.compile(_python(found)) for rule in rules for found in re.findall(r"self\.matches\('(\^.*?\$)'\)", rule)
    ]
    taken = [
        text for text in (*WORDS, *TEXTS) if least <= len(text) <= most and all(p.search(text) for p in patterns[:1])
    ]
    return (
        *(taken or ["x"]) * 4,
        "x" * (most + 1) if most < 10**4 else "x",
        "",
        WORDS[0],
        WORDS[20],
        TEXTS[2],
        TEXTS[14],
    )


def _python(pattern: str) -> str:
    return re.sub(
        r"\\U([0-9a-f]{8})",
        lambda m: chr(int(m[1], 16)),
        re.sub(r"\\u([0-9a-f]{4})", lambda m: chr(int(m[1], 16)), pattern),
    )
