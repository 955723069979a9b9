"""The job database as a file: it is private also where files existed before, and a file of an earlier version is refused."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from dicom_workflow.errors import ServiceError
from dicom_workflow.groundtruth.store.job_store import JobStore
from dicom_workflow.groundtruth.store.sqlite import SqliteDatabase


def modes(folder: Path) -> dict[str, str]:
    return {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}


def test_files_are_private_also_in_a_folder_and_a_file_that_were_there_before(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name in ("job-database.sqlite", "job-database.sqlite-wal", "lock"):
        (tmp_path / name).touch(mode=0o644)
    database = SqliteDatabase(tmp_path / "job-database.sqlite")
    with database.exclusive():
        JobStore(database)
        found = modes(tmp_path)
    assert {"job-database.sqlite", "job-database.sqlite-wal", "job-database.sqlite-shm", "lock"} == found.keys()
    assert set(found.values()) == {"0o600"}
    database.close()


def test_a_job_database_of_an_earlier_version_is_refused_with_the_command_that_renames_it(tmp_path: Path) -> None:
    """Its write-ahead log may hold answers, so it is renamed too."""
    old = SqliteDatabase(tmp_path / "old name.sqlite")
    JobStore(old)
    key = JobStore(old).meta("key")
    path = tmp_path / "job-database.sqlite"
    with pytest.raises(ServiceError, match="is a job database of an earlier version") as refused:
        JobStore(SqliteDatabase(path))
    assert not path.exists()
    command = str(refused.value).partition("then rename it: ")[2]
    assert command.count(shlex.quote(str(tmp_path / "old name.sqlite-wal"))) == 1
    old.close()
    for move in command.split("; "):  # its companions are gone when the last connection has closed in good order
        subprocess.run(shlex.split(move), check=False)
    renamed = SqliteDatabase(path)
    assert JobStore(renamed).meta("key") == key
    renamed.close()
