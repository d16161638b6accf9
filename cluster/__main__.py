"""`python3 cluster make|up|down|status|check|images|sbom|env`: the local cluster for the demo and the tests."""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

if not __package__:
    # Run as `python3 cluster`: the folder itself is on the path, the package's parent is not.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from cluster import build, check, current, images, kserve, node, packages, preflight, timings
from cluster.layout import Layout
from workshop.client import Cluster
from workshop.progress import Progress, StepError, say


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("make", help="everything: programs and images side by side, then up, then the images delivered")
    commands.add_parser("up", help="start Kubernetes and KServe, or find them running")
    commands.add_parser("down", help="end the cluster and delete its state; caches and images stay")
    commands.add_parser("status", help="what runs; exit status 1 when the cluster is not usable")
    commands.add_parser("check", help="prove DNS, Services, volumes and an InferenceService on the running cluster")
    commands.add_parser("env", help='print export lines for the shell: eval "$(python3 cluster env)"')
    imaging = commands.add_parser("images", help="build and import (or push) the project's images")
    imaging.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(images.NAMES)}; default: all")
    listing = commands.add_parser("sbom", help="print the CycloneDX list of what is installed in an image or a program")
    listing.add_argument("name", metavar="NAME", help=f"of {', '.join((*images.NAMES, *build.PROGRAMS))}")
    arguments = parser.parse_args()
    layout = Layout.default()
    progress = Progress(current=arguments.command)
    foreign = current.requested()
    try:
        match arguments.command:
            case "make" if foreign:
                current.check()
                _images(layout, progress, images.NAMES)
            case "make":
                _make(layout, progress)
            case "up" if foreign:
                current.check()
            case "up":
                with _lock(layout, "cluster"):
                    _up(layout, progress)
            case "down" if foreign:
                say("CLUSTER=current: that cluster was not started here, so it is left alone")
            case "down":
                with _lock(layout, "cluster"):
                    _down(layout, progress)
            case "status":
                return _status(layout)
            case "check":
                with Cluster(layout.environment) as kube:
                    check.run_all(layout, kube, progress)
                timings.remember(layout.timings, arguments.command, progress)
            case "images":
                _images(layout, progress, arguments.names or images.NAMES)
            case "sbom" if arguments.name in build.PROGRAMS:
                print(build.sbom(layout, arguments.name), end="")
            case "sbom":
                with _lock(layout, "images"):
                    print(images.sbom(layout, arguments.name), end="")
            case "env":
                print(current.exports() if foreign else _exports(layout))
    except StepError as error:
        say(progress.explain(error))
        return 1
    except KeyboardInterrupt:
        say(f"\ninterrupted at: {progress.current}; run the same command again to go on, or `python3 cluster down`")
        return 130
    return 0


def _make(layout: Layout, progress: Progress) -> None:
    """Programs are compiled while images are built: each waits for downloads and for one processor by turns."""
    running = not node.missing_processes(layout) and layout.ready_marker.exists()
    if not running and not build.is_built(layout):
        progress.expected = timings.expected(layout.timings)
        with progress.step("preflight"):
            _preflight(layout)
        with progress.step("packages"), _lock(layout, "cluster"):
            packages.install_missing(layout)
        progress.say(f"Go programs, beside the images (log: {layout.cache}/logs/go-build.log)")
        with ThreadPoolExecutor(1) as pool, _lock(layout, "images"), _lock(layout, "cluster"):
            programs = pool.submit(build.build, layout)
            images.prepare(layout, images.NAMES, progress)
            with progress.step("Go programs", waits_for="the rest of their build"):
                programs.result()
        progress.expected = {"images delivered": progress.expected["images delivered"]}
    with _lock(layout, "cluster"):
        _up(layout, progress)
    _images(layout, progress, images.NAMES)
    timings.remember(layout.timings, "make", progress)


def _images(layout: Layout, progress: Progress, names: Iterable[str]) -> None:
    with _lock(layout, "images"):
        references = images.build_all(layout, names, progress)
    timings.remember(layout.timings, "images", progress)
    print("\n".join(f"{name} {reference}" for name, reference in references.items()))


def _up(layout: Layout, progress: Progress) -> None:
    missing = node.missing_processes(layout)
    if not missing and layout.ready_marker.exists():
        _await_running(layout)
        return
    if layout.ready_marker.exists():
        say(
            f"the cluster has died ({', '.join(missing)}); a fresh one is made, without the old one's objects and volumes"
        )
    with progress.step("preflight"):
        _preflight(layout)
    with progress.step("packages"):
        packages.install_missing(layout)
    waits = (
        "" if build.is_built(layout) else f"a cold build takes 6 to 15 minutes; log: {layout.cache}/logs/go-build.log"
    )
    with progress.step("Go programs", waits_for=waits):
        binaries = build.build(layout)
    with progress.step("clearing what an earlier cluster left"):
        node.stop(layout)
    with Cluster(layout.environment) as kube:
        node.start(layout, kube, binaries, progress)
        kserve.install(layout, kube, progress)
    timings.remember(layout.timings, "up", progress)
    made = {"binaries": binaries.name, "seconds": round(progress.seconds, 1)}
    layout.ready_marker.write_text(json.dumps(made) + "\n")
    say(f'ready in {progress.seconds:.0f} s; eval "$(python3 cluster env)" or KUBECONFIG={layout.kubeconfig}')


def _await_running(layout: Layout) -> None:
    """A running cluster is never replaced, however slowly it answers on a busy machine."""
    remedy = "if it does not come back: `python3 cluster down`, then `up` (its objects and volumes are lost)"
    with Cluster(layout.environment) as kube:
        node.wait_for_api(kube, node.processes_of(layout), seconds=60, remedy=remedy)
    say(f'the cluster runs already; eval "$(python3 cluster env)" or KUBECONFIG={layout.kubeconfig}')
    if layout.bin.resolve() != build.binaries(layout):
        say("  note: cluster/go has changed since its start; `python3 cluster down` and `up` to run the new programs")


def _preflight(layout: Layout) -> None:
    found = preflight.problems(preflight.inspect(layout.cache, built=build.is_built(layout)))
    if found:
        for problem in found:
            say(f"  - {problem.what}\n      remedy: {problem.remedy}")
        raise StepError(f"{len(found)} requirement(s) not met, see above", "fix them and run the same command again")


def _down(layout: Layout, progress: Progress) -> None:
    with progress.step("stopping the cluster"):
        node.stop(layout)
    timings.remember(layout.timings, "down", progress)
    say(f"stopped in {progress.seconds:.0f} s; caches and images stay in {layout.cache}")


def _status(layout: Layout) -> int:
    missing = node.missing_processes(layout)
    if len(missing) == len(node.PROCESSES):
        print("no cluster runs; start one with `python3 cluster up`")
        return 1
    processes = node.processes_of(layout)
    for name in node.PROCESSES:
        pid = processes.pid(name)
        print(f"{name:26}{'dead, log: ' + str(processes.log(name)) if pid is None else f'pid {pid}'}")
    with Cluster(layout.environment) as kube:
        usable = not missing and layout.ready_marker.exists() and kube.healthy()
    print(f"{'cluster':26}{'ready' if usable else 'not usable: run `python3 cluster up`'}")
    print(f"{'KUBECONFIG':26}{layout.kubeconfig}")
    return 0 if usable else 1


def _exports(layout: Layout) -> str:
    if not layout.kubeconfig.exists():
        raise StepError("no cluster runs", "start one with `python3 cluster up`")
    return f'export KUBECONFIG="{layout.kubeconfig}"\nexport PATH="{layout.bin}:$PATH"'


@contextmanager
def _lock(layout: Layout, name: str) -> Iterator[None]:
    """One `up` or `down` at a time on a machine, and one image build."""
    layout.cache.mkdir(parents=True, exist_ok=True)
    with (layout.cache / f"{name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another `python3 cluster` is at work; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
