"""Storage: the same words over files and over S3, and a write that is whole or not there."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.stack_foundation import BUCKET, s3_storage

from dicom_workflow.errors import ObjectNotFoundError, StorageError
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage, join, s3_parts, to_path, to_uri


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with s3_storage(tmp_path_factory.mktemp("workspace")) as storage:
        yield storage


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Storage, str]:
    """A storage and an empty folder in it."""
    if request.param == "file":
        return Storage(), to_uri(tmp_path)
    return request.getfixturevalue("s3"), f"s3://{BUCKET}/{tmp_path.name}"


# Names


def test_a_path_becomes_a_uri_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert to_uri("/data/a.dcm") == "file:///data/a.dcm"
    assert to_uri("a.dcm") == f"file://{tmp_path}/a.dcm"
    assert to_uri("/data/a b#1?50%.dcm") == "file:///data/a%20b%231%3F50%25.dcm"
    assert to_uri("/data/Thorax_übersicht.dcm") == "file:///data/Thorax_%C3%BCbersicht.dcm"
    assert to_path("file:///data/a%20b%231%3F50%25.dcm") == Path("/data/a b#1?50%.dcm")
    assert to_path("file://localhost/data/a.dcm") == to_path("/data/a.dcm") == Path("/data/a.dcm")


@given(st.binary(min_size=1, max_size=40).filter(lambda name: not set(name) & {0, ord("/")} and name not in (b".", b"..")))
def test_every_file_name_comes_back_from_its_uri(name: bytes) -> None:
    path = Path(os.fsdecode(b"/data/" + name))
    uri = to_uri(path)
    assert uri.isascii()
    assert not set(uri) & set(" \n\t?#")
    assert os.fsencode(to_path(uri)) == b"/data/" + name
    assert os.fsencode(to_path(join("file:///data", os.fsdecode(name)))) == b"/data/" + name


@pytest.mark.parametrize("location", ["s3://bucket/key", "file:///data/a.dcm"])
def test_a_uri_stays_as_it_is(location: str) -> None:
    assert to_uri(location) == location


def test_what_is_neither_file_nor_s3_is_refused() -> None:
    with pytest.raises(StorageError, match=r"expected s3://, file:// or a path, got 'https://example\.org/a'"):
        to_uri("https://example.org/a")
    with pytest.raises(StorageError, match=r"expected a file:// URI on this machine, got 'https://example\.org/a'"):
        to_path("https://example.org/a")
    with pytest.raises(StorageError, match=r"expected a file:// URI on this machine, got 'file://server/share'"):
        to_path("file://server/share")
    with pytest.raises(StorageError, match="without a NUL character"):
        to_path("file:///data/a%00b")
    for uri in ("file://[data/a", "file://\u2100/a", "file:///data/\ud800"):
        with pytest.raises(StorageError, match=r"expected a file:// URI, got 'file://"):
            to_path(uri)


def test_names_are_joined_below_a_folder() -> None:
    assert join("s3://bucket/jobs/", "job 1", "a.json") == "s3://bucket/jobs/job 1/a.json"
    assert join("file:///data", "job 1", "2026-11-21_08:00:00.json") == "file:///data/job%201/2026-11-21_08:00:00.json"
    assert join("file:///data", "%2e%2e/x") == "file:///data/%252e%252e/x"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "..", "/etc/passwd"])
@pytest.mark.parametrize("folder", ["s3://bucket/jobs", "file:///data"])
def test_no_name_leaves_its_folder(folder: str, name: str) -> None:
    with pytest.raises(StorageError, match=f"expected a name below {folder}, got"):
        join(folder, name)


@pytest.mark.parametrize(
    ("uri", "bucket", "key"),
    [
        ("s3://bucket/a/b.dcm", "bucket", "a/b.dcm"),
        ("s3://bucket/bucket/b?x=1#y", "bucket", "bucket/b?x=1#y"),
        ("s3://bucket//a", "bucket", "/a"),
        ("s3://bucket", "bucket", ""),
    ],
)
def test_a_key_keeps_every_character(uri: str, bucket: str, key: str) -> None:
    assert s3_parts(uri) == (bucket, key)


@pytest.mark.parametrize("uri", ["s3://", "s3:///key", "https://bucket/key", "bucket/key"])
def test_what_has_no_bucket_is_refused(uri: str) -> None:
    with pytest.raises(StorageError, match="expected s3://bucket/key, got"):
        s3_parts(uri)


# Reading and writing, on both


def test_what_was_written_is_read(place: tuple[Storage, str]) -> None:
    storage, folder = place
    uri = join(folder, "deep", "ä b.txt")
    assert storage.write_text(uri, "Übersicht\n") == uri
    assert storage.read_text(uri) == "Übersicht\n"
    assert storage.write_bytes(uri, b"\xff\x00") == uri
    assert storage.read_bytes(uri) == b"\xff\x00"
    assert storage.exists(uri)


def test_text_that_is_not_utf8_is_said_with_its_place(place: tuple[Storage, str]) -> None:
    storage, folder = place
    uri = storage.write_bytes(join(folder, "latin1.txt"), b"M\xfcller")
    with pytest.raises(StorageError, match="expected UTF-8 text, got byte 0xfc at 1"):
        storage.read_text(uri)


def test_an_object_is_read_line_by_line(place: tuple[Storage, str]) -> None:
    storage, folder = place
    uri = storage.write_bytes(join(folder, "lines"), b"one\ntwo\r\nthree")
    with storage.open(uri) as stream:
        assert stream.readline(2) == b"on"
        assert list(stream) == [b"e\n", b"two\r\n", b"three"]


def test_an_object_larger_than_the_buffer_is_read_whole(place: tuple[Storage, str]) -> None:
    storage, folder = place
    data = os.urandom(3_000_000)
    assert storage.read_bytes(storage.write_bytes(join(folder, "large"), data)) == data


def test_an_empty_object_is_an_object(place: tuple[Storage, str]) -> None:
    storage, folder = place
    uri = storage.write_bytes(join(folder, "empty"), b"")
    assert storage.exists(uri)
    assert storage.read_bytes(uri) == b""


def test_what_is_not_there_is_said_by_its_uri(place: tuple[Storage, str]) -> None:
    storage, folder = place
    uri = join(folder, "nothing.json")
    assert not storage.exists(uri)
    with pytest.raises(ObjectNotFoundError, match=rf"{folder}/nothing\.json: there is no such object"):
        storage.read_bytes(uri)


def test_objects_are_listed_below_a_folder_sorted(place: tuple[Storage, str]) -> None:
    storage, folder = place
    uris = [
        storage.write_text(join(folder, "jobs", *names), "x") for names in [("b",), ("a", "2"), ("a", "1 x"), ("upload.part",)]
    ]
    storage.write_text(join(folder, "jobs-of-others"), "x")
    assert storage.list(join(folder, "jobs")) == sorted(uris)
    assert storage.list(join(folder, "jobs") + "/") == sorted(uris)
    assert storage.list(join(folder, "none")) == []
    assert [storage.read_text(uri) for uri in storage.list(join(folder, "jobs"))] == ["x"] * 4


def test_a_failed_write_leaves_the_old_object(place: tuple[Storage, str]) -> None:
    storage, folder = place
    uri = storage.write_text(join(folder, "state.json"), "old")

    def fail() -> None:
        with storage.writer(uri) as stream:
            stream.write(b"half of the new")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        fail()
    assert storage.read_text(uri) == "old"
    assert storage.list(folder) == [uri]


def test_nobody_sees_an_object_before_it_is_whole(place: tuple[Storage, str]) -> None:
    storage, folder = place
    uri = join(folder, "new.json")
    with storage.writer(uri) as stream:
        stream.write(b"half")
        stream.flush()
        assert not storage.exists(uri)
        assert storage.list(folder) == []
    assert storage.read_bytes(uri) == b"half"


# Files


def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    uri = Storage().write_text(to_uri(tmp_path / "state.json"), "old")
    code = f"""
import time
from dicom_workflow.storage import Storage
with Storage().writer({uri!r}) as stream:
    stream.write(b"half of the new")
    stream.flush()
    print("writing", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert Storage().read_text(uri) == "old"
    assert Storage().list(to_uri(tmp_path)) == [uri]
    assert len(list(tmp_path.iterdir())) == 2  # the part stays, hidden from every listing


def test_a_written_file_is_for_this_user_alone_also_in_a_folder_from_before(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "earlier").write_text("x")
    (tmp_path / "earlier").chmod(0o644)
    for name in ("earlier", "new"):
        Storage().write_text(to_uri(tmp_path / name), "patients")
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_folder_is_not_an_object(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    uri = to_uri(tmp_path / "folder")
    assert not Storage().exists(uri)
    with pytest.raises(ObjectNotFoundError, match="there is no such object"):
        Storage().read_bytes(uri)
    with pytest.raises(StorageError, match="cannot be written: Is a directory"):
        Storage().write_text(uri, "x")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_nothing_is_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    uri = to_uri(tmp_path / "file" / "below")
    assert not Storage().exists(uri)
    with pytest.raises(ObjectNotFoundError, match="there is no such object"):
        Storage().read_bytes(uri)
    with pytest.raises(StorageError, match="cannot be written: "):
        Storage().write_text(uri, "x")


def test_a_name_that_is_too_long_is_an_error_with_its_uri(tmp_path: Path) -> None:
    uri = to_uri(tmp_path / ("x" * 300))
    for call in (Storage().read_bytes, Storage().exists, lambda place: Storage().write_text(place, "x")):
        with pytest.raises(StorageError, match=f"{uri}: cannot be .*: File name too long"):
            call(uri)


@pytest.mark.parametrize("characters", [2_000, 2_000_000])
def test_a_disk_that_takes_no_more_is_an_error_with_its_uri(tmp_path: Path, characters: int) -> None:
    uri = Storage().write_text(to_uri(tmp_path / "state.json"), "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with pytest.raises(StorageError, match=f"{uri}: cannot be written: File too large"):
            Storage().write_text(uri, "x" * characters)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert Storage().read_text(uri) == "old"
    assert Storage().list(to_uri(tmp_path)) == [uri]


def test_an_error_of_the_one_who_writes_stays_his_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), Storage().writer(to_uri(tmp_path / "copy")) as stream:
        stream.write((tmp_path / "not there").read_bytes())


# S3


def test_a_bucket_that_is_not_there_is_said(s3: Storage) -> None:
    with pytest.raises(ObjectNotFoundError, match=r"s3://no-such-bucket/k: there is no such object \(NoSuchBucket\)"):
        s3.read_bytes("s3://no-such-bucket/k")
    assert not s3.exists("s3://no-such-bucket/k")


def test_the_folder_marks_of_the_console_are_not_listed(s3: Storage) -> None:
    s3.write_bytes(f"s3://{BUCKET}/marked/", b"")
    s3.write_bytes(f"s3://{BUCKET}/marked/a", b"x")
    assert s3.list(f"s3://{BUCKET}/marked") == [f"s3://{BUCKET}/marked/a"]


def test_more_than_one_page_is_listed(s3: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")
    uris = [s3.write_bytes(f"s3://{BUCKET}/many/{number}", b"") for number in range(8)]
    assert s3._s3.list_objects_v2(Bucket=BUCKET, Prefix="many/")["IsTruncated"]
    assert s3.list(f"s3://{BUCKET}/many") == uris


def test_a_refusal_of_s3_is_not_taken_for_a_missing_object(s3: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "403", "Message": "Forbidden"}}, "HeadObject")

    monkeypatch.setattr(s3._s3, "head_object", refuse)
    with pytest.raises(StorageError, match=r"S3 answered 403\. Check the bucket's region and this role's rights") as caught:
        s3.exists(f"s3://{BUCKET}/k")
    assert not isinstance(caught.value, ObjectNotFoundError)


def test_an_s3_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr("time.sleep", lambda _: None)
    storage = Storage(Settings(tmp_path, s3_url="http://127.0.0.1:9"))
    for call in (storage.read_bytes, storage.exists, storage.list, lambda uri: storage.write_bytes(uri, b"x")):
        with pytest.raises(StorageError, match=r"s3://bucket/k: S3 could not be reached: "):
            call("s3://bucket/k")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text("ab?#%+& ü", min_size=1, max_size=5), min_size=1, max_size=3).map("/".join))
def test_every_listed_key_can_be_read(s3: Storage, key: str) -> None:
    uri = s3.write_text(f"s3://{BUCKET}/keys/{key}", key)
    assert uri in s3.list(f"s3://{BUCKET}/keys")
    assert s3.read_text(uri) == key
