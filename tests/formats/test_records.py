"""Records: what is read at a border, in every form it comes in, and what is refused there."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from dicom_workflow.errors import AnswerError, RecordError
from dicom_workflow.formats.answers import ANSWER_SCHEMA, Answer, LabelState, Region
from dicom_workflow.formats.ground_truth import ConsolidationRequest, WorkerAnnotation
from dicom_workflow.formats.instances import Instance
from dicom_workflow.formats.labels import load_label_set, parse_label_list

LABELS = load_label_set("chest").labels

UID = "1.2.826.0.1.3680043.2.1143.1"
ORTHANC_ID = "502b0a4b-5cb43965-7f092716-bd6fe6d6-4f7fc3ce"
RECTANGLE = {"label": "Edema", "shape": "rectangle", "points_px": [[0, 1.5], [20, 30]]}


# Labels


def test_the_fourteen_labels_stand_in_their_order() -> None:
    assert len(LABELS) == len(set(LABELS)) == 14
    assert (LABELS[0], LABELS[8], LABELS[-2:]) == ("Atelectasis", "Pleural Effusion", ("Support Devices", "No Finding"))


@pytest.mark.parametrize(
    "value", [["Edema", "No Finding"], ("Edema", "No Finding"), "Edema,No Finding", " Edema , No Finding "]
)
def test_a_label_list_is_read_as_list_and_as_text(value: object) -> None:
    assert parse_label_list(value) == ("Edema", "No Finding")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "expected 'labels' as a list of texts or one text with commas, got None"),
        ({"Edema": 1}, "as a list of texts"),
        (["Edema", 3], "as a list of texts"),
        ([], r"expected at least one label and none of them empty, got \[\]"),
        ("", "none of them empty, got ''"),
        ("Edema,,Fracture", "none of them empty"),
        ("Edema,Fracture, Edema", "expected each label once, got Edema more than once"),
    ],
)
def test_a_bad_label_list_is_refused(value: object, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        parse_label_list(value)


# Instances


def test_an_instance_comes_back_from_its_json() -> None:
    instance = Instance(UID, orthanc_instance_id=ORTHANC_ID, patient_id="P1", md5="a" * 32, size_bytes=1024)
    assert Instance.parse(json.loads(json.dumps(instance.to_json()))) == instance


def test_the_json_of_an_instance_leaves_out_what_is_empty() -> None:
    assert Instance(UID, modality="DX").to_json() == {"sop_instance_uid": UID, "modality": "DX"}


def test_an_instance_reads_null_as_not_given_and_passes_over_other_keys() -> None:
    data = {"sop_instance_uid": UID, "patient_id": None, "size_bytes": None, "made_by": "someone"}
    assert Instance.parse(data) == Instance(UID)


def test_an_instance_of_a_list_written_before_there_were_view_and_age_is_read() -> None:
    old = {"sop_instance_uid": UID, "patient_id": "P1", "modality": "DX", "size_bytes": 7}
    assert Instance.parse(old) == Instance(UID, patient_id="P1", modality="DX", size_bytes=7)
    assert Instance.parse(old).to_json() == {"sop_instance_uid": UID, "patient_id": "P1", "modality": "DX", "size_bytes": 7}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("text", "expected an instance as a JSON object, got 'text'"),
        ({}, "An instance needs a 'sop_instance_uid'"),
        ({"orthanc_instance_id": ORTHANC_ID}, "An instance needs a 'sop_instance_uid'"),
        ({"sop_instance_uid": "../../system"}, "sop_instance_uid: not a UID, because its components must be digits"),
        ({"sop_instance_uid": "1.2", "series_instance_uid": "1..2"}, "series_instance_uid: not a UID, because"),
        ({"sop_instance_uid": "1.2", "orthanc_instance_id": "1.2.3"}, "five groups of eight hexadecimal digits, got '1.2.3'"),
        ({"sop_instance_uid": [UID]}, "expected 'sop_instance_uid' as a text"),
        ({"sop_instance_uid": UID, "patient_id": 7}, "expected 'patient_id' as a text, got 7"),
        ({"sop_instance_uid": UID, "size_bytes": "7"}, "expected 'size_bytes' as a whole number, got '7'"),
        ({"sop_instance_uid": UID, "size_bytes": True}, "expected 'size_bytes' as a whole number, got True"),
    ],
)
def test_a_bad_instance_is_refused(value: object, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        Instance.parse(value)


def test_records_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Instance(UID).md5 = "x"  # type: ignore[misc]


# Regions


@pytest.mark.parametrize(
    ("shape", "points"),
    [
        ("rectangle", [[0, 0], [5, 4]]),
        ("ellipse", [[1.5, 2], [5, 4]]),
        ("point", [[3, 3]]),
        ("polygon", [[0, 0], [1, 0], [1, 1], [0, 2]]),
    ],
)
def test_a_region_of_every_shape_comes_back_from_its_json(shape: str, points: list[list[float]]) -> None:
    data = {"label": "Edema", "shape": shape, "points_px": points, "comment": "left base"}
    assert Region.parse(data).to_json() == data
    assert Region.parse(data).points_px == tuple((float(x), float(y)) for x, y in points)


def test_a_region_may_stand_without_label_and_comment() -> None:
    region = Region.parse({"shape": "point", "points_px": [[3, 4]], "label": None, "comment": None})
    assert region == Region("", "point", ((3.0, 4.0),))
    assert region.to_json() == {"label": "", "shape": "point", "points_px": [[3.0, 4.0]]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": "arrow"}, "expected a region's shape as one of rectangle, ellipse, polygon, point, got 'arrow'"),
        ({"shape": None}, "got 'None'"),
        ({"points_px": None}, "expected points_px as pairs of numbers, got None"),
        ({"points_px": [[1, 2, 3], [4, 5, 6]]}, "expected points_px as pairs of numbers"),
        ({"points_px": ["12", "34"]}, "expected points_px as pairs of numbers"),
        ({"points_px": [[True, 1], [2, 3]]}, "expected points_px as pairs of numbers"),
        ({"points_px": [[10**400, 1], [2, 3]]}, "expected points_px as pairs of numbers"),
        ({"points_px": [[float("nan"), 1], [2, 3]]}, "expected points_px as finite image coordinates"),
        ({"points_px": [[float("inf"), 1], [2, 3]]}, "expected points_px as finite image coordinates"),
        ({"points_px": [[1, 2]]}, "expected 2 points for a rectangle, got 1"),
        ({"points_px": [[1, 2]] * 3}, "expected 2 points for a rectangle, got 3"),
        ({"shape": "polygon"}, "expected 3 points for a polygon, got 2"),
        ({"shape": "point"}, "expected 1 points for a point, got 2"),
    ],
)
def test_a_bad_region_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AnswerError, match=message):
        Region.parse({**RECTANGLE, **changes})


# Answers


def test_an_answer_comes_back_from_its_json() -> None:
    answer = Answer(
        labels={"Edema": LabelState.POSITIVE, "Fracture": LabelState.UNCERTAIN},
        regions=(Region.parse(RECTANGLE),),
        comment="see left base",
    )
    assert answer.to_json()["schema"] == ANSWER_SCHEMA
    assert Answer.parse(answer.to_json()) == answer
    assert Answer.parse(json.dumps(answer.to_json())) == answer


def test_an_unusable_image_has_a_reason_and_no_labels() -> None:
    answer = Answer(unusable="rotation")
    assert Answer.parse(answer.to_json()) == answer


def test_a_reason_that_the_schema_does_not_have_is_read_and_written_as_another_reason() -> None:
    answer = Answer.parse({"unusable": "upside-down"})
    assert answer == Answer(unusable="upside-down")
    assert Answer.parse(answer.to_json()) == Answer(unusable="other")


@pytest.mark.parametrize("times", range(1, 5))
def test_an_answer_that_was_encoded_more_than_once_is_read(times: int) -> None:
    content: object = {"labels": {"Edema": "negative"}}
    for _ in range(times):
        content = json.dumps(content)
    assert Answer.parse(content) == Answer(labels={"Edema": LabelState.NEGATIVE})
    assert Answer.parse({"annotation": content}) == Answer(labels={"Edema": LabelState.NEGATIVE})
    assert Answer.parse(json.dumps({"annotation": content})) == Answer(labels={"Edema": LabelState.NEGATIVE})


def test_a_ticked_box_is_positive_and_an_empty_one_negative() -> None:
    assert Answer.parse({"labels": {"Edema": True, "Fracture": False}}).labels == {"Edema": "positive", "Fracture": "negative"}


def test_the_answer_of_the_published_sample_is_read() -> None:
    content = {
        "disease": {"Edema": True, "Fracture": False, "Pneumonia": False},
        "labels": json.dumps({"label": ["Pneumonia"], "ROI": {"start": {"x": 10, "y": 20}, "end": {"x": 30.5, "y": 40}}}),
    }
    answer = Answer.parse(json.dumps(content))
    assert answer.labels == {"Edema": "positive", "Fracture": "negative", "Pneumonia": "positive"}
    assert answer.regions == (Region("", "rectangle", ((10.5, 20.5), (31.0, 40.5))),)


@pytest.mark.parametrize(
    "vertices",
    [
        {"points": [{"x": 0, "y": 0}, {"x": 4, "y": 0}, {"x": 4, "y": 4}]},
        [{"x": 0, "y": 0}, {"x": 4, "y": 0}, {"x": 4, "y": 4}],
    ],
)
def test_a_freehand_region_of_the_published_sample_is_a_polygon(vertices: object) -> None:
    content = {"disease": {"Edema": True}, "labels": json.dumps({"label": "Edema", "ROI": {"vertices": vertices}})}
    assert Answer.parse(content).regions == (Region("", "polygon", ((0.5, 0.5), (4.5, 0.5), (4.5, 4.5))),)


def test_a_damaged_region_of_the_published_sample_does_not_take_the_labels_along() -> None:
    for roi in (
        "drawn",
        {"start": {"x": 1}},
        {"start": 3, "end": 4},
        {"vertices": [[1, 2]]},
        {"vertices": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]},
        {"start": {"x": "nan", "y": 1}, "end": {"x": 2, "y": 2}},
        {"start": {"x": 10**400, "y": 1}, "end": {}},
    ):
        answer = Answer.parse({"disease": {"Edema": True}, "labels": json.dumps({"label": [], "ROI": roi})})
        assert answer == Answer(labels={"Edema": LabelState.POSITIVE}), roi


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "expected the answer as a JSON object, got None"),
        ("", "expected the answer as JSON, got ''"),
        ("{broken", "expected the answer as JSON, got '{broken'"),
        ("[1]", r"expected the answer as a JSON object, got \[1\]"),
        ("3", "expected the answer as a JSON object, got 3"),
        ({}, r"expected an answer with 'labels' or 'unusable', got keys \[\]"),
        ({"annotation": None}, "expected the answer as a JSON object, got None"),
        ({"annotation": "not JSON"}, "expected the answer as JSON, got 'not JSON'"),
        ({"annotation": {"annotation": {"labels": {}}}}, "expected an answer with 'labels' or 'unusable', got keys"),
        ({"schema": "dicom-workflow/answer/9", "labels": {}}, "expected schema 'dicom-workflow/answer/2', got "),
        ({"labels": ["Edema"]}, "expected 'labels' as an object of label to state"),
        ({"labels": {"Edema": "maybe"}}, "as one of positive, negative, uncertain, unknown, got 'maybe'"),
        ({"labels": {"Edema": None}}, "got None"),
        ({"labels": {"Edema": {"state": "positive"}}}, "expected a label state"),
        ({"labels": {}, "regions": {"shape": "point"}}, "expected 'regions' as a list"),
        ({"labels": {}, "regions": ["point"]}, "expected a region as a JSON object, got 'point'"),
        ({"disease": ["Edema"]}, "expected 'disease' as an object"),
        ({"disease": {"Edema": True}, "labels": "{broken"}, "expected the answer as JSON"),
        ({"disease": {"Edema": True}, "labels": {"label": None}}, "expected 'label' as a list of labels"),
    ],
)
def test_a_bad_answer_is_refused_and_never_crashes(value: object, message: str) -> None:
    with pytest.raises(AnswerError, match=message):
        Answer.parse(value)


@pytest.mark.parametrize("depth", [100, 900, 100_000])
def test_an_answer_nested_without_end_is_refused(depth: int) -> None:
    with pytest.raises(AnswerError):
        Answer.parse('{"annotation":' * depth + "1" + "}" * depth)
    with pytest.raises(AnswerError):
        Answer.parse("[" * depth + "]" * depth)


def test_a_message_shows_only_the_beginning_of_an_answer() -> None:
    with pytest.raises(AnswerError) as caught:
        Answer.parse("x" * 5000)
    assert len(str(caught.value)) < 120


def test_a_positive_no_finding_contradicts_conditions_but_not_devices() -> None:
    assert load_label_set("chest").conflicts(["Edema", "Support Devices", "No Finding"]) == ["Edema"]
    assert load_label_set("chest").conflicts(["Support Devices", "No Finding"]) == []
    assert load_label_set("chest").conflicts(["Edema", "Fracture"]) == []


# Ground Truth's own records


def test_a_worker_annotation_holds_text_or_the_place_of_the_text() -> None:
    inline = {"workerId": "w1", "annotationData": {"content": '{"labels": {}}'}}
    stored = {"workerId": "w1", "annotationData": {"s3Uri": "s3://bucket/answer.json"}}
    assert WorkerAnnotation.parse(inline) == WorkerAnnotation("w1", content='{"labels": {}}')
    assert WorkerAnnotation.parse(stored) == WorkerAnnotation("w1", s3_uri="s3://bucket/answer.json")
    assert WorkerAnnotation.parse(inline).to_json() == inline
    assert WorkerAnnotation.parse(stored).to_json() == stored


def test_the_misspelt_key_of_older_samples_and_content_as_object_are_read() -> None:
    assert WorkerAnnotation.parse({"workerId": "w", "annotationData": {"s3uri": "s3://b/k"}}).s3_uri == "s3://b/k"
    assert WorkerAnnotation.parse({"workerId": "w", "annotationData": {"content": {"a": 1}}}).content == '{"a": 1}'


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("w1", "expected an annotation as a JSON object"),
        ({"annotationData": {"content": ""}}, "expected 'workerId' as a text, got None"),
        ({"workerId": "", "annotationData": {"content": ""}}, "expected 'workerId' as a text, got ''"),
        ({"workerId": "w1"}, "expected 'annotationData' as a JSON object, got None"),
        ({"workerId": "w1", "annotationData": {"contents": "x"}}, r"with 'content' or 's3Uri', got keys \['contents'\]"),
    ],
)
def test_a_bad_worker_annotation_is_refused(value: object, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        WorkerAnnotation.parse(value)


def test_a_consolidation_request_keeps_its_annotations_as_they_came() -> None:
    data = {
        "datasetObjectId": "7",
        "dataObject": {"s3Uri": "s3://bucket/k.dcm"},
        "annotations": [{"workerId": "w1", "annotationData": {"content": "{}"}}, "damaged"],
    }
    request = ConsolidationRequest.parse(data)
    assert (request.dataset_object_id, request.annotations[1]) == ("7", "damaged")
    assert request.to_json() == data


def test_a_consolidation_request_needs_its_id_and_nothing_else() -> None:
    assert ConsolidationRequest.parse({"datasetObjectId": 0}) == ConsolidationRequest("0", {}, ())
    for identifier in (None, "", True, ["7"]):
        with pytest.raises(RecordError, match="expected 'datasetObjectId' as a text"):
            ConsolidationRequest.parse({"datasetObjectId": identifier})
