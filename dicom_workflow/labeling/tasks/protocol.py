"""The seam between the labeling foundation and one kind of labeling task.

The foundation (Lambda functions, self-hosted service, reading of outputs) knows manifest lines, label sets, answers and
consolidated labels. A `Task` says what is particular to a kind of object: which keys of a line reach the worker's page, the
page's template, the form of an answer, how answers become one label, and how a picture gets to the page.

Which kind a labeling job is travels in the names of its two functions (`registry.function_name`), as Ground Truth has no
field for it; on AWS the environment variable ``TASK`` tells the function itself. The consolidated label says it as ``task``,
so an output manifest is read without the job.

Standard library only: this module ships inside the Lambda functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, ClassVar

from dicom_workflow.errors import AnswerError
from dicom_workflow.formats.answers import Answer, LabelState, Region, parse_state
from dicom_workflow.formats.json_schema import Schema, shown
from dicom_workflow.formats.labels import LabelSet, default_label_set
from dicom_workflow.labeling.consolidation import VOTING_STATES, WorkerAnswer, consolidate

UNCERTAIN_SHARE = 0.5
"""What a reader's "uncertain" adds to the share of readers who saw a finding: neither for nor against."""
FEWEST_READERS = 2
"""Votes that a label needs for a share: one reader's answer is a state."""


@dataclass(frozen=True)
class TaskInput:
    """What the page of one task gets."""

    data: Mapping[str, Any]
    """``task.input`` of the template."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Key of the manifest line → why it could not be used; the task goes on without it."""


@dataclass(frozen=True)
class Frame:
    """One picture of a task, as the self-hosted portal serves it below ``/tasks/<task>/``."""

    route: str
    """Path below the task, letters, digits, dots, hyphens and slashes: ``image``, ``rendered.png``."""
    uri: str
    """Of the object: s3://, file:// or an archive's (`ObjectReference.to_uri`)."""
    rendered: bool = False
    """A PNG as the image is to be seen is served instead of the stored bytes."""
    index: int = 0
    """Which frame of a multi-frame object is rendered, from 0."""
    color: bool = False
    """Whether a color image may be rendered; otherwise it is refused."""
    input_key: str = ""
    """Key of ``task.input`` that gets the address. Without one, ``grant_read_access`` of the `uri` gives it."""


@dataclass(frozen=True)
class ReadLabel:
    """A consolidated label in the terms of training."""

    states: Mapping[str, LabelState]
    confidences: Mapping[str, float] = field(default_factory=dict)
    fractions: Mapping[str, float] = field(default_factory=dict)
    """Label → share of readers who saw it, see `fraction_of`; only labels that have one."""
    review: tuple[str, ...] = ()
    regions: tuple[Region, ...] = ()


class Task(ABC):
    """One kind of labeling task. Subclasses have no state: one object serves every job."""

    name: ClassVar[str]
    """Lower-case letters and digits: part of function names, value of ``TASK`` and of ``task`` in a label."""
    title: ClassVar[str] = "Label images"
    """What workers read in the list of their jobs."""
    description: ClassVar[str] = "Say for each label whether the image shows it, and mark where."
    template_file: ClassVar[str]
    """Name of the page's template, ending in ``.html`` or ``.liquid``: the name of the published one, too."""
    page_keys: ClassVar[tuple[str, ...]] = ()
    """Keys of a manifest line that are for the worker's page only: a training manifest does not take them over."""
    adjudication_keys: ClassVar[tuple[str, ...]] = ()
    """Keys of a manifest line that an adjudicator's page gets as well, beside what the line points at and its labels."""

    @property
    def label_set(self) -> LabelSet:
        """Label set whose rules hold where a job brings none."""
        return default_label_set()

    def template(self) -> str:
        """Return the Liquid template of the worker's page: the `template_file` among those that ship with this package.

        Where it has the marks of `templates.page_template`, these become the addresses of the page's script and style.
        """
        return resources.files("dicom_workflow.labeling").joinpath("worker_templates", self.template_file).read_text("utf-8")

    @abstractmethod
    def answer_schema(self) -> Schema:
        """Return the schema of the answers that the page sends."""

    @abstractmethod
    def task_input(self, line: Mapping[str, Any], *, images_s3_prefix: str = "") -> TaskInput:
        """Return the task input of one manifest line: what the page needs, and nothing of the patient or of other workers.

        Parameters
        ----------
        line : mapping
            The whole manifest line.
        images_s3_prefix : str
            s3:// folder with copies of the archive's instances, where the page's host cannot reach the archive.

        Raises
        ------
        RecordError
            The line cannot become a task.
        """

    @abstractmethod
    def parse(self, content: object) -> Answer:
        """Return the answer of one ``answerContent`` or ``annotationData.content``, held to the schema once.

        Raises
        ------
        AnswerError
            The content has no form that this task reads.
        """

    def consolidate(
        self,
        answers: Iterable[WorkerAnswer],
        *,
        labels: Sequence[str] = (),
        rules: LabelSet | None = None,
        refused: Sequence[Mapping[str, str]] = (),
        minimum_answers: int = 1,
    ) -> dict[str, Any]:
        """Return the label of one object; the vote of `consolidation.consolidate` unless a task decides otherwise.

        Parameters
        ----------
        answers, labels, rules, refused, minimum_answers
            As there.

        Returns
        -------
        dict
            JSON object with at least ``labels``, ``refused`` and ``annotationsFromAllWorkers`` as there; `read_label` reads it.
        """
        return consolidate(answers, labels=labels, rules=rules, refused=refused, minimum_answers=minimum_answers)

    def read_label(self, label: Mapping[str, Any]) -> ReadLabel:
        """Return states and regions of a label that `consolidate` made.

        Raises
        ------
        AnswerError, KeyError, TypeError, ValueError
            The label has another form.
        """
        votes = label["labels"]
        for name, vote in votes.items():
            if not isinstance(vote, Mapping) or "state" not in vote:
                raise AnswerError(f"expected label {name!r} as a JSON object with its 'state', got {shown(vote)}.")
        return ReadLabel(
            states={str(name): parse_state(vote["state"]) for name, vote in votes.items()},
            confidences={str(name): float(vote.get("confidence", 0.0)) for name, vote in votes.items()},
            fractions={str(name): share for name, vote in votes.items() if (share := fraction_of(vote)) is not None},
            review=tuple(label.get("review") or ()),
            regions=tuple(Region.parse(region) for region in label.get("regions") or ()),
        )

    @abstractmethod
    def frames(self, line: Mapping[str, Any], task_input: Mapping[str, Any] | None) -> tuple[Frame, ...]:
        """Return the pictures of a task that the portal serves to the worker who holds it.

        Parameters
        ----------
        line : mapping
            The manifest line.
        task_input : mapping, optional
            From the pre-annotation function; None for a job without one.
        """


def fraction_of(vote: Mapping[str, Any]) -> float | None:
    """Return the share of readers who saw a finding.

    Parameters
    ----------
    vote : mapping
        `consolidation.Vote.to_json`: ``votes`` has how many readers said ``positive``, ``negative`` and ``uncertain``.

    Returns
    -------
    float or None
        (positive + `UNCERTAIN_SHARE` × uncertain) / all votes, in [0, 1], to four decimals; who did not speak of the label has
        no vote. None with fewer than `FEWEST_READERS` votes, and where an adjudicator decided: the word of that one counts.
    """
    votes = vote.get("votes")
    if vote.get("adjudicated") or not isinstance(votes, Mapping):
        return None
    counts = [votes.get(str(state), 0) for state in VOTING_STATES]
    if not all(isinstance(count, int) and count >= 0 for count in counts) or sum(counts) < FEWEST_READERS:
        return None
    positive, _, uncertain = counts
    return round((positive + UNCERTAIN_SHARE * uncertain) / sum(counts), 4)
