"""Who labels: a work team of simulated readers, of people on this machine, or one that AWS has already."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_workflow.errors import LabelingError
from dicom_workflow.groundtruth.accounts import put_workers
from dicom_workflow.groundtruth.readers import SimulatedReader
from dicom_workflow.settings import Secret, Settings

SIMULATED_TEAM = "simulated-readers"
PEOPLE_TEAM = "readers"
SPREAD = 0.03
"""How far the skill of simulated readers lies apart: three readers at 0.85 have 0.82, 0.85 and 0.88."""


@dataclass(frozen=True)
class Team:
    """A work team, and what it takes to let it read."""

    arn: str
    readers: tuple[tuple[SimulatedReader, Secret], ...] = ()
    """Simulated readers with their passwords; none when people read."""
    sign_in_path: Path | None = None
    """File with the names and passwords of people's accounts, readable by this user alone."""


def assemble(
    settings: Settings,
    client: Any,
    *,
    simulated_readers: int = 0,
    sensitivity: float = 0.85,
    specificity: float = 0.92,
    uncertain_rate: float = 0.03,
    seed: int = 0,
    workteam_arn: str = "",
    people: Sequence[str] = ("reader-1", "reader-2", "reader-3"),
) -> Team:
    """Return the team of a labeling job, made if need be.

    Parameters
    ----------
    settings : Settings
    client : boto3 SageMaker client
        Of the service that `settings.groundtruth_url` names.
    simulated_readers : int
        How many simulated readers; with 0, people read.
    sensitivity, specificity, uncertain_rate : float
        Skill of the middle reader, as probabilities per label.
    seed : int
        Same seed, same errors.
    workteam_arn : str
        A team that is there already; needed on AWS, where workers are people in Cognito.
    people : sequence of str
        Names of the accounts that are made for people on the self-hosted service.

    Raises
    ------
    LabelingError
        Simulated readers were asked for on AWS, or no work team was named there.
    """
    if settings.groundtruth_url == "aws":
        if simulated_readers or not workteam_arn:
            raise LabelingError(
                "expected workteam_arn=… of a private work team and simulated_readers=0: on AWS people read. "
                "Make the team in the SageMaker console, or with the labeling stack."
            )
        return Team(workteam_arn)
    if workteam_arn:
        return Team(workteam_arn)
    if simulated_readers:
        arn = _ensure_workteam(client, SIMULATED_TEAM, "Simulated readers of known skill")
        readers = []
        for number in range(simulated_readers):
            shift = SPREAD * (number - (simulated_readers - 1) / 2)
            reader = SimulatedReader(
                f"simulated-reader-{number + 1}",
                sensitivity=min(1.0, max(0.0, sensitivity + shift)),
                specificity=min(1.0, max(0.0, specificity + shift)),
                uncertain_rate=uncertain_rate,
                seed=seed,
            )
            readers.append((reader, Secret(secrets.token_urlsafe(18))))
        put_workers(settings, {reader.name: password for reader, password in readers}, SIMULATED_TEAM)
        return Team(arn, tuple(readers))
    return Team(_ensure_workteam(client, PEOPLE_TEAM, "People"), sign_in_path=_accounts_for(settings, people))


def _ensure_workteam(client: Any, name: str, description: str) -> str:
    for team in client.list_workteams(NameContains=name)["Workteams"]:
        if team["WorkteamName"] == name:
            return str(team["WorkteamArn"])
    members = [{"OidcMemberDefinition": {"Groups": [name]}}]
    return str(client.create_workteam(WorkteamName=name, Description=description, MemberDefinitions=members)["WorkteamArn"])


def _accounts_for(settings: Settings, people: Sequence[str]) -> Path:
    """Accounts are made once; the file keeps what nobody can look up in the service again."""
    path = settings.workspace / "services" / "sign-in.txt"
    if path.exists():
        return path
    passwords = {name: Secret(secrets.token_urlsafe(9)) for name in people}
    put_workers(settings, passwords, PEOPLE_TEAM)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name}\t{password.reveal()}\n" for name, password in passwords.items()]
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.writelines(["# Sign-in for the labeling portal: name, password\n", *lines])
    return path
