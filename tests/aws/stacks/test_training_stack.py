"""The training stack: an endpoint only where there is a model; its scaling, logs, alarms and rights all mean that endpoint."""

from __future__ import annotations

from typing import Any

import pytest
from support.stack_evaluator import ACCOUNT, Evaluation
from support.templates import GIVEN, REGION, template

NAME = "dicom-workflow-training"
GIVEN_HERE = {
    "KeyArn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0",
    "ArtifactsBucket": "artifacts",
    "LogsBucket": "logs",
    "VpcId": "vpc-0a",
    "PrivateSubnetIds": "subnet-0a,subnet-0b",
    "InferenceContextKey": GIVEN["InferenceContextKey"],
}
MODEL = {name: GIVEN[name] for name in ("ModelDataUri", "InferenceImage")}
OF_THE_ENDPOINT = {
    *("EndpointLogs", "Model", "EndpointConfiguration", "Endpoint", "EndpointScale", "EndpointScaling"),
    *("EndpointErrors", "EndpointLatency"),
}


def stack(**chosen: str) -> Evaluation:
    return Evaluation(template("training"), GIVEN_HERE | chosen, NAME)


def properties(trial: Evaluation, name: str) -> dict[str, Any]:
    found: dict[str, Any] = trial.resources[name]["Properties"]
    return found


def test_without_a_model_there_is_everything_but_an_endpoint() -> None:
    without, whole = stack(), stack(**MODEL)
    assert whole.resources.keys() - without.resources.keys() == OF_THE_ENDPOINT
    assert whole.outputs.keys() - without.outputs.keys() == {"EndpointName"}


def test_a_model_without_an_image_is_refused_and_makes_nothing() -> None:
    trial = stack(ModelDataUri=MODEL["ModelDataUri"])
    assert trial.refused() == ["ModelDataUri requires InferenceImage, the image that serves the model."]
    assert not OF_THE_ENDPOINT & trial.resources.keys()


def test_scaling_logs_and_alarms_are_those_of_the_endpoint() -> None:
    trial = stack(**MODEL)
    name = properties(trial, "Endpoint")["EndpointName"]
    (variant,) = properties(trial, "EndpointConfiguration")["ProductionVariants"]
    scaled = template("training")["Resources"]["EndpointScale"]["Properties"]["ResourceId"]
    assert scaled == {"Fn::Sub": f"endpoint/${{Endpoint.EndpointName}}/variant/{variant['VariantName']}"}
    assert template("training")["Outputs"]["EndpointName"]["Value"] == {"Fn::GetAtt": ["Endpoint", "EndpointName"]}
    # SageMaker writes to this name, and would make a group without key or end of its own accord.
    assert properties(trial, "EndpointLogs")["LogGroupName"] == f"/aws/sagemaker/Endpoints/{name}"
    assert trial.resources["Endpoint"]["DependsOn"] == "EndpointLogs"
    for alarm in ("EndpointErrors", "EndpointLatency"):
        dimensions = {entry["Name"]: entry["Value"] for entry in properties(trial, alarm)["Dimensions"]}
        assert dimensions == {"EndpointName": name, "VariantName": variant["VariantName"]}


def test_what_is_captured_is_encrypted_lies_where_the_role_may_write_and_ends() -> None:
    trial = stack(**MODEL, CaptureDays="30")
    capture = properties(trial, "EndpointConfiguration")["DataCaptureConfig"]
    bucket = trial.physical_name("TrainingBucket")
    assert capture["DestinationS3Uri"] == f"s3://{bucket}/capture"
    assert capture["KmsKeyId"] == properties(trial, "EndpointConfiguration")["KmsKeyId"] == GIVEN_HERE["KeyArn"]
    statements = properties(trial, "TrainingRole")["Policies"][0]["PolicyDocument"]["Statement"]
    (written,) = (entry["Resource"] for entry in statements if entry["Sid"] == "WriteOutputs")
    assert f"arn:aws:s3:::{bucket}/capture/*" in written
    ends = {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules(trial) if "ExpirationInDays" in rule}
    assert ends["capture/"] == "30"


def rules(trial: Evaluation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = properties(trial, "TrainingBucket")["LifecycleConfiguration"]["Rules"]
    return found


def test_no_rule_of_the_bucket_ends_a_model_or_a_channel() -> None:
    ended = {rule.get("Prefix", "") for rule in rules(stack()) if "ExpirationInDays" in rule}
    assert ended == {"checkpoints/", "capture/"}


def test_nothing_is_captured_when_nobody_wants_it() -> None:
    assert "DataCaptureConfig" not in properties(stack(**MODEL, CapturePercent="0"), "EndpointConfiguration")


@pytest.mark.parametrize(("in_vpc", "stands_there"), [("true", True), ("false", False)])
def test_the_container_has_no_network_wherever_it_stands(in_vpc: str, stands_there: bool) -> None:
    model = properties(stack(**MODEL, JobsInVpc=in_vpc), "Model")
    assert model["EnableNetworkIsolation"] is True
    assert ("VpcConfig" in model) is stands_there


def test_a_new_model_that_makes_errors_is_rolled_back() -> None:
    trial = stack(**MODEL)
    (alarm,) = properties(trial, "Endpoint")["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]
    assert alarm["AlarmName"] == trial.physical_name("EndpointErrors")
    # An alarm that waited for the endpoint could not be named by it.
    assert "Endpoint." not in str(template("training")["Resources"]["EndpointErrors"])
