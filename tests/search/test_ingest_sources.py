"""Sources of an index: folder, archive, S3 prefix, S3 events from a queue, and what comes while it is watched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from support.search_ingest import REPORT, IndexFolder, reasons, write_image, write_images, write_reports

from dicom_workflow.archive import open_archive
from dicom_workflow.errors import SearchError
from dicom_workflow.pipeline.search_steps import NO_MODEL
from dicom_workflow.search.ingest.event_queue import EventQueue, created
from dicom_workflow.search.ingest.sources import open_source, watched
from dicom_workflow.settings import Settings


@pytest.fixture
def target(tmp_path: Path) -> IndexFolder:
    return IndexFolder(tmp_path)


@pytest.fixture
def aws(search_s3: str, target: IndexFolder) -> Iterator[Any]:
    """S3 and SQS of a moto server, with a bucket and a queue that is told of its objects."""
    keys = {"endpoint_url": search_s3, "region_name": "us-east-1"}
    s3, sqs = boto3.client("s3", **keys), boto3.client("sqs", **keys)
    name = f"images-{os.getpid()}-{time.monotonic_ns()}"
    s3.create_bucket(Bucket=name)
    queue = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "2"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    told = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration=told)
    target.settings = target.settings.with_(s3_url=search_s3)
    yield s3, sqs, name, queue
    s3.close()
    sqs.close()


def waiting(sqs: Any, queue: str) -> int:
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    return int(found["ApproximateNumberOfMessages"]) + int(found["ApproximateNumberOfMessagesNotVisible"])


def test_images_of_an_archive_are_fetched_once(tmp_path: Path, target: IndexFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = open_archive(target.settings)
    for number in range(3):
        write_image(tmp_path / "one.dcm", number, accession=f"A{number}")
        archive.store_instance(tmp_path / "one.dcm")
    assert target.index("archive").report.to_json() == {"image": {"indexed": 3}}
    assert all(each.source.startswith("studies/") for each in target.images().values())
    monkeypatch.setattr("dicom_workflow.archive.folder.FolderArchive.retrieve_to", lambda *_: pytest.fail("fetched again"))
    reports = write_reports(tmp_path / "r.jsonl", [{"report_id": "A1", "text": REPORT}])
    found = target.index("archive", reports=[str(reports)])
    assert found.report.to_json() == {"image": {"linked": 1, "unchanged": 3}, "report": {"indexed": 1}}
    assert [each.report_id for each in target.images().values() if each.labels_positive] == ["A1"]


def test_an_s3_prefix_with_its_reports(tmp_path: Path, target: IndexFolder, aws: Any) -> None:
    s3, _, bucket, _ = aws
    for number in range(3):
        write_image(tmp_path / "one.dcm", number, accession=f"A{number}")
        s3.upload_file(str(tmp_path / "one.dcm"), bucket, f"in/a folder/{number}.dcm")
    s3.put_object(Bucket=bucket, Key="in/notes.txt", Body=b"not an image")
    s3.put_object(Bucket=bucket, Key="reports/A1.txt", Body=REPORT.encode())
    found = target.index(f"s3://{bucket}/in", reports=[f"s3://{bucket}/reports"])
    assert found.report.to_json() == {"image": {"indexed": 3, "skipped": 1}, "report": {"indexed": 1}}
    assert set(reasons(found)) == {f"s3://{bucket}/in/notes.txt"}
    assert target.images()["1.2.826.0.1.99.3.1"].source == f"s3://{bucket}/in/a folder/1.dcm"
    assert target.images()["1.2.826.0.1.99.3.1"].report_id == "A1"
    assert target.index(f"s3://{bucket}/in").report.to_json()["image"] == {"skipped": 1, "unchanged": 3}


def test_events_are_taken_from_the_queue_when_their_objects_are_in_the_store(
    tmp_path: Path, target: IndexFolder, aws: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3, sqs, bucket, queue = aws
    for number in range(2):
        write_image(tmp_path / "one.dcm", number, accession=f"A{number}")
        s3.upload_file(str(tmp_path / "one.dcm"), bucket, f"new images/{number} ä+.dcm")
    s3.put_object(Bucket=bucket, Key="reports/A1.txt", Body=REPORT.encode())
    s3.put_object(Bucket=bucket, Key="broken.dcm", Body=b"DICM")
    sqs.send_message(QueueUrl=queue, MessageBody="no event")
    assert waiting(sqs, queue) >= 5

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dicom_workflow.search.ingest.images.Ingest._store_batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            target.index(f"sqs:{queue}")
    assert waiting(sqs, queue) >= 5, "nothing was lost"
    _make_visible(sqs, queue)
    found = target.index(f"sqs:{queue}")
    assert len(target.images()) == 2
    assert target.images()["1.2.826.0.1.99.3.1"].labels_positive == ("Pleural Effusion",)
    assert found.report.to_json()["image"]["skipped"] == 2
    assert "expected an event of S3 as a JSON object" in " ".join(reasons(found).values())
    assert waiting(sqs, queue) == 0


def _make_visible(sqs: Any, queue: str) -> None:
    """Wait until the messages that the interrupted run had taken can be received again."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
        if int(found["ApproximateNumberOfMessagesNotVisible"]) == 0:
            return
        time.sleep(0.2)
    pytest.fail("the messages did not come back")


RECORD = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": "a+b%C3%A4.dcm", "eTag": "1"}}}


@pytest.mark.parametrize(
    ("body", "uris"),
    [
        ({"Records": [RECORD]}, [("s3://b/a bä.dcm", "1")]),
        ({"Type": "Notification", "Message": json.dumps({"Records": [RECORD]})}, [("s3://b/a bä.dcm", "1")]),
        ({"Records": [{**RECORD, "eventName": "ObjectRemoved:Delete"}]}, []),
        ({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}, []),
        (
            {"detail-type": "Object Created", "detail": {"bucket": {"name": "b"}, "object": {"key": "a+b.dcm", "etag": "2"}}},
            [("s3://b/a+b.dcm", "2")],
        ),
        ({"detail-type": "Object Deleted", "detail": {}}, []),
    ],
)
def test_every_form_of_an_event(body: dict[str, Any], uris: list[tuple[str, str]]) -> None:
    assert created(json.dumps(body)) == uris


@pytest.mark.parametrize(
    "body",
    [
        *("", "1", "[]", "{}", '{"Records": 1}', '{"Records": [1]}', '{"Records": [{"eventName": "ObjectCreated:Put"}]}'),
        *("[" * 10_000, json.dumps({"Records": [{**RECORD, "s3": {"bucket": {}, "object": {}}}]}), '{"Message": "x"}'),
    ],
)
def test_what_is_no_event_is_a_message(body: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        created(body)


@pytest.mark.parametrize(
    ("address", "said"),
    [("sqs:ftp://host/1/q", "expected a queue as sqs:https://"), ("sqs:http://sqs.example.org/1/q", "read without TLS")],
)
def test_an_address_that_is_no_queue_is_refused(address: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=said):
        EventQueue(address, Settings(workspace=tmp_path))


def test_a_queue_that_is_not_there_is_a_message(target: IndexFolder, search_s3: str) -> None:
    with pytest.raises(SearchError, match=r"SQS answered .*NonExistentQueue"):
        target.index(f"sqs:{search_s3}/123456789012/nowhere", model=NO_MODEL)


def test_a_watch_yields_what_is_new_once_it_rests(tmp_path: Path) -> None:
    uid = write_images(tmp_path / "images", 1)[0]
    found = watched(open_source(tmp_path / "images", Settings(workspace=tmp_path)), poll_seconds=0)
    assert [each.name for each in next(found)] == ["000.dcm"]
    assert next(found) == []
    growing = tmp_path / "images" / "sub" / "new.dcm"
    write_image(growing, 5)
    assert next(found) == [], "it may still be written"
    growing.write_bytes(growing.read_bytes() + b"more")
    assert next(found) == [], "it has changed since"
    assert [each.name for each in next(found)] == ["sub/new.dcm"]
    assert next(found) == []
    write_image(tmp_path / "images" / "000.dcm", 0, side=30)
    assert next(found) == []
    assert [each.name for each in next(found)] == ["000.dcm"]
    assert uid


def test_a_watching_command_indexes_what_comes_and_ends_with_sigterm(tmp_path: Path, target: IndexFolder) -> None:
    write_images(tmp_path / "images", 2)
    command = [
        *(sys.executable, "-c", "import sys; from dicom_workflow import cli; sys.exit(cli.main(sys.argv[1:]))"),
        *("search", "index", str(tmp_path / "images"), "--store", target.url, "--model", target.model, "--watch"),
        *("--poll-seconds", "0.2", "--workers", "1", "--json"),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "DICOM_WORKFLOW_WORKSPACE": str(tmp_path / "workspace"),
    }
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            _until(process, target, 2)
            write_images(tmp_path / "images", 1, first=7)
            _until(process, target, 3)
            process.send_signal(signal.SIGTERM)
            out, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert json.loads(out)["counts"] == {"image": {"indexed": 3}}


def _until(process: subprocess.Popen[str], target: IndexFolder, images: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if len(target.images()) == images:
                return
        except SearchError:
            pass  # not there yet
        time.sleep(0.3)
    pytest.fail(f"expected {images} images; exit code {process.poll()}")
