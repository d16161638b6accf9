"""A replayed experiment gives one path of weights and one verdict, however often the operator is killed.

Two experiments walk the same trades on Endpoints of their own. The second one's decision ids are chosen so that each
draw falls as the first one's did at every weight of the ladder; then all that differs is that its operator is killed.
"""

import csv
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from gateway_client import GatewayClient
from installation import Installation
from space import TERMINAL, Space

from manifests import endpoint, experiment, external
from tradewind.trading.assignment import hash64
from tradewind.trading.evidence import (
    EvidenceSpec,
    ExperimentRules,
    TradeTable,
    Verdict,
    candidate_weight_for_block,
    judge,
)
from workshop.client import Json
from workshop.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

T0 = datetime(2018, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
PER_DAY = 16
MOST_DAYS = 30
KILLED_ON = (1, 3, 6, 9, 12)
STEPS = ("0.3", "0.4", "0.5")
SPEC: Json = {
    "mode": "Replay",
    "replay": {"startTime": "2018-01-02T00:00:00Z"},
    "evidence": {"minDuration": "14d"},
    "traffic": {"policy": "gated", "steps": [{"weight": step} for step in STEPS]},
}


@dataclass(frozen=True)
class Trade:
    """What the market does after one decision: whether the hint is right, and how far the price goes."""

    at: datetime
    up: bool
    change: float


@dataclass(frozen=True)
class Walked:
    """One experiment after its last day."""

    endpoint: str
    resource: Json
    ids: tuple[tuple[str, ...], ...]
    epochs: tuple[tuple[int, float, str], ...]
    rows: tuple[tuple[object, ...], ...]
    csv: Path

    @property
    def uid(self) -> str:
        return str(self.resource["metadata"]["uid"])

    @property
    def verdict(self) -> Json:
        found: Json = self.resource["status"]["verdict"]
        return found


def _market() -> tuple[tuple[Trade, ...], ...]:
    """The hint is right in eight of ten; `follow` earns on it what `against` loses."""
    dice = random.Random(20180102)
    return tuple(
        tuple(
            Trade(
                T0 + day * DAY + (k + 0.5) / PER_DAY * DAY,
                dice.random() < 0.5,
                dice.uniform(0.002, 0.015) * (1 if dice.random() < 0.8 else -1),
            )
            for k in range(PER_DAY)
        )
        for day in range(MOST_DAYS)
    )


def _trade(gateway: GatewayClient, decision_id: str, trade: Trade) -> str | None:
    """Ask, open, close; the experiment that the decision was drawn in."""
    hint = "up" if trade.up else "down"
    answer = gateway.decide(decision_id, hint=hint, as_of=trade.at.isoformat())
    side = {"open_long": 1, "open_short": -1}[answer["action"]]
    earned = side * (1 if trade.up else -1) * trade.change
    gateway.opened(decision_id, at=(trade.at + timedelta(minutes=1)).isoformat(), notional=100)
    gateway.closed(decision_id, at=(trade.at + timedelta(minutes=20)).isoformat(), pnl=round(100 * earned, 6))
    return str(answer["_experiment"]) if answer["_experiment"] else None


def _walk(
    gateway: GatewayClient,
    name_of: Callable[[int, int], str],
    days: int,
    on_day: Callable[[int], None] = lambda _day: None,
) -> tuple[tuple[str, ...], ...]:
    """Days one after the other, the trades of a day at the same time; ends a day after the experiment."""
    market, ids = _market(), []
    with ThreadPoolExecutor(4) as pool:
        for day in range(days):
            names = tuple(name_of(day, k) for k in range(PER_DAY))
            ids.append(names)
            on_day(day)
            drawn = list(pool.map(lambda pair: _trade(gateway, *pair), zip(names, market[day], strict=True)))
            if not any(drawn):
                break
    return tuple(ids)


def _result(space: Space, installation: Installation, point: str, name: str, ids: Sequence[tuple[str, ...]]) -> Walked:
    resource = space.wait_phase("ABExperiment", name, *TERMINAL, seconds=60)
    uid = resource["metadata"]["uid"]
    epochs = installation.database.sql(
        "SELECT block, candidate_weight, reason FROM tradewind.epochs WHERE experiment_uid = %s ORDER BY block", uid
    )
    failed = installation.database.sql(
        "SELECT decision_id, error_kind, error_detail FROM tradewind.decisions "
        "WHERE experiment_uid = %s AND error_kind IS NOT NULL",
        uid,
    )
    assert failed == []
    rows = installation.database.sql(
        "SELECT decided_at, arm, candidate_weight, status, closed_at, notional_usd, pnl_usd "
        "FROM tradewind.judged_rows WHERE experiment_uid = %s AND candidate_weight > 0 ORDER BY decided_at",
        uid,
    )
    table = installation.export(space.name, resource)
    return Walked(point, resource, tuple(ids), tuple(epochs), tuple(rows), table)


@pytest.fixture(scope="module")
def undisturbed(space: Space, installation: Installation) -> Walked:
    space.apply(
        external("api", "against"),
        external("next", "follow"),
        endpoint("calm", "api", clock="replay"),
        endpoint("rough", "api", clock="replay"),
        experiment("calm", "calm", "api", "next", **SPEC),
    )
    space.wait_active("calm", "calm", 120)
    with space.gateway("calm") as gateway:
        ids = _walk(gateway, lambda day, k: f"calm-{day}-{k}", MOST_DAYS)
    return _result(space, installation, "calm", "calm", ids)


@pytest.fixture(scope="module")
def disturbed(space: Space, installation: Installation, undisturbed: Walked) -> Walked:
    """The same trades and draws, with the operator killed five times while a new day's first requests wait for it."""
    space.apply(experiment("rough", "rough", "api", "next", **SPEC))
    uid = space.wait_active("rough", "rough", 120)["metadata"]["uid"]
    killed: list[set[str]] = []

    def kill(day: int) -> None:
        if day in KILLED_ON:
            pods = wait_for("an operator to kill", installation.operator_pods)
            killed.append({pod["metadata"]["uid"] for pod in pods})
            installation.kill_operator()

    with space.gateway("rough") as gateway:
        ids = _walk(
            gateway,
            lambda day, k: _twin(undisturbed, uid, day, k),
            len(undisturbed.ids),
            kill,
        )
        assert gateway.waits["425"]
    assert len(killed) == len(KILLED_ON) == len(set.union(*killed))
    return _result(space, installation, "rough", "rough", ids)


def _twin(first: Walked, uid: str, day: int, k: int) -> str:
    """An id whose draw under `uid` is that of the first walk's id, at every weight of the ladder."""

    def between(experiment_uid: str, name: str) -> int:
        share = hash64(experiment_uid, name) / 2**64
        return sum(share >= float(step) for step in STEPS)

    wanted = between(first.uid, first.ids[day][k])
    return next(n for n in (f"rough-{day}-{k}-{i}" for i in range(10_000)) if between(uid, n) == wanted)


def test_the_ladder_is_climbed_to_a_verdict(space: Space, undisturbed: Walked) -> None:
    assert {weight for _, weight, _ in undisturbed.epochs} == {0.3, 0.4, 0.5}
    assert [block for block, _, _ in undisturbed.epochs] == list(range(len(undisturbed.epochs)))
    assert undisturbed.resource["status"]["phase"] == "Succeeded"
    assert (undisturbed.verdict["decision"], undisturbed.verdict["reason"]) == ("promote", "Better")
    # Promoted on its Endpoint: the requests after the verdict went to the candidate, in no experiment.
    point = space.must_get("Endpoint", "calm")["status"]
    assert point["championRef"]["name"] == "next"
    assert point["previousChampionRef"]["name"] == "api"


def test_killing_the_operator_changes_neither_weights_nor_verdict(undisturbed: Walked, disturbed: Walked) -> None:
    assert disturbed.rows == undisturbed.rows
    assert disturbed.epochs == undisturbed.epochs
    assert disturbed.verdict == undisturbed.verdict
    ours, theirs = undisturbed.resource["status"], disturbed.resource["status"]
    assert theirs["evidence"] == ours["evidence"]
    assert [arm["closedTrades"] for arm in theirs["arms"]] == [arm["closedTrades"] for arm in ours["arms"]]


@pytest.mark.parametrize("which", ["undisturbed", "disturbed"])
def test_weights_and_verdict_follow_from_the_exported_rows(which: str, request: pytest.FixtureRequest) -> None:
    walked: Walked = request.getfixturevalue(which)
    rules = {name: SPEC[name] for name in ExperimentRules.model_fields if name in SPEC}
    spec = EvidenceSpec(rules=ExperimentRules.model_validate(rules), replay=True)
    with walked.csv.open(encoding="utf-8") as lines:
        table = TradeTable.from_csv(lines)
    for block, weight, reason in walked.epochs:
        chosen = candidate_weight_for_block(table, T0, block, spec)
        assert chosen.weight == pytest.approx(weight), f"block {block}"
        assert chosen.reason == reason, f"block {block}"
        assert judge(table, T0, T0 + block * DAY, spec).verdict.verdict is Verdict.CONTINUE
    ended = datetime.fromisoformat(walked.verdict["time"])
    assert ended == T0 + len(walked.epochs) * DAY
    assert judge(table, T0, ended, spec).verdict.verdict is Verdict.PROMOTE
    # Every decision of the walk that was drawn is in the table, once, and each was asked and answered.
    with walked.csv.open(encoding="utf-8") as lines:
        names = [row["decision_id"] for row in csv.DictReader(lines)]
    assert sorted(names) == sorted(name for day in walked.ids[: len(walked.epochs)] for name in day)


def test_status_says_what_evaluate_says(space: Space, disturbed: Walked, installation: Installation) -> None:
    told, status = installation.recomputed(space.name, disturbed.resource), disturbed.resource["status"]
    assert told["operator_verdict"]["verdict"] == status["verdict"]["decision"] == "promote"
    assert told["operator_verdict"]["reason"] == status["verdict"]["reason"]
    assert told["operator_verdict"]["message"] == status["verdict"]["message"]
    assert told["block"] == status["verdict"]["block"] == status["evidence"]["decisionBlock"]
    assert told["blocks"] == status["evidence"]["blocks"]
    decisions = {"baseline": status["evidence"]["rowsBaseline"], "candidate": status["evidence"]["rowsCandidate"]}
    assert told["decisions"] == decisions
    shown = {metric["name"]: metric for metric in status["evidence"]["metrics"]}
    for theirs, ours in (("sharpe", "sharpe"), ("win_rate", "winRate")):
        for field, name in (("estimate", "estimate"), ("lower", "lower"), ("log_e_better", "logEBetter")):
            assert shown[ours][name] == pytest.approx(told["metrics"][theirs][field], abs=1e-6)


def test_neither_champion_nor_fallback_can_be_deleted(space: Space, undisturbed: Walked) -> None:
    for version in ("next", "api"):
        space.wait("ModelVersion", version, "is held", lambda seen: seen["metadata"].get("finalizers"), seconds=60)
        told = space.refused("delete", "modelversion", version, "--wait=false")
        assert f"ModelVersion {version} is in use by" in told
        assert "Endpoint/calm" in told or "Endpoint calm" in told or "Endpoint rough" in told
        assert "promote another version, change the fallback or abort the experiment first" in told
        assert space.must_get("ModelVersion", version)["metadata"].get("deletionTimestamp") is None
