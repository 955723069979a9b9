"""Smoke tests after a deployment: whether the resources of a stack work, not only whether CloudFormation reports success.

The outcome of a check is ``ok``, ``failed``, or ``not reachable from here``: an archive in private subnets cannot be reached
from outside of them, which is not an error.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dicom_workflow.aws.stacks.cloudformation import CloudFormationClient
from dicom_workflow.aws.stacks.stack_state import StackState, plain
from dicom_workflow.formats.answers import Answer, LabelState

OK, FAILED, UNREACHABLE = "ok", "failed", "not reachable from here"

SAMPLE_LINE = {"source": "-".join(["0123abcd"] * 5), "labels": "Fracture,Lung Lesion"}
"""A manifest line of an image that does not exist: the functions process the line and read no image."""

SAMPLE_BATCH = [
    {
        "datasetObjectId": "0",
        "annotations": [
            {
                "workerId": "smoke-check",
                "annotationData": {"content": json.dumps(Answer({"Fracture": LabelState.POSITIVE}).to_json())},
            }
        ],
    }
]
"""The event of Ground Truth for the post-annotation function, with one synthetic answer."""

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Result:
    """The outcome of one check."""

    stack: str
    what: str
    outcome: str
    detail: str = ""

    def row(self) -> tuple[str, ...]:
        """Return stack, description, outcome and detail."""
        return (self.stack, self.what, self.outcome, self.detail)


Found = Iterator[tuple[str, str, str]]
"""Description of the check, outcome, detail."""


def check(cloud: CloudFormationClient, stack: str, state: StackState, *, ca_bundle: str = "") -> list[Result]:
    """Run the checks of one stack and return their outcomes.

    Parameters
    ----------
    cloud : CloudFormationClient
    stack : str
    state : StackState
    ca_bundle : str, optional
        File of trusted certificate authorities for load balancers; the system's when empty.
    """
    checks = _Checks(cloud, state, ca_bundle)
    by_stack: Mapping[str, tuple[Callable[[], Found], ...]] = {
        "foundation": (checks.buckets, checks.key),
        "network": (checks.endpoints,),
        "archive": (checks.buckets, checks.database, checks.archive),
        "labeling": (checks.buckets, checks.functions, checks.team, checks.portal),
        "training": (checks.buckets, checks.model),
        "search": (checks.buckets, checks.database, checks.search),
        "notebook": (checks.notebook,),
    }
    results: list[Result] = []
    for check_ in by_stack.get(stack, ()):
        results += _results(stack, check_)
    return results


def _results(stack: str, run: Callable[[], Found]) -> Iterator[Result]:
    """The results of a check; one that raises an AWS error counts as failed."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        for what, outcome, detail in run():
            yield Result(stack, plain(what), outcome, plain(detail))
    except (ClientError, BotoCoreError) as error:
        yield Result(stack, f"checking {run.__name__}", FAILED, plain(error))


class _Checks:
    def __init__(self, cloud: CloudFormationClient, state: StackState, ca_bundle: str) -> None:
        self.cloud, self.state, self.ca_bundle = cloud, state, ca_bundle

    def _of_type(self, kind: str) -> list[str]:
        return [
            item["PhysicalResourceId"]
            for item in self.cloud.resources(self.state.name)
            if item["ResourceType"] == kind and item.get("PhysicalResourceId")
        ]

    def buckets(self) -> Found:
        s3 = self.cloud.client("s3")
        for bucket in self._of_type("AWS::S3::Bucket"):
            block = _answer(s3.get_public_access_block, Bucket=bucket).get("PublicAccessBlockConfiguration", {})
            open_ways = [name for name in _BLOCKS if block.get(name) is not True]
            yield f"bucket {bucket} is closed to the public", _outcome(not open_ways), ", ".join(open_ways)
            policy = json.loads(_answer(s3.get_bucket_policy, Bucket=bucket).get("Policy", "{}"))
            yield f"bucket {bucket} refuses plain HTTP", _outcome(refuses_plain_http(policy)), ""

    def key(self) -> Found:
        arn = self.state.outputs.get("KeyArn", "")
        if arn:
            turns = self.cloud.client("kms").get_key_rotation_status(KeyId=arn)["KeyRotationEnabled"]
            yield "the key is rotated every year", _outcome(turns), ""

    def endpoints(self) -> Found:
        names = self._of_type("AWS::EC2::VPCEndpoint")
        if names:
            response = self.cloud.client("ec2").describe_vpc_endpoints(VpcEndpointIds=names)["VpcEndpoints"]
            waiting = [item["VpcEndpointId"] for item in response if item["State"].lower() != "available"]
            yield f"{len(names)} VPC endpoints are available", _outcome(not waiting), ", ".join(waiting)

    def database(self) -> Found:
        for name in self._of_type("AWS::RDS::DBCluster"):
            [response] = self.cloud.client("rds").describe_db_clusters(DBClusterIdentifier=name)["DBClusters"]
            good = response["Status"] == "available" and response.get("StorageEncrypted")
            yield f"database {name} is available and encrypted", _outcome(good), response["Status"]

    def archive(self) -> Found:
        url, secret = self.state.outputs.get("OrthancUrl"), self.state.outputs.get("OrthancSecretArn")
        if not url or not secret:
            return
        yield from self._answers(f"{url}/system", None, 401, "the archive refuses requests without credentials")
        response = json.loads(self.cloud.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"])
        yield from self._answers(
            f"{url}/system", (response["username"], response["password"]), 200, "the archive answers requests with credentials"
        )

    def portal(self) -> Found:
        url = self.state.outputs.get("GroundTruthUrl", "")
        if url.startswith("http"):
            yield from self._answers(f"{url}/health", None, 200, "the labeling portal answers")

    def search(self) -> Found:
        url, dead_letters = self.state.outputs.get("SearchUrl"), self.state.outputs.get("SearchDeadLettersUrl")
        if dead_letters:
            response = self.cloud.client("sqs").get_queue_attributes(
                QueueUrl=dead_letters, AttributeNames=["ApproximateNumberOfMessages"]
            )
            count = int(response["Attributes"]["ApproximateNumberOfMessages"])
            yield (
                "every file that arrived could be indexed",
                _outcome(count == 0),
                f"{count} in {dead_letters}" if count else "",
            )
        if url:
            yield from self._answers(f"{url}/healthz", None, 200, "the search service answers")
            yield from self._answers(f"{url}/thumb/none.png", None, 401, "the search service refuses requests without a token")

    def functions(self) -> Found:
        outputs, client = self.state.outputs, self.cloud.client("lambda")
        job = f"arn:aws:sagemaker:{self.cloud.region}:111122223333:labeling-job/smoke"
        if "PreAnnotationArn" in outputs:
            event = {"version": "2018-10-16", "labelingJobArn": job, "dataObject": SAMPLE_LINE}
            response = _invoke(client, outputs["PreAnnotationArn"], event)
            made = isinstance(response, dict) and response.get("taskInput", {}).get("labels") == ["Fracture", "Lung Lesion"]
            yield "the pre-annotation function returns a task", _outcome(made), "" if made else str(response)[:200]
        if "PostAnnotationArn" in outputs:
            made, detail = self._consolidated(client, outputs["PostAnnotationArn"], job)
            yield "the post-annotation function consolidates answers", _outcome(made), detail

    def _consolidated(self, client: Any, arn: str, job: str) -> tuple[bool, str]:
        """Have the function consolidate the synthetic batch, read from the bucket of its jobs."""
        bucket, key = self.state.outputs.get("LabelingBucket", ""), f"jobs/smoke/{uuid.uuid4().hex}.json"
        s3 = self.cloud.client("s3")
        s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(SAMPLE_BATCH).encode(), ContentType="application/json")
        try:
            uri = f"s3://{bucket}/{key}"
            role = self.state.outputs.get("LabelingRoleArn", "")
            event = {"version": "2018-10-16", "labelingJobArn": job, "labelAttributeName": "findings", "roleArn": role}
            response = _invoke(client, arn, {**event, "payload": {"s3Uri": uri}})
        finally:
            s3.delete_object(Bucket=bucket, Key=key)
        try:
            state = response[0]["consolidatedAnnotation"]["content"]["findings"]["labels"]["Fracture"]["state"]
        except (LookupError, TypeError):
            return False, str(response)[:200]
        return state == "positive", f"Fracture is {state}"

    def team(self) -> Found:
        arn = self.state.outputs.get("WorkteamArn", "")
        if arn:
            response = self.cloud.client("sagemaker").describe_workteam(WorkteamName=arn.rpartition("/")[2])["Workteam"]
            yield "the work team exists", _outcome(response["WorkteamArn"] == arn), response.get("SubDomain", "")

    def model(self) -> Found:
        name = self.state.outputs.get("EndpointName", "")
        if name:
            status = self.cloud.client("sagemaker").describe_endpoint(EndpointName=name)["EndpointStatus"]
            # In service: SageMaker's regular requests to /ping are answered by the container.
            yield f"endpoint {name} answers", _outcome(status == "InService"), status

    def notebook(self) -> Found:
        for arn in self._of_type("AWS::SageMaker::NotebookInstance"):
            response = self.cloud.client("sagemaker").describe_notebook_instance(NotebookInstanceName=arn.rpartition("/")[2])
            status = response["NotebookInstanceStatus"]
            yield "the notebook instance runs", _outcome(status in ("InService", "Pending", "Stopped")), status

    def _answers(self, url: str, who: tuple[str, str] | None, expected: int, what: str) -> Found:
        import requests

        try:
            response = requests.get(
                url, auth=who, timeout=TIMEOUT_SECONDS, verify=self.ca_bundle or True, allow_redirects=False
            )
        except requests.exceptions.SSLError as error:
            yield what, FAILED, f"TLS: {error}"
        except requests.RequestException as error:
            yield what, UNREACHABLE, type(error).__name__
        else:
            yield what, _outcome(response.status_code == expected), f"HTTP {response.status_code}"


_NOT_SET = ("NoSuchPublicAccessBlockConfiguration", "NoSuchBucketPolicy")
_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def refuses_plain_http(policy: Mapping[str, Any]) -> bool:
    """Return whether a bucket policy denies all requests without TLS."""
    for statement in policy.get("Statement", ()):
        condition = statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
        everybody = statement.get("Principal") in ("*", {"AWS": "*"})
        actions = statement.get("Action")
        everything = "s3:*" in ([actions] if isinstance(actions, str) else actions or ())
        if statement.get("Effect") == "Deny" and everybody and everything and str(condition).lower() in ("false", "['false']"):
            return True
    return False


def _outcome(good: Any) -> str:
    return OK if good else FAILED


def _answer(call: Callable[..., Any], **arguments: Any) -> Any:
    """The response, or an empty one when the configuration does not exist."""
    from botocore.exceptions import ClientError

    try:
        return call(**arguments)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code", "") in _NOT_SET:
            return {}
        raise


def _invoke(client: Any, arn: str, event: Mapping[str, Any]) -> Any:
    response = client.invoke(FunctionName=arn, Payload=json.dumps(event).encode())
    payload = response["Payload"].read()
    try:
        return json.loads(payload)
    except ValueError:
        return {"errorType": "Runtime.NoJson", "errorMessage": payload[:200].decode(errors="replace")}
