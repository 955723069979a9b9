"""The Lambda packages as Lambda has them: the same bytes from every machine, and answers on the runtime's own Python.

The events are Ground Truth's: as its documentation prints them, and as captured ones differ from that (another `version`,
`outputConfig`, `kmsKeyId`, `labelCategories` null, answers behind an `s3Uri`, several batches of one worker).
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from support.stack_foundation import aws_server
from support.templates import template

from dicom_workflow.aws.packaging import LAMBDA_HANDLER, LAMBDA_KINDS, build_lambda_zip

ORTHANC_ID = "502b0a4b-5cb43965-7f092716-bd6fe6d6-4f7fc3ce"
BUCKET = "labeling"
JOB = "arn:aws:sagemaker:us-east-1:111122223333:labeling-job/my-job"
FOLDER = f"s3://{BUCKET}/jobs/my-job/annotations"
BATCH = f"{FOLDER}/consolidated-annotation/consolidation-request/iteration-1/2026-11-21_08:56:48.json"
PACKAGES_OF_THE_RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six")
FUNCTIONS = {"pre_annotation": "PreAnnotation", "post_annotation": "PostAnnotation"}
SECRETS = ("MRN-4711", "Doe^Jane", "suspicious mass in the left lung", "private.us-east-1.ef7294f850a3d9d1")
"""What events and answers of these tests hold and no log may."""


def runtime() -> str:
    """The Python that the template asks Lambda for, as `3.13`; the same for both functions."""
    functions = [template("labeling")["Resources"][name]["Properties"] for name in FUNCTIONS.values()]
    (found,) = {str(function["Runtime"]).removeprefix("python") for function in functions}
    return found


def interpreter(version: str) -> str | None:
    """A Python of a version, wherever this machine keeps it."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    folders = [Path(entry) for entry in os.get_exec_path()]
    folders += sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin"))
    for folder in folders:
        path = folder / f"python{version}"
        # pyenv leaves a shim for every version; those that are not chosen only say so.
        if path.is_file() and subprocess.run([path, "-c", ""], capture_output=True, check=False, timeout=60).returncode == 0:
            return str(path)
    return None


@pytest.fixture(scope="module", params=["the runtime's", "this one"])
def python(request: pytest.FixtureRequest) -> str:
    version = runtime() if request.param == "the runtime's" else f"{sys.version_info.major}.{sys.version_info.minor}"
    found = interpreter(version)
    if found is None:
        pytest.skip(f"there is no Python {version} on this machine")
    return found


@pytest.fixture(scope="module")
def runtime_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with boto3 and what it needs, and nothing else: what Lambda adds to the standard library."""
    folder = tmp_path_factory.mktemp("runtime")
    for name in PACKAGES_OF_THE_RUNTIME:
        found = importlib.util.find_spec(name)
        assert found is not None and found.origin is not None
        source = Path(found.origin)
        source = source.parent if source.name == "__init__.py" else source
        (folder / source.name).symlink_to(source)
    return folder


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with aws_server() as url:
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
        client.create_bucket(Bucket=BUCKET)
        for uri, text in objects().items():
            client.put_object(Bucket=BUCKET, Key=uri.removeprefix(f"s3://{BUCKET}/"), Body=text.encode())
        client.close()
        yield url


def said(**labels: str) -> str:
    """What the page sends: the answer is a text within a text."""
    answer = {"labels": labels, "comment": SECRETS[2]}
    return json.dumps({"annotation": json.dumps(answer)})


def objects() -> dict[str, str]:
    """The batch that Ground Truth leaves on S3, and an answer that was too large for it."""
    stored = f"{FOLDER}/worker-response/large.json"
    batch = [
        {
            "datasetObjectId": "0",
            "dataObject": {"content": ORTHANC_ID},
            "annotations": [
                {"workerId": SECRETS[3], "annotationData": {"content": said(Edema="positive")}},
                {"workerId": "private.us-east-1.0000000000000002", "annotationData": {"s3Uri": stored}},
                {"workerId": "private.us-east-1.0000000000000003", "annotationData": {"content": f'"{SECRETS[1]}"'}},
            ],
        },
        {"datasetObjectId": "1", "dataObject": {"s3Uri": f"s3://{BUCKET}/images/1.dcm"}, "annotations": []},
    ]
    return {BATCH: json.dumps(batch), stored: said(Edema="positive", Fracture="negative")}


def post_event(**more: Any) -> dict[str, Any]:
    documented = {
        "version": "2018-10-16",
        "labelingJobArn": JOB,
        "labelCategories": ["Edema", "Fracture"],
        "labelAttributeName": "findings",
        "roleArn": "arn:aws:iam::111122223333:role/exec",
        "payload": {"s3Uri": BATCH},
    }
    return documented | more


PRE_EVENTS = {
    "as documented": {"version": "2018-10-16", "labelingJobArn": JOB},
    "as captured": {"version": "2018-10-06", "labelingJobArn": JOB},
}
POST_EVENTS = {
    "as documented": post_event(),
    "as captured": post_event(version="2018-10-06", outputConfig=FOLDER, kmsKeyId="0123-45", labelCategories=None),
}


def invoke(
    python: str, zipped: Path, event: object, *, packages: Path | None = None, environment: dict[str, str] | None = None
) -> tuple[Any, str]:
    """What the package answers to an event, as Lambda would ask it, and all that it wrote besides.

    Isolated (`-I -S`): no site-packages, no environment, no folder but the package's and, where given, the runtime's. The
    root logger takes everything, as one does who looks for a fault.
    """
    module, handler = LAMBDA_HANDLER.split(".")
    code = (
        "import json, logging, os, sys\n"
        f"sys.pycache_prefix = {str(zipped.parent / 'compiled')!r}\n"
        f"sys.path[:0] = {[str(zipped), *([str(packages)] if packages else [])]!r}\n"
        f"os.environ.update({environment or {}!r})\n"
        "logging.basicConfig(level=logging.DEBUG)\n"
        "for loud in ('botocore', 'urllib3', 's3transfer'): logging.getLogger(loud).setLevel(logging.INFO)\n"
        f"import {module}\n"
        f"answer = {module}.{handler}(json.load(sys.stdin), None)\n"
        "print('ANSWER' + json.dumps(answer))\n"
    )
    done = subprocess.run(
        [python, "-I", "-S", "-c", code], input=json.dumps(event), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    printed, _, answer = done.stdout.rpartition("ANSWER")
    return json.loads(answer), printed + done.stderr


@pytest.fixture(scope="module", params=LAMBDA_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("packages")
    found = {name: folder / f"{name}.zip" for name in LAMBDA_KINDS}
    for name, path in found.items():
        path.write_bytes(build_lambda_zip(name))
    return found


# ---- The same bytes ---------------------------------------------------------------------------------------------------------


def test_every_machine_builds_the_same_bytes(tmp_path: Path) -> None:
    build = (
        "import hashlib; from dicom_workflow.aws.packaging import LAMBDA_KINDS, build_lambda_zip; "
        "print(*(hashlib.sha256(build_lambda_zip(kind)).hexdigest() for kind in LAMBDA_KINDS))"
    )
    root = Path(__file__).parents[2]
    machines = [
        {"TZ": "UTC", "LC_ALL": "C", "PYTHONHASHSEED": "0"},
        {"TZ": "Pacific/Kiritimati", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "4711", "umask": "077"},
        {"TZ": "America/Caracas", "LC_ALL": "POSIX", "PYTHONHASHSEED": "1", "SOURCE_DATE_EPOCH": "1", "umask": "000"},
    ]
    built = set()
    for number, machine in enumerate(machines):
        umask = machine.pop("umask", "022")
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(root), **machine}
        where = tmp_path / str(number)
        where.mkdir()
        command = ["/bin/sh", "-c", f'umask {umask}; exec "$0" -c "$1"', sys.executable, build]
        done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=120, check=True)
        built.add(done.stdout)
    assert len(built) == 1
    assert len(set(built.pop().split())) == len(LAMBDA_KINDS)


def test_a_package_has_nothing_of_the_machine_that_built_it(packages: dict[str, Path], kind: str) -> None:
    with zipfile.ZipFile(packages[kind]) as archive:
        members = archive.infolist()
        texts = b"".join(archive.read(member) for member in members)
        assert archive.testzip() is None
    assert {member.date_time for member in members} == {(1980, 1, 1, 0, 0, 0)}
    assert {member.compress_type for member in members} == {zipfile.ZIP_STORED}  # zlib's output depends on its version
    assert {member.create_system for member in members} == {3}
    assert {member.external_attr for member in members} == {0o644 << 16}
    assert [member.filename for member in members] == sorted(member.filename for member in members)
    assert str(Path(__file__).parents[2]).encode() not in texts


def test_a_package_runs_on_any_processor(packages: dict[str, Path], kind: str) -> None:
    """The functions are arm64, and whoever builds the package may not be."""
    with zipfile.ZipFile(packages[kind]) as archive:
        assert {Path(name).suffix for name in archive.namelist()} == {".py", ".json"}
    assert template("labeling")["Resources"][FUNCTIONS[kind]]["Properties"]["Architectures"] == ["arm64"]


# ---- On the runtime ---------------------------------------------------------------------------------------------------------


def test_the_template_names_the_handler_that_the_package_has(packages: dict[str, Path], kind: str) -> None:
    assert template("labeling")["Resources"][FUNCTIONS[kind]]["Properties"]["Handler"] == LAMBDA_HANDLER
    module, handler = LAMBDA_HANDLER.split(".")
    with zipfile.ZipFile(packages[kind]) as archive:
        assert f"import {kind} as {handler}" in archive.read(f"{module}.py").decode()


@pytest.mark.parametrize("event", PRE_EVENTS.values(), ids=PRE_EVENTS)
def test_the_pre_annotation_function_answers_with_the_standard_library_alone(
    python: str, packages: dict[str, Path], event: dict[str, Any]
) -> None:
    line = {"source": ORTHANC_ID, "labels": ["Edema", "No Finding"], "patient_id": SECRETS[0], "PatientName": SECRETS[1]}
    environment = {"IMAGES_S3_PREFIX": f"s3://{BUCKET}/images"}
    answer, written = invoke(python, packages["pre_annotation"], event | {"dataObject": line}, environment=environment)
    assert answer == {
        "taskInput": {
            "labels": ["Edema", "No Finding"],
            "image": f"s3://{BUCKET}/images/{ORTHANC_ID}.dcm",
            "source": ORTHANC_ID,
        },
        "isHumanAnnotationRequired": True,
    }
    assert not leaked(written)


@pytest.mark.parametrize("event", POST_EVENTS.values(), ids=POST_EVENTS)
def test_the_post_annotation_function_reads_its_batch_with_the_runtimes_boto3(
    python: str, packages: dict[str, Path], runtime_packages: Path, s3: str, event: dict[str, Any]
) -> None:
    environment = {
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    answer, written = invoke(python, packages["post_annotation"], event, packages=runtime_packages, environment=environment)
    assert [entry["datasetObjectId"] for entry in answer] == ["0", "1"]
    label = answer[0]["consolidatedAnnotation"]["content"]["findings"]
    assert label["labels"]["Edema"]["state"] == "positive"
    assert len(label["annotationsFromAllWorkers"]) == 2
    assert [refused["workerId"][-1] for refused in label["refused"]] == ["3"]
    assert answer[1]["consolidatedAnnotation"]["content"]["findings"]["annotationsFromAllWorkers"] == []
    assert "2 objects, 1 answers refused" in written
    assert not leaked(written)


def leaked(written: str) -> list[str]:
    """What of the events is in the logs."""
    return [text for text in (*SECRETS, ORTHANC_ID, JOB, "s3://") if text in written]


def test_a_line_that_cannot_be_used_is_logged_without_what_it_says(python: str, packages: dict[str, Path]) -> None:
    line = {"source": SECRETS[0], "labels": [SECRETS[1]], "comment": SECRETS[2]}
    answer, written = invoke(python, packages["pre_annotation"], PRE_EVENTS["as documented"] | {"dataObject": line})
    assert answer["isHumanAnnotationRequired"] is False
    assert "one manifest line was not sent" in written
    assert not leaked(written)


def test_no_function_prints(packages: dict[str, Path], kind: str) -> None:
    with zipfile.ZipFile(packages[kind]) as archive:
        sources = {name: archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")}
    assert [name for name, text in sources.items() if re.search(r"^\s*print\(", text, re.MULTILINE)] == []


def test_a_damaged_package_is_noticed(python: str, packages: dict[str, Path], tmp_path: Path) -> None:
    """The check of this file can fail: without one module of the package nothing answers."""
    damaged = tmp_path / "damaged.zip"
    stream = io.BytesIO()
    with zipfile.ZipFile(packages["pre_annotation"]) as whole, zipfile.ZipFile(stream, "w") as archive:
        for name in whole.namelist():
            if not name.endswith("formats/labels.py"):
                archive.writestr(name, whole.read(name))
    damaged.write_bytes(stream.getvalue())
    with pytest.raises(AssertionError, match=r"No module named 'dicom_workflow\.formats\.labels'"):
        invoke(python, damaged, PRE_EVENTS["as documented"])
