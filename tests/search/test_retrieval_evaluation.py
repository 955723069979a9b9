"""Figures of retrieval against their definitions, patient-disjoint, with baselines and intervals."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from support.search_ingest import IndexFolder, write_image, write_reports

from dicom_workflow.errors import SearchError
from dicom_workflow.learning.model.bundle import load
from dicom_workflow.pipeline.search_evaluation import OURS, UNTRAINED, WEIGHTS, evaluate
from dicom_workflow.search.evaluation import MEASURES, RANDOM, SAME_VIEW, Truth, figures_by_query, own_report_rank, similarities
from dicom_workflow.search.evaluation import evaluate as evaluate_scores
from dicom_workflow.search.truth_table import read_truth
from dicom_workflow.storage import Storage


def truth_of(labels: list[set[str]], **rest: tuple[str, ...]) -> Truth:
    count = len(labels)
    names = tuple(map(str, range(count)))
    return Truth(**{"image_ids": names, "labels": tuple(map(frozenset, labels)), "patients": names, **rest})  # type: ignore[arg-type]


def slow_figures(scores: np.ndarray, relevance: np.ndarray, candidates: np.ndarray) -> dict[str, list[float]]:
    """The definitions, one query at a time, in plain Python."""
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    for row in range(len(scores)):
        order = sorted(
            (column for column in range(scores.shape[1]) if candidates[row, column]), key=lambda at: -scores[row, at]
        )
        grades = [float(relevance[row, column]) for column in order]
        hits = [grade >= 0.5 for grade in grades]
        if not any(hits):
            for name in MEASURES:
                found[name].append(float("nan"))
            continue
        for depth in (1, 5, 10):
            found[f"P@{depth}"].append(sum(hits[:depth]) / depth)
        precise = [sum(hits[: at + 1]) / (at + 1) for at in range(min(10, len(hits))) if hits[at]]
        found["mAP@10"].append(sum(precise) / min(10, sum(hits)))
        gain = sum(grade / np.log2(at + 2) for at, grade in enumerate(grades[:10]))
        best = sum(grade / np.log2(at + 2) for at, grade in enumerate(sorted(grades, reverse=True)[:10]))
        found["NDCG@10"].append(float(gain / best))
    return found


def test_figures_are_those_of_the_definitions() -> None:
    generator = np.random.default_rng(4)
    labels = [set(np.flatnonzero(generator.random(5) < 0.4).astype(str)) for _ in range(300)]
    patients = tuple(str(number) for number in generator.integers(0, 90, 300))
    truth = truth_of(labels, patients=patients)
    relevance, candidates = truth.relevance(), truth.candidates()
    scores = generator.random((300, 300), np.float32)
    found = figures_by_query(scores, relevance, candidates)
    for name, values in slow_figures(scores, relevance, candidates).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)


def test_relevance_is_the_jaccard_index_and_nobody_finds_the_own_patient() -> None:
    truth = truth_of([{"a", "b"}, {"b"}, {"a", "b"}, {"c"}, set()], patients=("p", "q", "p", "r", "s"))
    np.testing.assert_allclose(truth.relevance()[0], [1, 0.5, 1, 0, 0])
    assert truth.candidates()[0].tolist() == [False, True, False, True, False]


def test_a_perfect_order_has_one_everywhere_and_random_what_chance_gives() -> None:
    labels = [{"a"} if number % 4 == 0 else {"b"} for number in range(80)]
    vectors = np.array([[1.0, 0.1] if each == {"a"} else [0.1, 1.0] for each in labels], np.float32)
    found = evaluate_scores({"ours": similarities(vectors)}, truth_of(labels), resamples=200)
    assert {name: found.figures["ours"][name]["value"] for name in MEASURES} == dict.fromkeys(MEASURES, 1.0)
    chance = np.mean([(19 / 79), *[59 / 79] * 3])
    assert found.figures[RANDOM]["P@1"]["value"] == pytest.approx(chance, abs=0.05)
    assert found.is_above_all
    assert found.above[RANDOM]["P@1"]["interval"][0] > 0
    assert found.by_label["ours"] == {"a": 1.0, "b": 1.0}
    assert "| ours | 1.000 | 1.000" in found.to_markdown()
    json.dumps(found.to_json(), allow_nan=False)


def test_within_a_source_a_network_that_sees_only_the_source_is_no_better_than_chance() -> None:
    generator = np.random.default_rng(1)
    sources = ["one"] * 60 + ["two"] * 60
    labels = [{"ill"} if generator.random() < (0.9 if source == "one" else 0.1) else {"well"} for source in sources]
    vectors = np.array([[1.0, 0] if source == "one" else [0, 1.0] for source in sources], np.float32)
    vectors += generator.normal(0, 0.01, vectors.shape).astype(np.float32)
    found = evaluate_scores({"network": similarities(vectors)}, truth_of(labels, sources=tuple(sources)), resamples=200)
    across = found.figures["network"]["P@1"]["value"] - found.figures[RANDOM]["P@1"]["value"]
    within = found.within_source["network"]["P@1"]["value"] - found.within_source[RANDOM]["P@1"]["value"]
    assert across > 0.25
    assert abs(within) < 0.08


def test_images_of_the_same_view_are_a_baseline_where_views_are_known() -> None:
    labels = [{"a"}, {"a"}, {"b"}, {"b"}] * 6
    views = ("PA", "PA", "AP", "AP") * 6
    scores = np.zeros((24, 24), np.float32)
    assert evaluate_scores({"x": scores}, truth_of(labels, views=views), resamples=50).figures[SAME_VIEW]["P@1"]["value"] == 1
    assert SAME_VIEW not in evaluate_scores({"x": scores}, truth_of(labels), resamples=50).figures


def test_intervals_are_wider_when_the_images_are_of_few_patients() -> None:
    generator = np.random.default_rng(2)
    labels = [{"a"} if patient % 2 else {"b"} for patient in range(10) for _ in range(10)]
    noise = np.repeat(generator.normal(0, 1.2, (10, 2)), 10, axis=0)
    vectors = np.array([[1.0, 0] if each == {"a"} else [0, 1.0] for each in labels]) + noise
    scores = similarities(vectors.astype(np.float32))
    few = truth_of(labels, patients=tuple(str(number // 10) for number in range(100)))
    allowed = few.candidates()
    many = truth_of(labels)

    def width(truth: Truth) -> float:
        low, high = evaluate_scores({"x": scores}, truth, candidates=allowed).figures["x"]["P@10"]["interval"]
        return high - low

    assert width(few) > 2 * width(many)


def test_an_image_finds_its_own_report_through_labels_as_far_as_they_tell() -> None:
    generator = np.random.default_rng(3)
    stated = (generator.random((60, 6)) < 0.4).astype(float)
    own = np.arange(60)
    patients = [str(number // 2) for number in range(60)]
    knowing = np.clip(stated * 0.8 + 0.1 + generator.normal(0, 0.05, stated.shape), 0, 1)
    found = own_report_rank(knowing, stated, own, patients, resamples=200)
    assert found["value"] > 0.9
    assert found["interval"][0] > 0.5
    back = own_report_rank(knowing, stated, own, patients, from_report=True, resamples=200)
    assert back["value"] > 0.9
    silent = np.where(generator.random(stated.shape) < 0.3, np.nan, stated)
    assert own_report_rank(knowing, silent, own, patients, resamples=200)["value"] > 0.8
    chance = own_report_rank(generator.random(stated.shape), stated, own, patients, resamples=200)
    assert chance["interval"][0] < 0.5 < chance["interval"][1]
    back = own_report_rank(generator.random(stated.shape), stated, own, patients, from_report=True, resamples=200)
    assert back["interval"][0] < 0.5 < back["interval"][1]
    assert own_report_rank(np.full_like(stated, 0.3), stated, own, patients, resamples=0) == {"value": 0.5, "interval": None}


def test_labels_that_no_two_patients_share_are_a_message() -> None:
    with pytest.raises(SearchError, match="No image has a relevant image of another patient"):
        evaluate_scores({"x": np.zeros((3, 3), np.float32)}, truth_of([{"a"}, {"b"}, {"c"}]))


@pytest.mark.parametrize(
    ("head", "row", "labels"),
    [
        ("sop_instance_uid,label", "1.2,Pneumonia", {"Pneumonia"}),
        ("image_id,labels", '1.2,"Edema; Pneumonia"', {"Edema", "Pneumonia"}),
        ("sop_instance_uid,patient_id,Edema,Pneumonia,age", "1.2,P,positive,-1,41", {"Edema"}),
    ],
)
def test_every_form_of_a_truth_table(head: str, row: str, labels: set[str], tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(f"{head}\n{row}\n", encoding="utf-8")
    truth = read_truth(str(path), Storage())
    assert truth.image_ids == ("1.2",)
    assert truth.labels == (frozenset(labels),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a column sop_instance_uid, got no rows"),
        ("file,label\na,b\n", "expected a column sop_instance_uid, got 2 columns with other names"),
        ("image_id,label\n1,a\n1,b\n", "image 1 has two rows"),
        ("image_id,age\n1,40\n", "expected a column label or labels"),
    ],
)
def test_a_truth_table_of_another_form_is_a_message(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SearchError, match=said):
        read_truth(str(path), Storage())


def test_an_index_is_measured_beside_its_network_untrained_and_with_other_weights(tmp_path: Path) -> None:
    target = IndexFolder(tmp_path)
    lines = ["sop_instance_uid,label,source"]
    for number, (label, source) in enumerate(itertools.product(["bright", "dark"], ["a", "b", "a", "b", "a", "b"])):
        uid = write_image(
            tmp_path / "images" / f"{number}.dcm", number, patient=f"P{number}", accession=f"A{number}", ViewPosition="PA"
        )
        lines.append(f"{uid},{label},{source}")
    (tmp_path / "truth.csv").write_text("\n".join([*lines, "9.9,bright,a"]) + "\n", encoding="utf-8")
    texts = ["FINDINGS: Pulmonary edema.", "FINDINGS: No pulmonary edema."]
    reports = [{"report_id": f"A{number}", "text": texts[number % 2]} for number in range(12)]
    target.index(tmp_path / "images", reports=[str(write_reports(tmp_path / "reports.jsonl", reports))])
    weights = str(Path(target.model) / "model.safetensors")
    found = evaluate(
        str(tmp_path / "truth.csv"),
        target.url,
        target.settings,
        weights=weights,
        resamples=50,
        output=tmp_path / "out" / "retrieval.json",
    )
    assert list(found.figures) == [OURS, UNTRAINED, WEIGHTS, RANDOM, SAME_VIEW]
    assert found.images == 12
    # An untrained network says the same of every image, but for digits: each way, each is judged against eleven others.
    assert list(found.own_report) == ["image to report", "report to image"]
    assert all(0 < each["value"] < 1 for each in found.own_report.values())
    assert "- image to report: 0." in found.to_markdown()
    # The file holds the weights of the index, so their figures are those of the index, but for its half precision.
    for name in MEASURES:
        assert found.figures[WEIGHTS][name]["value"] == pytest.approx(found.figures[OURS][name]["value"], abs=0.1)
    assert set(found.within_source) == set(found.figures)
    written = json.loads((tmp_path / "out" / "retrieval.json").read_text(encoding="utf-8"))
    assert written["space"] == load(target.model).embedding_space
    assert written["figures"] == json.loads(json.dumps(found.figures))


def test_a_truth_without_an_image_of_the_index_is_a_message(tmp_path: Path) -> None:
    target = IndexFolder(tmp_path)
    write_image(tmp_path / "images" / "a.dcm", 1)
    target.index(tmp_path / "images")
    (tmp_path / "truth.csv").write_text("sop_instance_uid,label\n9.9,a\n", encoding="utf-8")
    with pytest.raises(SearchError, match="None of the 1 images of the truth is in"):
        evaluate(str(tmp_path / "truth.csv"), target.url, target.settings)
