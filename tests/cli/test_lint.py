"""`tradewind lint` on the samples, good and bad."""

from pathlib import Path

import pytest
import yaml

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
    assert "cannot be read" in capsys.readouterr().err


def test_other_kinds_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "service.yaml"
    path.write_text("apiVersion: v1\nkind: Service\nmetadata: {name: x}\n", encoding="utf-8")
    assert cli(["lint", str(path)]) == 0


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
