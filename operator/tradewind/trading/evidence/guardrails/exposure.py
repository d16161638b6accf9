"""Exposure: arms that carry very different sizes are not compared. It holds promotion and rolls nothing back."""

from decimal import Decimal
from math import isfinite
from typing import Annotated, ClassVar

from pydantic import Field

from tradewind.schema.rules import Rule, StrictModel
from tradewind.schema.scalars import PositiveDecimal, cel_number
from tradewind.trading.evidence.guardrails.base import Guardrail, GuardrailResult, Unit, Watched

_LOW, _HIGH = (cel_number(f"self.exposureRatio[{index}]") for index in (0, 1))


class ExposureSettings(StrictModel):
    """Its field of `spec.guardrails`."""

    exposure_ratio: Annotated[tuple[PositiveDecimal, ...], Field(min_length=2, max_length=2)] = ("0.5", "2")
    """Lowest and highest ratio of the arms' mean exposure; outside of it promotion holds."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.exposureRatio) || self.exposureRatio.size() != 2 "
            f"|| ({_LOW} <= 1.0 && {_HIGH} >= 1.0 && {_LOW} < {_HIGH})",
            lambda s: _around_one(*map(Decimal, s.exposure_ratio)),
            "exposureRatio must be [lowest, highest] around 1, such as ['0.5', '2']",
            "exposureRatio",
        ),
    )


class ExposureGuardrail(Guardrail[ExposureSettings]):
    """Watches the ratio of mean filled notionals, candidate over baseline; an arm that has not traded is not comparable."""

    reason: ClassVar[str] = "ExposureNotComparable"
    settings: ClassVar[type[StrictModel]] = ExposureSettings
    unit: ClassVar[Unit] = Unit.RATIO
    holds: ClassVar[bool] = True
    trips: ClassVar[str] = (
        "the ratio of mean filled notionals lies outside `exposureRatio`: promotion is held, nothing is rolled back"
    )
    row: ClassVar[str] = "none"

    def watch(self, settings: ExposureSettings, facts: Watched) -> GuardrailResult:
        """Tripped while the ratio is unknown, too."""
        low, high = map(float, settings.exposure_ratio)
        ratio = facts.exposures.ratio
        tripped = not low <= ratio <= high
        told = self.unit.show(ratio) if isfinite(ratio) else "unknown (an arm has not traded)"
        said = f"the ratio of mean exposure, candidate over baseline, is {told}, outside {low:g} to {high:g}"
        bound = low if ratio < low else high
        return GuardrailResult(self, tripped, ratio, bound, None, facts.exposures.trades, said if tripped else "")


def _around_one(low: Decimal, high: Decimal) -> bool:
    return low <= 1 <= high and low < high


EXPOSURE = ExposureGuardrail()
