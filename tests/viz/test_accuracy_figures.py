"""Figures of accuracy: every axis is named, every number is the report's, and nothing falls over what is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text
from support.learning import dicom_file

from dicom_workflow.learning.evaluation import breakdown, curves, metrics
from dicom_workflow.learning.evaluation.predictions import Predictions
from dicom_workflow.learning.evaluation.report import Evaluation, Figures, ReaderComparison, ReaderLabel
from dicom_workflow.viz import accuracy, contact_sheets, thresholds

LABELS = ("Edema", "$Fracture$ of a very long name that goes on", "Rare")


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    generator = np.random.default_rng(0)
    targets = (generator.random((120, 3)) < 0.4).astype(float)
    targets[:, 2] = 0
    scores = 1 / (1 + np.exp(-generator.normal(0, 1, (120, 3)) - 1.5 * targets))
    names, patients = (tuple(str(number // images) for number in range(120)) for images in (1, 2))
    return Predictions(LABELS, names, patients, scores, targets, np.full((120, 3), np.nan))


@pytest.fixture(scope="module")
def report(predictions):
    scores, patients = predictions.scores, predictions.patients
    return metrics.evaluate(predictions.states, scores, labels=LABELS, patients=patients, uncalibrated=scores**2, resamples=40)


def evaluated(figures, **rest):
    return Evaluation("test", "multi-label", "states", {"states": figures}, **rest)


def texts_of(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_curves_name_their_axes_and_carry_the_area_with_its_interval(predictions):
    readers = [ReaderComparison(1, "r", 9, {"Edema": ReaderLabel(1, 1, 1, 1, sensitivity=0.8, specificity=0.9)})]
    figure = accuracy.roc_figure(predictions, readers=readers, resamples=40)
    assert [len(figure.axes), figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()] == [2, "1 − specificity", "sensitivity"]
    area = curves.auroc(predictions.states[:, 0], predictions.scores[:, 0])
    title = figure.axes[0].get_title(loc="left")
    assert title.startswith(f"Edema\n{area:.3f} (")
    assert title.endswith("), 38 pos.")
    point = [line for line in figure.axes[0].lines if line.get_marker() == "D"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in point] == [(pytest.approx(0.1), 0.8)]
    assert "single reader" in texts_of(figure)
    figure.to_png(dpi=50)
    figure = accuracy.precision_recall_figure(predictions, resamples=0)
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("recall (sensitivity)", "precision")
    figure.to_png(dpi=50)


def test_reliability_shows_the_bins_of_the_report_before_and_after(report):
    figure = accuracy.reliability_figure(report)
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("mean predicted probability", "share of positive images")
    bins = report.labels["Edema"].reliability
    drawn = [line for line in axes.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in drawn] == [len(report.labels["Edema"].reliability_uncalibrated), len(bins)]
    assert drawn[1].get_ydata() == pytest.approx([each.observed for each in bins])
    assert "before calibration" in texts_of(figure)
    figure.to_png(dpi=50)
    edema = replace(report.labels["Edema"], ece_uncalibrated=None, reliability_uncalibrated=())
    without = replace(report, labels={"a": edema})
    assert "before calibration" not in texts_of(accuracy.reliability_figure(without))


def test_subgroups_stand_one_below_the_other_and_too_few_is_said(predictions, report):
    groups = [{"sex": "female" if row < 60 else "male", "age_band": "0-17" if row < 3 else "18-39"} for row in range(120)]
    found = breakdown.by_subgroup(
        predictions.states, predictions.scores, groups, labels=LABELS, patients=predictions.patients, resamples=40
    )
    figure = accuracy.subgroup_figure(evaluated(report, subgroups=found))
    said = texts_of(figure)
    assert {"sex", "female", "male", "age band", "0-17", "too few", "patients", "images"} <= set(said)
    low, high = found["sex"]["male"].macro_auroc_interval
    assert f"{found['sex']['male'].macro_auroc:.3f} ({low:.3f} to {high:.3f})" in said
    assert "area under the ROC curve" in figure.axes[0].get_xlabel()
    figure.to_png(dpi=50)


def test_thresholds_stand_in_a_table_with_what_they_find_and_spare(report):
    figure = thresholds.operating_points_figure(report)
    said, edema = texts_of(figure), report.labels["Edema"]
    assert {f"{edema.threshold:.3f}", f"{edema.positives:,}", "threshold", "no such image"} <= set(said)
    low, high = edema.sensitivity_interval
    assert f"{edema.sensitivity:.2f} ({low:.2f} to {high:.2f})" in said
    assert "sensitivity where specificity is 0.90" in said
    mean = np.mean([each.specificity for each in report.labels.values()])
    assert f"specificity {mean:.2f}, mean over labels" in figure.get_suptitle()
    figure.to_png(dpi=50)


def test_readers_stand_beside_the_model(predictions, report):
    said = [{"r1": dict(zip(LABELS, row, strict=True))} for row in np.where(predictions.states == 1, "positive", "negative")]
    called = predictions.scores >= 0.5
    readers = breakdown.against_readers(called, said, labels=LABELS, targets=predictions.states)
    figure = thresholds.readers_figure(evaluated(report, readers=readers))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "sensitivity", "specificity", "agreement of model and reader"
    ]  # fmt: skip
    points = [line.get_xdata()[0] for line in figure.axes[2].lines if line.get_marker() == "D"]
    assert points == pytest.approx([each.kappa for each in readers[0].labels.values() if each.kappa is not None])
    assert {"reader 1", "model, at its threshold"} <= set(texts_of(figure))
    figure.to_png(dpi=50)
    without = breakdown.against_readers(called, said, labels=LABELS)
    assert len(thresholds.readers_figure(evaluated(report, readers=without)).axes) == 1, "no truth, no sensitivity of a reader"


def test_new_images_are_shown_with_what_is_called(tmp_path):
    path = dicom_file(tmp_path / "new.dcm", np.full((30, 20), 90))
    said = {"file": str(path), "probabilities": {"$Edema$": 0.7, "Fracture": 0.2}, "consistent": ["$Edema$"]}
    figure = contact_sheets.predicted_figure([said] * 3, count=2)
    assert {r"+ \$Edema\$ 0.70", "− Fracture 0.20", "new.dcm"} <= set(texts_of(figure))
    assert figure.get_suptitle().startswith("3 images predicted, the first 2 of them")
    figure.to_png(dpi=50)


def test_nothing_called_of_a_new_image_goes_unsaid(tmp_path):
    path = dicom_file(tmp_path / "new.dcm", np.full((30, 20), 90))
    chances = {"a": 0.998, "b": 0.6, "c": 0.5, "low but called": 0.1}
    said = {"file": str(path), "probabilities": chances, "consistent": ["a", "low but called"]}
    texts = texts_of(contact_sheets.predicted_figure([said]))
    assert [text for text in texts if text[:1] in "+−"] == ["+ a > 0.99", "+ low but called 0.10", "− b 0.60", "− c 0.50"]
    many = {"file": str(path), "probabilities": dict.fromkeys("abcdefg", 0.9), "consistent": list("abcdef")}
    texts = texts_of(contact_sheets.predicted_figure([many]))
    assert [text for text in texts if text[:1] in "+−"] == ["+ a 0.90", "+ b 0.90", "+ c 0.90", "+ 3 more"]


def test_nothing_to_show_is_said():
    nothing = np.full((2, 1), np.nan)
    empty = Predictions(("a",), ("1", "2"), ("p", "q"), np.full((2, 1), 0.5), nothing, nothing)
    none = Figures(0, 0, {})
    assert "is not defined for any label" in texts_of(accuracy.roc_figure(empty))[0]
    assert "No label has a known image" in texts_of(accuracy.reliability_figure(none))[0]
    assert "No subgroups are known" in "".join(texts_of(accuracy.subgroup_figure(evaluated(none))))
    assert "no answers of single readers" in texts_of(thresholds.readers_figure(evaluated(none)))[0]
    for figure in (thresholds.operating_points_figure(none), contact_sheets.predicted_figure([])):
        figure.to_png(dpi=40)
    for figure in (
        accuracy.precision_recall_figure(empty),
        accuracy.reliability_figure(none),
        accuracy.subgroup_figure(evaluated(none)),
    ):
        figure.to_png(dpi=40)
