"""A model behind somebody else's API: the part of a ModelVersion that says how it is asked.

Belongs here: the fields of `spec.external` and the rules across them. Does not belong here: what protocols make of them
(gateway/protocols/).
"""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from tradewind.api.common import SecretKeyRef
from tradewind.schema.bounds import ARM_TIMEOUT, PROBE_INTERVAL, Within
from tradewind.schema.checked import Checked
from tradewind.schema.json_text import checked_extra_body
from tradewind.schema.names import Symbol
from tradewind.schema.rules import Rule, StrictModel
from tradewind.schema.scalars import (
    ConfigMapKey,
    ConfigMapName,
    DecimalText,
    Duration,
    Fraction,
    HttpURL,
    Latency,
    OneOf,
    PositiveDecimal,
)
from tradewind.trading.routing import EXTERNAL_PROTOCOLS

_TEMPERATURE = "must be a number from 0 to 2 in quotes, such as '0' or '0.7', or none"
_EXTRA_BODY = "must be a JSON object on one line as text, such as '{\"top_p\": 0.9}'"


class Retry(StrictModel):
    """When a question is asked again: a connection that was not made, an empty answer, 408, 409, 429 and 5xx."""

    max: Annotated[int, Field(ge=0, le=5)] = 2
    """Calls beyond the first, within the timeout and the API's Retry-After."""
    budget: Fraction = "0.2"
    """Calls beyond the first as a share of the questions, so that an outage does not multiply them."""


class Prices(StrictModel):
    """What a million tokens cost. An answer that does not tell its tokens costs `pricePerCallCNY`."""

    input_per_million: DecimalText
    """Tokens of the question."""
    cached_input_per_million: DecimalText | None = None
    """Tokens of the question that the API had in its cache; absent: as the others."""
    cache_write_per_million: DecimalText | None = None
    """Tokens of the question that the API wrote into its cache; absent: as the others."""
    output_per_million: DecimalText
    """Tokens of the answer, thoughts included."""
    currency: Literal["CNY", "USD"] = "CNY"
    """Currency of the prices."""
    cny_per_usd: PositiveDecimal | None = None
    """Exchange rate for prices in USD, such as '7.1'."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.currency) && self.currency == 'USD') == has(self.cnyPerUSD)",
            lambda s: (s.currency == "USD") == (s.cny_per_usd is not None),
            "cnyPerUSD belongs to prices in USD, and they to it",
            "cnyPerUSD",
        ),
    )


class PromptTemplateRef(StrictModel):
    """A ConfigMap in the same namespace with the words of a question. Its text may change; an experiment takes note."""

    name: ConfigMapName
    """Name of the ConfigMap."""
    system_key: ConfigMapKey = "system"
    """Key of the system part."""
    user_key: ConfigMapKey = "user"
    """Key of the user part."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.systemKey) ? self.systemKey : 'system') != (has(self.userKey) ? self.userKey : 'user')",
            lambda s: s.system_key != s.user_key,
            "systemKey and userKey must differ: the two parts are two texts",
            "userKey",
        ),
    )


class ExternalModel(StrictModel):
    """A model behind somebody else's API, such as DeepSeek's."""

    protocol: Annotated[str, OneOf(EXTERNAL_PROTOCOLS)] = EXTERNAL_PROTOCOLS[0]
    """What the API speaks. openai: chat completions, as OpenAI, DeepSeek and most others have them. anthropic: the Messages API."""
    base_url: HttpURL
    """URL before `/chat/completions` or `/messages`, such as https://api.deepseek.com/v1 or https://api.anthropic.com/v1."""
    model: Annotated[str, Field(min_length=1, max_length=128)]
    """Model name that the API expects, such as deepseek-chat."""
    secret_ref: SecretKeyRef | None = None
    """Secret key with the API key; absent: none is sent. The Secret names under `allowedHosts` the hosts that the key is for,
    such as api.deepseek.com; it is sent nowhere else."""
    timeout: Annotated[Latency, Within(ARM_TIMEOUT, latency=True)] = "5s"
    """How long an answer is waited for."""
    retry: Retry = Retry()
    """When a question is asked again."""
    temperature: Annotated[str, Checked("(none|[01]([.][0-9]{1,4})?|2([.]0{1,4})?)", _TEMPERATURE, 8)] | None = None
    """Sampling temperature from 0 to 2, with anthropic to 1; none: it is not sent, for models that refuse it. Absent: 0, with
    anthropic none, since its newer models refuse it."""
    response_format: Literal["json_object", "json_schema", "none"] = "json_object"
    """How the API is told to answer in JSON: any object, the schema of a decision, or not at all. anthropic knows no
    json_object: the question alone asks for one."""
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Most tokens of an answer; absent: the API's own limit, with anthropic, which demands one, 4096. Thoughts count."""
    thinking: Literal["enabled", "disabled", "adaptive"] | None = None
    """Whether the model thinks first (`thinking.type`): enabled and disabled as DeepSeek and others take it, adaptive and
    disabled as anthropic does; absent: it is not sent."""
    extra_body: Annotated[str, Checked("[{].*[}]", _EXTRA_BODY, 4096), AfterValidator(checked_extra_body)] | None = None
    """JSON object as text that is sent beside the rest, such as '{"top_p": 0.9}'; it may not name model, messages or stream."""
    prompt_template: PromptTemplateRef | None = None
    """Own words for the question, with fields in double braces such as market_data; absent: Tradewind's."""
    symbol_aliases: Annotated[
        dict[str, Annotated[tuple[Symbol, ...], Field(min_length=1, max_length=16)]],
        Field(max_length=64),
    ] = Field(default_factory=dict)
    """Other spellings of a symbol in answers, such as BTC: [BTCUSDT, BTC/USDT]."""
    price_per_call_cny: DecimalText | None = None
    """Price of a call in CNY, for cost reports; counted where the tokens or their prices are not known."""
    prices: Prices | None = None
    """Prices of the tokens that the API says were used."""
    probe_interval: Annotated[Duration, Within(PROBE_INTERVAL, latency=False)] = "1h"
    """How long no decision may have asked it before a gateway asks a question of its own, at its price; 0s: only at the start,
    after a change and after an error."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.protocol) || self.protocol != 'anthropic' || !has(self.thinking) || self.thinking != 'enabled'",
            lambda s: s.protocol != "anthropic" or s.thinking != "enabled",
            "thinking enabled needs a budget with protocol anthropic: use adaptive, or for models that do not know it give "
            'extraBody \'{"thinking": {"type": "enabled", "budget_tokens": 2048}}\' and a maxTokens above the budget',
            "thinking",
        ),
        Rule(
            "!has(self.protocol) || self.protocol != 'anthropic' || !has(self.temperature) || "
            "!self.temperature.matches('^[0-9]([.][0-9]+)?$') || double(self.temperature) <= 1.0",
            lambda s: s.protocol != "anthropic" or s.temperature in (None, "none") or float(s.temperature) <= 1,
            "temperature must be at most '1' with protocol anthropic",
            "temperature",
        ),
    )
