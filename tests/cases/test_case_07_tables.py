"""Case 07: a reference table with one finding per row, with an image twice, or of other images."""

from __future__ import annotations

import pytest

from dicom_workflow.errors import ManifestError
from dicom_workflow.labeling.reference_standard import ReferenceStandard


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
