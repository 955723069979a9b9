"""The card says what the run measured, and text out of the data is shown as it stands."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import mistune
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.learning import LABELS, write_channel

from dicom_workflow.learning.data.channel import read_channel
from dicom_workflow.learning.data.targets import to_targets
from dicom_workflow.learning.evaluation import model_card, run
from dicom_workflow.learning.evaluation.report import SplitCounts
from dicom_workflow.learning.evaluation.thresholds import Rule
from dicom_workflow.learning.model.calibration import Calibration

NASTY = "<script>alert(1)</script> [click](javascript:x) **bold** `code` | cell\n# head ![i](http://x) &amp; $x$"


def description(labels, calibration, mode="multi-label"):
    return {
        "labels": list(labels),
        "mode": mode,
        "size_px": 32,
        "preprocessing": {"function": "dicom_workflow.dicom.pixels.to_model_input", "version": "1"},
        "network": {"name": "densenet121-gray"},
        "calibration": calibration.to_json(),
        "weights": {"sha256": "0" * 64},
        "provenance": {
            "created": "2026-01-01T00:00:00+00:00",
            "commit": "abc",
            "manifests_sha256": {"train.manifest": "1" * 64},
            "versions": {"torch": "2.13.0"},
            "parameters": {"channel": "/home/doe/secret", "uncertain": "ignore", "learning_rate": 0.001},
        },
    }


def judged(folder, *, mode="multi-label", truth=True, resamples=60):
    """Return the card and the report of logits that know a little, on a small channel."""
    write_channel(folder, 200, one_label=mode == "single-label", truth=truth)
    channel = read_channel(folder)
    generator = np.random.default_rng(0)
    samples = {split: [s for s in channel.samples if s.split == split] for split in ("validation", "test")}
    targets = {split: to_targets(found, LABELS) for split, found in samples.items()}
    logits = {split: 3 * values - 1 + generator.normal(0, 2, values.shape) for split, values in targets.items()}
    calibration, thresholds = run.calibrate_and_threshold(
        targets["validation"], logits["validation"], LABELS, mode=mode, method="platt", rule=Rule()
    )
    report = run.evaluate_model(
        channel, samples["test"], logits["test"], split="test", mode=mode, calibration=calibration, thresholds=thresholds,
        resamples=resamples, seed=0,
    )  # fmt: skip
    report = replace(report, left_out=2, best_epoch=3, epochs=4)
    return model_card.to_markdown(description(LABELS, calibration, mode), report), report


def test_the_card_has_the_figures_of_the_report(tmp_path):
    card, report = judged(tmp_path)
    low, high = report.figures.macro_auroc_interval
    assert f"Mean AUROC over 3 labels: **{report.figures.macro_auroc:.3f} ({low:.3f} to {high:.3f})**" in card
    sections = re.findall(r"^## (.*)$", card, re.M)
    assert sections == [
        "Intended use", "Data", "Label policy", "Figures", "Calibration", "Subgroups", "Beside single readers",
        "Labels that exclude others",
        "Limits", "How it was made",
    ]  # fmt: skip
    labels = report.against["truth"].labels
    for label, values in labels.items():
        assert f"| {label} | {values.positives} / {values.negatives} | {values.auroc:.3f} (" in card
        assert f"| {values.brier_uncalibrated:.3f} | {values.brier:.3f} |" in card
    assert "| images | 120 | 40 | 40 |" in card
    assert "2 images or lines were left out" in card
    assert "Measured against a reference standard, on test images" in card
    assert "| learning\\_rate | 0\\.001 |" in card
    assert "secret" not in card
    assert "Only 20 patients were evaluated" in card


def test_a_table_has_as_many_cells_in_every_row(tmp_path):
    card, _ = judged(tmp_path)
    blocks = re.findall(r"(?:^\|.*\n)+", card, re.M)
    assert len(blocks) >= 3
    for block in blocks:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def test_the_report_holds_what_the_card_tells(tmp_path):
    _, report = judged(tmp_path, truth=False)
    assert report.measured_against == "states"
    assert report.calibration["method"] == "platt"
    positives = {"Edema": 20, "Fracture": 20, "No Finding": 10}
    assert report.splits["test"] == SplitCounts(images=40, patients=20, positives=positives)
    assert set(report.exclusions) == {"No Finding"}
    assert "consolidated states" in report.cautions[0]
    assert report.against["states"].macro_ece < report.against["states"].macro_ece_uncalibrated


def test_a_single_label_model_without_intervals_has_a_card_too(tmp_path):
    card, report = judged(tmp_path, mode="single-label", resamples=0)
    assert "One finding per image" in card
    assert f"Accuracy of the most probable label: {report.against['truth'].accuracy:.3f}" in card


def test_the_card_of_an_ensemble_taught_by_readers_shares_says_so(tmp_path):
    plain, report = judged(tmp_path)
    says = description(LABELS, Calibration())
    says["network"]["arguments"] = {"members": 5}
    says["provenance"]["parameters"] |= {"soft_targets": True, "uncertain": "ignore,Edema=soft=0.7"}
    card = model_card.to_markdown(says, report)
    assert "densenet121\\-gray, an ensemble of 5 whose logits are averaged, 32 x 32 pixels" in card
    assert "the target is the share of them who saw it" in card
    assert "an uncertain label counts as: ignore,Edema\\=soft\\=0\\.7" in card
    assert "ensemble" not in plain
    assert "share of them" not in plain


def test_figures_of_validation_images_are_optimistic_and_the_card_says_so():
    assert run._cautions("test", "truth", 500) == []
    assert "they are optimistic" in run._cautions("validation", "truth", 500)[0]


def shown(markdown: str) -> str:
    return mistune.create_markdown(plugins=["table", "strikethrough", "url"], escape=False)(markdown)


@pytest.mark.parametrize("place", ["{}", "- item: {}", "| {} | b |\n| :-- | --: |\n| {} | 1 |"])
def test_text_of_the_data_is_never_markup(place):
    page = shown(place.replace("{}", model_card.escape(NASTY)))
    assert not re.search(r"<(script|a|strong|code|img|h1)\b", page)
    assert "<script>alert(1)</script> [click](javascript:x) **bold** `code` | cell # head" in html.unescape(page)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_shown_as_it_stands(text):
    escaped = model_card.escape(text)
    assert "\n" not in escaped
    page = shown(f"x {escaped} x")
    said = html.unescape(re.sub(r"</?p>", "", page)).strip()
    plain = " ".join("".join(" " if not c.isprintable() else c for c in text).split())
    assert said.replace(" ", "") == f"x{plain}x".replace(" ", "")


def test_long_text_is_cut():
    assert len(model_card.escape("a" * 500)) == 120
