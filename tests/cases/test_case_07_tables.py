"""Case 07: a reference table with one finding per row, with an image twice, or of other images."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.archive import write_files

from dicom_workflow import cli
from dicom_workflow.errors import ManifestError
from dicom_workflow.labeling.reference_standard import ReferenceStandard
from dicom_workflow.pipeline import local_services
from dicom_workflow.settings import Settings


def test_rows_of_one_image_are_united() -> None:
    table = ReferenceStandard.parse("sop_instance_uid,label\n1.2,No Finding\n1.3,Edema\n1.3,Fracture\n1.3,Edema\n")
    assert table.positive == {"1.2": {"No Finding"}, "1.3": {"Edema", "Fracture"}}
    assert table.labels == ("Edema", "Fracture", "No Finding")


def test_rows_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ManifestError, match=r"line 3: 'No Finding' contradicts 'Edema' of an earlier row"):
        ReferenceStandard.parse("sop_instance_uid,label\n1.3,Edema\n1.3,No Finding\n")


def test_an_image_twice_with_other_values_is_refused_and_with_the_same_ones_is_not() -> None:
    head = "sop_instance_uid,Edema,Fracture\n1.2,1,0\n1.3,0,0\n"
    assert ReferenceStandard.parse(head + "1.2,1,0\n").positive["1.2"] == {"Edema"}
    with pytest.raises(ManifestError, match=r"line 4: 'Fracture' has another value than in an earlier row of the same image"):
        ReferenceStandard.parse(head + "1.2,1,1\n")


def test_a_table_that_matches_no_image_is_said() -> None:
    table = ReferenceStandard.parse("sop_instance_uid,Edema\n1.2,1\n")
    assert table.check_matches(["1.2", "1.3"]) == 1
    with pytest.raises(ManifestError, match="matches 0 of 2 images"):
        table.check_matches(["9.1", "9.2"], "truth.csv")


COLUMNS = {
    "semicolons": "sop_instance_uid;Edema;Fracture\n1.2;1;0\n1.3;0;0\n",
    "tabs": "sop_instance_uid\tEdema\tFracture\n1.2\t1\t0\n1.3\t0\t0\n",
    "spaces": "sop_instance_uid, Edema ,Fracture\n 1.2 , 1,0\n1.3,0 ,0\n",
    "empty rows and columns": "sop_instance_uid,Edema,Fracture,,\n1.2,1,0,,\n,,,,\n\n1.3,0,0,,\n,,,,\n",
    "returns only": "sop_instance_uid,Edema,Fracture\r1.2,1,0\r1.3,0,0\r",
    "byte order mark": "\ufeffsop_instance_uid,Edema,Fracture\r\n1.2,1,0\r\n1.3,0,0\r\n",
}


@pytest.mark.parametrize("text", COLUMNS.values(), ids=COLUMNS)
def test_a_table_as_a_spreadsheet_writes_it(text: str) -> None:
    assert ReferenceStandard.parse(text).positive == {"1.2": {"Edema"}, "1.3": set()}


def test_findings_of_one_image_are_united_whatever_is_around_its_uid() -> None:
    table = ReferenceStandard.parse("sop_instance_uid;label\n1.2;Edema\n1.2 ;Fracture \n;\n")
    assert table.positive == {"1.2": {"Edema", "Fracture"}}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sop_instance_uid,Edema,Edema\n1.2,1,0\n", r"line 1: the column 'Edema' comes twice"),
        ("sop_instance_uid,Edema\n1.2,1,0\n", r"line 2: expected 2 columns, got 3"),
        ("sop_instance_uid,Edema,Fracture\n1.2,1\n", r"line 2: expected 1 or 0 under 'Fracture', got ''"),
        ("sop_instance_uid,Edema\n1.2,yes\n", r"line 2: expected 1 or 0 under 'Edema', got 'yes'"),
        ("sop_instance_uid,Edema\n,1\n", r"line 2: the row names no image"),
        ("sop_instance_uid,label\n1.2,Edema\n,Edema\n", r"line 3: the row names no image"),
        ('sop_instance_uid,Edema\n1.2,1\n"1.3,1\n', r"line 3: the table is not CSV"),
        (f"sop_instance_uid,Edema\n{'1' * 200_000},1\n", r"line 2: the table is not CSV"),
        ("sop_instance_uid,patient_id\n1.2,P1\n", r"line 1: expected a column 'label' or a column for each label"),
        ("", r"line 1: expected a column 'sop_instance_uid'"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(text: str, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        ReferenceStandard.parse(text)


@pytest.mark.timeout(120)
def test_a_job_whose_table_matches_no_image_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARCHIVE", "folder")
    write_files(tmp_path / "cd", 2)
    (tmp_path / "truth.csv").write_text("sop_instance_uid;Edema\n9.9;1\n")
    try:
        assert cli.main(["upload", str(tmp_path / "cd")]) == 0
        assert cli.main(["manifest", "--labels", "Edema", "--output", str(tmp_path / "input.manifest")]) == 0
        table = ["--truth", str(tmp_path / "truth.csv"), "--simulated-readers", "1", "--workers-per-object", "1"]
        assert cli.main(["label", str(tmp_path / "input.manifest"), *table]) == 1
    finally:
        local_services.detach(Settings.from_env())
    assert "The table matches 0 of 2 images. Compare its 'sop_instance_uid' column with the images." in capsys.readouterr().err
