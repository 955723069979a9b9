"""A CloudFormation that can fail: resources that do not come up, roll-backs that get stuck, replacements, drift.

moto's knows none of that: its change sets never say what is replaced, and every stack is complete at once. This one goes on by
one resource each time somebody looks, or not at all, and keeps to AWS's rules of which state takes which operation.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.cloudformation_query import RefusedError, query_service

from dicom_workflow.aws.stacks.template_evaluator import Evaluation
from dicom_workflow.aws.stacks.templates import Template

ACCOUNT, REGION = "123456789012", "us-east-1"
UPDATABLE = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
NOTHING = "The submitted information didn't contain changes. Submit different information to create a change set."
ARNS = {
    "AWS::KMS::Key": "arn:aws:kms:{region}:{account}:key/{made}",
    "AWS::IAM::Role": "arn:aws:iam::{account}:role/{made}",
    "AWS::Lambda::Function": "arn:aws:lambda:{region}:{account}:function:{made}",
    "AWS::S3::Bucket": "arn:aws:s3:::{made}",
}
REFERENCES = {
    "AWS::EC2::VPC": "vpc-{number:017x}",
    "AWS::EC2::Subnet": "subnet-{number:017x}",
    "AWS::EC2::SecurityGroup": "sg-{number:017x}",
    "AWS::SNS::Topic": "arn:aws:sns:{region}:{account}:{made}",
    "AWS::SageMaker::Workteam": "arn:aws:sagemaker:{region}:{account}:workteam/private-crowd/{made}",
    "AWS::Cognito::UserPool": "{region}_{number:09d}",
}
"""What `Ref` gives for types whose addresses our templates look at; anything else is called after stack and resource."""
STACK = "AWS::CloudFormation::Stack"


class Physical(Evaluation):
    """A template's values with the names of what was made instead of placeholders."""

    names: Mapping[str, str] = {}

    def _ref(self, name: str) -> Any:
        return self.names.get(name) or super()._ref(name)

    def _fn_getatt(self, argument: Any) -> str:
        name, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
        kind, made = self.template.resources[name]["Type"], self.names.get(name, name)
        if attribute == "GroupId":
            return made
        if attribute == "CidrBlock":
            return str(self.properties(name)["CidrBlock"])
        if attribute == "RepositoryUri":
            return f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{made}"
        if attribute.endswith("Arn"):
            pattern = ARNS.get(kind, "arn:aws:made:{region}:{account}:{made}")
            return pattern.format(region=REGION, account=ACCOUNT, made=made)
        return f"{made}.{attribute}".lower()


@functools.cache
def _read(name: str, text: str) -> Template:
    return Template.of_text(name, Path(f"{name}.yaml"), text)


@dataclass
class Stack:
    name: str
    id: str
    status: str = "REVIEW_IN_PROGRESS"
    reason: str = ""
    template: str = ""
    values: dict[str, str] = field(default_factory=dict)
    tags: list[dict[str, str]] = field(default_factory=list)
    resources: dict[str, dict[str, str]] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    protected: bool = False
    work: Iterator[None] | None = None
    token: str = ""


class CloudFormation:
    """The service; a test sets what fails and looks at what was asked.

    Attributes
    ----------
    fails : dict
        Logical id → reason: the resource cannot be made or changed.
    stuck : set of str
        Logical ids whose roll-back or removal fails.
    replaced : dict
        Logical id → ``True`` or ``Conditional``: what an update of it comes to.
    drifted : dict
        Logical id → paths of properties that somebody changed by hand.
    held : bool
        Nothing goes on.
    asked : list of (operation, parameters)
    makes : dict
        Type → function that makes such a resource for real; gets its name and properties.
    """

    def __init__(self) -> None:
        self.stacks: dict[str, Stack] = {}
        self.change_sets: dict[str, dict[str, Any]] = {}
        self.fails: dict[str, str] = {}
        self.stuck: set[str] = set()
        self.replaced: dict[str, str] = {}
        self.drifted: dict[str, list[str]] = {}
        self.held = False
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.makes: dict[str, Callable[[str, Mapping[str, Any]], str | None]] = {}
        self.read_template: Callable[[str, str], str] = lambda bucket, key: ""
        self._numbers = itertools.count(1)
        self._clock = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def names(self, operation: str) -> list[str]:
        """The stacks that an operation was asked for, in order."""
        return [asked["StackName"] for name, asked in self.asked if name == operation]

    def answer(self, operation: str, asked: dict[str, Any]) -> Mapping[str, Any] | None:
        self.asked.append((operation, asked))
        return getattr(self, f"_{operation}")(**asked)

    # ---- stacks ----

    def _find(self, name: str) -> Stack:
        for stack in self.stacks.values():
            if stack.id == name or (stack.name == name and stack.status != "DELETE_COMPLETE"):
                return stack
        raise RefusedError("ValidationError", f"Stack with id {name} does not exist")

    def _DescribeStacks(self, StackName: str) -> Mapping[str, Any]:
        stack = self._find(StackName)
        self._go_on(stack)
        secret = {name for name, item in self._template(stack).parameters.items() if item.secret}
        return {
            "Stacks": [
                {
                    "StackName": stack.name,
                    "StackId": stack.id,
                    "CreationTime": self._clock,
                    "StackStatus": stack.status,
                    "StackStatusReason": stack.reason or None,
                    "EnableTerminationProtection": stack.protected,
                    "Parameters": [
                        {"ParameterKey": name, "ParameterValue": "****" if name in secret else value}
                        for name, value in stack.values.items()
                    ],
                    "Outputs": [{"OutputKey": name, "OutputValue": value} for name, value in stack.outputs.items()],
                    "Tags": stack.tags,
                }
            ]
        }

    def _DescribeStackEvents(self, StackName: str, NextToken: str = "0") -> Mapping[str, Any]:
        return self._page("StackEvents", self._find(StackName).events[::-1], NextToken, 7)

    def _ListStackResources(self, StackName: str, NextToken: str = "0") -> Mapping[str, Any]:
        items = [
            {
                "LogicalResourceId": name,
                "PhysicalResourceId": item["physical"],
                "ResourceType": item["type"],
                "LastUpdatedTimestamp": self._clock,
                "ResourceStatus": item["status"],
            }
            for name, item in self._find(StackName).resources.items()
        ]
        return self._page("StackResourceSummaries", items, NextToken, 3)

    def _ListStacks(self, StackStatusFilter: list[str], NextToken: str = "0") -> Mapping[str, Any]:
        items = [
            {"StackName": stack.name, "StackId": stack.id, "CreationTime": self._clock, "StackStatus": stack.status}
            for stack in self.stacks.values()
            if stack.status in StackStatusFilter
        ]
        return self._page("StackSummaries", items, NextToken, 2)

    def _page(self, key: str, items: list[Any], token: str, size: int) -> Mapping[str, Any]:
        start = int(token)
        more = {"NextToken": str(start + size)} if start + size < len(items) else {}
        return {key: items[start : start + size], **more}

    def _GetTemplate(self, StackName: str) -> Mapping[str, Any]:
        return {"TemplateBody": self._find(StackName).template}

    def _ValidateTemplate(self, TemplateBody: str) -> None:
        self._checked(TemplateBody)

    def _UpdateTerminationProtection(self, StackName: str, EnableTerminationProtection: bool) -> None:
        self._find(StackName).protected = EnableTerminationProtection

    # ---- change sets ----

    def _CreateChangeSet(
        self,
        StackName: str,
        ChangeSetName: str,
        ChangeSetType: str,
        Parameters: list[dict[str, Any]],
        Tags: list[dict[str, str]],
        Capabilities: list[str] | None = None,
        TemplateBody: str = "",
        TemplateURL: str = "",
        UsePreviousTemplate: bool = False,
        Description: str = "",
    ) -> Mapping[str, Any]:
        stack = self._stack_for(StackName, ChangeSetType)
        text = stack.template if UsePreviousTemplate else self._checked(TemplateBody or self._from_s3(TemplateURL))
        template = self._template(stack, text)
        if any(item["Type"].startswith("AWS::IAM::") for item in template.resources.values()) and not Capabilities:
            raise RefusedError("InsufficientCapabilitiesException", "Requires capabilities : [CAPABILITY_IAM]")
        values = self._parameters(stack, template, Parameters)
        changes = self._changes(stack, template, values)
        same = (
            stack.status in UPDATABLE
            and not changes
            and stack.tags == Tags
            and stack.outputs == self._outputs(stack, template, values)
        )
        identifier = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:changeSet/{ChangeSetName}/{next(self._numbers)}"
        self.change_sets[identifier] = {
            "name": ChangeSetName, "id": identifier, "stack": stack, "template": text, "values": values, "tags": Tags,
            "changes": changes, "status": "CREATE_PENDING", "then": "FAILED" if same else "CREATE_COMPLETE",
        }  # fmt: skip
        return {"Id": identifier, "StackId": stack.id}

    def _stack_for(self, name: str, kind: str) -> Stack:
        try:
            stack = self._find(name)
        except RefusedError:
            if kind == "UPDATE":
                raise
            identifier = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/{next(self._numbers):08d}"
            self.stacks[identifier] = stack = Stack(name, identifier)
            self._event(stack, STACK, name, identifier, "REVIEW_IN_PROGRESS")
            return stack
        wanted = ("REVIEW_IN_PROGRESS",) if kind == "CREATE" else UPDATABLE
        if stack.status not in wanted:
            raise RefusedError("ValidationError", f"Stack:{stack.id} is in {stack.status} state and can not be updated.")
        return stack

    def _checked(self, text: str) -> str:
        if len(text.encode()) > 51_200 and "\0s3" not in text:
            raise RefusedError("ValidationError", "templateBody must have length less than or equal to 51200")
        return text.removesuffix("\0s3")

    def _from_s3(self, url: str) -> str:
        parts = urlsplit(url)
        return self.read_template(str(parts.hostname).partition(".")[0], parts.path.lstrip("/")) + "\0s3"

    def _template(self, stack: Stack, text: str | None = None) -> Template:
        text = text or stack.template
        if not text:
            return Template(stack.name, Path(), "", {}, {}, {}, {}, {}, {})
        return _read(stack.name, text)

    def _parameters(self, stack: Stack, template: Template, given: list[dict[str, Any]]) -> dict[str, str]:
        unknown = [item["ParameterKey"] for item in given if item["ParameterKey"] not in template.parameters]
        if unknown:
            raise RefusedError("ValidationError", f"Parameters: {unknown} do not exist in the template")
        values = {name: item.default for name, item in template.parameters.items() if item.default is not None}
        for item in given:
            name = item["ParameterKey"]
            if item.get("UsePreviousValue") and name not in stack.values:
                raise RefusedError("ValidationError", f"Parameter {name} has no previous value")
            values[name] = stack.values[name] if item.get("UsePreviousValue") else item["ParameterValue"]
        missing = [name for name in template.parameters if name not in values]
        if missing:
            raise RefusedError("ValidationError", f"Parameters: {missing} must have values")
        return values

    def _evaluation(self, stack: Stack, template: Template, values: Mapping[str, str]) -> Physical:
        found = Physical(template, values, {"AWS::StackName": stack.name, "AWS::AccountId": ACCOUNT, "AWS::Region": REGION})
        found.names = {name: item["physical"] for name, item in stack.resources.items()}
        return found

    def _outputs(self, stack: Stack, template: Template, values: Mapping[str, str]) -> dict[str, str]:
        return self._evaluation(stack, template, values).outputs()

    def _changes(self, stack: Stack, template: Template, values: Mapping[str, str]) -> list[dict[str, Any]]:
        new = self._evaluation(stack, template, values)
        old = self._evaluation(stack, self._template(stack), stack.values)
        before, after, found = stack.resources, new.resources(), []
        for name, item in after.items():
            change: dict[str, Any] = {"LogicalResourceId": name, "ResourceType": item["Type"]}
            if name not in before:
                found.append({"Action": "Add", **change})
                continue
            was, will = old.properties(name), new.properties(name)
            changed = sorted(key for key in was.keys() | will.keys() if was.get(key) != will.get(key))
            if changed:
                targets = [{"Target": {"Attribute": "Properties", "Name": key}, "Evaluation": "Static"} for key in changed]
                replaced = self.replaced.get(name, "False")
                change |= {"PhysicalResourceId": before[name]["physical"], "Replacement": replaced, "Details": targets}
                kept = item.get("UpdateReplacePolicy", "Delete")
                found.append(
                    {"Action": "Modify", **change, **({"PolicyAction": f"ReplaceAnd{kept}"} if replaced == "True" else {})}
                )
        for name, item in before.items():
            if name not in after:
                policy = self._template(stack).resources[name].get("DeletionPolicy", "Delete")
                change = {"LogicalResourceId": name, "ResourceType": item["type"], "PhysicalResourceId": item["physical"]}
                found.append({"Action": "Remove", **change, "PolicyAction": policy})
        return found

    def _change_set(self, name: str, stack: str = "") -> dict[str, Any]:
        for item in self.change_sets.values():
            if name in (item["id"], item["name"]):
                return item
        raise RefusedError("ChangeSetNotFound", f"ChangeSet [{name}] does not exist")

    def _DescribeChangeSet(self, ChangeSetName: str, StackName: str = "", NextToken: str = "0") -> Mapping[str, Any]:
        item = self._change_set(ChangeSetName, StackName)
        status, item["status"] = item["status"], item["then"]
        found = [{"Type": "Resource", "ResourceChange": change} for change in item["changes"]]
        return {
            "ChangeSetName": item["name"],
            "ChangeSetId": item["id"],
            "StackName": item["stack"].name,
            "Status": status,
            "StatusReason": NOTHING if status == "FAILED" else None,
            **self._page("Changes", found if status == "CREATE_COMPLETE" else [], NextToken, 4),
        }

    def _ListChangeSets(self, StackName: str, NextToken: str = "0") -> Mapping[str, Any]:
        found = [
            {"ChangeSetName": item["name"], "ChangeSetId": item["id"], "StackName": item["stack"].name}
            for item in self.change_sets.values()
            if item["stack"].name == StackName
        ]
        return self._page("Summaries", found, NextToken, 2)

    def _DeleteChangeSet(self, ChangeSetName: str, StackName: str = "") -> None:
        del self.change_sets[self._change_set(ChangeSetName)["id"]]

    def _ExecuteChangeSet(self, ChangeSetName: str, StackName: str = "", ClientRequestToken: str = "") -> None:
        item = self._change_set(ChangeSetName)
        if item["status"] != "CREATE_COMPLETE":
            raise RefusedError("InvalidChangeSetStatus", f"ChangeSet [{ChangeSetName}] is {item['status']}")
        stack = item["stack"]
        stack.token, stack.tags = ClientRequestToken, item["tags"]
        self.change_sets = {key: other for key, other in self.change_sets.items() if other["stack"] is not stack}
        verb = "CREATE" if stack.status == "REVIEW_IN_PROGRESS" else "UPDATE"
        self._become(stack, f"{verb}_IN_PROGRESS")
        stack.work = self._apply(stack, item, verb)

    # ---- what takes time ----

    def _go_on(self, stack: Stack) -> None:
        if stack.work is not None and not self.held and next(stack.work, "done") == "done":
            stack.work = None

    def _apply(self, stack: Stack, item: Mapping[str, Any], verb: str) -> Iterator[None]:
        template = self._template(stack, item["template"])
        yield
        for change in item["changes"]:
            name, kind = change["LogicalResourceId"], change["ResourceType"]
            physical = stack.resources.get(name, {}).get("physical", "")
            if name in self.fails and change["Action"] != "Remove":
                self._event(stack, kind, name, physical, f"{verb}_FAILED", self.fails[name])
                self._event(stack, "AWS::SNS::Topic", "Other", "", f"{verb}_FAILED", "Resource creation cancelled")
                yield from self._roll_back(stack, verb)
                return
            if change["Action"] == "Remove":
                kept = change["PolicyAction"] != "Delete"
                stack.resources.pop(name)
                self._event(stack, kind, name, physical, "DELETE_SKIPPED" if kept else "DELETE_COMPLETE")
            elif change["Action"] == "Add" or change.get("Replacement") == "True":
                physical = self._make(stack, template, item["values"], name, kind)
                self._event(stack, kind, name, physical, "CREATE_IN_PROGRESS")
                yield
                stack.resources[name] = {"type": kind, "physical": physical, "status": "CREATE_COMPLETE"}
                self._event(stack, kind, name, physical, "CREATE_COMPLETE")
            else:
                stack.resources[name]["status"] = "UPDATE_COMPLETE"
                self._event(stack, kind, name, physical, "UPDATE_COMPLETE")
            yield
        stack.template, stack.values = item["template"], dict(item["values"])
        stack.outputs = self._outputs(stack, template, stack.values)
        self._become(stack, f"{verb}_COMPLETE")

    def _make(self, stack: Stack, template: Template, values: Mapping[str, str], name: str, kind: str) -> str:
        number = next(self._numbers)
        physical = f"{stack.name}-{name}-{number:04d}".lower()
        if kind in REFERENCES:
            return REFERENCES[kind].format(region=REGION, account=ACCOUNT, made=physical, number=number)
        maker = self.makes.get(kind)
        return (maker(physical, self._evaluation(stack, template, values).properties(name)) if maker else None) or physical

    def _roll_back(self, stack: Stack, verb: str) -> Iterator[None]:
        word = "ROLLBACK" if verb == "CREATE" else "UPDATE_ROLLBACK"
        self._become(stack, f"{word}_IN_PROGRESS", "The following resource(s) failed")
        yield
        if self.stuck:
            self._become(stack, f"{word}_FAILED", f"The following resource(s) failed to update: {sorted(self.stuck)}")
            return
        if verb == "CREATE":
            stack.resources = {name: {**item, "status": "DELETE_COMPLETE"} for name, item in stack.resources.items()}
        self._become(stack, f"{word}_COMPLETE")

    def _ContinueUpdateRollback(self, StackName: str) -> None:
        stack = self._find(StackName)
        if stack.status != "UPDATE_ROLLBACK_FAILED":
            raise RefusedError("ValidationError", f"Stack {StackName} is in {stack.status} state")
        self._become(stack, "UPDATE_ROLLBACK_IN_PROGRESS")
        stack.work = self._roll_back(stack, "UPDATE")

    def _RollbackStack(self, StackName: str) -> None:
        stack = self._find(StackName)
        self._become(stack, "UPDATE_ROLLBACK_IN_PROGRESS")
        stack.work = self._roll_back(stack, "UPDATE")

    def _DeleteStack(self, StackName: str) -> None:
        stack = self._find(StackName)
        if stack.protected:
            raise RefusedError(
                "ValidationError", f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled"
            )
        if stack.status == "REVIEW_IN_PROGRESS":
            self._become(stack, "DELETE_COMPLETE")
            return
        self._become(stack, "DELETE_IN_PROGRESS")
        stack.work = self._remove(stack)

    def _remove(self, stack: Stack) -> Iterator[None]:
        yield
        policies = {name: str(item.get("DeletionPolicy", "Delete")) for name, item in self._template(stack).resources.items()}
        for name, item in list(stack.resources.items())[::-1]:
            if item["status"] in ("DELETE_COMPLETE", "DELETE_SKIPPED"):
                continue
            if name in self.stuck:
                item["status"] = "DELETE_FAILED"
                self._event(stack, item["type"], name, item["physical"], "DELETE_FAILED", "it is still in use")
                self._become(stack, "DELETE_FAILED", f"The following resource(s) failed to delete: [{name}]")
                return
            kept = policies.get(name, "Delete") == "Retain"
            item["status"] = "DELETE_SKIPPED" if kept else "DELETE_COMPLETE"
            self._event(stack, item["type"], name, item["physical"], item["status"])
            yield
        self._become(stack, "DELETE_COMPLETE")

    # ---- drift ----

    def _DetectStackDrift(self, StackName: str) -> Mapping[str, Any]:
        return {"StackDriftDetectionId": self._find(StackName).id}

    def _DescribeStackDriftDetectionStatus(self, StackDriftDetectionId: str) -> Mapping[str, Any]:
        return {
            "StackId": StackDriftDetectionId,
            "StackDriftDetectionId": StackDriftDetectionId,
            "DetectionStatus": "DETECTION_COMPLETE",
            "Timestamp": self._clock,
        }

    def _DescribeStackResourceDrifts(self, StackName: str, StackResourceDriftStatusFilters: list[str]) -> Mapping[str, Any]:
        stack = self._find(StackName)
        return {
            "StackResourceDrifts": [
                {
                    "StackId": stack.id,
                    "LogicalResourceId": name,
                    "ResourceType": item["type"],
                    "StackResourceDriftStatus": "MODIFIED",
                    "Timestamp": self._clock,
                    "PropertyDifferences": [
                        {
                            "PropertyPath": path,
                            "ExpectedValue": "secret-1",
                            "ActualValue": "secret-2",
                            "DifferenceType": "NOT_EQUAL",
                        }
                        for path in self.drifted[name]
                    ],
                }
                for name, item in stack.resources.items()
                if name in self.drifted
            ]
        }

    def _become(self, stack: Stack, status: str, reason: str = "") -> None:
        stack.status, stack.reason = status, reason
        self._event(stack, STACK, stack.name, stack.id, status, reason)

    def _event(self, stack: Stack, kind: str, name: str, physical: str, status: str, reason: str = "") -> None:
        self._clock += timedelta(seconds=1)
        stack.events.append(
            {
                "StackId": stack.id,
                "EventId": f"{name}-{status}-{next(self._numbers)}",
                "StackName": stack.name,
                "LogicalResourceId": name,
                "PhysicalResourceId": physical,
                "ResourceType": kind,
                "Timestamp": self._clock,
                "ResourceStatus": status,
                "ResourceStatusReason": reason or None,
                "ClientRequestToken": stack.token or None,
            }
        )


@contextmanager
def cloudformation_server() -> Iterator[tuple[CloudFormation, str]]:
    """Yield an empty CloudFormation and its address."""
    service = CloudFormation()
    with query_service("cloudformation", service.answer) as url:
        yield service, url


@pytest.fixture
def cloudformation(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudFormation]:
    """An empty CloudFormation that every client of this process and of its children speaks to; the rest of AWS is moto's.

    Buckets and secrets of a stack are really made there, as their templates say.
    """
    import boto3

    s3, secrets = boto3.client("s3", region_name=REGION), boto3.client("secretsmanager", region_name=REGION)

    def bucket(name: str, properties: Mapping[str, Any]) -> None:
        s3.create_bucket(Bucket=name)
        if properties.get("VersioningConfiguration"):
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration=properties["VersioningConfiguration"])
        block = properties.get("PublicAccessBlockConfiguration")
        if block:
            s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=block)

    def policy(name: str, properties: Mapping[str, Any]) -> None:
        if "‹" not in properties["Bucket"]:
            s3.put_bucket_policy(Bucket=properties["Bucket"], Policy=json.dumps(properties["PolicyDocument"]))

    def secret(name: str, properties: Mapping[str, Any]) -> str:
        generated = properties.get("GenerateSecretString", {})
        template = json.loads(generated.get("SecretStringTemplate", "{}"))
        content = {**template, generated.get("GenerateStringKey", "password"): f"made-for-{name}"}
        return secrets.create_secret(Name=name, SecretString=json.dumps(content))["ARN"]

    with cloudformation_server() as (service, url):
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", url)
        service.makes = {"AWS::S3::Bucket": bucket, "AWS::S3::BucketPolicy": policy, "AWS::SecretsManager::Secret": secret}
        service.read_template = lambda name, key: s3.get_object(Bucket=name, Key=key)["Body"].read().decode()
        yield service
