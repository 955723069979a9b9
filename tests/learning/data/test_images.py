"""A training channel is read whole or refused with its reason."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.learning import LABELS, dicom_file, entry, picture, write_channel, write_lines

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import DatasetError
from dicom_workflow.learning.data import images
from dicom_workflow.learning.data.channel import read_channel


def write_images(folder, lines):
    for line in lines:
        dicom_file(folder / line["image"], picture((), np.random.default_rng(0), side=32))


def test_a_channel_of_three_manifests_gives_samples_in_order(tmp_path):
    lines = write_channel(tmp_path, 10)
    channel = read_channel(tmp_path)
    assert channel.labels == LABELS
    assert {sample.identifier: sample.split for sample in channel.samples} == {line["source"]: line["split"] for line in lines}
    assert channel.problems == ()
    assert set(channel.sha256) == {"train.manifest", "validation.manifest", "test.manifest"}
    first = next(sample for sample in channel.samples if sample.identifier == lines[0]["source"])
    assert first.states == {"Edema": "positive", "Fracture": "negative", "No Finding": "negative"}
    assert first.truth == first.states


def test_one_manifest_with_a_split_on_every_line_is_enough(tmp_path):
    lines = [entry(0, ["Edema"], "train"), entry(2, [], "test")]
    write_images(tmp_path, lines)
    write_lines(tmp_path / "train.manifest", lines)
    assert [sample.split for sample in read_channel(tmp_path).samples] == ["train", "test"]


def test_a_line_without_split_in_a_single_manifest_names_the_notebook(tmp_path):
    line = entry(0, ["Edema"], "train")
    del line["split"]
    write_lines(tmp_path / "train.manifest", [line])
    with pytest.raises(DatasetError, match=r"train.manifest, line 1: the line has no 'split': .* 04_parse_output_manifest"):
        read_channel(tmp_path)


def test_a_file_named_after_its_split_gives_the_split(tmp_path):
    lines = [entry(0, ["Edema"], "train"), entry(2, [], "test")]
    write_images(tmp_path, lines)
    for line in lines:
        write_lines(tmp_path / f"{line.pop('split')}.manifest", [line])
    assert {sample.split for sample in read_channel(tmp_path).samples} == {"train", "test"}


def test_a_patient_in_two_splits_is_refused_by_name(tmp_path):
    lines = [entry(0, [], "train", patient="Anna"), entry(2, [], "test", patient="Anna"), entry(4, [], "test", patient="Ben")]
    write_lines(tmp_path / "train.manifest", lines)
    with pytest.raises(DatasetError, match=r"each patient may be in one split only, but Anna is in several: test, train"):
        read_channel(tmp_path)


def test_the_same_image_for_two_patients_in_two_splits_is_refused(tmp_path):
    lines = [entry(0, [], "train", patient="Anna"), entry(0, [], "test", patient="Ben")]
    write_lines(tmp_path / "train.manifest", lines)
    with pytest.raises(DatasetError, match="each image may be in one split only"):
        read_channel(tmp_path)


def test_lines_of_two_label_lists_are_refused(tmp_path):
    other = entry(2, [], "train")
    other["labels"] = ["Edema", "Mass"]
    other["states"] = {"Edema": "negative", "Mass": "negative"}
    write_lines(tmp_path / "train.manifest", [entry(0, [], "train"), other])
    with pytest.raises(DatasetError, match=r"line 2: the label list differs from that of the lines before .*Edema, Mass"):
        read_channel(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patient_id": ""}, "'patient_id' is missing or empty"),
        ({"image": "../elsewhere.dcm"}, "a path below the manifest's folder"),
        ({"image": "/etc/passwd"}, "a path below the manifest's folder"),
        ({"image": "images/\0.dcm"}, "a path below the manifest's folder"),
        ({"image": None}, "'image' is missing: a path relative"),
        ({"states": {}}, "'states' as an object"),
        ({"states": {"Edema": "perhaps"}}, "perhaps"),
        ({"states": {"Edema": "positive", "Mass": "positive"}}, "'states' names labels that are not in the line's list: Mass"),
        ({"split": "holdout"}, "'split' as one of train, validation, test, got 'holdout'"),
        ({"truth": ["Edema"]}, "'truth' as an object"),
        ({"fractions": [0.5]}, "'fractions' as an object of label to share, got list"),
        ({"fractions": {"Mass": 0.5}}, "'fractions' names labels that are not in the line's list: Mass"),
        ({"fractions": {"Edema": 1.01}}, "'fractions': expected a number from 0 to 1 for Edema, got 1.01"),
        ({"fractions": {"Edema": -0.1}}, "a number from 0 to 1 for Edema, got -0.1"),
        ({"fractions": {"Edema": True}}, "a number from 0 to 1 for Edema, got True"),
        ({"fractions": {"Edema": "0.5"}}, "a number from 0 to 1 for Edema, got 0.5"),
    ],
)
def test_a_broken_line_is_left_out_and_described(tmp_path, change, message):
    good = entry(0, ["Edema"], "train")
    write_images(tmp_path, [good])
    write_lines(tmp_path / "train.manifest", [good, {**entry(2, [], "train"), **change}])
    channel = read_channel(tmp_path)
    assert len(channel.samples) == 1
    (problem,) = channel.problems
    assert problem.startswith("train.manifest, line 2: ")
    assert message in problem


@pytest.mark.parametrize("line", ["{broken", json.dumps({**entry(2, [], "train"), "fractions": {"Edema": float("nan")}})])
def test_a_line_that_is_not_json_is_left_out(tmp_path, line):
    good = entry(0, ["Edema"], "train")
    write_images(tmp_path, [good])
    (tmp_path / "train.manifest").write_text(json.dumps(good) + f"\n{line}\n")
    channel = read_channel(tmp_path)
    assert len(channel.samples) == 1
    assert "line 2" in channel.problems[0]


def test_a_folder_without_manifest_or_usable_line_or_image_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"there is no \*.manifest file in this folder"):
        read_channel(tmp_path)
    (tmp_path / "train.manifest").write_text("{broken\n")
    with pytest.raises(DatasetError, match=r"none of 1 lines is usable\..*broken JSON"):
        read_channel(tmp_path)
    write_lines(tmp_path / "train.manifest", [entry(0, [], "train")])
    with pytest.raises(DatasetError, match="none of the 1 images lies beside the manifests"):
        read_channel(tmp_path)


def test_shares_of_readers_are_read_from_the_line(tmp_path):
    line = {**entry(0, ["Edema"], "train"), "fractions": {"Edema": 0.6667, "Fracture": 0, "No Finding": 1}}
    write_images(tmp_path, [line])
    write_lines(tmp_path / "train.manifest", [line])
    assert read_channel(tmp_path).samples[0].fractions == {"Edema": 0.6667, "Fracture": 0.0, "No Finding": 1.0}


def test_bad_images_are_named_and_the_rest_is_loaded(tmp_path, capsys):
    write_channel(tmp_path, 8)
    samples = read_channel(tmp_path).samples
    samples[1].image.write_bytes(b"not DICOM")
    samples[3].image.unlink()
    truncated = samples[4].image.read_bytes()
    samples[4].image.write_bytes(truncated[: len(truncated) // 2])
    loaded = images.load_images(samples, size_px=32, progress=False)
    assert loaded.images.shape == (5, 1, 32, 32)
    assert loaded.images.dtype == np.float16
    assert [sample.identifier for sample in loaded.samples] == [samples[row].identifier for row in (0, 2, 5, 6, 7)]
    assert len(loaded.problems) == 3
    for row, problem in zip((1, 3, 4), loaded.problems, strict=True):
        assert str(samples[row].image) in problem
    assert capsys.readouterr().err == ""


def test_dataset_and_pixels_give_the_same_image(tmp_path):
    path = dicom_file(tmp_path / "a.dcm", picture(["Edema"], np.random.default_rng(1)))
    expected = pixels.to_model_input(read_dataset(path), size_px=40).astype(np.float16)
    np.testing.assert_array_equal(images.decode(path, 40), expected)
    np.testing.assert_array_equal(images.decode(path.read_bytes(), 40), expected)
    np.testing.assert_array_equal(images.decode(read_dataset(path), 40), expected)
