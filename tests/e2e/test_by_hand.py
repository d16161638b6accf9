"""A champion by hand on the real cluster: promote and rollback in the phases of an experiment, refusals, a killed operator."""

import json
import subprocess
from collections.abc import Iterator

import pytest
from gateway_client import GatewayClient, Load
from installation import Installation
from space import Space

from manifests import endpoint, experiment, external
from workshop.client import condition
from workshop.waiting import wait_for

pytestmark = pytest.mark.e2e

HALF = {"traffic": {"policy": "fixed", "weight": "0.5"}}


@pytest.fixture(scope="module")
def trader(space: Space) -> Iterator[GatewayClient]:
    space.apply(
        external("api", "steady"),
        external("next", "follow"),
        external("other", "against"),
        endpoint("trader", "api"),
    )
    with space.gateway("trader") as gateway:
        yield gateway


def _me(space: Space) -> str:
    return space.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")


def _tradewind(space: Space, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, as the user of the tests."""
    return space.tradewind(*arguments, "--timeout", "150")


def _champion(space: Space) -> tuple[str, str | None]:
    status = space.must_get("Endpoint", "trader")["status"]
    return status["championRef"]["name"], (status.get("previousChampionRef") or {}).get("name")


def _promotions(installation: Installation, space: Space) -> list[tuple[str, str | None, str, str | None]]:
    return installation.database.sql(  # type: ignore[return-value]
        "SELECT version, previous_version, reason, message FROM tradewind.promotions "
        "WHERE namespace = %s AND endpoint = 'trader' ORDER BY id",
        space.name,
    )


def _verdict(installation: Installation, space: Space, name: str) -> tuple[str, str]:
    ((decision, reason),) = installation.database.sql(
        "SELECT decision, decision_reason FROM tradewind.experiments WHERE namespace = %s AND name = %s",
        space.name,
        name,
    )
    return decision, reason


def test_what_cannot_be_is_refused_and_the_champion_stays(space: Space, trader: GatewayClient) -> None:
    by = f"tradewind.dev/by={_me(space)}"
    told = space.refused("annotate", "endpoints.tradewind.dev", "trader", "tradewind.dev/promote=next/r1", by)
    assert "needs tradewind.dev/reason" in told
    told = space.refused("annotate", "endpoints.tradewind.dev", "trader", "tradewind.dev/rollback=r1")
    assert "tradewind.dev/by" in told
    first = _tradewind(space, "rollback", "trader")
    assert first.returncode == 1, first.stdout + first.stderr
    assert "api is the first champion" in first.stderr
    missing = _tradewind(space, "promote", "nobody", "--endpoint", "trader", "--reason", "a typo")
    assert missing.returncode == 1, missing.stdout + missing.stderr
    assert "ModelVersion nobody does not exist" in missing.stderr
    assert _champion(space) == ("api", None)
    seen = space.must_get("Endpoint", "trader")
    assert condition(seen, "ChampionByHand")["status"] == "False"
    assert [entry["reason"] for entry in seen["status"]["history"]] == ["NoPreviousChampion", "VersionMissing"]


def test_a_promotion_by_hand_ends_the_experiment_and_no_decision_is_lost(
    space: Space, trader: GatewayClient, installation: Installation
) -> None:
    space.apply(experiment("first", "trader", None, "other", **HALF))
    space.wait_active("trader", "first", 90)
    with Load(trader, "promoted") as load:
        load.more(10)
        done = _tradewind(space, "promote", "next", "--endpoint", "trader", "--reason", "next is cheaper")
        load.more(10)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "promoted next in place of api: next is cheaper" in done.stdout
    assert load.failed == []
    assert _champion(space) == ("next", "api")
    ended = space.wait_phase("ABExperiment", "first", "Aborted")
    assert ended["status"]["verdict"]["reason"] == "ChampionByHand"
    assert _verdict(installation, space, "first") == ("abort", "ChampionByHand")
    assert _promotions(installation, space) == [
        ("api", None, "FirstChampion", None),
        ("next", "api", "PromotedByHand", "next is cheaper"),
    ]
    answer = trader.decide("after-the-promotion")
    assert (answer["_model_used"], answer["_arm"]) == ("next", None)
    # What was drawn for an arm stays with it.
    drawn = installation.database.sql(
        "SELECT DISTINCT arm, drawn_version FROM tradewind.decisions WHERE namespace = %s AND experiment_uid = %s",
        space.name,
        ended["metadata"]["uid"],
    )
    assert set(drawn) <= {("baseline", "api"), ("candidate", "other")}


def test_the_same_annotation_acts_once(space: Space, trader: GatewayClient, installation: Installation) -> None:
    before = _promotions(installation, space)
    value = space.must_get("Endpoint", "trader")["metadata"]["annotations"]["tradewind.dev/promote"]
    kind, by = "endpoints.tradewind.dev", f"tradewind.dev/by={_me(space)}"
    space.kubectl("annotate", kind, "trader", "tradewind.dev/promote-")
    reason = "tradewind.dev/reason=a Git tool puts it back"
    space.kubectl("annotate", kind, "trader", "--overwrite", f"tradewind.dev/promote={value}", reason, by)
    rolled = _tradewind(space, "rollback", "trader", "--reason", "next loses")
    assert rolled.returncode == 0, rolled.stdout + rolled.stderr
    assert "another rollback would lead to next" in rolled.stdout
    assert _champion(space) == ("api", "next")
    assert _promotions(installation, space) == [*before, ("api", "next", "RolledBackByHand", "next loses")]


def test_a_rollback_while_an_experiment_runs_survives_a_killed_operator(
    space: Space, trader: GatewayClient, installation: Installation
) -> None:
    before = _promotions(installation, space)
    space.apply(experiment("second", "trader", None, "other", **HALF, retest="allowed"))
    space.wait_active("trader", "second", 90)
    by = f"tradewind.dev/by={_me(space)}"
    space.kubectl(
        "annotate", "endpoints.tradewind.dev", "trader", "--overwrite", "tradewind.dev/rollback=next/e2e-1", by
    )
    for _ in range(2):
        installation.kill_operator()
    wait_for("next to be champion again", lambda: _champion(space), lambda who: who == ("next", "api"), seconds=180)
    assert _verdict(installation, space, "second") == ("abort", "ChampionByHand")
    new = _promotions(installation, space)[len(before) :]
    assert [(version, previous, reason) for version, previous, reason, _ in new] == [
        ("next", "api", "RolledBackByHand")
    ]
    space.wait_condition("Endpoint", "trader", "WeightsApplied", seconds=150)
    assert trader.decide("after-the-kill")["_model_used"] == "next"
    assert json.dumps(space.routing("trader").get("experiment")) == "null"
