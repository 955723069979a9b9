"""Simulated readers: skill, consistency, and that only the seed decides their answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.groundtruth import PASSWORDS, job_request, make_images, output_lines, radiograph, running

from dicom_workflow.errors import ServiceError
from dicom_workflow.formats import manifests
from dicom_workflow.formats.answers import LabelState, Region
from dicom_workflow.settings import Secret
from dicom_workflow.simulation.readers import SimulatedReader, read_all

NO_FINDING = "No Finding"

POSITIVE, NEGATIVE, UNCERTAIN = LabelState.POSITIVE, LabelState.NEGATIVE, LabelState.UNCERTAIN
UIDS = [f"1.2.3.{n}" for n in range(4000)]


def rate(reader: SimulatedReader, label: str, present: bool, state: LabelState) -> float:
    said = [reader.read(uid, [label], {label: present}).labels[label] for uid in UIDS]
    return said.count(state) / len(said)


def test_a_reader_finds_and_leaves_alone_at_the_set_rates() -> None:
    reader = SimulatedReader("reader", sensitivity=0.8, specificity=0.95, seed=3)
    assert rate(reader, "Edema", True, POSITIVE) == pytest.approx(0.8, abs=0.02)
    assert rate(reader, "Edema", False, NEGATIVE) == pytest.approx(0.95, abs=0.01)


def test_rates_may_differ_by_label() -> None:
    reader = SimulatedReader("reader", sensitivity={"Edema": 0.5, "": 1.0}, specificity={}, uncertain_rate={"Fracture": 0.25})
    assert rate(reader, "Edema", True, POSITIVE) == pytest.approx(0.5, abs=0.03)
    assert rate(reader, "Pneumonia", True, POSITIVE) == 1.0
    assert rate(reader, "Pneumonia", False, NEGATIVE) == pytest.approx(0.9, abs=0.02)
    assert rate(reader, "Fracture", True, UNCERTAIN) == pytest.approx(0.25, abs=0.02)


def test_a_reader_without_faults_says_the_truth_and_a_missing_label_is_absent() -> None:
    answer = SimulatedReader("reader", 1.0, 1.0).read("1.2.3", ["Edema", "Pneumonia"], {"Pneumonia": True})
    assert dict(answer.labels) == {"Edema": NEGATIVE, "Pneumonia": POSITIVE}


def test_a_label_that_the_reference_standard_does_not_have_gets_no_answer() -> None:
    """Its state stays unknown; that nothing excludes it cannot be said either, unless another finding is there."""
    reader = SimulatedReader("reader", 1.0, 1.0)
    labels = ["Edema", "Fracture", NO_FINDING]
    assert dict(reader.read("1.2.3", labels, {"Edema": False}, unknown=["Fracture"]).labels) == {"Edema": NEGATIVE}
    found = reader.read("1.2.3", labels, {"Edema": True}, unknown=["Fracture"])
    assert dict(found.labels) == {"Edema": POSITIVE, NO_FINDING: NEGATIVE}
    assert reader.read("1.2.3", labels, {}, unknown=labels).labels == {}


def test_what_is_said_follows_from_seed_name_image_and_label_alone() -> None:
    def said(name: str, seed: int, uids: list[str], labels: list[str]) -> dict[tuple[str, str], LabelState]:
        reader = SimulatedReader(name, 0.5, 0.5, 0.2, seed)
        return {(uid, label): state for uid in uids for label, state in reader.read(uid, labels, {}).labels.items()}

    one = said("reader", 1, UIDS[:50], ["Edema", "Fracture"])
    assert said("reader", 1, UIDS[:50][::-1], ["Fracture", "Edema"]) == one
    assert said("reader", 2, UIDS[:50], ["Edema", "Fracture"]) != one
    assert said("another", 1, UIDS[:50], ["Edema", "Fracture"]) != one


@pytest.mark.parametrize(
    ("truth", "uncertain", "expected"),
    [
        ({}, 0.0, POSITIVE),
        ({"Edema": True}, 0.0, NEGATIVE),
        ({"Support Devices": True}, 0.0, POSITIVE),
        ({NO_FINDING: False}, 0.0, POSITIVE),
        ({}, 1.0, UNCERTAIN),
    ],
)
def test_no_finding_follows_from_what_the_reader_said(truth: dict[str, bool], uncertain: float, expected: LabelState) -> None:
    reader = SimulatedReader("reader", 1.0, 1.0, {"Edema": uncertain})
    answer = reader.read("1.2.3", ["Edema", "Support Devices", NO_FINDING], truth)
    assert answer.labels[NO_FINDING] == expected


def test_a_label_that_excludes_others_is_read_like_any_other_in_a_task_without_them() -> None:
    reader = SimulatedReader("reader", 1.0, 1.0)
    assert dict(reader.read("1.2.3", [NO_FINDING], {NO_FINDING: False}).labels) == {NO_FINDING: NEGATIVE}
    assert reader.read("1.2.3", [NO_FINDING], {}, unknown=[NO_FINDING]).labels == {}


def test_no_reader_contradicts_itself() -> None:
    labels = ["Pneumonia", "COVID-19", NO_FINDING]
    for uid in UIDS[:500]:
        said = SimulatedReader("reader", 0.5, 0.5, 0.1).read(uid, labels, {}).labels
        assert (said[NO_FINDING] == POSITIVE) == (said["Pneumonia"] == said["COVID-19"] == NEGATIVE)


def test_a_region_is_marked_near_its_true_place_when_the_label_was_found() -> None:
    true = Region("Edema", "rectangle", ((100.0, 200.0), (300.0, 300.0)))
    reader = SimulatedReader("reader", 1.0, 1.0)
    (marked,) = reader.read("1.2.3", ["Edema"], {"Edema": True}, {"Edema": [true]}).regions
    offsets = {round(there - here, 2) for (there, _), (here, _) in zip(marked.points_px, true.points_px, strict=True)}
    assert len(offsets) == 1
    assert 0 < abs(offsets.pop()) <= 10
    assert SimulatedReader("reader", 0.0, 1.0).read("1.2.3", ["Edema"], {"Edema": True}, {"Edema": [true]}).regions == ()


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_rate_is_a_probability(value: float) -> None:
    with pytest.raises(ServiceError, match="sensitivity of reader 'r': expected a number from 0 to 1"):
        SimulatedReader("r", sensitivity={"Edema": value})


def test_readers_go_on_without_the_images_and_truth_they_miss_and_say_so(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    images = make_images(workspace, 3)
    (workspace / "images/1.dcm").write_bytes(radiograph(99)[1])
    (workspace / "images/2.dcm").unlink()
    manifests.write(images.manifest_uri, [{"source-ref": uri, "labels": ["Edema"]} for uri in images.uris])
    with running(workspace) as service:
        service.make_team()
        service.client().create_labeling_job(**job_request(workspace, workers=1))
        readers = [(SimulatedReader("reader-1", 1.0, 1.0), PASSWORDS["reader-1"])]
        (reading,) = read_all(service.url, readers, images.truth, progress=False)
        service.wait_for("reading", "Completed")
        with pytest.raises(ServiceError, match="reader 'reader-1' cannot sign in"):
            read_all(service.url, [(SimulatedReader("reader-1"), Secret("wrong password"))], {}, progress=False)
    assert (reading.answered, reading.without_truth, reading.not_displayed) == (3, 1, 1)
    assert reading.problems == ["an image could not be read: the portal answered 404"]
    assert reading.notes() == [
        "reader-1: images that could not be displayed: 1.",
        "reader-1: images without labels, because they are not in the reference standard: 1.",
        "reader-1: an image could not be read: the portal answered 404.",
    ]
    lines = output_lines(workspace)
    assert lines[0]["finding"]["labels"]["Edema"]["state"] == "positive"
    assert lines[1]["finding"]["labels"] == {}, "an unknown label is not an absent one"
    assert lines[2]["finding"]["unusable"] == {
        "not-displayed": [lines[0]["finding"]["annotationsFromAllWorkers"][0]["workerId"]]
    }
