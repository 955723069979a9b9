"""The archive stack: who reaches whom, what Orthanc is told, and that a real Orthanc told so does as the template assumes."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from support.archive import dicom
from support.archive_stack import Task, archive, containers, environment, fill_volumes, plugin, told
from support.postgres import PostgresServer
from support.stack_evaluator import Evaluation
from support.templates import GIVEN, template

from dicom_workflow.archive.orthanc_process import find_orthanc
from dicom_workflow.archive.protocol import STORED

DIGEST = "0123456789abcdef" * 4


# ---- What there is ---------------------------------------------------------------------------------------------------------


def test_healthimaging_makes_nothing_of_orthanc() -> None:
    stack = archive(ArchiveBackend="HealthImaging", OrthancImage="", CertificateArn="", ArchiveHostName="")
    assert stack.refused() == []
    assert {one["Type"] for one in stack.resources.values()} == {
        *("AWS::EC2::SecurityGroup", "AWS::HealthImaging::Datastore", "AWS::IAM::Role"),
        *("AWS::S3::Bucket", "AWS::S3::BucketPolicy"),
    }
    assert set(stack.outputs) == {
        *("PixelBucket", "ArchiveClientSecurityGroupId"),
        *("HealthImagingDatastoreId", "HealthImagingUrl", "HealthImagingImportRoleArn"),
    }


@pytest.mark.parametrize("store", ["S3", "EFS"])
def test_pixels_have_one_home_and_the_task_a_right_to_that_alone(store: str) -> None:
    stack = archive(PixelStore=store)
    kinds = {one["Type"] for one in stack.resources.values()}
    assert ("AWS::S3::Bucket" in kinds, "AWS::EFS::FileSystem" in kinds) == (store == "S3", store == "EFS")
    orthanc = environment(containers(stack)["orthanc"])
    assert orthanc["AWS_S3_STORAGE_PLUGIN_ENABLED"] == ("true" if store == "S3" else "false")
    # The image turns a plugin on as soon as one of its settings is there.
    assert any("AWS_S3_STORAGE__" in name for name in orthanc) == (store == "S3")
    [policy] = stack.resources["TaskRole"]["Properties"]["Policies"]
    actions = [one["Action"] for one in policy["PolicyDocument"]["Statement"]]
    services = {word.split(":")[0] for one in actions for word in ([one] if isinstance(one, str) else one)}
    assert services == ({"s3", "kms"} if store == "S3" else {"elasticfilesystem"})
    [volume] = [one for one in stack.resources["TaskDefinition"]["Properties"]["Volumes"] if one["Name"] == "storage"]
    assert ("EFSVolumeConfiguration" in volume) == (store == "EFS")
    # A template cannot count subnets: with EFS there are two mount targets, so tasks may stand in those two only.
    network = stack.resources["Service"]["Properties"]["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert len(network["Subnets"]) == (3 if store == "S3" else 2)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"OrthancImage": ""}, "requires OrthancImage"),
        ({"CertificateArn": ""}, "requires CertificateArn"),
        ({"ArchiveHostName": ""}, "requires ArchiveHostName"),
        ({"LoadBalancerScheme": "internet-facing"}, "requires PublicSubnetIds"),
        ({"EnableDimse": "true", "DimseCidr": ""}, "requires DimseCidr"),
    ],
)
def test_half_a_choice_is_refused(chosen: dict[str, str], words: str) -> None:
    [refusal] = archive(**chosen).refused()
    assert words in refusal


@pytest.mark.parametrize(
    ("image", "taken"),
    [
        (f"orthancteam/orthanc:26.4.0@sha256:{DIGEST}", True),
        (f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/mirror/orthanc:27.1.0-full@sha256:{DIGEST}", True),
        ("orthancteam/orthanc:26.8.1", False),
        (f"orthancteam/orthanc@sha256:{DIGEST}", False),
        (f"orthancteam/orthanc:latest@sha256:{DIGEST}", False),
        (f"orthancteam/orthanc:26.1.0@sha256:{DIGEST}", False),  # Orthanc 1.12.10, nine CVEs
        (f"orthancteam/orthanc:25.12.3@sha256:{DIGEST}", False),
        (f"orthancteam/orthanc:26.8.1@sha256:{DIGEST[:-1]}", False),
    ],
)
def test_an_image_has_a_safe_tag_and_a_digest(image: str, taken: bool) -> None:
    assert bool(re.search(template("archive")["Parameters"]["OrthancImage"]["AllowedPattern"], image)) == taken


# ---- Who reaches whom ------------------------------------------------------------------------------------------------------


def ways_in(stack: Evaluation) -> set[tuple[str, str, str]]:
    """(from, ports, to) of every inbound rule, with the logical names of groups."""
    names = [name for name, one in stack.resources.items() if one["Type"] == "AWS::EC2::SecurityGroup"]
    groups = {stack.value({"Ref": name}, name): name for name in names}
    found = set()
    for name, one in stack.resources.items():
        body = one["Properties"]
        if one["Type"] == "AWS::EC2::SecurityGroup":
            rules = [(rule, name) for rule in body.get("SecurityGroupIngress", [])]
        elif one["Type"] == "AWS::EC2::SecurityGroupIngress":
            rules = [(body, groups[body["GroupId"]])]
        else:
            rules = []
        for rule, target in rules:
            source = rule.get("CidrIp") or groups[rule["SourceSecurityGroupId"]]
            found.add((source, f"{rule['FromPort']}-{rule['ToPort']}", target))
    return found


def test_the_one_way_in_is_tls_and_each_group_hears_the_one_before_it() -> None:
    closed = {
        ("ArchiveClientSecurityGroup", "443-443", "LoadBalancerSecurityGroup"),
        ("LoadBalancerSecurityGroup", "8042-8043", "TaskSecurityGroup"),
        ("TaskSecurityGroup", "5432-5432", "DatabaseSecurityGroup"),
    }
    assert ways_in(archive()) == closed
    hospital = "203.0.113.0/24"
    assert ways_in(archive(ClientCidr=hospital)) == closed | {(hospital, "443-443", "LoadBalancerSecurityGroup")}
    assert ways_in(archive(PixelStore="EFS")) == closed | {("TaskSecurityGroup", "2049-2049", "FileSystemSecurityGroup")}
    assert ways_in(archive(EnableDimse="true", DimseCidr="10.20.0.0/16")) == closed | {
        ("10.20.0.0/16", "4242-4242", "DimseSecurityGroup"),
        ("DimseSecurityGroup", "4242-4242", "TaskSecurityGroup"),
        ("DimseSecurityGroup", "8043-8043", "TaskSecurityGroup"),
    }
    listeners = [one["Properties"] for one in archive().resources.values() if one["Type"].endswith("V2::Listener")]
    assert [(one["Port"], one["Protocol"]) for one in listeners] == [(443, "HTTPS")]


# ---- What Orthanc is told --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [{}, {"PixelStore": "EFS"}, {"EnableDimse": "true"}], ids=str)
def test_secrets_arrive_as_secrets_and_containers_are_closed(chosen: dict[str, str]) -> None:
    for container in containers(archive(**chosen)).values():
        telling = re.compile("PASSWORD|SECRET_?KEY|ACCESS_?KEY|REGISTERED_USERS")
        assert not [name for name in environment(container) if telling.search(name)]
        assert all(one["ValueFrom"].endswith((":password::", ":username::")) for one in container.get("Secrets", []))
        assert container["ReadonlyRootFilesystem"] is True
        assert container["Image"] == GIVEN["OrthancImage"]
        if container["Name"] != "volumes":
            assert container["User"] == "999:999"
            assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}


def test_orthanc_asks_for_a_password_and_shares_its_index_over_tls() -> None:
    said = told(containers(archive())["orthanc"])
    assert (said["AuthenticationEnabled"], said["SslEnabled"], said["DicomServerEnabled"]) == (True, True, False)
    assert (said["ExecuteLuaEnabled"], said["RestApiWriteToFileSystemEnabled"]) == (False, False)
    assert said["DicomWeb"] == {"Enable": True, "Root": "/dicom-web/", "Ssl": True}
    index = said["PostgreSQL"]
    assert (index["EnableIndex"], index["EnableSsl"], index["Lock"], index["EnableStorage"]) == (True, True, False, False)
    assert index["Host"].endswith(".rds.amazonaws.com")
    assert set(said["AwsS3Storage"]) == {"BucketName", "Region"}, "keys come from the task's role"
    assert told(containers(archive(EnableDimse="true"))["orthanc"])["DicomServerEnabled"] is True


# ---- A real Orthanc, told the same -----------------------------------------------------------------------------------------


def real(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a test that runs Orthanc with a plugin."""

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        there = find_orthanc() is not None and plugin(name)
        return pytest.mark.orthanc(pytest.mark.skipif(not there, reason=f"needs Orthanc and lib{name}.so")(test))

    return mark


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return fill_volumes(tmp_path)


@pytest.fixture
def task(tmp_path: Path, made: Path) -> Iterator[Task]:
    with Task(tmp_path, made, plugin("OrthancDicomWeb")) as running:
        yield running


def test_the_certificate_is_for_this_machine_and_its_key_for_nobody_else(made: Path) -> None:
    assert sorted(path.name for path in made.iterdir()) == ["certificate.pem", "orthanc.pem", "refuse.lua"]
    assert {path.stat().st_mode & 0o077 for path in [made, *made.iterdir()]} == {0}
    # Python 3.13 and newer check as strictly as this.
    certificate = str(made / "certificate.pem")
    strict = ["openssl", "verify", "-x509_strict", "-partial_chain", "-verify_hostname", "localhost", "-CAfile"]
    done = subprocess.run([*strict, certificate, certificate], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{certificate}: OK\n", "")


@real("OrthancDicomWeb")
def test_a_real_orthanc_lets_nobody_in_without_the_password(task: Task) -> None:
    paths = ("/system", "/", "/app/explorer.html", "/dicom-web/studies", "/changes?last")
    assert {path: task.get(path, password="").status_code for path in paths} == dict.fromkeys(paths, 401)
    assert task.get("/system", password="orthanc").status_code == 401
    answer = task.get("/system")
    assert (answer.status_code, answer.headers.get("Connection")) == (200, "close")
    with pytest.raises(ConnectionRefusedError), socket.socket() as association:
        association.connect(("127.0.0.1", task.get("/system").json()["DicomPort"]))


@real("OrthancDicomWeb")
def test_a_real_orthanc_is_ended_by_nobody_however_the_path_is_spelled(task: Task) -> None:
    for word in ("shutdown", "reset", "execute-script"):
        spellings = [f"/tools/{word}", f"//tools//{word}", f"/./tools/{word}", f"/app/../tools/{word}", f"/tools/{word}/"]
        spellings += [f"/%74ools/{word}", f"/tools/%{ord(word[0]):x}{word[1:]}", f"/tools/{word}?now", f"/tools/./{word}//"]
        answers = {path: task.send("POST", path) for path in spellings}
        assert answers == dict.fromkeys(spellings, 403)
    assert task.process.poll() is None
    # These spellings do reach what is not refused.
    assert [task.send("GET", path) for path in ("//tools/now", "/%74ools/now", "/app/../tools/now")] == [200] * 3


@real("OrthancDicomWeb")
def test_a_real_orthanc_speaks_dicomweb_and_its_addresses_are_https(task: Task) -> None:
    with contextlib.closing(task.client()) as client:
        assert client.store_instance(dicom(1)).status == STORED
    [study] = task.get("/dicom-web/studies").json()
    [address] = study["00081190"]["Value"]
    assert address.startswith(task.url + "/dicom-web/studies/")
    assert requests.get(address + "/metadata", auth=(task.user, task.password), verify=task.certificate, timeout=10).ok


@real("OrthancDicomWeb")
def test_health_is_200_only_where_a_client_with_the_password_would_be_served(task: Task) -> None:
    group = archive().resources["TargetGroup"]["Properties"]
    assert group["Matcher"] == {"HttpCode": "200"}
    path = group["HealthCheckPath"]
    with task.health("not the password") as locked, task.health(task.password) as well:
        assert requests.get(locked + path, timeout=20).status_code == 503
        healthy = requests.get(well + path, timeout=20)
        assert (healthy.status_code, healthy.content, set(healthy.headers)) == (200, b"", {"Content-Length"})
        task.stop()
        assert requests.get(well + path, timeout=20).status_code == 503


@real("OrthancPostgreSQLIndex")
def test_two_real_orthancs_share_one_index_over_tls(tmp_path: Path, made: Path, postgres: PostgresServer) -> None:
    address = postgres.new_database()
    index = told(containers(archive())["orthanc"])["PostgreSQL"]
    # A test's server has few connections to give, and a name of its own.
    index |= {"Host": address.host, "Port": address.port, "Database": address.name, "IndexConnectionsCount": 3}
    index |= {"Username": address.user, "Password": address.password.reveal()}
    changes = {"PostgreSQL": index, "StorageDirectory": str(tmp_path / "pixels")}
    with contextlib.ExitStack() as running:
        tasks = []
        for name in ("pixels", "first", "second"):
            (tmp_path / name).mkdir()
        for name in ("first", "second"):
            tasks.append(running.enter_context(Task(tmp_path / name, made, plugin("OrthancPostgreSQLIndex"), changes)))
        for number in range(4):
            with contextlib.closing(tasks[number % 2].client()) as client:
                assert client.store_instance(dicom(number)).status == STORED
        assert [task.get("/statistics").json()["CountInstances"] for task in tasks] == [4, 4]
        encrypted = postgres.sql("SELECT datname, ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)")
        assert {ssl for name, ssl in encrypted if name == address.name} == {True}
