"""Readers who differ meet an adjudicator: nobody's name goes along and nothing said before is lost."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from support.browser import shoot
from support.groundtruth import LABELS, PASSWORDS, Service, job_request, make_images, running

from dicom_workflow.errors import LabelingError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.answers import Answer, LabelState, Region
from dicom_workflow.formats.labels import default_label_set
from dicom_workflow.labeling import lambda_handlers, output
from dicom_workflow.labeling.adjudication import adjudication_entries, apply_adjudication, disputed
from dicom_workflow.labeling.agreement import consolidated_accuracy
from dicom_workflow.labeling.client import put_workers
from dicom_workflow.labeling.consolidation import WorkerAnswer, consolidate
from dicom_workflow.labeling.output import LabeledObject
from dicom_workflow.labeling.suggestions import with_suggestions
from dicom_workflow.settings import Secret
from dicom_workflow.simulation.readers import SimulatedReader, read_all
from dicom_workflow.storage import to_uri

P, N, U = LabelState.POSITIVE, LabelState.NEGATIVE, LabelState.UNCERTAIN
ID = "-".join(["0123abcd"] * 5)


def read_back(line: dict[str, Any]) -> LabeledObject:
    with tempfile.TemporaryDirectory() as folder:
        uri = to_uri(Path(folder) / "output.manifest")
        manifests.write(uri, [line], limits=False)
        (item,) = output.read_output(uri, attribute="findings")
    return item


def labeled(source: str, answers: dict[str, Answer], *, job: str = "first", **more: Any) -> LabeledObject:
    """An object as it is read from the output manifest of a job with these answers."""
    texts = {who: json.dumps({"annotation": json.dumps(answer.to_json())}) for who, answer in answers.items()}
    given = [WorkerAnswer(who, answer, texts[who]) for who, answer in answers.items()]
    label = consolidate(given, labels=("Edema", "Fracture", "No Finding"), rules=default_label_set())
    line = {
        "source": source,
        "labels": ["Edema", "Fracture", "No Finding"],
        **more,
        "findings": label,
        "findings-metadata": {"job-name": f"labeling-job/{job}", "creation-date": "2026-11-21T10:00:00"},
    }
    return read_back(line)


def says(edema: LabelState, fracture: LabelState, *regions: Region, **more: Any) -> Answer:
    return Answer({"Edema": edema, "Fracture": fracture, "No Finding": N}, tuple(regions), **more)


BOX = Region("Edema", "rectangle", ((1, 2), (3, 4)), "left")


def test_only_what_readers_differ_on_or_is_in_review_is_adjudicated() -> None:
    agreed = labeled("1", {"w1": says(P, N), "w2": says(P, N), "w3": says(P, N)})
    outvoted = labeled("2", {"w1": says(P, N), "w2": says(P, N), "w3": says(N, N)})
    tied = labeled("3", {"w1": says(P, N), "w2": says(P, P)})
    unusable = labeled("4", {"w1": says(P, N), "w2": says(P, N), "w3": Answer(unusable="motion")})
    alone = labeled("5", {"w1": says(P, N), "w2": says(P, N)})
    assert [disputed(item) for item in (agreed, outvoted, tied, alone)] == [[], ["Edema"], ["Fracture"], []]
    assert disputed(unusable) == ["Edema", "Fracture", "No Finding"]
    objects = [agreed, outvoted, tied, unusable, alone]
    assert [entry["source"] for entry in adjudication_entries(objects)] == ["2", "3", "4"]
    assert [entry["source"] for entry in adjudication_entries(objects, any_difference=False)] == ["3"]


def test_an_entry_has_what_was_said_and_nothing_of_who_said_it() -> None:
    timed = {"timings": {"active_seconds": 7.5, "opened_at": "2026-11-21"}, "image": {"rows": 1, "columns": 1}}
    answers = {"private.eu.jane": says(P, N, BOX, comment="sure", **timed), "private.eu.joe": says(N, N, **timed)}
    item = labeled(ID, answers, instructions="Look.", patient_id="MRN-7")
    (entry,) = adjudication_entries([item])
    assert set(entry) == {"source", "labels", "instructions", "earlier_answers"}
    assert sorted(given["reader"] for given in entry["earlier_answers"]) == ["A", "B"]
    text = json.dumps(entry)
    assert not any(word in text for word in ("jane", "joe", "MRN", "7.5", "opened_at", "rows"))
    (kept,) = [given["answer"] for given in entry["earlier_answers"] if given["answer"]["regions"]]
    assert (kept["comment"], kept["regions"]) == ("sure", [BOX.to_json()])
    task = lambda_handlers.pre_annotation({"dataObject": entry}, images_s3_prefix="")["taskInput"]
    assert task["earlier_answers"] == entry["earlier_answers"]


def test_a_letter_is_not_a_person() -> None:
    letters = []
    for number in range(40):
        item = labeled(str(number), {"w1": says(P, N), "w2": says(N, N), "w3": says(N, P)})
        (entry,) = adjudication_entries([item], seed=3)
        letters.append(next(g["reader"] for g in entry["earlier_answers"] if g["answer"]["labels"]["Edema"] == "positive"))
        assert entry == next(adjudication_entries([item], seed=3))
    assert set(letters) == {"A", "B", "C"}


def test_long_regions_are_thinned_to_what_a_manifest_takes() -> None:
    outline = Region("Edema", "polygon", tuple((n + 0.123456, n * 2 + 0.654321) for n in range(3000)))
    many = says(P, N, outline, outline)
    (entry,) = adjudication_entries([labeled(ID, {"w1": many, "w2": says(N, N)})])
    assert len(json.dumps(entry["earlier_answers"])) <= manifests.MAX_ATTRIBUTE_CHARACTERS
    (marked,) = [given["answer"] for given in entry["earlier_answers"] if given["answer"]["regions"]]
    assert [len(region["points_px"]) >= 100 for region in marked["regions"]] == [True, True]
    with pytest.raises(LabelingError, match=r"line 1: expected earlier answers of at most 20,000 characters"):
        list(adjudication_entries([labeled(ID, {"w1": says(P, N, *[BOX] * 400), "w2": says(N, N)})]))


def test_the_adjudicators_word_counts_and_what_was_there_before_is_kept() -> None:
    theirs = Region("Edema", "ellipse", ((5, 5), (9, 9)))
    first = [
        labeled("1", {"w1": says(P, N, BOX), "w2": says(N, N), "w3": says(N, P)}),
        labeled("2", {"w1": says(P, N), "w2": says(P, N)}),
        LabeledObject(3, "3", {"source": "3"}, failure_reason="expired"),
    ]
    second = [labeled("1", {"chief": says(P, N, theirs)}, job="second")]
    merged, untouched, failed = apply_adjudication(first, second, attribute="findings")
    assert (untouched.line, failed.line, untouched.labels) == (first[1].data, first[2].data, ())
    assert merged.labels == ("Edema", "Fracture")
    label = merged.line["findings"]
    votes = {"positive": 1, "negative": 2, "uncertain": 0}
    assert label["labels"]["Edema"] == {
        "state": "positive", "confidence": 1.0, "votes": votes, "adjudicated": True, "before": "negative",
    }  # fmt: skip
    assert "adjudicated" not in label["labels"]["No Finding"]
    assert label["regions"] == [{**theirs.to_json(), "workerId": "chief"}]
    assert label["adjudication"]["regions_before"] == [{**BOX.to_json(), "workerId": "w1"}]
    assert (label["adjudication"]["labels"], label["adjudication"]["job"]) == (["Edema", "Fracture"], "second")
    assert [given["workerId"] for given in label["annotationsFromAllWorkers"]] == ["w1", "w2", "w3"]
    assert [given["workerId"] for given in label["adjudication"]["annotationsFromAllWorkers"]] == ["chief"]
    again = read_back(merged.line)
    assert (again.states["Edema"], again.review, set(again.answers)) == (P, (), {"w1", "w2", "w3"})


def test_a_tie_of_adjudicators_an_unusable_image_and_a_contradiction_stay_in_review() -> None:
    tied = labeled("1", {"w1": says(P, N), "w2": says(N, N)})
    for second in (
        {"c1": says(P, N), "c2": says(N, N)},
        {"c1": Answer(unusable="motion")},
        {"c1": Answer({"Edema": P, "Fracture": N, "No Finding": P})},
    ):
        (kept,) = apply_adjudication([tied], [labeled("1", second)], attribute="findings")
        assert (kept.labels, kept.line["findings"]["review"]) == ((), ["Edema"])
        assert len(kept.line["findings"]["adjudication"]["annotationsFromAllWorkers"]) == len(second)


def label_all(service: Service, name: str, readers: dict[str, float], truth: Any, manifest_uri: str) -> list[LabeledObject]:
    """What simulated readers of these skills leave as the output of a job."""
    pairs = [(SimulatedReader(who, skill, skill, seed=5), Secret(f"password of {who}")) for who, skill in readers.items()]
    put_workers(service.settings, {reader.name: password for reader, password in pairs}, "readers")
    request = job_request(service.workspace, name, workers=len(pairs))
    request["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"] = manifest_uri
    service.client().create_labeling_job(**request)
    read_all(service.url, pairs, truth, progress=False, idle_timeout_seconds=20)
    done = service.wait_for(name, "Completed")
    return list(output.read_output(done["LabelingJobOutput"]["OutputDatasetS3Uri"], attribute="finding"))


def test_three_readers_then_an_adjudicator_on_the_real_service(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    images = make_images(workspace, 12)
    with running(workspace) as service:
        service.make_team({})
        skills = {"one": 0.7, "two": 0.75, "three": 0.8}
        first = label_all(service, "first", skills, images.truth, images.manifest_uri)
        chained = to_uri(workspace / "adjudication.manifest")
        count = manifests.write(chained, adjudication_entries(first))
        second = label_all(service, "second", {"chief": 1.0}, images.truth, chained)
    assert 0 < count == len(second) <= 12
    merged = to_uri(workspace / "merged.manifest")
    decided = list(apply_adjudication(first, second, attribute="finding"))
    assert manifests.write(merged, (item.line for item in decided), limits=False) == 12
    final = list(output.read_output(merged, attribute="finding"))
    no_finding = {uid: {**states, "No Finding": not any(states.values())} for uid, states in images.truth.items()}
    truth = {
        uri: {label: P if no_finding[uid][label] else N for label in LABELS}
        for uri, uid in zip(images.uris, images.uids, strict=True)
    }
    assert consolidated_accuracy(first, LABELS, truth) < consolidated_accuracy(final, LABELS, truth) == 1.0
    assert [set(item.answers) for item in final] == [set(item.answers) for item in first]
    assert sum(len(item.labels) for item in decided) >= count


@pytest.mark.browser
def test_a_person_adjudicates_with_the_model_in_view_and_all_of_it_comes_back(browser: Any, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    images = make_images(workspace, 1)
    readers = {
        "jane": Answer({"Edema": P, "Pneumonia": N, "No Finding": N}, (BOX,), "sure"),
        "joe": Answer({"Edema": N, "Pneumonia": N, "No Finding": P}),
    }
    line = {"source-ref": images.uris[0], "labels": LABELS}
    item = LabeledObject(1, images.uris[0], line, dict.fromkeys(LABELS, U), answers=readers, review=("Edema", "No Finding"))
    suggested = with_suggestions(adjudication_entries([item]), {images.uris[0]: {"Edema": 0.9}}, mode="shown", model="densenet")
    manifests.write(images.manifest_uri, suggested)
    with running(workspace) as service:
        service.make_team()
        service.client().create_labeling_job(**job_request(workspace, workers=1))
        service.wait_for("reading", "InProgress")
        page = browser.new_page()
        page.set_default_timeout(15_000)
        page.goto(service.url)
        page.get_by_label("Name").fill("reader-1")
        page.get_by_label("Password").fill(PASSWORDS["reader-1"].reveal())
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Start").click()
        page.get_by_role("application", name="Radiograph").get_by_text(" pixels").first.wait_for()
        shown = page.content()
        shoot(page, "adjudication-on-the-service")
        page.get_by_role("radiogroup", name="Edema", exact=True).get_by_role("radio", name="Present").click()
        page.get_by_role("radiogroup", name="No Finding", exact=True).get_by_role("radio", name="Absent").click()
        page.get_by_role("button", name="Submit").click()
        page.get_by_text("That was the last image for now").wait_for()
        page.close()
        done = service.wait_for("reading", "Completed")
        (found,) = output.read_output(done["LabelingJobOutput"]["OutputDatasetS3Uri"], attribute="finding")
    assert "jane" not in shown and "joe" not in shown and str(workspace) not in shown
    (answer,) = found.answers.values()
    assert (answer.labels, found.refused) == ({"Edema": P, "Pneumonia": N, "No Finding": N}, ())
    assert (answer.adjudication["readers"], answer.adjudication["agreed"]) == (2, ["Pneumonia"])
    assert len(answer.adjudication["decided"]["Edema"]) == 1
    assert (answer.assistance["mode"], answer.assistance["probabilities"]) == ("shown", {"Edema": 0.9})
    assert answer.image == {"sop_instance_uid": images.uids[0], "rows": 16, "columns": 16, "stand_in": False}
