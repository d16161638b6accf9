"""What an external API is asked with: one text for all protocols, since an answer depends on it and not on its envelope.

Belongs here: the words of system and user part. Does not belong here: what an arm may see (gateway/assign.py), the bodies that
carry the words (gateway/protocols/), and the prompt of own models (prompt.py), which is the one that they were trained on.
"""

from dataclasses import dataclass

from tradewind.trading.decision import DecisionInput, Limits
from tradewind.trading.prompt import CONTRACT, INSTRUCTION, render_prompt


@dataclass(frozen=True, slots=True)
class ExternalPrompt:
    """The two parts of a question: what always holds, and what is asked now."""

    system: str
    user: str


def external_prompt(shown: DecisionInput, symbol: str, limits: Limits | None) -> ExternalPrompt:
    """The instruction, the contract and the limits as system part; what is shown as the user's.

    Args:
        shown: what the arm may see.
        symbol: what is asked about.
        limits: what its answer must keep; None: none are told.
    """
    told = "" if limits is None else f"Limits: {_limits(limits)}.\n"
    return ExternalPrompt(INSTRUCTION + CONTRACT + told, render_prompt(shown, symbol).removeprefix(INSTRUCTION))


def _limits(limits: Limits) -> str:
    cap = limits.max_stop_loss_pct
    stop = "" if cap is None else f", stop_loss_pct above 0 and at most {cap:g}"
    return f"leverage at most {limits.max_leverage}, size_usd at most {limits.max_size_usd:g}{stop}"
