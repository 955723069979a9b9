"""Rules about buckets, file systems and databases: who can read them, and whether they outlive a mistake."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _stack_rules._base import Fault, StackRule, shown
from _stack_rules._policies import RESOURCE, Statement, statements
from _stack_rules._reading import ABSENT, EVERY, Resource, Spot, View

PUBLIC_ACCESS = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
# Type → the switch that keeps it from being deleted, and its safe value.
PROTECTION = {
    "AWS::RDS::DBCluster": ("DeletionProtection", "true"),
    "AWS::RDS::DBInstance": ("DeletionProtection", "true"),
    "AWS::RDS::GlobalCluster": ("DeletionProtection", "true"),
    "AWS::Neptune::DBCluster": ("DeletionProtection", "true"),
    "AWS::DocDB::DBCluster": ("DeletionProtection", "true"),
    "AWS::DynamoDB::Table": ("DeletionProtectionEnabled", "true"),
    "AWS::Cognito::UserPool": ("DeletionProtection", "active"),
}
# Load balancers, CloudFront and S3 write their logs with keys of S3 alone.
LOG_SERVICES = ("logging.s3.amazonaws.com", "logdelivery.elasticloadbalancing.amazonaws.com", "delivery.logs.amazonaws.com")


def mentions(resource: Resource, spot: Spot) -> bool:
    """Whether a value points at a resource of the template."""
    return any("${" + resource.name + end in spot.text for end in ("}", "."))


class NoDeletionProtection(StackRule):
    id = "E9301"
    shortdesc = "database or user pool without deletion protection"
    description = (
        "One wrong stack update deletes the index of every study, or every account. Turn deletion protection on by "
        "default; a parameter may turn it off for a trial."
    )
    subjects = ("storage", "rds")
    chosen = True

    def faults(self, view: View) -> Iterator[Fault]:
        for resource in view.resources(*PROTECTION):
            key, safe = PROTECTION[resource.type]
            if any(spot.value is not ABSENT for spot in resource.at("DBClusterIdentifier")) and resource.type.endswith(
                "DBInstance"
            ):
                continue  # the cluster is what protects its members
            for spot in resource.at(key):
                if spot.known and spot.text.lower() != safe:
                    yield (
                        spot.path,
                        f"{resource.name} has {key} {shown(spot)}; set it to {safe.upper() if safe == 'active' else safe}.",
                    )


class PublicBucket(StackRule):
    id = "E9302"
    shortdesc = "bucket without public access block"
    description = (
        "Without the block a single object ACL or bucket policy can show images to everyone. Set all four switches of "
        "PublicAccessBlockConfiguration to true."
    )
    subjects = ("storage", "s3")

    def faults(self, view: View) -> Iterator[Fault]:
        for bucket in view.resources("AWS::S3::Bucket"):
            for switch in PUBLIC_ACCESS:
                for spot in bucket.at("PublicAccessBlockConfiguration", switch):
                    if not spot.true:
                        missing = switch if "PublicAccessBlockConfiguration" in spot.path else "the public access block"
                        yield spot.path, f"{bucket.name} lacks {missing}; set all four switches to true."


class ClearTextBucket(StackRule):
    id = "E9303"
    shortdesc = "bucket that takes clear text"
    description = (
        "S3 answers http unless the bucket says no. Deny `s3:*` to everyone where aws:SecureTransport is false, on the "
        "bucket and on everything in it."
    )
    subjects = ("storage", "s3")

    def faults(self, view: View) -> Iterator[Fault]:
        denials = [
            statement
            for statement in statements(view, RESOURCE)
            if statement.owner.type == "AWS::S3::BucketPolicy" and self._denies(statement)
        ]
        for bucket in view.resources("AWS::S3::Bucket"):
            if not any(self._covers(statement, bucket) for statement in denials):
                yield bucket.path, f"No bucket policy makes {bucket.name} refuse http; deny aws:SecureTransport false."

    def _denies(self, statement: Statement) -> bool:
        insecure = any(
            operator.startswith("Bool") and key == "aws:securetransport" and values == ["false"]
            for operator, key, values in statement.conditions()
        )
        everyone = {spot.text for spot in statement.principals()} == {EVERY}
        all_actions = {spot.text for spot in statement.actions} & {"s3:*", EVERY}
        return bool(statement.effect == "Deny" and insecure and everyone and all_actions)

    def _covers(self, statement: Statement, bucket: Resource) -> bool:
        policy = statement.owner
        if not any(mentions(bucket, spot) for spot in policy.at("Bucket")):
            return False
        targets = [spot.text for spot in statement.targets]
        inside = any(text.endswith("/*") for text in targets)
        itself = any(not text.endswith("/*") for text in targets)
        condition = policy.node.get("Condition")
        return inside and itself and policy.view.implies(bucket.scenario, condition)


class BucketWithoutKey(StackRule):
    id = "E9304"
    shortdesc = "bucket without a customer KMS key"
    description = (
        "With S3's own key everyone who may read the bucket reads the images; with yours, the key is a second lock, its "
        "use is logged, and deleting it erases every copy. Set aws:kms and your key. Buckets that receive access logs are "
        "not meant, since the services that write them know only S3's key."
    )
    subjects = ("storage", "s3", "kms")

    def faults(self, view: View) -> Iterator[Fault]:
        logs = set(_log_buckets(view))
        for bucket in view.resources("AWS::S3::Bucket"):
            if bucket.name in logs:
                continue
            rules = ("BucketEncryption", "ServerSideEncryptionConfiguration", EVERY, "ServerSideEncryptionByDefault")
            keys = bucket.at(*rules, "KMSMasterKeyID")
            for spot in keys:
                if spot.value is ABSENT or spot.text.endswith("alias/aws/s3"):
                    yield spot.path, f"{bucket.name} is not encrypted with a key of your own; set KMSMasterKeyID."
            if not keys:
                yield (
                    (*bucket.path, "Properties"),
                    f"{bucket.name} is not encrypted with a key of your own; set BucketEncryption.",
                )


def _log_buckets(view: View) -> Iterator[str]:
    buckets = list(view.resources("AWS::S3::Bucket"))
    writers = [
        statement
        for statement in statements(view, RESOURCE)
        if statement.allows and {spot.text for spot in statement.principals("Service")} & set(LOG_SERVICES)
    ]
    for bucket in buckets:
        named = any(
            mentions(bucket, spot) for other in buckets for spot in other.at("LoggingConfiguration", "DestinationBucketName")
        )
        granted = any(mentions(bucket, spot) for statement in writers for spot in statement.targets)
        if named or granted:
            yield bucket.name


class NoVersions(StackRule):
    id = "W9305"
    shortdesc = "bucket that keeps no versions"
    description = (
        "An overwritten or deleted object is gone. Turn versioning on, and let a lifecycle rule expire old versions when "
        "they cost too much."
    )
    subjects = ("storage", "s3")

    def faults(self, view: View) -> Iterator[Fault]:
        for bucket in view.resources("AWS::S3::Bucket"):
            for spot in bucket.at("VersioningConfiguration", "Status"):
                if spot.known and spot.text != "Enabled":
                    yield spot.path, f"{bucket.name} keeps no versions; set VersioningConfiguration to Enabled."


class OpenCors(StackRule):
    id = "E9306"
    shortdesc = "bucket that answers pages of every origin"
    description = (
        "With `*` among AllowedOrigins a page on any site can read what its visitor may read. Name the origin of the "
        "worker page."
    )
    subjects = ("storage", "s3", "cors")

    def faults(self, view: View) -> Iterator[Fault]:
        for bucket in view.resources("AWS::S3::Bucket"):
            for spot in bucket.at("CorsConfiguration", "CorsRules", EVERY, "AllowedOrigins", EVERY):
                if spot.text in (EVERY, "http://*", "https://*"):
                    yield spot.path, f"{bucket.name} answers pages of every origin; name the worker page's."
        for url in view.resources("AWS::Lambda::Url"):
            for spot in url.at("Cors", "AllowOrigins", EVERY):
                if spot.text == EVERY:
                    yield spot.path, f"{url.name} answers pages of every origin; name the page's."


class RootAccessPoint(StackRule):
    id = "E9307"
    shortdesc = "file system access point as root"
    description = (
        "An access point with user or group 0 makes every client root of the file system, whatever the container's user "
        "is. Give it the number the program runs as."
    )
    subjects = ("storage", "efs")

    def faults(self, view: View) -> Iterator[Fault]:
        for point in view.resources("AWS::EFS::AccessPoint"):
            for keys in (("PosixUser", "Uid"), ("PosixUser", "Gid"), ("RootDirectory", "CreationInfo", "OwnerUid")):
                for spot in point.at(*keys):
                    if spot.number == 0:
                        yield spot.path, f"{point.name} acts as root ({keys[-1]} 0); name the program's own user."


class ClearTextFiles(StackRule):
    id = "E9308"
    shortdesc = "file system or its mount without encryption"
    description = (
        "NFS is clear text unless the mount asks for TLS. Set TransitEncryption to ENABLED on the task's volume, with IAM "
        "authorization, and Encrypted on the file system."
    )
    subjects = ("storage", "efs")

    def faults(self, view: View) -> Iterator[Fault]:
        for task in view.resources("AWS::ECS::TaskDefinition"):
            for volume in task.at("Volumes", EVERY, "EFSVolumeConfiguration"):
                if volume.value is not ABSENT:
                    for spot in view.reach(volume, "TransitEncryption"):
                        if spot.text not in ("ENABLED", "enabled") and spot.known:
                            yield spot.path, f"{task.name} mounts a file system in clear text; set TransitEncryption: ENABLED."
        for files in view.resources("AWS::EFS::FileSystem"):
            for spot in files.at("Encrypted"):
                if not spot.true:
                    yield spot.path, f"{files.name} is not encrypted; set Encrypted: true and a KmsKeyId."


class ClearDatabase(StackRule):
    id = "E9309"
    shortdesc = "database without storage encryption"
    description = (
        "Its files and snapshots are readable to whoever gets hold of them. Set StorageEncrypted and a KmsKeyId; it "
        "cannot be changed later without a new database."
    )
    subjects = ("storage", "rds")

    def faults(self, view: View) -> Iterator[Fault]:
        for database in view.resources("AWS::RDS::DBCluster", "AWS::RDS::DBInstance"):
            member = any(spot.value is not ABSENT for spot in database.at("DBClusterIdentifier"))
            for spot in database.at("StorageEncrypted"):
                if not spot.true and not (member and database.type.endswith("DBInstance")):
                    yield spot.path, f"{database.name} is not encrypted; set StorageEncrypted: true and a KmsKeyId."


class ClearPassword(StackRule):
    id = "E9310"
    shortdesc = "database password written in the template or passed as a parameter"
    description = (
        "What is typed into a parameter is kept by whoever deploys, and a default is in the repository. Let RDS manage it "
        "(ManageMasterUserPassword), or resolve a generated secret of Secrets Manager."
    )
    subjects = ("storage", "rds", "secrets")

    def faults(self, view: View) -> Iterator[Fault]:
        for database in view.resources("AWS::RDS::DBCluster", "AWS::RDS::DBInstance"):
            for spot in database.at("MasterUserPassword"):
                if spot.value is not ABSENT and "{{resolve:" not in spot.text:
                    yield spot.path, f"{database.name} is given its password in the clear; set ManageMasterUserPassword: true."
        for secret in view.resources("AWS::SecretsManager::Secret"):
            for spot in secret.at("SecretString"):
                if spot.value is not ABSENT:
                    yield spot.path, f"{secret.name} holds a value that the template spells out; use GenerateSecretString."
