"""Predictions are the same from a notebook, a manifest and an endpoint."""

from __future__ import annotations

import base64
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.learning import LABELS, dicom_file, picture, tiny_bundle, write_channel

from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import BundleError, DicomError, LearningError
from dicom_workflow.learning.data import channel
from dicom_workflow.learning.data import images as dataset
from dicom_workflow.learning.inference import endpoint_handlers, predict
from dicom_workflow.learning.model import bundle, bundle_json
from dicom_workflow.learning.model.bundle import Bundle
from dicom_workflow.learning.model.calibration import Calibration

torch.set_num_threads(1)


def make_bundle(mode: str = "multi-label") -> Bundle:
    return tiny_bundle(LABELS, mode=mode)


@pytest.fixture(scope="module")
def trained() -> Bundle:
    return make_bundle()


@pytest.fixture
def files(tmp_path) -> list[Path]:
    generator = np.random.default_rng(0)
    return [dicom_file(tmp_path / f"{number}.dcm", picture(["Edema"], generator)) for number in range(3)]


def test_paths_bytes_and_datasets_give_the_same_probabilities(trained, files):
    from_paths = predict.predict(trained, files)
    assert from_paths == predict.predict(trained, [path.read_bytes() for path in files])
    assert from_paths == predict.predict(trained, [read_dataset(path) for path in files])
    assert [list(record) for record in from_paths] == [list(LABELS)] * 3
    assert all(0 < value < 1 for record in from_paths for value in record.values())
    assert predict.predict(trained, []) == []


def test_predictions_are_those_of_the_images_the_trainer_loads(trained, tmp_path):
    write_channel(tmp_path, 4)
    samples = channel.read_channel(tmp_path).samples
    loaded = dataset.load_images(samples, size_px=trained.size_px, progress=False)
    scores = predict.predict_images(trained, loaded.images)
    records = predict.predict(trained, [sample.image for sample in samples])
    assert [predict.to_record(trained, row) for row in scores] == records


def test_a_channel_becomes_a_line_per_image_and_a_bad_image_is_named(trained, tmp_path):
    lines = write_channel(tmp_path, 10)
    samples = channel.read_channel(tmp_path).samples
    samples[1].image.write_bytes(b"broken")
    path, problems = predict.predict_channel(
        trained, tmp_path, tmp_path / "out" / "predictions.jsonl", splits=("train",), progress=False
    )
    written = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [line["source"] for line in lines if line["split"] == "train" and line["source"] != samples[1].identifier]
    assert [line["source"] for line in written] == kept
    assert len(problems) == 1
    assert str(samples[1].image) in problems[0]
    assert written[0]["states"] == written[0]["truth"] == lines[0]["states"]
    assert written[0]["patient_id"] == "P000"
    assert set(written[0]["probabilities"]) == set(LABELS)


def test_half_a_character_in_a_manifest_does_not_cost_the_predictions(trained, tmp_path):
    write_channel(tmp_path, 4)
    samples = [replace(channel.read_channel(tmp_path).samples[0], patient_id="P\ud800")]
    scores = np.full((1, len(LABELS)), 0.5)
    path = predict.write_predictions(tmp_path / "predictions.jsonl", trained, samples, scores)
    assert json.loads(path.read_bytes())["patient_id"] == "P\ud800"


def test_a_channel_is_predicted_from_the_cache_of_an_earlier_run(trained, tmp_path):
    write_channel(tmp_path, 10)
    samples = channel.read_channel(tmp_path).samples
    cache_dir = tmp_path / "cache"
    assert dataset.load_images(samples, size_px=40, progress=False, cache_dir=cache_dir).decoded == 10
    kept, _ = predict.predict_channel(trained, tmp_path, tmp_path / "kept.jsonl", progress=False, cache_dir=cache_dir)
    fresh, _ = predict.predict_channel(trained, tmp_path, tmp_path / "fresh.jsonl", progress=False)
    assert kept.read_text() == fresh.read_text()
    again = dataset.load_images(samples, size_px=40, progress=False, cache_dir=cache_dir)
    assert again.decoded == 0


def test_a_prediction_says_what_is_positive_and_what_contradicts_a_label_that_excludes_others(trained):
    prediction = predict.to_prediction(trained, np.array([0.7, 0.2, 0.9]))
    assert prediction == {
        "probabilities": {"Edema": 0.7, "Fracture": 0.2, "No Finding": 0.9},
        "positive": ["Edema", "No Finding"],
        "conflicts": ["Edema"],
        "consistent": ["Edema"],
    }
    single = make_bundle("single-label")
    assert predict.to_prediction(single, np.array([0.4, 0.35, 0.25]))["positive"] == ["Edema"]


def test_a_bundle_keeps_its_calibration_and_predicts_with_it(trained, tmp_path):
    scales, offsets = {"Edema": 0.5, "Fracture": 2.0}, {"Edema": -1.0, "Fracture": 0.5}
    calibrated = replace(trained, calibration=Calibration("platt", scales, offsets, {"No Finding": "too few"}, 20))
    folder = bundle.save(calibrated, tmp_path / "model")
    assert bundle.load(folder).calibration == calibrated.calibration
    images = np.random.default_rng(0).random((3, 1, 40, 40)).astype(np.float16)
    plain = predict.predict_images(trained, images).astype(float)
    logits = np.log(plain / (1 - plain)) * [0.5, 2.0, 1.0] + [-1.0, 0.5, 0.0]
    assert predict.predict_images(bundle.load(folder), images) == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-5)
    text = json.dumps(
        {**bundle_json.read_description(folder), "calibration": {"method": "magic"}, "sha256": bundle_json.UNSEALED}
    )
    (folder / "bundle.json").write_bytes(bundle_json.sealed(text))
    with pytest.raises(BundleError, match="expected 'calibration' with a method of none, temperature, platt"):
        bundle.load(folder)


def test_images_of_another_size_are_refused(trained):
    with pytest.raises(LearningError, match=r"expected images of shape \(n, 1, 40, 40\), got \(2, 1, 32, 32\)"):
        predict.predict_images(trained, np.zeros((2, 1, 32, 32), np.float16))


def test_predict_raises_for_a_file_that_is_not_dicom(trained):
    with pytest.raises(DicomError, match="not a DICOM file"):
        predict.predict(trained, [b"not DICOM" * 50])


def test_the_endpoint_handlers_answer_as_the_notebook_does(trained, files, tmp_path):
    specification = importlib.util.spec_from_file_location("handlers", Path(__file__).parents[3] / "source" / "inference.py")
    handlers = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(handlers)
    model = handlers.model_fn(str(bundle.save(trained, tmp_path / "model")))
    expected = predict.predict(trained, files)

    one = handlers.predict_fn(handlers.input_fn(files[0].read_bytes(), "application/dicom"), model)
    assert [answer["probabilities"] for answer in one] == expected[:1]

    contents = [files[0].read_bytes(), b"not DICOM", files[2].read_bytes()]
    body = json.dumps({"instances": [base64.b64encode(content).decode() for content in contents]})
    answers = handlers.predict_fn(handlers.input_fn(body, "application/json; charset=utf-8"), model)
    assert answers[0]["probabilities"] == expected[0]
    assert "not a DICOM file" in answers[1]["error"]
    assert answers[2]["probabilities"] == expected[2]
    assert json.loads(handlers.output_fn(answers, "application/json")) == {"predictions": answers}
    assert [json.loads(line) for line in handlers.output_fn(answers, "application/jsonlines").splitlines()] == answers


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (b"x", "image/png", "expected content type application/dicom or application/json, got 'image/png'"),
        (b"{", "application/json", "the body is not JSON"),
        (b"[1]", "application/json", 'expected {"instances"'),
        (b'{"instances": []}', "application/json", "at least one text"),
        (b'{"instances": ["%%%"]}', "application/json", "the instances are not base64"),
        (json.dumps({"instances": ["AA=="] * 65}), "application/json", "at most 64 instances in a request, got 65"),
    ],
)
def test_a_request_that_cannot_be_read_says_why(body, content_type, message):
    with pytest.raises(LearningError, match=message):
        endpoint_handlers.input_fn(body, content_type)


def test_a_request_without_any_usable_file_or_another_accept_is_refused(trained):
    with pytest.raises(LearningError, match=r"none of 1 DICOM files is usable: .*not a DICOM file"):
        endpoint_handlers.predict_fn([b"no"], trained)
    with pytest.raises(LearningError, match="was asked for 'text/html'"):
        endpoint_handlers.output_fn([], "text/html")
