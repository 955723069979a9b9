"""Case 19: values of ``run -p`` arrive as they were typed where the parameter is a text, and by its type otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicom_workflow import cli
from dicom_workflow.cli.common import values_of
from dicom_workflow.pipeline import notebooks
from dicom_workflow.settings import Settings

TEXTS = ("/data/batch #2", "2026-11-30", "on", "007", "@home", "a: b", "- x", "'quoted", "null", "*", "~/images", "1e5", "")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What `run` hands to the notebooks, by notebook."""
    seen: dict[str, dict[str, Any]] = {}

    def run_steps(settings: Settings, steps: list[str], parameters: dict[str, dict[str, Any]], **_: Any) -> dict[str, Any]:
        seen.update(parameters)
        return {}

    monkeypatch.setattr(notebooks, "run_steps", run_steps)
    return seen


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_taken_as_it_was_typed(text: str, given: dict[str, dict[str, Any]]) -> None:
    assert cli.main(["run", "01_upload_to_orthanc", "-p", "source_folder", text]) == 0
    assert given["01_upload_to_orthanc"] == {"source_folder": text}


@pytest.mark.parametrize(
    ("step", "name", "text", "value"),
    [
        ("01_upload_to_orthanc", "patients", "12", 12),
        ("06_train_densenet", "learning_rate", "1e-3", 0.001),
        ("06_train_densenet", "resume", "true", True),
        ("02_create_manifest", "labels", '[Edema, "Opacity, left"]', ["Edema", "Opacity, left"]),
        ("04_parse_output_manifest", "fractions", "[0.5, 0.25, 0.25]", [0.5, 0.25, 0.25]),
    ],
)
def test_other_values_have_the_type_of_their_parameter(
    step: str, name: str, text: str, value: object, given: dict[str, dict[str, Any]]
) -> None:
    assert cli.main(["run", step, "-p", name, text]) == 0
    assert given[step] == {name: value}


@pytest.mark.parametrize(
    ("step", "name", "text"),
    [
        ("01_upload_to_orthanc", "patients", "a dozen"),
        ("01_upload_to_orthanc", "patients", "2026-11-30"),
        ("06_train_densenet", "resume", "perhaps"),
        ("02_create_manifest", "labels", "@home"),
        ("02_create_manifest", "labels", "Edema"),
    ],
)
def test_a_value_of_another_type_is_named(step: str, name: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", step, "-p", name, text]) == 1
    assert f"-p {name}: expected a value of type" in capsys.readouterr().err


def test_without_names_a_parameter_goes_to_each_notebook_that_has_it(given: dict[str, dict[str, Any]]) -> None:
    assert cli.main(["run", "-p", "source_folder", "/data/batch #2", "-p", "seed", "3"]) == 0
    assert given["01_upload_to_orthanc"] == {"source_folder": "/data/batch #2", "seed": 3}
    assert given["02_create_manifest"] == {}
    assert given["06_train_densenet"] == {"seed": 3}


def test_the_items_of_a_list_have_the_type_of_their_parameter_too(given: dict[str, dict[str, Any]]) -> None:
    assert cli.main(["run", "02_create_manifest", "-p", "labels", '[2026-11-30, on, 007, "Opacity, left"]']) == 0
    assert given["02_create_manifest"] == {"labels": ["2026-11-30", "on", "007", "Opacity, left"]}


def test_a_file_of_parameters_is_read_by_the_same_types(given: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text(
        "\ufeff01_upload_to_orthanc: {source_folder: 2026-11-30, patients: 12}\n02_create_manifest:\n  labels: [on, 007]\n"
        "06_train_densenet: {learning_rate: 1e-3, resume: yes, model_uri: null}\n"
    )
    assert cli.main(["run", "--parameters", str(path)]) == 0
    assert given["01_upload_to_orthanc"] == {"source_folder": "2026-11-30", "patients": 12}
    assert given["02_create_manifest"] == {"labels": ["on", "007"]}
    assert given["06_train_densenet"] == {"learning_rate": 0.001, "resume": True, "model_uri": "null"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("01_upload_to_orthanc: {patients: a dozen}", "01_upload_to_orthanc: patients: expected a value of type int"),
        ("01_upload_to_orthanc: {source_folder: [a]}", "source_folder: expected a value of type str, such as text, got ['a']"),
        ("06_train_densenet: {learning_rate: .nan}", "learning_rate: expected a value of type float"),
        ("02_create_manifest: {labels: [{a: b}]}", "labels: expected a value of type list[str]"),
        ("01_upload: {patients: 3}", "there is no notebook 01_upload. The notebooks are 01_upload_to_orthanc"),
        ("01_upload_to_orthanc: {patient: 3}", "01_upload_to_orthanc has no parameter patient"),
        ("01_upload_to_orthanc: 5", "expected names of notebooks with their parameters below each, got 01_upload_to_orthanc"),
        ("- a", "expected names of notebooks with their parameters below each, got ['a']"),
        ("a: [", "cannot be read as a YAML file"),
    ],
)
def test_what_is_wrong_in_a_file_of_parameters_is_named(
    text: str, reason: str, given: dict[str, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "parameters.yaml"
    path.write_text(text)
    assert cli.main(["run", "--parameters", str(path)]) == 1
    assert reason in capsys.readouterr().err
    assert not given


def test_values_of_service_requests_are_text_where_they_are_no_value_of_yaml() -> None:
    pairs = [("a", "@home"), ("b", "2026-11-30"), ("c", "12"), ("d", "false"), ("e", '{"x": 1}'), ("f", "null"), ("g", "[a")]
    assert values_of(pairs) == {
        "a": "@home", "b": "2026-11-30", "c": 12, "d": False, "e": {"x": 1}, "f": "null", "g": "[a",
    }  # fmt: skip
