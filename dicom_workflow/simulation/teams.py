"""Run a labeling job with a team: simulated readers, people on this machine, or an existing work team on AWS."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_workflow.errors import LabelingError
from dicom_workflow.labeling import jobs, workteams
from dicom_workflow.labeling.client import put_workers
from dicom_workflow.settings import Secret, Settings
from dicom_workflow.simulation.readers import ReaderSummary, Regions, SimulatedReader, read_all

SIMULATED_TEAM = "simulated-readers"
IDLE_SECONDS = 60.0
SPREAD = 0.03
"""Difference in skill between simulated readers: three readers at 0.85 have 0.82, 0.85 and 0.88."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Team:
    """A work team with its simulated readers or the sign-in file of its people."""

    arn: str
    readers: tuple[tuple[SimulatedReader, Secret], ...] = ()
    """Simulated readers with their passwords; empty when people read."""
    sign_in_path: Path | None = None
    """File with the names and passwords of the people's accounts, readable by this user alone."""

    def invitation(self, settings: Settings) -> str:
        """Return a sentence that says who reads and where."""
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
    """Return the team for a labeling job, creating it when it does not exist.

    Parameters
    ----------
    settings : Settings
    client : boto3 SageMaker client
        Of the service that `settings.groundtruth_url` names.
    simulated_readers : int
        Number of simulated readers; with 0, people read.
    sensitivity, specificity, uncertain_rate : float
        Skill of the middle reader, as probabilities for each label.
    seed : int
        The same seed gives the same errors.
    workteam_arn : str
        An existing team; required on AWS, where workers are people in Cognito.
    people : sequence of str
        Names of the accounts made for people on a self-hosted service.

    Raises
    ------
    LabelingError
        Simulated readers were asked for on AWS, or no work team was named there.
    """
    if settings.groundtruth_url == "aws":
        if simulated_readers or not workteam_arn:
            raise LabelingError(
                "On AWS people label, and no simulated readers. Set simulated_readers=0 and workteam_arn to the ARN of a "
                "private work team. The labeling stack or the SageMaker console creates one."
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
    arn, path = workteams.ensure_people(settings, client, people)
    return Team(arn, sign_in_path=path)


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
) -> tuple[jobs.JobState, list[ReaderSummary]]:
    """Wait until a team has labeled a job; return the job's state and a summary of each simulated reader.

    Parameters
    ----------
    settings : Settings
        `groundtruth_url` is where simulated readers sign in.
    client : boto3 SageMaker client
        Of the same service.
    job_name : str
        A job that was created for this team.
    team : Team
        From `assemble`.
    truth, regions : mapping, optional
        Reference standard of the simulated readers: SOP Instance UID → label → present, and → label → regions.
    on_poll : callable, optional
        Called with every state of the job.
    poll_seconds : float
        Seconds between status requests.
    progress : bool
        Show a progress bar.

    Raises
    ------
    LabelingError
        The job failed, or the simulated readers have answered everything and it is still not finished.
    ServiceError
        The labeling service does not answer.
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
                    f"labeling job {job_name!r}: {len(team.readers)} simulated readers have answered all their tasks and "
                    f"{state.unlabeled} of {state.total} objects are not labeled. Does the job ask for more workers per object?"
                )

    try:
        state = jobs.wait(client, job_name, poll_seconds=poll_seconds, on_poll=watch, progress=False)
        summaries = reading.result()
        for note in (note for summary in summaries for note in summary.notes()):
            _log.warning("%s", note)
        return state, summaries
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
