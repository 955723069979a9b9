"""What leaves this machine is complete, holds nothing else, and SageMaker is asked for exactly the job that was meant."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from support.learning import LABELS, write_channel
from support.sagemaker import INSTANCE, Container, channels_of
from support.stack_foundation import ROLE

from dicom_workflow.aws.packaging import LAMBDA_KINDS, build_lambda_zip, modules_of, stage_source
from dicom_workflow.aws.training_jobs import (
    TRAINING_FRAMEWORK,
    TrainingJob,
    TrainingRequest,
    as_it_arrives,
    checked,
    submit_training,
)
from dicom_workflow.errors import DeployError
from dicom_workflow.formats.answers import Answer, LabelState
from dicom_workflow.learning.model import bundle, bundle_archive
from dicom_workflow.learning.training import tracking
from dicom_workflow.learning.training.script_run import METRIC_DEFINITIONS
from dicom_workflow.pipeline import training
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage

ORTHANC_ID = "-".join(["0123abcd"] * 5)
LAMBDA_FILES = [
    "dicom_workflow/__init__.py",
    "dicom_workflow/errors.py",
    "dicom_workflow/formats/__init__.py",
    "dicom_workflow/formats/answers.py",
    "dicom_workflow/formats/ground_truth.py",
    "dicom_workflow/formats/json_schema.py",
    "dicom_workflow/formats/label_sets/chest.json",
    "dicom_workflow/formats/labels.py",
    "dicom_workflow/formats/object_reference.py",
    "dicom_workflow/formats/schemas/answer.schema.json",
    "dicom_workflow/labeling/__init__.py",
    "dicom_workflow/labeling/consolidation.py",
    "dicom_workflow/labeling/lambda_handlers.py",
    "dicom_workflow/labeling/tasks/__init__.py",
    "dicom_workflow/labeling/tasks/protocol.py",
    "dicom_workflow/labeling/tasks/radiograph/__init__.py",
    "dicom_workflow/labeling/tasks/radiograph/task.py",
    "dicom_workflow/labeling/tasks/registry.py",
    "lambda_function.py",
]


def bare_python(code: str, folder: Path) -> str:
    """What a Python without site-packages, environment or this project prints."""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- Lambda packages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LAMBDA_KINDS)
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
        "dicom_workflow/errors.py",
        "dicom_workflow/formats/__init__.py",
        "dicom_workflow/formats/answers.py",
        "dicom_workflow/formats/ground_truth.py",
        "dicom_workflow/formats/json_schema.py",
        "dicom_workflow/formats/labels.py",
        "dicom_workflow/labeling/__init__.py",
        "dicom_workflow/labeling/consolidation.py",
    ]


def test_the_staged_script_runs_without_the_checkout(tmp_path: Path) -> None:
    staged = stage_source(tmp_path / "source")
    assert (staged / "requirements.txt").is_file()
    assert not list((staged / "dicom_workflow" / "labeling").rglob("*.py")), "of labeling only the schema of answers travels"

    def run(*arguments: str) -> str:
        command, environment = [sys.executable, *arguments], {**os.environ, "PYTHONPATH": ""}
        done = subprocess.run(command, cwd=staged, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    where = run("-c", "import monai_dicom, inference, dicom_workflow; print(dicom_workflow.__file__)")
    assert Path(where).is_relative_to(staged)
    assert "--batch_size" in run("monai_dicom.py", "--help")


NOT_IN_CONTAINERS = {
    "torch": "the container's own",
    "numpy": "the container's own",
    "mlflow": "added for runs that track with it",
    "dotenv": "settings are read at home",
    "botocore": "comes with boto3",
    "highdicom": "structured reports are written outside of containers",
}


def test_the_containers_requirements_name_every_package_that_staged_modules_import(tmp_path: Path) -> None:
    staged = stage_source(tmp_path / "source")
    imported = set()
    for path in staged.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            imported |= {name.partition(".")[0] for name in names}
    imported -= {*sys.stdlib_module_names, *NOT_IN_CONTAINERS, "dicom_workflow"}
    text = (staged / "requirements.txt").read_text()
    named = set(re.findall(r"^[a-z0-9-]+", text, flags=re.MULTILINE))
    assert {name.replace("PIL", "pillow").replace("gdcm", "python-gdcm") for name in imported} <= named
    assert not named & {"torch", "torchvision", "numpy"}


def test_a_run_that_is_tracked_gets_the_packages_for_it(tmp_path: Path) -> None:
    staged = stage_source(tmp_path / "source", requirements=tracking.requirements("mlflow,tensorboard"))
    assert (staged / "requirements.txt").read_text().splitlines()[-2:] == ["tensorboard>=2.18,<3", "mlflow>=3.5,<4"]


def test_a_folder_with_files_is_not_staged_over(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DeployError, match=r"is not empty\. Choose a new or empty folder"):
        stage_source(tmp_path)


# ---- Training on SageMaker --------------------------------------------------------------------------------------------------

ASKED = {"role": ROLE, "channel_uri": "s3://sagemaker-runs/channel", "output_uri": "s3://sagemaker-runs/models"}
SENT = {
    "epochs": 3,
    "learning_rate": 1e-3,
    "progress": False,
    "mode": "multi-label",
    "commit": 'a "quoted" $HOME \\ `text` of two\nlines, é',
    "size_px": None,
}


Submit = Callable[..., tuple[TrainingJob, dict[str, Any]]]


@pytest.fixture
def submit(aws_bucket: Any, asked: list[tuple[str, dict[str, Any]]], tmp_path: Path) -> Submit:
    """Submits a job to the AWS of the test, and returns it and what SageMaker was asked for."""

    def submit(**changes: Any) -> tuple[TrainingJob, dict[str, Any]]:
        job = submit_training(Settings(tmp_path, region="us-east-1"), TrainingRequest.parse({**ASKED, **changes}))
        [sent] = [parameters for operation, parameters in asked if operation == "CreateTrainingJob"]
        return job, sent

    return submit


def test_sagemaker_is_asked_for_exactly_this_training_job(submit: Submit, aws_bucket: Any) -> None:
    job, sent = submit(hyperparameters={**SENT, "commit": None}, job_name="chest", tags={"project": "chest"})
    assert job.name.startswith("chest-")
    assert job.model_uri == f"s3://sagemaker-runs/models/{job.name}/output/model.tar.gz"
    assert sent["OutputDataConfig"]["S3OutputPath"] == "s3://sagemaker-runs/models"
    assert job.output_uri == f"s3://sagemaker-runs/models/{job.name}/output/output.tar.gz"
    assert sent["HyperParameters"] == {"epochs": "3", "learning_rate": "0.001", "progress": "false", "mode": "multi-label"}
    assert sent["RoleArn"] == ROLE
    assert sent["EnableManagedSpotTraining"] is True
    assert sent["EnableNetworkIsolation"] is False
    assert sent["StoppingCondition"] == {"MaxRuntimeInSeconds": 14400, "MaxWaitTimeInSeconds": 28800}
    assert sent["CheckpointConfig"] == {"S3Uri": job.checkpoint_uri, "LocalPath": "/opt/ml/checkpoints"}
    assert job.name in job.checkpoint_uri
    assert sent["AlgorithmSpecification"]["TrainingImage"].endswith("/pytorch:2.13-cu133-amzn2023-sagemaker")
    assert sent["AlgorithmSpecification"]["MetricDefinitions"] == [*METRIC_DEFINITIONS]
    channels = channels_of(sent)
    assert channels["train"] == "s3://sagemaker-runs/channel/"
    staged = {item["Key"] for item in aws_bucket.list_objects_v2(Bucket="sagemaker-runs")["Contents"]}
    code = channels["code"].removeprefix("s3://sagemaker-runs/").rstrip("/")
    for name in ("monai_dicom.py", "requirements.txt", "dicom_workflow/learning/data/images.py"):
        assert f"{code}/{name}" in staged
    assert [bucket["Name"] for bucket in aws_bucket.list_buckets()["Buckets"]] == ["sagemaker-runs"]
    assert sent["Tags"] == [{"Key": "project", "Value": "chest"}]


def test_machines_network_keys_and_variables_are_those_asked_for(submit: Submit) -> None:
    _, sent = submit(
        instance_type="ml.c6i.2xlarge",
        instance_count=2,
        volume_gb=99,
        spot=False,
        subnets=["subnet-1", "subnet-2"],
        security_group_ids=["sg-1"],
        volume_kms_key="arn:aws:kms:us-east-1:123456789012:key/a",
        output_kms_key="arn:aws:kms:us-east-1:123456789012:key/b",
        encrypt_traffic=True,
        environment={"MLFLOW_TRACKING_URI": "https://mlflow.example.org"},
    )
    assert sent["ResourceConfig"] == {
        "InstanceType": "ml.c6i.2xlarge",
        "InstanceCount": 2,
        "VolumeSizeInGB": 99,
        "VolumeKmsKeyId": "arn:aws:kms:us-east-1:123456789012:key/a",
    }
    assert sent["VpcConfig"] == {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1", "subnet-2"]}
    assert sent["OutputDataConfig"]["KmsKeyId"].endswith("key/b")
    assert sent["EnableInterContainerTrafficEncryption"] is True
    assert sent["EnableManagedSpotTraining"] is False
    assert sent["StoppingCondition"] == {"MaxRuntimeInSeconds": 14400}
    assert sent["Environment"] == {"MLFLOW_TRACKING_URI": "https://mlflow.example.org"}
    assert sent["AlgorithmSpecification"]["TrainingImage"].endswith("/pytorch:2.13-cpu-amzn2023-sagemaker")


def test_torch_of_the_training_image_is_the_one_the_project_requires() -> None:
    assert TRAINING_FRAMEWORK[1] == version("torch").rpartition(".")[0]


@pytest.mark.parametrize(
    ("changes", "is_distributed"),
    [
        ({"instance_type": "ml.c6i.2xlarge"}, False),
        ({"instance_type": "ml.c6i.2xlarge", "instance_count": 2}, True),
        ({"instance_type": "ml.c6i.2xlarge", "processes_per_instance": 4}, True),
        ({"instance_type": "ml.p5.48xlarge"}, True),
        ({"instance_type": "ml.g5.xlarge", "processes_per_instance": 1}, False),
    ],
)
def test_torchrun_starts_the_script_where_there_may_be_several_processes(changes: dict[str, Any], is_distributed: bool) -> None:
    assert TrainingRequest.parse({**ASKED, **changes}).is_distributed is is_distributed


# What stands in for the training script in a container: it says which settings the real one would have run with.
PROBE = """
import json, os, sys
import real_script
settings = real_script.parse(None, os.environ).__dict__
print("settings", os.environ.get("RANK", "-"), json.dumps(settings, default=str), flush=True)
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_the_sdks_own_start_script_hands_the_settings_over_as_they_were_meant(
    processes: int, submit: Submit, aws_bucket: Any, tmp_path: Path
) -> None:
    _, sent = submit(hyperparameters=SENT, instance_type=INSTANCE, processes_per_instance=processes)
    container = Container(tmp_path / "ml", sent, Storage(Settings(tmp_path, region="us-east-1"), client=aws_bucket))
    shutil.move(container.code / "monai_dicom.py", container.code / "real_script.py")
    (container.code / "monai_dicom.py").write_text(PROBE)
    done = container.start()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    said = [line.split(" ", 2)[1:] for line in done.stdout.splitlines() if line.startswith("settings ")]
    assert sorted(rank for rank, _ in said) == (["-"] if processes == 1 else ["0", "1"])
    for _, text in said:
        settings = json.loads(text)
        assert {name: settings[name] for name in SENT if name != "size_px"} == {
            name: value for name, value in SENT.items() if name != "size_px"
        }
        assert settings["channel"] == str(container.data / "train")
        assert settings["model_dir"] == str(container.folder / "model")
        assert settings["resume"] is True


@pytest.mark.e2e
@pytest.mark.parametrize("processes", [1, 2])
def test_a_training_job_gives_back_what_training_here_does(
    processes: int,
    aws: str,
    aws_bucket: Any,
    asked: list[tuple[str, dict[str, Any]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the channel to the figures: only the machine, which SageMaker would lend, is this one."""
    settings = Settings(tmp_path, region="us-east-1", s3_url=aws)
    storage, said = Storage(settings, client=aws_bucket), []
    write_channel(tmp_path / "channel")

    def machine(_: Settings, job_name: str, *, poll_seconds: float) -> None:
        [sent] = [parameters for operation, parameters in asked if operation == "CreateTrainingJob"]
        container = Container(tmp_path / "ml", sent, storage)
        done = container.start()
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        said.append(done.stdout)
        for name, folder in (("model", "model"), ("output", "output/data")):
            storage.write_bytes(f"s3://sagemaker-runs/models/{job_name}/output/{name}.tar.gz", container.pack(folder))

    monkeypatch.setattr(training, "wait", machine)
    flags = {"epochs": 2, "size_px": 32, "batch_size": 8, "microbatches": 2, "resamples": 0, "threads": 1, "seed": 3}
    there = training.train(
        settings,
        tmp_path / "channel",
        tmp_path / "there",
        train_on="sagemaker",
        role_arn=ROLE,
        channel_uri="s3://sagemaker-runs/sent",
        model_uri="s3://sagemaker-runs/models",
        instance_type=INSTANCE,
        flags=flags,
        job={"processes_per_instance": processes},
    )
    here = training.train(settings, tmp_path / "channel", tmp_path / "here", flags=flags)
    losses = [[line["train_loss"] for line in run.history] for run in (there, here)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4 if processes > 1 else 1e-6)
    assert there.evaluation.split == here.evaluation.split == "test"
    packed = tmp_path / "model.tar.gz"
    packed.write_bytes(storage.read_bytes(there.model_uri))
    assert bundle.load(bundle_archive.unpack_model(packed, tmp_path / "model")).labels == LABELS
    for metric in METRIC_DEFINITIONS[:4]:
        assert len(re.findall(metric["Regex"], said[0], re.MULTILINE)) == 2, metric


@pytest.mark.parametrize(
    ("value", "arrives"),
    [(True, "true"), (3, "3"), (1e-5, "1e-05"), ("1e-3", "0.001"), ("7e10", "70000000000.0"), ('"x"', "x"), ("a b", "a b")],
)
def test_what_becomes_of_a_value_on_the_way_is_known(value: Any, arrives: str) -> None:
    assert as_it_arrives(value) == arrives
    assert bool(checked({"name": value})[1]) is (isinstance(value, str) and value != arrives)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hyperparameters": {"commit": "it's"}}, "commit: expected no apostrophe"),
        (
            {"hyperparameters": {"commit": "7e10"}},
            "commit: expected a string that .* got '7e10', which arrives as '70000000000.0'",
        ),
        ({"hyperparameters": {"normalization": "-1,2"}}, "normalization: expected no leading hyphen"),
        ({"hyperparameters": {"batch-size": 1}}, "'batch-size': expected a name of letters, digits and underscores"),
        ({"hyperparameters": {"labels": ["a"]}}, "labels: expected a string, number or boolean, got list"),
        ({"hyperparameters": {"x": "y" * 2501}}, "hyperparameters x: expected at most 2500, got 'yyy"),
        ({"hyperparameters": {f"x{n}": n for n in range(101)}}, "hyperparameters: expected at most 100, got 101"),
        ({"channel_uri": "file:///channel"}, "channel_uri: expected an s3:// folder, got 'file:///channel'"),
        ({"output_uri": "runs"}, "output_uri: expected an s3:// folder"),
        ({"role": "training"}, "role: expected an ARN"),
        ({"role": ""}, "no value for role, which is required"),
        ({"job_name": "a_b"}, "job_name: expected letters, digits and inner hyphens, at most 63"),
        ({"job_name": "a" * 49}, "job_name: expected letters, digits and inner hyphens, at most 63"),
        ({"instance_type": "g5.xlarge"}, "instance_type: expected an instance type like ml.g5.xlarge"),
        ({"instance_count": 0}, "instance_count: expected at least 1, got 0"),
        ({"max_wait_seconds": 60}, "max_wait_seconds: expected at least 14400, got 60"),
        ({"subnets": ["subnet-1"]}, "subnets and security_group_ids: expected both or neither"),
        ({"subnets": ["1"], "security_group_ids": ["sg-1"]}, "subnets: expected identifiers like subnet-0123abcd, got '1'"),
        ({"image": "pytorch"}, "image: expected REGISTRY/NAME:TAG"),
        ({"instances": 2}, r"TrainingRequest has no field 'instances'\. Its fields are .*instance_count"),
    ],
)
def test_a_training_job_that_could_not_run_is_not_asked_for(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeployError, match=message):
        TrainingRequest.parse({**ASKED, **changes})


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(DeployError) as raised:
        TrainingRequest(role="x", channel_uri="y", output_uri="s3://bucket/models", instance_count=0)
    assert [what.partition(":")[0] for what in re.split(r"[.;] (?=[a-z_]+:)", str(raised.value))] == [
        "training job", "channel_uri", "instance_count",
    ]  # fmt: skip
