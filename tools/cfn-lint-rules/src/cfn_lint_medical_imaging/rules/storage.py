"""Stored data: access, encryption and deletion protection of buckets, file systems and databases."""

from __future__ import annotations

from collections.abc import Iterator

from cfn_lint_medical_imaging.template.policy_documents import RESOURCE, WILDCARD, Statement, statements
from cfn_lint_medical_imaging.template.values import ABSENT, EACH, ResolvedTemplate, Resource, Value
from cfn_lint_medical_imaging.template_rule import Finding, TemplateRule, quoted

PUBLIC_ACCESS_BLOCK = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
# Resource type → the property that protects it from deletion, and its safe value.
DELETION_PROTECTION = {
    "AWS::RDS::DBCluster": ("DeletionProtection", "true"),
    "AWS::RDS::DBInstance": ("DeletionProtection", "true"),
    "AWS::RDS::GlobalCluster": ("DeletionProtection", "true"),
    "AWS::Neptune::DBCluster": ("DeletionProtection", "true"),
    "AWS::DocDB::DBCluster": ("DeletionProtection", "true"),
    "AWS::DynamoDB::Table": ("DeletionProtectionEnabled", "true"),
    "AWS::Cognito::UserPool": ("DeletionProtection", "ACTIVE"),
}
# Load balancers, CloudFront and S3 cannot deliver their access logs to a bucket with a customer managed key.
LOG_DELIVERY_SERVICES = (
    "logging.s3.amazonaws.com",
    "logdelivery.elasticloadbalancing.amazonaws.com",
    "delivery.logs.amazonaws.com",
)


def refers_to(value: Value, resource: Resource) -> bool:
    """Whether a value refers to a resource of the template."""
    return any("${" + resource.name + end in value.text for end in ("}", "."))


class NoDeletionProtection(TemplateRule):
    id = "E9301"
    shortdesc = "database or user pool without deletion protection"
    description = (
        "One wrong stack update deletes the index of every study, or every account. Enable deletion protection by default; a "
        "parameter may disable it for a trial."
    )
    topics = ("storage", "rds")
    defaults_only = True

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for resource in template.resources(*DELETION_PROTECTION):
            if resource.type == "AWS::RDS::DBInstance" and resource.has("DBClusterIdentifier"):
                continue  # the cluster protects its instances
            key, safe = DELETION_PROTECTION[resource.type]
            for value in resource.get(key):
                if value.is_known and value.text.lower() != safe.lower():
                    yield value.path, f"{resource.name} has {quoted(value)} for {key}. Set it to {safe}."


class NoPublicAccessBlock(TemplateRule):
    id = "E9302"
    shortdesc = "bucket without S3 Block Public Access"
    description = (
        "Without Block Public Access, a single object ACL or bucket policy can publish images. Set all four settings of "
        "PublicAccessBlockConfiguration to true."
    )
    topics = ("storage", "s3")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for bucket in template.resources("AWS::S3::Bucket"):
            for setting in PUBLIC_ACCESS_BLOCK:
                for value in bucket.get("PublicAccessBlockConfiguration", setting):
                    if not value.is_true:
                        missing = (
                            setting if "PublicAccessBlockConfiguration" in value.path else "PublicAccessBlockConfiguration"
                        )
                        yield value.path, f"{bucket.name} lacks {missing}. Set all four settings to true."


class BucketAcceptsHttp(TemplateRule):
    id = "E9303"
    shortdesc = "bucket that accepts unencrypted HTTP"
    description = (
        "S3 accepts HTTP unless the bucket policy forbids it. Deny `s3:*` to every principal where aws:SecureTransport is "
        "false, on the bucket and on its objects."
    )
    topics = ("storage", "s3")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        denials = [
            statement
            for statement in statements(template, RESOURCE)
            if statement.owner.type == "AWS::S3::BucketPolicy" and self._denies_http(statement)
        ]
        for bucket in template.resources("AWS::S3::Bucket"):
            if not any(self._covers(statement, bucket) for statement in denials):
                yield (
                    bucket.path,
                    f"{bucket.name} accepts HTTP. Deny s3:* where aws:SecureTransport is false in a bucket policy.",
                )

    def _denies_http(self, statement: Statement) -> bool:
        over_http = any(
            operator.startswith("Bool") and key == "aws:securetransport" and values == ["false"]
            for operator, key, values in statement.conditions()
        )
        every_principal = {principal.text for principal in statement.principals()} == {WILDCARD}
        every_action = {action.text for action in statement.actions} & {"s3:*", WILDCARD}
        return bool(statement.effect == "Deny" and over_http and every_principal and every_action)

    def _covers(self, statement: Statement, bucket: Resource) -> bool:
        """Whether the statement applies to the bucket and its objects whenever the bucket exists."""
        policy = statement.owner
        if not any(refers_to(value, bucket) for value in policy.get("Bucket")):
            return False
        resources = [value.text for value in statement.resources]
        covers_objects = any(text.endswith("/*") for text in resources)
        covers_bucket = any(not text.endswith("/*") for text in resources)
        return covers_objects and covers_bucket and policy.template.implies(bucket.scenario, policy.node.get("Condition"))


class BucketWithoutCustomerKey(TemplateRule):
    id = "E9304"
    shortdesc = "bucket without a customer managed KMS key"
    description = (
        "With an S3 managed key, everyone who may read the bucket can read the images. With your own key, access needs a "
        "second permission, every use is logged, and deleting the key destroys every copy. Set aws:kms and KMSMasterKeyID. "
        "Buckets that receive access logs are exempt, because log delivery supports S3 managed keys only."
    )
    topics = ("storage", "s3", "kms")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        log_buckets = set(_access_log_buckets(template))
        for bucket in template.resources("AWS::S3::Bucket"):
            if bucket.name in log_buckets:
                continue
            rules = ("BucketEncryption", "ServerSideEncryptionConfiguration", EACH, "ServerSideEncryptionByDefault")
            keys = bucket.get(*rules, "KMSMasterKeyID")
            message = f"{bucket.name} is not encrypted with a customer managed key."
            for key in keys:
                if key.raw is ABSENT or key.text.endswith("alias/aws/s3"):
                    yield key.path, f"{message} Set KMSMasterKeyID."
            if not keys:
                yield (*bucket.path, "Properties"), f"{message} Set BucketEncryption."


def _access_log_buckets(template: ResolvedTemplate) -> Iterator[str]:
    buckets = list(template.resources("AWS::S3::Bucket"))
    deliveries = [
        statement
        for statement in statements(template, RESOURCE)
        if statement.allows and {value.text for value in statement.principals("Service")} & set(LOG_DELIVERY_SERVICES)
    ]
    for bucket in buckets:
        is_destination = any(
            refers_to(value, bucket)
            for other in buckets
            for value in other.get("LoggingConfiguration", "DestinationBucketName")
        )
        accepts_delivery = any(refers_to(value, bucket) for statement in deliveries for value in statement.resources)
        if is_destination or accepts_delivery:
            yield bucket.name


class BucketWithoutVersioning(TemplateRule):
    id = "W9305"
    shortdesc = "bucket without versioning"
    description = (
        "Overwritten and deleted objects cannot be recovered. Enable versioning, and expire old versions with a lifecycle "
        "rule where their cost matters."
    )
    topics = ("storage", "s3")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for bucket in template.resources("AWS::S3::Bucket"):
            for status in bucket.get("VersioningConfiguration", "Status"):
                if status.is_known and status.text != "Enabled":
                    yield status.path, f"{bucket.name} has no versioning. Set the Status of VersioningConfiguration to Enabled."


class CorsAllowsEveryOrigin(TemplateRule):
    id = "E9306"
    shortdesc = "bucket or function URL that allows every CORS origin"
    description = (
        "With `*` among the allowed origins, a page on any site can read what its visitor may read. Allow only the origin of "
        "the labeling portal or application."
    )
    topics = ("storage", "s3", "cors")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for bucket in template.resources("AWS::S3::Bucket"):
            for origin in bucket.get("CorsConfiguration", "CorsRules", EACH, "AllowedOrigins", EACH):
                if origin.text in ("*", "http://*", "https://*"):
                    yield origin.path, f"{bucket.name} allows every CORS origin. Allow only the origin of your application."
        for url in template.resources("AWS::Lambda::Url"):
            for origin in url.get("Cors", "AllowOrigins", EACH):
                if origin.text == "*":
                    yield origin.path, f"{url.name} allows every CORS origin. Allow only the origin of your application."


class RootAccessPoint(TemplateRule):
    id = "E9307"
    shortdesc = "EFS access point as root"
    description = (
        "An access point with user or group 0 makes every client root on the file system, whatever the user of the container "
        "is. Set the user and group ids of the program."
    )
    topics = ("storage", "efs")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for access_point in template.resources("AWS::EFS::AccessPoint"):
            for keys in (("PosixUser", "Uid"), ("PosixUser", "Gid"), ("RootDirectory", "CreationInfo", "OwnerUid")):
                for value in access_point.get(*keys):
                    if value.number == 0:
                        yield value.path, f"{access_point.name} acts as root ({keys[-1]} 0). Set the id of the program's user."


class UnencryptedFileSystem(TemplateRule):
    id = "E9308"
    shortdesc = "EFS file system or mount without encryption"
    description = (
        "NFS is unencrypted unless the mount uses TLS. Set TransitEncryption to ENABLED on the volume of the task, with IAM "
        "authorization, and Encrypted to true on the file system."
    )
    topics = ("storage", "efs")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for task in template.resources("AWS::ECS::TaskDefinition"):
            for volume in task.get("Volumes", EACH, "EFSVolumeConfiguration"):
                if volume.raw is not ABSENT:
                    for value in template.follow(volume, "TransitEncryption"):
                        if value.is_known and value.text.upper() != "ENABLED":
                            yield value.path, f"{task.name} mounts a file system unencrypted. Set TransitEncryption to ENABLED."
        for file_system in template.resources("AWS::EFS::FileSystem"):
            for value in file_system.get("Encrypted"):
                if not value.is_true:
                    yield value.path, f"{file_system.name} is not encrypted. Set Encrypted to true and a KmsKeyId."


class UnencryptedDatabase(TemplateRule):
    id = "E9309"
    shortdesc = "database without storage encryption"
    description = (
        "Without encryption, anyone who obtains the files or a snapshot can read them. Set StorageEncrypted and a KmsKeyId "
        "now: changing them later requires a new database."
    )
    topics = ("storage", "rds")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for database in template.resources("AWS::RDS::DBCluster", "AWS::RDS::DBInstance"):
            if database.type == "AWS::RDS::DBInstance" and database.has("DBClusterIdentifier"):
                continue  # the cluster decides for its instances
            for value in database.get("StorageEncrypted"):
                if not value.is_true:
                    yield value.path, f"{database.name} is not encrypted. Set StorageEncrypted to true and a KmsKeyId."


class PlaintextDatabasePassword(TemplateRule):
    id = "E9310"
    shortdesc = "plaintext password in a database or secret"
    description = (
        "A password that is passed as a parameter is known to whoever deploys, and a default is in the repository. Let RDS "
        "manage it (ManageMasterUserPassword), or resolve a generated secret from Secrets Manager."
    )
    topics = ("storage", "rds", "secrets")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for database in template.resources("AWS::RDS::DBCluster", "AWS::RDS::DBInstance"):
            for value in database.get("MasterUserPassword"):
                if value.raw is not ABSENT and "{{resolve:" not in value.text:
                    yield value.path, f"{database.name} has a plaintext password. Set ManageMasterUserPassword to true instead."
        for secret in template.resources("AWS::SecretsManager::Secret"):
            for value in secret.get("SecretString"):
                if value.raw is not ABSENT:
                    yield value.path, f"{secret.name} has its value in the template. Use GenerateSecretString instead."
