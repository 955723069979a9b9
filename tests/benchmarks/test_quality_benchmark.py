"""The arithmetic of the quality benchmarks; their figures come from minutes of training, which no test waits for."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import quality
import quality_channel
import quality_radiographs
import quality_synthetic

from dicom_workflow.learning.data.channel import read_channel

LABELS = ("No Finding", "Pneumonia")
PATIENTS = [f"P{number // 2}" for number in range(40)]
TRUTH = np.eye(2)[[number // 2 % 2 for number in range(40)]]


def test_a_line_knows_every_label():
    line = quality_channel.line("a", "P1", "train", Path("images/a.dcm"), LABELS, ["Pneumonia"])
    assert line["states"] == {"No Finding": "negative", "Pneumonia": "positive"} == line["truth"]


def test_phantoms_become_a_channel_with_patients_in_one_split_each(tmp_path):
    images = quality_synthetic.write_channel(tmp_path, patients=10, seed=3)
    channel = read_channel(tmp_path)
    assert len(channel.samples) == images and not channel.problems
    assert {sample.split for sample in channel.samples} == {"train", "validation", "test"}


def test_radiographs_of_a_table_become_lines(tmp_path):
    (tmp_path / "labels.csv").write_text("file,patient_id,label\n1.dcm,A,Pneumonia\n2.dcm,B,No Finding\n")
    first, second = quality_radiographs.read_lines(tmp_path)
    assert (first["image"], first["patient_id"], first["states"]["Pneumonia"]) == ("images/1.dcm", "A", "positive")
    assert second["labels"] == list(LABELS)


def test_a_linear_model_finds_the_brighter_half():
    generator = np.random.default_rng(0)
    images = generator.normal(0, 1, (40, 256)) + np.where(TRUTH[:, :1] == 1, 2.0, 0.0) * (np.arange(256) < 128)
    answers = quality_radiographs.linear(images[:30], TRUTH[:30], images[30:])
    assert quality_radiographs.is_right(TRUTH[30:], answers).all()
    assert answers.min() >= 0 and answers.max() <= 1


def test_an_image_is_right_when_its_likeliest_label_is_true():
    assert quality_radiographs.is_right(np.eye(2), np.array([[0.6, 0.4], [0.6, 0.4]])).tolist() == [1.0, 0.0]


def test_what_is_always_right_is_above_what_never_is():
    gain = quality_radiographs.gain(TRUTH, 1 - TRUTH, TRUTH, LABELS, PATIENTS, seed=0)
    assert gain["accuracy"] == {"difference": 1.0, "interval": (1.0, 1.0)}
    assert gain["macro_auroc"]["difference"] == 1.0


def test_the_same_answers_are_not_above_each_other():
    gain = quality_radiographs.gain(TRUTH, TRUTH, TRUTH, LABELS, PATIENTS, seed=0)
    assert gain["accuracy"]["interval"] == (0.0, 0.0)


def test_figures_say_accuracy_auroc_and_confusion_with_intervals():
    scores = np.where(np.arange(40)[:, None] < 4, 1 - TRUTH, TRUTH)
    found = quality_radiographs.figures(TRUTH, scores, LABELS, PATIENTS, seed=0)
    assert found["accuracy"] == 0.9
    low, high = found["accuracy_interval"]
    assert low < 0.9 < high
    assert found["confusion"]["Pneumonia"] == {"No Finding": 2, "Pneumonia": 18}


def test_the_comparison_is_drawn(tmp_path):
    names = (
        quality_radiographs.OURS,
        quality_radiographs.LINEAR,
        quality_radiographs.SAME_EPOCHS,
        quality_radiographs.OWN_EPOCHS,
    )
    one = quality_radiographs.figures(TRUTH, 0.2 + 0.6 * TRUTH, LABELS, PATIENTS, seed=0)
    found = {"images": 40, "patients": 20, "folds": 5, **dict.fromkeys(names, one)}
    quality_radiographs.figure(found, tmp_path / "quality.png")
    assert (tmp_path / "quality.png").read_bytes().startswith(b"\x89PNG")


def test_a_flag_has_a_name_and_a_value():
    assert quality.flag("size_px=96") == ("size_px", "96")
    with pytest.raises(argparse.ArgumentTypeError, match="NAME=VALUE"):
        quality.flag("size_px")
