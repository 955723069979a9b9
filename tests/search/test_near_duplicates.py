"""Near duplicates: planted in phantoms and in real radiographs, found without calling strangers duplicates."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from dicom_workflow.dicom.reading import read_dataset
from dicom_workflow.search.audit import fingerprints
from dicom_workflow.search.audit.duplicates import Duplicate, DuplicateReport, find_duplicates
from dicom_workflow.search.documents import ImageDocument
from dicom_workflow.synthetic.dataset import make_dataset
from dicom_workflow.synthetic.duplicates import KINDS, changed, plant_duplicates


def load(image: ImageDocument) -> Dataset:
    return read_dataset(image.source)


def found_in(paths: Sequence[Path], **fields: Any) -> DuplicateReport:
    images = [ImageDocument(image_id=str(path), source=str(path), **fields) for path in paths]
    return find_duplicates(images, load, progress=False)


def pairs_of(report: DuplicateReport) -> set[frozenset[str]]:
    return {frozenset((pair.first, pair.second)) for pair in report.pairs}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(make_dataset(tmp_path_factory.mktemp("phantoms"), patients=36, seed=5, size_px=224, progress=False).paths)


def test_planted_duplicates_of_every_kind_are_found_and_no_stranger_is(phantoms: list[Path], tmp_path: Path) -> None:
    planted = plant_duplicates(phantoms, tmp_path, count=2 * len(KINDS), seed=1)
    report = found_in([*phantoms, *(each.copy for each in planted)])
    assert pairs_of(report) == {frozenset((str(each.original), str(each.copy))) for each in planted}
    assert report.images == len(phantoms) + len(planted)
    differences = {frozenset((pair.first, pair.second)): pair.differences for pair in report.pairs}
    for each in planted:
        said = differences[frozenset((str(each.original), str(each.copy)))]
        named = {"size", "inverted", "polarity"} & {each.kind}
        original = read_dataset(each.original)
        if each.kind == "polarity" and original.PhotometricInterpretation == "MONOCHROME1":
            named = set()
        assert named <= set(said), each.kind


def test_equal_pixels_in_another_transfer_syntax_are_called_equal_pixels(phantoms: list[Path], tmp_path: Path) -> None:
    shutil.copy(phantoms[0], tmp_path / "one.dcm")
    dataset = read_dataset(phantoms[0])
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        dataset.decompress()
    dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=True)
    dataset.save_as(tmp_path / "two.dcm")
    (pair,) = found_in([tmp_path / "one.dcm", tmp_path / "two.dcm", phantoms[3]]).pairs
    assert (pair.kind, pair.similarity) == ("pixels", 1.0)


def test_equal_files_are_told_from_equal_pixels(phantoms: list[Path], tmp_path: Path) -> None:
    shutil.copy(phantoms[0], tmp_path / "again.dcm")
    (pair,) = found_in([phantoms[0], tmp_path / "again.dcm"], sha256="a" * 64).pairs
    assert (pair.kind, pair.differences) == ("file", ())


def test_a_mirrored_image_is_found(phantoms: list[Path]) -> None:
    details = fingerprints.Detail.of(fingerprints.thumbnail(read_dataset(phantoms[0])))
    flipped = details.shown(inverted=False, mirrored=True)
    assert fingerprints.compare(flipped, details, mirrored=True).similarity > 0.999
    assert fingerprints.compare(flipped, details).similarity < 0.9


def test_registration_returns_the_part_that_was_cut_out(phantoms: list[Path]) -> None:
    thumbnail = fingerprints.thumbnail(read_dataset(phantoms[0]))
    whole = fingerprints.Detail.of(thumbnail)
    box = np.array([0.03, 0.96, 0.02, 0.99])
    part, _ = fingerprints._sampled(thumbnail.astype(np.float32), box)
    match = fingerprints.compare(fingerprints.Detail.of(np.rint(part).astype(np.uint8)), whole, box=fingerprints.CROPS[15])
    assert (*match.rows, *match.columns) == pytest.approx(tuple(box), abs=0.004)
    assert match.similarity > 0.9


def test_an_image_that_cannot_be_read_is_named_and_the_rest_compared(phantoms: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(phantoms[0].read_bytes()[:2000])
    report = found_in([broken, *phantoms[:5]])
    assert list(report.refused) == [str(broken)]
    assert "ends" in report.refused[str(broken)]
    assert (report.images, report.pairs) == (5, ())


def test_an_archive_without_a_readable_image_has_no_duplicates(tmp_path: Path) -> None:
    assert found_in([]).pairs == ()
    assert found_in([tmp_path / "missing.dcm"]).images == 0


def test_flat_images_are_no_duplicates_of_each_other_unless_equal() -> None:
    flat = fingerprints.Detail.of(np.full((fingerprints.SIDE_PX, fingerprints.SIDE_PX), 90, np.uint8))
    assert fingerprints.compare(flat, flat).similarity == 0.0
    assert not fingerprints.coarse(
        np.full((1, fingerprints.SIDE_PX, fingerprints.SIDE_PX), 90, np.uint8), fingerprints.CROPS[0]
    ).any()


def test_a_pair_in_two_parts_of_a_split_leaks() -> None:
    assert Duplicate("a", "b", "near", 0.9, splits=("train", "test")).leaks
    assert not Duplicate("a", "b", "near", 0.9, splits=("train", "train")).leaks
    assert not Duplicate("a", "b", "near", 0.9, splits=("train", "")).leaks


def test_three_images_of_one_exposure_are_one_group() -> None:
    pairs = (Duplicate("b", "c", "near", 0.9), Duplicate("a", "b", "near", 0.9), Duplicate("x", "y", "near", 0.8))
    assert DuplicateReport(pairs, 5, 0.75, {}).groups() == [("a", "b", "c"), ("x", "y")]


def test_duplicates_of_two_patients_are_said_to_be_of_two(phantoms: list[Path], tmp_path: Path) -> None:
    changed(read_dataset(phantoms[0]), "window", np.random.default_rng(0)).save_as(tmp_path / "copy.dcm")
    images = [
        ImageDocument(image_id="1", source=str(phantoms[0]), patient_key="a", split="train"),
        ImageDocument(image_id="2", source=str(tmp_path / "copy.dcm"), patient_key="b", split="test"),
        ImageDocument(image_id="3", source=str(phantoms[4]), patient_key="c", split="train"),
    ]
    (pair,) = find_duplicates(images, load, progress=False).pairs
    assert (pair.first, pair.second, pair.same_patient, pair.leaks) == ("1", "2", False, True)
    assert pair.to_json()["leaks"] is True


@pytest.mark.real_data
def test_real_radiographs_with_planted_duplicates(sample_data: Path, tmp_path: Path) -> None:
    real = [
        *sorted((sample_data / "radiographs").glob("*.dcm"))[60:],
        *sorted((sample_data / "pairs" / "images").glob("*.dcm")),
    ]
    planted = plant_duplicates(real, tmp_path, count=21, seed=3)
    report = found_in([*real, *(each.copy for each in planted)])
    truth = {frozenset((str(each.original), str(each.copy))) for each in planted}
    assert len(truth - pairs_of(report)) == 0
    # Two pictures of the one collection are in the other one too, under other numbers.
    copies = {str(each.copy) for each in planted}
    others = {frozenset(Path(name).name for name in pair) for pair in pairs_of(report) - truth if not pair & copies}
    assert others == {frozenset(("146.dcm", "054.dcm")), frozenset(("158.dcm", "082.dcm"))}


@pytest.mark.e2e
def test_a_hundred_planted_duplicates_among_a_thousand_images(tmp_path: Path, figures: dict[str, Any]) -> None:
    phantoms = make_dataset(tmp_path / "phantoms", patients=600, seed=3, size_px=320, progress=False).paths[:900]
    planted = plant_duplicates(phantoms, tmp_path / "planted", count=100, seed=2)
    report = found_in([*phantoms, *(each.copy for each in planted)])
    truth = {frozenset((str(each.original), str(each.copy))) for each in planted}
    found, false = len(truth & pairs_of(report)), len(pairs_of(report) - truth)
    figures["duplicates_found_of_100"], figures["duplicates_false"] = found, false
    assert found >= 99
    assert false <= 1
