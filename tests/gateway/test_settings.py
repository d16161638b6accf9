"""The gateway's variables: one table, which the operator that sets them and the process that reads them both keep."""

from pathlib import Path
from typing import Any

import golden_worlds
import pytest

from tradewind.core.decision import Apply
from tradewind.gateway.settings import VARIABLES, Settings, SettingsError, Variable

PAGE = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text(encoding="utf-8")
REQUIRED = {
    "TRADEWIND_DSN": "postgresql://u:p@db/x",
    "TRADEWIND_ROUTING": "file:/x",
    "TRADEWIND_ROUTING_TRUST": "unsigned",
    "TRADEWIND_NAMESPACE": "ns",
    "TRADEWIND_ENDPOINT": "trader",
    "TRADEWIND_AUTH": "disabled",
}


def container_environment() -> dict[str, Any]:
    """What the operator sets on the gateway's container; values from elsewhere (Secret, pod) as a DSN."""
    decision = golden_worlds.load("endpoint", "renews-expiry-and-keeps-the-generation").decide()
    manifests = [effect.manifest for effect in decision.effects if isinstance(effect, Apply)]
    (deployment,) = [manifest for manifest in manifests if manifest["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", REQUIRED["TRADEWIND_DSN"]) for each in container["env"]}


def test_the_gateway_knows_each_variable_that_the_operator_sets_and_accepts_its_value() -> None:
    found = container_environment()
    assert found.keys() <= {variable.name for variable in VARIABLES}
    settings = Settings.from_environment(found)
    assert f"{settings.decision_timeout:g}" == found["TRADEWIND_DECISION_TIMEOUT_SECONDS"]
    assert str(settings.breaker_failures) == found["TRADEWIND_BREAKER_FAILURES"]


@pytest.mark.parametrize("variable", [v for v in VARIABLES if v.range is not None], ids=lambda v: v.name)
def test_a_number_has_the_bounds_that_the_page_shows(variable: Variable) -> None:
    assert variable.range is not None
    low, high = variable.range.low, variable.range.high
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{variable.name}` |")]
    assert f"({variable.bounds})" in row
    for value in (variable.default or "", f"{low:.15g}", f"{high:.15g}"):
        Settings.from_environment(REQUIRED | {variable.name: value})
    for value in (f"{low - 1:.15g}", f"{high + 1:.15g}", "nan"):
        with pytest.raises(SettingsError, match=variable.name) as error:
            Settings.from_environment(REQUIRED | {variable.name: value})
        assert variable.bounds in str(error.value)
