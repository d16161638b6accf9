"""`tradewind lint` on the samples, good and bad."""

import re
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
import yaml

from tradewind.cli.manifest_file import read_documents
from tradewind.main import cli

SAMPLES = Path(__file__).parents[2] / "crds" / "samples"


def test_every_sample_is_clean(capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(path) for path in sorted(SAMPLES.glob("*.yaml"))]
    assert cli(["lint", *files]) == 0
    assert f"{len(files)} file(s), 0 problem(s)" in capsys.readouterr().out


def test_a_bad_sample_names_file_object_and_field(capsys: pytest.CaptureFixture[str]) -> None:
    path = next(p for p in sorted((SAMPLES / "bad").glob("*.yaml")) if "same" in p.name or "baseline" in p.name)
    assert cli(["lint", str(path)]) == 1
    error = capsys.readouterr().err
    assert str(path) in error
    assert path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# expect: ") in error


def test_what_is_no_yaml_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("a: [1", encoding="utf-8")
    assert cli(["lint", str(path)]) == 1
    assert f"{path}:1: cannot be read: no YAML" in capsys.readouterr().err


def test_other_kinds_are_passed_over_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "service.yaml"
    path.write_text("apiVersion: v1\nkind: Service\nmetadata: {name: x}\n", encoding="utf-8")
    assert cli(["lint", str(path)]) == 0
    out = capsys.readouterr().out
    assert out == "1 file(s), 0 problem(s): 0 object(s) of tradewind.dev, 1 of other kinds passed over (1 Service)\n"


GOOD = """apiVersion: tradewind.dev/v1alpha1
kind: Endpoint
metadata:
  name: trader
spec:
  fallback: api
"""
LIST = "apiVersion: v1\nkind: List\nitems:\n" + "".join(
    f"{'- ' if at == 0 else '  '}{line}\n" for at, line in enumerate(GOOD.splitlines())
)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (GOOD.replace("v1alpha1", "v1"), 1, "apiVersion: tradewind.dev/v1 is not served; write tradewind.dev/v1alpha1"),
        (GOOD.replace("/v1alpha1", ""), 1, "apiVersion: tradewind.dev is not served"),
        (GOOD.replace(".dev", ".io"), 1, "apiVersion: tradewind.io/v1alpha1 is not our group"),
        (GOOD.replace("tradewind", "tradewnid"), 1, "is not our group; write tradewind.dev/v1alpha1"),
        (GOOD.replace("tradewind.dev/v1alpha1", "v1"), 1, "apiVersion: v1 has no kind Endpoint"),
        (GOOD.replace("tradewind.dev/v1alpha1", "7"), 1, "apiVersion: must be text, got 7"),
        (
            GOOD.replace("apiVersion: tradewind.dev/v1alpha1\n", ""),
            1,
            "apiVersion: missing; Endpoint has tradewind.dev",
        ),
        (GOOD.replace("kind: Endpoint\n", ""), 1, "kind: missing; one of ours is Endpoint"),
        (GOOD.replace("Endpoint", "endpoint"), 2, "did you mean Endpoint?"),
        (GOOD.replace("Endpoint", "Endpoints"), 2, "kind: Endpoints is none of tradewind.dev"),
        (GOOD + "  fallback: other\n", 7, 'key "fallback" is set twice (first in line 6)'),
        (GOOD + "  gateway:\n    replicas: 0\n", 8, "Endpoint trader: spec.gateway.replicas"),
        (GOOD + "  gateway:\n    replica: 2\n", 8, 'unknown field "spec.gateway.replica"'),
        (GOOD.replace("  fallback: api", "  gateway: {}"), 5, "spec.fallback: Required value"),
        (GOOD.replace("\n  name: trader", " [1]"), 3, "metadata: Invalid value"),
        (GOOD + "---\n# nothing\n---\n- 1\n", 10, "is no object but list"),
        (GOOD + "---\n" + GOOD, 8, "Endpoint trader: is in this file twice (first in line 1)"),
        (LIST + "    gateway: {replicas: 0}\n", 10, "Endpoint trader: spec.gateway.replicas"),
        (LIST + "- 7\n", 10, "is no object but int"),
        (LIST.replace("kind: List", "kind: EndpointList").replace("api\n", "[api]\n"), 9, "spec.fallback"),
        ("", 1, "is empty"),
        ("# nothing\n---\n", 1, "is empty"),
        (GOOD + "  a: *nobody\n", 7, "found undefined alias"),
        (GOOD + "\tb: 1\n", 7, "cannot be read"),
        ("a: &a [*a]\n", 1, "an alias stands inside of what it names"),
        ("[" * 100_000, 1, "nested deeper than 200"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, 1, "nested deeper than 200"),
        (
            '{"apiVersion": "tradewind.dev/v1alpha1",\n\t"kind": "Endpoint", "kind": "Endpoint"}',
            2,
            '"kind" is set twice',
        ),
    ],
)
def test_each_problem_has_its_line(
    text: str, line: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "manifest.yaml"
    path.write_text(text, encoding="utf-8")
    assert cli(["lint", str(path)]) == 1
    told = capsys.readouterr().err.splitlines()
    assert any(problem.startswith(f"{path}:{line}: ") and words in problem for problem in told), told


def test_what_a_parser_of_kubernetes_takes_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Dates without quotes are text there, merged keys may be set anew, JSON may have tabs, and a file a mark of its order."""
    texts = {
        "date.yaml": GOOD.replace("name: trader", "name: trader\n  creationTimestamp: 2026-01-01T00:00:00Z"),
        "merge.yaml": GOOD.replace("fallback: api", "<<: {fallback: other}\n  fallback: api"),
        "mark.yml": "\ufeff" + GOOD,
        "list.yaml": LIST,
        "tabs.json": '{"apiVersion":\t"tradewind.dev/v1alpha1",\n\t"kind": "Endpoint", "metadata": {"name": "b"}, "spec": {"fallback": "c"}}',
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert cli(["lint", str(tmp_path)]) == 0, capsys.readouterr().err
    assert "5 file(s), 0 problem(s): 5 object(s)" in capsys.readouterr().out


def test_times_and_numbers_are_read_as_kubernetes_reads_them() -> None:
    text = "a: 1:30\nb: 1e5\nc: 2026-01-01\nd: 0x1F\ne: 010\nf: -1\ng: .5\nh: yes\ni: 1_000\nj: ~\nk: '1'\nl: 0.2.0\n"
    (document,) = read_documents(text)
    assert list(document.content.values()) == [
        "1:30",
        1e5,
        "2026-01-01",
        31,
        8,
        -1,
        0.5,
        True,
        1000,
        None,
        "1",
        "0.2.0",
    ]


def test_folders_are_walked_and_must_have_something_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config.yaml").write_text("no: manifest", encoding="utf-8")
    (tmp_path / "notes.md").write_text("no manifest", encoding="utf-8")
    (tmp_path / "deep" / "service.yaml").write_text("apiVersion: v1\nkind: Service\n", encoding="utf-8")
    assert cli(["lint", str(tmp_path)]) == 1
    assert f"{tmp_path}: no object of tradewind.dev in this folder" in capsys.readouterr().err
    (tmp_path / "deep" / "er" / "good.YML").write_text(GOOD, encoding="utf-8")
    assert cli(["lint", str(tmp_path)]) == 0
    assert "2 file(s), 0 problem(s): 1 object(s)" in capsys.readouterr().out
    assert cli(["lint", str(tmp_path / "nowhere")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_stdin_is_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for text, code in ((GOOD, 0), (GOOD + "---\n" + GOOD.replace(": api", ": API!").replace("trader", "other"), 1)):
        monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(text.encode())))
        assert cli(["lint", "-"]) == code
    assert "stdin:13: Endpoint other: spec.fallback" in capsys.readouterr().err


def test_a_file_that_is_no_text_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "utf16.yaml"
    path.write_bytes(b"a: 1\n" + "kind".encode("utf-16"))
    assert cli(["lint", str(path)]) == 1
    assert f"{path}:2: cannot be read: not UTF-8" in capsys.readouterr().err


def test_what_is_refused_today_is_in_no_folder_that_is_good(capsys: pytest.CaptureFixture[str]) -> None:
    """Each bad sample alone, and the folder; those of immutable fields are good alone and bad as a change."""
    bad = SAMPLES / "bad"
    for path in sorted(bad.glob("*.yaml")):
        assert cli(["lint", str(path)]) == 1, path
    assert cli(["lint", str(bad)]) == 1
    capsys.readouterr()


PAGES = [page for page in sorted((SAMPLES.parents[1] / "docs").rglob("*.md")) if "```yaml" in page.read_text("utf-8")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_pages_offer_is_what_lint_takes(page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole manifests; parts of one have no apiVersion."""
    for number, text in enumerate(re.findall(r"```ya?ml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text, encoding="utf-8")
        assert "apiVersion" not in text or cli(["lint", str(file)]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "annotation", "words"),
    [
        ("Endpoint", "tradewind.dev/Promote", "did you mean tradewind.dev/promote?"),
        ("Endpoint", "tradewind.dev/promte", "did you mean tradewind.dev/promote?"),
        ("Endpoint", "tradewind.dev/abort", "Endpoint knows tradewind.dev/promote, tradewind.dev/rollback"),
        ("ABExperiment", "tradewind.dev/aprove", "did you mean tradewind.dev/approve?"),
        ("TrainingRun", "tradewind.dev/abort", "TrainingRun knows no annotation in tradewind.dev/"),
    ],
)
def test_a_misspelt_annotation_is_refused_and_the_known_ones_are_named(
    kind: str, annotation: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = [doc for path in SAMPLES.glob("*.yaml") for doc in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    document = next(document for document in documents if document["kind"] == kind)
    good = {"example.org/promte": "1"} | ({"tradewind.dev/by": "me"} if kind != "TrainingRun" else {})
    path = tmp_path / "annotated.yaml"
    for annotations, code in ((good, 0), (good | {annotation: "v2/1"}, 1)):
        document["metadata"]["annotations"] = annotations
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        assert cli(["lint", str(path)]) == code
    error = capsys.readouterr().err
    assert f"metadata.annotations: {annotation}: unknown" in error
    assert words in error


WORDS = """apiVersion: v1
kind: ConfigMap
metadata:
  name: momentum-prompt
data:
  system: |
    You trade momentum. {{contract}}
  user: |
    {{market_data}}
---
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("{{market_data}}", "{{marketdata}}", "key user has the field {{marketdata}}, which does not exist"),
        ("  user: |", "  other: |", "ConfigMap momentum-prompt has no key user with a text"),
        ("{{market_data}}", "as you know it", "no part has {{market_data}}"),
        ("name: momentum-prompt\ndata", "name: another\ndata", None),  # it may be in the cluster
    ],
)
def test_words_that_stand_beside_their_version_are_checked(
    old: str, new: str, says: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = WORDS + (SAMPLES / "modelversion-own-prompt.yaml").read_text(encoding="utf-8")
    assert text.count(old) == 1
    path = tmp_path / "version.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert cli(["lint", str(path)]) == (0 if says is None else 1)
    told = capsys.readouterr().err
    if says is None:
        assert told == ""
    else:
        line = text.replace(old, new).splitlines().index("    promptTemplate: {name: momentum-prompt}") + 1
        assert told.startswith(f"{path}:{line}: ModelVersion deepseek-momentum: spec.external.promptTemplate: ")
        assert says in told
