"""The kinds of labeling tasks by name, and the names of their two Lambda functions.

A function is called ``SageMaker-dicom-workflow-pre`` or ``-post`` for the default task and
``SageMaker-dicom-workflow-<task>-pre`` or ``-post`` for another: AWS's managed policy asks for "SageMaker" in the name.

Standard library only: this module ships inside the Lambda functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dicom_workflow.errors import RecordError
from dicom_workflow.labeling.tasks.protocol import Task
from dicom_workflow.labeling.tasks.radiograph.task import Radiograph

DEFAULT_TASK = Radiograph.name
"""Task of a job whose functions say nothing else, and of a job without functions."""

PRE_ANNOTATION, POST_ANNOTATION = "pre", "post"
FUNCTION_PREFIX = "SageMaker-dicom-workflow-"

_TASKS: dict[str, Task] = {}


def register(task: Task) -> None:
    """Make a task known by its name in this process; the same name again replaces it.

    Raises
    ------
    RecordError
        The name is not lower-case letters and digits.
    """
    if not (task.name.isascii() and task.name.isalnum() and task.name == task.name.lower()):
        raise RecordError(f"expected the name of a task as lower-case letters and digits, got {task.name!r}.")
    _TASKS[task.name] = task


def names() -> tuple[str, ...]:
    """Return the names of all tasks, sorted."""
    return tuple(sorted(_TASKS))


def find(name: str = "") -> Task:
    """Return a task by name; the default one for an empty name.

    Raises
    ------
    RecordError
        There is no such task.
    """
    task = _TASKS.get(name or DEFAULT_TASK)
    if task is None:
        raise RecordError(f"expected a labeling task, {' or '.join(names())}, got {name[:60]!r}.")
    return task


def function_name(task: str, kind: str) -> str:
    """Return the name of a task's function.

    Parameters
    ----------
    task : str
        Name of the task.
    kind : {'pre', 'post'}
        `PRE_ANNOTATION` or `POST_ANNOTATION`.
    """
    return f"{FUNCTION_PREFIX}{'' if task == DEFAULT_TASK else f'{task}-'}{kind}"


def of_function(arn: str, kind: str) -> Task | None:
    """Return the task whose function of that kind an ARN names; None when it is nobody's."""
    name = arn.partition(":function:")[2].partition(":")[0]
    return next((task for task in _TASKS.values() if function_name(task.name, kind) == name), None)


def of_request(request: Mapping[str, Any]) -> Task:
    """Return the task of a CreateLabelingJob request; the default one for a job without functions.

    Raises
    ------
    RecordError
        A function is no task's, or the two are of different tasks.
    """
    human = request.get("HumanTaskConfig") or {}
    arns = {
        PRE_ANNOTATION: human.get("PreHumanTaskLambdaArn"),
        POST_ANNOTATION: (human.get("AnnotationConsolidationConfig") or {}).get("AnnotationConsolidationLambdaArn"),
    }
    found: dict[str, Task] = {}
    for kind, arn in arns.items():
        if not arn:
            continue
        task = of_function(str(arn), kind)
        if task is None:
            known = ", ".join(function_name(name, kind) for name in names())
            raise RecordError(f"{arn} is not a {kind}-annotation function of this service. It has {known}.")
        found[task.name] = task
    if len(found) > 1:
        raise RecordError(f"the two functions are of different tasks, {' and '.join(sorted(found))}. Use those of one task.")
    return next(iter(found.values()), find())


register(Radiograph())
