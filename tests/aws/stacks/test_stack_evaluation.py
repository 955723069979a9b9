"""Every choice of parameters: what is referred to exists, what is put out has a value, and one stack feeds the next.

What a resource becomes depends on a few parameters only: those that its conditions, and the conditions of what it refers to,
look at. So each resource and each output is evaluated for every combination of those, which is every combination there is.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import pytest
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
from support.stack_evaluator import ACCOUNT, Evaluation, EvaluationError, calls, conditions_of, literals_of, parameters_of
from support.templates import CFN, DEPLOYMENT, GIVEN, REGION, SOMETIMES, STACKS, fed, template

from dicom_workflow.aws.stacks.template_evaluator import Evaluation as Foreseen
from dicom_workflow.aws.stacks.templates import Template

# Outputs that other stacks and the command line rely on, by the stack that has them.
PROMISED = {
    "foundation": {"KeyArn", "ArtifactsBucket", "LogsBucket"},
    "network": {"VpcId", "VpcCidr", "PrivateSubnetIds", "PublicSubnetIds", "EndpointSecurityGroupId"},
    "archive": {"OrthancUrl", "OrthancSecretArn", "PixelBucket", "ArchiveClientSecurityGroupId", "HealthImagingDatastoreId"},
    "labeling": {
        *("LabelingBucket", "PreAnnotationArn", "PostAnnotationArn", "LabelingRoleArn", "WorkteamArn", "PortalUrl"),
        *("GroundTruthUrl", "GroundTruthSecretArn", "UserPoolId", "UserPoolClientId"),
    },
    "training": {"TrainingRoleArn", "TrainingBucket", "InferenceRepositoryUri", "InferenceBuildProject", "EndpointName"},
    "search": {"SearchBucket", "SearchStoreUrl", "SearchUrl", "SearchServiceRepositoryUri", "SearchServiceBuildProject"},
    "notebook": {"NotebookUrl", "NotebookRoleArn", "StudioDomainId"},
}
# The longest name that AWS takes, by type and property. https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/
LONGEST = {
    ("AWS::S3::Bucket", "BucketName"): 63,
    ("AWS::IAM::Role", "RoleName"): 64,
    ("AWS::IAM::ManagedPolicy", "ManagedPolicyName"): 128,
    ("AWS::Lambda::Function", "FunctionName"): 64,
    ("AWS::ElasticLoadBalancingV2::LoadBalancer", "Name"): 32,
    ("AWS::ElasticLoadBalancingV2::TargetGroup", "Name"): 32,
    ("AWS::Cognito::UserPoolDomain", "Domain"): 63,
    ("AWS::Cognito::UserPool", "UserPoolName"): 128,
    ("AWS::Cognito::UserPoolGroup", "GroupName"): 128,
    ("AWS::SageMaker::Workteam", "WorkteamName"): 63,
    ("AWS::SageMaker::Workforce", "WorkforceName"): 63,
    ("AWS::SageMaker::NotebookInstance", "NotebookInstanceName"): 63,
    ("AWS::SageMaker::NotebookInstanceLifecycleConfig", "NotebookInstanceLifecycleConfigName"): 63,
    ("AWS::SageMaker::Domain", "DomainName"): 63,
    ("AWS::SageMaker::Endpoint", "EndpointName"): 63,
    ("AWS::SageMaker::EndpointConfig", "EndpointConfigName"): 63,
    ("AWS::SageMaker::Model", "ModelName"): 63,
    ("AWS::ECR::Repository", "RepositoryName"): 256,
    ("AWS::ECS::Cluster", "ClusterName"): 255,
    ("AWS::ECS::Service", "ServiceName"): 255,
    ("AWS::ECS::TaskDefinition", "Family"): 255,
    ("AWS::CodeBuild::Project", "Name"): 150,
    ("AWS::Logs::LogGroup", "LogGroupName"): 512,
    ("AWS::KMS::Alias", "AliasName"): 256,
    ("AWS::SecretsManager::Secret", "Name"): 512,
    ("AWS::RDS::DBCluster", "DBClusterIdentifier"): 63,
    ("AWS::RDS::DBInstance", "DBInstanceIdentifier"): 63,
    ("AWS::SQS::Queue", "QueueName"): 80,
    ("AWS::SNS::Topic", "TopicName"): 256,
    ("AWS::CloudWatch::Alarm", "AlarmName"): 255,
    ("AWS::HealthImaging::Datastore", "DatastoreName"): 256,
    ("AWS::WAFv2::WebACL", "Name"): 128,
    ("AWS::OpenSearchService::Domain", "DomainName"): 28,
    ("AWS::Events::Rule", "Name"): 64,
    ("AWS::Logs::ResourcePolicy", "PolicyName"): 255,
    ("AWS::Backup::BackupVault", "BackupVaultName"): 50,
    ("AWS::Backup::BackupPlan", "BackupPlanName"): 50,
}
LONGEST_DEPLOYMENT = "a" + "b" * 30


def name_of(stack: str, deployment: str = DEPLOYMENT) -> str:
    return f"{deployment}-{stack}"


@cache
def sample(stack: str) -> dict[str, str]:
    """A value for every parameter: the stacks before it put out theirs, with what a person chose left at the defaults."""
    return fed(stack, put_out)


@cache
def put_out(stack: str) -> dict[str, Any]:
    """The outputs of a stack, lists joined as CloudFormation does it."""
    found = Evaluation(template(stack), sample(stack), name_of(stack)).outputs
    return {name: ",".join(value) if isinstance(value, list) else value for name, value in found.items()}


def choices(stack: str, parameter: str) -> list[str]:
    """The values of a parameter that can make a difference."""
    body = template(stack)["Parameters"][parameter]
    if "AllowedValues" in body:
        return [str(value) for value in body["AllowedValues"]]
    candidates = {str(body.get("Default", sample(stack).get(parameter))), sample(stack).get(parameter, "")}
    candidates |= {GIVEN.get(parameter, ""), SOMETIMES.get(parameter, "")}
    candidates |= literals_of(template(stack), parameter) | {str(body[key]) for key in ("MinValue", "MaxValue") if key in body}
    return sorted(value for value in candidates if value is not None and allowed(body, value))


def allowed(body: dict[str, Any], value: str) -> bool:
    """Whether the constraints of a parameter let a value through; a list is judged item by item, as CloudFormation does it."""
    many = str(body["Type"]).startswith(("CommaDelimitedList", "List<"))
    typed = str(body["Type"]).startswith(("AWS::", "List<"))
    for item in value.split(",") if many else [value]:
        pattern = body.get("AllowedPattern")
        if (pattern and not re.fullmatch(pattern, item.strip())) or (typed and not item):
            return False
        if "AllowedValues" in body and item not in map(str, body["AllowedValues"]):
            return False
        if body["Type"] == "Number" and not (item and _between(body, float(item))):
            return False
    return True


def _between(body: dict[str, Any], number: float) -> bool:
    return bool(body.get("MinValue", number) <= number <= body.get("MaxValue", number))


def combinations(stack: str, node: Any) -> Iterator[Evaluation]:
    """Every choice that changes what a node becomes, save those that the template's own `Rules` refuse."""
    body = template(stack)
    deciding = parameters_of(body, conditions_of(body, node))
    for values in itertools.product(*(choices(stack, name) for name in deciding)):
        trial = Evaluation(body, sample(stack) | dict(zip(deciding, values, strict=True)), name_of(stack))
        if not trial.refused():
            yield trial


def test_all_templates_are_there() -> None:
    assert [stack for stack in STACKS if not (CFN / f"{stack}.yaml").is_file()] == []


def test_every_resource_can_be_made_under_every_choice_of_parameters(stack: str, capsys: pytest.CaptureFixture[str]) -> None:
    body, faults, evaluated = template(stack), set(), 0
    for name, node in body["Resources"].items():
        seen = set()
        for trial in combinations(stack, node):
            evaluated += 1
            try:
                if trial.present(name):
                    properties = json.dumps(trial.resource(name)["Properties"], sort_keys=True)
                    if properties not in seen:
                        seen.add(properties)
                        faults |= set(against_schema(stack, name, node["Type"], json.loads(properties)))
            except EvaluationError as error:
                faults.add(str(error))
    every = parameters_of(body, set(body.get("Conditions", {})))
    total = 1
    for parameter in every:
        total *= len(choices(stack, parameter))
    with capsys.disabled():
        print(f"\n{stack}: {len(body['Resources'])} resources, {len(every)} deciding parameters, {total} combinations, "
              f"covered by {evaluated} evaluations")  # fmt: skip
    assert not faults, "\n".join(sorted(faults))


def against_schema(stack: str, name: str, kind: str, properties: dict[str, Any]) -> Iterator[str]:
    """Properties that are missing, unknown or not one of the values there are, as the resource's own schema says."""
    if kind.startswith("Custom::") or kind == "AWS::CloudFormation::CustomResource":
        return  # they take what their function takes
    for error in validator(kind).iter_errors(properties):
        for leaf in [error, *(error.context or [])] if error.validator not in ("oneOf", "anyOf") else [error]:
            # CloudFormation reads '365' as the number where a number is wanted.
            as_text = leaf.validator == "enum" and str(leaf.instance) in map(str, leaf.validator_value)
            if leaf.validator in ("required", "additionalProperties", "enum", "dependentRequired") and not as_text:
                yield f"{stack}: {name}.{'.'.join(map(str, leaf.absolute_path))}: {leaf.message[:300]}"


@cache
def validator(kind: str) -> jsonschema.Draft7Validator:
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, kind).schema
    return jsonschema.Draft7Validator(without_patterns(schema))


def without_patterns(schema: Any) -> Any:
    """The schema without what Python's regular expressions cannot read and what is not asked here."""
    if isinstance(schema, dict):
        drop = {"pattern", "format", "propertyNames"}
        # Keys of any form are allowed where their form is a pattern.
        drop |= {"patternProperties", "additionalProperties"} if "patternProperties" in schema else set()
        return {key: without_patterns(value) for key, value in schema.items() if key not in drop}
    return [without_patterns(item) for item in schema] if isinstance(schema, list) else schema


def test_every_output_has_a_value_under_every_choice_of_parameters(stack: str) -> None:
    faults = set()
    for name, node in template(stack).get("Outputs", {}).items():
        for trial in combinations(stack, node):
            try:
                if trial.gives(name) and not isinstance(trial.output(name), (str, int, list)):
                    faults.add(f"{stack}: output {name} is {trial.output(name)!r}")
            except EvaluationError as error:
                faults.add(str(error))
    assert sorted(faults) == []


def test_what_depends_on_something_names_a_resource_of_the_template(stack: str) -> None:
    resources = template(stack)["Resources"]
    faults = []
    for name, node in resources.items():
        wanted = node.get("DependsOn", [])
        faults += [f"{name}: {other}" for other in ([wanted] if isinstance(wanted, str) else wanted) if other not in resources]
    assert faults == []


def test_rules_use_no_function_that_rules_do_not_know(stack: str) -> None:
    """CloudFormation's own list is shorter than that of conditions, and neither cfn-lint nor moto minds.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-rules.html
    """
    words = ("And", "Contains", "EachMemberEquals", "EachMemberIn", "Equals", "Not", "Or", "RefAll", "ValueOf", "ValueOfAll")
    used = {kind for kind, _ in calls(template(stack).get("Rules", {}))}
    assert used - {"Ref", *(f"Fn::{word}" for word in words)} == set()


def test_every_condition_parameter_and_mapping_is_used(stack: str) -> None:
    body = template(stack)
    rest = {key: value for key, value in body.items() if key not in ("Parameters", "Metadata")}
    named = {str(inner) for _, inner in calls(rest) if isinstance(inner, str)}
    named |= {inner[0] for kind, inner in calls(rest) if kind in ("Fn::If", "Fn::FindInMap") and isinstance(inner[0], str)}
    unused = {
        name for section in ("Parameters", "Conditions", "Mappings") for name in body.get(section, {}) if name not in named
    }
    # Passed to every stack, whether or not it has anything to tag with it.
    assert unused <= {"DeploymentName"}


def test_every_parameter_that_decides_something_is_tried_both_ways(stack: str) -> None:
    body = template(stack)
    deciding = parameters_of(body, set(body.get("Conditions", {})))
    single = [name for name in deciding if len(choices(stack, name)) < 2]
    assert single == [], f"GIVEN in support/templates.py needs a value for {', '.join(single)}"


def test_a_stack_puts_out_what_the_others_and_the_command_line_count_on(stack: str) -> None:
    assert PROMISED[stack] - set(template(stack)["Outputs"]) == set()


def test_every_parameter_has_a_default_or_a_giver(stack: str) -> None:
    earlier = {name for other in STACKS[: STACKS.index(stack)] for name in template(other)["Outputs"]}
    orphans = [
        name
        for name, body in template(stack)["Parameters"].items()
        if "Default" not in body and name not in earlier and name not in GIVEN
    ]
    assert orphans == []


def test_what_a_stack_puts_out_fits_the_parameter_it_becomes(stack: str) -> None:
    faults = []
    for name, value in sample(stack).items():
        body = template(stack)["Parameters"].get(name)
        if body is not None and not allowed(body, value):
            faults.append(f"{name} = {value!r} does not fit {body.get('AllowedPattern', body['Type'])}")
    assert faults == []


def test_who_may_come_from_outside_is_asked_in_the_same_words_everywhere() -> None:
    asked = {template(stack)["Parameters"]["ClientCidr"]["AllowedPattern"] for stack in ("archive", "labeling", "search")}
    assert len(asked) == 1
    (pattern,) = asked
    refused = ("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/7", "10.0.0.0", "10.0.0.0/33")
    assert not any(re.search(pattern, text) for text in refused)
    assert all(re.search(pattern, text) for text in ("", "10.0.0.0/8", "203.0.113.0/24", "203.0.113.7/32"))


def test_an_empty_optional_parameter_is_allowed(stack: str) -> None:
    bodies = template(stack)["Parameters"].items()
    assert [
        name for name, body in bodies if "Default" in body and str(body["Default"]) and not allowed(body, str(body["Default"]))
    ] == []


def test_parameters_and_outputs_explain_themselves(stack: str) -> None:
    body, faults = template(stack), []
    for name, parameter in body["Parameters"].items():
        if not parameter.get("Description"):
            faults.append(f"parameter {name} has no Description")
        if ({"AllowedPattern", "AllowedValues", "MinValue"} & set(parameter)) and not parameter.get("ConstraintDescription"):
            faults.append(f"parameter {name} has no ConstraintDescription")
    faults += [f"output {name} has no Description" for name, output in body["Outputs"].items() if not output.get("Description")]
    faults += [f"output {name} is exported" for name, output in body["Outputs"].items() if "Export" in output]
    interface = body.get("Metadata", {}).get("AWS::CloudFormation::Interface", {})
    grouped = {name for group in interface.get("ParameterGroups", []) for name in group["Parameters"]}
    faults += [f"parameter {name} is in no group" for name in body["Parameters"] if name not in grouped]
    faults += [f"group names {name}, which is no parameter" for name in grouped if name not in body["Parameters"]]
    assert body["Description"] and faults == []


def test_physical_names_come_from_the_stack_and_are_short_enough(stack: str) -> None:
    body, faults = template(stack), []
    for name, node in body["Resources"].items():
        for trial in combinations(stack, node):
            if not trial.present(name):
                continue
            long = Evaluation(
                body, trial_values(trial) | {"DeploymentName": LONGEST_DEPLOYMENT}, name_of(stack, LONGEST_DEPLOYMENT)
            )
            for (kind, key), most in LONGEST.items():
                if kind == node["Type"] and key in trial.resource(name)["Properties"]:
                    here, there = trial.resource(name)["Properties"][key], long.resource(name)["Properties"][key]
                    if here == there and not str(here).startswith("/aws/"):
                        faults.append(f"{name}.{key} is {here!r} whatever the stack is called")
                    if len(there) > most:
                        faults.append(f"{name}.{key} may become {len(there)} characters long, {most} are allowed: {there!r}")
    assert sorted(set(faults)) == []


def trial_values(trial: Evaluation) -> dict[str, str]:
    return {name: ",".join(value) if isinstance(value, list) else value for name, value in trial.parameters.items()}


def test_what_is_kept_leaves_no_name_that_the_next_deployment_would_want(stack: str) -> None:
    """CloudFormation ends with "already exists" where a resource of a fixed name outlived the stack before."""
    same = {"AWS::HealthImaging::Datastore"}  # two may have one name
    names = {kind: name for kind, name in LONGEST if kind not in same}
    named = {name: node for name, node in template(stack)["Resources"].items() if names.get(node["Type"]) in node["Properties"]}
    assert [name for name, node in named.items() if str(node.get("DeletionPolicy")).startswith("Retain")] == []


@pytest.mark.parametrize(
    ("stack_", "name"),
    [
        ("archive", "LogGroup"),
        ("network", "FlowLogGroup"),
        ("labeling", "LabelingServiceLogs"),
        ("search", "TaskLogs"),
    ],
)
def test_logs_of_who_did_what_outlive_their_stack(stack_: str, name: str) -> None:
    assert template(stack_)["Resources"][name]["DeletionPolicy"] == "Retain"


def test_the_command_line_foresees_the_same_resources(stack: str) -> None:
    """`dicom-workflow deploy` says beforehand what will be made; two evaluators that share no code must agree."""
    body, theirs = template(stack), Template.read(stack, CFN)
    deciding = parameters_of(body, set(body.get("Conditions", {})))
    trials = [{}, *({name: value} for name in deciding for value in choices(stack, name))]
    for changed in trials:
        values = sample(stack) | changed
        trial = Evaluation(body, values, name_of(stack))
        ours = {name for name in body["Resources"] if trial.present(name)}
        assert set(Foreseen(theirs, values).resources()) == ours, changed


def test_the_evaluator_sees_a_reference_that_one_choice_leaves_dangling() -> None:
    body = {
        "Parameters": {"Public": {"Type": "String", "Default": "no"}},
        "Conditions": {"IsPublic": {"Fn::Equals": [{"Ref": "Public"}, "yes"]}},
        "Resources": {
            "Gate": {"Type": "AWS::EC2::InternetGateway", "Condition": "IsPublic"},
            "Way": {"Type": "AWS::EC2::Route", "Properties": {"GatewayId": {"Fn::Sub": "${Gate}"}}},
        },
    }
    assert Evaluation(body, {"Public": "yes"}).resources["Way"]["Properties"]["GatewayId"].startswith("igw-")
    with pytest.raises(EvaluationError, match=r"refers to Gate, which does not exist when IsPublic=False"):
        _ = Evaluation(body).resources


def test_the_evaluator_knows_the_functions() -> None:
    body: dict[str, Any] = {
        "Parameters": {
            "Subnets": {"Type": "CommaDelimitedList", "Default": "a, b"},
            "Kind": {"Type": "String", "Default": "one"},
        },
        "Mappings": {"Sizes": {"one": {"Memory": 512}}},
        "Conditions": {"Two": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Kind"}, "one"]}]}},
        "Resources": {"Images": {"Type": "AWS::S3::Bucket", "Properties": {}}},
        "Outputs": {},
    }
    cases: list[tuple[Any, Any]] = [
        ({"Fn::Join": ["-", [{"Ref": "AWS::Region"}, {"Ref": "Kind"}]]}, f"{REGION}-one"),
        ({"Fn::Select": [1, {"Ref": "Subnets"}]}, "b"),
        ({"Fn::Split": ["/", "x/y"]}, ["x", "y"]),
        ({"Fn::FindInMap": ["Sizes", {"Ref": "Kind"}, "Memory"]}, 512),
        ({"Fn::If": ["Two", "yes", {"Ref": "AWS::NoValue"}]}, None),
        ({"Fn::Sub": ["${Kind}:${Own}:${!Kept}:${AWS::AccountId}", {"Own": {"Ref": "Kind"}}]}, f"one:one:${{Kept}}:{ACCOUNT}"),
        ({"Fn::Select": [0, {"Fn::Cidr": ["10.0.0.0/16", 2, 8]}]}, "10.0.0.0/24"),
        ({"Fn::Sub": "${Images.Arn}/*"}, "arn:aws:s3:::trial-stack-images-"),
    ]
    trial = Evaluation(body)
    for node, wanted in cases:
        found = trial.value({"it": node}, "here").get("it")
        assert found == wanted or (str(found).startswith("arn:aws:s3:::trial-stack-images-") and "Arn" in str(node)), node
    with pytest.raises(EvaluationError, match="takes number 2"):
        trial.value({"Fn::Select": [2, {"Ref": "Subnets"}]}, "here")
    with pytest.raises(EvaluationError, match="outputs are passed on as parameters"):
        trial.value({"Fn::ImportValue": "x"}, "here")
