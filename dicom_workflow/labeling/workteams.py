"""Private work teams: the people a labeling job is offered to."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_workflow.errors import JobParametersError, LabelingError
from dicom_workflow.labeling import service_model
from dicom_workflow.labeling.client import put_workers, service_errors
from dicom_workflow.settings import Secret, Settings

PEOPLE_TEAM = "readers"
"""Work team of the accounts that `ensure_people` makes on a self-hosted service."""


@dataclass(frozen=True)
class Workteam:
    """A work team as the service describes it."""

    name: str
    arn: str
    portal_url: str = ""
    """Where its members sign in."""
    description: str = ""

    @classmethod
    def parse(cls, response: dict[str, Any]) -> Workteam:
        """Return the team of a DescribeWorkteam or ListWorkteams entry; SageMaker gives the portal without a scheme."""
        portal = str(response.get("SubDomain", ""))
        return cls(
            name=str(response["WorkteamName"]),
            arn=str(response["WorkteamArn"]),
            portal_url=portal if "://" in portal or not portal else f"https://{portal}",
            description=str(response.get("Description", "")),
        )


def oidc_members(groups: Sequence[str]) -> list[dict[str, Any]]:
    """Return member definitions for groups of an OIDC provider; the self-hosted service takes these too."""
    return [{"OidcMemberDefinition": {"Groups": list(groups)}}]


def create(sagemaker: Any, name: str, description: str, members: Sequence[dict[str, Any]]) -> str:
    """Create a work team and return its ARN.

    Parameters
    ----------
    sagemaker : boto3 SageMaker client
    name : str
        1 to 63 letters, digits and single inner hyphens.
    description : str
        One line of 1 to 200 characters.
    members : sequence of dict
        Member definitions, as `oidc_members` returns them.

    Raises
    ------
    JobParametersError
        A limit of CreateWorkteam is broken (all are listed), or the name is taken.
    """
    _check(name, description, members)
    with service_errors(sagemaker, f"work team {name!r}"):
        response = sagemaker.create_workteam(WorkteamName=name, Description=description, MemberDefinitions=list(members))
        return str(response["WorkteamArn"])


def update(sagemaker: Any, name: str, description: str, members: Sequence[dict[str, Any]]) -> Workteam:
    """Change a work team's description and members and return it.

    Parameters
    ----------
    sagemaker, name, description, members
        As for `create`.

    Raises
    ------
    JobParametersError
        A limit of CreateWorkteam is broken.
    """
    _check(name, description, members)
    with service_errors(sagemaker, f"work team {name!r}"):
        response = sagemaker.update_workteam(WorkteamName=name, Description=description, MemberDefinitions=list(members))
        return Workteam.parse(response["Workteam"])


def describe(sagemaker: Any, name: str) -> Workteam:
    """Return a work team by name."""
    with service_errors(sagemaker, f"work team {name!r}"):
        return Workteam.parse(sagemaker.describe_workteam(WorkteamName=name)["Workteam"])


def list_all(sagemaker: Any) -> list[Workteam]:
    """Return every work team of the account and region, sorted by name."""
    with service_errors(sagemaker, "work teams"):
        pages = sagemaker.get_paginator("list_workteams").paginate()
        return sorted((Workteam.parse(team) for page in pages for team in page["Workteams"]), key=lambda team: team.name)


def ensure(sagemaker: Any, name: str, description: str, members: Sequence[dict[str, Any]]) -> str:
    """Return the ARN of the work team of that name, which is created when there is none.

    Parameters
    ----------
    sagemaker, name, description, members
        As for `create`.
    """
    for team in list_all(sagemaker):
        if team.name == name:
            return team.arn
    return create(sagemaker, name, description, members)


def ensure_people(settings: Settings, sagemaker: Any, names: Sequence[str]) -> tuple[str, Path]:
    """Return the ARN of the people's team of a self-hosted service and the file with the names and passwords of its accounts.

    Team, accounts and file are made once; later calls return them as they are. Only this user may read the file.

    Parameters
    ----------
    settings : Settings
        Of a self-hosted service; the file is kept in its workspace.
    sagemaker : boto3 SageMaker client
        Of the same service.
    names : sequence of str
        Names of the accounts.
    """
    arn = ensure(sagemaker, PEOPLE_TEAM, "People who read on this machine", oidc_members([PEOPLE_TEAM]))
    path = settings.workspace / "services" / "sign-in.txt"
    if path.exists():
        path.chmod(0o600)
        return arn, path
    passwords = {name: Secret(secrets.token_urlsafe(9)) for name in names}
    put_workers(settings, passwords, PEOPLE_TEAM)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name}\t{password.reveal()}\n" for name, password in passwords.items()]
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.writelines(["# Sign-in for the labeling portal: name, password\n", *lines])
    return arn, path


def delete(sagemaker: Any, name: str) -> None:
    """Delete a work team.

    Raises
    ------
    LabelingError
        The service did not delete it.
    """
    with service_errors(sagemaker, f"work team {name!r}"):
        if sagemaker.delete_workteam(WorkteamName=name).get("Success") is False:
            raise LabelingError(f"work team {name!r} was not deleted. Is a labeling job still using it?")


def _check(name: str, description: str, members: Sequence[dict[str, Any]]) -> None:
    request = {"WorkteamName": name, "Description": description, "MemberDefinitions": list(members)}
    problems = service_model.problems("CreateWorkteam", request)
    if problems:
        listed = "".join(f"\n- {problem}" for problem in problems)
        raise JobParametersError(f"The work team {name!r} breaks {len(problems)} limits of CreateWorkteam:{listed}")
