"""What follows from a file and a line: run inside the scratch copy, where the toys are part of the product."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import golden_worlds
import yaml
from server_double import Server, key, reconciler, thing

from tradewind.api.ab_experiment import ABExperiment
from tradewind.api.model_version import ModelVersion
from tradewind.api.parse import InvalidSpec, parse_manifest
from tradewind.core import ab_experiment
from tradewind.core.endpoint import arm_target
from tradewind.core.policy import Policy
from tradewind.gateway.protocols import PROTOCOLS, ArmQuestion
from tradewind.shell.cache import Cache
from tradewind.shell.shards import UNDIVIDED
from tradewind.shell.watch import refresh
from tradewind.trading.decision import DecisionInput
from tradewind.trading.evidence import EvidenceSpec, judge

SAMPLE = yaml.safe_load((Path(__file__).parents[1] / "crds" / "samples" / "abexperiment-toys.yaml").read_text())


def read(raw: dict[str, Any]) -> ABExperiment:
    parsed = parse_manifest(raw)
    assert isinstance(parsed, ABExperiment)
    return parsed


def test_users_can_write_it_and_what_is_out_of_bounds_is_refused() -> None:
    spec = EvidenceSpec(rules=read(SAMPLE).spec)
    assert (spec.primary.name, spec.policy.name, spec.policy.largest(spec.ladder)) == ("meanReturn", "timid", 0.05)
    assert [metric.name for metric in spec.others] == ["sharpe", "winRate"]
    wrong = parse_manifest({**SAMPLE, "spec": {**SAMPLE["spec"], "guardrails": {"losingStreak": 1}}})
    assert isinstance(wrong, InvalidSpec)
    assert "spec.guardrails.losingStreak" in wrong.message
    assert "losingStreak" in (Path(__file__).parents[1] / "crds" / "abexperiments.yaml").read_text()


def test_a_trip_rolls_back_with_its_reason_and_sentence() -> None:
    case = golden_worlds.load("ab_experiment", "running")
    asked = case.resource.model_copy(
        update={"spec": case.resource.spec.model_copy(update={"guardrails": read(SAMPLE).spec.guardrails})}
    )
    candidate = case.seen.table.candidate
    table = replace(case.seen.table, pnl=case.seen.table.pnl - 1e3 * candidate)
    status: Any = ab_experiment.decide(asked, replace(case.seen, table=table), case.now).status
    assert (status.phase, status.verdict.reason) == ("RolledBack", "LosingStreak")
    assert status.verdict.message == "the candidate lost too often in a row: evidence 3.00 of 3.00 at row 3"
    assert [g.name for g in status.guardrails if g.tripped] == ["LosingStreak"]
    assert status.weight.desired == "0"


def test_the_statistic_judges_by_it() -> None:
    case = golden_worlds.load("ab_experiment", "statistical-rollback")
    spec = EvidenceSpec(rules=read({**SAMPLE, "spec": {**SAMPLE["spec"], "guardrails": {}}}).spec)
    judgement = judge(case.seen.table, case.resource.status.t0, case.now + timedelta(days=60), spec)
    assert judgement.evidence.metrics["meanReturn"].log_e_worse > judgement.evidence.metrics["meanReturn"].log_e_better
    assert "mean return difference" in judgement.verdict.message


def test_an_api_of_the_new_protocol_is_asked_by_it_and_lies_outside() -> None:
    text = (Path(__file__).parents[1] / "crds" / "samples" / "modelversion-toy.yaml").read_text()
    version = parse_manifest(next(yaml.safe_load_all(text)))
    assert isinstance(version, ModelVersion)
    target = arm_target(version, Policy())
    assert (target.protocol, target.outside) == ("toy", True)
    protocol = PROTOCOLS[target.protocol]
    shown = DecisionInput(market_data={}, account_state={})
    url, body = protocol.request(ArmQuestion(target, shown, "BTC", None))
    assert (url, set(body)) == ("http://toy.example/v1/ask", {"shown"})
    assert protocol.authenticate("k") == {"X-Key": "k"}


async def test_the_new_kind_is_reconciled_by_the_shell_as_it_is() -> None:
    server, cache = Server(thing("Notice", "hours", {"endpoint": "trader", "text": "closed on Sundays"})), Cache()
    await refresh(cache, server, UNDIVIDED)
    await reconciler(server, cache)(key("Notice", "hours"))
    said = server.condition("Notice", "hours", "Ready")
    assert (said["status"], said["reason"]) == ("False", "EndpointMissing")
    server.put(thing("Endpoint", "trader", {"fallback": "api"}))
    await refresh(cache, server, UNDIVIDED)
    await reconciler(server, cache)(key("Notice", "hours"))
    assert server.condition("Notice", "hours", "Ready")["status"] == "True"
