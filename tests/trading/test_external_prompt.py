"""What a template may hold, and what each fault is called."""

import pytest

from tradewind.trading.decision import DecisionInput
from tradewind.trading.external_prompt import (
    MAX_TEMPLATE_BYTES,
    TEMPLATE_FIELDS,
    PromptTemplate,
    external_prompt,
    template_fault,
)

SYSTEM, USER = "key system", "key user"


@pytest.mark.parametrize(
    ("system", "user", "fault"),
    [
        ("be good", "{{market_data}}", None),
        ("{{ market_data }}", "{{symbol}}", None),
        ('{"a": {"b": 1}} {{contract}}', "{{{market_data}}}", None),
        (" \n", "{{market_data}}", "key system is empty: write"),
        ("be good", "", "key user is empty: write"),
        ("be good", "{{symbol}}", "no part has {{market_data}}: without it every question is the same"),
        ("{{Market_Data}}", "{{market_data}}", "key system has the field {{Market_Data}}, which does not exist: the fields are {{market_data}},"),
        ("be good", "{{market_data}} {{api.key}}", "key user has the field {{api.key}}"),
        ("be good", "{{market_data}} {{", "key user has {{ without the name of a field"),
        ("be good", "{{market_data}} {{ a b }}", "key user has {{ without the name of a field"),
        ("be good", "{{market_data}} {{x.__class__[0]}}", "key user has {{ without the name of a field"),
        ("\u00e9" * (MAX_TEMPLATE_BYTES // 2), "{{market_data}}", "32,783 bytes together, at most 32,768 are taken"),
    ],
)  # fmt: skip
def test_a_fault_names_the_part_and_the_remedy(system: str, user: str, fault: str | None) -> None:
    found = template_fault({SYSTEM: system, USER: user})
    assert found == fault if fault is None else (found or "").startswith(fault)


def test_every_field_that_is_offered_is_filled() -> None:
    shown = DecisionInput(market_data={"p": 1}, account_state={"b": 2}, recent_history=({"a": 3},))
    for name in TEMPLATE_FIELDS:
        template = PromptTemplate(system="s", user=f"<{{{{{name}}}}}>")
        user = external_prompt(shown, "BTC", None, template).user
        assert "{" + "{" not in user
        assert len(user) > 2
    template = PromptTemplate(system="{{limits}}", user="{{market_data}}{{account_state}}{{recent_history}}{{symbol}}")
    asked = external_prompt(shown, "BTC", None, template)
    assert (asked.system, asked.user) == ("none", '{"p":1}{"b":2}[{"a":3}]BTC')


def test_the_hash_is_that_of_the_words_and_of_their_places() -> None:
    one = PromptTemplate(system="a", user="b", source="x")
    assert one.digest == PromptTemplate(system="a", user="b", source="y").digest
    assert (
        len({one.digest, PromptTemplate(system="b", user="a").digest, PromptTemplate(system="ab", user="").digest}) == 3
    )
    assert one.identity == f"prompt:{one.digest[:12]}"
