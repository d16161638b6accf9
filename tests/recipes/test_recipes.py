"""The recipes of docs/architecture.md, walked: toys are added to a scratch copy, and `check` passes there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.whole

ROOT, TOYS = Path(__file__).parents[2], Path(__file__).parent / "toys"
BIN = Path(sys.executable).parent
EVIDENCE = "operator/tradewind/trading/evidence"

_NOTICE = """
    Kind(
        "Notice", "notices", "notice", ("twnote",), Notice, NoticeSpec, NoticeStatus,
        happy="Ready", batch=False, phases=NoticePhase,
        columns=(Column("Ready", _condition("Ready")), _AGE),
    ),
)  # fmt: skip
"""

LINES: dict[str, tuple[tuple[str, str], ...]] = {
    f"{EVIDENCE}/guardrails/__init__.py": (
        (
            "import LATENCY\n",
            "import LATENCY\nfrom tradewind.trading.evidence.guardrails.losing_streak import LOSING_STREAK\n",
        ),
        ("    LATENCY,\n", "    LATENCY,\n    LOSING_STREAK,\n"),
    ),
    f"{EVIDENCE}/metrics/__init__.py": (
        (
            "import Metric, ScoredRows\n",
            "import Metric, ScoredRows\nfrom tradewind.trading.evidence.metrics.mean_return import MeanReturn\n",
        ),
        ("    WinRate(),\n", "    WinRate(),\n    MeanReturn(),\n"),
    ),
    f"{EVIDENCE}/policies/__init__.py": (
        (
            "import ThompsonCapped\n",
            "import ThompsonCapped\nfrom tradewind.trading.evidence.policies.timid import Timid\n",
        ),
        ("    ThompsonCapped(),\n", "    ThompsonCapped(),\n    Timid(),\n"),
    ),
}
LINES |= {
    "operator/tradewind/trading/routing.py": (('    KSERVE = "kserve"\n', '    KSERVE = "kserve"\n    TOY = "toy"\n'),),
    "operator/tradewind/core/registry.py": (
        ("import MODEL_VERSION\n", "import MODEL_VERSION\nfrom tradewind.core.notice.kind import NOTICE\n"),
        ("AB_EXPERIMENT)", "AB_EXPERIMENT, NOTICE)"),
    ),
    "operator/tradewind/api/registry.py": (
        (
            "from tradewind.api.training_run import",
            "from tradewind.api.notice import Notice, NoticePhase, NoticeSpec, NoticeStatus\nfrom tradewind.api.training_run import",
        ),
        (
            "\n)  # fmt: skip\n",
            _NOTICE,
        ),
    ),
}
FILES = {
    "toy.py": "operator/tradewind/gateway/protocols",
    "modelversion-toy.yaml": "crds/samples",
    "notice_api.py": "operator/tradewind/api/notice.py",
    "notice": "operator/tradewind/core/notice",
    "losing_streak.py": f"{EVIDENCE}/guardrails",
    "mean_return.py": f"{EVIDENCE}/metrics",
    "timid.py": f"{EVIDENCE}/policies",
    "abexperiment-toys.yaml": "crds/samples",
    "toys_check.py": "tests/test_toys.py",
}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with the toys in it: a file and a line each."""
    copy = tmp_path_factory.mktemp("recipes") / "checkout"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/recipes/"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", copy / ".mypy_cache")
    for name, folder in FILES.items():
        copied = shutil.copytree if (TOYS / name).is_dir() else shutil.copy2
        copied(TOYS / name, copy / folder)
    for name, edits in LINES.items():
        text = (copy / name).read_text()
        for old, new in edits:
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new)
        (copy / name).write_text(text)
    run(copy, "tradewind", "crds")
    run(copy, "python", "docs/generate.py")
    return copy


def run(copy: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(copy / "operator")}
    environment.pop("PYTEST_XDIST_WORKER", None)
    program = [str(BIN / "python"), "-m", "tradewind.main"] if command[0] == "tradewind" else [str(BIN / command[0])]
    done = subprocess.run([*program, *command[1:]], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("mypy",),
        ("lint-imports",),
        ("tradewind", "crds", "--check"),
        ("tradewind", "lint", "crds/samples/abexperiment-toys.yaml", "crds/samples/modelversion-toy.yaml"),
        ("python", "docs/generate.py", "--check"),
    ],
    ids=" ".join,
)
def test_check_passes_with_the_toys(scratch: Path, command: tuple[str, ...]) -> None:
    run(scratch, *command)


def test_everything_else_follows(scratch: Path) -> None:
    """The toys' own test, and those that hold specs, CRDs, samples and golden decisions together."""
    tests = (
        "tests/test_toys.py",
        "tests/api",
        "tests/trading/evidence/test_guardrails.py",
        "tests/trading/evidence/test_policy.py",
    )
    run(scratch, "pytest", *tests, "-m", "not slow and not whole", "-p", "no:cacheprovider", "-n", "0")
