"""The phantoms: valid files, the same for the same seed, and each condition where the truth says it is."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from dicom_workflow.dicom import pixels
from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.errors import WorkflowError
from dicom_workflow.formats.answers import Region
from dicom_workflow.formats.labels import load_label_set
from dicom_workflow.synthetic import chest as phantom
from dicom_workflow.synthetic import dataset as synthetic

LABELS = load_label_set("chest").labels
NO_FINDING = "No Finding"
SUPPORT_DEVICES = "Support Devices"

SIZE_PX = 128
PATIENTS = 14


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, synthetic.Phantoms]:
    folder = tmp_path_factory.mktemp("phantoms")
    truth = synthetic.make_dataset(folder, patients=PATIENTS, seed=3, size_px=SIZE_PX, processes=1, progress=False)
    return folder, truth


def picture(*positive: str, size_px: int = 256, seed: int = 5, **anatomy: float) -> np.ndarray:
    chest, _ = phantom.compose_with(phantom.Anatomy(texture_seed=1, **anatomy), positive, size_px, seed)
    return phantom.expose(chest)


def planted(label: str, seed: int = 5, size_px: int = 256) -> tuple[phantom.Chest, list[Region]]:
    return phantom.compose_with(phantom.Anatomy(texture_seed=1), {label}, size_px, seed)


# files


def test_every_file_is_an_instance_that_displays(made: tuple[Path, synthetic.Phantoms]) -> None:
    folder, truth = made
    assert len(truth.paths) == len(list(folder.rglob("*.dcm"))) == len(truth.positive)
    for path in truth.paths:
        dataset = read_dataset(path)
        display = pixels.to_display(dataset)
        assert dataset.SOPInstanceUID in truth.positive
        assert display.shape == (SIZE_PX, SIZE_PX)
        assert display[:6, :6].max() < 0.35 < display[-12:, 50:78].min()  # air in the corner is dark, the abdomen bright


def test_all_depths_interpretations_and_syntaxes_appear(tmp_path: Path) -> None:
    plans = synthetic.plan(patients=60, seed=1)
    assert {p.bits for p in plans} == {8, 10, 12, 14, 16}
    assert {p.monochrome1 for p in plans} == {p.signed for p in plans} == {p.windowed for p in plans} == {True, False}
    assert {p.transfer_syntax for p in plans} == set(map(str, synthetic.TRANSFER_SYNTAXES))
    assert {p.anatomy.ap_view for p in plans} == {True, False}
    assert {p.sex for p in plans} == {"F", "M"}
    studies = Counter(p.patient for p in plans)
    assert set(studies.values()) == {1, 2, 3}


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("monochrome1", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_the_picture_survives_every_way_of_storing_it(bits: int, monochrome1: bool, signed: bool) -> None:
    image = picture(size_px=96)
    item = replace(
        synthetic.plan(patients=1, seed=1)[0], bits=bits, monochrome1=monochrome1, signed=signed, windowed=True,
        transfer_syntax=str(RLELossless),
    )  # fmt: skip
    assert np.abs(pixels.to_display(synthetic.to_dataset(item, image)) - image).max() < 0.7 / (0.84 * 2**bits - 1) + 1e-6


def test_an_image_without_window_still_looks_the_same() -> None:
    image = picture(size_px=96)
    item = replace(synthetic.plan(patients=1, seed=1)[0], bits=12, windowed=False)
    display = pixels.to_display(synthetic.to_dataset(item, image))
    assert np.corrcoef(display.ravel(), image.ravel())[0, 1] > 0.98


def test_the_header_says_who_and_that_it_is_synthetic(made: tuple[Path, synthetic.Phantoms]) -> None:
    dataset = pydicom.dcmread(made[1].paths[0])
    assert dataset.PatientName == "Phantom^Seed 3 No 1"
    assert dataset.PatientID == "PHANTOM-3-0001"
    assert dataset.PatientComments == "Synthetic image, no patient."
    assert dataset.PatientAge.endswith("Y")
    assert dataset.ViewPosition in {"AP", "PA"}


def test_studies_of_one_patient_share_the_patient_and_nothing_else(made: tuple[Path, synthetic.Phantoms]) -> None:
    datasets = [pydicom.dcmread(path, stop_before_pixels=True) for path in made[1].paths]
    assert len({d.SOPInstanceUID for d in datasets}) == len({d.StudyInstanceUID for d in datasets}) == len(datasets)
    assert len({d.PatientID for d in datasets}) == PATIENTS
    for patient in {d.PatientID for d in datasets}:
        assert len({(d.PatientName, d.PatientSex) for d in datasets if d.PatientID == patient}) == 1


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian package dicom3tools) is not installed")
def test_a_validator_of_the_standard_finds_no_error(made: tuple[Path, synthetic.Phantoms]) -> None:
    classes = set()
    for path in made[1].paths:
        report = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, timeout=30, check=False)
        assert "Error" not in report.stdout + report.stderr
        classes.add((report.stdout + report.stderr).split("\n")[0])
    assert "DXImageForPresentation" in classes


# truth


def test_the_truth_table_has_a_line_per_file_and_a_column_per_label(made: tuple[Path, synthetic.Phantoms]) -> None:
    folder, truth = made
    with (folder / "truth.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["sop_instance_uid", "patient_id", *LABELS]
    written = {pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in truth.paths}
    assert {row["sop_instance_uid"] for row in rows} == written
    for row in rows:
        assert {label for label in LABELS if row[label] == "1"} == truth.positive[row["sop_instance_uid"]]


def test_every_positive_condition_has_a_region_inside_the_image(made: tuple[Path, synthetic.Phantoms]) -> None:
    folder, truth = made
    written = json.loads((folder / "regions.json").read_text())
    for uid, positive in truth.positive.items():
        regions = [Region.parse(value) for value in written[uid]]
        assert {region.label for region in regions} == positive - {NO_FINDING}
        for region in regions:
            (left, top), (right, bottom) = region.points_px
            assert 0 <= left < right <= SIZE_PX
            assert 0 <= top < bottom <= SIZE_PX


def test_the_same_seed_gives_the_same_bytes_with_one_process_or_two(tmp_path: Path) -> None:
    for folder, seed, processes in (("a", 3, 1), ("b", 3, 2), ("c", 4, 1)):
        synthetic.make_dataset(tmp_path / folder, patients=2, seed=seed, size_px=64, processes=processes, progress=False)
    a, b, c = ({p.relative_to(tmp_path / f): p.read_bytes() for p in (tmp_path / f).rglob("*.*")} for f in "abc")
    assert a == b
    assert a.keys() != c.keys()


def test_a_helper_process_that_fails_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic.sys, "executable", shutil.which("false"))
    with pytest.raises(WorkflowError, match="ended with exit code 1"):
        synthetic.make_dataset(tmp_path, patients=1, seed=1, size_px=64, processes=2, progress=False)


def test_only_the_labels_asked_for_are_planted(tmp_path: Path) -> None:
    labels = ("Cardiomegaly", "No Finding")
    truth = synthetic.make_dataset(
        tmp_path, patients=4, seed=1, size_px=64, labels=labels, transfer_syntaxes=[ExplicitVRLittleEndian], progress=False
    )
    assert truth.labels == labels
    assert set().union(*truth.positive.values()) <= set(labels)
    assert all(len(positive) == 1 for positive in truth.positive.values())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"patients": 0}, "at least one patient, got 0"),
        ({"size_px": 8}, "at least 64 pixels"),
        ({"labels": ["Gout"]}, "of the chest label set, got 'Gout'"),
        ({"transfer_syntaxes": ["1.2.3"]}, "transfer syntaxes among"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path: Path, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        synthetic.make_dataset(tmp_path, **{"patients": 1, "seed": 1, **wrong})  # type: ignore[arg-type]


# choice of conditions


def test_labels_are_common_enough_and_no_finding_excludes_conditions() -> None:
    rng = np.random.default_rng(0)
    chosen = [phantom.choose(rng) for _ in range(2000)]
    for label in LABELS:
        assert 0.12 < np.mean([label in positive for positive in chosen]) < 0.32, label
    for positive in chosen:
        assert positive
        assert NO_FINDING not in positive or positive <= {NO_FINDING, SUPPORT_DEVICES}
    assert {NO_FINDING, SUPPORT_DEVICES} in chosen


def test_what_comes_together_in_the_clinic_comes_together_here() -> None:
    rng = np.random.default_rng(0)
    chosen = [phantom.choose(rng) for _ in range(4000)]
    heart = np.array(["Cardiomegaly" in positive for positive in chosen])
    edema = np.array(["Edema" in positive for positive in chosen])
    assert heart[edema].mean() > 1.25 * heart[~edema].mean()


# signs


def test_a_healthy_chest_has_dark_lungs_a_bright_heart_and_air_in_the_trachea() -> None:
    image = picture()
    size = image.shape[0] / phantom.FIELD_CM

    def at(x_cm: float, y_cm: float) -> float:
        column, row = int((x_cm + phantom.FIELD_CM / 2) * size), int(y_cm * size)
        return float(image[row - 2 : row + 3, column - 2 : column + 3].mean())

    assert at(-9, 18) < 0.45
    assert at(9, 15) < 0.45
    assert at(4, 23) > at(9, 15) + 0.3
    assert at(0, 34) > 0.7
    assert at(0.1, 3) < at(1.6, 3)
    assert at(-18.5, 36) < 0.25


def test_the_heart_is_on_the_left_and_the_stomach_bubble_under_the_left_dome() -> None:
    image = picture()
    half = image.shape[1] // 2
    heart_rows = slice(150, 172)
    assert image[heart_rows, half:].mean() > image[heart_rows, :half].mean()


def heart_ratio(image: np.ndarray) -> float:
    """Width of the bright middle over the width between the lungs' outer edges, at the height of the heart."""
    row = image[156:162].mean(axis=0)
    bright = np.flatnonzero(row[48:208] > 0.5) + 48
    return float((bright.max() - bright.min()) / (2 * 14.0 / phantom.FIELD_CM * image.shape[1]))


def test_cardiomegaly_is_a_heart_of_more_than_half_the_chest() -> None:
    assert heart_ratio(picture()) < 0.48
    assert heart_ratio(picture("Cardiomegaly")) > 0.52


def test_an_effusion_whitens_the_costophrenic_angle() -> None:
    _, (region, *_) = planted("Pleural Effusion")
    (left, top), (right, bottom) = region.points_px
    box = np.s_[int(top) : int(bottom), int(left) : int(right)]
    assert picture("Pleural Effusion")[box].mean() > picture()[box].mean() + 0.1


def test_a_pneumothorax_is_darker_than_the_lung_it_replaces_and_has_no_vessels() -> None:
    chest, (region, *_) = planted("Pneumothorax")
    (left, top), (right, bottom) = region.points_px
    box = np.s_[int(top) : int(bottom), int(left) : int(right)]
    outside = chest.air[box] > 1.2
    assert outside.mean() > 0.2
    lung = chest.lungs[-1][box] + chest.lungs[1][box] > 1
    assert chest.vessels[box][outside & lung].mean() < 0.02
    assert picture("Pneumothorax")[box][outside].mean() < picture()[box][outside].mean() - 0.05


def test_atelectasis_raises_the_dome_and_draws_the_heart_to_its_side() -> None:
    chest, (region, *_) = planted("Atelectasis")
    side = 1 if region.points_px[0][0] > 128 else -1
    assert chest.anatomy.shift_cm * side > 0.5
    assert chest.anatomy.dome_cm[0 if side < 0 else 1] < 25.5


@pytest.mark.parametrize("label", ["Consolidation", "Edema", "Lung Opacity", "Pneumonia", "Lung Lesion", "Pleural Other"])
def test_opacities_are_brighter_where_their_regions_are(label: str) -> None:
    sick, healthy = picture(label), picture()
    inside = np.zeros(sick.shape, bool)
    for region in planted(label)[1]:
        (left, top), (right, bottom) = region.points_px
        inside[int(top) : int(bottom), int(left) : int(right)] = True
    assert sick[inside].mean() > healthy[inside].mean() + 0.03
    assert abs(sick[~inside].mean() - healthy[~inside].mean()) < 0.06


def test_an_enlarged_mediastinum_is_wider_above_the_heart() -> None:
    rows = slice(80, 100)
    wide, normal = ((image[rows].mean(axis=0) > 0.55).sum() for image in (picture("Enlarged Cardiomediastinum"), picture()))
    assert wide > normal + 12


def test_a_fracture_breaks_several_ribs_on_one_side() -> None:
    chest, regions = planted("Fracture")
    assert len(regions) == len(chest.anatomy.breaks) >= 3
    assert len({crack.side for crack in chest.anatomy.breaks}) == 1
    healthy, _ = phantom.compose_with(phantom.Anatomy(texture_seed=1), (), 256, 5)
    for region in regions:
        (left, top), (right, bottom) = region.points_px
        box = np.s_[int(top) : int(bottom), int(left) : int(right)]
        assert np.abs(chest.bone[box] - healthy.bone[box]).max() > 0.2


def test_devices_are_metal_and_a_healthy_chest_has_only_its_marker() -> None:
    chest, regions = planted(SUPPORT_DEVICES)
    healthy, _ = phantom.compose_with(phantom.Anatomy(texture_seed=1), (), 256, 5)
    assert len(regions) >= 2
    assert (chest.metal > 0.05).sum() > 3 * (healthy.metal > 0.05).sum()
