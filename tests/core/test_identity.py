"""A name is no identity: what answers is what was named, promoted or compared, or nothing new is asked."""

from dataclasses import replace
from typing import Any

import pytest
from golden_worlds import Case, build, version

from tradewind.core.decision import Apply, RecordPromotion
from tradewind.core.identity import is_meant, ref_to, spec_sha256
from tradewind.trading.routing import ROUTING_KEY, Routing

ADAPTER = "a" * 64
EVIL = {"spec": {"external": {"baseURL": "http://attacker.test/v1", "secretRef": {"name": "loot", "key": "api-key"}}}}


def settled(case: Case) -> Case:
    """After some turns with nobody else about."""
    for _ in range(3):
        case = case.after(case.decide())
    return case


def swapped(case: Case, name: str, text: dict[str, Any] | None = None) -> Case:
    """The version deleted, and another one made under its name."""
    made = version(name, EVIL if text is None else text)
    made = made.model_copy(update={"metadata": made.metadata.model_copy(update={"uid": "another"})})
    return replace(case, seen=replace(case.seen, versions={**case.seen.versions, name: made}))


def condition(case: Case, kind: str) -> Any:
    return case.resource.status.condition(kind)  # type: ignore[attr-defined]


def published(case: Case) -> Routing:
    assert isinstance(case.seen.routing, Routing)
    return case.seen.routing


def touched(case: Case) -> list[str]:
    """Kinds of what is applied in one turn."""
    return [effect.manifest["kind"] for effect in case.decide().effects if isinstance(effect, Apply)]


ENDPOINT = settled(build("endpoint", {}))


# --- the hash --------------------------------------------------------------------------------------------------------


def test_what_says_the_same_has_the_same_hash() -> None:
    plain = version("v1")
    explicit = version("v1", {"spec": {"external": {"protocol": "openai", "timeout": "5s", "retry": {"max": 2}}}})
    assert spec_sha256(plain) == spec_sha256(explicit)
    own = version("v1", {"sha256": ADAPTER})
    placed = version(
        "v1", {"sha256": ADAPTER, "spec": {"serving": {"replicas": 3, "maxQueue": 9, "nodeSelector": {"a": "b"}}}}
    )
    assert spec_sha256(own) == spec_sha256(placed)


@pytest.mark.parametrize(
    "text",
    [
        {"spec": {"external": {"baseURL": "http://api.test/v2"}}},
        {"spec": {"external": {"model": "n"}}},
        {"spec": {"external": {"secretRef": {"name": "other", "key": "api-key"}}}},
        {"spec": {"external": {"temperature": "0.7"}}},
        {"spec": {"external": {"promptTemplate": {"name": "ours"}}}},
        {"sha256": ADAPTER},
    ],
)
def test_what_asks_otherwise_has_another_hash(text: dict[str, Any]) -> None:
    assert spec_sha256(version("v1")) != spec_sha256(version("v1", text))


@pytest.mark.parametrize(
    "spec",
    [
        {"serving": {"decoding": "greedy"}},
        {"serving": {"reasoning": "full"}},
        {"serving": {"quantization": "int8"}},
        {"adapter": {"baseModel": {"uri": "pvc://models/other"}}},
        {"adapter": {"baseModel": {"sha256": "c" * 64}}},
        {"adapter": {"sha256": "b" * 64}},
    ],
)
def test_what_serves_otherwise_has_another_hash(spec: dict[str, Any]) -> None:
    own = version("v1", {"sha256": ADAPTER})
    assert spec_sha256(own) != spec_sha256(version("v1", {"sha256": ADAPTER, "spec": spec}))


def test_a_reference_without_a_hash_knows_an_api_by_its_uid_alone() -> None:
    known = ref_to(version("api")).model_copy(update={"spec_sha256": None})
    assert is_meant(version("api"), known)
    assert not is_meant(version("api"), known.model_copy(update={"uid": "another"}))
    assert not is_meant(version("api"), known.model_copy(update={"uid": None}))


# --- the attack ------------------------------------------------------------------------------------------------------


def test_a_champion_that_was_swapped_is_not_asked() -> None:
    case = settled(swapped(ENDPOINT, "deepseek-api"))
    fact = condition(case, "ChampionAvailable")
    assert (fact.status, fact.reason) == ("False", "ChampionMissing")
    assert "made anew" in fact.message
    assert condition(case, "Ready").status == "False"
    assert published(case).arms == published(ENDPOINT).arms
    assert touched(case) == []  # no Secret of the attacker's choice is mounted either


def test_a_promoted_api_that_was_swapped_is_not_taken_up_by_a_status_that_was_lost() -> None:
    lost = ENDPOINT.resource.model_copy(update={"status": type(ENDPOINT.resource.status)()})  # type: ignore[attr-defined]
    promoted = ENDPOINT.seen.promotion
    assert promoted is not None
    before = replace(
        ENDPOINT.seen, promotion=replace(promoted, first=False, spec_sha256=spec_sha256(version("deepseek-api")))
    )
    case = swapped(replace(ENDPOINT, resource=lost, seen=before), "deepseek-api").decide()
    conditions = {c.type: c for c in case.status.conditions}  # type: ignore[attr-defined]
    assert (conditions["ChampionAvailable"].status, conditions["ChampionAvailable"].reason) == (
        "False",
        "ChampionMissing",
    )
    assert not [e for e in case.effects if isinstance(e, Apply)]


def test_the_same_spec_made_anew_is_the_same_version() -> None:
    case = settled(swapped(ENDPOINT, "deepseek-api", {}))
    assert condition(case, "ChampionAvailable").status == "True"
    assert case.resource.status.champion_ref.uid == "another"  # type: ignore[attr-defined]
    assert published(case).arms == published(ENDPOINT).arms


def test_a_fallback_that_was_swapped_is_not_asked_and_naming_another_one_ends_it() -> None:
    facts = {
        "versions": {"v1": {"sha256": ADAPTER}, "safe": {}},
        "promotion": {"version": "v1", "sha256": ADAPTER, "first": None},
    }
    status = {"championRef": {"name": "v1", "sha256": ADAPTER}}
    before = settled(build("endpoint", {"resource": {"spec": {"fallback": "safe"}, "status": status}, "facts": facts}))
    assert published(before).arms["safe"].base_url == "https://api.test/v1"
    case = settled(swapped(before, "safe"))
    fact = condition(case, "FallbackAvailable")
    assert (fact.status, fact.reason) == ("False", "VersionChanged")
    assert condition(case, "Ready").status == "False"
    assert published(case).arms == published(before).arms
    assert touched(case) == []
    spec = case.resource.spec.model_copy(update={"fallback": "deepseek-api"})  # type: ignore[attr-defined]
    mended = settled(replace(case, resource=case.resource.model_copy(update={"spec": spec})))
    assert condition(mended, "FallbackAvailable").status == "True"
    assert set(published(mended).arms) == {"v1", "deepseek-api"}


def test_a_fallback_that_is_gone_is_said() -> None:
    gone = {name: v for name, v in ENDPOINT.seen.versions.items() if name != "deepseek-api"}
    case = settled(replace(ENDPOINT, seen=replace(ENDPOINT.seen, versions=gone)))
    assert condition(case, "FallbackAvailable").reason == "VersionMissing"


def test_a_retired_version_with_open_positions_is_asked_as_it_was() -> None:
    facts = {"versions": {"old": {}}, "inPosition": ["old"]}
    before = settled(build("endpoint", {"facts": facts}))
    case = settled(swapped(before, "old"))
    assert published(case).arms["old"] == published(before).arms["old"]


def test_who_is_promoted_by_hand_is_asked_as_it_is_now() -> None:
    case = settled(swapped(ENDPOINT, "deepseek-api"))
    annotations = {
        "tradewind.dev/promote": "deepseek-api/r1",
        "tradewind.dev/by": "ada",
        "tradewind.dev/reason": "moved",
    }
    meta = case.resource.metadata.model_copy(update={"annotations": annotations})
    asked = replace(case, resource=case.resource.model_copy(update={"metadata": meta}))
    records = []
    for _ in range(4):
        decision = asked.decide()
        records += [e for e in decision.effects if isinstance(e, RecordPromotion) and e.request is not None]
        asked = asked.after(decision)
    (record,) = records
    assert record.spec_sha256 == spec_sha256(asked.seen.versions["deepseek-api"])
    assert condition(asked, "ChampionAvailable").status == "True"


def test_what_the_gateways_read_has_the_hash_of_each_arm() -> None:
    decision = build("endpoint", {}).decide()
    (text,) = [
        e.manifest["data"][ROUTING_KEY]
        for e in decision.effects
        if isinstance(e, Apply) and e.manifest["kind"] == "ConfigMap"
    ]
    arms = Routing.from_json(text).arms
    assert {name: arm.spec_sha256 for name, arm in arms.items()} == {
        "deepseek-api": spec_sha256(version("deepseek-api"))
    }
