"""Agreement figures equal the published worked examples, and a wrong or missing answer is never counted as right."""

from __future__ import annotations

import math

import pytest

from dicom_workflow.errors import LabelingError
from dicom_workflow.formats.answers import Answer, LabelState
from dicom_workflow.formats.instances import Instance
from dicom_workflow.labeling.agreement import (
    best_single_reader_accuracy,
    consolidated_accuracy,
    fleiss_kappa,
    label_agreement,
    overall_agreement,
    truth_by_source,
    worker_performance,
)
from dicom_workflow.labeling.consolidation import WorkerAnswer, consolidate
from dicom_workflow.labeling.output import LabeledObject
from dicom_workflow.labeling.reference_standard import ReferenceStandard

P, N, U = LabelState.POSITIVE, LabelState.NEGATIVE, LabelState.UNCERTAIN

# Fleiss 1971, table 1: 30 patients, 6 psychiatrists each, 5 diagnoses. Published kappa 0.430.
FLEISS_1971 = [
    "00060", "03003", "01401", "00006", "03030", "20400", "00402", "20310", "20040", "00006",
    "10050", "11040", "03300", "10050", "02031", "00501", "30012", "51000", "02040", "10203",
    "00006", "01050", "02013", "20040", "10041", "05010", "40002", "02040", "10500", "00006",
]  # fmt: skip

# The widely printed example of 10 subjects, 14 raters, 5 categories. Published P = 0.378, P_e = 0.213, kappa 0.210.
TEN_SUBJECTS = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip


def labeled(source: str, *answers: dict[str, LabelState] | Answer) -> LabeledObject:
    given = [WorkerAnswer(f"w{n}", said if isinstance(said, Answer) else Answer(said)) for n, said in enumerate(answers)]
    label = consolidate(given)
    return LabeledObject(
        number=1,
        source=source,
        data={},
        states={name: LabelState(vote["state"]) for name, vote in label["labels"].items()},
        answers={answer.worker_id: answer.answer for answer in given},
        review=tuple(label["review"]),
    )


def test_kappa_of_the_table_of_1971() -> None:
    assert fleiss_kappa([[int(count) for count in row] for row in FLEISS_1971]) == pytest.approx(0.430, abs=5e-4)


def test_kappa_of_ten_subjects_and_fourteen_raters() -> None:
    assert fleiss_kappa(TEN_SUBJECTS) == pytest.approx(0.210, abs=5e-4)


def test_kappa_is_one_for_perfect_and_minus_one_for_opposite_pairs() -> None:
    assert fleiss_kappa([[3, 0], [0, 3], [3, 0]]) == 1.0
    assert fleiss_kappa([[1, 1], [1, 1]]) == -1.0


def test_kappa_without_two_states_or_two_votes_is_not_a_number() -> None:
    assert math.isnan(fleiss_kappa([[3, 0], [3, 0]]))
    assert math.isnan(fleiss_kappa([[1, 0], [0, 1]]))
    assert math.isnan(fleiss_kappa([]))


def test_rows_with_one_vote_are_left_out_and_unequal_rows_count() -> None:
    # Rows 3:0, 0:2, 1:1 -> agreement (1 + 1 + 0) / 3, shares 4/7 and 3/7, chance 25/49: (2/3 - 25/49) / (24/49) = 23/72.
    assert fleiss_kappa([[3, 0], [0, 2], [1, 1], [1, 0]]) == pytest.approx(23 / 72)


def test_agreement_per_label_and_over_all() -> None:
    objects = [
        labeled("0", {"Edema": P, "Fracture": N}, {"Edema": P, "Fracture": P}, {"Edema": P, "Fracture": N}),
        labeled("1", {"Edema": N, "Fracture": N}, {"Edema": N, "Fracture": N}, {"Edema": N, "Fracture": N}),
    ]
    per_label = label_agreement(objects, ["Edema", "Fracture"])
    assert (per_label["Edema"].kappa, per_label["Edema"].percent_agreement, per_label["Edema"].objects) == (1.0, 1.0, 2)
    assert per_label["Fracture"].percent_agreement == pytest.approx(2 / 3)
    assert per_label["Fracture"].kappa == pytest.approx((2 / 3 - 26 / 36) / (10 / 36))
    overall = overall_agreement(objects, ["Edema", "Fracture"])
    assert overall.objects == 4
    assert overall.percent_agreement == pytest.approx(5 / 6)
    assert overall.kappa == pytest.approx((5 / 6 - 80 / 144) / (64 / 144))


def test_an_undefined_kappa_is_null_in_json() -> None:
    objects = [labeled("0", {"Edema": N}, {"Edema": N})]
    assert label_agreement(objects, ["Edema"])["Edema"].to_json() == {"kappa": None, "percent_agreement": 1.0, "objects": 1}


def test_a_worker_is_measured_against_the_truth() -> None:
    objects = [labeled("0", {"Edema": P}), labeled("1", {"Edema": N}), labeled("2", {"Edema": U}), labeled("3", {"Edema": P})]
    truth = {"0": {"Edema": P}, "1": {"Edema": P}, "2": {"Edema": P}, "3": {"Edema": N}}
    found = worker_performance(objects, ["Edema"], truth)["w0"]
    assert (found.sensitivity, found.specificity, found.accuracy) == (pytest.approx(1 / 3), 0.0, 0.25)
    assert (found.cells, found.objects) == (4, 4)


def test_without_truth_a_worker_is_measured_against_the_others() -> None:
    objects = [labeled("0", {"Edema": P}, {"Edema": P}, {"Edema": N}), labeled("1", {"Edema": N}, {"Edema": N}, {"Edema": N})]
    found = worker_performance(objects, ["Edema"])
    assert found["w2"].accuracy == 0.5  # wrong on 0 by two to none, right on 1
    assert found["w0"].cells == 1  # on 0 the other two have no majority


def test_consolidated_accuracy_counts_cells() -> None:
    objects = [
        labeled("0", {"Edema": P, "Fracture": N}, {"Edema": P, "Fracture": P}, {"Edema": N, "Fracture": N}),
        labeled("1", {"Edema": P, "Fracture": N}, {"Edema": N, "Fracture": N}),
    ]
    truth = {"0": {"Edema": P, "Fracture": N}, "1": {"Edema": P, "Fracture": P}}
    assert consolidated_accuracy(objects, ["Edema", "Fracture"], truth) == 0.5  # 2 right, 1 tie in review, 1 wrong


def test_an_object_the_job_failed_on_is_not_right() -> None:
    failed = LabeledObject(2, "9", {}, failure_reason="Annotation tasks expired.")
    truth = {"0": {"Edema": P}, "9": {"Edema": P}, "of another job": {"Edema": P}}
    assert consolidated_accuracy([labeled("0", {"Edema": P}), failed], ["Edema"], truth) == 0.5


def test_truth_without_the_labels_is_an_error() -> None:
    with pytest.raises(LabelingError, match="the reference standard has no label of any object"):
        consolidated_accuracy([labeled("0", {"Edema": P})], ["Edema"], {"0": {"Gout": P}})


def test_truth_is_found_by_orthanc_id_and_by_uri() -> None:
    truth = ReferenceStandard.parse("sop_instance_uid,patient_id,Edema,Fracture\n1.2,p,1,0\n")
    orthanc_id, unknown_id = ("-".join([group] * 5) for group in ("0123abcd", "4567ef01"))
    instances = [
        Instance("1.2", orthanc_instance_id=orthanc_id, uri="s3://b/1.dcm"),
        Instance("1.3", orthanc_instance_id=unknown_id),
    ]
    states = {"Edema": P, "Fracture": N}
    assert truth_by_source(truth, instances) == {orthanc_id: states, "s3://b/1.dcm": states}


def test_the_best_reader_is_one_who_read_enough() -> None:
    objects = [labeled(str(n), {"Edema": P if n < 3 else N}) for n in range(4)]
    lucky = labeled("4", {"Edema": N}, {"Edema": P})
    truth = {str(n): {"Edema": P} for n in range(5)}
    assert best_single_reader_accuracy([*objects, lucky], ["Edema"], truth) == pytest.approx(3 / 5)
    assert math.isnan(best_single_reader_accuracy([], ["Edema"], truth))


def test_three_readers_together_beat_the_best_of_them() -> None:
    labels = ["A", "B", "C"]
    truth = {"0": dict.fromkeys(labels, P)}
    objects = [labeled("0", {"A": N, "B": P, "C": P}, {"A": P, "B": N, "C": P}, {"A": P, "B": P, "C": N})]
    assert consolidated_accuracy(objects, labels, truth) == 1.0
    assert best_single_reader_accuracy(objects, labels, truth) == pytest.approx(2 / 3)


def test_an_unusable_answer_is_no_vote_but_is_not_right_either() -> None:
    found = labeled("0", Answer(unusable="poor-quality"))
    assert overall_agreement([found], ["Edema"]).objects == 0
    assert worker_performance([found], ["Edema"], {"0": {"Edema": P}})["w0"].accuracy == 0.0
