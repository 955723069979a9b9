"""The work team operations of SageMaker: create, describe, list, update, delete.

Workers join a team through `labeling.client.put_workers`. The member definitions of a request (groups of Cognito or of an OIDC
provider) are stored and returned but have no effect.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dicom_workflow.groundtruth.api.requests import ApiError, page
from dicom_workflow.groundtruth.store.job_store import ACTIVE, JobStore
from dicom_workflow.labeling.client import SELF_HOSTED_ACCOUNT_ID

MAX_WORKTEAMS = 25
STORED_MEMBERS = ("WorkteamName", "MemberDefinitions", "Description", "NotificationConfiguration", "WorkerAccessConfiguration")


def arn_of(name: str, region: str) -> str:
    """Return the ARN of a private work team."""
    return f"arn:aws:sagemaker:{region}:{SELF_HOSTED_ACCOUNT_ID}:workteam/private-crowd/{name}"


def find(store: JobStore, name: str) -> dict[str, Any] | None:
    """Return a team's definition and timestamps, or None."""
    row = store.db.execute("SELECT * FROM workteams WHERE name = ?", (name,)).fetchone()
    return {**json.loads(row["request"]), "CreateDate": row["created"], "LastUpdatedDate": row["updated"]} if row else None


class WorkteamOperations:
    """The five work team operations."""

    def __init__(self, store: JobStore, region: str) -> None:
        self._store = store
        self._region = region

    def create(self, request: dict[str, Any], host: str) -> dict[str, Any]:
        """CreateWorkteam.

        Raises
        ------
        ApiError
            The name is taken, or the limit of teams is reached.
        """
        name, now = request["WorkteamName"], self._store.clock()
        kept = json.dumps({key: request[key] for key in STORED_MEMBERS if key in request})
        with self._store.write() as db:
            if db.execute("SELECT 1 FROM workteams WHERE name = ?", (name,)).fetchone():
                raise ApiError("ResourceInUse", f"The work team {name!r} already exists.")
            if db.execute("SELECT count(*) AS count FROM workteams").fetchone()["count"] >= MAX_WORKTEAMS:
                raise ApiError("ResourceLimitExceeded", f"The limit of {MAX_WORKTEAMS} work teams is reached. Delete one.")
            db.execute("INSERT INTO workteams VALUES (?, ?, ?, ?)", (name, kept, now, now))
        return {"WorkteamArn": arn_of(name, self._region)}

    def describe(self, request: dict[str, Any], host: str) -> dict[str, Any]:
        """DescribeWorkteam."""
        return {"Workteam": self._shown(self._team(request["WorkteamName"]), host)}

    def list(self, request: dict[str, Any], host: str) -> dict[str, Any]:
        """ListWorkteams."""
        names = [row["name"] for row in self._store.db.execute("SELECT name FROM workteams")]
        teams = [self._team(name) for name in names if request.get("NameContains", "").lower() in name.lower()]
        key = "WorkteamName" if request.get("SortBy") == "Name" else "CreateDate"
        teams.sort(key=lambda team: team[key], reverse=request.get("SortOrder") == "Descending")
        shown, more = page(teams, request)
        return {"Workteams": [self._shown(team, host) for team in shown], **more}

    def update(self, request: dict[str, Any], host: str) -> dict[str, Any]:
        """UpdateWorkteam."""
        team = self._team(request["WorkteamName"])
        kept = {key: request.get(key, team.get(key)) for key in STORED_MEMBERS if key in request or key in team}
        kept["WorkteamName"] = team["WorkteamName"]
        with self._store.write() as db:
            values = (json.dumps(kept), self._store.clock(), team["WorkteamName"])
            db.execute("UPDATE workteams SET request = ?, updated = ? WHERE name = ?", values)
        return self.describe(request, host)

    def delete(self, request: dict[str, Any], host: str) -> dict[str, Any]:
        """DeleteWorkteam. Its workers keep their accounts and other teams.

        Raises
        ------
        ApiError
            The team does not exist or has a job.
        """
        name = self._team(request["WorkteamName"])["WorkteamName"]
        if busy := self._store.jobs(*ACTIVE, workteams=[name]):
            raise ApiError("ResourceInUse", f"The work team {name!r} is labeling the job {busy[0].name!r}. Stop the job first.")
        with self._store.write() as db:
            db.execute("DELETE FROM workteams WHERE name = ?", (name,))
            db.execute("DELETE FROM members WHERE workteam = ?", (name,))
        return {"Success": True}

    def _team(self, name: str) -> dict[str, Any]:
        team = find(self._store, name)
        if team is None:  # as SageMaker does: this operation has no ResourceNotFound
            raise ApiError("ValidationException", f"The work team {name!r} does not exist.")
        return team

    def _shown(self, team: Mapping[str, Any], host: str) -> dict[str, Any]:
        workforce = f"arn:aws:sagemaker:{self._region}:{SELF_HOSTED_ACCOUNT_ID}:workforce/private-crowd"
        arn = arn_of(team["WorkteamName"], self._region)
        return {**team, "WorkteamArn": arn, "WorkforceArn": workforce, "SubDomain": host}
