"""Settings: one way in, every value checked, no secret shown."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from pathlib import Path

import pytest

from dicom_workflow import errors
from dicom_workflow.errors import SettingsError, WorkflowError
from dicom_workflow.settings import DatabaseAddress, Secret, Settings


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test meets the .env file of the folder the tests are started in."""
    monkeypatch.chdir(tmp_path)


def test_an_empty_environment_gives_the_offline_run() -> None:
    settings = Settings.from_env({})
    assert settings == Settings(workspace=Path.home() / "dicom-workflow")
    assert (settings.archive, settings.orthanc_url, settings.groundtruth_url, settings.s3_url) == ("orthanc", "", "", "")
    assert settings.timeout_seconds == 60.0


def test_every_variable_arrives_in_its_field() -> None:
    settings = Settings.from_env(
        {
            "DICOM_WORKFLOW_WORKSPACE": "/data/work",
            "ARCHIVE": "folder",
            "ORTHANC_URL": "https://pacs.example.org:8042/",
            "ORTHANC_USER": "reader",
            "ORTHANC_PASSWORD": "pa$$word",
            "GROUNDTRUTH_URL": "http://127.0.0.1:8043/",
            "GROUNDTRUTH_ACCESS_KEY": "key",
            "GROUNDTRUTH_SECRET_KEY": "secret key",
            "S3_URL": "http://127.0.0.1:9000",
            "AWS_REGION": "eu-west-1",
            "DICOM_WORKFLOW_CA_BUNDLE": "/etc/ca.pem",
            "DICOM_WORKFLOW_TIMEOUT": "2.5",
            "DICOM_WORKFLOW_DEPLOYMENT": "clinic",
            "GROUNDTRUTH_DATABASE_HOST": "/run/postgresql",
            "GROUNDTRUTH_DATABASE_PASSWORD": "pg",
        }
    )
    assert Settings.from_env(settings.to_environment()) == settings, "and back again"
    assert settings == Settings(
        workspace=Path("/data/work"),
        archive="folder",
        orthanc_url="https://pacs.example.org:8042",
        orthanc_user="reader",
        orthanc_password=Secret("pa$$word"),
        groundtruth_url="http://127.0.0.1:8043",
        groundtruth_access_key="key",
        groundtruth_secret_key=Secret("secret key"),
        s3_url="http://127.0.0.1:9000",
        region="eu-west-1",
        ca_bundle="/etc/ca.pem",
        timeout_seconds=2.5,
        deployment="clinic",
        groundtruth_database=DatabaseAddress("/run/postgresql", password=Secret("pg")),
    )


def test_the_names_of_boto3_are_read_too() -> None:
    settings = Settings.from_env({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000/", "AWS_DEFAULT_REGION": "eu-north-1"})
    assert (settings.s3_url, settings.region) == ("http://127.0.0.1:9000", "eu-north-1")


def test_an_empty_variable_is_one_that_was_not_given() -> None:
    empty = dict.fromkeys(["ARCHIVE", "DICOM_WORKFLOW_WORKSPACE", "DICOM_WORKFLOW_TIMEOUT", "AWS_REGION", "ORTHANC_URL"], "")
    assert Settings.from_env(empty) == Settings.from_env({})


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORTHANC_USER", "somebody")
    assert Settings.from_env().orthanc_user == "somebody"


def test_a_dot_env_file_fills_what_the_environment_leaves_open() -> None:
    Path(".env").write_text("ORTHANC_USER=from file\nARCHIVE=folder\nORTHANC_PASSWORD='a${b}#c'\nNOT_GIVEN\n")
    settings = Settings.from_env({"ORTHANC_USER": "from environment"})
    assert (settings.orthanc_user, settings.archive) == ("from environment", "folder")
    assert settings.orthanc_password.reveal() == "a${b}#c"


def test_a_byte_order_mark_does_not_hide_the_first_variable() -> None:
    Path(".env").write_bytes(b"\xef\xbb\xbfORTHANC_USER=reader\n")
    assert Settings.from_env({}).orthanc_user == "reader"


def test_an_env_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"stack\.env: there is no such file of NAME=value lines"):
        Settings.from_env({}, env_file=tmp_path / "stack.env")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ARCHIVE", "pacs", "ARCHIVE: expected one of orthanc, dicomweb, folder, got 'pacs'"),
        ("ORTHANC_URL", "pacs:8042", r"ORTHANC_URL: expected an http\(s\):// URL, got 'pacs:8042'"),
        ("ORTHANC_URL", "http://", r"ORTHANC_URL: expected an http\(s\):// URL, got 'http:'"),
        ("ORTHANC_URL", "http://[::1", r"ORTHANC_URL: expected an http\(s\):// URL"),
        ("ORTHANC_URL", "http://pacs:80420", r"ORTHANC_URL: expected an http\(s\):// URL"),
        ("S3_URL", "s3://bucket", r"S3_URL: expected an http\(s\):// URL"),
        ("GROUNDTRUTH_URL", "AWS", r"GROUNDTRUTH_URL: expected an http\(s\):// URL or 'aws', got 'AWS'"),
        ("DICOM_WORKFLOW_TIMEOUT", "a minute", "DICOM_WORKFLOW_TIMEOUT: expected a number of seconds, got 'a minute'"),
        ("DICOM_WORKFLOW_TIMEOUT", "0", "expected a number of seconds above 0, got 0.0"),
        ("DICOM_WORKFLOW_TIMEOUT", "nan", "expected a number of seconds above 0, got nan"),
        ("DICOM_WORKFLOW_TIMEOUT", "inf", "expected a number of seconds above 0, got inf"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_its_name(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_env({name: value})


@pytest.mark.parametrize("url", ["http://reader:hunter2@pacs:8042", "reader:hunter2@pacs", "https://reader:hun/ter2@pacs"])
@pytest.mark.parametrize("name", ["ORTHANC_URL", "S3_URL", "GROUNDTRUTH_URL"])
def test_a_password_inside_a_url_is_refused_and_not_repeated(name: str, url: str) -> None:
    with pytest.raises(SettingsError, match="holds a user or password") as caught:
        Settings.from_env({name: url})
    assert "hun" not in str(caught.value)


def test_ground_truth_of_aws_is_named_aws() -> None:
    assert Settings.from_env({"GROUNDTRUTH_URL": "aws"}).groundtruth_url == "aws"


def test_no_text_made_of_settings_shows_a_secret() -> None:
    settings = Settings(Path("/w"), orthanc_password=Secret("hunter2"), groundtruth_secret_key=Secret("hunter2"))
    shown = [repr(settings), str(settings), f"{settings}", repr(dataclasses.asdict(settings)), repr(vars(settings))]
    shown += [f"{settings.orthanc_password}", str(settings.orthanc_password), repr(settings.orthanc_password)]
    assert not any("hunter2" in text for text in shown)
    assert "orthanc_password=Secret('***')" in repr(settings)
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(dataclasses.asdict(settings))


def test_a_secret_gives_its_value_to_the_one_who_asks() -> None:
    secret = Secret("hunter2")
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2") != Secret("other")
    assert secret != "hunter2"
    assert len({secret, Secret("hunter2")}) == 1


def test_a_secret_goes_to_a_worker_process_and_back() -> None:
    assert pickle.loads(pickle.dumps(Secret("hunter2"))).reveal() == "hunter2"  # noqa: S301 - our own bytes
    assert copy.deepcopy(Secret("hunter2")) == Secret("hunter2")


def test_an_empty_secret_is_false() -> None:
    assert not Secret()
    assert Secret("x")
    assert repr(Secret()) == "Secret('')"


def test_settings_are_changed_by_copy() -> None:
    settings = Settings(Path("/w"))
    assert settings.with_(archive="folder").archive == "folder"
    assert settings.archive == "orthanc"
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.archive = "folder"  # type: ignore[misc]
    with pytest.raises(SettingsError, match="ARCHIVE"):
        settings.with_(archive="")


def test_every_error_is_a_workflow_error_and_stands_in_the_drawn_tree() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and value.__module__ == errors.__name__]
    assert len(classes) > 20
    assert all(issubclass(each, WorkflowError) for each in classes)
    drawn = errors.__doc__ or ""
    assert not [each.__name__ for each in classes if each.__name__ not in drawn]
