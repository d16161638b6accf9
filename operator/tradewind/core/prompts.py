"""A team's own prompt: from the ConfigMap that a version names to words that an arm can be asked with, or why not.

Belongs here: reading and judging it, for the version's conditions and the routing document alike. Does not belong here: what the
words mean (trading/external_prompt.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tradewind.api.external_model import PromptTemplateRef
from tradewind.api.model_version import ModelVersion
from tradewind.trading.external_prompt import PromptTemplate, template_fault

if TYPE_CHECKING:  # whose facts are made of these
    from tradewind.core.world import World


@dataclass(frozen=True, slots=True)
class PromptFault:
    """Why there are no words to ask with; it names ConfigMap, key and remedy."""

    message: str


Prompt = PromptTemplate | PromptFault


def prompt_of(ref: PromptTemplateRef, config_map: Mapping[str, Any] | None) -> Prompt:
    """The words of a ConfigMap (None: there is none)."""
    name = f"ConfigMap {ref.name}"
    if config_map is None:
        return PromptFault(f"{name} does not exist: create it with the keys {ref.system_key} and {ref.user_key}")
    data: Mapping[str, str] = config_map.get("data") or {}
    missing = [key for key in (ref.system_key, ref.user_key) if not isinstance(data.get(key), str)]
    if missing:
        return PromptFault(f"{name} has no key {' and no key '.join(missing)} with a text: add it under data")
    parts = {f"key {key}": data[key] for key in (ref.system_key, ref.user_key)}
    fault = template_fault(parts)
    if fault is not None:
        return PromptFault(f"{name}: {fault}")
    return PromptTemplate(system=data[ref.system_key], user=data[ref.user_key], source=source_of(ref))


def source_of(ref: PromptTemplateRef) -> str:
    """Where the words are kept."""
    return f"{ref.name}/{ref.system_key}+{ref.user_key}"


async def read_prompt(version: ModelVersion, world: "World") -> Prompt | None:
    """A version's own words as they are now; None: it has none of its own."""
    ref = version.spec.external.prompt_template if version.spec.external is not None else None
    if ref is None:
        return None
    return prompt_of(ref, await world.read("v1", "ConfigMap", version.namespace, ref.name))


async def read_prompts(versions: Iterable[ModelVersion], world: "World") -> dict[str, Prompt]:
    """Own words of those that have them, by the name of the version."""
    found = {version.name: await read_prompt(version, world) for version in versions}
    return {name: prompt for name, prompt in found.items() if prompt is not None}
