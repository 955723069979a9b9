"""A deployment comes up in order, says what it will do before it does it, and goes on from wherever it was stopped."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import boto3
import pytest
from support.cloudformation import REGION, CloudFormation
from support.deployments import ARCHIVE, Clinic

from dicom_workflow.aws import deployment_settings, packaging
from dicom_workflow.aws.packaging import stage_source
from dicom_workflow.aws.stacks import artifacts, costs, deployment, destroy, plan, preview, prices, smoke, tables
from dicom_workflow.aws.stacks.change_sets import DeclinedError, StackDeployer
from dicom_workflow.aws.stacks.cloudformation import CloudFormationClient
from dicom_workflow.aws.stacks.deployment import Deployment
from dicom_workflow.aws.stacks.parameters import ParameterOverrides
from dicom_workflow.aws.stacks.template_evaluator import Evaluation
from dicom_workflow.aws.stacks.templates import Template, lint, parse
from dicom_workflow.errors import DeployError, SettingsError, VerificationError
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage

ALL = ("foundation", "network", "archive", "labeling")


def executed(service: CloudFormation) -> list[str]:
    return service.names("ExecuteChangeSet")


# ---- deploying --------------------------------------------------------------------------------------------------------------


def test_stacks_come_up_in_order_and_feed_one_another(clinic: Clinic, cloudformation: CloudFormation) -> None:
    made = clinic.deploy()
    assert executed(cloudformation) == [f"clinic-{stack}" for stack in ALL]
    assert made["stacks"] == dict.fromkeys(ALL, "created")
    stacks = {stack.name: stack for stack in cloudformation.stacks.values()}
    assert stacks["clinic-archive"].values["VpcId"] == stacks["clinic-network"].outputs["VpcId"]
    assert stacks["clinic-archive"].tags == [{"Key": "dicom-workflow:deployment", "Value": "clinic"}]
    assert {stack.name for stack in stacks.values() if stack.protected} == {
        f"clinic-{name}" for name in deployment.HOLDS_DATA[:3]
    }
    bucket = stacks["clinic-labeling"].values["ArtifactsBucket"]
    key = stacks["clinic-labeling"].values["PreAnnotationKey"]
    stored = boto3.client("s3", region_name=REGION).get_object(Bucket=bucket, Key=key)["Body"].read()
    assert "lambda_function.py" in zipfile.ZipFile(io.BytesIO(stored)).namelist()
    assert "labeling" not in stacks["clinic-labeling"].values["LabelingServiceContextKey"], (
        "nothing takes it, so nobody builds it"
    )


def test_a_second_run_finds_nothing_to_do(clinic: Clinic, cloudformation: CloudFormation) -> None:
    clinic.deploy()
    before = len(executed(cloudformation))
    assert clinic.deploy()["stacks"] == dict.fromkeys(ALL, "unchanged")
    assert len(executed(cloudformation)) == before
    assert "already uploaded" in clinic.text
    assert not cloudformation.change_sets, "empty change sets are cleared away"


def test_each_change_is_shown_before_it_is_asked_about(clinic: Clinic, cloudformation: CloudFormation) -> None:
    clinic.deploy()
    clinic.deploy("archive", Capacity="2")
    text = clinic.text
    assert "Modify" in text
    assert "Properties.ServerlessV2ScalingConfiguration" in text
    assert clinic.questions[-1] == "Update stack clinic-archive?"


def test_no_is_no_and_leaves_nothing_behind(clinic: Clinic, cloudformation: CloudFormation) -> None:
    clinic.deployment.confirm = lambda question: False
    with pytest.raises(DeclinedError, match="Create stack clinic-foundation"):
        clinic.deploy()
    assert clinic.status("foundation") == "absent"
    assert not executed(cloudformation)


@pytest.mark.parametrize("stopped", [DeployError("Nobody is at the terminal."), KeyboardInterrupt()])
def test_stopped_at_the_question_nothing_is_left_behind(
    clinic: Clinic, cloudformation: CloudFormation, stopped: BaseException
) -> None:
    def ask(question: str) -> bool:
        raise stopped

    clinic.deployment.confirm = ask
    with pytest.raises(type(stopped)):
        clinic.deploy()
    assert clinic.status("foundation") == "absent"
    assert not cloudformation.change_sets


def test_values_of_the_last_deployment_stay_unless_given(clinic: Clinic, cloudformation: CloudFormation) -> None:
    clinic.deploy(Capacity="4")
    clinic.deployment.__dict__.pop("templates")
    (clinic.deployment.folder / "archive.yaml").write_text(
        ARCHIVE.replace('Cpu: "512"', 'Cpu: "1024"').replace("Default: 1,", "Default: 2,")
    )
    clinic.messages.clear()
    values = plan.make(clinic.deployment, ["archive"], ParameterOverrides(), {}).stacks[0].values
    deployer = StackDeployer(clinic.deployment)
    deployer.deploy("archive", deployer.recover("archive"), values)
    [stack] = [item for item in cloudformation.stacks.values() if item.name == "clinic-archive"]
    assert (stack.values["Capacity"], stack.values["Pin"]) == ("4", "s3cr3t-pin")
    sent = [asked for name, asked in cloudformation.asked if name == "CreateChangeSet"][-1]["Parameters"]
    assert {"ParameterKey": "Pin", "UsePreviousValue": True} in sent


def test_no_secret_value_is_ever_shown(clinic: Clinic, cloudformation: CloudFormation) -> None:
    clinic.deploy()
    found = plan.make(clinic.deployment, ["archive"], ParameterOverrides({"Host": "h", "Pin": "s3cr3t-pin"}), {})
    shown = [value.shown() for value in found.stacks[0].values.values()]
    assert "****" in shown
    with pytest.raises(DeployError) as refused:
        plan.make(clinic.deployment, ["archive"], ParameterOverrides({"Host": "h", "Pin": "abc"}), {})
    assert "a value that is not shown" in str(refused.value)
    for text in (clinic.text, str(shown), str(refused.value), repr(clinic.deployment.find("archive"))):
        assert "s3cr3t" not in text
        assert "'abc'" not in text


# ---- what goes wrong --------------------------------------------------------------------------------------------------------


def test_a_creation_that_fails_says_its_first_cause_and_is_made_anew(clinic: Clinic, cloudformation: CloudFormation) -> None:
    cloudformation.fails["Database"] = "The DB cluster quota is exceeded\u009b2J\u202eowned"
    with pytest.raises(DeployError) as failed:
        clinic.deploy()
    said = str(failed.value)
    assert "Database (AWS::RDS::DBCluster): The DB cluster quota is exceeded" in said
    assert "cancelled" not in said
    assert "ROLLBACK_COMPLETE" in said
    assert said.endswith("continue with: dicom-workflow deploy --name clinic")
    assert not {"\u009b", "\u202e"} & set(said + clinic.text)
    cloudformation.fails.clear()
    made = clinic.deploy()
    assert "Delete the failed stack clinic-archive and create it again?" in clinic.questions
    assert made["stacks"] == {"foundation": "unchanged", "network": "unchanged", "archive": "created", "labeling": "created"}


def test_an_update_that_fails_is_undone_and_a_caution(clinic: Clinic, cloudformation: CloudFormation) -> None:
    clinic.deploy()
    cloudformation.fails["Database"] = "no capacity"
    with pytest.raises(DeployError, match="UPDATE_ROLLBACK_COMPLETE: the stack is as it was before"):
        clinic.deploy(Capacity="8")
    standing = clinic.deployment.status()
    assert standing.half_deployed == []
    assert standing.cautions == ["clinic-archive: its last update failed and was rolled back (UPDATE_ROLLBACK_COMPLETE)"]
    cloudformation.fails.clear()
    assert clinic.deploy(Capacity="8")["stacks"]["archive"] == "updated"


def test_an_update_whose_undoing_got_stuck_is_finished_first(clinic: Clinic, cloudformation: CloudFormation) -> None:
    clinic.deploy()
    cloudformation.fails["Database"], cloudformation.stuck = "no capacity", {"Writer"}
    with pytest.raises(DeployError, match="UPDATE_ROLLBACK_FAILED"):
        clinic.deploy(Capacity="8")
    assert clinic.deployment.status().half_deployed[0].startswith("clinic-archive is in UPDATE_ROLLBACK_FAILED: The following")
    cloudformation.fails.clear()
    with pytest.raises(DeployError, match="half updated"):
        clinic.deploy(Capacity="8")
    cloudformation.stuck.clear()
    assert clinic.deploy(Capacity="8")["stacks"]["archive"] == "updated"
    assert cloudformation.names("ContinueUpdateRollback") == ["clinic-archive"] * 2


def test_what_another_run_started_is_waited_for(clinic: Clinic, cloudformation: CloudFormation) -> None:
    clinic.deploy("foundation")
    [stack] = cloudformation.stacks.values()
    stack.status = "UPDATE_IN_PROGRESS"
    stack.work = itertools.chain([None] * 15, cloudformation._roll_back(stack, "UPDATE"))
    assert clinic.deploy("foundation")["stacks"] == {"foundation": "unchanged"}
    assert "UPDATE_IN_PROGRESS; waiting for the operation in progress" in clinic.text


def test_a_change_set_that_was_never_executed_is_made_anew(clinic: Clinic, cloudformation: CloudFormation) -> None:
    template = clinic.deployment.templates["foundation"]
    values = [{"ParameterKey": "DeploymentName", "ParameterValue": "clinic"}]
    left = clinic.deployment.cloud.create_change_set(template, "clinic-foundation", values, clinic.deployment.tags, is_new=True)
    assert clinic.status("foundation") == "REVIEW_IN_PROGRESS"
    assert clinic.deploy("foundation")["stacks"] == {"foundation": "created"}
    assert "replacing the change set of an earlier run" in clinic.text
    assert left.id not in cloudformation.change_sets
    assert len(cloudformation.stacks) == 1


def test_a_stack_of_somebody_else_is_left_alone(clinic: Clinic, cloudformation: CloudFormation) -> None:
    other = Deployment("clinic", clinic.deployment.cloud, print, lambda question: True, clinic.deployment.folder)
    template = other.templates["foundation"]
    change_set = other.cloud.create_change_set(
        template,
        "clinic-foundation",
        [{"ParameterKey": "DeploymentName", "ParameterValue": "x"}],
        {"team": "other"},
        is_new=True,
    )
    other.cloud.execute(change_set)
    while other.cloud.find("clinic-foundation").is_busy:
        pass
    with pytest.raises(DeployError, match="stack clinic-foundation does not belong to deployment clinic"):
        clinic.deploy()


@pytest.mark.parametrize(("kind", "words"), [("True", "REPLACES DATA"), ("Conditional", "MAY REPLACE DATA")])
def test_data_are_not_replaced_unless_that_is_said(
    clinic: Clinic, cloudformation: CloudFormation, kind: str, words: str
) -> None:
    clinic.deploy()
    cloudformation.replaced["PixelBucket"] = kind
    before = len(executed(cloudformation))
    with pytest.raises(DeployError, match="data would be lost") as refused:
        clinic.deploy(Host="other.invalid")
    assert f"{words}: PixelBucket (AWS::S3::Bucket, clinic-archive-pixelbucket-" in clinic.text
    assert str(refused.value).endswith("--allow-replacement PixelBucket")
    assert len(executed(cloudformation)) == before
    assert clinic.status("archive") == "CREATE_COMPLETE"
    assert clinic.deploy(Host="other.invalid", allowed=["PixelBucket"])["stacks"]["archive"] == "updated"


def test_data_that_would_leave_a_stack_are_named(clinic: Clinic, cloudformation: CloudFormation) -> None:
    clinic.deploy()
    path = clinic.deployment.folder / "archive.yaml"
    data = path.read_text()
    start, end = data.index("  PixelBucket:\n"), data.index("  OrthancSecret:\n")
    path.write_text(data[:start] + data[end:].replace("  PixelBucket: {Value: !Ref PixelBucket}\n", ""))
    clinic.deployment.__dict__.pop("templates")
    with pytest.raises(DeployError, match=r"--allow-replacement PixelBucket"):
        clinic.deploy()
    assert "REMOVES DATA: PixelBucket" in clinic.text
    assert "the old one is kept outside the stack" in clinic.text


def test_a_resource_without_data_is_replaced_without_ado(clinic: Clinic, cloudformation: CloudFormation) -> None:
    clinic.deploy()
    cloudformation.replaced["Task"] = "True"
    clinic.deploy(Host="other.invalid")
    assert any("Task" in line and "YES" in line for line in clinic.text.splitlines())


# ---- parameters -------------------------------------------------------------------------------------------------------------


def test_everything_wrong_with_parameters_is_said_at_once(clinic: Clinic, cloudformation: CloudFormation) -> None:
    given = ParameterOverrides(
        {"Hots": "x", "Capacity": "9", "Gateways": "two"}, {"labeling": {"Backend": "SelfHosted", "Host": "y"}}
    )
    with pytest.raises(DeployError) as refused:
        plan.make(clinic.deployment, [], given, {})
    said = str(refused.value)
    for words in (
        "unknown parameter 'Hots': no template declares it; did you mean Host?",
        "unknown parameter 'Host': stack labeling does not declare it",
        "archive: Host has no value (Name of the archive); give it with --set Host VALUE",
        "archive: Pin has no value (A secret of the archive)",
        "archive: Capacity: expected a number from 0.5 to 8, got '9'",
        "network: Gateways: expected one of none, one, got 'two'",
        "labeling: SelfHosted needs PortalHost.",
    ):
        assert words in said, words
    assert not executed(cloudformation)


def test_an_output_that_no_stack_gives_names_the_stack_that_would(clinic: Clinic) -> None:
    with pytest.raises(DeployError) as refused:
        plan.make(clinic.deployment, ["archive"], ParameterOverrides({"Host": "h", "Pin": "1234"}), {})
    assert "VpcId has no value (Network the archive stands in); it is an output of stack network: deploy that stack too" in str(
        refused.value
    )


def test_a_network_of_ones_own_leaves_the_network_stack_out(clinic: Clinic, cloudformation: CloudFormation) -> None:
    assert "network" not in clinic.deploy(VpcId="vpc-1")["stacks"]


def test_values_of_a_file_are_the_texts_that_are_written_there(tmp_path: Path) -> None:
    path = tmp_path / "deployment.yaml"
    path.write_text("AccountId: 012345678901\nSubnets: [subnet-1, subnet-2]\nOn: yes\narchive:\n  Host: a.b\n")
    given = ParameterOverrides.read(path, [("Host", "over")])
    assert given.of("archive") == {"AccountId": "012345678901", "Subnets": "subnet-1,subnet-2", "On": "yes", "Host": "a.b"}
    assert given.of("network")["Host"] == "over"
    path.write_text("archiv:\n  Host: a\n")
    with pytest.raises(DeployError, match=r"expected parameters or stacks \(foundation, .*\), got archiv"):
        ParameterOverrides.read(path)


@pytest.mark.parametrize("name", ["", "Clinic", "1a", "a" * 32, "a_b", "a-", "a--b", "ward-aws", "cognito"])
def test_a_name_that_cannot_begin_other_names_is_refused(name: str, tmp_path: Path) -> None:
    """Databases take no two hyphens in a row; Cognito takes neither its own name nor Amazon's in an address."""
    with pytest.raises(DeployError, match=r"--name: expected (1 to 31 lower-case letters|a name without)"):
        Deployment(name, CloudFormationClient(boto3.Session(region_name=REGION)), print, folder=tmp_path)


# ---- artifacts --------------------------------------------------------------------------------------------------------------


def test_artifacts_have_the_same_bytes_whenever_the_code_has(tmp_path: Path) -> None:
    wanted = ("PreAnnotationKey", "WheelsPrefix", "NotebooksKey", "InferenceContextKey")
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made.append(artifacts.build(tmp_path / name, wanted))
    assert [item.sha256 for item in made[0]] == [item.sha256 for item in made[1]]
    assert all(item.sha256[:16] in item.key for item in made[0] if item.parameter != "WheelsPrefix")
    assert len({item.value for item in made[0] if item.parameter == "WheelsPrefix"}) == 1


def test_what_a_training_job_is_sent_can_read_the_answers_of_a_real_channel(tmp_path: Path) -> None:
    staged = stage_source(tmp_path / "staged")
    code = "from dicom_workflow.formats import answers; print(len(answers.answer_schema().problem({})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=staged, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0, "an empty answer is none"


def test_the_wheel_installs_and_starts(tmp_path: Path) -> None:
    wheel = packaging.build_wheel(tmp_path)
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(tmp_path / "site"),
        str(wheel),
    ]
    subprocess.run(command, check=True, timeout=120)
    code = "import dicom_workflow, dicom_workflow.aws.stacks.prices as p; print(dicom_workflow.__file__, len(p.load()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "site", capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith(str(tmp_path / "site"))
    assert (tmp_path / "site" / "bin" / "dicom-workflow").is_file()


def test_an_artifact_counts_when_it_was_read_back(clinic: Clinic, cloudformation: CloudFormation, tmp_path: Path) -> None:
    clinic.deploy("foundation")
    bucket = clinic.deployment.outputs()["ArtifactsBucket"]
    s3 = boto3.client("s3", region_name=REGION)
    (tmp_path / "made").mkdir()
    [made] = artifacts.build(tmp_path / "made", ["PreAnnotationKey"])
    s3.put_object(Bucket=bucket, Key=made.key, Body=b"cut off in the middle")
    said: list[str] = []
    artifacts.upload([made], bucket, Storage(clinic.settings, client=s3), said.append)
    assert s3.get_object(Bucket=bucket, Key=made.key)["Body"].read() == made.path.read_bytes()
    artifacts.upload([made], bucket, Storage(clinic.settings, client=s3), said.append)
    assert said == [f"{made.key}: {made.size_bytes:,} bytes uploaded and verified", f"{made.key}: already uploaded"]

    class Forgetful:
        """A store that says yes and keeps something else."""

        def __getattr__(self, name: str) -> Any:
            return getattr(s3, name)

        def upload_fileobj(self, stream: Any, bucket: str, key: str, ExtraArgs: Any) -> None:
            s3.put_object(Bucket=bucket, Key=key, Body=stream.read()[:-1])

    s3.delete_object(Bucket=bucket, Key=made.key)
    with pytest.raises(VerificationError, match=f"expected SHA-256 {made.sha256}"):
        artifacts.upload([made], bucket, Storage(clinic.settings, client=Forgetful()), said.append)


def test_a_long_template_goes_by_way_of_the_artifacts_bucket(clinic: Clinic, cloudformation: CloudFormation) -> None:
    path = clinic.deployment.folder / "network.yaml"
    path.write_text(path.read_text() + "# a long comment\n" * 4000)
    assert clinic.deploy("foundation", "network")["stacks"]["network"] == "created"
    sent = [asked for name, asked in cloudformation.asked if name == "CreateChangeSet"][-1]
    assert sent["TemplateURL"].startswith("https://clinic-foundation-artifactsbucket-")
    assert "TemplateBody" not in sent


# ---- smoke checks, costs, drift ---------------------------------------------------------------------------------------------


def test_an_open_bucket_fails_and_an_archive_out_of_reach_does_not(clinic: Clinic, cloudformation: CloudFormation) -> None:
    made = clinic.deploy()
    by_outcome: dict[str, list[str]] = {}
    for check in made["checks"]:
        by_outcome.setdefault(check["outcome"], []).append(check["check"])
    assert made["ok"] is False
    assert {what.split()[-1] for what in by_outcome[smoke.FAILED] if what.startswith("bucket clinic-labeling")} == {
        "public",
        "HTTP",
    }
    assert by_outcome[smoke.UNREACHABLE] == [
        "the archive refuses requests without credentials",
        "the archive answers requests with credentials",
    ]
    assert sum(what.startswith("bucket clinic-foundation") for what in by_outcome[smoke.OK]) == 2


@pytest.mark.parametrize(
    ("change", "refuses"),
    [({}, True), ({"Effect": "Allow"}, False), ({"Principal": {"AWS": "arn:aws:iam::1:root"}}, False),
     ({"Action": "s3:GetObject"}, False), ({"Condition": {"Bool": {"aws:SecureTransport": "true"}}}, False),
     ({"Condition": {}}, False)],
)  # fmt: skip
def test_only_a_policy_that_denies_everybody_everything_refuses_plain_http(change: dict[str, Any], refuses: bool) -> None:
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    assert smoke.refuses_plain_http({"Statement": [{**statement, **change}]}) is refuses


def test_the_cost_note_is_the_arithmetic_of_the_table(clinic: Clinic) -> None:
    table = prices.load()
    given = ParameterOverrides({"Host": "h", "Pin": "1234", "Capacity": "2"})
    found = plan.make(clinic.deployment, [], given, {}, states={})
    stacks = {planned.stack: planned.evaluation for planned in found.stacks}
    lines, unknown = costs.fixed_costs(stacks, table)
    by_what = {(line.stack, line.what): line.usd for line in lines}
    assert by_what["network", "NAT gateways"] == pytest.approx(730 * table["nat_gateway"].usd)
    assert by_what["archive", "Database, 1 instances at 2 ACU"] == pytest.approx(2 * 730 * table["aurora_acu"].usd)
    assert by_what["archive", "secrets"] == pytest.approx(table["secret"].usd)
    assert not unknown
    assert f"{sum(by_what.values()):,.2f} USD a month" in "\n".join(costs.note(stacks, REGION))
    without = plan.make(clinic.deployment, [], ParameterOverrides({**given.everywhere, "Gateways": "none"}), {}, states={})
    assert not any(
        line.what == "NAT gateways" for line in costs.fixed_costs({"network": without.stacks[1].evaluation}, table)[0]
    )
    assert "not of eu-central-1" in "\n".join(costs.note(stacks, "eu-central-1"))


def test_drift_is_named_without_values(clinic: Clinic, cloudformation: CloudFormation) -> None:
    clinic.deploy()
    cloudformation.drifted["PixelBucket"] = ["/VersioningConfiguration/Status"]
    found = clinic.deployment.drift()
    assert found["archive"] == [("PixelBucket", "AWS::S3::Bucket", "MODIFIED", "/VersioningConfiguration/Status")]
    assert found["network"] == []
    assert "secret-" not in str(found)


# ---- removal ----------------------------------------------------------------------------------------------------------------


def test_removal_goes_backwards_lifts_protection_and_leaves_data(clinic: Clinic, cloudformation: CloudFormation) -> None:
    clinic.deploy()
    found = destroy.inventory(clinic.deployment)
    assert [state.name for _, state in found.stacks] == [f"clinic-{stack}" for stack in ALL[::-1]]
    assert {(item.stack, item.logical_id) for item in found.retained} == {
        ("foundation", "Key"), ("foundation", "ArtifactsBucket"), ("archive", "Database"), ("archive", "PixelBucket"),
        ("archive", "OrthancSecret"), ("labeling", "LabelingBucket"),
    }  # fmt: skip
    destroy.delete_stacks(clinic.deployment, found)
    assert cloudformation.names("DeleteStack") == [state.id for _, state in found.stacks]
    [archive] = [stack for stack in cloudformation.stacks.values() if stack.name == "clinic-archive"]
    assert archive.values["ProtectData"] == "false", "else the database would refuse and the stack end half deleted"
    assert boto3.client("s3", region_name=REGION).head_bucket(Bucket=archive.outputs["PixelBucket"])
    after = destroy.inventory(clinic.deployment)
    assert after.stacks == ()
    assert set(after.retained) == set(found.retained), "what stayed is still known when the stacks are gone"


def test_what_goes_with_its_stack_and_may_be_missed_is_named(clinic: Clinic, cloudformation: CloudFormation) -> None:
    path = clinic.deployment.folder / "network.yaml"
    notebook = "  Notebook: {Type: AWS::SageMaker::NotebookInstance, Properties: {InstanceType: ml.t3.medium}}\nOutputs:\n"
    path.write_text(path.read_text().replace("Outputs:\n", notebook))
    clinic.deploy("foundation", "network")
    found = destroy.inventory(clinic.deployment)
    assert [(item.stack, item.logical_id) for item in found.lost] == [("network", "Notebook")]


def test_data_go_with_every_version_and_what_could_not_go_is_said(clinic: Clinic, cloudformation: CloudFormation) -> None:
    clinic.deploy()
    outputs = clinic.deployment.outputs()
    s3 = boto3.client("s3", region_name=REGION)
    for body in (b"one", b"two"):
        s3.put_object(Bucket=outputs["PixelBucket"], Key="image", Body=body)
    s3.delete_object(Bucket=outputs["PixelBucket"], Key="image")
    s3.create_multipart_upload(Bucket=outputs["PixelBucket"], Key="unfinished")
    found = destroy.inventory(clinic.deployment)
    destroy.delete_stacks(clinic.deployment, found)
    stays = (*found.retained, destroy.DataResource("archive", "Datastore", "AWS::HealthImaging::Datastore", "d"))
    left = destroy.delete_data(clinic.deployment, stays)
    assert [(item.logical_id, why) for item, why in left] == [("Datastore", "this command cannot delete this type")]
    with pytest.raises(s3.exceptions.ClientError, match="404"):
        s3.head_bucket(Bucket=outputs["PixelBucket"])
    assert "deleted with 3 versions of objects" in clinic.text
    assert destroy.delete_data(clinic.deployment, stays) == left, "again is no harm"
    assert "(AWS::S3::Bucket): already deleted" in clinic.text


def test_a_removal_that_fails_goes_on_where_it_stopped(clinic: Clinic, cloudformation: CloudFormation) -> None:
    clinic.deploy()
    cloudformation.stuck = {"Vpc"}
    with pytest.raises(
        DeployError, match=r"DELETE_FAILED. First causes:\n  Vpc \(AWS::EC2::VPC\): it is still in use"
    ) as failed:
        destroy.delete_stacks(clinic.deployment, destroy.inventory(clinic.deployment))
    assert "continue with: dicom-workflow destroy --name clinic" in str(failed.value)
    with pytest.raises(DeployError, match=r"stack clinic-\w+ cannot be deployed in DELETE_FAILED"):
        clinic.deploy()
    assert clinic.deployment.status().half_deployed
    cloudformation.stuck.clear()
    destroy.delete_stacks(clinic.deployment, destroy.inventory(clinic.deployment))
    assert destroy.inventory(clinic.deployment).stacks == ()


# ---- settings ---------------------------------------------------------------------------------------------------------------


def test_settings_are_read_from_stacks_and_secrets(clinic: Clinic, cloudformation: CloudFormation, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="There is no stack clinic-archive in us-east-1"):
        deployment_settings.read("clinic")
    clinic.deploy("foundation", "network", "archive")
    with pytest.raises(SettingsError, match="There is no stack clinic-labeling"):
        deployment_settings.read("clinic")
    clinic.deploy()
    found = deployment_settings.read("clinic", base=Settings(tmp_path))
    assert (found.orthanc_url, found.orthanc_user, found.groundtruth_url) == ("https://pacs.invalid", "orthanc", "aws")
    assert found.orthanc_password.reveal().startswith("made-for-clinic-archive-orthancsecret")
    assert "made-for" not in repr(found)
    assert found.workspace == tmp_path


def test_settings_of_the_labeling_service_have_its_keys_and_the_environment_comes_first(
    clinic: Clinic, cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    labeling_service = {
        "Backend": "SelfHosted",
        "PortalHost": "label.invalid",
        "LabelingServiceContextKey": "labeling-service/given.zip",
    }
    clinic.deploy(**labeling_service)
    monkeypatch.setenv("DICOM_WORKFLOW_DEPLOYMENT", "clinic")
    found = deployment_settings.complete(Settings.from_env())
    assert (found.groundtruth_url, found.groundtruth_access_key) == ("https://label.invalid", "AKIALABELING")
    assert found.groundtruth_secret_key.reveal().startswith("made-for-")
    monkeypatch.setenv("ORTHANC_URL", "https://mine.invalid")
    found = deployment_settings.complete(Settings.from_env())
    assert (found.orthanc_url, found.orthanc_user, found.groundtruth_url) == (
        "https://mine.invalid",
        "",
        "https://label.invalid",
    )
    assert Settings.from_env().groundtruth_url == ""


def test_a_secret_or_an_output_that_is_not_there_is_named(clinic: Clinic, cloudformation: CloudFormation) -> None:
    clinic.deploy()
    [archive] = [stack for stack in cloudformation.stacks.values() if stack.name == "clinic-archive"]
    secrets = boto3.client("secretsmanager", region_name=REGION)
    secrets.put_secret_value(SecretId=archive.outputs["OrthancSecretArn"], SecretString='{"password": "hidden-1"}')
    with pytest.raises(SettingsError, match="expected a JSON object with username and password") as refused:
        deployment_settings.read("clinic")
    assert "hidden-1" not in str(refused.value)
    del archive.outputs["OrthancSecretArn"]
    with pytest.raises(SettingsError, match="Stack clinic-archive has no output OrthancSecretArn"):
        deployment_settings.read("clinic")
    archive.outputs = {"HealthImagingDatastoreId": "d"}
    with pytest.raises(SettingsError, match="its archive is a HealthImaging data store"):
        deployment_settings.read("clinic")


# ---- templates --------------------------------------------------------------------------------------------------------------

OWN = sorted(deployment.templates_folder().glob("*.yaml"))


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_our_own_templates_come_to_something_for_every_condition(path: Path) -> None:
    template = Template.read(path.stem, path.parent)
    evaluation = Evaluation(template, {})
    assert evaluation.resources()
    for condition in template.conditions:
        assert evaluation.holds(condition) in (True, False)
    for name in evaluation.resources():
        assert isinstance(evaluation.properties(name), dict)
    assert template.is_short() or path.stem != "foundation", "there is no bucket yet to send the first stack's template through"


def test_what_cloudformation_would_refuse_is_said_for_resources_that_there_will_be(templates: Path) -> None:
    good = Template.read("network", templates)
    assert lint(good, good.resources, REGION) == []
    wrong = Template.of_text("network", good.path, good.text.replace("SubnetId: subnet-0123abcd", "Subnet: x"))
    found = lint(wrong, wrong.resources, REGION)
    assert found
    assert "network.yaml, line" in found[0]
    assert lint(wrong, ["Vpc"], REGION) == [], "the gateway is none of this deployment's"


def test_short_forms_and_functions_come_to_what_cloudformation_makes_of_them() -> None:
    text = """
Parameters:
  A: {Type: String, Default: x}
  L: {Type: CommaDelimitedList, Default: "a,b"}
  E: {Type: CommaDelimitedList, Default: ""}
Mappings: {M: {x: {k: v}}}
Conditions:
  IsX: !Equals [!Ref A, x]
  IsNotX: !Not [!Condition IsX]
  Both: !And [!Condition IsX, !Condition IsNotX]
  Empty: !Equals [!Join ["", !Ref E], ""]
Resources:
  R:
    Type: T
    Properties:
      Sub: !Sub ["${A}-${B}-${!C}-${AWS::Region}", {B: !Select [1, !Ref L]}]
      Join: !Join ["+", !Ref L]
      Split: !Split [",", "p,q"]
      Map: !FindInMap [M, !Ref A, k]
      If: !If [IsNotX, one, !Ref AWS::NoValue]
      Att: !GetAtt R.Arn
      Base: !Base64 text
      Date: 2012-10-17
  Off: {Type: T, Condition: Both}
Outputs: {O: {Condition: Empty, Value: !Ref L}, P: {Condition: Both, Value: 1}}
"""
    evaluation = Evaluation(Template.of_text("s", Path("s.yaml"), text), {}, {"AWS::Region": "eu-west-1"})
    assert list(evaluation.resources()) == ["R"]
    assert evaluation.properties("R") == {
        "Sub": "x-b-${C}-eu-west-1", "Join": "a+b", "Split": ["p", "q"], "Map": "v", "Att": "‹R.Arn›", "Base": "‹Base64›",
        "Date": "2012-10-17",
    }  # fmt: skip
    assert evaluation.outputs() == {"O": "a,b"}
    assert parse('{"Resources": {}}') == {"Resources": {}}


def test_a_table_is_plain_text() -> None:
    text = tables.table(("a", "b"), [("one\x1b[31m\nred", 2)])
    assert text.splitlines()[-1] == "one [31m red  2"


def test_a_table_fits_its_terminal_and_cuts_no_word() -> None:
    arn = "arn:aws:acm:eu-central-1:111122223333:certificate/" + "0" * 36
    rows = [("Modify", "", "AWS::ElasticLoadBalancingV2::LoadBalancer", "one, two, three, four, five, six, seven, eight")]
    lines = tables.table(("action", "nothing", "type", "what changes"), rows, width=50).splitlines()
    assert max(map(len, lines)) <= 50
    assert "nothing" not in lines[0], "a column in which nothing is said is left out"
    assert [line.split()[0] for line in lines[3:]] == ["ElasticLoadBalancingV2::", "LoadBalancer"]
    rows = [("CertificateArn", "output to come of network", arn)]
    lines = tables.table(("parameter", "from", "value"), rows, width=70).splitlines()
    assert lines[-1] == f"CertificateArn  output to come of network  {arn}"
    assert len(lines[1]) <= 70, "no line is drawn beyond the edge for it"


def test_what_a_deployment_opens_and_keeps_is_read_from_its_templates() -> None:
    text = """
Resources:
  Balancer: {Type: AWS::ElasticLoadBalancingV2::LoadBalancer, Properties: {Scheme: !If [Open, internet-facing, internal]}}
  Group:
    Type: AWS::EC2::SecurityGroup
    Properties: {SecurityGroupIngress: [{IpProtocol: tcp, FromPort: 443, ToPort: 443, CidrIp: !Ref From}]}
  Bucket: {Type: AWS::S3::Bucket, DeletionPolicy: Retain}
  Nat: {Type: AWS::EC2::NatGateway, DeletionPolicy: Retain}
Parameters: {From: {Type: String}}
Conditions: {Open: !Equals [!Ref From, 0.0.0.0/0]}
"""
    template = Template.of_text("s", Path("s.yaml"), text)
    closed = {"s": Evaluation(template, {"From": "10.0.0.0/8"})}
    assert preview.internet_facing(closed) == []
    assert preview.open_ports(closed) == ["s: port 443 from 10.0.0.0/8 (Group)"]
    assert (preview.retained_data(closed), preview.nat_gateways(closed)) == (["s: Bucket"], ["s: Nat"])
    opened = {"s": Evaluation(template, {"From": "0.0.0.0/0"})}
    assert preview.internet_facing(opened) == ["s: Balancer, a load balancer with public addresses"]
    assert preview.open_ports(opened) == ["s: port 443 from 0.0.0.0/0, THE WHOLE INTERNET (Group)"]


# ---- moto's CloudFormation --------------------------------------------------------------------------------------------------


def test_change_sets_are_made_executed_and_found_empty_by_moto(aws: str, tmp_path: Path, templates: Path) -> None:
    """Where moto is able: it knows neither protection nor drift, so only stacks that hold no data."""
    clinic = Clinic(templates, tmp_path, aws)
    values = plan.make(clinic.deployment, ["network"], ParameterOverrides({"Gateways": "none"}), {}).stacks[0].values
    deployer = StackDeployer(clinic.deployment)
    state = deployer.deploy("network", deployer.recover("network"), values)
    assert state.status == "CREATE_COMPLETE"
    vpc = next(item for item in clinic.deployment.cloud.resources("clinic-network") if item["LogicalResourceId"] == "Vpc")
    assert vpc["ResourceType"] == "AWS::EC2::VPC"
    assert boto3.client("ec2", region_name=REGION).describe_vpcs(VpcIds=[vpc["PhysicalResourceId"]])["Vpcs"]
    deployer.deploy("network", deployer.recover("network"), values)
    assert deployer.done == {"network": "unchanged"}
    found = destroy.inventory(clinic.deployment)
    assert found.resource_count >= 1
    destroy.delete_stacks(clinic.deployment, found)
    assert clinic.status("network") == "absent"


def test_notebook_parameters_keep_what_a_person_wrote(clinic: Clinic, cloudformation: CloudFormation, tmp_path: Path) -> None:
    clinic.deploy()
    outputs = clinic.deployment.outputs()
    path, base = tmp_path / "aws.yaml", Path(__file__).parents[3] / "notebooks" / "parameters" / "aws.yaml"
    values = deployment_settings.write_notebook_parameters(path, outputs, template=base, name="clinic", region=REGION)
    bucket = clinic.deployment.outputs()["LabelingBucket"]
    assert values["01_upload_to_orthanc"]["copies_folder"] == f"s3://{bucket}/images"
    assert "groundtruth-example" not in path.read_text()
    path.write_text(path.read_text().replace("epochs: 40", "epochs: 3").replace(bucket, "edited"))
    again = deployment_settings.write_notebook_parameters(path, outputs, template=base, name="clinic", region=REGION)
    assert again["06_train_densenet"]["epochs"] == 3
    assert again["01_upload_to_orthanc"]["copies_folder"] == f"s3://{bucket}/images"
    assert json.dumps(again["07_evaluate_and_predict"]) == json.dumps(values["07_evaluate_and_predict"])
