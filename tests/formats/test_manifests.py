"""Manifests: streamed, checked line by line, written whole, split by patient."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.stack_foundation import BUCKET, s3_storage

from dicom_workflow.errors import ManifestError, ObjectNotFoundError, RecordError
from dicom_workflow.formats import manifest_validation, manifests
from dicom_workflow.formats.instances import Instance
from dicom_workflow.formats.labels import load_label_set
from dicom_workflow.formats.manifest_validation import validate
from dicom_workflow.formats.manifests import (
    MAX_ATTRIBUTE_CHARACTERS,
    MAX_LINE_CHARACTERS,
    Line,
    any_object,
    entries_for,
    read_instances,
)
from dicom_workflow.formats.object_reference import source_of
from dicom_workflow.formats.splits import MAX_JOB_OBJECTS, SPLITS, assign_splits, split_for_jobs
from dicom_workflow.storage import Storage, to_path, to_uri

LABELS = load_label_set("chest").labels

# The manifest of the published AWS sample: three Orthanc instances, the labels as one text.
AWS_SAMPLE = "".join(
    f'{{"source": "{identifier}", "labels": "Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,'
    'Lung Lesion,Lung Opacity,Pleural Effusion,Pneumonia,Pneumothorax,Pleural Other,Support Devices,No Finding"}\n'
    for identifier in (
        "502b0a4b-5cb43965-7f092716-bd6fe6d6-4f7fc3ce",
        "af163634-5f8009c8-a941f2a2-4d108bea-119181b5",
        "3e9562ab-3bd7b304-e003d1f8-0fe2e8f5-e6af3f36",
    )
)
GOOD = b'{"source": "a"}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with s3_storage(tmp_path_factory.mktemp("workspace")) as storage:
        yield storage


def lines_of(path: Path, content: bytes | str) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return to_uri(path)


def read_all(uri: str) -> tuple[list[Line], list[str]]:
    """The good lines of a manifest, and what was said of the others."""
    problems: list[ManifestError] = []
    lines = list(manifests.read(uri, on_error=problems.append))
    return lines, [str(problem).removeprefix(uri) for problem in problems]


def identifier(number: int) -> str:
    return "-".join(f"{number + group:08x}" for group in range(5))


# Reading


def test_the_published_sample_is_read_and_valid(folder: Path) -> None:
    uri = lines_of(folder / "manifest.json", AWS_SAMPLE)
    found = validate(uri)
    assert (found.lines, found.accepted, found.refused, found.errors) == (3, 3, 0, ())
    assert found.labels == LABELS
    assert [line.number for line in manifests.read(uri)] == [1, 2, 3]
    assert [source_of(line.data)[:8] for line in manifests.read(uri)] == ["502b0a4b", "af163634", "3e9562ab"]


def test_lines_end_with_either_line_end_and_empty_ones_are_passed_over(folder: Path) -> None:
    uri = lines_of(folder / "m", b'{"source": "a"}\r\n\r\n{"source": "b"}\n \n{"source": "\xc3\xa4"}')
    assert list(manifests.read(uri)) == [Line(1, {"source": "a"}), Line(3, {"source": "b"}), Line(5, {"source": "ä"})]


def test_both_kinds_of_source_are_read_and_every_other_key_stays_as_it_is(folder: Path) -> None:
    data: list[dict[str, Any]] = [
        {"source": identifier(1), "patient_id": "P1", "nested": {"a": [1, None, 2.5, True]}, "9": "ü"},
        {"source-ref": "s3://bucket/k.dcm", "job": {"labels": {}}, "job-metadata": {"type": "groundtruth/custom"}},
        {"source-ref": "file:///data/k.dcm"},
        {"source": identifier(2), "source-ref": "s3://bucket/k2.dcm"},
    ]
    uri = to_uri(folder / "m")
    assert manifests.write(uri, data) == 4
    assert [line.data for line in manifests.read(uri)] == data
    assert [list(line.data) for line in manifests.read(uri)] == [list(entry) for entry in data]
    assert [source_of(entry) for entry in data] == [
        identifier(1),
        "s3://bucket/k.dcm",
        "file:///data/k.dcm",
        "s3://bucket/k2.dcm",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"source": "b"', "expected one whole JSON object, got broken JSON: Expecting ',' delimiter at character 15."),
        (b'{"source": "b"} {"source": "c"}', "got broken JSON: Extra data at character 17."),
        (b"{'source': 'b'}", "got broken JSON: Expecting property name enclosed in double quotes at character 2."),
        (b'{"source": "b", "x": NaN}', "got broken JSON: NaN is not JSON."),
        (b'{"source": "b", "x": -Infinity}', "got broken JSON: -Infinity is not JSON."),
        (b'{"source": "b", "x": ' + b"9" * 5000 + b"}", "got broken JSON: Exceeds the limit"),
        (b"[" * 50_000, "expected one whole JSON object, got broken JSON: it is nested too deep to read."),
        (b'["source"]', "expected a JSON object, got list."),
        (b'"source"', "expected a JSON object, got str."),
        (b"null", "expected a JSON object, got NoneType."),
        (
            b"\xef\xbb\xbf" + b'{"source": "b"}',
            "got broken JSON: Unexpected UTF-8 BOM (decode using utf-8-sig) at character 1.",
        ),
        (b'{"source": "M\xfcller"}', "expected UTF-8 text, got byte 0xfc at 13."),
        (b'{"image": 1}', "expected 'source-ref' or 'source', got keys ['image']. Write manifests with manifests.write()."),
        (b'{"source": ""}', "expected 'source' as a text that is not empty, got str."),
        (b'{"source": 7}', "expected 'source' as a text that is not empty, got int."),
        (b'{"source-ref": ["s3://b/k"]}', "expected 'source-ref' as a text that is not empty, got list."),
        (
            b'{"source-ref": "https://pacs/instances/1/file"}',
            "expected 'source-ref' as an s3:// or file:// URI, got 'https://pacs/ins",
        ),
        (b'{"source": "b", "$ref": 1}', "expected attribute names that do not begin with '$', got '$ref'."),
        (b'{"source": "b", "labels": []}', "expected at least one label and none of them empty, got []."),
        (b'{"source": "b", "labels": "Edema,Edema"}', "expected each label once, got Edema more than once."),
    ],
)
def test_a_broken_line_is_named_by_its_number_and_the_others_go_on(folder: Path, line: bytes, message: str) -> None:
    uri = lines_of(folder / "input.manifest", GOOD + b"\r\n" + line + b"\n" + b'{"source": "z"}')
    lines, problems = read_all(uri)
    assert lines == [Line(1, {"source": "a"}), Line(4, {"source": "z"})]
    assert len(problems) == 1
    assert problems[0].startswith(", line 3: ")
    assert message in problems[0]
    with pytest.raises(ManifestError, match=r"input\.manifest, line 3: expected ") as caught:
        list(manifests.read(uri))
    assert (caught.value.uri, caught.value.line) == (uri, 3)


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n  \n"])
def test_an_empty_manifest_is_an_error_of_the_whole_file(folder: Path, content: bytes) -> None:
    uri = lines_of(folder / "m", content)
    for read in (lambda: list(manifests.read(uri)), lambda: read_all(uri), lambda: validate(uri)):
        with pytest.raises(ManifestError, match=r"/m: the file is empty") as caught:
            read()
        assert caught.value.line is None


def test_a_manifest_of_broken_lines_only_is_not_an_empty_one(folder: Path) -> None:
    found = validate(lines_of(folder / "m", "x\ny\n"))
    assert (found.lines, found.accepted, found.refused) == (2, 0, 2)


def test_a_manifest_that_is_not_there_is_said(folder: Path) -> None:
    with pytest.raises(ObjectNotFoundError, match=r"none\.manifest: there is no such object"):
        list(manifests.read(to_uri(folder / "none.manifest")))


# Limits


def line_of(characters: int, fill: str = "x") -> str:
    """One line of exactly so many characters, in attributes of fewer than 20,000."""
    data = {"source": "a", **{f"k{number}": "" for number in range(6)}}
    missing = characters - len(json.dumps(data))
    for number in range(6):
        data[f"k{number}"] = fill * (missing // 6 + (1 if number < missing % 6 else 0))
    return json.dumps(data, ensure_ascii=False)


@pytest.mark.parametrize("fill", ["x", "ü", "𝄞"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b""])
def test_a_line_of_a_hundred_thousand_characters_is_the_longest(folder: Path, fill: str, line_end: bytes) -> None:
    longest, longer = line_of(MAX_LINE_CHARACTERS, fill), line_of(MAX_LINE_CHARACTERS + 1, fill)
    assert (len(longest), len(longer)) == (100_000, 100_001)
    lines, problems = read_all(lines_of(folder / "m", GOOD + longest.encode() + line_end))
    assert [line.number for line in lines] == [1, 2]
    assert problems == []
    lines, problems = read_all(lines_of(folder / "m", GOOD + longer.encode() + line_end))
    assert [line.number for line in lines] == [1]
    assert problems == [", line 2: expected at most 100,000 characters, got 100,001."]


def test_the_limit_holds_for_writing_too(folder: Path) -> None:
    uri = to_uri(folder / "m")
    assert manifests.write(uri, [json.loads(line_of(MAX_LINE_CHARACTERS, "ü"))]) == 1
    with pytest.raises(ManifestError, match=r"line 2: expected at most 100,000 characters, got 100,001\. Nothing was written"):
        manifests.write(uri, [{"source": "a"}, json.loads(line_of(MAX_LINE_CHARACTERS + 1))])
    assert len(list(manifests.read(uri))) == 1


@pytest.mark.parametrize("value", ["x" * MAX_ATTRIBUTE_CHARACTERS, ["x" * (MAX_ATTRIBUTE_CHARACTERS - 4)]])
def test_an_attribute_of_twenty_thousand_characters_is_the_longest(value: Any) -> None:
    assert manifests.check_entry({"source": "a", "report": value})
    longer = value + "x" if isinstance(value, str) else [value[0] + "x"]
    with pytest.raises(RecordError, match="expected at most 20,000 characters in an attribute, 'report' has more"):
        manifests.check_entry({"source": "a", "report": longer})


def test_a_file_without_line_ends_is_refused_and_never_held_in_memory(folder: Path) -> None:
    uri = lines_of(folder / "m", b'{"source": "' + b"x" * 30_000_000 + b'"}\n' + GOOD)
    tracemalloc.start()
    try:
        lines, problems = read_all(uri)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert problems == [", line 1: expected at most 100,000 characters in a line, got more."]
    assert lines == [Line(2, {"source": "a"})]
    assert peak < 5_000_000


def test_a_file_without_any_line_end_at_all_is_one_bad_line(folder: Path) -> None:
    found = validate(lines_of(folder / "m", b"x" * 2_000_000))
    assert (found.lines, found.refused) == (1, 1)


# Writing


def test_a_manifest_is_written_one_object_per_line(folder: Path) -> None:
    uri = to_uri(folder / "deep" / "input.manifest")
    assert manifests.write(uri, [{"source": "a", "labels": ["Edema"]}, {"source-ref": "s3://b/ü"}]) == 2
    assert to_path(uri).read_bytes() == b'{"source": "a", "labels": ["Edema"]}\n{"source-ref": "s3://b/\xc3\xbc"}\n'


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"image": "b"}, r"line 2: expected 'source-ref' or 'source', got keys \['image'\]\. .*\. Nothing was written\."),
        ({"source": "b", "when": object()}, "line 2: Object of type object is not JSON serializable. Nothing was written."),
        ({"source": "b", "x": float("nan")}, "line 2: Out of range float values are not JSON compliant.* Nothing was written."),
    ],
)
def test_a_bad_entry_is_named_by_its_line_and_the_old_manifest_stays(folder: Path, entry: dict[str, Any], message: str) -> None:
    uri = lines_of(folder / "m", GOOD)
    with pytest.raises(ManifestError, match=message):
        manifests.write(uri, [{"source": "a"}, entry, {"source": "c"}])
    assert to_path(uri).read_bytes() == GOOD
    assert [path.name for path in folder.iterdir()] == ["m"]


def test_no_entry_makes_no_manifest(folder: Path) -> None:
    with pytest.raises(ManifestError, match=r"there is no entry to write\. Nothing was written\."):
        manifests.write(to_uri(folder / "m"), [])
    assert list(folder.iterdir()) == []


def test_a_process_killed_while_writing_leaves_the_old_manifest(folder: Path) -> None:
    uri = lines_of(folder / "input.manifest", GOOD)
    code = f"""
import time
from dicom_workflow.formats import manifests
def entries():
    for number in range(10**9):
        yield {{"source": str(number), "text": "x" * 1000}}
        if number == 1000:
            print("writing", flush=True)
            time.sleep(60)
manifests.write({uri!r}, entries())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert to_path(uri).read_bytes() == GOOD
    assert Storage().list(to_uri(folder)) == [uri]
    assert max(path.stat().st_size for path in folder.iterdir()) > 500_000  # it was well under way


def test_half_a_surrogate_pair_of_a_workers_comment_is_written_and_comes_back(folder: Path) -> None:
    uri = to_uri(folder / "m")
    entries = [{"source": "a", "comment": "ä\ud83d"}, {"source": "\udc00"}]
    manifests.write(uri, entries)
    assert [line.data for line in manifests.read(uri)] == entries
    assert validate(uri).accepted == 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
attribute_names = st.text(max_size=10).filter(
    lambda name: not name.startswith("$") and name not in ("source", "source-ref", "labels")
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(attribute_names, json_values, max_size=4), min_size=1, max_size=5))
def test_whatever_json_is_written_comes_back(tmp_path_factory: pytest.TempPathFactory, extras: list[dict[str, Any]]) -> None:
    uri = to_uri(tmp_path_factory.getbasetemp() / "any.manifest")
    entries = [{"source": identifier(number), **extra} for number, extra in enumerate(extras)]
    assert manifests.write(uri, entries) == len(entries)
    assert [line.data for line in manifests.read(uri)] == entries


def test_a_manifest_on_s3_is_the_same_manifest(s3: Storage) -> None:
    uri = f"s3://{BUCKET}/jobs/input.manifest"
    entries = [{"source": identifier(number), "labels": list(LABELS)} for number in range(500)]
    assert manifests.write(uri, entries, storage=s3) == 500
    assert [line.data for line in manifests.read(uri, storage=s3)] == entries
    assert validate(uri, storage=s3).accepted == 500
    parts = split_for_jobs(uri, storage=s3, objects_per_job=200)
    assert parts == [f"s3://{BUCKET}/jobs/input.part-{number:03}.manifest" for number in (1, 2, 3)]
    with pytest.raises(ManifestError, match=rf"{uri}, line 1: "):
        manifests.write(uri, [{}], storage=s3)
    assert validate(uri, storage=s3).accepted == 500


def test_other_json_lines_are_written_and_read_without_the_contract(folder: Path) -> None:
    uri = to_uri(folder / "instances.jsonl")
    assert manifests.write(uri, [{"x": 1}], check=False) == 1
    assert list(manifests.read(uri, check=any_object)) == [Line(1, {"x": 1})]
    with pytest.raises(ManifestError, match="line 1: expected a JSON object, got list"):
        list(manifests.read(lines_of(folder / "m", "[]"), check=any_object))


# Validation


def test_the_same_source_twice_is_said_with_the_first_line(folder: Path) -> None:
    found = validate(lines_of(folder / "m", '{"source": "a"}\n{"source": "b"}\n\n{"source": "a"}\n{"source": "a"}\n'))
    assert (found.lines, found.accepted, found.refused) == (4, 2, 2)
    assert [error.line for error in found.errors] == [4, 5]
    assert "the same source stands in line 1 already." in str(found.errors[1])


def test_a_label_list_that_differs_is_said_and_another_order_is_none(folder: Path) -> None:
    content = '{"source": "a"}\n{"source": "b", "labels": ["Edema", "Fracture"]}\n{"source": "c", "labels": "Fracture,Edema"}\n'
    found = validate(lines_of(folder / "m", content + '{"source": "d", "labels": ["Edema", "Mass"]}\n'))
    assert found.labels == ("Edema", "Fracture")
    assert [str(error).partition(": ")[2] for error in found.errors] == [
        "the labels differ from those of the lines before: Edema, Mass."
    ]
    assert found.errors[0].line == 4


def test_errors_beyond_the_asked_number_are_counted_and_not_kept(folder: Path) -> None:
    found = validate(lines_of(folder / "m", GOOD + b"broken\n" * 30), max_errors=5)
    assert (len(found.errors), found.refused, found.accepted, found.lines) == (5, 30, 1, 31)


# From instances to a manifest


def test_instances_become_entries_by_id_or_by_place() -> None:
    instances = [
        Instance(f"1.3.{n}", "1.2", "1.1", orthanc_instance_id=identifier(n), patient_id="Secret", uri=f"s3://b/{n}.dcm")
        for n in range(2)
    ]
    by_id = list(entries_for(instances, ["Edema", "Fracture"]))
    by_place = list(entries_for(instances, ["Edema", "Fracture"], by="source-ref"))
    assert by_id == [{"source": identifier(n), "labels": ["Edema", "Fracture"]} for n in range(2)]
    assert by_place == [{"source-ref": f"s3://b/{n}.dcm", "labels": ["Edema", "Fracture"]} for n in range(2)]
    by_path = list(entries_for([replace(instance, orthanc_instance_id="") for instance in instances], ["Edema", "Fracture"]))
    assert [entry["source"] for entry in by_path] == [f"studies/1.1/series/1.2/instances/1.3.{n}" for n in range(2)]
    assert "Secret" not in json.dumps(by_id + by_place + by_path)


def test_an_instance_without_a_copy_cannot_be_named_by_place() -> None:
    with pytest.raises(RecordError, match=r"1\.2\.3: it has no copy in object storage"):
        list(entries_for([Instance("1.2.3")], ["Edema"], by="source-ref"))


def test_an_instance_of_an_unknown_series_cannot_be_named_by_its_path() -> None:
    with pytest.raises(RecordError, match=r"1\.2\.3: its Study and Series Instance UIDs are unknown"):
        list(entries_for([Instance("1.2.3")], ["Edema"]))


def test_a_bad_label_list_makes_no_entry() -> None:
    with pytest.raises(RecordError, match="expected each label once"):
        list(entries_for([Instance("1.2.3")], ["Edema", "Edema"]))


def test_instances_are_read_and_a_bad_one_is_named_by_its_line(folder: Path) -> None:
    instances = [Instance(f"1.2.{n}", orthanc_instance_id=identifier(n), patient_id=f"P{n}") for n in range(3)]
    uri = to_uri(folder / "instances.jsonl")
    manifests.write(uri, [instance.to_json() for instance in instances], check=False)
    assert read_instances(uri) == instances
    bad = lines_of(
        folder / "bad.jsonl",
        json.dumps(instances[0].to_json()) + '\n{"sop_instance_uid": "1.2", "orthanc_instance_id": "../x"}\n',
    )
    with pytest.raises(ManifestError, match=r"bad\.jsonl, line 2: expected 'orthanc_instance_id' as five groups of eight"):
        read_instances(bad)


# Splits

patients = st.dictionaries(
    st.text("0123456789ABC", min_size=1, max_size=6), st.lists(st.sampled_from(LABELS), max_size=4), min_size=1, max_size=80
)


@given(patients, st.integers(0, 5))
def test_every_patient_is_in_one_split_and_every_split_has_its_share(people: dict[str, list[str]], seed: int) -> None:
    splits = assign_splits(people, seed=seed)
    assert splits.keys() == people.keys()
    counts = Counter(splits.values())
    assert counts.keys() <= set(SPLITS)
    for split, share in zip(SPLITS, (0.7, 0.15, 0.15), strict=True):
        assert abs(counts[split] - share * len(people)) < 2, counts


@given(patients, st.randoms())
def test_splits_do_not_depend_on_the_order_of_patients_or_labels(people: dict[str, list[str]], random: Any) -> None:
    shuffled = list(people.items())
    random.shuffle(shuffled)
    assert assign_splits({patient: reversed(labels) for patient, labels in shuffled}) == assign_splits(people)


@given(patients)
def test_a_split_without_a_share_gets_nobody(people: dict[str, list[str]]) -> None:
    assert set(assign_splits(people, fractions=(1, 0, 0)).values()) == {"train"}
    assert "validation" not in assign_splits(people, fractions=(0.5, 0, 0.5)).values()


def test_rare_findings_reach_every_split_however_many_they_are() -> None:
    people = {f"{label}-{number}": [label] for label in LABELS for number in range(3)}
    splits = assign_splits(people)
    assert Counter(splits.values()) == {"train": 30, "validation": 6, "test": 6}
    people = {f"P{number}": ["Fracture"] if number < 20 else [] for number in range(200)}
    splits = assign_splits(people)
    assert Counter(split for patient, split in splits.items() if people[patient]) == {"train": 14, "validation": 3, "test": 3}


def test_the_seed_decides_the_split_and_repeats_it() -> None:
    people: dict[str, list[str]] = {f"P{number}": [] for number in range(100)}
    assert assign_splits(people, seed=1) == assign_splits(people, seed=1) != assign_splits(people, seed=2)


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.7, 0.4, -0.1), (0, 0, 0)])
def test_fractions_that_make_no_split_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(RecordError, match="expected three fractions of at least 0 for train, validation, test, got"):
        assign_splits({"P1": []}, fractions=fractions)


# Parts


def test_a_manifest_is_cut_into_parts_that_one_job_takes(folder: Path) -> None:
    uri = to_uri(folder / "input.manifest")
    entries = [{"source": identifier(number)} for number in range(7)]
    manifests.write(uri, entries)
    parts = split_for_jobs(uri, objects_per_job=3)
    assert parts == [to_uri(folder / f"input.part-00{number}.manifest") for number in (1, 2, 3)]
    assert [[line.data for line in manifests.read(part)] for part in parts] == [entries[:3], entries[3:6], entries[6:]]


def test_a_manifest_that_one_job_takes_is_not_cut(folder: Path) -> None:
    uri = to_uri(folder / "input.manifest")
    manifests.write(uri, [{"source": identifier(number)} for number in range(6)])
    assert split_for_jobs(uri, objects_per_job=6) == split_for_jobs(uri) == [uri]
    assert split_for_jobs(uri, objects_per_job=3) == [to_uri(folder / f"input.part-00{number}.manifest") for number in (1, 2)]
    assert MAX_JOB_OBJECTS == 100_000


def test_a_broken_manifest_is_not_cut(folder: Path) -> None:
    uri = lines_of(folder / "input.manifest", GOOD * 3 + b"broken\n")
    with pytest.raises(ManifestError, match="line 4"):
        split_for_jobs(uri, objects_per_job=2)
    assert [path.name for path in folder.iterdir()] == ["input.manifest"]


def test_good_lines_are_accepted_and_the_broken_ones_named(tmp_path: Path) -> None:
    path = tmp_path / "input.manifest"
    good = ('{"source": "a", "labels": ["Edema"]}', '{"source": "b", "labels": "Edema"}')
    path.write_text("\n".join([good[0], "not JSON", '{"source": "a"}', good[1], '{"image": 1}', ""]))
    found = manifest_validation.accept(to_uri(path), to_uri(tmp_path / "accepted.manifest"))
    assert (found.lines, found.accepted, found.refused) == (5, 2, 3)
    assert [error.line for error in found.errors] == [2, 3, 5]
    kept = [line.data["source"] for line in manifests.read(to_uri(tmp_path / "accepted.manifest"))]
    assert kept == ["a", "b"]


def test_manifest_without_one_good_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "input.manifest"
    path.write_text("not JSON\n")
    with pytest.raises(ManifestError, match="line 1: expected one whole JSON object"):
        manifest_validation.accept(to_uri(path), to_uri(tmp_path / "accepted.manifest"))
    assert not (tmp_path / "accepted.manifest").exists()
