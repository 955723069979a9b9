"""The reference standard is read as it is written, or the line that is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dicom_workflow.errors import ManifestError
from dicom_workflow.formats.answers import Region
from dicom_workflow.labeling.reference_standard import ReferenceStandard, read_regions
from dicom_workflow.storage import to_uri


def test_truth_is_read_in_both_forms() -> None:
    columns = ReferenceStandard.parse("sop_instance_uid,patient_id,Edema,No Finding\n1.1,p,1,0\n1.2,p,0,1\n")
    assert columns.labels == ("Edema", "No Finding")
    assert columns.states_of("1.1") == {"Edema": "positive", "No Finding": "negative"}
    single = ReferenceStandard.parse("file,patient_id,label,sop_instance_uid\na.dcm,p,No Finding,1.1\nb.dcm,q,COVID-19,1.2\n")
    assert single.labels == ("COVID-19", "No Finding")
    assert single.states_of("1.2") == {"COVID-19": "positive", "No Finding": "negative"}
    assert single.states_of("1.3") is None


def test_truth_names_the_line_of_a_strange_value() -> None:
    with pytest.raises(ManifestError, match="truth, line 3: expected 1 or 0 under 'Edema', got 'yes'"):
        ReferenceStandard.parse("sop_instance_uid,Edema\n1.1,1\n1.2,yes\n")


def test_a_table_of_other_images_is_named() -> None:
    table = ReferenceStandard.parse("sop_instance_uid,Edema\n1.1,1\n1.2,0\n")
    assert table.check_matches(["1.2", "1.3"]) == 1
    with pytest.raises(ManifestError, match=r"truth\.csv: the table matches 0 of 1 images"):
        table.check_matches(["1.3"], "truth.csv")


def test_simulated_readers_get_every_label_of_every_image() -> None:
    table = ReferenceStandard.parse("sop_instance_uid,Edema,Fracture\n1.1,1,0\n1.2,0,0\n")
    assert table.by_instance() == {"1.1": {"Edema": True, "Fracture": False}, "1.2": {"Edema": False, "Fracture": False}}
    assert ReferenceStandard.read("") is None


def test_regions_are_read_by_image_and_label(tmp_path: Path) -> None:
    path = tmp_path / "regions.json"
    path.write_text(json.dumps({"1.1": [{"label": "Edema", "shape": "point", "points_px": [[1, 2.5]]}]}))
    assert read_regions(to_uri(path)) == {"1.1": {"Edema": [Region("Edema", "point", ((1.0, 2.5),))]}}
    assert read_regions("") == {}
    path.write_text("[]")
    with pytest.raises(ManifestError, match="expected an object of SOP Instance UID to regions"):
        read_regions(to_uri(path))
