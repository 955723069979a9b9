"""What a CloudFormation template becomes under one choice of parameters, worked out without an account.

Conditions, functions and references are evaluated as CloudFormation does it; ids that AWS would give are made up, one form for
each type, so that an address built from them looks as it will. Nothing of the package is used here: what is tested and what
tests it share no code. (`cloud-radar` on PyPI renders templates too; it takes one set of parameters at a time and knows neither
`Rules` nor which of them matter, which is what these tests turn on.)
"""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any

ACCOUNT = "123456789012"
REGION = "us-east-1"


class EvaluationError(Exception):
    """Something in a template has no value under this choice of parameters."""


class _Nothing:
    """`AWS::NoValue`: the property is not there."""

    def __repr__(self) -> str:
        return "AWS::NoValue"


NOTHING = _Nothing()

BALANCING = "arn:aws:elasticloadbalancing:{region}:{account}:"
# What `Ref` gives, by type, where it is not the name of the resource.
REFERENCES = {
    "AWS::Cognito::UserPool": "{region}_{word}",
    "AWS::Cognito::UserPoolClient": "{hex}{hex}0123456789",
    "AWS::CertificateManager::Certificate": "arn:aws:acm:{region}:{account}:certificate/{uuid}",
    "AWS::EC2::EIP": "198.51.100.7",
    "AWS::EC2::InternetGateway": "igw-{hex}0",
    "AWS::EC2::NatGateway": "nat-{hex}0",
    "AWS::EC2::RouteTable": "rtb-{hex}0",
    "AWS::EC2::SecurityGroup": "sg-{hex}0",
    "AWS::EC2::Subnet": "subnet-{hex}0",
    "AWS::EC2::VPC": "vpc-{hex}0",
    "AWS::EC2::VPCEndpoint": "vpce-{hex}0",
    "AWS::ECS::Service": "arn:aws:ecs:{region}:{account}:service/{name}",
    "AWS::ECS::TaskDefinition": "arn:aws:ecs:{region}:{account}:task-definition/{name}:1",
    "AWS::EFS::AccessPoint": "fsap-{hex}0",
    "AWS::EFS::FileSystem": "fs-{hex}0",
    "AWS::ElasticLoadBalancingV2::Listener": BALANCING + "listener/app/{name}/{hex}/{hex}",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": BALANCING + "loadbalancer/app/{name}/{hex}",
    "AWS::ElasticLoadBalancingV2::TargetGroup": BALANCING + "targetgroup/{name}/{hex}",
    "AWS::HealthImaging::Datastore": "{hex}{hex}",
    "AWS::IAM::ManagedPolicy": "arn:aws:iam::{account}:policy/{name}",
    "AWS::KMS::Key": "{uuid}",
    "AWS::SNS::Topic": "arn:aws:sns:{region}:{account}:{name}",
    "AWS::SQS::Queue": "https://sqs.{region}.amazonaws.com/{account}/{name}",
    "AWS::SageMaker::Domain": "d-{word}",
    "AWS::SageMaker::Endpoint": "arn:aws:sagemaker:{region}:{account}:endpoint/{name}",
    "AWS::SageMaker::EndpointConfig": "arn:aws:sagemaker:{region}:{account}:endpoint-config/{name}",
    "AWS::SageMaker::Model": "arn:aws:sagemaker:{region}:{account}:model/{name}",
    "AWS::SageMaker::NotebookInstance": "arn:aws:sagemaker:{region}:{account}:notebook-instance/{name}",
    "AWS::SageMaker::Workteam": "arn:aws:sagemaker:{region}:{account}:workteam/private-crowd/{name}",
    "AWS::SecretsManager::Secret": "arn:aws:secretsmanager:{region}:{account}:secret:{name}-AbCdEf",
}
# What `Fn::GetAtt` of `Arn` gives, where it is not arn:aws:SERVICE:REGION:ACCOUNT:NAME.
ARNS = {
    "AWS::Cognito::UserPool": "arn:aws:cognito-idp:{region}:{account}:userpool/{region}_{word}",
    "AWS::CodeBuild::Project": "arn:aws:codebuild:{region}:{account}:project/{name}",
    "AWS::ECR::Repository": "arn:aws:ecr:{region}:{account}:repository/{name}",
    "AWS::ECS::Cluster": "arn:aws:ecs:{region}:{account}:cluster/{name}",
    "AWS::EFS::AccessPoint": "arn:aws:elasticfilesystem:{region}:{account}:access-point/fsap-{hex}0",
    "AWS::EFS::FileSystem": "arn:aws:elasticfilesystem:{region}:{account}:file-system/fs-{hex}0",
    "AWS::IAM::Role": "arn:aws:iam::{account}:role/{name}",
    "AWS::KMS::Key": "arn:aws:kms:{region}:{account}:key/{uuid}",
    "AWS::Lambda::Function": "arn:aws:lambda:{region}:{account}:function:{name}",
    "AWS::OpenSearchService::Domain": "arn:aws:es:{region}:{account}:domain/{name}",
    "AWS::Logs::LogGroup": "arn:aws:logs:{region}:{account}:log-group:{name}:*",
    "AWS::RDS::DBCluster": "arn:aws:rds:{region}:{account}:cluster:{name}",
    "AWS::S3::Bucket": "arn:aws:s3:::{name}",
    "AWS::SQS::Queue": "arn:aws:sqs:{region}:{account}:{name}",
}
# Other attributes whose form matters.
ATTRIBUTES = {
    "ClusterArn": "arn:aws:ecs:{region}:{account}:cluster/{name}",
    "DatastoreArn": "arn:aws:medical-imaging:{region}:{account}:datastore/{hex}{hex}",
    "DBClusterArn": "arn:aws:rds:{region}:{account}:cluster:{name}",
    "DNSName": "{name}.{region}.elb.amazonaws.com",
    "Endpoint.Address": "{name}.cluster.{region}.rds.amazonaws.com",
    "Endpoint.Port": "5432",
    "GroupId": "sg-{hex}0",
    "LoadBalancerFullName": "app/{name}/{hex}",
    "MasterUserSecret.SecretArn": "arn:aws:secretsmanager:{region}:{account}:secret:rds!cluster-{uuid}-AbCdEf",
    "DomainEndpoint": "vpc-{name}.{region}.es.amazonaws.com",
    "ProviderName": "cognito-idp.{region}.amazonaws.com/{region}_{word}",
    "ProviderURL": "https://cognito-idp.{region}.amazonaws.com/{region}_{word}",
    "QueueName": "{name}",
    "RepositoryUri": "{account}.dkr.ecr.{region}.amazonaws.com/{name}",
    "SubDomain": "{hex}.labeling.{region}.sagemaker.aws",
    "TargetGroupFullName": "targetgroup/{name}/{hex}",
    "Url": "https://{hex}.studio.{region}.sagemaker.aws",
    "CidrBlock": "10.42.0.0/16",
}
NAMES = ("BucketName", "RoleName", "FunctionName", "LogGroupName", "RepositoryName", "ClusterName", "QueueName", "TopicName",
         "Name", "NotebookInstanceName", "WorkteamName", "ManagedPolicyName", "DBClusterIdentifier", "Domain", "AliasName",
         "GroupName", "EndpointName", "ModelName", "EndpointConfigName", "DomainName", "ServiceName", "Family")  # fmt: skip


class Evaluation:
    """A template under one choice of parameters.

    Parameters
    ----------
    template : dict
        The template, long forms only.
    parameters : dict of str to str
        Values by name; a parameter that is not given takes its default.
    stack : str
        Name of the stack.
    """

    def __init__(self, template: dict[str, Any], parameters: dict[str, Any] | None = None, stack: str = "trial-stack") -> None:
        self.template = template
        self.stack = stack
        given = parameters or {}
        unknown = sorted(set(given) - set(template.get("Parameters", {})))
        if unknown:
            raise EvaluationError(f"the template has no parameter {', '.join(unknown)}")
        self.parameters: dict[str, Any] = {}
        for name, body in template.get("Parameters", {}).items():
            value = given.get(name, body.get("Default"))
            if value is None:
                raise EvaluationError(f"parameter {name} has no default and was not given")
            many = str(body["Type"]).startswith(("CommaDelimitedList", "List<"))
            # An empty list is to CloudFormation a list of one empty text.
            self.parameters[name] = [part.strip() for part in str(value).split(",")] if many else str(value)
        self._conditions: dict[str, bool] = {}

    @cached_property
    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources that exist, each with its `Properties` evaluated."""
        return {name: self.resource(name) for name in self.template["Resources"] if self.present(name)}

    @cached_property
    def outputs(self) -> dict[str, Any]:
        """The outputs that exist."""
        return {name: self.output(name) for name in self.template.get("Outputs", {}) if self.gives(name)}

    def present(self, name: str) -> bool:
        """Whether a resource exists."""
        condition = self.template["Resources"][name].get("Condition")
        return condition is None or self.condition(condition)

    def gives(self, output: str) -> bool:
        condition = self.template["Outputs"][output].get("Condition")
        return condition is None or self.condition(condition)

    def resource(self, name: str) -> dict[str, Any]:
        node = self.template["Resources"][name]
        properties = self.value(node.get("Properties", {}), f"Resources.{name}")
        return {**node, "Properties": {} if properties is NOTHING else properties}

    def output(self, name: str) -> Any:
        return self.value(self.template["Outputs"][name]["Value"], f"Outputs.{name}")

    def condition(self, name: str) -> bool:
        if name not in self._conditions:
            known = self.template.get("Conditions", {})
            if name not in known:
                raise EvaluationError(f"there is no condition {name}")
            self._conditions[name] = self.holds(known[name], f"Conditions.{name}")
        return self._conditions[name]

    def holds(self, node: Any, where: str) -> bool:
        """Whether a condition or the assertion of a rule holds."""
        (kind, body) = next(iter(node.items()))
        if kind == "Condition":
            return self.condition(body)
        if kind == "Fn::Equals":
            left, right = (self.value(side, where) for side in body)
            return _word(left) == _word(right)
        if kind in ("Fn::And", "Fn::Or"):
            sides = [self.holds(side, where) for side in body]
            return all(sides) if kind == "Fn::And" else any(sides)
        if kind == "Fn::Not":
            return not self.holds(body[0], where)
        if kind == "Fn::Contains":
            choices, wanted = (self.value(side, where) for side in body)
            return _word(wanted) in map(_word, choices)
        if kind == "Fn::EachMemberIn":
            members, choices = (self.value(side, where) for side in body)
            return {_word(member) for member in members} <= {_word(choice) for choice in choices}
        raise EvaluationError(f"{where}: {kind} is no condition")

    def refused(self) -> list[str]:
        """What `Rules` of the template say against these parameters."""
        found = []
        for name, rule in self.template.get("Rules", {}).items():
            if "RuleCondition" not in rule or self.holds(rule["RuleCondition"], name):
                found += [
                    assertion.get("AssertDescription", name)
                    for assertion in rule["Assertions"]
                    if not self.holds(assertion["Assert"], name)
                ]
        return found

    def value(self, node: Any, where: str) -> Any:
        """What a node of the template becomes."""
        if isinstance(node, list):
            return [found for found in (self.value(item, where) for item in node) if found is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            kind, body = next(iter(node.items()))
            if kind == "Ref" or kind.startswith("Fn::"):
                method = getattr(self, "_" + kind.removeprefix("Fn::").lower(), None)
                if method is None:
                    raise EvaluationError(f"{where}: the function {kind} is not known here")
                return method(body, where)
        found = {key: self.value(item, f"{where}.{key}") for key, item in node.items()}
        return {key: item for key, item in found.items() if item is not NOTHING}

    def _ref(self, name: str, where: str) -> Any:
        pseudo = {
            "AWS::AccountId": ACCOUNT,
            "AWS::NoValue": NOTHING,
            "AWS::NotificationARNs": [],
            "AWS::Partition": "aws",
            "AWS::Region": REGION,
            "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{self.stack}/01234567-89ab-cdef",
            "AWS::StackName": self.stack,
            "AWS::URLSuffix": "amazonaws.com",
        }
        if name in pseudo:
            return pseudo[name]
        if name in self.parameters:
            return self.parameters[name]
        kind = self._there(name, where)
        return self._made_up(REFERENCES.get(kind, "{name}"), name)

    def _getatt(self, body: Any, where: str) -> Any:
        name, _, attribute = body.partition(".") if isinstance(body, str) else (str(body[0]), ".", ".".join(map(str, body[1:])))
        kind = self._there(name, where)
        if attribute == "Arn":
            service = kind.split("::")[1].lower()
            return self._made_up(ARNS.get(kind, "arn:aws:" + service + ":{region}:{account}:{name}"), name)
        return self._made_up(ATTRIBUTES.get(attribute, "{name}." + attribute), name)

    def _sub(self, body: Any, where: str) -> str:
        text, own = body if isinstance(body, list) else (body, {})

        def found(match: re.Match[str]) -> str:
            name = match[1].strip()
            if name in own:
                return _word(self.value(own[name], where))
            plain = name in self.parameters or name.startswith("AWS::") or "." not in name
            return _word(self._ref(name, where) if plain else self._getatt(name, where))

        return re.sub(r"\$\{!([^}]*)\}", r"${\1}", re.sub(r"\$\{([^!}][^}]*)\}", found, text))

    def _if(self, body: list[Any], where: str) -> Any:
        return self.value(body[1] if self.condition(body[0]) else body[2], where)

    def _join(self, body: list[Any], where: str) -> str:
        parts = self.value(body[1], where)
        return str(body[0]).join(map(_word, parts if isinstance(parts, list) else [parts]))

    def _split(self, body: list[Any], where: str) -> list[str]:
        return _word(self.value(body[1], where)).split(body[0])

    def _select(self, body: list[Any], where: str) -> Any:
        place, choices = int(_word(self.value(body[0], where))), self.value(body[1], where)
        if not isinstance(choices, list) or not 0 <= place < len(choices):
            raise EvaluationError(f"{where}: Fn::Select takes number {place} of {choices}")
        return choices[place]

    def _findinmap(self, body: list[Any], where: str) -> Any:
        found: Any = self.template.get("Mappings", {})
        for key in body[:3]:
            word = _word(self.value(key, where))
            if word not in found:
                raise EvaluationError(f"{where}: the mapping {body[0]} has no {word}")
            found = found[word]
        return found

    def _base64(self, body: Any, where: str) -> str:
        return _word(self.value(body, where))

    def _getazs(self, body: Any, where: str) -> list[str]:
        region = _word(self.value(body, where)) or REGION
        return [region + zone for zone in "abc"]

    def _cidr(self, body: list[Any], where: str) -> list[str]:
        network, count, bits = (_word(self.value(part, where)) for part in body)
        cut = ipaddress.ip_network(network).subnets(new_prefix=32 - int(bits))
        return [str(subnet) for subnet in itertools.islice(cut, int(count))]

    def _importvalue(self, body: Any, where: str) -> str:
        raise EvaluationError(f"{where}: imports {self.value(body, where)}; outputs are passed on as parameters here")

    def _length(self, body: Any, where: str) -> int:
        return len(self.value(body, where))

    def _tojsonstring(self, body: Any, where: str) -> str:
        raise EvaluationError(f"{where}: Fn::ToJsonString needs a transform, and these templates have none")

    def _there(self, name: str, where: str) -> str:
        if name not in self.template["Resources"]:
            raise EvaluationError(f"{where}: refers to {name}, which is neither a parameter nor a resource")
        if not self.present(name):
            on = ", ".join(sorted(f"{key}={value}" for key, value in self._conditions.items()))
            raise EvaluationError(f"{where}: refers to {name}, which does not exist when {on}")
        return str(self.template["Resources"][name]["Type"])

    def physical_name(self, name: str) -> str:
        """The name a person gave the resource, or one made up as AWS does."""
        properties = self.template["Resources"][name].get("Properties", {})
        given = next((properties[key] for key in NAMES if key in properties), None)
        if given is not None and not (isinstance(given, dict) and name in str(given)):
            found = self.value(given, f"Resources.{name}")
            if isinstance(found, str):
                return found
        made = f"{self.stack}-{name}-{_hex(name)[:8]}"
        return made.lower() if self.template["Resources"][name]["Type"] == "AWS::S3::Bucket" else made

    def _made_up(self, form: str, name: str) -> str:
        digits = _hex(self.stack + name)
        uuid = f"{digits[:8]}-{digits[8:12]}-4{digits[1:4]}-8{digits[5:8]}-{digits[:12]}"
        return form.format(
            region=REGION, account=ACCOUNT, name=self.physical_name(name), hex=digits, uuid=uuid, word="A" + digits[:8]
        )


def _hex(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(_word, value)) if isinstance(value, list) else str(value)


def calls(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield (function, body) of every intrinsic below a node, and the pieces of a Sub as `Ref` and `Fn::GetAtt`."""
    if isinstance(node, dict):
        for key, body in node.items():
            if key in ("Ref", "Condition") or key.startswith("Fn::"):
                yield key, body
            if key == "Fn::Sub":
                text, own = body if isinstance(body, list) else (body, {})
                for name in re.findall(r"\$\{([^!}][^}]*)\}", text):
                    if name not in own:
                        yield ("Ref", name) if name.startswith("AWS::") or "." not in name else ("Fn::GetAtt", name)
            yield from calls(body)
    elif isinstance(node, list):
        for item in node:
            yield from calls(item)


def conditions_of(template: dict[str, Any], node: Any) -> set[str]:
    """The conditions that decide what a node becomes: its own, those of its `Fn::If`, and those of what it refers to."""
    found: set[str] = set()
    waiting = [body[0] for kind, body in calls(node) if kind == "Fn::If"]
    waiting += [body for kind, body in calls(node) if kind == "Condition" and isinstance(body, str)]
    for kind, body in calls(node):
        if kind in ("Ref", "Fn::GetAtt"):
            name = body.partition(".")[0] if isinstance(body, str) else str(body[0])
            there = template["Resources"].get(name, {}).get("Condition")
            waiting += [there] if there else []
    while waiting:
        name = waiting.pop()
        if name not in found and name in template.get("Conditions", {}):
            found.add(name)
            waiting += [body for kind, body in calls(template["Conditions"][name]) if kind == "Condition"]
    return found


def parameters_of(template: dict[str, Any], conditions: set[str]) -> list[str]:
    """The parameters that conditions depend on."""
    names = {
        body
        for condition in conditions
        for kind, body in calls(template["Conditions"][condition])
        if kind == "Ref" and body in template.get("Parameters", {})
    }
    return sorted(names)


def literals_of(template: dict[str, Any], parameter: str) -> set[str]:
    """What the template compares a parameter with."""
    found = set()
    for section in ("Conditions", "Rules"):
        for kind, body in calls(template.get(section, {})):
            if kind == "Fn::Equals" and any(("Ref", parameter) in set(_pairs(side)) for side in body):
                found |= {_word(side) for side in body if not isinstance(side, (dict, list))}
    return found


def _pairs(node: Any) -> Iterator[tuple[str, str]]:
    yield from ((kind, body) for kind, body in calls(node) if isinstance(body, str))
