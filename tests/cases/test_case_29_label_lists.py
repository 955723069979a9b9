"""Case 29, the part about label lists: a label with a comma in its name stands in quotes."""

from __future__ import annotations

import pytest

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.labels import parse_label_list


def test_quotes_keep_a_comma_in_a_label() -> None:
    assert parse_label_list('"Edema, left","Fracture"') == ("Edema, left", "Fracture")
    assert parse_label_list('Pneumonia, "Edema, left" ,No Finding') == ("Pneumonia", "Edema, left", "No Finding")
    assert parse_label_list("Pneumonia,COVID-19,No Finding") == ("Pneumonia", "COVID-19", "No Finding")


def test_a_quote_that_does_not_end_is_refused() -> None:
    with pytest.raises(RecordError, match="Put a label with a comma in quotes"):
        parse_label_list('"Edema, left,Fracture')


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Edema,,Fracture", "expected at least one label and none of them empty"),
        ("Edema,", "expected at least one label and none of them empty"),
        (" ", "expected at least one label and none of them empty"),
        ("Edema, Edema", "expected each label once, got Edema more than once"),
        ('"Edema', r"is not CSV: unexpected end of data\. Put a label with a comma in quotes"),
        ("Edema\nFracture", r"is not CSV: new-line character seen in unquoted field\. Put a label with a comma in quotes"),
        ('["Edema, left", "Fracture"]', "is not CSV"),
    ],
)
def test_what_is_wrong_in_a_list_is_named(text: str, reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        parse_label_list(text)
