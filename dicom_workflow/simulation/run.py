"""Who labels: a work team of simulated readers, of people on this machine, or one that AWS has already."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from dicom_workflow.errors import LabelingError
from dicom_workflow.groundtruth.accounts import ACCOUNT_ID, put_workers
from dicom_workflow.groundtruth.api.labeling_jobs import POST_FUNCTION, PRE_FUNCTION
from dicom_workflow.labeling import jobs, workteams
from dicom_workflow.settings import Secret, Settings
from dicom_workflow.simulation.readers import Reading, Regions, SimulatedReader, read_all

SIMULATED_TEAM = "simulated-readers"
PEOPLE_TEAM = "readers"
IDLE_SECONDS = 60.0
SPREAD = 0.03
"""How far the skill of simulated readers lies apart: three readers at 0.85 have 0.82, 0.85 and 0.88."""


class Arns(TypedDict):
    """The role and functions of a labeling job, by the names of `job.LabelingJob`."""

    role_arn: str
    pre_annotation_arn: str
    post_annotation_arn: str


@dataclass(frozen=True)
class Team:
    """A work team, and what it takes to let it read."""

    arn: str
    readers: tuple[tuple[SimulatedReader, Secret], ...] = ()
    """Simulated readers with their passwords; none when people read."""
    sign_in_path: Path | None = None
    """File with the names and passwords of people's accounts, readable by this user alone."""

    def invitation(self, settings: Settings) -> str:
        """Return, in words, who reads and where."""
        if self.readers:
            return f"{len(self.readers)} simulated readers: {', '.join(reader.name for reader, _ in self.readers)}"
        if self.sign_in_path:
            return f"Sign in at {settings.groundtruth_url} with a name and password from {self.sign_in_path}"
        return f"The members of {self.arn} read, in their own portal"


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
        members = workteams.oidc_members([SIMULATED_TEAM])
        arn = workteams.ensure(client, SIMULATED_TEAM, "Simulated readers of known skill", members)
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
    arn = workteams.ensure(client, PEOPLE_TEAM, "People who read on this machine", workteams.oidc_members([PEOPLE_TEAM]))
    return Team(arn, sign_in_path=_accounts_for(settings, people))


def arns(settings: Settings, *, role: str = "", pre_annotation: str = "", post_annotation: str = "") -> Arns:
    """Return the role and the two functions of a labeling job, by the names `job.LabelingJob` has for them.

    What is not given is the self-hosted service's own: it knows the two functions of this package by their names and needs no
    role. On AWS all three have to be given, or the job says which is missing.
    """
    if settings.groundtruth_url == "aws":
        return {"role_arn": role, "pre_annotation_arn": pre_annotation, "post_annotation_arn": post_annotation}
    functions = f"arn:aws:lambda:{settings.region}:{ACCOUNT_ID}:function"
    return {
        "role_arn": role or f"arn:aws:iam::{ACCOUNT_ID}:role/dicom-workflow",
        "pre_annotation_arn": pre_annotation or f"{functions}:{PRE_FUNCTION}",
        "post_annotation_arn": post_annotation or f"{functions}:{POST_FUNCTION}",
    }


def label(
    settings: Settings,
    client: Any,
    job_name: str,
    team: Team,
    *,
    truth: Mapping[str, Mapping[str, bool]] | None = None,
    regions: Regions | None = None,
    on_poll: Callable[[jobs.JobState], None] | None = None,
    poll_seconds: float = 1.0,
    progress: bool = True,
) -> tuple[jobs.JobState, list[Reading]]:
    """Let a team label a job, wait until it is finished, and return its state and what each simulated reader did.

    Parameters
    ----------
    job_name : str
        A job that was created for this team.
    truth, regions : mapping, optional
        What simulated readers answer from: SOP Instance UID → label → is it there, and → label → where.
    on_poll : callable, optional
        Called with every state that was seen.

    Raises
    ------
    LabelingError
        The job failed, or the simulated readers have nothing left to do and it is not finished.
    ServiceError
        The labeling service stays away.
    """
    if not team.readers:
        return jobs.wait(client, job_name, poll_seconds=poll_seconds, on_poll=on_poll, progress=progress), []
    idle_since: float | None = None
    pool = ThreadPoolExecutor(1)
    reading = pool.submit(read_all, settings.groundtruth_url, team.readers, truth or {}, regions=regions, progress=progress)

    def watch(state: jobs.JobState) -> None:
        nonlocal idle_since
        if on_poll:
            on_poll(state)
        if reading.done() and not state.finished:
            reading.result()  # raises what stopped the readers
            idle_since = idle_since or time.monotonic()
            if time.monotonic() - idle_since > IDLE_SECONDS:
                raise LabelingError(
                    f"labeling job {job_name!r}: {len(team.readers)} simulated readers have nothing left to do and "
                    f"{state.unlabeled} of {state.total} objects are not labeled. Does it ask for more workers per object?"
                )

    try:
        state = jobs.wait(client, job_name, poll_seconds=poll_seconds, on_poll=watch, progress=False)
        return state, reading.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


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
