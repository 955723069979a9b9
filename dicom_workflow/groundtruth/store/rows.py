"""What the journal holds, one frozen record per row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """One labeling job: the request that made it and how far it is."""

    name: str
    reference: str
    request: Mapping[str, Any]
    status: str
    failure_reason: str
    created: float
    modified: float
    template: str | None
    """The worker template as it was when the job began."""
    categories: tuple[str, ...] | None
    objects: int

    @property
    def human(self) -> Mapping[str, Any]:
        """The request's HumanTaskConfig."""
        return self.request["HumanTaskConfig"]

    @property
    def attribute(self) -> str:
        """The label attribute name."""
        return self.request["LabelAttributeName"]

    @property
    def workers_per_object(self) -> int:
        """How many different workers see each object."""
        return self.human["NumberOfHumanWorkersPerDataObject"]

    @property
    def workteam(self) -> str:
        """Name of the work team that labels."""
        return self.human["WorkteamArn"].rsplit("/", 1)[1]


@dataclass(frozen=True)
class Object:
    """One line of a job's manifest and what became of it."""

    number: int
    line: dict[str, Any]
    state: str
    task_input: dict[str, Any] | None
    iteration: int | None
    closed: float | None
    label: Any
    response_uri: str | None
    reason: str | None


@dataclass(frozen=True)
class Batch:
    """The objects that are with the workers at one time."""

    iteration: int
    opened: float
    closed: float | None
    state: str


@dataclass(frozen=True)
class Task:
    """One object in the hands of one worker. `state` is held, released, declined or answered."""

    task: str
    job: str
    number: int
    worker_id: str
    state: str
    accepted: float
    expires: float


@dataclass(frozen=True)
class GivenAnswer:
    """An accepted answer: the JSON text of its ``answerContent``."""

    number: int
    worker_id: str
    content: str
    accepted: float
    submitted: float


def job_of(row: Mapping[str, Any]) -> Job:
    """Return the job of one row of the journal."""
    data = dict(row)
    categories = json.loads(data["categories"]) if data["categories"] else None
    return Job(**{**data, "request": json.loads(data["request"]), "categories": tuple(categories) if categories else None})


def object_of(row: Mapping[str, Any]) -> Object:
    """Return the object of one row of the journal."""
    data = dict(row)
    del data["job"]
    for name in ("line", "task_input", "label"):
        data[name] = json.loads(data[name]) if data[name] is not None else None
    return Object(**data)
