"""Own words as the operator reads them from the cluster: each turn anew, and only those of versions that may be asked."""

from dataclasses import replace
from typing import Any

from golden_worlds import load
from server_double import PLATFORM, SIGNER, Server, reconciler

from tradewind.api.common import Resource
from tradewind.core.decision import Apply, Owner
from tradewind.core.prompts import PromptFault
from tradewind.core.registry import BY_KIND
from tradewind.shell.cache import Cache
from tradewind.shell.shards import UNDIVIDED
from tradewind.shell.watch import refresh
from tradewind.trading.external_prompt import PromptTemplate
from tradewind.trading.routing import ROUTING_KEY, SIGNATURE_KEY, Routing

WORDS = {"system": "You trade. {{contract}}", "user": "{{market_data}}"}


def manifest(resource: Resource) -> dict[str, Any]:
    return {"kind": type(resource).__name__, **resource.to_manifest()}


def config_map(data: dict[str, str]) -> dict[str, Any]:
    return {"kind": "ConfigMap", "metadata": {"name": "momentum", "namespace": "trading"}, "data": data}


async def test_an_edit_is_read_at_the_next_turn_and_a_loss_keeps_the_last_words() -> None:
    case = load("endpoint", "own-prompt-is-routed")
    server, cache = Server(manifest(case.resource), *map(manifest, case.seen.versions.values())), Cache()
    await refresh(cache, server, UNDIVIDED)  # type: ignore[arg-type]
    world = reconciler(server, cache).world
    kind, version = BY_KIND["Endpoint"], case.seen.versions["deepseek-api"]

    async def turn() -> Routing | None:
        observed = await kind.observe(case.resource, world)
        seen = replace(case.seen, prompts=observed.prompts, routing=observed.routing)
        decision = kind.decide(case.resource, seen, case.now, platform=PLATFORM, owner=Owner.of(case.resource))
        for effect in decision.effects:
            if isinstance(effect, Apply) and "data" in effect.manifest:
                text = effect.manifest["data"][ROUTING_KEY]
                signature = SIGNER.sign(text, case.resource.namespace, case.resource.name)
                server.put({**effect.manifest, "data": {ROUTING_KEY: text, SIGNATURE_KEY: signature}})
        return (await kind.observe(case.resource, world)).routing

    first = await turn()
    assert first is not None
    assert first.arms["deepseek-api"].prompt is None
    assert "ConfigMap momentum does not exist" in (first.arms["deepseek-api"].prompt_fault or "")
    assert isinstance((await BY_KIND["ModelVersion"].observe(version, world)).prompt, PromptFault)

    server.put(config_map(WORDS))
    second = await turn()
    assert second is not None
    target = second.arms["deepseek-api"]
    assert (target.prompt_fault, target.prompt) == (None, PromptTemplate(**WORDS, source="momentum/system+user"))
    assert second.generation > first.generation
    assert (await BY_KIND["ModelVersion"].observe(version, world)).prompt == target.prompt

    server.put(config_map(WORDS | {"system": "You wait. {{contract}}"}))
    third = await turn()
    assert third is not None
    assert third.arms["deepseek-api"].digest != target.digest

    server.remove("ConfigMap", "momentum")
    fourth = await turn()
    assert fourth is not None
    assert fourth.arms["deepseek-api"] == third.arms["deepseek-api"]
