"""Containerfiles that a hardened pod can run, and build contexts that depend on content alone."""

import ast
import os
import re
from pathlib import Path

import pytest
import yaml

from cluster.context import copied_paths, stage
from cluster.images import IMAGES, NAMES, _index, _remember, built, moving_tags
from cluster.layout import IMAGE_PREFIX, Layout
from cluster.roots import ROOTS
from demo.manifest import SCRIPTS
from workshop.progress import StepError

REPO = Path(__file__).resolve().parents[2]
CONTAINERFILES = sorted((REPO / "images").glob("*/Containerfile"))
SHARED_END = "# ---- predictor and trainer differ from here on ----"


def test_the_build_makes_the_tags_that_the_chart_names_by_default():
    """`helm install` with no values of images finds what was built last."""
    chart = yaml.safe_load((REPO / "charts/tradewind/Chart.yaml").read_text())
    image = yaml.safe_load((REPO / "charts/tradewind/values.yaml").read_text())["image"]
    made = {f"{IMAGE_PREFIX}/{name}:{tag}" for name in IMAGES for tag in moving_tags(REPO)}
    for name in set(IMAGES) - {"demo"}:
        assert not image[name]["tag"]
        assert not image[name]["digest"]
        reference = f"{image['registry']}/{image[name]['repository']}:{image['tag'] or chart['appVersion']}"
        assert reference in made


def test_every_containerfile_has_an_entry():
    assert {path.parent.name for path in CONTAINERFILES} == set(IMAGES)
    assert {image.root for image in IMAGES.values()} == set(ROOTS)
    for path in CONTAINERFILES:
        arguments = set(re.findall(r"^ARG (\w+)", path.read_text(), re.MULTILINE))
        assert set(IMAGES[path.parent.name].build_arguments) == arguments


@pytest.mark.parametrize("path", CONTAINERFILES, ids=lambda path: path.parent.name)
def test_containerfile_is_fit_for_hardened_pods(path):
    text = path.read_text()
    users = re.findall(r"^USER (.+)$", text, re.MULTILINE)
    assert users[-1] == "65532:65532", "runAsNonRoot refuses a user that is not numeric"
    assert "HOME=/tmp" in text, "the root file system may be read-only"
    assert re.search(r'^ENTRYPOINT \["/', text, re.MULTILINE), "the exec form gets the signals"
    assert re.search(r"^ARG BASE=docker\.io/library/", text, re.MULTILINE), "builds without our base images too"


def test_predictor_and_trainer_share_their_heavy_layers():
    def shared(name):
        text = (REPO / "images" / name / "Containerfile").read_text()
        assert text.count(SHARED_END) == 1
        return [line for line in text.split(SHARED_END)[0].splitlines() if not line.startswith("#")]

    assert shared("predictor") == shared("trainer")


@pytest.fixture
def checkout(tmp_path):
    repo = tmp_path / "repo"
    (repo / "src" / "__pycache__").mkdir(parents=True)
    (repo / "src" / "a.py").write_text("print(1)\n")
    (repo / "src" / "__pycache__" / "a.pyc").write_text("compiled")
    (repo / "one.txt").write_text("a==1\n")
    (repo / "two.txt").write_text("b==1\n")
    containerfile = repo / "Containerfile"
    containerfile.write_text(
        "FROM x AS y\nCOPY one.txt /b/\nRUN install\nCOPY --from=y /c /d\nCOPY src \\\n  /app/src\n"
    )
    return repo, containerfile


def test_context_holds_what_is_copied_and_nothing_else(checkout, tmp_path):
    repo, containerfile = checkout
    stage(repo, containerfile, tmp_path / "context")
    files = {str(p.relative_to(tmp_path / "context")) for p in (tmp_path / "context").rglob("*") if p.is_file()}
    assert files == {"one.txt", "src/a.py"}
    assert copied_paths(containerfile.read_text()) == ("one.txt", "src")


def test_hash_ignores_times_modes_and_what_is_not_copied_but_not_content(checkout, tmp_path):
    repo, containerfile = checkout
    context = tmp_path / "context"
    first = stage(repo, containerfile, context)
    os.utime(repo / "src" / "a.py", (1, 1))
    (repo / "src" / "a.py").chmod(0o600)
    (repo / "two.txt").write_text("b==2\n")
    assert stage(repo, containerfile, context) == first
    assert (context / "src" / "a.py").stat().st_mode & 0o777 == 0o644
    (repo / "src" / "a.py").write_text("print(2)\n")
    assert stage(repo, containerfile, context) != first


def test_a_missing_path_is_named(checkout, tmp_path):
    repo, containerfile = checkout
    containerfile.write_text("COPY gone /app/\n")
    with pytest.raises(FileNotFoundError, match="gone"):
        stage(repo, containerfile, tmp_path / "context")


def test_pushed_images_are_known_and_are_not_the_imported_ones(tmp_path, monkeypatch):
    layout = Layout(cache=tmp_path, repo=REPO)
    monkeypatch.delenv("CLUSTER", raising=False)
    _remember(_index(layout), {name: f"docker.io/tradewind/{name}:one" for name in NAMES})
    monkeypatch.setenv("CLUSTER", "current")
    with pytest.raises(StepError, match="images are missing: postgres, operator"):
        built(layout)
    _remember(_index(layout), {name: f"registry.example/{name}:two" for name in NAMES})
    assert built(layout)["demo"] == "registry.example/demo:two"
    monkeypatch.delenv("CLUSTER")
    assert built(layout)["demo"] == "docker.io/tradewind/demo:one"


POD_MODULES = ("latency", "paper_trader", "standin")  # of demo/, run in the demo's image; the rest runs on the host


@pytest.mark.parametrize("name", ["demo", "gateway", "operator", "predictor", "trainer"])
def test_an_image_holds_all_of_ours_that_its_programs_import(name, tmp_path):
    stage(REPO, REPO / "images" / name / "Containerfile", tmp_path)
    sources = [path for path in tmp_path.rglob("*.py") if not path.is_relative_to(tmp_path / "demo")]
    sources += [tmp_path / "demo" / f"{module}.py" for module in POD_MODULES if name == "demo"]
    assert missing_imports(sources, tmp_path / "operator", tmp_path) == []


def test_the_base_models_job_has_all_that_its_scripts_import(tmp_path):
    stage(REPO, REPO / "images" / "trainer" / "Containerfile", tmp_path)
    for script in SCRIPTS:
        (tmp_path / script).parent.mkdir(exist_ok=True)
        (tmp_path / script).write_text((REPO / script).read_text())
    assert missing_imports([tmp_path / script for script in SCRIPTS], tmp_path / "operator", tmp_path) == []


def missing_imports(sources, *roots):
    wanted = {module for path in sources for module in ours(path)}
    return sorted(m for m in wanted if not any(found(root / m.replace(".", "/")) for root in roots))


def ours(path):
    """Modules of ours that a file imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module}
    names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name for name in names if name.partition(".")[0] in ("tradewind", "demo", "workshop", "cluster")}


def found(module):
    return module.is_dir() or module.with_suffix(".py").exists()
