"""The demo, from outcomes to a verdict on a real cluster: what `make demo` runs once the cluster and the images are there.

    python demo/run.py            options by environment: COST_BP=1.2 BARS=5000 DEMO_NAMESPACE=tradewind-demo

Phases: charts, the stand-in API; the API arm alone on the first 60 % of the bars, the tiny base model beside it; a LoRA on what
its trades came to, and beside it a second experiment with a broken arm; the A/B test in Replay on the rest; report and
timings under build/demo. Nothing decides here but the operator: the driver applies manifests, starts paper traders and waits. Each run
uses names of its own, so that a second run starts anew; base model, images and cluster are reused.
"""

import base64
import json
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    # Run as a script: the folder itself is on the path, the package's parent is not.
    sys.path[0] = str(ROOT)

from cluster import current  # noqa: E402 - the path comes first
from cluster.images import built  # noqa: E402 - the path comes first
from cluster.layout import Layout  # noqa: E402 - the path comes first
from demo.bars import WARMUP  # noqa: E402 - the path comes first
from demo.manifest import base_model_scripts, render  # noqa: E402 - the path comes first
from demo.plan import Plan, make_plan  # noqa: E402 - the path comes first
from demo.verdicts import Verdicts  # noqa: E402 - the path comes first
from workshop import charts  # noqa: E402 - the path comes first
from workshop.client import Cluster, Json, is_true  # noqa: E402 - the path comes first
from workshop.namespace import Namespace  # noqa: E402 - the path comes first
from workshop.progress import Progress, StepError, say  # noqa: E402 - the path comes first
from workshop.waiting import wait_for  # noqa: E402 - the path comes first

OUTPUT: Final = ROOT / "build" / "demo"
BROKEN_BARS: Final = 720  # of the second experiment: 72 requests at 10 % a month, more than enough at 20 % against 2 %
AFTER_VERDICT: Final = 48  # decisions: two days show that the winner answers, the rest of the bars decides nothing
CLEAR_SECONDS: Final = 300
BASE_FOLDER: Final = "base"  # of demo/manifests/base-model.yaml
PODS_USER: Final = 65532  # of every pod that writes there
TERMINAL: Final = ("Succeeded", "RolledBack", "Inconclusive", "Aborted")
FAILED: Final = ("Failed", "Skipped", "Invalid")  # phases that nothing leads out of


class Demo:
    """One run of the demo. The methods are its phases, in the order in which `play` calls them."""

    def __init__(self, plan: Plan, space: Namespace, images: Mapping[str, str], progress: Progress) -> None:
        self.plan = plan
        self.space = space
        self.images = images
        self.progress = progress
        # Where the cluster's volumes and a base model of an earlier one lie; None: not on this machine.
        self.volume: Path | None = None
        self.kept_base: Path | None = None
        self.values = plan.values(space.name, images)
        self.facts: Json = {"run": plan.run, "costBp": plan.cost_bp, "bars": len(plan.bars)}

    def play(self) -> None:
        """All phases; the first failure ends it."""
        phases = (
            ("charts: kinds, operator, database", 10, self.install),
            ("what earlier runs left", 5, self.clear_earlier),
            ("stand-in API, secrets, storage", 1, self.prepare),
            ("tiny base model begins (made the first time, then reused)", 1, self.begin_base_model),
            ("Endpoint with the API arm", 5, self.make_endpoint),
            ("first part of the bars: the API arm alone", 45, self.trade_first_part),
            (
                "tiny base model",
                1 if self.kept_base is not None and self.kept_base.is_dir() else 110,
                self.end_base_model,
            ),
            ("second experiment begins: every fifth answer of its candidate is broken", 3, self.begin_broken),
            ("LoRA training on its outcomes, the second experiment beside it", 90, self.train),
            ("A/B test in Replay on the rest of the bars", 60, self.test),
            ("verdict of the second experiment", 1, self.end_broken),
            ("latency of both arms, 50 requests each (the stand-in's are delayed on purpose)", 8, self.measure_latency),
            ("report", 5, self.report),
        )
        self.progress.expected = {name: float(seconds) for name, seconds, _ in phases}  # on two cores
        for name, _, phase in phases:
            with self.progress.step(name):
                phase()

    def say(self, line: str) -> None:
        """A line about the present phase."""
        self.progress.say(f"  {line}")

    def install(self) -> None:
        cluster, namespace = self.space.cluster, self.space.name
        for name in (charts.SYSTEM, namespace):
            cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        charts.install_kinds(cluster)
        self.say("kinds are there; operator and database follow")
        persistence = {"enabled": self.volume is None}
        values = {
            "watchNamespaces": [namespace],
            "image": charts.image_values(self.images),
            "database": {"embedded": {"enabled": True, "shareWith": [namespace], "persistence": persistence}},
            "egress": {"allowedInternalHosts": [f"http://{host}" for host in self._standins()]},
        }
        charts.install(cluster, charts.SYSTEM, "tradewind", values)

    def clear_earlier(self) -> None:
        """Remove what earlier runs made, the holders of references first, so that nothing is refused as in use."""
        others = f"tradewind.dev/demo,tradewind.dev/demo!={self.plan.run}"

        def refusal(kinds: str) -> str:
            delete = ("delete", kinds, "-l", others, "--ignore-not-found", "--timeout=60s")
            done = self.space.attempt(*delete)
            return done.stderr.strip()[-200:] if done.returncode else ""

        for kinds in ("abexperiments,jobs", "endpoints.tradewind.dev", "trainingruns,modelversions"):
            # A version is free once the operator has seen that its Endpoint is gone.
            what = f"{kinds} of earlier runs to go"
            try:
                wait_for(what, partial(refusal, kinds), lambda told: not told, seconds=CLEAR_SECONDS, every=3)
            except StepError as error:
                self.say(f"left in place, which does no harm: {error.reason}")

    def prepare(self) -> None:
        space = self.space
        self._secret("tradewind-gateway", "token")
        self._secret("standin-key", "api-key", allowedHosts=",".join(self._standins()))
        if space.get("PersistentVolumeClaim", "models") is None:
            if self.volume is None:
                self._apply("storage-claim.yaml")
            else:
                folder = self._models(self.volume)
                folder.mkdir(parents=True, exist_ok=True)
                os.chown(folder, PODS_USER, PODS_USER)
                self._apply("storage.yaml", volume_path=str(folder))
        self._apply("standin.yaml")
        for name in ("standin", "standin-broken"):
            space.wait_available(name, seconds=180)

    def begin_base_model(self) -> None:
        """Nobody needs it before the training: the API arm trades meanwhile."""
        self.space.apply(base_model_scripts())
        self._bring_kept_base()
        self._apply("base-model.yaml", job=f"base-model-{self.plan.run}")

    def end_base_model(self) -> None:
        made_model = self.space.wait_job(f"base-model-{self.plan.run}", seconds=20 * 60)
        self._keep_base()
        self.values["base_key"] = str(made_model["key"])[:12]
        self.facts["baseModel"] = made_model
        self.say("found complete, verified" if made_model.get("reused") else f"{made_model.get('seconds')} s")

    def make_endpoint(self) -> None:
        # The second one is asked later; until then its gateway has long started and draws for its experiment.
        for manifest in ("endpoint.yaml", "endpoint-broken.yaml", "guardrail.yaml"):
            self._apply(manifest)
        self.space.wait_condition("ModelVersion", f"api-standin-{self.plan.run}", "Ready", seconds=300, final=FAILED)
        self._endpoint_url(f"trader-{self.plan.run}")

    def trade_first_part(self) -> None:
        summary = self._trade("trade-api", f"trader-{self.plan.run}", WARMUP, self.plan.split)
        self.facts["firstPart"] = summary
        self.say(_told(summary))

    def train(self) -> None:
        name = f"lora-{self.plan.run}"
        self._apply("training.yaml")
        run = self.space.wait_condition("TrainingRun", name, "Succeeded", seconds=30 * 60, final=FAILED)
        status = run["status"]
        self.say(
            f"{status['dataset']['rows']} rows, {status['dataset'].get('perLabel')}, result {status.get('result')}"
        )
        self.space.wait_condition("ModelVersion", name, "Ready", seconds=15 * 60, final=FAILED)

    def measure_latency(self) -> None:
        name = f"lora-{self.plan.run}"
        url = self.space.must_get("ModelVersion", name).get("status", {}).get("url")
        job, served = f"latency-{self.plan.run}", url or f"http://{name}-predictor.{self.space.name}.svc"
        self._apply("latency.yaml", job=job, predictor_url=served)
        table = self.space.wait_job(job, seconds=300)
        self.facts["latency"] = table
        low, high = table["standinArtificialDelayMs"]
        for arm, what in (("standin", f"artificial delay of {low} to {high} ms"), ("predictor", "measured")):
            found = table[arm]
            self.say(f"{arm:10} p50 {found['p50Ms']:7.1f} ms  p99 {found['p99Ms']:7.1f} ms  ({what})")

    def test(self) -> None:
        name, endpoint = f"replay-{self.plan.run}", f"trader-{self.plan.run}"
        self._apply("experiment.yaml")
        self._wait_active(endpoint, name)
        self._say_forecast(name)
        summary = self._trade("trade-ab", endpoint, self.plan.split, len(self.plan.bars), watched=name)
        self.facts["test"] = summary
        self.say(_told(summary))
        self._verdict(name)

    def begin_broken(self) -> None:
        """It mostly waits for its weights, the training for nobody: they share the machine well."""
        name = f"broken-{self.plan.run}"
        self._wait_active(name, name)
        start = self.plan.broken_start
        self._begin_trade("trade-broken", name, start, start + BROKEN_BARS, watched=name)

    def end_broken(self) -> None:
        name = f"broken-{self.plan.run}"
        self.facts["broken"] = self._traded("trade-broken", watched=name)
        verdict = self._verdict(name)
        if verdict.get("decision") != "rollback":
            raise StepError(
                f"the broken arm was not rolled back: {verdict}",
                "this is a fault of the product: one answer in five is broken, two in a hundred are accepted",
            )

    def report(self) -> None:
        verdicts = Verdicts(self.space, OUTPUT)
        run = self.plan.run
        judged = verdicts.found_again(f"replay-{run}", "")
        broken = verdicts.found_again(f"broken-{run}", "broken-")
        bundle = {
            "experiment": judged.experiment,
            "endpoint": self.space.get("Endpoint", f"trader-{run}"),
            "trainingRun": self.space.get("TrainingRun", f"lora-{run}"),
            "modelVersions": [self.space.get("ModelVersion", name) for name in (f"api-standin-{run}", f"lora-{run}")],
            "otherExperiments": [broken.experiment],
            "trades": judged.rows,
            "facts": self.facts,
            "notes": [
                "The baseline is a stand-in for a commercial API, not a model: it follows the last three hours.",
                f"Bars: EURUSD, hourly, 2017-2018, one-bar holding, {self.plan.cost_bp:g} bp a round trip.",
            ],
        }
        (OUTPUT / "bundle.json").write_text(json.dumps(bundle, indent=1), encoding="utf-8")
        page = OUTPUT / "report.html"
        verdicts.tradewind("report", f"replay-{run}", "--bundle", str(OUTPUT / "bundle.json"), "-o", str(page))
        seconds = {"totalSeconds": round(self.progress.seconds, 1), "steps": self.progress.steps}
        (OUTPUT / "timings.json").write_text(json.dumps(seconds | self.facts, indent=1) + "\n", encoding="utf-8")
        print(verdicts.tradewind("get", "all", "-n", self.space.name))
        for name in (f"replay-{run}", f"broken-{run}"):
            print(verdicts.tradewind("get", "abexperiment", name, "-n", self.space.name))
        where = OUTPUT.relative_to(ROOT)
        self.say(f"report {where}/report.html, trades {where}/trades.csv, timings {where}/timings.json")
        self.say(f"both verdicts were found again from their tables alone, the first one with: {judged.command}")

    # --- parts of the phases ---

    def _models(self, volume: Path) -> Path:
        return volume / f"{self.space.name}-models"

    def _bring_kept_base(self) -> None:
        """A cluster that was made anew has empty volumes: give it the base model of an earlier one. The Job verifies it."""
        if self.volume is None or self.kept_base is None or not self.kept_base.is_dir():
            return
        folder = self._models(self.volume) / BASE_FOLDER
        if not folder.exists():
            shutil.copytree(self.kept_base, folder)
            for path in (folder, *folder.rglob("*")):
                os.chown(path, PODS_USER, PODS_USER)

    def _keep_base(self) -> None:
        if self.volume is None or self.kept_base is None:
            return
        shutil.rmtree(self.kept_base, ignore_errors=True)
        shutil.copytree(self._models(self.volume) / BASE_FOLDER, self.kept_base)

    def _standins(self) -> list[str]:
        """Hosts of the stand-ins: the installation lets gateways ask them, and their key is for them alone."""
        return [f"{name}.{self.space.name}.svc" for name in ("standin", "standin-broken")]

    def _secret(self, name: str, key: str, **more: str) -> None:
        """A Secret with a value that is made once, and what else stands in it."""
        known = (self.space.get("Secret", name) or {}).get("data", {})
        made = {key: secrets.token_urlsafe(24), **more}
        data = {part: base64.b64encode(text.encode()).decode() for part, text in made.items()}
        data[key] = known.get(key, data[key])
        self.space.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data})

    def _apply(self, manifest: str, **more: str) -> None:
        """One of demo/manifests, filled with the plan's values and `more`."""
        self.space.apply(render(manifest, {**self.values, **more}))

    def _endpoint_url(self, name: str) -> str:
        ready = self.space.wait_condition("Endpoint", name, "Ready", seconds=300, final=FAILED)
        return str(ready["status"].get("url") or f"http://{name}-gateway.{self.space.name}.svc:8080")

    def _wait_active(self, endpoint: str, experiment: str) -> None:
        """Until every gateway pod draws for the experiment: what is asked before goes to the champion alone."""

        def draws(seen: Json) -> bool:
            mine = (seen["status"].get("activeExperiment") or {}).get("name") == experiment
            return mine and is_true(seen, "ExperimentActive") and is_true(seen, "WeightsApplied")

        self._endpoint_url(endpoint)
        self.space.wait("Endpoint", endpoint, f"runs {experiment}", draws, seconds=300)

    def _trade(self, what: str, endpoint: str, start: int, stop: int, watched: str | None = None) -> Json:
        self._begin_trade(what, endpoint, start, stop, watched)
        return self._traded(what, watched)

    def _begin_trade(self, what: str, endpoint: str, start: int, stop: int, watched: str | None = None) -> None:
        self._apply(
            "trader.yaml",
            job=f"{what}-{self.plan.run}",
            gateway=self._endpoint_url(endpoint),
            start=str(start),
            stop=str(stop),
            cost_bp=f"{self.plan.cost_bp:g}",
            after_experiment=str(AFTER_VERDICT if watched else stop),
            # Papers need the bars; an argument more, or none.
            post_bars="\n            - --post-bars" if watched else "",
        )

    def _traded(self, what: str, watched: str | None = None) -> Json:
        """What a trader that was begun says at its end."""

        def also() -> str:
            if watched is None:
                return ""
            status = (self.space.get("ABExperiment", watched) or {}).get("status", {})
            weight, evidence = status.get("weight") or {}, status.get("evidence") or {}
            return f"{status.get('phase', '')}, weight {weight.get('desired', '-')}, {evidence.get('blocks', 0)} blocks"

        return self.space.wait_job(f"{what}-{self.plan.run}", seconds=40 * 60, also=also)

    def _say_forecast(self, name: str) -> None:
        """What the operator expects of the test, from the baseline's own decisions."""
        status = self.space.must_get("ABExperiment", name).get("status", {})
        self.facts["forecast"] = status.get("forecast")
        told = [c["message"] for c in status.get("conditions", []) if c["type"] == "Underpowered"]
        self.say(f"forecast: {told[0]}" if told else "forecast: not known before the first blocks")

    def _verdict(self, name: str) -> Json:
        ended = self.space.wait_phase("ABExperiment", name, *TERMINAL, seconds=300)
        verdict: Json = ended["status"].get("verdict") or {}
        block = verdict.get("block")
        days = "all" if block is None else int(block) + 1
        self.say(
            f"verdict after {days} days: {verdict.get('decision')} ({verdict.get('reason')}) at {verdict.get('time')}"
        )
        self.say(str(verdict.get("message")))
        return verdict


def _told(summary: Json) -> str:
    parts = [
        f"{arm}: {found['decisions']} decisions, {found['trades']} trades, {found['wins']} won, {found['pnlUSD']:+.2f} USD"
        for arm, found in summary["arms"].items()
    ]
    return f"{'; '.join(parts)} ({summary['decisionsPerSecond']} decisions/s)"


def connect(plan: Plan, cluster: Cluster, layout: Layout, progress: Progress) -> Demo:
    """A run on the cluster that is there: our own, with its volumes on this machine, or the one that KUBECONFIG names.

    Raises:
        StepError: cluster, tools or images are missing.
    """
    for tool in ("kubectl", "helm"):
        cluster.run(*((tool, "version", "--client") if tool == "kubectl" else (tool, "version")))
    if not cluster.healthy():
        raise StepError(f"no cluster answers: {cluster.readiness().body}", "`python3 cluster up`, or see KUBECONFIG")
    space = Namespace(cluster, os.environ.get("DEMO_NAMESPACE") or "tradewind-demo", progress.say)
    demo = Demo(plan, space, built(layout), progress)
    if not current.requested():
        demo.volume, demo.kept_base = layout.volumes, layout.cache / "demo" / "base-model"
    return demo


def main() -> int:
    progress, layout = Progress(), Layout.default()
    demo = None
    with Cluster(current.environment(layout)) as cluster:
        try:
            plan = make_plan()
            progress.say(
                f"run {plan.run}: {len(plan.bars)} hourly bars, the test from {plan.t0:%Y-%m-%d} on ({plan.days} days), "
                f"cost {plan.cost_bp:g} bp a trade"
            )
            demo = connect(plan, cluster, layout, progress)
            demo.play()
        except StepError as error:
            say(f"\nThe demo stopped.\n{progress.explain(error)}; `make demo` starts anew")
            if demo is not None:
                say(_anatomy(demo.space))
            return 1
        except KeyboardInterrupt:
            say(f"\ninterrupted at: {progress.current}; `make demo` starts anew")
            return 130
    progress.say("done")
    return 0


def _anatomy(space: Namespace) -> str:
    try:
        return space.anatomy()
    except StepError as error:
        return f"the namespace is not readable: {error.reason}"


if __name__ == "__main__":
    sys.exit(main())
