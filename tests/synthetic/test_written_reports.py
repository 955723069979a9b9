"""Written reports of phantoms: the same seed gives the same words, and what was planted is read back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dicom_workflow.errors import RecordError
from dicom_workflow.formats.labels import load_label_set
from dicom_workflow.search.radiology_reports import read_report
from dicom_workflow.synthetic.chest.plan import plan
from dicom_workflow.synthetic.dataset import make_dataset
from dicom_workflow.synthetic.reports import Case, WrittenReport, write_report, write_reports

LABELS = load_label_set("chest").labels


def written(patients: int, seed: int) -> list[WrittenReport]:
    """Return reports of a plan without its images, with places drawn."""
    reports = []
    for item in plan(patients=patients, seed=seed):
        rng = np.random.default_rng([seed, item.number])
        places = {
            label: (str(rng.choice(["left", "right", "bilateral"])), str(rng.choice(["upper", "mid", "lower"])))
            for label in sorted(item.positive)
        }
        uid = item.uid("study", item.patient, item.study)
        case = Case(uid, item.patient_id, "20200101", item.anatomy.age_years, item.sex, "PA", item.positive, places)
        reports.append(write_report(case, seed=[seed, item.number]))
    return reports


@pytest.fixture(scope="module")
def reports() -> list[WrittenReport]:
    return written(patients=250, seed=20_26)


def test_what_is_planted_is_read_back(reports: list[WrittenReport]) -> None:
    agreed = total = 0
    for report in reports:
        states = read_report(report.text, report_id=report.report_id).label_states()
        agreed += sum(states.get(label) == state for label, state in report.stated.items())
        total += len(report.stated)
        unsaid = set(states) - set(report.stated)
        assert len(unsaid) <= 2, (unsaid, report.text)
    assert total > 2000
    assert agreed / total >= 0.97


def test_sides_are_read_back() -> None:
    for side in ("left", "right", "bilateral"):
        for number in range(30):
            case = Case("1.2", "P", positive=frozenset({"Pleural Effusion"}), places={"Pleural Effusion": (side, "lower")})
            report = read_report(write_report(case, seed=number).text, report_id="a")
            sides = {f.laterality for f in report.findings if f.label == "Pleural Effusion" and f.state == "positive"}
            assert sides <= {side, ""}, report.text


def test_reports_state_all_three_states_and_vary_in_layout(reports: list[WrittenReport]) -> None:
    states = [state for report in reports for state in report.stated.values()]
    assert {"positive", "negative", "uncertain"} == set(states)
    assert states.count("negative") > states.count("uncertain") > 50
    sectioned = sum("FINDINGS" in report.text.upper() for report in reports)
    assert 0.4 < sectioned / len(reports) < 0.9
    assert len({report.text for report in reports}) == len(reports)


def test_a_report_never_states_what_is_not_planted(reports: list[WrittenReport]) -> None:
    for item, report in zip(plan(patients=250, seed=20_26), reports, strict=True):
        assert {label for label, state in report.stated.items() if state == "positive"} <= item.positive | {"No Finding"}
        assert not {label for label, state in report.stated.items() if state == "negative"} & (item.positive - {"No Finding"})


def test_the_same_seed_gives_the_same_words_and_another_seed_others() -> None:
    first, again, other = written(5, 1), written(5, 1), written(5, 2)
    assert first == again
    assert [report.text for report in first] != [report.text for report in other][: len(first)]


def test_a_folder_of_phantoms_gets_a_report_for_each_study(tmp_path: Path) -> None:
    made = make_dataset(tmp_path, patients=3, seed=4, size_px=96, progress=False, processes=1)
    reports = write_reports(tmp_path, seed=4, progress=False)
    lines = [json.loads(line) for line in (tmp_path / "reports.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(reports) == len(lines) == len(made.paths)
    assert all(set(line) == {"report_id", "study_instance_uid", "patient_id", "study_date", "text"} for line in lines)
    assert len({line["report_id"] for line in lines}) == len(lines)
    stated = json.loads((tmp_path / "stated.json").read_text(encoding="utf-8"))
    assert stated == {report.report_id: dict(report.stated) for report in reports}
    before = (tmp_path / "reports.jsonl").read_bytes()
    write_reports(tmp_path, seed=4, progress=False)
    assert (tmp_path / "reports.jsonl").read_bytes() == before


def test_a_folder_without_phantoms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="expected a folder of chest phantoms"):
        write_reports(tmp_path, seed=1, progress=False)
