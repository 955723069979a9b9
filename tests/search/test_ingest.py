"""Ingest into a real folder store: each image and report once, whatever comes first, and what is bad does not stop the rest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.search_ingest import REPORT, IndexFolder, reasons, write_bundle, write_image, write_images, write_reports

from dicom_workflow.errors import SearchError, SearchStoreError
from dicom_workflow.pipeline import search_steps
from dicom_workflow.search.ingest import reports as report_ingest
from dicom_workflow.search.patient_keys import PENDING


@pytest.fixture
def target(tmp_path: Path) -> IndexFolder:
    return IndexFolder(tmp_path)


def test_a_second_run_does_nothing_twice(tmp_path: Path, target: IndexFolder) -> None:
    uids = write_images(tmp_path / "images", 5)
    reports = write_reports(
        tmp_path / "reports.jsonl", [{"report_id": f"R{n}", "accession_number": f"A{n}", "text": REPORT} for n in range(5)]
    )
    first = target.index(tmp_path / "images", reports=[str(reports)])
    assert first.report.to_json() == {"image": {"indexed": 5}, "report": {"indexed": 5}}
    with target.store() as store:
        before = store.vectors(uids)
    again = target.index(tmp_path / "images", reports=[str(reports)], model="")
    assert again.report.to_json() == {"image": {"unchanged": 5}, "report": {"unchanged": 5}}
    with target.store() as store:
        np.testing.assert_array_equal(store.vectors(uids), before)
        assert np.allclose(np.linalg.norm(before, axis=1), 1, atol=1e-3)
        assert [space.dimensions for space in store.spaces()] == [1024]
    image = target.images()[uids[3]]
    assert (image.report_id, image.labels_positive, image.labels_negative) == (
        "R3",
        ("Pleural Effusion",),
        ("Pneumothorax", "No Finding"),
    )
    assert image.codes_positive == ("J90",)
    assert image.study_date == "20240305"


def test_nothing_of_the_store_is_a_patient_id_and_equal_patients_have_equal_keys(tmp_path: Path, target: IndexFolder) -> None:
    write_image(tmp_path / "images" / "a.dcm", 1, patient="SECRET-1")
    write_image(tmp_path / "images" / "b.dcm", 2, patient="SECRET-1")
    write_image(tmp_path / "images" / "c.dcm", 3, patient="SECRET-2")
    reports = write_reports(tmp_path / "r.jsonl", [{"report_id": "R", "text": REPORT, "patient_id": "SECRET-1"}])
    target.index(tmp_path / "images", reports=[str(reports)])
    keys = [image.patient_key for _, image in sorted(target.images().items())]
    assert keys[0] == keys[1] == target.reports()["R"].patient_key != keys[2]
    files = [path for path in Path(target.url).rglob("*") if path.is_file()]
    assert files
    assert not any(b"SECRET" in path.read_bytes() for path in files)
    salt = Path(f"{target.url}.patient_key.salt")
    assert salt.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("key", ["accession", "study", "images", "pairs"])
@pytest.mark.parametrize("first", ["reports", "images"])
def test_report_and_image_find_each_other_whichever_comes_first(
    key: str, first: str, tmp_path: Path, target: IndexFolder
) -> None:
    uid = write_image(tmp_path / "images" / "a.dcm", 1, accession="ACC-1", StudyInstanceUID="1.2.3.4")
    write_image(tmp_path / "images" / "b.dcm", 2, patient="P2", accession="ACC-2")
    report = {"report_id": "ACC-1" if key == "accession" else "R1", "text": REPORT}
    report |= {"study": {"study_instance_uid": "1.2.3.4"}, "images": {"images": [uid]}}.get(key, {})
    reports = write_reports(tmp_path / "reports.jsonl", [report])
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(f"sop_instance_uid,report_id\n{uid},{report['report_id']}\n", encoding="utf-8")
    with_pairs = {"pairs": str(pairs)} if key == "pairs" else {}
    steps = [
        lambda: target.index(reports=[str(reports)], **with_pairs),
        lambda: target.index(tmp_path / "images", **with_pairs),
    ]
    for step in steps if first == "reports" else reversed(steps):
        step()
    images = target.images()
    assert images[uid].report_id == report["report_id"] or (key == "images" and first == "reports")
    if key == "images" and first == "reports":  # only the file of the reports names the image, so it has to be given again
        target.index(tmp_path / "images", reports=[str(reports)])
        images = target.images()
    assert images[uid].labels_positive == ("Pleural Effusion",)
    assert images["1.2.826.0.1.99.3.2"].labels_positive == ()
    assert images["1.2.826.0.1.99.3.2"].report_id.startswith(PENDING)
    assert "ACC-2" not in images["1.2.826.0.1.99.3.2"].report_id
    found = target.reports()[str(report["report_id"])]
    assert (found.study_instance_uid, found.study_date) == (images[uid].study_instance_uid, "20240305")
    assert found.patient_key == images[uid].patient_key


def test_a_changed_report_changes_its_images_without_decoding_them(
    tmp_path: Path, target: IndexFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    [uid] = write_images(tmp_path / "images", 1)
    reports = write_reports(tmp_path / "r.jsonl", [{"report_id": "A0", "text": REPORT}])
    target.index(tmp_path / "images", reports=[str(reports)])
    write_reports(reports, [{"report_id": "A0", "text": "Heart size normal. There is a large right pneumothorax."}])
    monkeypatch.setattr("dicom_workflow.search.embeddings.Embedder.of_files", lambda *_, **__: pytest.fail("decoded"))
    found = target.index(reports=[str(reports)])
    assert found.report.to_json() == {"image": {"linked": 1}, "report": {"changed": 1}}
    assert target.images()[uid].labels_positive == ("Pneumothorax",)


def test_reports_are_read_again_by_another_version_of_what_reads_them(
    tmp_path: Path, target: IndexFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = write_reports(tmp_path / "r.jsonl", [{"report_id": "A0", "text": REPORT}])
    target.index(reports=[str(reports)])
    monkeypatch.setattr(report_ingest.LocalNLP, "model_version", "another version")
    assert target.index(reports=[str(reports)]).report.to_json()["report"] == {"changed": 1, "noted": 1}
    assert target.reports()["A0"].language_model == "another version"


def test_a_changed_image_is_embedded_again_and_a_moved_one_is_not(tmp_path: Path, target: IndexFolder) -> None:
    uid = write_image(tmp_path / "images" / "a.dcm", 1)
    target.index(tmp_path / "images")
    with target.store() as store:
        before = store.vectors([uid])
    (tmp_path / "images" / "a.dcm").rename(tmp_path / "images" / "b.dcm")
    assert target.index(tmp_path / "images").report.to_json() == {"image": {"linked": 1}}
    assert target.images()[uid].source.endswith("/b.dcm")
    write_image(tmp_path / "images" / "b.dcm", 1, seed=99)
    assert target.index(tmp_path / "images").report.to_json() == {"image": {"changed": 1}}
    with target.store() as store:
        assert float((store.vectors([uid]) @ before.T).item()) < 0.9999


def test_two_files_of_one_uid_are_said_and_the_first_stays_in_every_run(tmp_path: Path, target: IndexFolder) -> None:
    uid = write_image(tmp_path / "images" / "a.dcm", 1)
    write_image(tmp_path / "images" / "b.dcm", 1, seed=50)
    write_image(tmp_path / "images" / "c.dcm", 1)
    first = target.index(tmp_path / "images")
    assert first.report.to_json()["image"] == {"indexed": 1, "skipped": 1, "unchanged": 1}
    assert uid in reasons(first)["b.dcm"]
    again = target.index(tmp_path / "images")
    assert again.report.to_json()["image"] == {"skipped": 1, "unchanged": 2}


def test_an_image_with_two_reports_carries_the_newest(tmp_path: Path, target: IndexFolder) -> None:
    uid = write_image(tmp_path / "images" / "a.dcm", 1, accession="A1")
    lines = [
        {"report_id": "later", "accession_number": "A1", "study_date": "20240302", "text": "Large right pneumothorax."},
        {"report_id": "earlier", "accession_number": "A1", "study_date": "20240301", "text": REPORT},
    ]
    found = target.index(tmp_path / "images", reports=[str(write_reports(tmp_path / "r.jsonl", lines))])
    assert target.images()[uid].report_id == "later"
    assert target.images()[uid].labels_positive == ("Pneumothorax",)
    assert "reports later and earlier belong to it" in reasons(found)["a.dcm"]
    assert set(target.reports()) == {"later", "earlier"}


def test_a_report_of_another_patient_is_not_linked(tmp_path: Path, target: IndexFolder) -> None:
    uid = write_image(tmp_path / "images" / "a.dcm", 1, patient="P1", accession="A1")
    line = {"report_id": "A1", "text": REPORT, "patient_id": "P2"}
    found = target.index(tmp_path / "images", reports=[str(write_reports(tmp_path / "r.jsonl", [line]))])
    assert target.images()[uid].labels_positive == ()
    assert "another patient" in reasons(found, "image")["a.dcm"]


def test_without_a_model_images_are_indexed_and_a_later_run_embeds_them(tmp_path: Path, target: IndexFolder) -> None:
    uids = write_images(tmp_path / "images", 3)
    assert target.index(tmp_path / "images", model=search_steps.NO_MODEL).report.to_json() == {"image": {"indexed": 3}}
    with target.store() as store:
        assert store.spaces() == []
    found = target.index(tmp_path / "images")
    assert found.report.to_json() == {"image": {"indexed": 3}}
    with target.store() as store:
        assert np.isfinite(store.vectors(uids)).all()


def test_a_new_space_serves_when_it_is_whole(tmp_path: Path, target: IndexFolder) -> None:
    write_images(tmp_path / "one", 2)
    write_images(tmp_path / "two", 2, first=10)
    old = target.index(tmp_path / "one").serving
    target.index(tmp_path / "two")
    (tmp_path / "one" / "000.dcm").rename(tmp_path / "away.dcm")
    model = str(write_bundle(tmp_path / "new", input_mean=0.4))
    found = target.index(tmp_path / "two", model=model)
    [(new, missing)] = found.spaces.items()
    assert (missing, found.serving) == (1, old)
    assert "cannot be read again" in " ".join(reasons(found).values())
    (tmp_path / "away.dcm").rename(tmp_path / "one" / "000.dcm")
    found = target.index(tmp_path / "two", model=model)
    assert (found.spaces, found.serving) == ({new: 0}, new)
    assert target.index(tmp_path / "one", model="").report.to_json() == {"image": {"unchanged": 2}}, (
        "the model of the space is kept"
    )


def test_no_model_is_said_with_what_to_do(tmp_path: Path, target: IndexFolder) -> None:
    write_images(tmp_path / "images", 1)
    with pytest.raises(SearchError, match="Give --model BUNDLE, train one with `dicom-workflow train`"):
        target.index(tmp_path / "images", model="")


def test_a_store_that_cannot_be_written_is_a_message_and_the_next_run_goes_on(
    tmp_path: Path, target: IndexFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "images", 6)
    monkeypatch.setattr("dicom_workflow.search.ingest.store_writes._RETRY_SECONDS", (0.0,))
    monkeypatch.setattr("dicom_workflow.search.ingest.images.BATCH", 2)
    from dicom_workflow.search.store.lance import LanceStore

    real, calls = LanceStore.upsert_images, []

    def failing(self: LanceStore, *arguments: object) -> int:
        calls.append(arguments)
        if len(calls) in (2, 4, 5):
            raise SearchStoreError("the disk is full. Free some space.")
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(LanceStore, "upsert_images", failing)
    with pytest.raises(SearchStoreError, match="Free some space"):
        target.index(tmp_path / "images")
    assert len(calls) == 5, "the second write was tried again, the third twice"
    assert len(target.images()) == 4
    monkeypatch.setattr(LanceStore, "upsert_images", real)
    assert target.index(tmp_path / "images").report.to_json() == {"image": {"indexed": 2, "unchanged": 4}}
