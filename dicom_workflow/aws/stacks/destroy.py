"""Stacks taken away again, last first; and, only where that was said twice, the data that CloudFormation leaves behind.

What stays is known from CloudFormation itself, which remembers a deleted stack and its skipped resources for 90 days: so a
removal that was stopped goes on, and data can still be deleted by name when their stacks are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_workflow.aws.errors import answers_of_aws
from dicom_workflow.aws.stacks import delete_data as data
from dicom_workflow.aws.stacks import wait
from dicom_workflow.aws.stacks.catalog import DATA_TYPES, DEPLOYMENT_TAG, STACKS
from dicom_workflow.aws.stacks.change_stack import Change
from dicom_workflow.aws.stacks.deployment import Deployment
from dicom_workflow.aws.stacks.stack_state import GOOD, READY, ChangeSet, StackState, plain
from dicom_workflow.errors import DeployError

_GOES_WITH_ANOTHER = ("AWS::S3::BucketPolicy", "AWS::SecretsManager::ResourcePolicy", "AWS::KMS::Alias")
"""Kept by a template only so that what they belong to stays closed; they have no data of their own."""

_OF_PEOPLE = DATA_TYPES - {"AWS::Logs::LogGroup", "AWS::RDS::DBInstance"}
"""What somebody misses: a database instance has nothing that its cluster has not, and logs are told apart by their policy."""


@dataclass(frozen=True)
class Remains:
    """A resource that outlives its stack, or whose content goes with it."""

    stack: str
    logical_id: str
    type: str
    physical_id: str

    def row(self) -> tuple[str, ...]:
        return (self.stack, self.logical_id, self.type, self.physical_id)


@dataclass(frozen=True)
class Inventory:
    """What a removal will find."""

    stacks: tuple[tuple[str, StackState], ...]
    """Those that stand, in the order of removal."""
    goes: int
    stays: tuple[Remains, ...]
    """Of stacks that stand and of stacks that are gone already."""
    lost: tuple[Remains, ...] = ()
    """What goes with its stack although somebody may have put something into it: the disk of a notebook, say."""


def inventory(deployment: Deployment) -> Inventory:
    """Return what stands of a deployment, and what of it would stay or has stayed."""
    standing = [(stack, state) for stack, state in deployment.states().items() if state and state.status != "DELETE_COMPLETE"]
    stays: list[Remains] = []
    lost: list[Remains] = []
    goes = 0
    for stack, state in standing:
        resources = deployment.cloud.resources(state.id) if state.exists else []
        present = [item for item in resources if item["ResourceStatus"] != "DELETE_COMPLETE"]
        staying = _staying(deployment, state, present)
        goes += len(present) - len(staying)
        stays += _remains(stack, staying)
        lost += _remains(stack, [item for item in present if item not in staying and item["ResourceType"] in _OF_PEOPLE])
    for stack, state in _gone(deployment):
        stays += _remains(stack, _staying(deployment, state, deployment.cloud.resources(state.id)))
    return Inventory(tuple(standing[::-1]), goes, tuple(dict.fromkeys(stays)), tuple(lost))


def _remains(stack: str, items: list[Mapping[str, Any]]) -> list[Remains]:
    return [
        Remains(stack, plain(item["LogicalResourceId"]), plain(item["ResourceType"]), plain(item.get("PhysicalResourceId")))
        for item in items
        if item["ResourceType"] not in _GOES_WITH_ANOTHER and item.get("PhysicalResourceId")
    ]


def _staying(
    deployment: Deployment, state: StackState, items: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The resources that the deployed template, not the one of this checkout, wants to outlive the stack."""
    if not items:
        return []
    resources = deployment.cloud.template_of(state).resources
    kept = {name for name, item in resources.items() if item.get("DeletionPolicy", "Delete") != "Delete"}
    return [item for item in items if item["LogicalResourceId"] in kept or item["ResourceStatus"] == "DELETE_SKIPPED"]


def _gone(deployment: Deployment) -> list[tuple[str, StackState]]:
    """The deleted stacks of this deployment that CloudFormation remembers."""
    names = {deployment.stack_name(stack): stack for stack in STACKS}
    client = deployment.cloud.client("cloudformation")
    with answers_of_aws("deleted stacks"):
        pages = client.get_paginator("list_stacks").paginate(StackStatusFilter=["DELETE_COMPLETE"])
        found = [item for page in pages for item in page["StackSummaries"] if item["StackName"] in names]
    ours = []
    for item in found:
        state = deployment.cloud.find(item["StackId"])
        if state and state.tags.get(DEPLOYMENT_TAG) == deployment.name:
            ours.append((names[item["StackName"]], state))
    return ours


def remove(deployment: Deployment, found: Inventory) -> None:
    """Delete the stacks of a deployment, last first. What their templates keep stays.

    Raises
    ------
    DeployError
        A stack could not be deleted; the message has the first causes and how to go on.
    """
    for _, state in found.stacks:
        _remove_stack(deployment, state)


def _remove_stack(deployment: Deployment, shown: StackState) -> None:
    cloud = deployment.cloud
    state = cloud.find(shown.id)  # as it is now: its person may have thought about it for long
    if state and state.is_busy:
        state = wait.follow(deployment, state)
    if state is None or state.status == "DELETE_COMPLETE":
        return
    if state.status in READY and "ProtectData" in state.parameters:
        _lift_protection(deployment, state)
    if state.protected:
        cloud.protect(state.name, False)
    ended = wait.carry_out(deployment, state, lambda: cloud.delete(state), must_begin=state.exists)
    if ended.status != "DELETE_COMPLETE":
        raise DeployError(
            f"stack {state.name} could not be deleted and is in {ended.status}. First causes:\n"
            f"{wait.causes(cloud, ended)}\n"
            f"When they are dealt with, go on with: {deployment.command('destroy')}"
        )
    deployment.say(f"{state.name}: deleted")


def _lift_protection(deployment: Deployment, state: StackState) -> None:
    """Databases, load balancers and user pools that refuse to be deleted let a stack's removal fail half way."""
    cloud = deployment.cloud
    values: list[dict[str, Any]] = [
        {"ParameterKey": name, **({"ParameterValue": "false"} if name == "ProtectData" else {"UsePreviousValue": True})}
        for name in state.parameters
    ]
    change_set = cloud.repeat_change_set(state, values)
    if change_set.is_empty:
        cloud.drop_change_set(change_set)
        return
    _must_only_lift(deployment, state, change_set)
    deployment.say(f"{state.name}: lifting the protection of its databases, load balancers and user pools")
    ended = wait.carry_out(deployment, state, lambda: cloud.execute(change_set))
    if ended.status not in GOOD:
        raise DeployError(
            f"stack {state.name}: its protection could not be lifted; it is in {ended.status}. First causes:\n"
            f"{wait.causes(cloud, ended)}\nGo on with: {deployment.command('destroy')}"
        )


def _must_only_lift(deployment: Deployment, state: StackState, change_set: ChangeSet) -> None:
    """Nobody is shown this change set, so it may cost no data: a parameter that AWS looks up can have another value today."""
    template = deployment.cloud.template_of(state)
    dangers = [danger for item in change_set.changes if (danger := Change.parse(item).danger(template))]
    if change_set.status == "CREATE_COMPLETE" and not dangers:
        return
    deployment.cloud.drop_change_set(change_set)
    raise DeployError(
        f"stack {state.name}: its protection cannot be lifted ({'; '.join(dangers) or change_set.reason}), so it was not "
        f"removed. Bring it to where its template says with `{deployment.command('deploy')}`, then remove it."
    )


def delete_data(deployment: Deployment, stays: tuple[Remains, ...]) -> list[tuple[Remains, str]]:
    """Delete what outlived the stacks, keys last, and return what is still there, each with the reason.

    A key, a secret and the like have a waiting period of AWS's own, in which they can be taken back.
    """
    left = []
    for item in sorted(stays, key=lambda item: item.type == "AWS::KMS::Key"):
        delete: Callable[[Any, str], str] | None = data.DELETERS.get(item.type)
        if delete is None:
            left.append((item, "this command does not know how to delete its type"))
            continue
        try:
            with answers_of_aws(item.physical_id):
                said = delete(deployment.cloud.client, item.physical_id)
        except DeployError as error:
            left.append((item, plain(error)))
            continue
        deployment.say(f"  {item.physical_id} ({item.type}): {said}")
    return left
