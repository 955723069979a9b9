"""How data that outlived their stack are deleted, by the type of what holds them.

Each function takes the way to a client and the resource's address, and returns in words what became of it. What is gone already
counts as deleted: a removal that was stopped is simply done again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from dicom_workflow.errors import DeployError

Clients = Callable[[str], Any]
GONE = "gone already"
POLL_SECONDS = 2.0
TRIES = 60


def _bucket(client: Clients, name: str) -> str:
    """Every version of every object, every unfinished upload, then the bucket."""
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
        return GONE
    return f"deleted with {count:,} versions of objects"


def _secret(client: Clients, arn: str) -> str:
    secrets = client("secretsmanager")
    try:
        said = secrets.delete_secret(SecretId=arn)
    except secrets.exceptions.ResourceNotFoundException:
        return GONE
    except secrets.exceptions.InvalidRequestException:
        return "already scheduled for deletion"
    return f"will be deleted on {said['DeletionDate']:%Y-%m-%d}; until then it can be restored"


def _key(client: Clients, key: str) -> str:
    kms = client("kms")
    try:
        said = kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=30)
    except kms.exceptions.NotFoundException:
        return GONE
    except kms.exceptions.KMSInvalidStateException:
        return "already scheduled for deletion"
    return f"will be deleted on {said['DeletionDate']:%Y-%m-%d}; until then it can be taken back"


def _log_group(client: Clients, name: str) -> str:
    logs = client("logs")
    try:
        logs.delete_log_group(logGroupName=name)
    except logs.exceptions.ResourceNotFoundException:
        return GONE
    return "deleted"


def _database(client: Clients, name: str) -> str:
    """A cluster that was kept, or the last snapshots of one that CloudFormation deleted."""
    rds, words = client("rds"), []
    try:
        for item in rds.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"]:
            rds.modify_db_cluster(DBClusterIdentifier=name, DeletionProtection=False, ApplyImmediately=True)
            for member in item.get("DBClusterMembers", ()):
                rds.delete_db_instance(DBInstanceIdentifier=member["DBInstanceIdentifier"])
            rds.delete_db_cluster(DBClusterIdentifier=name, SkipFinalSnapshot=True)
            words.append("deleted")
    except rds.exceptions.DBClusterNotFoundFault:
        pass
    found = rds.get_paginator("describe_db_cluster_snapshots").paginate(DBClusterIdentifier=name, SnapshotType="manual")
    for item in [item for page in found for item in page["DBClusterSnapshots"]]:
        rds.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier=item["DBClusterSnapshotIdentifier"])
        words.append(f"snapshot {item['DBClusterSnapshotIdentifier']} deleted")
    return ", ".join(words) or GONE


def _file_system(client: Clients, name: str) -> str:
    efs = client("efs")
    try:
        for item in efs.describe_mount_targets(FileSystemId=name)["MountTargets"]:
            efs.delete_mount_target(MountTargetId=item["MountTargetId"])
        for _ in range(TRIES):  # it can only go when the last of them has
            if not efs.describe_mount_targets(FileSystemId=name)["MountTargets"]:
                break
            time.sleep(POLL_SECONDS)
        efs.delete_file_system(FileSystemId=name)
    except efs.exceptions.FileSystemNotFound:
        return GONE
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
        return GONE
    return "deleted with its people"


def _repository(client: Clients, name: str) -> str:
    ecr = client("ecr")
    try:
        ecr.delete_repository(repositoryName=name, force=True)
    except ecr.exceptions.RepositoryNotFoundException:
        return GONE
    return "deleted with its images"


DELETERS: Mapping[str, Callable[[Clients, str], str]] = {
    "AWS::Cognito::UserPool": _user_pool,
    "AWS::ECR::Repository": _repository,
    "AWS::EFS::FileSystem": _file_system,
    "AWS::KMS::Key": _key,
    "AWS::Logs::LogGroup": _log_group,
    "AWS::RDS::DBCluster": _database,
    "AWS::S3::Bucket": _bucket,
    "AWS::SecretsManager::Secret": _secret,
}
