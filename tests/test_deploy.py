"""What leaves this machine is complete, holds nothing else, and SageMaker is asked for exactly the job that was meant."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from fixtures_foundation import aws_server

from dicom_workflow import deploy
from dicom_workflow.deploy import build_lambda_zip, modules_of, stage_source, submit_training
from dicom_workflow.errors import DeployError
from dicom_workflow.records import Answer, LabelState
from dicom_workflow.settings import Settings

ORTHANC_ID = "-".join(["0123abcd"] * 5)
LAMBDA_FILES = [
    "dicom_workflow/__init__.py",
    "dicom_workflow/answers.py",
    "dicom_workflow/errors.py",
    "dicom_workflow/labeling/__init__.py",
    "dicom_workflow/labeling/consolidation.py",
    "dicom_workflow/labeling/extras.py",
    "dicom_workflow/labeling/handlers.py",
    "dicom_workflow/labeling/worker_templates/answer.schema.json",
    "dicom_workflow/records.py",
    "dicom_workflow/schema.py",
    "lambda_function.py",
]


def bare_python(code: str, folder: Path) -> str:
    """What a Python without site-packages, environment or this project prints."""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- Lambda packages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", deploy.LAMBDA_KINDS)
def test_a_lambda_package_holds_exactly_its_modules(kind: str) -> None:
    with zipfile.ZipFile(io.BytesIO(build_lambda_zip(kind))) as archive:
        assert archive.namelist() == LAMBDA_FILES
        assert {member.external_attr >> 16 for member in archive.infolist()} == {0o644}


def test_the_pre_annotation_package_answers_in_a_bare_python(tmp_path: Path) -> None:
    (tmp_path / "pre.zip").write_bytes(build_lambda_zip("pre_annotation"))
    event = {"dataObject": {"source": ORTHANC_ID, "labels": "Edema,No Finding", "patient_id": "p"}}
    code = (
        "import sys; sys.path.insert(0, 'pre.zip'); import json, lambda_function as f; "
        f"print(json.dumps(f.lambda_handler({event!r}, None)))"
    )
    assert json.loads(bare_python(code, tmp_path)) == {
        "taskInput": {"labels": ["Edema", "No Finding"], "image": f"orthanc://{ORTHANC_ID}", "source": ORTHANC_ID},
        "isHumanAnnotationRequired": True,
    }


def test_the_post_annotation_package_answers_in_a_bare_python(tmp_path: Path) -> None:
    (tmp_path / "post.zip").write_bytes(build_lambda_zip("post_annotation"))
    content = json.dumps(Answer({"Edema": LabelState.POSITIVE}).to_json())
    batch = [{"datasetObjectId": "0", "annotations": [{"workerId": "w", "annotationData": {"content": content}}]}]
    event = {"labelAttributeName": "findings", "payload": {"s3Uri": "s3://b/k"}}
    code = (
        "import sys; sys.path.insert(0, 'post.zip'); import json, lambda_function as f; "
        f"print(json.dumps(f.lambda_handler({event!r}, None, read=lambda uri: {json.dumps(batch)!r})))"
    )
    (entry,) = json.loads(bare_python(code, tmp_path))
    assert entry["consolidatedAnnotation"]["content"]["findings"]["labels"]["Edema"]["state"] == "positive"


def test_the_same_code_gives_the_same_package() -> None:
    assert build_lambda_zip("pre_annotation") == build_lambda_zip("pre_annotation")
    assert build_lambda_zip("pre_annotation") != build_lambda_zip("post_annotation")
    with pytest.raises(DeployError, match="one of pre_annotation, post_annotation, got 'prelabel'"):
        build_lambda_zip("prelabel")


# ---- Staging ----------------------------------------------------------------------------------------------------------------


def test_modules_are_found_inside_functions_and_through_packages(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os\ndef late():\n    from dicom_workflow.labeling import consolidation\n")
    assert [path.as_posix() for path in modules_of([script])] == [
        "dicom_workflow/__init__.py",
        "dicom_workflow/answers.py",
        "dicom_workflow/errors.py",
        "dicom_workflow/labeling/__init__.py",
        "dicom_workflow/labeling/consolidation.py",
        "dicom_workflow/records.py",
        "dicom_workflow/schema.py",
    ]


def test_the_staged_script_runs_without_the_checkout(tmp_path: Path) -> None:
    staged = stage_source(tmp_path / "source")
    assert (staged / "requirements.txt").is_file()
    assert not (staged / "dicom_workflow" / "labeling").exists()
    def run(*arguments: str) -> str:
        command, environment = [sys.executable, *arguments], {**os.environ, "PYTHONPATH": ""}
        done = subprocess.run(command, cwd=staged, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    where = run("-c", "import monai_dicom, inference, dicom_workflow; print(dicom_workflow.__file__)")
    assert Path(where).is_relative_to(staged)
    assert "--batch_size" in run("monai_dicom.py", "--help")


def test_a_folder_with_files_is_not_staged_over(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DeployError, match="expected an empty folder"):
        stage_source(tmp_path)


# ---- Training on SageMaker --------------------------------------------------------------------------------------------------

ROLE = "arn:aws:iam::123456789012:role/training"
TRUST = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A moto server that every AWS client of this process speaks to."""
    with aws_server() as url:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
            "SAGEMAKER_VALIDATE_ROLE": "false",  # asks IAM what moto does not simulate
        }.items():
            monkeypatch.setenv(name, value)
        yield url


def test_sagemaker_is_asked_for_exactly_this_training_job(aws: str, tmp_path: Path) -> None:
    pytest.importorskip("sagemaker.train")
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket="sagemaker-runs")
    s3.put_object(Bucket="sagemaker-runs", Key="channel/train.manifest", Body=b"{}")
    policy = json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})
    boto3.client("iam", region_name="us-east-1").create_role(RoleName="training", AssumeRolePolicyDocument=policy)
    job = submit_training(
        Settings(tmp_path, region="us-east-1"),
        role=ROLE,
        channel_uri="s3://sagemaker-runs/channel",
        output_uri="s3://sagemaker-runs/models",
        hyperparameters={"epochs": 3, "learning_rate": 1e-3, "progress": False, "mode": "multi-label", "size_px": None},
        job_name="chest",
        tags={"project": "chest"},
    )
    sagemaker = boto3.client("sagemaker", region_name="us-east-1")
    sent: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=job.name)
    assert job.name.startswith("chest-")
    assert job.model_uri == f"s3://sagemaker-runs/models/{job.name}/output/model.tar.gz"
    assert job.model_uri == sent["ModelArtifacts"]["S3ModelArtifacts"]
    assert sent["HyperParameters"] == {"epochs": "3", "learning_rate": "0.001", "progress": "false", "mode": "multi-label"}
    assert sent["RoleArn"] == ROLE
    assert sent["EnableManagedSpotTraining"] is True
    assert sent["StoppingCondition"] == {"MaxRuntimeInSeconds": 14400, "MaxWaitTimeInSeconds": 28800}
    assert sent["CheckpointConfig"] == {"S3Uri": job.checkpoint_uri, "LocalPath": "/opt/ml/checkpoints"}
    assert job.name in job.checkpoint_uri
    assert sent["AlgorithmSpecification"]["TrainingImage"].endswith("/pytorch:2.13-cu133-amzn2023-sagemaker")
    channels = {channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in sent["InputDataConfig"]}
    assert channels["train"] == "s3://sagemaker-runs/channel/"
    staged = {item["Key"] for item in s3.list_objects_v2(Bucket="sagemaker-runs")["Contents"]}
    code = channels["code"].removeprefix("s3://sagemaker-runs/").rstrip("/")
    for name in ("monai_dicom.py", "requirements.txt", "dicom_workflow/learning/dataset.py"):
        assert f"{code}/{name}" in staged
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["sagemaker-runs"]
    assert sagemaker.list_tags(ResourceArn=job.arn)["Tags"] == [{"Key": "project", "Value": "chest"}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hyperparameters": {"commit": "it's"}}, "commit: expected no apostrophe"),
        ({"hyperparameters": {"batch-size": 1}}, "'batch-size': expected a name of letters, digits and underscores"),
        ({"hyperparameters": {"labels": ["a"]}}, "labels: expected a text, number or boolean, got list"),
        ({"hyperparameters": {"x": "y" * 2501}}, "x: expected at most 2500 characters"),
        ({"hyperparameters": {f"x{n}": n for n in range(101)}}, "expected at most 100, got 101"),
        ({"channel_uri": "file:///channel"}, "channel_uri: expected an s3:// folder, got 'file:///channel'"),
        ({"output_uri": "runs"}, "output_uri: expected an s3:// folder"),
        ({"role": "training"}, "role: expected an ARN"),
        ({"job_name": "a_b"}, "job_name: expected at most 40 letters"),
        ({"job_name": "a" * 41}, "job_name: expected at most 40 letters"),
    ],
)
def test_a_training_job_that_could_not_run_is_not_sent(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    asked = {"role": ROLE, "channel_uri": "s3://b/channel", "output_uri": "s3://b/models", **changes}
    with pytest.raises(DeployError, match=message):
        submit_training(Settings(tmp_path), **asked)
