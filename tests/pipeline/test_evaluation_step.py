"""What a run left is read back as one thing, and new files are predicted as the run's own images were."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom import config, dcmread
from pydicom.uid import generate_uid
from support.learning import LABELS, dicom_file, picture, tiny_bundle, write_channel

from dicom_workflow.errors import LearningError
from dicom_workflow.learning.data.channel import read_channel
from dicom_workflow.learning.data.targets import to_targets
from dicom_workflow.learning.evaluation import metrics, predictions
from dicom_workflow.learning.evaluation.predictions import read_predictions
from dicom_workflow.learning.evaluation.report import Evaluation
from dicom_workflow.learning.inference import predict
from dicom_workflow.learning.model import bundle, bundle_archive
from dicom_workflow.pipeline import evaluation_step, records
from dicom_workflow.settings import Settings
from dicom_workflow.storage import to_uri

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a finished run: channel, bundle, predictions and evaluation of an untrained network."""
    folder = tmp_path_factory.mktemp("run")
    write_channel(folder / "channel", 40)
    bundle.save(tiny_bundle(LABELS, mode="multi-label"), folder / "model")
    model = bundle.load(folder / "model")
    path, _ = predict.predict_channel(model, folder / "channel", folder / "predictions.jsonl", progress=False)
    found = read_predictions(path)
    samples = [sample for sample in read_channel(folder / "channel").samples if sample.split == "test"]
    report = metrics.evaluate(to_targets(samples, LABELS), found.scores, labels=LABELS, patients=found.patients, resamples=20)
    against = {"truth": report, "states": report}
    found = Evaluation("test", "multi-label", "truth", against, cautions=("few",))
    (folder / "evaluation.json").write_text(json.dumps(found.to_json()))
    return folder


def test_a_run_is_read_back_with_its_images(run, tmp_path):
    found = evaluation_step.read_results(to_uri(run / "model"), to_uri(run), tmp_path)
    assert list(found.files) == list(found.predictions.identifiers)
    assert all(path.is_file() for path in found.files.values())
    assert found.evaluation.figures.images == len(found.files) == found.metrics()["measured_images"]
    assert found.cautions()[0].startswith(f"Measured on {len(found.files)} test images of ")
    assert found.cautions()[1:] == ["few"]


def test_the_archives_of_a_training_job_hold_the_same(run, tmp_path):
    job = tmp_path / "job"
    bundle_archive.pack(run / "model", job / "model.tar.gz")
    with tarfile.open(job / "output.tar.gz", "w:gz") as tar:
        for name in ("evaluation.json", "predictions.jsonl"):
            tar.add(run / name, arcname=name)
        outside = tarfile.TarInfo("../escaped.json")
        tar.addfile(outside, io.BytesIO(b""))
    here = evaluation_step.read_results(to_uri(run / "model"), to_uri(run), tmp_path / "a")
    packed = evaluation_step.read_results(to_uri(job / "model.tar.gz"), to_uri(run), tmp_path / "b")
    assert packed.evaluation == here.evaluation
    assert packed.bundle.identifier == here.bundle.identifier
    assert np.array_equal(packed.predictions.scores, here.predictions.scores)
    assert sorted(path.name for path in (tmp_path / "b" / "output").iterdir()) == ["evaluation.json", "predictions.jsonl"]
    assert not (tmp_path / "b" / "escaped.json").exists()
    (job / "output.tar.gz").write_bytes(b"no archive")
    with pytest.raises(LearningError, match=r"output\.tar\.gz: not a \.tar\.gz of a training job"):
        evaluation_step.read_results(to_uri(job / "model.tar.gz"), to_uri(run), tmp_path / "c")


def test_an_archive_that_unpacks_to_far_more_than_it_has_is_refused_before_it_is_unpacked(run, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_archive, "MAX_OUTPUT_BYTES", 10_000)
    bundle_archive.pack(run / "model", tmp_path / "job" / "model.tar.gz")
    with tarfile.open(tmp_path / "job" / "output.tar.gz", "w:gz") as tar:
        bomb = tarfile.TarInfo("evaluation.json")
        bomb.size = 1_000_000
        tar.addfile(bomb, io.BytesIO(bytes(1_000_000)))
    with pytest.raises(LearningError, match=r"expected evaluation\.json of at most 10,000 bytes, got 1,000,000"):
        evaluation_step.read_results(to_uri(tmp_path / "job" / "model.tar.gz"), to_uri(run), tmp_path / "here")
    assert not list((tmp_path / "here" / "output").iterdir())


def test_a_run_that_was_never_judged_says_so(run, tmp_path):
    with pytest.raises(LearningError, match=r"has no evaluation\.json and no predictions\.jsonl"):
        evaluation_step.read_results(to_uri(run / "model"), to_uri(tmp_path), tmp_path)


def test_cases_come_with_their_image_and_map_in_its_own_pixels(run, tmp_path):
    found = evaluation_step.read_results(to_uri(run / "model"), to_uri(run), tmp_path)
    chosen = predictions.choose_cases(found.predictions, found.bundle.thresholds, count=1)
    explained = evaluation_step.explain_cases(found, chosen)
    assert {outcome: len(cases) for outcome, cases in explained.items()} == {o: len(c) for o, c in chosen.items()}
    one = evaluation_step.most_instructive(explained)
    assert one.case.outcome.startswith("false")
    assert one.image.shape == one.saliency.values.shape == (48, 48)
    assert one.saliency.probability == pytest.approx(one.case.probability, abs=1e-5)
    missing = evaluation_step.explain_cases(replace(found, files={}), chosen)
    with pytest.raises(LearningError, match="Nothing is known of the predicted images"):
        evaluation_step.most_instructive(missing)


def test_a_folder_of_files_is_predicted_as_the_run_predicted_them(run, tmp_path):
    found = evaluation_step.read_results(to_uri(run / "model"), to_uri(run), tmp_path)
    predicted = predict.predict_files(
        found.bundle, predict.files_below(found.some_files(4)), tmp_path / "new.jsonl", progress=False
    )
    scores = [list(line["probabilities"].values()) for line in predicted.lines]
    assert scores == pytest.approx(found.predictions.scores[:4], abs=1e-6)
    assert [json.loads(line) for line in predicted.path.read_text().splitlines()] == list(predicted.lines)


def test_the_prediction_step_keeps_one_record_of_the_run_and_the_new_files(run, tmp_path):
    settings = Settings.from_env()
    found = evaluation_step.read_results(to_uri(run / "model"), to_uri(run), tmp_path)
    inputs = {"model": to_uri(run / "model")}
    images = predict.files_below(found.some_files(2))
    done = evaluation_step.predict(
        found.bundle, images, tmp_path / "new.jsonl", settings, inputs=inputs, results=found, explained={"true positive": ()}
    )
    assert done.record == records.latest(settings, records.EVALUATE)
    assert done.record.artifact_uri == to_uri(tmp_path / "new.jsonl")
    assert done.record.inputs == {**inputs, "predictions": found.predictions_uri}
    assert done.record.metrics == {**found.metrics(), **done.files.metrics(), "cases_shown": 0}


def test_a_file_is_read_once_with_a_report_as_without(tmp_path):
    path = dicom_file(tmp_path / "image.dcm", picture([], np.random.default_rng(0)))
    image = dcmread(path)
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.save_as(path)
    asked: list[str] = []

    def content() -> bytes:
        asked.append("once")
        return path.read_bytes()

    model = tiny_bundle(LABELS, mode="multi-label")
    predicted = predict.predict_files(model, [("image", content)], tmp_path / "new.jsonl", reports=tmp_path / "sr")
    assert asked == ["once"]
    assert (predicted.lines[0]["file"], len(list((tmp_path / "sr").glob("*.dcm")))) == ("image", 1)


def test_a_bad_file_is_named_and_the_others_go_on(tmp_path):
    model = tiny_bundle(LABELS, mode="multi-label")
    images = tmp_path / "images"
    dicom_file(images / "b.dcm", picture([], np.random.default_rng(0)))
    (images / "a.txt").write_text("notes")
    predicted = predict.predict_files(model, predict.files_below([images]), tmp_path / "new.jsonl", progress=False)
    assert [Path(line["file"]).name for line in predicted.lines] == ["b.dcm"]
    assert list(predicted.refused) == [str(images / "a.txt")]
    assert predicted.refusals()[0] == "1 of 2 files predicted"
    assert "a.txt" in predicted.refusals()[1]
    assert predicted.metrics() == {"images_predicted": 1, "images_refused": 1, "reports_written": 0}
    with pytest.raises(LearningError, match=r"none of 1 files is a usable DICOM file\. The first: .*a\.txt"):
        predict.predict_files(model, predict.files_below([images / "a.txt"]), tmp_path / "none.jsonl", progress=False)
    assert not (tmp_path / "none.jsonl").exists()


def test_a_pipe_and_a_name_of_odd_bytes_do_not_end_the_prediction_of_the_others(tmp_path):
    odd, image = tmp_path / os.fsdecode(b"\xff.dcm"), dicom_file(tmp_path / "image.dcm", picture([], np.random.default_rng(0)))
    try:
        image.rename(odd)
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    os.mkfifo(tmp_path / "pipe")
    predicted = predict.predict_files(
        tiny_bundle(LABELS, mode="multi-label"), predict.files_below([tmp_path / "pipe", odd]), tmp_path / "new.jsonl"
    )
    assert "not a regular file but a pipe" in predicted.refused[str(tmp_path / "pipe")]
    assert json.loads(predicted.path.read_bytes())["file"] == str(odd)


@pytest.mark.parametrize("wrong", [{"PatientSex": "ZZZ"}, {"StudyDate": "soon"}, {"PatientBirthDate": "99999999"}])
def test_an_image_whose_patient_cannot_be_repeated_in_a_report_is_named_and_the_others_go_on(wrong, tmp_path):
    for name, tags in (("good", {}), ("wrong", wrong)):
        image = dcmread(dicom_file(tmp_path / "images" / f"{name}.dcm", picture([], np.random.default_rng(0))))
        image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
        with config.disable_value_validation():
            for keyword, value in tags.items():
                setattr(image, keyword, value)
            image.save_as(tmp_path / "images" / f"{name}.dcm")
    model = tiny_bundle(LABELS, mode="multi-label")
    predicted = predict.predict_files(
        model, predict.files_below([tmp_path / "images"]), tmp_path / "new.jsonl", reports=tmp_path / "sr"
    )
    assert [Path(line["file"]).name for line in predicted.lines] == ["good.dcm"]
    [reason] = predicted.refused.values()
    assert re.search(r"report.*Correct ", reason)
    assert not any(value in reason for value in wrong.values())


def test_a_report_is_for_this_user_alone(tmp_path):
    image = dcmread(dicom_file(tmp_path / "image.dcm", picture([], np.random.default_rng(0))))
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.save_as(tmp_path / "image.dcm")
    model = tiny_bundle(LABELS, mode="multi-label")
    files = predict.files_below([tmp_path / "image.dcm"])
    predicted = predict.predict_files(model, files, tmp_path / "new.jsonl", reports=tmp_path / "sr")
    assert Path(predicted.lines[0]["report"]).stat().st_mode & 0o777 == 0o600


def test_each_image_gets_a_structured_report_where_wanted(tmp_path):
    model = tiny_bundle(LABELS, mode="multi-label")
    whole, bare = (dicom_file(tmp_path / f"{name}.dcm", picture([], np.random.default_rng(0))) for name in ("whole", "bare"))
    image = dcmread(whole)
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.save_as(whole)
    predicted = predict.predict_files(
        model, predict.files_below([whole, bare]), tmp_path / "new.jsonl", reports=tmp_path / "sr", progress=False
    )
    [line] = predicted.lines
    report = dcmread(line["report"])
    assert (report.Modality, report.StudyInstanceUID) == ("SR", image.StudyInstanceUID)
    assert "expected a StudyInstanceUID for a report to refer to" in predicted.refused[str(bare)]
    assert predicted.metrics()["reports_written"] == 1
