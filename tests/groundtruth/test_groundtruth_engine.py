"""The engine: a job from its manifest to its output, step by step, on a clock that the test sets."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.groundtruth import (
    FUNCTION,
    LABELS,
    REGION,
    WORKERS,
    Bench,
    job_request,
    make_images,
    output_lines,
    said,
    without_times,
)

from dicom_workflow.errors import RecordError, StorageError
from dicom_workflow.formats import manifests
from dicom_workflow.groundtruth import output
from dicom_workflow.groundtruth.accounts import worker_id_of
from dicom_workflow.groundtruth.engine import Engine
from dicom_workflow.groundtruth.store.database import Database
from dicom_workflow.groundtruth.store.postgres import PostgresDatabase
from dicom_workflow.labeling import lambda_handlers
from dicom_workflow.storage import Storage, to_uri


@pytest.fixture(params=["sqlite", "postgres"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with contextlib.ExitStack() as stack:
        database: Database | None = None
        if request.param == "postgres":
            database = PostgresDatabase(stack.enter_context(request.getfixturevalue("postgres").lent()))
            stack.enter_context(database.exclusive())
        made = Bench(tmp_path / "workspace", database=database)
        make_images(made.workspace, 4)
        made.make_team()
        yield made


# ---- The order of things ----------------------------------------------------------------------------------------------------


def test_the_same_answers_give_the_same_output_in_whatever_order_they_come(tmp_path: Path) -> None:
    def states(worker: str, number: int) -> dict[str, str]:
        draw = random.Random(f"{worker}{number}")
        return {label: draw.choice(["positive", "negative", "uncertain"]) for label in LABELS}

    outputs = []
    for order in itertools.permutations(WORKERS):
        made = Bench(tmp_path / "_".join(worker[-4:] for worker in order) / "workspace")
        make_images(made.workspace, 5)
        made.make_team()
        made.create()
        assert made.answer_all(*order, states=states) == 15
        assert made.status == "Completed"
        lines = without_times(output_lines(made.workspace))
        outputs.append([{**line, "source-ref": line["source-ref"].rsplit("/", 1)[1]} for line in lines])
    assert all(lines == outputs[0] for lines in outputs)


def test_objects_are_handed_out_in_manifest_order_each_to_so_many_different_workers(bench: Bench) -> None:
    bench.create(workers=2)
    first = [bench.lease(worker) for worker in WORKERS]
    assert [task.number if task else None for task in first] == [0, 0, 1]
    assert first[0] is not None
    assert bench.lease(WORKERS[0]) == first[0]  # what is in hand comes first
    bench.answer(first[0])
    task = bench.lease(WORKERS[0])
    assert task is not None
    assert task.number == 1


def test_so_many_objects_are_out_at_once_and_each_batch_is_an_iteration(bench: Bench) -> None:
    bench.create(workers=1, MaxConcurrentTaskCount=3)
    assert bench.store.counts("reading") == {"open": 3, "pending": 1}
    assert bench.answer_all(WORKERS[0]) == 3
    assert bench.store.counts("reading") == {"labeled": 3, "open": 1}
    bench.now += 5
    assert bench.answer_all(WORKERS[0]) == 1
    assert bench.status == "Completed"
    folder = bench.workspace / "out/reading/annotations"
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.json"))
    assert names == [
        "consolidated-annotation/consolidation-request/iteration-1/2020-09-13_12:26:40.json",
        "consolidated-annotation/consolidation-request/iteration-2/2020-09-13_12:26:45.json",
        "consolidated-annotation/consolidation-response/iteration-1/2020-09-13_12:26:40.json",
        "consolidated-annotation/consolidation-response/iteration-2/2020-09-13_12:26:45.json",
        "worker-response/iteration-1/0/2020-09-13_12:26:40.json",
        "worker-response/iteration-1/1/2020-09-13_12:26:40.json",
        "worker-response/iteration-1/2/2020-09-13_12:26:40.json",
        "worker-response/iteration-2/3/2020-09-13_12:26:45.json",
    ]
    assert [line["case"] for line in output_lines(bench.workspace)] == [0, 1, 2, 3]
    assert output_lines(bench.workspace)[3]["finding-metadata"]["creation-date"] == "2020-09-13T12:26:45.250000"


def test_a_worker_response_is_written_as_ground_truth_writes_it(bench: Bench) -> None:
    bench.create(workers=1)
    task = bench.lease(WORKERS[0])
    assert task is not None
    bench.now += 40.543
    bench.answer(task)
    bench.answer_all(WORKERS[0])
    (path,) = bench.workspace.glob("out/reading/annotations/worker-response/iteration-1/0/*.json")
    (answer,) = json.loads(path.read_text())["answers"]
    assert answer["acceptanceTime"] == "2020-09-13T12:26:40.250Z"
    assert answer["submissionTime"] == "2020-09-13T12:27:20.793Z"
    assert answer["timeSpentInSeconds"] == 40.543
    assert answer["answerContent"] == said({"Edema": "positive"})
    assert answer["workerId"] == WORKERS[0]


# ---- Time -------------------------------------------------------------------------------------------------------------------


def test_an_object_not_answered_in_time_goes_to_somebody_else(bench: Bench) -> None:
    bench.create(workers=1, TaskTimeLimitInSeconds=30)
    slow = bench.lease(WORKERS[0])
    assert slow is not None
    bench.now += 31
    quick = bench.lease(WORKERS[1])
    assert quick is not None
    assert (slow.number, quick.number) == (0, 0)
    assert bench.answer(slow) == "taken"
    assert bench.answer(quick) == "accepted"


def test_a_late_answer_is_kept_while_nobody_has_taken_its_place(bench: Bench) -> None:
    bench.create(workers=1, TaskTimeLimitInSeconds=30)
    slow = bench.lease(WORKERS[0])
    assert slow is not None
    bench.now += 31
    assert bench.answer(slow) == "accepted"


def test_a_second_answer_of_the_same_worker_changes_nothing(bench: Bench) -> None:
    bench.create(workers=2)
    task = bench.lease(WORKERS[0])
    assert task is not None
    assert bench.answer(task, {"Edema": "positive"}) == "accepted"
    assert bench.answer(task, {"Edema": "negative"}) == "repeated"
    ((kept,),) = bench.store.answers("reading", 1).values()
    assert json.loads(kept.content) == said({"Edema": "positive"})


def test_objects_nobody_answered_fail_when_their_time_is_over_and_the_others_are_consolidated(bench: Bench) -> None:
    bench.create(TaskAvailabilityLifetimeInSeconds=60)
    task = bench.lease(WORKERS[0])
    assert task is not None
    bench.answer(task)
    bench.now += 59
    bench.engine.run_due()
    assert bench.status == "InProgress"
    bench.now += 1
    bench.engine.run_due()
    assert bench.status == "Completed"
    counters = bench.describe()["LabelCounters"]
    assert (counters["HumanLabeled"], counters["FailedNonRetryableError"], counters["Unlabeled"]) == (1, 3, 0)
    lines = output_lines(bench.workspace)
    assert lines[0]["finding"]["labels"]["Edema"] == {
        "state": "positive",
        "confidence": 1.0,
        "votes": {"positive": 1, "negative": 0, "uncertain": 0},
    }
    assert "finding" not in lines[1]
    assert lines[1]["finding-metadata"]["human-annotated"] == "true"
    assert lines[1]["finding-metadata"]["retry-count"] == 1
    assert lines[1]["finding-metadata"]["failure-reason"] == (
        "ClientError: Annotation tasks expired.  Probable Reasons are 1) TaskAvailabilityLifetimeInSeconds parameter is too "
        "small.  2) Reward is too low for workers to work on the task.  3) If you use a custom html template, your template "
        "may be broken.  4) Data (image/video/text) sent for annotation is broken or too big, preventing completion.  5) All "
        "workers declined the tasks."
    )


def test_a_job_whose_objects_all_expired_has_failed(bench: Bench) -> None:
    bench.create(TaskAvailabilityLifetimeInSeconds=60)
    bench.now += 60
    bench.engine.run_due()
    assert bench.status == "Failed"
    assert bench.describe()["FailureReason"].startswith(
        "All objects failed. The first one: ClientError: Annotation tasks expired."
    )
    assert len(output_lines(bench.workspace)) == 4


def test_a_declined_object_is_not_waited_for_once_everybody_has_dealt_with_it(bench: Bench) -> None:
    bench.create()
    task = bench.lease(WORKERS[0])
    assert task is not None
    bench.leases.release(task, declined=True)
    again = bench.lease(WORKERS[0])
    assert again is not None
    assert again.number == 1
    bench.answer_all()
    assert bench.status == "Completed"
    votes = [len(line["finding"]["annotationsFromAllWorkers"]) for line in output_lines(bench.workspace)]
    assert votes == [2, 3, 3, 3]


def test_an_object_put_back_comes_again(bench: Bench) -> None:
    bench.create()
    task = bench.lease(WORKERS[0])
    assert task is not None
    bench.leases.release(task, declined=False)
    again = bench.lease(WORKERS[0])
    assert again is not None
    assert (again.task, again.state) == (task.task, "held")


def test_a_team_that_is_too_small_is_waited_for(bench: Bench) -> None:
    bench.create(workers=4)
    bench.answer_all()
    assert bench.status == "InProgress"
    bench.add_worker("d")
    assert bench.answer_all(worker_id_of("d", REGION)) == 4
    assert bench.status == "Completed"


# ---- What a job may ask for -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "labeled"),
    [
        ({"MaxHumanLabeledObjectCount": 3}, 3),
        ({"MaxPercentageOfInputDatasetLabeled": 60}, 3),
        ({"MaxPercentageOfInputDatasetLabeled": 100}, 4),
        ({"MaxHumanLabeledObjectCount": 1, "MaxPercentageOfInputDatasetLabeled": 100}, 1),
    ],
)
def test_a_stopping_condition_ends_the_job(bench: Bench, conditions: dict[str, int], labeled: int) -> None:
    bench.create(request={**job_request(bench.workspace, workers=1), "StoppingConditions": conditions})
    bench.answer_all(WORKERS[0])
    assert bench.status == "Completed"
    assert ["finding" in line for line in output_lines(bench.workspace)] == [True] * labeled + [False] * (4 - labeled)


def test_a_stopping_condition_counts_what_was_labeled_not_what_failed(bench: Bench) -> None:
    request = job_request(bench.workspace, workers=1, TaskAvailabilityLifetimeInSeconds=60)
    bench.create(request={**request, "StoppingConditions": {"MaxHumanLabeledObjectCount": 2}})
    assert bench.store.counts("reading") == {"open": 2, "pending": 2}
    bench.now += 61
    bench.engine.run_due()
    assert bench.store.counts("reading") == {"failed": 2, "open": 2}


def test_without_a_post_annotation_function_the_label_points_at_the_answers(bench: Bench) -> None:
    bench.create(workers=1, AnnotationConsolidationConfig=None)
    bench.answer_all(WORKERS[0])
    for number, line in enumerate(output_lines(bench.workspace)):
        assert line["finding"] == {}
        uri = line["finding-metadata"]["worker-response-ref"]
        assert uri.endswith(f"/out/reading/annotations/worker-response/iteration-1/{number}/2020-09-13_12:26:40.json")
        assert json.loads(Storage().read_text(uri))["answers"][0]["workerId"] == WORKERS[0]
    assert not list(bench.workspace.glob("out/reading/annotations/consolidated-annotation/**/*.json"))


def test_without_a_pre_annotation_function_the_task_input_is_the_line(bench: Bench) -> None:
    bench.create(PreHumanTaskLambdaArn=None)
    found = bench.store.object("reading", 2)
    assert found is not None
    assert (
        found.task_input == found.line == {"source-ref": to_uri(bench.workspace / "images/2.dcm"), "labels": LABELS, "case": 2}
    )


def test_a_chained_job_labels_only_what_has_no_label(bench: Bench) -> None:
    bench.create(request={**job_request(bench.workspace, workers=1), "StoppingConditions": {"MaxHumanLabeledObjectCount": 2}})
    bench.answer_all(WORKERS[0])
    first = output_lines(bench.workspace)
    request = job_request(bench.workspace, "chained", workers=1)
    request["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"] = bench.describe()["LabelingJobOutput"][
        "OutputDatasetS3Uri"
    ]
    bench.create(request=request)
    assert bench.store.counts("chained") == {"present": 2, "open": 2}
    job = bench.store.job("chained")
    assert job is not None
    while task := bench.leases.lease(job, WORKERS[1]):
        bench.answer(task, {"Edema": "negative"})
    bench.engine.run_due()
    lines = output_lines(bench.workspace, "chained")
    assert lines[:2] == first[:2]
    assert [line["finding-metadata"]["job-name"] for line in lines] == ["reading", "reading", "chained", "chained"]
    counters = bench.describe("chained")["LabelCounters"]
    assert (counters["TotalLabeled"], counters["HumanLabeled"], counters["Unlabeled"]) == (4, 2, 0)


def test_a_failed_line_is_labeled_when_it_is_chained(bench: Bench) -> None:
    bench.create(TaskAvailabilityLifetimeInSeconds=60)
    bench.now += 60
    bench.engine.run_due()
    request = job_request(bench.workspace, "again", workers=1)
    request["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"] = to_uri(
        bench.workspace / "out/reading/manifests/output/output.manifest"
    )
    bench.create(request=request)
    assert bench.store.counts("again") == {"open": 4}


def test_label_categories_reach_the_post_annotation_function(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def post(event: dict[str, Any], context: object, *, read: Any, **options: Any) -> list[dict[str, Any]]:
        seen.append((event, json.loads(read(event["payload"]["s3Uri"]))))
        return real(event, context, read=read, **options)

    real = lambda_handlers.post_annotation
    monkeypatch.setattr(lambda_handlers, "post_annotation", post)
    categories = to_uri(bench.workspace / "categories.json")
    Storage().write_text(
        categories, json.dumps({"document-version": "2018-11-28", "labels": [{"label": label} for label in LABELS]})
    )
    bench.create(request={**job_request(bench.workspace, workers=1), "LabelCategoryConfigS3Uri": categories})
    bench.answer_all(WORKERS[0])
    ((event, payload),) = seen
    assert event.pop("payload")["s3Uri"].endswith("/consolidation-request/iteration-1/2020-09-13_12:26:40.json")
    assert event == {
        "version": "2018-10-16",
        "labelingJobArn": f"arn:aws:sagemaker:{REGION}:000000000000:labeling-job/reading",
        "labelCategories": LABELS,
        "labelAttributeName": "finding",
        "roleArn": "arn:aws:iam::000000000000:role/labeling",
        "outputConfig": to_uri(bench.workspace / "out/reading/annotations"),
    }
    assert [entry["datasetObjectId"] for entry in payload] == ["0", "1", "2", "3"]


# ---- What can go wrong ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"source-ref": "s3://b/1"}\n{"image": 1}\n', "input.manifest, line 2: expected 'source-ref' or 'source'"),
        ('{"source": "x"\n', "line 1: expected one whole JSON object"),
        ('{"source": "x", "$y": 1}\n', "line 1: expected attribute names that do not begin with '[$]'"),
        ("", "the file is empty"),
    ],
)
def test_a_broken_manifest_fails_the_job_and_names_the_line(bench: Bench, text: str, reason: str) -> None:
    (bench.workspace / "input.manifest").write_text(text)
    bench.create()
    assert bench.status == "Failed"
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(bench.describe()["FailureReason"])
    assert "LabelingJobOutput" not in bench.describe()


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (None, "there is no such object"),
        ("<crowd-form>{{ task.input.image | no_such_filter }}</crowd-form>", "no_such_filter"),
        ("{% if %}", "radiograph.liquid.html"),
        (
            "{{ 'file:///etc/passwd' | grant_read_access }}",
            "grant_read_access: 'file:///etc/passwd' is outside the service's workspace",
        ),
        ("<p>" + "x" * 128_000, "at most 128000 characters"),
    ],
)
def test_a_template_that_cannot_be_rendered_fails_the_job_before_a_worker_meets_it(
    bench: Bench, template: str | None, reason: str
) -> None:
    path = bench.workspace / "radiograph.liquid.html"
    path.unlink() if template is None else path.write_text(template)
    bench.create()
    assert bench.status == "Failed"
    assert reason in bench.describe()["FailureReason"]


def test_a_line_that_cannot_become_a_task_fails_alone(bench: Bench) -> None:
    uri = to_uri(bench.workspace / "input.manifest")
    manifests.write(
        uri, [{"source": "no orthanc id", "labels": LABELS}, {"source-ref": to_uri(bench.workspace / "images/1.dcm")}]
    )
    lines = [
        *(line.data for line in manifests.read(uri)),
        {"source-ref": to_uri(bench.workspace / "images/2.dcm"), "labels": LABELS},
    ]
    manifests.write(uri, lines)
    bench.create(workers=1)
    assert bench.answer_all(WORKERS[0]) == 1
    assert bench.status == "Completed"
    first, second, third = output_lines(bench.workspace)
    assert first["finding-metadata"]["failure-reason"] == (
        "ClientError: expected an Orthanc instance id (five groups of eight hexadecimal digits), "
        "studies/<uid>/series/<uid>/instances/<uid>, or an s3:// or file:// URI, got 'no orthanc id'."
    )
    assert "expected 'labels'" in second["finding-metadata"]["failure-reason"]
    assert third["finding-metadata"]["human-annotated"] == "yes"


def test_a_line_that_needs_no_worker_passes_as_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def pre(event: dict[str, Any], context: object, **_: Any) -> dict[str, Any]:
        return {
            "taskInput": event["dataObject"],
            "isHumanAnnotationRequired": "false" if event["dataObject"]["case"] == 1 else True,
        }

    monkeypatch.setattr(lambda_handlers, "pre_annotation", pre)
    bench.create(workers=1)
    assert bench.answer_all(WORKERS[0]) == 3
    lines = output_lines(bench.workspace)
    assert ["finding" in line for line in lines] == [True, False, True, True]
    assert lines[1] == {"source-ref": to_uri(bench.workspace / "images/1.dcm"), "labels": LABELS, "case": 1}
    assert bench.describe()["LabelCounters"]["Unlabeled"] == 1


def test_a_post_annotation_function_that_raises_fails_the_job_in_ground_truths_words(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def post(*_: Any, **__: Any) -> list[dict[str, Any]]:
        raise RecordError("the batch is unreadable.")

    monkeypatch.setattr(lambda_handlers, "post_annotation", post)
    bench.create(workers=1)
    bench.answer_all(WORKERS[0])
    assert bench.status == "Failed"
    reason = bench.describe()["FailureReason"]
    assert reason.startswith(f"ClientError: Exception invoking the Lambda function {FUNCTION}post. LambdaErrorCode: Unhandled.")
    assert reason.endswith("the batch is unreadable.")
    # The answers are there for whoever mends the function.
    assert len(list(bench.workspace.glob("out/reading/annotations/worker-response/iteration-1/*/*.json"))) == 4


def test_an_object_the_post_annotation_function_forgot_fails_with_a_reason(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def post(event: dict[str, Any], *_: Any, **__: Any) -> list[Any]:
        good = {"datasetObjectId": "1", "consolidatedAnnotation": {"content": {"finding": {"ok": 1}}}}
        return [good, {"datasetObjectId": "2", "consolidatedAnnotation": {}}, "nonsense"]

    monkeypatch.setattr(lambda_handlers, "post_annotation", post)
    bench.create(workers=1)
    bench.answer_all(WORKERS[0])
    lines = output_lines(bench.workspace)
    assert [line.get("finding") for line in lines] == [None, {"ok": 1}, None, None]
    assert "returned no label for this object" in lines[2]["finding-metadata"]["failure-reason"]


class Door(Storage):
    """A storage that does not open until it is told to."""

    shut = False

    def writer(self, uri: str, **options: Any) -> Any:
        if self.shut and "/out/" in uri:
            raise StorageError(f"{uri}: cannot be written: No space left on device.")
        return super().writer(uri, **options)


def test_a_full_disk_is_waited_out(tmp_path: Path) -> None:
    door = Door()
    bench = Bench(tmp_path / "workspace", door)
    make_images(bench.workspace, 2)
    bench.make_team()
    bench.create(workers=1)
    door.shut = True
    bench.answer_all(WORKERS[0])
    assert bench.status == "InProgress"
    door.shut = False
    bench.engine.run_due()
    assert bench.status == "InProgress"  # not yet: it waits a little between attempts
    bench.now += 3
    bench.engine.run_due()
    assert bench.status == "Completed"
    assert len(output_lines(bench.workspace)) == 2


def test_a_disk_that_stays_full_fails_the_job_in_the_end(tmp_path: Path) -> None:
    door = Door()
    bench = Bench(tmp_path / "workspace", door)
    make_images(bench.workspace, 1)
    bench.make_team()
    bench.create(workers=1)
    door.shut = True
    bench.answer_all(WORKERS[0])
    for _ in range(12):
        bench.now += 61
        bench.engine.run_due()
    assert bench.status == "Failed"
    assert "No space left on device" in bench.describe()["FailureReason"]


@pytest.mark.parametrize("step", ["set_loaded", "open_batch", "begin_closing", "finish_batch", "set_status"])
@pytest.mark.parametrize("after", [False, True])
def test_a_process_that_dies_at_any_step_is_followed_by_one_that_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    """The step is cut off before or after its transaction; a new engine on the same job database comes to the same end."""

    class Died(BaseException):
        pass

    real = getattr(bench.store, step)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if after:
            real(*args, **kwargs)
        raise Died

    monkeypatch.setattr(bench.store, step, dying)
    with pytest.raises(Died):
        bench.create(workers=1)
        bench.answer_all(WORKERS[0])
    monkeypatch.undo()
    bench.now += 7
    bench.engine = Engine(bench.store, bench.access)
    bench.engine.run_due()
    bench.answer_all(WORKERS[0])
    assert bench.status == "Completed"
    assert len(output_lines(bench.workspace)) == 4
    assert len(list(bench.workspace.glob("out/reading/annotations/worker-response/iteration-1/*/*.json"))) == 4


def test_half_a_surrogate_pair_in_a_line_or_an_answer_does_not_break_the_output(bench: Bench) -> None:
    uri = to_uri(bench.workspace / "images/0.dcm")
    (bench.workspace / "input.manifest").write_text(json.dumps({"source-ref": uri, "labels": ["Edema"], "note": "\ud83d"}))
    bench.create(workers=1)
    task = bench.lease(WORKERS[0])
    job = bench.store.job("reading")
    assert task is not None
    assert job is not None
    bench.leases.accept(task, job, json.dumps({"annotation": '{"labels": {"Edema": "positive"}, "comment": "\ud83d"}'}))
    bench.engine.run_due()
    assert bench.status == "Completed"
    assert output_lines(bench.workspace)[0]["note"] == "\ud83d"


def test_an_unlabeled_line_is_written_as_it_was_read(bench: Bench) -> None:
    line = {"source": "é ü 漢", "nested": {"b": [1, 2.5, None, True]}, "empty": ""}
    found = type("Row", (), {"state": "pending", "line": line})
    job = type("Job", (), {"attribute": "finding"})
    assert output.output_line(job, found) == line  # type: ignore[arg-type]
