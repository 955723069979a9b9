"""An operation that CloudFormation is at: begun, told line by line, waited for, and its failure explained by its causes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from dicom_workflow.aws.stacks.cloudformation import Cloud
from dicom_workflow.aws.stacks.deployment import Deployment
from dicom_workflow.aws.stacks.stack_state import Event, StackState
from dicom_workflow.errors import DeployError

QUIET_SECONDS = 60.0
"""After so long without a line there is one that it goes on: a database takes a quarter of an hour."""
BEGIN_SECONDS = 300.0
"""How long CloudFormation may take to begin what it accepted; it takes seconds."""
CAUSES = 5


def carry_out(
    deployment: Deployment,
    state: StackState,
    begin: Callable[[], object],
    *,
    on_event: Callable[[Event], None] | None = None,
    must_begin: bool = True,
    resources: int = 0,
) -> StackState:
    """Begin an operation on a stack, wait for its end, and return the stack's state.

    Parameters
    ----------
    deployment : Deployment
    state : StackState
        From before.
    begin : callable
        Asks CloudFormation for it.
    on_event : callable, optional
        Takes each event, in order, instead of the person.
    must_begin : bool
        Whether there will be an event of it: none is written for a stack that is in review.
    resources : int
        How many it will touch, where that is known.

    Raises
    ------
    DeployError
        CloudFormation was out of reach meanwhile, or never began.
    """
    seen = {event.id for event in deployment.cloud.events(state.id)}
    begin()
    return _wait(deployment, state, seen, on_event, must_begin=must_begin, resources=resources)


def follow(deployment: Deployment, state: StackState) -> StackState:
    """Wait for what is under way on a stack, and return its state. Its person is told of what happens from now on."""
    deployment.say(f"{state.name}: {state.status}; waiting for what is under way")
    return _wait(deployment, state, {event.id for event in deployment.cloud.events(state.id)}, None, must_begin=False)


def causes(cloud: Cloud, state: StackState) -> str:
    """Return what failed first in the last operation on a stack, a line each."""
    found = [event for event in cloud.latest_operation(state.id) if event.is_cause][:CAUSES]
    if not found:
        return f"  {state.reason or 'CloudFormation gives no reason.'}"
    return "\n".join(f"  {event.logical_id} ({event.type}): {event.reason or event.status}" for event in found)


def _wait(
    deployment: Deployment,
    state: StackState,
    known: set[str],
    on_event: Callable[[Event], None] | None,
    *,
    must_begin: bool,
    resources: int = 0,
) -> StackState:
    progress = Progress(deployment, state.name, resources)
    has_begun, deadline = not must_begin, time.monotonic() + BEGIN_SECONDS
    while True:
        now, news = _look(deployment.cloud, state, known)
        for event in news:
            known.add(event.id)
            (on_event or progress.event)(event)
        # A state that was read before the first event may be the one from before.
        if has_begun and not now.is_busy and now.status != "REVIEW_IN_PROGRESS":
            return now
        has_begun = has_begun or bool(news)
        if not has_begun and time.monotonic() > deadline:
            raise DeployError(f"stack {state.name}: expected CloudFormation to begin what it accepted, but nothing happens.")
        progress.look()
        time.sleep(deployment.cloud.poll_seconds)


def _look(cloud: Cloud, state: StackState, known: Collection[str]) -> tuple[StackState, list[Event]]:
    try:
        now = cloud.find(state.id)  # by its ARN: a deleted stack is found by nothing else
        news = cloud.events(state.id, known=known)  # after the state: whatever ended the work is among them
    except DeployError as error:
        raise DeployError(f"{error} CloudFormation goes on without this command; the same command waits for it.") from error
    if now is None:
        raise DeployError(f"stack {state.name}: expected to see how it ends, but it is gone.")
    return now, news


class Progress:
    """Prints what happens to a stack: one line for each resource that is done or failed, and one when it is long quiet."""

    def __init__(self, deployment: Deployment, name: str, resources: int = 0) -> None:
        self._deployment, self._name = deployment, name
        self._open: set[str] = set()
        self._resources, self._ended = resources, 0
        self._last = time.monotonic()

    def event(self, event: Event) -> None:
        """Take one event."""
        is_stack = event.type == "AWS::CloudFormation::Stack"
        if event.status.endswith("_IN_PROGRESS"):
            self._open |= set() if is_stack else {event.logical_id}
            return
        self._open.discard(event.logical_id)
        self._ended += not is_stack
        reason = f": {event.reason}" if event.reason and event.status.endswith(("_FAILED", "_SKIPPED")) else ""
        what = f"{event.status} {event.logical_id} ({event.type}){reason}"
        self._say(f"  {event.time:%H:%M:%S} {self._name} {self._counts()}: {what}")

    def look(self) -> None:
        """Say that it goes on, when nothing has been said for long."""
        if time.monotonic() - self._last > QUIET_SECONDS:
            waited_for = f": {', '.join(sorted(self._open))}" if self._open else ""
            self._say(f"  {datetime.now(UTC):%H:%M:%S} {self._name} {self._counts()}{waited_for}")

    def _counts(self) -> str:
        of = f" of {self._resources}" if self._resources >= self._ended else ""
        return f"{self._ended}{of} done, {len(self._open)} under way"

    def _say(self, line: str) -> None:
        self._last = time.monotonic()
        self._deployment.say(line)
