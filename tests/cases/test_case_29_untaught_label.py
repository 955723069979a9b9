"""Case 29: a label that no training image teaches is not predicted, and every output says so."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from support.learning import dicom_file, entry, picture, write_lines

from dicom_workflow.learning.data import images
from dicom_workflow.learning.data.channel import read_channel
from dicom_workflow.learning.data.targets import untaught_labels
from dicom_workflow.learning.evaluation import run
from dicom_workflow.learning.evaluation.report import read_evaluation
from dicom_workflow.learning.inference import predict
from dicom_workflow.learning.model import bundle, bundle_json

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[2]
LABELS = ["Edema", "Never Said", "Never Positive"]
WHY = {"Never Said": "no positive and no negative training image", "Never Positive": "no positive training image"}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("monai_dicom_case_29", ROOT / "source" / "monai_dicom.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["monai_dicom_case_29"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A channel in which one label is known of no training image, and another is positive on test images only."""
    channel = tmp_path_factory.mktemp("case29") / "channel"
    generator = np.random.default_rng(0)
    lines: list[dict[str, Any]] = []
    for number in range(40):
        split = ("train", "train", "train", "validation", "test")[number // 2 % 5]
        edema = "positive" if number // 2 % 3 else "negative"
        states = {"Edema": edema, "Never Said": "unknown", "Never Positive": "negative"}
        if split == "test":
            states |= {"Never Said": "positive", "Never Positive": "positive"}
        lines.append(entry(number, [], split) | {"labels": LABELS, "states": states})
        dicom_file(channel / lines[-1]["image"], picture(["Edema"] if edema == "positive" else [], generator))
    write_lines(channel / "train.manifest", lines)
    return channel


@pytest.fixture(scope="module")
def trained(script: ModuleType, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(output))
        flags = {"channel": folder, "output_dir": output, "model_dir": output / "model", "epochs": 1, "size_px": 32}
        flags |= {"threads": 1, "workers": 1, "resamples": 0, "progress": False}
        assert script.main([f"--{name}={value}" for name, value in flags.items()]) == 0
    return output


def test_the_bundle_predicts_the_taught_label_and_lists_the_others(trained: Path) -> None:
    description = bundle_json.read_description(trained / "model")
    assert description["labels"] == ["Edema"]
    assert description["label_set"]["labels"] == LABELS
    assert description["untaught"] == WHY
    loaded = bundle.load(trained / "model")
    assert (loaded.labels, loaded.untaught) == (("Edema",), WHY)
    assert loaded.network(torch.zeros(2, 1, 32, 32)).shape == (2, 1)


def test_predictions_evaluation_and_card_leave_it_out_and_say_so(trained: Path, folder: Path) -> None:
    line = json.loads((trained / "predictions.jsonl").read_text().splitlines()[0])
    assert list(line["probabilities"]) == ["Edema"]
    assert line["untaught"] == ["Never Said", "Never Positive"]
    evaluation = read_evaluation(trained / "evaluation.json")
    assert (set(evaluation.figures.labels), evaluation.untaught) == ({"Edema"}, WHY)
    card = (trained / "model" / "model_card.md").read_text()
    assert "Not predicted: Never Said, no positive and no negative training image" in card
    model = bundle.load(trained / "model")
    again = run.evaluate_bundle(model, folder, resamples=0, progress=False)
    assert (set(again.figures.labels), again.untaught) == ({"Edema"}, WHY)
    done = predict.predict_files(model, predict.files_below([folder / "images"]), trained / "again.jsonl", progress=False)
    assert "not predicted: Never Said: no positive and no negative training image" in done.refusals()


def test_a_report_names_the_labels_that_the_model_does_not_predict(trained: Path, folder: Path) -> None:
    pytest.importorskip("highdicom")
    from dicom_workflow.dicom.reading import read_dataset
    from dicom_workflow.learning.inference import structured_report

    model = bundle.load(trained / "model")
    dataset = read_dataset(next((folder / "images").glob("*.dcm")))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.4"
    prediction = predict.to_prediction(model, np.array([0.7]))
    report = structured_report.to_report(model, dataset, prediction, run_uid="1.2.5")
    said = {str(element.value) for element in report.iterall() if element.keyword == "TextValue"}
    assert "not predicted: Never Said, no positive and no negative training image" in said


def test_what_teaches_a_label() -> None:
    nan = float("nan")
    targets = np.array([[1, 0, nan, 0.5, 1], [0, 0, nan, nan, 1]], np.float32)
    assert untaught_labels(targets, ["both", "negative", "unknown", "share", "positive"]) == {
        "negative": "no positive training image",
        "unknown": "no positive and no negative training image",
        "positive": "no negative training image",
    }


def test_a_policy_for_uncertain_labels_teaches_too(folder: Path, tmp_path: Path) -> None:
    channel = read_channel(folder)
    data = images.read_training_set(channel, size_px=32, workers=1, progress=False)
    assert data.taught_labels_only("multi-label").channel.untaught == WHY
    assert data.channel.untaught == {}
