"""Delete the stacks of a deployment, last first, and, if requested twice, the data that CloudFormation retains.

Retained resources are read from CloudFormation, which lists a deleted stack and its skipped resources for 90 days: an
interrupted deletion can be continued, and data can still be deleted after their stacks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_workflow.aws.errors import aws_errors
from dicom_workflow.aws.stacks import wait
from dicom_workflow.aws.stacks.change_sets import data_loss
from dicom_workflow.aws.stacks.deployment import DATA_TYPES, DEPLOYMENT_TAG, STACKS, Deployment
from dicom_workflow.aws.stacks.stack_state import GOOD, READY, ChangeSet, StackState, plain
from dicom_workflow.errors import DeployError

_POLICIES = ("AWS::S3::BucketPolicy", "AWS::SecretsManager::ResourcePolicy", "AWS::KMS::Alias")
"""Retained only to protect another resource; they hold no data."""

_USER_DATA = DATA_TYPES - {"AWS::Logs::LogGroup", "AWS::RDS::DBInstance"}
"""Types that may hold user data. A database instance holds nothing that its cluster does not; logs follow their policy."""


@dataclass(frozen=True)
class DataResource:
    """A resource that holds data: retained after its stack is deleted, or deleted with its stack."""

    stack: str
    logical_id: str
    type: str
    physical_id: str

    def row(self) -> tuple[str, ...]:
        """Return stack, logical id, type and physical id."""
        return (self.stack, self.logical_id, self.type, self.physical_id)


@dataclass(frozen=True)
class Inventory:
    """What the deletion of a deployment affects."""

    stacks: tuple[tuple[str, StackState], ...]
    """Existing stacks, in order of deletion."""
    resource_count: int
    retained: tuple[DataResource, ...]
    """Data resources that are not deleted with their stack, including those of stacks that are already deleted."""
    lost: tuple[DataResource, ...] = ()
    """Data resources that are deleted with their stack, such as the volume of a notebook."""


def inventory(deployment: Deployment) -> Inventory:
    """Return the existing stacks of a deployment and its data resources."""
    existing = [(stack, state) for stack, state in deployment.states().items() if state and state.status != "DELETE_COMPLETE"]
    retained_resources: list[DataResource] = []
    lost: list[DataResource] = []
    count = 0
    for stack, state in existing:
        resources = deployment.cloud.resources(state.id) if state.exists else []
        present = [item for item in resources if item["ResourceStatus"] != "DELETE_COMPLETE"]
        retained = _retained(deployment, state, present)
        count += len(present) - len(retained)
        retained_resources += _resources(stack, retained)
        lost += _resources(stack, [item for item in present if item not in retained and item["ResourceType"] in _USER_DATA])
    for stack, state in _deleted_stacks(deployment):
        retained_resources += _resources(stack, _retained(deployment, state, deployment.cloud.resources(state.id)))
    return Inventory(tuple(existing[::-1]), count, tuple(dict.fromkeys(retained_resources)), tuple(lost))


def _resources(stack: str, items: list[Mapping[str, Any]]) -> list[DataResource]:
    return [
        DataResource(
            stack, plain(item["LogicalResourceId"]), plain(item["ResourceType"]), plain(item.get("PhysicalResourceId"))
        )
        for item in items
        if item["ResourceType"] not in _POLICIES and item.get("PhysicalResourceId")
    ]


def _retained(deployment: Deployment, state: StackState, items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The resources that the deployed template, which may differ from this checkout's, retains."""
    if not items:
        return []
    resources = deployment.cloud.template_of(state).resources
    kept = {name for name, item in resources.items() if item.get("DeletionPolicy", "Delete") != "Delete"}
    return [item for item in items if item["LogicalResourceId"] in kept or item["ResourceStatus"] == "DELETE_SKIPPED"]


def _deleted_stacks(deployment: Deployment) -> list[tuple[str, StackState]]:
    """The deleted stacks of this deployment that CloudFormation still lists."""
    names = {deployment.stack_name(stack): stack for stack in STACKS}
    client = deployment.cloud.client("cloudformation")
    with aws_errors("deleted stacks"):
        pages = client.get_paginator("list_stacks").paginate(StackStatusFilter=["DELETE_COMPLETE"])
        found = [item for page in pages for item in page["StackSummaries"] if item["StackName"] in names]
    ours = []
    for item in found:
        state = deployment.cloud.find(item["StackId"])
        if state and state.tags.get(DEPLOYMENT_TAG) == deployment.name:
            ours.append((names[item["StackName"]], state))
    return ours


def delete_stacks(deployment: Deployment, found: Inventory) -> None:
    """Delete the stacks of a deployment, last first. Resources with a retaining DeletionPolicy are kept.

    Raises
    ------
    DeployError
        A stack could not be deleted; the message has the first causes and how to continue.
    """
    for _, state in found.stacks:
        _delete_stack(deployment, state)


def _delete_stack(deployment: Deployment, shown: StackState) -> None:
    cloud = deployment.cloud
    state = cloud.find(shown.id)  # it may have changed since the user was asked
    if state and state.is_busy:
        state = wait.wait_for_operation(deployment, state)
    if state is None or state.status == "DELETE_COMPLETE":
        return
    if state.status in READY and "ProtectData" in state.parameters:
        _disable_deletion_protection(deployment, state)
    if state.protected:
        cloud.protect(state.name, False)
    ended = wait.run_operation(deployment, state, lambda: cloud.delete(state), must_begin=state.exists)
    if ended.status != "DELETE_COMPLETE":
        raise DeployError(
            f"stack {state.name} could not be deleted and is in {ended.status}. First causes:\n"
            f"{wait.failure_causes(cloud, ended)}\n"
            f"When they are fixed, continue with: {deployment.command('destroy')}"
        )
    deployment.report(f"{state.name}: deleted")


def _disable_deletion_protection(deployment: Deployment, state: StackState) -> None:
    """Deletion protection of databases, load balancers and user pools would make the deletion of a stack fail half way."""
    cloud = deployment.cloud
    values: list[dict[str, Any]] = [
        {"ParameterKey": name, **({"ParameterValue": "false"} if name == "ProtectData" else {"UsePreviousValue": True})}
        for name in state.parameters
    ]
    change_set = cloud.repeat_change_set(state, values)
    if change_set.is_empty:
        cloud.delete_change_set(change_set)
        return
    _check_no_data_loss(deployment, state, change_set)
    deployment.report(f"{state.name}: disabling deletion protection of its databases, load balancers and user pools")
    ended = wait.run_operation(deployment, state, lambda: cloud.execute(change_set))
    if ended.status not in GOOD:
        raise DeployError(
            f"stack {state.name}: deletion protection could not be disabled; it is in {ended.status}. First causes:\n"
            f"{wait.failure_causes(cloud, ended)}\nContinue with: {deployment.command('destroy')}"
        )


def _check_no_data_loss(deployment: Deployment, state: StackState, change_set: ChangeSet) -> None:
    """The user does not confirm this change set, so it must not replace data: a parameter resolved by AWS may differ."""
    template = deployment.cloud.template_of(state)
    dangers = [danger for item in change_set.changes if (danger := data_loss(item, template))]
    if change_set.status == "CREATE_COMPLETE" and not dangers:
        return
    deployment.cloud.delete_change_set(change_set)
    raise DeployError(
        f"stack {state.name}: deletion protection cannot be disabled ({'; '.join(dangers) or change_set.reason}), so it was "
        f"not deleted. Update it with `{deployment.command('deploy')}`, then delete it."
    )


def delete_data(deployment: Deployment, retained: tuple[DataResource, ...]) -> list[tuple[DataResource, str]]:
    """Delete retained resources, keys last, and return those that could not be deleted, each with the reason.

    AWS keeps keys and secrets for a waiting period, in which they can be restored.
    """
    left = []
    for item in sorted(retained, key=lambda item: item.type == "AWS::KMS::Key"):
        delete: Callable[[Any, str], str] | None = DELETERS.get(item.type)
        if delete is None:
            left.append((item, "this command cannot delete this type"))
            continue
        try:
            with aws_errors(item.physical_id):
                outcome = delete(deployment.cloud.client, item.physical_id)
        except DeployError as error:
            left.append((item, plain(error)))
            continue
        deployment.report(f"  {item.physical_id} ({item.type}): {outcome}")
    return left


Clients = Callable[[str], Any]
ALREADY_DELETED = "already deleted"
POLL_SECONDS = 2.0
MAX_POLLS = 60


def _bucket(client: Clients, name: str) -> str:
    """Deletes every version of every object and every unfinished upload, then the bucket."""
    s3, count = client("s3"), 0
    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
            found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            if found:
                objects = [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in found]
                refused = s3.delete_objects(Bucket=name, Delete={"Objects": objects, "Quiet": True}).get("Errors", ())
                if refused:
                    raise DeployError(f"{len(refused)} objects could not be deleted ({refused[0].get('Code')})")
                count += len(objects)
        for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=name):
            for item in page.get("Uploads", ()):
                s3.abort_multipart_upload(Bucket=name, Key=item["Key"], UploadId=item["UploadId"])
        s3.delete_bucket(Bucket=name)
    except s3.exceptions.NoSuchBucket:
        return ALREADY_DELETED
    return f"deleted with {count:,} versions of objects"


def _secret(client: Clients, arn: str) -> str:
    secrets = client("secretsmanager")
    try:
        response = secrets.delete_secret(SecretId=arn)
    except secrets.exceptions.ResourceNotFoundException:
        return ALREADY_DELETED
    except secrets.exceptions.InvalidRequestException:
        return "already scheduled for deletion"
    return f"will be deleted on {response['DeletionDate']:%Y-%m-%d}; until then it can be restored"


def _key(client: Clients, key: str) -> str:
    kms = client("kms")
    try:
        response = kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=30)
    except kms.exceptions.NotFoundException:
        return ALREADY_DELETED
    except kms.exceptions.KMSInvalidStateException:
        return "already scheduled for deletion"
    return f"will be deleted on {response['DeletionDate']:%Y-%m-%d}; until then the deletion can be canceled"


def _log_group(client: Clients, name: str) -> str:
    logs = client("logs")
    try:
        logs.delete_log_group(logGroupName=name)
    except logs.exceptions.ResourceNotFoundException:
        return ALREADY_DELETED
    return "deleted"


def _database(client: Clients, name: str) -> str:
    """Deletes a retained cluster, or the final snapshots of one that CloudFormation deleted."""
    rds, done = client("rds"), []
    try:
        for item in rds.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"]:
            rds.modify_db_cluster(DBClusterIdentifier=name, DeletionProtection=False, ApplyImmediately=True)
            for member in item.get("DBClusterMembers", ()):
                rds.delete_db_instance(DBInstanceIdentifier=member["DBInstanceIdentifier"])
            rds.delete_db_cluster(DBClusterIdentifier=name, SkipFinalSnapshot=True)
            done.append("deleted")
    except rds.exceptions.DBClusterNotFoundFault:
        pass
    found = rds.get_paginator("describe_db_cluster_snapshots").paginate(DBClusterIdentifier=name, SnapshotType="manual")
    for item in [item for page in found for item in page["DBClusterSnapshots"]]:
        rds.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier=item["DBClusterSnapshotIdentifier"])
        done.append(f"snapshot {item['DBClusterSnapshotIdentifier']} deleted")
    return ", ".join(done) or ALREADY_DELETED


def _file_system(client: Clients, name: str) -> str:
    efs = client("efs")
    try:
        for item in efs.describe_mount_targets(FileSystemId=name)["MountTargets"]:
            efs.delete_mount_target(MountTargetId=item["MountTargetId"])
        for _ in range(MAX_POLLS):  # the file system can only be deleted after its last mount target
            if not efs.describe_mount_targets(FileSystemId=name)["MountTargets"]:
                break
            time.sleep(POLL_SECONDS)
        efs.delete_file_system(FileSystemId=name)
    except efs.exceptions.FileSystemNotFound:
        return ALREADY_DELETED
    return "deleted"


def _user_pool(client: Clients, name: str) -> str:
    cognito = client("cognito-idp")
    try:
        pool = cognito.describe_user_pool(UserPoolId=name)["UserPool"]
        if pool.get("Domain"):
            cognito.delete_user_pool_domain(Domain=pool["Domain"], UserPoolId=name)
        if pool.get("DeletionProtection") == "ACTIVE":
            cognito.update_user_pool(UserPoolId=name, DeletionProtection="INACTIVE")
        cognito.delete_user_pool(UserPoolId=name)
    except cognito.exceptions.ResourceNotFoundException:
        return ALREADY_DELETED
    return "deleted with its users"


def _domain(client: Clients, name: str) -> str:
    opensearch = client("opensearch")
    try:
        opensearch.delete_domain(DomainName=name)
    except opensearch.exceptions.ResourceNotFoundException:
        return ALREADY_DELETED
    return "is being deleted"


def _repository(client: Clients, name: str) -> str:
    ecr = client("ecr")
    try:
        ecr.delete_repository(repositoryName=name, force=True)
    except ecr.exceptions.RepositoryNotFoundException:
        return ALREADY_DELETED
    return "deleted with its images"


DELETERS: Mapping[str, Callable[[Clients, str], str]] = {
    "AWS::Cognito::UserPool": _user_pool,
    "AWS::ECR::Repository": _repository,
    "AWS::EFS::FileSystem": _file_system,
    "AWS::KMS::Key": _key,
    "AWS::Logs::LogGroup": _log_group,
    "AWS::OpenSearchService::Domain": _domain,
    "AWS::RDS::DBCluster": _database,
    "AWS::S3::Bucket": _bucket,
    "AWS::SecretsManager::Secret": _secret,
}
