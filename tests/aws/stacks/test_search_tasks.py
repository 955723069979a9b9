"""The tasks of the search stack, where possible for real: the store is made, what arrives is indexed, the service answers."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
import types as modules
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import jwt
import pytest
import requests
from botocore.stub import Stubber
from cryptography.hazmat.primitives.asymmetric import rsa
from psycopg.conninfo import conninfo_to_dict
from support.groundtruth import radiograph
from support.stack_evaluator import ACCOUNT
from support.templates import REGION
from test_search_stack import BARE, HOST, OWN_ISSUER, SERVED, STORES, commands, properties, stack, variables_of

from dicom_workflow.processes import free_port
from dicom_workflow.search.query import ReportQuery
from dicom_workflow.search.store import open_store
from dicom_workflow.settings import Settings

ROOT = Path(__file__).parents[3]


# ---- The store is made before the service starts ----------------------------------------------------------------------------

TASK = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/search/0123"
PLAIN = {"SearchModelUri": "", "ArchiveSchedule": "", "OrthancUrl": "", "OrthancSecretArn": ""}
"""No model and no archive, which moto does not have."""


class Context:
    """Lambda's context of an invocation that has some time left."""

    def __init__(self, left_ms: int = 600_000) -> None:
        self.left_ms = left_ms

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Stubber, list[tuple[Any, ...]]]]:
    """The function's code, an ECS whose requests are checked against its service model, and what CloudFormation is answered."""
    answers: list[tuple[Any, ...]] = []
    answering = modules.ModuleType("cfnresponse")
    answering.SUCCESS, answering.FAILED = "SUCCESS", "FAILED"  # type: ignore[attr-defined]
    answering.send = lambda *said, **more: answers.append((said[2], more.get("reason", "")))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cfnresponse", answering)
    code = properties(stack(SERVED), "StoreMaker")["Code"]["ZipFile"]
    assert len(code.encode()) <= 4096, "Lambda takes no more from a template"
    ecs = boto3.client("ecs", region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing")
    monkeypatch.setattr(boto3, "client", lambda service: {"ecs": ecs}[service])
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    names: dict[str, Any] = {}
    exec(compile(code, "index.py", "exec"), names)  # noqa: S102, the code of our own template
    with Stubber(ecs) as stubber:
        yield names["handler"], stubber, answers


def asked_of_maker(kind: str = "Create") -> dict[str, Any]:
    return {"RequestType": kind, "ResourceProperties": properties(stack(SERVED), "StoreIsThere")}


def task_in(state: str, code: int | None = None) -> dict[str, Any]:
    ended = {} if code is None else {"exitCode": code}
    return {"tasks": [{"taskArn": TASK, "lastStatus": state, "containers": [{"name": "ingest", **ended}]}], "failures": []}


def expect_run(stubber: Stubber, answer: dict[str, Any]) -> None:
    trial = stack(SERVED)
    network = {"subnets": ["subnet-0a", "subnet-0b"], "assignPublicIp": "DISABLED"}
    network["securityGroups"] = [trial.value({"Fn::GetAtt": ["TaskSecurityGroup", "GroupId"]}, "test")]
    command = ["index", "--store", trial.outputs["SearchStoreUrl"], "--model", "none"]
    stubber.add_response(
        "run_task",
        answer,
        {
            "cluster": trial.outputs["SearchClusterName"],
            "taskDefinition": trial.value({"Ref": "IngestTask"}, "test"),
            "launchType": "FARGATE",
            "platformVersion": "1.4.0",
            "networkConfiguration": {"awsvpcConfiguration": network},
            "overrides": {"containerOverrides": [{"name": "ingest", "command": command}]},
        },
    )


def test_the_store_is_made_by_a_task_that_is_waited_for(maker: tuple[Any, Stubber, list[tuple[Any, ...]]]) -> None:
    handler, stubber, answers = maker
    expect_run(stubber, task_in("PROVISIONING"))
    for state in (task_in("RUNNING"), task_in("STOPPED", 0)):
        stubber.add_response("describe_tasks", state, {"cluster": stack(SERVED).outputs["SearchClusterName"], "tasks": [TASK]})
    handler(asked_of_maker(), Context())
    assert answers == [("SUCCESS", "")]
    stubber.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("states", "left_ms", "reason"),
    [
        ([{"tasks": [], "failures": [{"reason": "RESOURCE:FARGATE"}]}], 600_000, "started no task: RESOURCE:FARGATE"),
        ([task_in("PENDING"), task_in("STOPPED", 1)], 600_000, "ended with 1, None: see the log"),
        ([task_in("PENDING"), task_in("STOPPED")], 600_000, "ended with None"),
        ([task_in("PENDING")], 10_000, "is still PENDING"),
    ],
)
def test_a_store_that_cannot_be_made_fails_the_stack_with_the_reason(
    states: list[dict[str, Any]], left_ms: int, reason: str, maker: tuple[Any, Stubber, list[tuple[Any, ...]]]
) -> None:
    handler, stubber, answers = maker
    expect_run(stubber, states[0])
    for state in states[1:]:
        stubber.add_response("describe_tasks", state)
    with pytest.raises(RuntimeError, match=re.escape(reason)):
        handler(asked_of_maker(), Context(left_ms))
    [(outcome, said)] = answers
    assert (outcome, reason in said) == ("FAILED", True)


def test_deleting_the_stack_runs_no_task(maker: tuple[Any, Stubber, list[tuple[Any, ...]]]) -> None:
    handler, _, answers = maker
    handler(asked_of_maker("Delete"), Context())
    assert answers == [("SUCCESS", "")]


def test_the_service_starts_after_its_store_is_made() -> None:
    for store in STORES:
        trial = stack(SERVED, SearchStore=store)
        assert "StoreIsThere" in trial.resources["Service"]["DependsOn"]
        made = properties(trial, "StoreIsThere")
        assert made["Store"] in {words[words.index("--store") + 1] for words in commands(trial).values()}
        assert len({words[words.index("--store") + 1] for words in commands(trial).values()}) == 1


# ---- Containers -------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["ServiceTask", "IngestTask"])
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("store", STORES)
def test_no_secret_stands_where_the_console_shows_it(task: str, store: str) -> None:
    trial = stack(SERVED, SearchStore=store)
    (container,) = properties(trial, task)["ContainerDefinitions"]
    plain = {entry["Name"] for entry in container["Environment"]}
    assert not [name for name in plain if re.search("PASSWORD|SECRET|KEY|USER|TOKEN|SALT", name)]
    assert not [word for word in container["Command"] if "@" in word or "password" in word]
    readable = properties(trial, "StartRole")["Policies"][0]["PolicyDocument"]["Statement"]
    (secrets,) = (statement["Resource"] for statement in readable if statement["Action"] == "secretsmanager:GetSecretValue")
    assert {entry["ValueFrom"].rsplit(":", 3)[0] for entry in container["Secrets"]} == set(secrets)


def test_what_is_written_lies_on_volumes_and_nothing_else_can_be(task: str) -> None:
    (container,) = properties(stack(SERVED), task)["ContainerDefinitions"]
    assert container["ReadonlyRootFilesystem"] is True
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert int(container["User"].partition(":")[0]) > 0
    variables = {entry["Name"]: entry["Value"] for entry in container["Environment"]}
    writable = {mount["ContainerPath"] for mount in container["MountPoints"]}
    assert writable == {variables["DICOM_WORKFLOW_WORKSPACE"], "/tmp"}  # noqa: S108, a path in the container
    volumes = {volume["Name"] for volume in properties(stack(SERVED), task)["Volumes"]}
    assert {mount["SourceVolume"] for mount in container["MountPoints"]} == volumes


@pytest.mark.parametrize(
    ("task_", "name"), [(task_, name) for task_ in ("IngestTask", "ServiceTask") for name in sorted(variables_of(task_))]
)
def test_the_settings_read_every_variable_of_the_tasks(task_: str, name: str) -> None:
    given = variables_of(task_)
    assert Settings.from_env(given | {name: given[name] + "x"}) != Settings.from_env(given)


def test_a_database_is_reached_with_the_authorities_of_the_image_and_a_user_that_no_url_contains() -> None:
    """libpq reads PGUSER and PGPASSWORD itself; that the server is verified is the store's own business, and tested there."""
    aurora = {"SearchStore": "Aurora"}
    assert {"PGUSER", "PGPASSWORD"} <= variables_of("IngestTask", aurora).keys()
    found = conninfo_to_dict(commands(stack(SERVED, aurora))["IngestTask"][3])
    assert found.keys() == {"host", "port", "dbname", "sslrootcert"}
    assert f" {found['sslrootcert']}\n" in (ROOT / "docker/search/Dockerfile").read_text("utf-8")


# ---- The ingest container, for real, on a bucket with the template's notifications ------------------------------------------


@pytest.fixture
def notified(aws: str) -> tuple[str, str]:
    """A bucket that tells a queue of new objects as the template has it; the bucket's name and the queue's URL."""
    s3, sqs = (boto3.client(service, region_name=REGION) for service in ("s3", "sqs"))
    queue = sqs.create_queue(QueueName="ingest")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    s3.create_bucket(Bucket="search")
    told = [
        {
            "QueueArn": arn,
            "Events": [one["Event"]],
            "Filter": {"Key": {"FilterRules": one["Filter"]["S3Key"]["Rules"]}},
        }
        for one in properties(stack(), "SearchBucket")["NotificationConfiguration"]["QueueConfigurations"]
    ]
    s3.put_bucket_notification_configuration(Bucket="search", NotificationConfiguration={"QueueConfigurations": told})
    return "search", queue


@contextlib.contextmanager
def ingest_container(queue: str, workspace: Path, aws: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command of the ingest container, with its variables, against moto."""
    trial = stack(SERVED, PLAIN)
    (container,) = properties(trial, "IngestTask")["ContainerDefinitions"]
    here = {f"sqs:{trial.outputs['SearchQueueUrl']}": f"sqs:{queue}", trial.outputs["SearchStoreUrl"]: "s3://search/index"}
    command = [sys.executable, *container["EntryPoint"][1:], *(here.get(word, word) for word in container["Command"])]
    keys = {name: os.environ[name] for name in ("PATH", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    variables = variables_of("IngestTask", PLAIN) | keys | {"AWS_ENDPOINT_URL": aws, "S3_URL": aws, "PYTHONPATH": str(ROOT)}
    variables |= {"DICOM_WORKFLOW_WORKSPACE": str(workspace), "HOME": str(workspace)}
    with (workspace / "log").open("wb") as log, subprocess.Popen(command, env=variables, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def left_in(queue: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    response = boto3.client("sqs", region_name=REGION).get_queue_attributes(QueueUrl=queue, AttributeNames=names)
    return sum(int(response["Attributes"][name]) for name in names)


def test_what_is_put_into_the_bucket_is_found_in_the_index_on_s3(
    notified: tuple[str, str], tmp_path: Path, aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, queue = notified
    monkeypatch.setenv("S3_URL", aws)
    s3 = boto3.client("s3", region_name=REGION)
    uid, image = radiograph(1)
    s3.put_object(Bucket=bucket, Key="images/one.dcm", Body=image)
    s3.put_object(Bucket=bucket, Key="images/broken.dcm", Body=b"no image")
    s3.put_object(Bucket=bucket, Key="reports/first.txt", Body=b"FINDINGS: Small left pneumothorax. No pleural effusion.")
    s3.put_object(Bucket=bucket, Key="elsewhere/second.txt", Body=b"FINDINGS: Pneumothorax.")
    assert left_in(queue) == 4  # the three, and the message by which S3 tests the queue
    with ingest_container(queue, tmp_path, aws) as process:
        deadline = time.monotonic() + 120
        while left_in(queue):
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
    said = (tmp_path / "log").read_text()
    with contextlib.closing(open_store("s3://search/index")) as store:
        page = store.search_reports(ReportQuery(text="pneumothorax"))
        assert [hit.report.report_id for hit in page.hits] == ["first"]
        assert page.hits[0].report.codes("positive")
        assert [document.image_id for document in store.scan_images()] == [uid]
    assert "pneumothorax" not in said.lower() and "effusion" not in said.lower()  # no text of a report in the log
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert not [key for key in keys if "salt" in key]  # the salt is that of the secret


# ---- The service container, for real, behind a sign-in ----------------------------------------------------------------------

TYPES = {"query": "{ reports(first: 1) { totalCount } }"}


class Issuer:
    """An OpenID Connect provider on this machine, with one key."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        number = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "kid": "one", "use": "sig", "alg": "RS256", "n": _base64(number.n), "e": _base64(number.e)}
        issuer = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                about = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
                body = json.dumps({"keys": [key]} if self.path == "/keys" else about).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.server_close()

    def access_token(self, **claims: Any) -> str:
        """A token as Cognito's access tokens are: a client_id, and no aud."""
        now = int(time.time())
        given = {"iss": self.url, "sub": "reader", "token_use": "access", "client_id": "search", "iat": now, "exp": now + 600}
        return jwt.encode(given | claims, self._key, algorithm="RS256", headers={"kid": "one"})


def _base64(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8)).rstrip(b"=").decode()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    found = Issuer()
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.close()


@dataclass
class Served:
    """The process of the service's container."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path


@pytest.fixture
def served(issuer: Issuer, aws: str, tmp_path: Path) -> Iterator[Served]:
    """The service with the command and the variables of its container, after the command that makes the store."""
    boto3.client("s3", region_name=REGION).create_bucket(Bucket="search")
    trial = stack(SERVED, PLAIN, OWN_ISSUER)
    keys = {name: os.environ[name] for name in ("PATH", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    variables = variables_of("ServiceTask", PLAIN, OWN_ISSUER) | keys | {"S3_URL": aws, "PYTHONPATH": str(ROOT)}
    variables |= {"DICOM_WORKFLOW_WORKSPACE": str(tmp_path), "HOME": str(tmp_path), "SEARCH_OIDC_ISSUER": issuer.url}
    (container,) = properties(trial, "ServiceTask")["ContainerDefinitions"]
    entry, port, log = [sys.executable, *container["EntryPoint"][1:]], str(free_port()), tmp_path / "log"
    make = [*entry, "index", "--store", "s3://search/index", "--model", "none"]
    for _ in range(2):  # the store is made once, and opened after that
        subprocess.run(make, env=variables, check=True, capture_output=True, timeout=120)
    here = {trial.outputs["SearchStoreUrl"]: "s3://search/index", "0.0.0.0": "127.0.0.1", "8600": port}  # noqa: S104
    here[BARE["VpcCidr"]] = "127.0.0.0/8"
    words = [here.get(str(word), str(word)) for word in container["Command"]]
    with log.open("wb") as stream, subprocess.Popen([*entry, *words], env=variables, stdout=stream, stderr=stream) as process:
        found = Served(f"http://127.0.0.1:{port}", process, log)
        try:
            wait_until_healthy(found)
            yield found
        finally:
            process.terminate()
            process.wait(60)


def wait_until_healthy(found: Served) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert found.process.poll() is None, found.log.read_text()
        with contextlib.suppress(requests.ConnectionError):
            # By address, and without a token: a load balancer knows neither.
            if requests.get(found.url + properties(stack(SERVED), "TargetGroup")["HealthCheckPath"], timeout=10).ok:
                return
        time.sleep(0.1)
    pytest.fail(found.log.read_text())


def test_a_person_whom_the_load_balancer_signed_in_and_a_program_are_let_in_and_nobody_else(
    served: Served, issuer: Issuer
) -> None:
    def status(**headers: str) -> int:
        given = {"Host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return requests.post(f"{served.url}/graphql", json=TYPES, headers=given, timeout=30).status_code

    token = issuer.access_token()
    assert status(x_amzn_oidc_accesstoken=token) == 200
    assert status(Authorization=f"Bearer {token}") == 200
    assert status() == 401
    assert status(x_amzn_oidc_accesstoken=issuer.access_token(client_id="another")) == 401
    with contextlib.closing(Issuer()) as forger:  # names this issuer, and signs with a key of its own
        assert status(x_amzn_oidc_accesstoken=forger.access_token(iss=issuer.url)) == 401
    assert requests.get(f"{served.url}/thumb/none.png", headers={"Host": HOST}, timeout=30).status_code == 401
    assert requests.get(f"{served.url}/", timeout=30).status_code == 421  # another host name than that of the certificate
    assert token not in served.log.read_text()


def test_the_service_knows_that_the_browser_came_by_tls_and_ends_when_it_is_told_to(served: Served) -> None:
    forwarded = {"Host": HOST, "X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.9"}
    answer = requests.get(f"{served.url}/", headers=forwarded, timeout=30)
    assert (answer.status_code, "max-age" in answer.headers.get("Strict-Transport-Security", "")) == (200, True)
    served.process.terminate()
    assert served.process.wait(30) == 0
