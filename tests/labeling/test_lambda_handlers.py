"""The two Lambda functions: every line gets a verdict, every object an entry, whatever the answers look like."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from dicom_workflow.errors import RecordError, StorageError
from dicom_workflow.formats.labels import load_label_set
from dicom_workflow.labeling import lambda_handlers
from dicom_workflow.labeling.lambda_handlers import post_annotation, pre_annotation, read_s3

LABELS = load_label_set("chest").labels

ORTHANC_ID = "502b0a4b-5cb43965-7f092716-bd6fe6d6-4f7fc3ce"
BATCH_URI = "s3://bucket/out/job/annotations/consolidated-annotation/consolidation-request/iteration-1/2026-01-01_00:00:00.json"


def pre(line: object, **options: Any) -> dict[str, Any]:
    event = {"version": "2018-10-16", "labelingJobArn": "arn:aws:sagemaker:us-east-1:1:labeling-job/job", "dataObject": line}
    return pre_annotation(event, None, **options)


def text(**labels: str) -> str:
    return json.dumps({"annotation": json.dumps({"labels": labels})})


def annotation(worker: str, content: str) -> dict[str, Any]:
    return {"workerId": worker, "annotationData": {"content": content}}


def post(objects: list[Any], *, objects_on_s3: dict[str, str] | None = None, **more: Any) -> list[dict[str, Any]]:
    stored = {BATCH_URI: json.dumps(objects), **(objects_on_s3 or {})}

    def read(uri: str) -> str:
        if uri not in stored:
            raise StorageError(f"{uri}: there is no such object.")
        return stored[uri]

    event = {"version": "2018-10-16", "labelAttributeName": "findings", "payload": {"s3Uri": BATCH_URI}, **more}
    return post_annotation(event, None, read=read)


def label_of(entry: dict[str, Any]) -> dict[str, Any]:
    return entry["consolidatedAnnotation"]["content"]["findings"]


def one(annotations: object, **more: Any) -> dict[str, Any]:
    return label_of(post([{"datasetObjectId": "0", "dataObject": {"content": "x"}, "annotations": annotations}], **more)[0])


def test_a_source_line_becomes_a_task_with_the_orthanc_image() -> None:
    assert pre({"source": ORTHANC_ID, "labels": ["Edema", "No Finding"]}, images_s3_prefix="") == {
        "taskInput": {"labels": ["Edema", "No Finding"], "image": f"orthanc://{ORTHANC_ID}", "source": ORTHANC_ID},
        "isHumanAnnotationRequired": True,
    }


def test_labels_joined_by_commas_as_in_the_published_sample_are_read() -> None:
    assert pre({"source": ORTHANC_ID, "labels": ",".join(LABELS)})["taskInput"]["labels"] == list(LABELS)


def test_on_aws_the_image_of_a_source_line_is_its_copy_on_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGES_S3_PREFIX", "s3://sagemaker-images/dicom/")
    assert pre({"source": ORTHANC_ID, "labels": ["A"]})["taskInput"]["image"] == f"s3://sagemaker-images/dicom/{ORTHANC_ID}.dcm"


def test_a_source_ref_line_keeps_its_uri() -> None:
    task = pre({"source-ref": "s3://bucket/a b.dcm", "labels": ["A"]}, images_s3_prefix="s3://other")["taskInput"]
    assert task["image"] == task["source"] == "s3://bucket/a b.dcm"


def test_a_line_with_both_points_at_its_source_ref() -> None:
    task = pre({"source": ORTHANC_ID, "source-ref": "file:///images/1.dcm", "labels": ["A"]})["taskInput"]
    assert (task["source"], task["image"]) == ("file:///images/1.dcm", "file:///images/1.dcm")


def test_a_resource_path_is_an_image_of_the_archive_or_its_copy() -> None:
    line = {"source": "studies/1.2/series/1.3/instances/1.4", "labels": ["A"]}
    assert pre(line, images_s3_prefix="")["taskInput"]["image"] == f"dicomweb://{line['source']}"
    assert pre(line, images_s3_prefix="s3://b/p")["taskInput"]["image"] == "s3://b/p/1.4.dcm"


def test_nothing_of_the_patient_reaches_the_page() -> None:
    personal = {"patient_id": "MRN-7", "PatientName": "Doe^Jane", "birth": "1950"}
    line = {"source": ORTHANC_ID, "labels": ["A"], "modality": "DX", **personal}
    task = pre(line)["taskInput"]
    assert set(task) == {"labels", "image", "source", "modality"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"labels": ["A"]}, r"expected 'source' or 'source-ref', got keys \['labels'\]"),
        ({"source": "", "labels": ["A"]}, "expected 'source' or 'source-ref'"),
        ({"source": "../../patients", "labels": ["A"]}, "five groups of eight hexadecimal digits"),
        ({"source-ref": "https://example.org/a.dcm", "labels": ["A"]}, "s3:// or file:// URI"),
        ({"source": ORTHANC_ID}, "expected 'labels'"),
        ({"source": ORTHANC_ID, "labels": []}, "at least one label"),
        ({"source": ORTHANC_ID, "labels": ["A", "A"]}, "each label once"),
        ({"source": ORTHANC_ID, "labels": [{"label": "A"}]}, "expected 'labels' as a list of texts"),
        ({"source": ORTHANC_ID, "labels": ["A"], "instructions": "x" * 130_000}, "at most 128000 characters"),
        ({"source": ORTHANC_ID, "labels": ["A\ud800"]}, "a label or text is not Unicode"),
        ({"source": ORTHANC_ID, "labels": ["A"], "instructions": "\ud800"}, "a label or text is not Unicode"),
        (None, "expected 'dataObject' as a manifest line"),
        ([1], "expected 'dataObject' as a manifest line"),
    ],
)
def test_a_line_that_cannot_become_a_task_is_not_sent_and_says_why(line: object, reason: str) -> None:
    result = pre(line)
    assert result["isHumanAnnotationRequired"] is False
    assert result["taskInput"] == {}
    assert re.search(reason, result["reason"])


ANSWER = {"labels": {"Edema": "positive", "Gout": "positive"}, "comment": "c"}
NOTHING = {"schema": "dicom-workflow/answer/2", "pixel_origin": "corner", "labels": {}, "regions": []}
OWN_ANSWER = {**NOTHING, "labels": {"Edema": "positive"}, "comment": "c"}
BOX = {"label": "Edema", "shape": "rectangle", "points_px": [[1.0, 2.0], [3.0, 4.0]]}
EXTRAS: dict[str, tuple[Any, Any]] = {
    # name: what a line has, what the page gets
    "definitions": ({"Edema": "Water.", "Gout": "Not asked."}, {"Edema": "Water."}),
    "rules": (
        {"regions": {"Edema": "required", "*": "none", "Gout": "none"}, "answer_all": False, "reader": "w1"},
        {"regions": {"Edema": "required", "*": "none"}, "answer_all": False},
    ),
    "second_image": (
        {"source-ref": "s3://b/2.dcm", "role": "lateral", "patient_id": "MRN-7"},
        {"image": "s3://b/2.dcm", "role": "lateral", "caption": ""},
    ),
    "suggestions": (
        {"probabilities": {"Edema": 0.51239, "Gout": 1}, "regions": [BOX, {**BOX, "label": "Gout"}], "patient_id": "MRN-7"},
        {"mode": "after-first-read", "model": "", "probabilities": {"Edema": 0.5124}, "regions": [BOX]},
    ),
    "earlier_answers": (
        [{"reader": "A", "answer": ANSWER, "workerId": "w1"}, {"reader": "B", "answer": {"labels": {}}}],
        [{"reader": "A", "answer": OWN_ANSWER}, {"reader": "B", "answer": NOTHING}],
    ),
    "start_answer": (json.dumps(ANSWER), OWN_ANSWER),
}


@pytest.mark.parametrize("name", EXTRAS)
def test_an_extra_of_a_line_reaches_the_page_rebuilt_of_what_the_page_knows(name: str) -> None:
    given, expected = EXTRAS[name]
    task = pre({"source": ORTHANC_ID, "labels": ["Edema", "Fracture"], name: given}, images_s3_prefix="")["taskInput"]
    assert task[name] == expected
    assert len(task) == 4


def test_a_second_image_of_the_archive_is_found_as_the_first_is() -> None:
    second = "-".join(["4567ef01"] * 5)
    line = {"source": ORTHANC_ID, "labels": ["A"], "second_image": {"source": second}}
    assert pre(line, images_s3_prefix="")["taskInput"]["second_image"]["image"] == f"orthanc://{second}"
    assert pre(line, images_s3_prefix="s3://b/p")["taskInput"]["second_image"]["image"] == f"s3://b/p/{second}.dcm"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("definitions", ["Water."]),
        ("definitions", {"Edema": 7}),
        ("definitions", {"Edema": "x" * 2001}),
        ("definitions", {"other": "x" * 20_001}),
        ("rules", "answer all"),
        ("rules", {"regions": {"Edema": "forbidden"}}),
        ("rules", {"answer_all": "no"}),
        ("second_image", ORTHANC_ID),
        ("second_image", {"source": "../../patients"}),
        ("second_image", {"source-ref": "https://evil.example/x.dcm"}),
        ("second_image", {"source": ORTHANC_ID, "role": "sideways"}),
        ("second_image", {"source": ORTHANC_ID, "caption": ["x"]}),
        ("suggestions", {"mode": "always"}),
        ("suggestions", {"probabilities": {"Edema": 1.5}}),
        ("suggestions", {"probabilities": {"Edema": True}}),
        ("suggestions", {"regions": [{"label": "Edema", "shape": "blob"}]}),
        ("suggestions", {"regions": {}}),
        ("earlier_answers", {"A": ANSWER}),
        ("earlier_answers", [{"reader": "private.eu.jane", "answer": ANSWER}]),
        ("earlier_answers", [{"reader": "A"}]),
        ("earlier_answers", [ANSWER] * 27),
        ("start_answer", "not JSON"),
        ("start_answer", {"labels": {"Edema": "maybe"}}),
    ],
)
def test_an_extra_that_cannot_be_used_is_left_out_and_the_task_goes_on(
    name: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    result = pre({"source": ORTHANC_ID, "labels": ["Edema"], name: value, "instructions": "Look."}, images_s3_prefix="")
    assert result["isHumanAnnotationRequired"] is True
    assert set(result["taskInput"]) == {"labels", "image", "source", "instructions"}
    assert "left out 1 of the extras of one manifest line" in caplog.text
    assert not any(word in caplog.text for word in ("jane", "Water", "evil"))


def test_three_workers_become_one_label_under_the_attribute_name() -> None:
    label = one([annotation(f"w{n}", text(Edema=state)) for n, state in enumerate(("positive", "negative", "positive"))])
    votes = {"positive": 2, "negative": 1, "uncertain": 0}
    assert label["labels"] == {"Edema": {"state": "positive", "confidence": 0.67, "votes": votes}}
    assert [entry["workerId"] for entry in label["annotationsFromAllWorkers"]] == ["w0", "w1", "w2"]


DAMAGE: dict[str, tuple[Callable[[str], Any], str]] = {
    "not JSON": (lambda w: annotation(w, "{oops"), "expected the answer as JSON"),
    "a JSON number": (lambda w: annotation(w, "7"), "expected the answer as a JSON object"),
    "an empty object": (lambda w: annotation(w, "{}"), "expected an answer with 'labels' or 'unusable'"),
    "nested too deep": (lambda w: annotation(w, "[" * 100_000), "expected"),
    "another schema": (lambda w: annotation(w, '{"schema": "other/9", "labels": {}}'), "expected schema"),
    "a strange state": (lambda w: annotation(w, '{"labels": {"Edema": "maybe"}}'), "expected a label state"),
    "a broken region": (lambda w: annotation(w, '{"labels": {}, "regions": [{"shape": "blob"}]}'), "region's shape"),
    "no workerId": (lambda w: {"annotationData": {"content": text(Edema="positive")}}, "expected 'workerId'"),
    "a number for workerId": (lambda w: {"workerId": 7, "annotationData": {"content": "{}"}}, "expected 'workerId'"),
    "no annotationData": (lambda w: {"workerId": w}, "expected 'annotationData'"),
    "neither content nor s3Uri": (lambda w: {"workerId": w, "annotationData": {}}, "'content' or 's3Uri'"),
    "an unreadable S3 object": (lambda w: {"workerId": w, "annotationData": {"s3Uri": "s3://b/gone"}}, "no such object"),
    "no object at all": (lambda w: None, "expected 'workerId'|expected an annotation"),
    "the sample's form, broken": (lambda w: annotation(w, '{"disease": "Edema"}'), "expected 'disease'"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_answer_is_listed_and_the_others_count(kind: str) -> None:
    damaged, reason = DAMAGE[kind]
    label = one([annotation("w1", text(Edema="positive")), damaged("w2"), annotation("w3", text(Edema="positive"))])
    assert label["labels"]["Edema"]["votes"]["positive"] == 2
    assert len(label["refused"]) == 1
    assert re.search(reason, label["refused"][0]["reason"])


@pytest.mark.parametrize("annotations", [[], None, {}, "x", 7])
def test_an_object_without_answers_still_gets_its_entry(annotations: object) -> None:
    label = one(annotations, labelCategories=["Edema"])
    assert label["labels"]["Edema"]["state"] == "unknown"
    assert label["review"] == ["Edema"]
    assert bool(label["refused"]) == (annotations != [])


def test_twenty_damaged_answers_of_three_hundred_lose_no_object_and_no_good_answer() -> None:
    kinds = list(DAMAGE.values())
    objects = []
    for number in range(100):
        answers = [annotation(f"w{n}", text(Edema="positive")) for n in range(3)]
        if number % 5 == 0:
            answers[number % 3] = kinds[(number // 5) % len(kinds)][0](f"w{number % 3}")
        objects.append({"datasetObjectId": str(number), "annotations": answers})
    entries = post(objects)
    assert [entry["datasetObjectId"] for entry in entries] == [str(number) for number in range(100)]
    assert sum(len(label_of(entry)["annotationsFromAllWorkers"]) for entry in entries) == 280
    assert sum(len(label_of(entry)["refused"]) for entry in entries) == 20


def test_an_answer_kept_on_s3_is_read_under_either_spelling() -> None:
    kept = {"s3://b/1": text(Edema="positive"), "s3://b/2": text(Edema="positive")}
    annotations = [
        {"workerId": "w1", "annotationData": {"s3Uri": "s3://b/1"}},
        {"workerId": "w2", "annotationData": {"s3uri": "s3://b/2"}},
    ]
    assert one(annotations, objects_on_s3=kept)["labels"]["Edema"]["votes"]["positive"] == 2


def test_the_last_readable_answer_of_a_worker_counts_and_the_earlier_one_is_listed() -> None:
    label = one([annotation("w1", text(Edema="positive")), annotation("w1", text(Edema="negative")), annotation("w1", "oops")])
    assert label["labels"]["Edema"]["votes"] == {"positive": 0, "negative": 1, "uncertain": 0}
    assert [entry["reason"][:10] for entry in label["refused"]] == ["superseded", "expected t"]


def test_a_label_outside_the_list_is_left_out_and_said() -> None:
    label = one([annotation("w1", text(Edema="positive", Gout="positive"))], labelCategories=[{"label": "Edema"}])
    assert list(label["labels"]) == ["Edema"]
    assert label["labels"]["Edema"]["state"] == "positive"
    assert label["refused"] == [
        {"workerId": "w1", "reason": "left out labels that the task does not have: Gout; the rest of the answer counts."}
    ]


def test_null_label_categories_mean_no_list() -> None:
    assert list(one([annotation("w1", text(Gout="positive"))], labelCategories=None)["labels"]) == ["Gout"]


def test_the_answer_of_the_published_sample_is_counted() -> None:
    form = {"disease": {"Edema": True, "Fracture": False}, "labels": json.dumps({"label": ["Edema"], "imageurl": "https://x"})}
    labels = one([annotation("w1", json.dumps(form))])["labels"]
    assert {name: vote["state"] for name, vote in labels.items()} == {"Edema": "positive", "Fracture": "negative"}


def test_an_object_that_comes_twice_is_one_entry_with_both_answers() -> None:
    twice = [
        {"datasetObjectId": "4", "annotations": [annotation("w1", text(Edema="positive"))]},
        {"datasetObjectId": "4", "annotations": [annotation("w2", text(Edema="positive"))]},
    ]
    (entry,) = post(twice)
    assert label_of(entry)["labels"]["Edema"]["votes"]["positive"] == 2


def test_an_entry_without_an_id_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        entries = post([{"annotations": []}, "nonsense", {"datasetObjectId": "1", "annotations": []}])
    assert [entry["datasetObjectId"] for entry in entries] == ["1"]
    assert "2 entries without a datasetObjectId" in caplog.text


def test_the_log_holds_counts_and_nothing_a_worker_or_patient_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        one([annotation("private.eu.jane", text(Edema="positive")), annotation("private.eu.joe", '{"labels": "Doe^Jane"}')])
        pre({"labels": ["x"], "patient_id": "MRN-7"})
    assert "1 objects, 1 answers refused" in caplog.text
    assert not any(word in caplog.text for word in ("jane", "joe", "Doe", "Edema", "MRN"))


@pytest.mark.parametrize(
    ("batch", "message"),
    [("{nope", "the batch as JSON"), ('{"a": 1}', "JSON list, got dict"), ("[" * 100_000, "the batch as JSON")],
)
def test_a_batch_that_cannot_be_read_fails_loudly(batch: str, message: str) -> None:
    event = {"labelAttributeName": "a", "payload": {"s3Uri": "s3://b/k"}}
    with pytest.raises(RecordError, match=message):
        post_annotation(event, read=lambda uri: batch)


def test_an_event_without_payload_or_attribute_says_so() -> None:
    with pytest.raises(RecordError, match="labelAttributeName"):
        post_annotation({"payload": {"s3Uri": "s3://b/k"}}, read=str)
    with pytest.raises(RecordError, match="s3Uri"):
        post_annotation({"labelAttributeName": "a", "payload": {}}, read=str)


def test_s3_errors_are_storage_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y")
    monkeypatch.setattr(lambda_handlers, "_s3_client", lambda: client)
    with Stubber(client) as stubber:
        stubber.add_client_error("get_object", "AccessDenied", expected_params={"Bucket": "b", "Key": "k/1"})
        with pytest.raises(StorageError, match="S3 answered AccessDenied"):
            read_s3("s3://b/k/1")
    for uri in ("file:///etc/passwd", "s3://b", "/etc/passwd"):
        with pytest.raises(StorageError, match="expected an s3://bucket/key"):
            read_s3(uri)


RULES = {"labels": ["Edema", "Gout"], "exclusions": {"Gout": ["Edema"]}}


def test_rules_of_ones_own_come_from_the_label_set_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [annotation("w", text(Edema="positive", Gout="positive"))]
    assert one(both)["conflicts"] == []
    monkeypatch.setenv("LABEL_SET", "s3://bucket/labels.json")
    assert one(both, objects_on_s3={"s3://bucket/labels.json": json.dumps(RULES)})["conflicts"] == ["Edema"]
    with pytest.raises(RecordError, match=r"LABEL_SET: s3://bucket/labels\.json is not a label set"):
        one(both, objects_on_s3={"s3://bucket/labels.json": '{"labels": []}'})
    monkeypatch.setenv("LABEL_SET", "nobodys")
    with pytest.raises(RecordError, match="expected the name of a label set, chest"):
        one(both)


def test_the_environment_names_the_task_and_the_label_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert one([annotation("w", text(Edema="positive"))])["task"] == "radiograph"
    monkeypatch.setenv("TASK", "nobodys")
    assert "expected a labeling task, " in pre({"source": ORTHANC_ID, "labels": ["A"]})["reason"]
    with pytest.raises(RecordError, match="expected a labeling task"):
        one([])
