"""What a manifest line points at: every form is read and written in one place, with one precedence."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.instances import Instance, instances_by_source
from dicom_workflow.formats.object_reference import ObjectReference, check_uid, is_orthanc_id, source_key, source_of

ORTHANC_ID = "502b0a4b-5cb43965-7f092716-bd6fe6d6-4f7fc3ce"
PATH = "studies/1.2.3/series/1.2.4/instances/1.2.5"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        (ORTHANC_ID, ObjectReference(orthanc_instance_id=ORTHANC_ID)),
        ("studies/1.2.3/series/1.2.4", ObjectReference("1.2.3", "1.2.4")),
        (PATH, ObjectReference("1.2.3", "1.2.4", "1.2.5")),
        (f"{PATH}/frames/12", ObjectReference("1.2.3", "1.2.4", "1.2.5", 12)),
        ("s3://bucket/a b.dcm", ObjectReference(uri="s3://bucket/a b.dcm")),
        ("file:///data/1.dcm", ObjectReference(uri="file:///data/1.dcm")),
    ],
)
def test_every_form_comes_back_from_its_text_its_line_and_its_uri(text: str, reference: ObjectReference) -> None:
    assert ObjectReference.parse(text) == reference
    assert reference.to_source() == text
    assert ObjectReference.from_line(reference.to_entry()) == reference
    assert ObjectReference.parse(reference.to_uri()) == reference


def test_uris_for_a_page_name_the_archive() -> None:
    assert ObjectReference.parse(ORTHANC_ID).to_uri() == f"orthanc://{ORTHANC_ID}"
    assert ObjectReference.parse(PATH).to_uri() == f"dicomweb://{PATH}"


@pytest.mark.parametrize(
    "text",
    [
        "", None, 7, "a", ORTHANC_ID.upper(), f"{ORTHANC_ID}\n", f"{ORTHANC_ID}/..", "../../system", "%2e%2e/system", "orthanc://",
        f"orthanc://{ORTHANC_ID}/../x", "orthanc://../system", f"dicomweb://{ORTHANC_ID}/", "studies/1.2.3", f"/{PATH}",
        f"{PATH}/", f"{PATH}/frames/0", f"{PATH}/frames/-1", f"{PATH}/frames/1,2", f"{PATH}/rendered", f"{PATH}\n",
        "studies/../series/1.2", "studies/1.2/series/..", "studies/1.2/series/a", "studies/1..2/series/1.3",
        f"studies/{'1' * 65}/series/1.2", "http://host/1.dcm", "1.2.840.10008.1.2",
    ],
)  # fmt: skip
def test_no_other_text_becomes_a_path_or_a_url(text: object) -> None:
    with pytest.raises(RecordError):
        ObjectReference.parse(text)


def test_source_ref_stands_above_source() -> None:
    both = {"source": ORTHANC_ID, "source-ref": "s3://b/1.dcm"}
    assert (source_key(both), source_of(both)) == ("source-ref", "s3://b/1.dcm")
    assert ObjectReference.from_line(both) == ObjectReference(uri="s3://b/1.dcm")
    assert source_of({"source": "some text", "source-ref": ""}) == "some text"
    assert source_of({"labels": []}) == source_key({}) == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"labels": []}, r"expected 'source' or 'source-ref', got keys \['labels'\]"),
        ({"source": "some text"}, "expected an Orthanc instance id"),
        ({"source": "s3://b/1.dcm"}, "Put a URI in 'source-ref'"),
        ({"source-ref": ORTHANC_ID}, "expected 'source-ref' as an s3:// or file:// URI"),
        ({"source-ref": 7}, "expected 'source-ref' as an s3:// or file:// URI"),
    ],
)
def test_a_line_that_points_at_no_object_is_refused(line: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        ObjectReference.from_line(line)


@pytest.mark.parametrize(
    ("uid", "rule"),
    [
        ("", "it is empty"),
        (None, "it is empty"),
        (7, "it is no text"),
        ("1." * 36, "it has 72 characters, 64 are allowed"),
        ("1.2..3", "its components must be digits, with single dots between them"),
        ("1.2.", "its components must be digits"),
        (".1", "its components must be digits"),
        ("1.2.x", "its components must be digits"),
        ("1.2.³", "its components must be digits"),
        ("1.2\n", "its components must be digits"),
    ],
)
def test_a_broken_uid_is_refused_with_the_rule_that_it_breaks(uid: object, rule: str) -> None:
    with pytest.raises(RecordError, match=f"series_instance_uid: not a UID, because {rule}"):
        check_uid(uid, "series_instance_uid")


def test_uids_of_every_length_are_read() -> None:
    for uid in ("0", "1.2.840.10008.1.2", "1" * 64, "1.02.3"):
        assert check_uid(uid, "uid") == uid


def test_only_five_groups_of_eight_lower_hex_digits_are_an_orthanc_id() -> None:
    assert is_orthanc_id(ORTHANC_ID)
    for text in ("", ORTHANC_ID.upper(), ORTHANC_ID + "\n", ORTHANC_ID[:-1], "../" + ORTHANC_ID, "1.2.840", ORTHANC_ID + "/.."):
        assert not is_orthanc_id(text), text


def test_a_reference_refers_to_something() -> None:
    with pytest.raises(RecordError, match="A reference needs"):
        ObjectReference("1.2.3")
    with pytest.raises(RecordError, match="expected an s3:// or file:// URI"):
        ObjectReference(uri="http://169.254.169.254/latest")


def test_a_copy_is_named_by_what_the_manifest_line_says() -> None:
    assert ObjectReference.parse(ORTHANC_ID).file_name == f"{ORTHANC_ID}.dcm"
    assert ObjectReference.parse(PATH).file_name == "1.2.5.dcm"
    for text in ("s3://b/1.dcm", "studies/1.2.3/series/1.2.4"):
        with pytest.raises(RecordError, match="only an instance has a copy"):
            _ = ObjectReference.parse(text).file_name


def test_an_instance_is_found_by_every_text_that_a_line_may_name_it_with() -> None:
    orthanc = Instance("1.2.5", "1.2.4", "1.2.3", orthanc_instance_id=ORTHANC_ID, uri="s3://b/1.dcm")
    assert instances_by_source([orthanc]) == dict.fromkeys((ORTHANC_ID, PATH, "s3://b/1.dcm"), orthanc)
    bare = Instance("1.2.5")
    assert instances_by_source([bare]) == {}
    with pytest.raises(RecordError, match=r"1\.2\.5: its Study and Series Instance UIDs are unknown"):
        bare.reference.to_source()
