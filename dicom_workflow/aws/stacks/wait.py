"""Stack operations: start one, print its events, wait for the end, and report the causes of a failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from dicom_workflow.aws.stacks.cloudformation import CloudFormationClient
from dicom_workflow.aws.stacks.deployment import Deployment
from dicom_workflow.aws.stacks.stack_state import Event, StackState
from dicom_workflow.errors import DeployError

QUIET_SECONDS = 60.0
"""Interval after which a line is printed without any event: a database takes a quarter of an hour."""
START_TIMEOUT_SECONDS = 300.0
"""How long CloudFormation may take to start an operation that it accepted; usually seconds."""
MAX_CAUSES = 5


def run_operation(
    deployment: Deployment,
    state: StackState,
    start: Callable[[], object],
    *,
    on_event: Callable[[Event], None] | None = None,
    must_begin: bool = True,
    resources: int = 0,
) -> StackState:
    """Start an operation on a stack, wait until it ends, and return the final state.

    Parameters
    ----------
    deployment : Deployment
    state : StackState
        State before the operation.
    start : callable
        Sends the request to CloudFormation.
    on_event : callable, optional
        Called with each event, in order, instead of printing it.
    must_begin : bool
        Whether CloudFormation writes events for the operation: it writes none for a stack in review.
    resources : int
        Number of resources that it changes, where that is known.

    Raises
    ------
    DeployError
        CloudFormation could not be reached meanwhile, or did not start the operation.
    """
    seen = {event.id for event in deployment.cloud.events(state.id)}
    start()
    return _wait(deployment, state, seen, on_event, must_begin=must_begin, resources=resources)


def wait_for_operation(deployment: Deployment, state: StackState) -> StackState:
    """Wait for the stack's current operation to finish, printing new events, and return the final state."""
    deployment.report(f"{state.name}: {state.status}; waiting for the operation in progress")
    return _wait(deployment, state, {event.id for event in deployment.cloud.events(state.id)}, None, must_begin=False)


def failure_causes(cloud: CloudFormationClient, state: StackState) -> str:
    """Return the first failures of the last operation on a stack, one per line."""
    found = [event for event in cloud.latest_operation(state.id) if event.is_cause][:MAX_CAUSES]
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
    has_begun, deadline = not must_begin, time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        now, news = _poll(deployment.cloud, state, known)
        for event in news:
            known.add(event.id)
            (on_event or progress.event)(event)
        # A state that was read before the first event may be the one from before the operation.
        if has_begun and not now.is_busy and now.status != "REVIEW_IN_PROGRESS":
            return now
        has_begun = has_begun or bool(news)
        if not has_begun and time.monotonic() > deadline:
            raise DeployError(
                f"stack {state.name}: CloudFormation accepted the operation but did not start it within "
                f"{START_TIMEOUT_SECONDS:.0f} seconds. Run the command again."
            )
        progress.print_if_quiet()
        time.sleep(deployment.cloud.poll_seconds)


def _poll(cloud: CloudFormationClient, state: StackState, known: Collection[str]) -> tuple[StackState, list[Event]]:
    try:
        now = cloud.find(state.id)  # by ARN: a deleted stack is not found by name
        news = cloud.events(state.id, known=known)  # after the state, so that the event that ended the operation is included
    except DeployError as error:
        raise DeployError(f"{error} CloudFormation continues without this command; run it again to wait for it.") from error
    if now is None:
        raise DeployError(f"stack {state.name} disappeared during the operation.")
    return now, news


class Progress:
    """Prints one line for each resource that is complete or failed, and a status line during long silences.

    Parameters
    ----------
    deployment : Deployment
    name : str
        Name of the stack.
    resources : int
        Number of resources of the operation, 0 when it is not known.
    """

    def __init__(self, deployment: Deployment, name: str, resources: int = 0) -> None:
        self._deployment, self._name = deployment, name
        self._open: set[str] = set()
        self._resources, self._ended = resources, 0
        self._last = time.monotonic()

    def event(self, event: Event) -> None:
        """Count an event and print it when its resource is complete or failed."""
        is_stack = event.type == "AWS::CloudFormation::Stack"
        if event.status.endswith("_IN_PROGRESS"):
            self._open |= set() if is_stack else {event.logical_id}
            return
        self._open.discard(event.logical_id)
        self._ended += not is_stack
        reason = f": {event.reason}" if event.reason and event.status.endswith(("_FAILED", "_SKIPPED")) else ""
        what = f"{event.status} {event.logical_id} ({event.type}){reason}"
        self._print(f"  {event.time:%H:%M:%S} {self._name} {self._counts()}: {what}")

    def print_if_quiet(self) -> None:
        """Print the resources in progress when nothing was printed for `QUIET_SECONDS`."""
        if time.monotonic() - self._last > QUIET_SECONDS:
            waited_for = f": {', '.join(sorted(self._open))}" if self._open else ""
            self._print(f"  {datetime.now(UTC):%H:%M:%S} {self._name} {self._counts()}{waited_for}")

    def _counts(self) -> str:
        of = f" of {self._resources}" if self._resources >= self._ended else ""
        return f"{self._ended}{of} done, {len(self._open)} in progress"

    def _print(self, line: str) -> None:
        self._last = time.monotonic()
        self._deployment.report(line)
