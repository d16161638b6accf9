"""What an external API is asked with: one text for all protocols, since an answer depends on it and not on its envelope.

Belongs here: the words of system and user part, ours or a team's own. Does not belong here: what an arm may see
(gateway/assign.py), the bodies that carry the words (gateway/protocols/), where a team keeps its own (core/prompts.py), and the
prompt of own models (prompt.py), which is the one that they were trained on.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tradewind.schema.rules import StrictModel
from tradewind.trading.decision import DecisionInput, Limits, canonical_json
from tradewind.trading.prompt import CONTRACT, INSTRUCTION, render_prompt

MAX_TEMPLATE_BYTES: Final = 32 * 1024
TEMPLATE_FIELDS: Final[Mapping[str, str]] = {
    "market_data": "the question's `market_data` as JSON",
    "account_state": "what the arm may see of `account_state`, as JSON",
    "recent_history": "the version's own newest decisions in this scope, as JSON",
    "symbol": "what is asked about",
    "limits": "the limits that an answer must keep, in words",
    "contract": "what a decision is: its keys, units and ranges, in the words of the schema",
}
"""Fields of a template, and what stands in their place."""
_FIELD = re.compile(r"\{\{\s*([A-Za-z0-9_.-]{1,64})\s*\}\}")
_SHOWN: Final = "market_data"


@dataclass(frozen=True, slots=True)
class ExternalPrompt:
    """The two parts of a question: what always holds, and what is asked now."""

    system: str
    user: str


class PromptTemplate(StrictModel):
    """A team's own words, with fields in double braces."""

    system: str
    user: str
    source: str = ""
    """Where they are kept, for people; no part of what they are."""

    @property
    def digest(self) -> str:
        """SHA-256 of the words, hexadecimal: another one is another arm."""
        return hashlib.sha256(canonical_json([self.system, self.user]).encode()).hexdigest()

    @property
    def identity(self) -> str:
        """How answers to it are told from those to other words; before the name that the API gives itself."""
        return f"prompt:{self.digest[:12]}"


def template_fault(parts: Mapping[str, str]) -> str | None:
    """What is wrong with a template, with the name of the part and the remedy; None: nothing.

    Args:
        parts: the texts by the names that their author knows them by.
    """
    size = sum(len(text.encode()) for text in parts.values())
    if size > MAX_TEMPLATE_BYTES:
        return f"{size:,} bytes together, at most {MAX_TEMPLATE_BYTES:,} are taken: shorten it"
    known = ", ".join(f"{{{{{name}}}}}" for name in TEMPLATE_FIELDS)
    used: set[str] = set()
    for part, text in parts.items():
        if not text.strip():
            return f"{part} is empty: write what the model is to be told there"
        names = [match[1] for match in _FIELD.finditer(text)]
        unknown = next((name for name in names if name not in TEMPLATE_FIELDS), None)
        if unknown is not None:
            return f"{part} has the field {{{{{unknown}}}}}, which does not exist: the fields are {known}"
        if "{{" in _FIELD.sub("", text):
            return f"{part} has {{{{ without the name of a field after it: write a field ({known}) or a single brace"
        used.update(names)
    if _SHOWN not in used:
        return (
            f"no part has {{{{{_SHOWN}}}}}: without it every question is the same; put it where the market is to stand"
        )
    return None


def external_prompt(
    shown: DecisionInput, symbol: str, limits: Limits | None, template: PromptTemplate | None = None
) -> ExternalPrompt:
    """The instruction, the contract and the limits as system part; what is shown as the user's. Or a team's own words.

    Args:
        shown: what the arm may see.
        symbol: what is asked about.
        limits: what its answer must keep; None: none are told.
        template: own words, without a fault.
    """
    if template is not None:
        values = {
            "market_data": canonical_json(dict(shown.market_data)),
            "account_state": canonical_json(dict(shown.account_state)),
            "recent_history": canonical_json([dict(h) for h in shown.recent_history]),
            "symbol": symbol,
            "limits": "none" if limits is None else _limits(limits),
            "contract": CONTRACT.strip(),
        }
        return ExternalPrompt(*(_filled(text, values) for text in (template.system, template.user)))
    told = "" if limits is None else f"Limits: {_limits(limits)}.\n"
    return ExternalPrompt(INSTRUCTION + CONTRACT + told, render_prompt(shown, symbol).removeprefix(INSTRUCTION))


def _filled(text: str, values: Mapping[str, str]) -> str:
    """One pass: a value that looks like a field stays as it is."""
    return _FIELD.sub(lambda match: values[match[1]], text)


def _limits(limits: Limits) -> str:
    cap = limits.max_stop_loss_pct
    stop = "" if limits.may_lack_stop else ", stop_loss_pct above 0" + ("" if cap is None else f" and at most {cap:g}")
    return f"leverage at most {limits.max_leverage}, size_usd at most {limits.max_size_usd:g}{stop}"
