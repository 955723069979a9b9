"""Case 19: values of ``run -p`` arrive as they were typed where the parameter is a text, and by its type otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_workflow import cli
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
