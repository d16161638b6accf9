"""Specs of experiments for tests, as users write them."""

from datetime import timedelta
from typing import Any

from tradewind.trading.evidence import Basis, EvidenceSpec, ExperimentRules, Settlement


def spec(
    *,
    max_hold: timedelta | None = None,
    retest: int = 0,
    replay: bool = False,
    basis: Basis | None = None,
    **rules: dict[str, Any],
) -> EvidenceSpec:
    """The spec with these fields of `evidence`, `traffic` and `guardrails`, in the manifest's spelling."""
    return EvidenceSpec(
        rules=ExperimentRules.model_validate(rules),
        settlement=Settlement() if max_hold is None else Settlement(max_hold),
        retest=retest,
        replay=replay,
        basis=basis,
    )


def anytime(evidence: dict[str, Any] | None = None, **other: Any) -> EvidenceSpec:
    """The same with the boundary that knows no end, which the tables of fixtures/stats were made for."""
    return spec(evidence={"boundary": "anytime", **(evidence or {})}, **other)


ANYTIME = anytime()
