"""`dicom-workflow evaluate` and `compare`: what the package measures, from the command line."""

from __future__ import annotations

import json

import pytest
import torch
from support.learning import LABELS, tiny_bundle, write_channel

from dicom_workflow import cli
from dicom_workflow.learning.evaluation import comparison, run
from dicom_workflow.learning.inference import predict
from dicom_workflow.learning.model import bundle
from dicom_workflow.pipeline import records
from dicom_workflow.settings import Settings

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    write_channel(folder / "channel", 40)
    bundle.save(tiny_bundle(LABELS, mode="multi-label"), folder / "model")
    return folder


def test_a_bundle_is_judged_on_a_channel(work, capsys, tmp_path):
    arguments = [
        "evaluate",
        work / "model",
        work / "channel",
        "--resamples",
        30,
        "--report",
        tmp_path / "report.json",
        "--json",
    ]
    assert cli.main(list(map(str, arguments))) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out.splitlines()[-1])["evaluation"]
    expected = run.evaluate_bundle(bundle.load(work / "model"), work / "channel", specificity=0.9, resamples=30, progress=False)
    assert found["macro_auroc"] == expected.figures.macro_auroc
    assert json.loads((tmp_path / "report.json").read_text()) == found
    record = records.latest(Settings.from_env(), records.EVALUATE)
    assert record is not None
    assert record.artifact_uri == (tmp_path / "report.json").as_uri()
    assert record.inputs == {"model": (work / "model").as_uri(), "channel": (work / "channel").as_uri()}
    assert record.metrics["macro_auroc"] == round(found["macro_auroc"], 4)
    assert all(label in captured.err for label in LABELS)
    assert f"test_auroc={found['macro_auroc']:.4f};" in captured.err


def test_two_models_are_compared_on_what_both_predicted(work, capsys, tmp_path):
    model = bundle.load(work / "model")
    paths = [tmp_path / f"{name}.jsonl" for name in ("one", "other")]
    for path in paths:
        predict.predict_channel(model, work / "channel", path, splits=("train", "test"), progress=False)
    assert cli.main(["compare", *map(str, paths), "--resamples", "30", "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out.splitlines()[-1])["comparison"]
    assert found["macro"]["difference"] == 0
    assert found["labels"] == comparison.compare_predictions(*paths, resamples=30)["labels"]
    assert "| mean over labels |" in captured.err


def test_predictions_that_are_not_there_are_an_error_of_one_line(work, capsys):
    assert cli.main(["compare", str(work / "none.jsonl"), str(work / "none.jsonl")]) == 1
    assert capsys.readouterr().err.startswith("dicom-workflow compare: ")


def test_figures_of_images_that_the_model_knows_say_so(work, capsys):
    flags = ["--resamples", "0", "--split"]
    for split, caution in (("train", "they say nothing about other images"), ("validation", "they are optimistic")):
        assert cli.main(["evaluate", str(work / "model"), str(work / "channel"), *flags, split]) == 0
        assert caution in capsys.readouterr().err


def test_a_specificity_in_percent_is_refused(work, capsys):
    assert cli.main(["evaluate", str(work / "model"), str(work / "channel"), "--specificity", "95"]) == 1
    assert "--specificity: expected a value above 0 and below 1, as 0.95, got 95" in capsys.readouterr().err


def test_a_manifest_in_the_place_of_predictions_is_named_as_such(work, capsys):
    manifest = str(work / "channel" / "train.manifest")
    assert cli.main(["compare", manifest, manifest]) == 1
    assert "a predictions.jsonl that a training run left" in capsys.readouterr().err
