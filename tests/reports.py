"""Bundles and reports for tests: of the published tables, of pairs, and with every text that somebody writes."""

import argparse
import csv
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml

from tradewind.cli.report import add_parser
from tradewind.cli.report_data import ReportData, read_bundle

FIXTURES = Path(__file__).with_name("fixtures") / "stats"
PAIRED = FIXTURES.with_name("paired")
GOLDEN = Path(__file__).with_name("golden") / "model_version"
HASH = "ab" * 32
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def bundle(table: str = "better_ladder", **status: Any) -> dict[str, Any]:
    with (FIXTURES / f"{table}.csv").open(newline="") as lines:
        trades = list(csv.DictReader(lines))
    return {
        "experiment": {
            "apiVersion": "tradewind.dev/v1alpha1",
            "kind": "ABExperiment",
            "metadata": {"name": "v1-or-api", "namespace": "trading", "uid": "u-1"},
            "spec": {"endpointRef": {"name": "trader"}, "candidate": "v1", "baseline": "deepseek-api"},
            "status": {"phase": "Running", "t0": min(t["decided_at"] for t in trades)[:10] + "T00:00:00Z"} | status,
        },
        "trades": trades,
        "notes": ["Shares <b>matter</b>."],
        "facts": {
            "latency": {
                "standinArtificialDelayMs": [500, 2000],
                "standin": {"requests": 50, "p50Ms": 1251.2, "p99Ms": 2003.0},
                "predictor": {"requests": 50, "p50Ms": 21.5, "p99Ms": 44.0},
            }
        },
    }


PROMOTED: dict[str, Any] = {
    "phase": "Succeeded",
    "verdict": {
        "decision": "promote",
        "reason": "Better",
        "message": "shown",
        "time": "2026-02-20T00:00:00Z",
        "block": 26,
    },
}


def data(table: str = "better_ladder", **status: Any) -> ReportData:
    return read_bundle(bundle(table, **status), NOW)


def written(text: Callable[[str], str], **status: Any) -> ReportData:
    """A report with `text(field)` in each field that people, models or APIs write."""
    raw = bundle(
        guardrails=[{"name": text("guardrail"), "message": text("guardrail message"), "tripped": True}], **status
    )
    for number, row in enumerate(raw["trades"]):
        changed = "reported model" if number > len(raw["trades"]) // 2 else "first model"
        row |= {"answered_at": row["decided_at"], "error_kind": "timeout" if number == 9 else ""}
        row |= {"decision_id": f"{number} {text('id')}", "reported_model": text(changed)}
    other = bundle()["experiment"]
    other["status"]["verdict"] = PROMOTED["verdict"] | {
        "reason": text("other reason"),
        "message": text("other message"),
    }
    external = {"model": text("model"), "baseURL": text("url")}
    raw |= {
        "notes": [text("note")],
        "otherExperiments": [other],
        "modelVersions": [
            {"metadata": {"name": text("version")}, "spec": {"external": external}},
            {
                "metadata": {"name": "v1"},
                "spec": {"adapter": {"sha256": text("sha")}},
                "status": {"phase": text("phase")},
            },
        ],
        "trainingRun": {
            "status": {
                "dataset": {"perLabel": {text("label"): 1}, "sha256": text("data")},
                "result": {"torch": text("torch")},
            }
        },
    }
    report = read_bundle(raw, NOW)
    # Names have a form that no API server and no bundle lets through; the page does not rest on that.
    experiment = report.experiment.model_copy(
        update={
            "metadata": report.experiment.metadata.model_copy(update={"name": text("experiment")}),
            "spec": report.experiment.spec.model_copy(
                update={"candidate": text("candidate"), "baseline": text("baseline")}
            ),
        }
    )
    return replace(report, experiment=experiment)


def paired(name: str = "v1", *, factor: float = 1.0, idle: bool = False) -> ReportData:
    """An experiment with pairs, its forecast and its prices; `factor` scales returns (papers by 1,000 at most), an idle candidate trades nothing."""
    experiment = json.loads((PAIRED / "both_better.yaml").read_text())
    experiment["metadata"] |= {"uid": "u1", "namespace": "trading"}
    experiment["spec"] |= {"costs": {"monthlyServerCNY": "2500", "baselinePricePerCallCNY": "0.1"}}
    shadows = [{"shadow": "none", "chance": 0.21, "days": 212}, {"shadow": "both", "chance": 0.93, "days": 31}]
    told = {
        "effect": 0.1,
        "chance": 0.61,
        "expectedDaysLeft": 12,
        "detectable": 0.13,
        "decisionsPerDay": 8,
        "block": 60,
    }
    remedy = f"a verdict in 61%; shadow: both would need 31 days instead of 212 ({name})"
    weak = {"type": "Underpowered", "status": "True", "reason": "Underpowered", "message": remedy}
    experiment["status"] = {
        "phase": "Running",
        "t0": "2026-01-01T00:00:00Z",
        "maxHold": "24h",
        "basis": {"shadow": "both", "boundary": "fixedHorizon"},
        "forecast": told | {"shadows": shadows},
        "conditions": [weak | {"lastTransitionTime": "2026-01-25T00:00:00Z"}],
    }
    with (PAIRED / "both_better.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        row |= {
            f"paper_{arm}": f"{min(factor, 1e3) * float(row[f'paper_{arm}']):.9f}" for arm in ("baseline", "candidate")
        }
        row |= {"pnl_usd": f"{factor * float(row['pnl_usd']):.6f}"} if row["pnl_usd"] else {}
        if idle and row["arm"] == "candidate":
            row |= {"status": "hold", "closed_at": "", "notional_usd": "", "pnl_usd": ""}
    report = read_bundle({"experiment": experiment, "trades": rows}, NOW)
    spec = report.experiment.spec.model_copy(update={"candidate": name})
    return replace(report, experiment=report.experiment.model_copy(update={"spec": spec}))


class Page(HTMLParser):
    """Fails on tags that do not match; keeps elements with their attributes' names, texts and what could leave the file."""

    VOID = frozenset({"meta", "line", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.elements: list[tuple[str, ...]] = []
        self.texts = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *(name for name, _ in attrs)))
        self.links += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href", "action")]

    def handle_data(self, data: str) -> None:
        self.texts += data

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def run(*argv: str, fetch: Any = None) -> int:
    """Exit code of `tradewind report`."""
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(), fetch)
    args = parser.parse_args(["report", *argv])
    return int(args.run(args))


def training_run(status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    base = {
        "baseModel": {"uri": "pvc://models/base"},
        "dataset": {"endpoint": "trader"},
        "output": {"uri": "pvc://models/runs"},
    }
    return {
        "apiVersion": "tradewind.dev/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": "weekly-1", "namespace": "trading", "uid": "u-1"},
        "spec": base | spec,
        "status": status or {},
    }


def trained() -> dict[str, Any]:
    curve = [{"step": 10 * n, "loss": 2 / n, "learningRate": 0.0002 / n} for n in range(1, 20)]
    curve[-1]["evalLoss"] = 0.3
    condition = {"type": "Succeeded", "status": "True", "reason": "Registered", "message": "registered weekly-1", "lastTransitionTime": "2026-03-01T04:30:00Z"}  # fmt: skip
    return {
        "phase": "Succeeded",
        "startTime": "2026-03-01T02:00:00Z",
        "completionTime": "2026-03-01T04:30:00Z",
        "conditions": [condition],
        "dataset": {"uri": "pvc://models/runs/weekly-1/dataset", "sha256": HASH, "rows": 812, "watermark": "2026-02-28T00:00:00Z",
                    "perLabel": {"good": 500, "excellent": 312}, "perAction": {"open_long": 812}, "dropped": {"open": 7, "of_tomorrow": 1}},
        "gates": [{"name": "minSamples", "value": 812, "threshold": 500, "passed": True}, {"name": "minReviewedAccuracy"}],
        "plan": {"method": "lora", "reason": "there is room"},
        "progress": {"percent": 100, "step": 190, "totalSteps": 190, "curve": curve},
        "result": {"uri": "pvc://models/runs/weekly-1/adapter", "sha256": HASH, "baseSha256": HASH, "steps": 190, "samples": 812,
                   "seconds": 8000, "loss": 0.11, "evalLoss": 0.3, "baseEvalLoss": 1.2, "tokensPerSecond": 1412, "torch": "2.9"},
        "attempts": 2, "interruptions": 1, "modelVersionRef": {"name": "weekly-1"}, "gpuSeconds": 9000, "costCNY": 20.5,
        "source": "weekly",
    }  # fmt: skip


def model_version(status: dict[str, Any] | None = None, **evaluation: Any) -> dict[str, Any]:
    adapter = {"uri": "pvc://models/runs/r7", "sha256": HASH, "baseModel": {"uri": "pvc://models/base"}}
    gates = {"minAgreement": "0.6", "maxSharpeLoss": "0.1"}
    judged = {"dataset": {"endpoint": "trader", "minRows": 50}, "bars": {"uri": "pvc://models/bars", "horizon": "24h"}, "gates": gates}  # fmt: skip
    return {
        "apiVersion": "tradewind.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {"name": "v1", "namespace": "trading", "uid": "u-1"},
        "spec": {"adapter": adapter, "evaluation": judged | evaluation},
        "status": status or {},
    }


def decided(case: str) -> dict[str, Any]:
    """Status of a ModelVersion as the operator writes it in a golden case."""
    status: dict[str, Any] = yaml.safe_load((GOLDEN / case / "expected.yaml").read_text())["status"]
    return status


def evaluated() -> dict[str, Any]:
    """Status of a version with every number that an evaluation can have, and one gate that it did not pass."""
    status = decided("evaluation-agreement-failed")
    status["evaluation"]["taught"] = {"leaked": 3, "asked": 50, "agreement": 0.98}
    status["benchmark"]["at"].append({"concurrency": 16, "p50Ms": 101.5, "p99Ms": 260.25, "decisionsPerSecond": 120})
    status["inUseBy"] = ["ABExperiment/v1-or-api"]
    return status
