"""Saliency is drawn over its own image, with label, number, threshold and truth, and never without its caution."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.text import Text

from dicom_workflow.learning.evaluation.predictions import OUTCOMES, Case
from dicom_workflow.viz.saliency import CAUTION, case_figure, right_and_wrong_figure, saliency_figure

IMAGE = np.random.default_rng(0).random((60, 40)).astype(np.float32)


def saliency(*, empty: bool = False, probability: float = 0.871, method: str = "grad-cam") -> SimpleNamespace:
    values = np.zeros((60, 40), np.float32)
    if not empty:
        values[10:30, 20:35] = 1
    return SimpleNamespace(label="$Edema$", method=method, values=values, probability=probability)


def explained(outcome: str, **kind: bool) -> SimpleNamespace:
    probability = 0.871 if outcome.endswith("positive") else 0.1
    case = Case("abcdef-0123456789", "$Edema$", outcome, probability, 0.42, 0.5)
    return SimpleNamespace(case=case, image=IMAGE, saliency=saliency(probability=probability, **kind))


def texts_of(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_one_answer_says_label_number_threshold_truth_and_its_caution():
    figure = saliency_figure(saliency(), IMAGE, threshold=0.42, truth="negative", title="image 7")
    figure.to_png(dpi=40)
    said = texts_of(figure)
    assert figure.get_suptitle() == r"\$Edema\$: probability 0.87, called positive (threshold 0.42), wrong: it is negative"
    assert f"⚠ {CAUTION}" in said
    assert {"image 7", "how much a place speaks for the label (1: most in this image)"} <= set(said)
    assert saliency_figure(saliency(), IMAGE, truth="positive").get_suptitle().endswith("0.87, truth: positive")
    assert "> 0.99" in saliency_figure(saliency(probability=0.9999), IMAGE).get_suptitle()


def test_the_map_lies_over_its_own_pixels():
    figure = saliency_figure(saliency(method="occlusion"), IMAGE)
    clean, marked = figure.axes[:2]
    assert len(clean.images) == 1
    radiograph, heat = marked.images
    assert radiograph.get_extent() == heat.get_extent() == [0, 40, 60, 0]
    outline = marked.collections[0].get_paths()[0].vertices
    low, high = outline.min(axis=0), outline.max(axis=0)
    assert low == pytest.approx([20, 10], abs=1)
    assert high == pytest.approx([35, 30], abs=1)
    with pytest.raises(ValueError, match="expected a map of the image's 60 × 40 pixels, got"):
        saliency_figure(SimpleNamespace(**{**vars(saliency()), "values": np.zeros((3, 3))}), IMAGE)


def test_right_and_wrong_stand_in_a_row_each_and_what_is_missing_is_said():
    shown = {outcome: [explained(outcome)] for outcome in OUTCOMES[:3]} | {OUTCOMES[3]: []}
    shown["false negative"] = [explained("false negative", empty=True)]
    figure = right_and_wrong_figure(shown, label="$Edema$")
    figure.to_png(dpi=40)
    said = texts_of(figure)
    assert figure.get_suptitle() == r"\$Edema\$: the surest answers, 1 right and 2 wrong"
    assert {*OUTCOMES, "none", "nothing speaks for it", f"⚠ {CAUTION}"} <= set(said)
    assert said.count(r"\$Edema\$: 0.87 (≥ 0.42)") == 2
    assert r"\$Edema\$: 0.10 (< 0.42)" in said
    right_and_wrong_figure({}).to_png(dpi=40)


def test_a_case_says_what_it_was():
    figure = case_figure(explained("false negative"))
    assert figure.get_suptitle().endswith("probability 0.10, called negative (threshold 0.42), wrong: it is positive")
    assert figure.axes[0].get_title(loc="left") == "image …f-0123456789"
