"""The demo, from outcomes to a verdict on a real cluster: what `make demo` runs once the cluster and the images are there.

    python demo/run.py            options by environment: COST_BP=1.2 BARS=5000 DEMO_NAMESPACE=tradewind-demo

Phases: charts, the stand-in API and the tiny base model; the API arm alone on the first 60 % of the bars; a LoRA on what
its trades came to; the A/B test in Replay on the rest; a second experiment with a broken arm; report and timings under
build/demo. Nothing decides here but the operator: the driver applies manifests, starts paper traders and waits. Each run
uses names of its own, so that a second run starts anew; base model, images and cluster are reused.
"""

import base64
import csv
import io
import json
import os
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    # Run as a script: the folder itself is on the path, the package's parent is not.
    sys.path[0] = str(ROOT)

from demo.bars import WARMUP  # noqa: E402 - the path comes first
from demo.kubectl import DemoError, Json, Kubectl, Progress  # noqa: E402 - the path comes first
from demo.plan import Plan, make_plan  # noqa: E402 - the path comes first

from tradewind.trading.evidence import JUDGED_COLUMNS  # noqa: E402 - the path comes first

OUTPUT: Final = ROOT / "build" / "demo"
SYSTEM: Final = "tradewind-system"
IMAGES: Final = ("operator", "gateway", "predictor", "trainer", "postgres", "demo")
BROKEN_BARS: Final = 720  # of the second experiment: 72 requests at 10 % a month, more than enough at 20 % against 2 %
AFTER_VERDICT: Final = 48  # decisions: two days show that the winner answers, the rest of the bars decides nothing
CLEAR_ATTEMPTS: Final = 5
BASE_FOLDER: Final = "base"  # of demo/manifests/base-model.yaml
PODS_USER: Final = 65532  # of every pod that writes there
TERMINAL: Final = ("Succeeded", "RolledBack", "Inconclusive", "Aborted")

JUDGED_QUERY: Final = (
    f"SELECT {', '.join(JUDGED_COLUMNS)} FROM tradewind.judged_rows WHERE experiment_uid = '{{uid}}' "
    "ORDER BY decided_at, decision_id"
)


class Demo:
    """One run of the demo. The methods are its phases, in the order in which `play` calls them."""

    def __init__(
        self, plan: Plan, kube: Kubectl, images: Mapping[str, str], volume: Path | None, kept_base: Path | None
    ) -> None:
        self.plan = plan
        self.kept_base = kept_base
        self.kube = kube
        self.say = kube.progress.say
        self.images = images
        self.volume = volume
        self.values = plan.values(kube.namespace, images)
        self.facts: Json = {"run": plan.run, "costBp": plan.cost_bp, "bars": len(plan.bars)}

    def play(self) -> None:
        """All phases; the first failure ends it."""
        step = self.kube.progress.run
        step("charts: kinds, operator, database", self.install)
        step("what earlier runs left", self.clear_earlier)
        step("stand-in API, secrets, storage", self.prepare)
        step("tiny base model (about 90 s the first time, then reused)", self.make_base_model)
        step("Endpoint with the API arm", self.make_endpoint)
        step("first part of the bars: the API arm alone", self.trade_first_part)
        step("LoRA training on its outcomes", self.train)
        step("A/B test in Replay on the rest of the bars", self.test)
        step("second experiment: every fifth answer of the candidate is broken", self.test_broken)
        step("latency of both arms, 50 requests each (the stand-in's are delayed on purpose)", self.measure_latency)
        step("report", self.report)

    def install(self) -> None:
        kube, charts = self.kube, ROOT / "charts"
        for namespace in (SYSTEM, kube.namespace):
            made = kube.run("create", "namespace", namespace, "--dry-run=client", "-o", "yaml")
            kube.run("apply", "-f", "-", given=made)
        settings = [
            f"watchNamespaces={{{kube.namespace}}}",
            "database.embedded.enabled=true",
            f"database.embedded.shareWith={{{kube.namespace}}}",
            f"database.embedded.persistence.enabled={str(self.volume is None).lower()}",
        ]
        for name in IMAGES[:-1]:
            repository, _, tag = self.images[name].rpartition(":")
            registry, _, path = repository.partition("/")
            settings += [f"image.registry={registry}", f"image.{name}.repository={path}", f"image.{name}.tag={tag}"]
        flags = [part for setting in settings for part in ("--set", setting)]
        helm = ["helm", "upgrade", "--install", "--namespace", SYSTEM, "--wait", "--timeout", "10m"]
        kube.command(*helm, "--take-ownership", "tradewind-crds", str(charts / "tradewind-crds"))
        self.say("   kinds are there; operator and database follow")
        kube.command(*helm, "tradewind", str(charts / "tradewind"), *flags)

    def clear_earlier(self) -> None:
        """Remove what earlier runs made, the holders of references first, so that nothing is refused as in use."""
        others = f"tradewind.dev/demo,tradewind.dev/demo!={self.plan.run}"
        for kinds in ("abexperiments,jobs", "endpoints.tradewind.dev", "trainingruns,modelversions"):
            for attempt in range(CLEAR_ATTEMPTS):
                try:
                    self.kube.run("delete", kinds, "-l", others, "--ignore-not-found", "--timeout=60s")
                    break
                except DemoError as error:
                    # A version is free once the operator has seen that its Endpoint is gone.
                    if attempt + 1 == CLEAR_ATTEMPTS:
                        self.say(f"   left in place, which does no harm: {error.why[-200:]}")
                    time.sleep(3)

    def prepare(self) -> None:
        kube = self.kube
        self._secret("tradewind-gateway", "token")
        self._secret("standin-key", "api-key")
        if kube.get("pvc", "models") is None:
            if self.volume is None:
                kube.apply("storage-claim.yaml", self.values)
            else:
                folder = self._models(self.volume)
                folder.mkdir(parents=True, exist_ok=True)
                os.chown(folder, PODS_USER, PODS_USER)
                kube.apply("storage.yaml", self.values | {"volume_path": str(folder)})
        kube.apply("standin.yaml", self.values)
        for name in ("standin", "standin-broken"):
            kube.run("rollout", "status", f"deployment/{name}", "--timeout=180s")

    def make_base_model(self) -> None:
        scripts = [f"--from-file={ROOT / 'demo' / name}" for name in ("bars.py", "base_model.py")]
        made = self.kube.run("create", "configmap", "base-model-scripts", *scripts, "--dry-run=client", "-o", "yaml")
        self.kube.run("apply", "-f", "-", given=made)
        self._bring_kept_base()
        self._start("base-model.yaml", f"base-model-{self.plan.run}")
        made_model = self.kube.wait_job(f"base-model-{self.plan.run}", minutes=20)
        self._keep_base()
        self.values["base_key"] = str(made_model["key"])[:12]
        self.facts["baseModel"] = made_model
        self.say("   found complete, verified" if made_model.get("reused") else f"   {made_model.get('seconds')} s")

    def make_endpoint(self) -> None:
        # The second one is asked much later; until then its gateway has long started.
        for manifest in ("endpoint.yaml", "endpoint-broken.yaml"):
            self.kube.apply(manifest, self.values)
        self.kube.wait_ready("modelversion", f"api-standin-{self.plan.run}", "Ready", minutes=5)
        self._endpoint_url(f"trader-{self.plan.run}")

    def trade_first_part(self) -> None:
        summary = self._trade("trade-api", f"trader-{self.plan.run}", WARMUP, self.plan.split)
        self.facts["firstPart"] = summary
        self.say(f"   {_traded(summary)}")

    def train(self) -> None:
        name = f"lora-{self.plan.run}"
        self.kube.apply("training.yaml", self.values)
        run = self.kube.wait_ready("trainingrun", name, "Succeeded", minutes=30)
        status = run["status"]
        self.say(
            f"   {status['dataset']['rows']} rows, {status['dataset'].get('perLabel')}, result {status.get('result')}"
        )
        self.kube.wait_ready("modelversion", name, "Ready", minutes=15)

    def measure_latency(self) -> None:
        name = f"lora-{self.plan.run}"
        url = (self.kube.get("modelversion", name) or {}).get("status", {}).get("url")
        served = {"predictor_url": url or f"http://{name}-predictor.{self.kube.namespace}.svc"}
        self._start("latency.yaml", f"latency-{self.plan.run}", served)
        table = self.kube.wait_job(f"latency-{self.plan.run}", minutes=5)
        self.facts["latency"] = table
        low, high = table["standinArtificialDelayMs"]
        for arm, what in (("standin", f"artificial delay of {low} to {high} ms"), ("predictor", "measured")):
            found = table[arm]
            self.say(f"   {arm:10} p50 {found['p50Ms']:7.1f} ms  p99 {found['p99Ms']:7.1f} ms  ({what})")

    def test(self) -> None:
        name, endpoint = f"replay-{self.plan.run}", f"trader-{self.plan.run}"
        self.kube.apply("experiment.yaml", self.values)
        self._wait_active(endpoint, name)
        summary = self._trade("trade-ab", endpoint, self.plan.split, len(self.plan.bars), watched=name)
        self.facts["test"] = summary
        self.say(f"   {_traded(summary)}")
        self._verdict(name)

    def test_broken(self) -> None:
        name = f"broken-{self.plan.run}"
        self.kube.apply("guardrail.yaml", self.values)
        self._wait_active(name, name)
        start = self.plan.broken_start
        self.facts["broken"] = self._trade("trade-broken", name, start, start + BROKEN_BARS, watched=name)
        verdict = self._verdict(name)
        if verdict.get("decision") != "rollback":
            raise DemoError(
                f"the broken arm was not rolled back: {verdict}",
                "this is a fault of the product: one answer in five is broken, two in a hundred are accepted",
                self.kube.anatomy("abexperiment", name),
            )

    def report(self) -> None:
        OUTPUT.mkdir(parents=True, exist_ok=True)
        run, kube = self.plan.run, self.kube
        experiment, rows, command = self._recomputed(f"replay-{run}", "")
        broken, _, _ = self._recomputed(f"broken-{run}", "broken-")
        bundle = {
            "experiment": experiment,
            "endpoint": kube.get("endpoint", f"trader-{run}"),
            "trainingRun": kube.get("trainingrun", f"lora-{run}"),
            "modelVersions": [kube.get("modelversion", name) for name in (f"api-standin-{run}", f"lora-{run}")],
            "otherExperiments": [broken],
            "trades": rows,
            "facts": self.facts,
            "notes": [
                "The baseline is a stand-in for a commercial API, not a model: it follows the last three hours.",
                f"Bars: EURUSD, hourly, 2017-2018, one-bar holding, {self.plan.cost_bp:g} bp a round trip.",
            ],
        }
        (OUTPUT / "bundle.json").write_text(json.dumps(bundle, indent=1), encoding="utf-8")
        self._tradewind(
            "report", f"replay-{run}", "--bundle", str(OUTPUT / "bundle.json"), "-o", str(OUTPUT / "report.html")
        )
        progress = kube.progress
        seconds = {"totalSeconds": round(time.monotonic() - progress.began, 1), "steps": progress.steps}
        (OUTPUT / "timings.json").write_text(json.dumps(seconds | self.facts, indent=1) + "\n", encoding="utf-8")
        print(self._tradewind("get", "all", "-n", kube.namespace))
        for name in (f"replay-{run}", f"broken-{run}"):
            print(self._tradewind("get", "abexperiment", name, "-n", kube.namespace))
        where = OUTPUT.relative_to(ROOT)
        self.say(f"report {where}/report.html, trades {where}/trades.csv, timings {where}/timings.json")
        self.say(f"both verdicts were found again from their tables alone, the first one with: {command}")

    # --- parts of the phases ---

    def _models(self, volume: Path) -> Path:
        return volume / f"{self.kube.namespace}-models"

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

    def _secret(self, name: str, key: str) -> None:
        if self.kube.get("secret", name) is None:
            value = base64.b64encode(secrets.token_urlsafe(24).encode()).decode()
            body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {key: value}}
            self.kube.run("create", "-f", "-", given=json.dumps(body))

    def _start(self, manifest: str, job: str, more: Mapping[str, str] | None = None) -> None:
        self.kube.apply(manifest, {**self.values, "job": job, **(more or {})})

    def _endpoint_url(self, name: str) -> str:
        ready = self.kube.wait_ready("endpoint", name, "Ready", minutes=5)
        url = ready["status"].get("url")
        return str(url or f"http://{name}-gateway.{self.kube.namespace}.svc:8080")

    def _wait_active(self, endpoint: str, experiment: str) -> None:
        """Until every gateway pod draws for the experiment: what is asked before goes to the champion alone."""

        def done(seen: Json) -> str | None:
            status = seen.get("status", {})
            true = {c["type"] for c in status.get("conditions") or [] if c["status"] == "True"}
            mine = (status.get("activeExperiment") or {}).get("name") == experiment
            return "" if mine and {"ExperimentActive", "WeightsApplied"} <= true else None

        self._endpoint_url(endpoint)
        self.kube.wait("endpoint", endpoint, done, 5, lambda _: f"{endpoint} does not yet run {experiment}")

    def _trade(self, what: str, endpoint: str, start: int, stop: int, watched: str | None = None) -> Json:
        job = f"{what}-{self.plan.run}"
        gateway = self._endpoint_url(endpoint)
        more = {"gateway": gateway, "start": str(start), "stop": str(stop), "cost_bp": f"{self.plan.cost_bp:g}"}
        more["after_experiment"] = str(AFTER_VERDICT if watched else stop)
        self._start("trader.yaml", job, more)

        def also() -> str:
            if watched is None:
                return ""
            status = (self.kube.get("abexperiment", watched) or {}).get("status", {})
            weight, evidence = status.get("weight") or {}, status.get("evidence") or {}
            return f"{status.get('phase', '')}, weight {weight.get('desired', '-')}, {evidence.get('blocks', 0)} blocks"

        return self.kube.wait_job(job, minutes=40, also=also)

    def _verdict(self, name: str) -> Json:
        def done(seen: Json) -> str | None:
            return "" if seen.get("status", {}).get("phase") in TERMINAL else None

        def tells(seen: Json) -> str:
            return f"{name}: {seen.get('status', {}).get('phase')}, waiting for the verdict"

        status = self.kube.wait("abexperiment", name, done, 5, tells)["status"]
        verdict: Json = status.get("verdict") or {}
        self.say(f"   verdict: {verdict.get('decision')} ({verdict.get('reason')}) at {verdict.get('time')}")
        self.say(f"   {verdict.get('message')}")
        return verdict

    def _judged_rows(self, uid: str) -> list[dict[str, str]]:
        query = JUDGED_QUERY.format(uid=uid)
        copy = f"COPY ({query}) TO STDOUT WITH CSV HEADER"
        psql = f'PGPASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")" psql -h 127.0.0.1 -U tradewind -d tradewind -c {shlex.quote(copy)}'
        pod = self.kube.command(
            "kubectl", "-n", SYSTEM, "get", "pods", "-l", "app.kubernetes.io/component=postgres", "-o", "name"
        )
        name = pod.split()[0]
        text = self.kube.command("kubectl", "-n", SYSTEM, "exec", name, "--", "sh", "-c", psql)
        return list(csv.DictReader(io.StringIO(text)))

    def _tradewind(self, *args: str) -> str:
        return self.kube.command(sys.executable, "-m", "tradewind.main", *args)

    def _recomputed(self, name: str, prefix: str) -> tuple[Json, list[dict[str, str]], str]:
        """An experiment, the rows that it was judged on, and the command that finds its verdict in them again."""
        experiment = self.kube.get("abexperiment", name) or {}
        rows = self._judged_rows(experiment["metadata"]["uid"])
        trades, manifest = OUTPUT / f"{prefix}trades.csv", OUTPUT / f"{prefix}experiment.json"
        with trades.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["decision_id"])
            writer.writeheader()
            writer.writerows(rows)
        manifest.write_text(json.dumps(experiment), encoding="utf-8")
        command = ["evaluate", "--trades", str(trades), "--experiment", str(manifest)]
        found = json.loads(self._tradewind(*command))["operator_verdict"]
        verdict = experiment["status"]["verdict"]
        for told, status in (("verdict", "decision"), ("reason", "reason"), ("message", "message")):
            if found[told] != verdict[status]:
                raise DemoError(
                    f"{name}: from the table the {told} is {found[told]!r}, in the status {verdict[status]!r}",
                    "this is a fault of the product: both read the same rows",
                    self.kube.anatomy("abexperiment", name),
                )
        shown = " ".join(part.removeprefix(f"{ROOT}/") for part in command)
        return experiment, rows, f"tradewind {shown} -o text"


def _traded(summary: Json) -> str:
    parts = [
        f"{arm}: {found['decisions']} decisions, {found['trades']} trades, {found['wins']} won, {found['pnlUSD']:+.2f} USD"
        for arm, found in summary["arms"].items()
    ]
    return f"{'; '.join(parts)} ({summary['decisionsPerSecond']} decisions/s)"


def connect(progress: Progress, plan: Plan) -> Demo:
    """A run on the cluster that is there: our own, with its volumes on this machine, or the one that KUBECONFIG names.

    Raises:
        DemoError: cluster, tools or images are missing.
    """
    from cluster.layout import Layout

    layout = Layout.default()
    own = os.environ.get("CLUSTER") != "current"
    env = dict(os.environ)
    if own:
        env |= {"KUBECONFIG": str(layout.kubeconfig), "PATH": f"{layout.bin}:{env.get('PATH', '')}"}
    for tool in ("kubectl", "helm"):
        if shutil.which(tool, path=env["PATH"]) is None:
            raise DemoError(f"{tool} is not on PATH", "`python3 cluster up` brings it" if own else f"install {tool}")
    try:
        images = json.loads(layout.images_index.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        images = {}
    if missing := [name for name in IMAGES if name not in images]:
        raise DemoError(f"images are missing: {', '.join(missing)}", "python3 cluster images")
    kube = Kubectl(os.environ.get("DEMO_NAMESPACE") or "tradewind-demo", env, progress)
    kube.run("version", "--request-timeout=10s")
    if not own:
        return Demo(plan, kube, images, None, None)
    return Demo(plan, kube, images, layout.volumes, layout.cache / "demo" / "base-model")


def main() -> int:
    progress = Progress()
    try:
        plan = make_plan()
        progress.say(
            f"run {plan.run}: {len(plan.bars)} hourly bars, the test from {plan.t0:%Y-%m-%d} on ({plan.days} days), "
            f"cost {plan.cost_bp:g} bp a trade"
        )
        connect(progress, plan).play()
    except DemoError as error:
        print(
            f"\nThe demo stopped at: {progress.current}\nWhy: {error.why}\nWhat to do: {error.remedy}", file=sys.stderr
        )
        if error.seen:
            print(f"What was seen:\n{error.seen}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ninterrupted at: {progress.current}; `make demo` starts anew", file=sys.stderr)
        return 130
    progress.say(f"done in {time.monotonic() - progress.began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
