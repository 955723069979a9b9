"""Simulated readers: workers of known skill who label through the pages of the portal.

A reader knows the reference standard and errs at a set rate. Whether it errs on a label of an image depends only on the seed,
the reader's name, the SOP Instance UID and the label, so neither the order of the images nor a retry changes an answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dicom_workflow.errors import ServiceError
from dicom_workflow.formats.answers import Answer, LabelState, Region
from dicom_workflow.formats.labels import LabelSet, default_label_set
from dicom_workflow.settings import Secret
from dicom_workflow.simulation.portal_client import IdleTimeout, PortalSession, ReaderSummary

Rate = float | Mapping[str, float]
Truth = Mapping[str, Mapping[str, bool]]
Regions = Mapping[str, Mapping[str, Sequence[Region]]]


@dataclass(frozen=True)
class SimulatedReader:
    """A reader of known skill.

    `sensitivity`, `specificity` and `uncertain_rate` are probabilities: one for all labels, or one per label. A label without
    its own has the value of the key ``""``, else 0.9, 0.9 and 0.

    Raises
    ------
    ServiceError
        A rate is not between 0 and 1.
    """

    name: str
    sensitivity: Rate = 0.9
    specificity: Rate = 0.9
    uncertain_rate: Rate = 0.0
    seed: int = 0

    def read(
        self,
        sop_instance_uid: str,
        labels: Sequence[str],
        truth: Mapping[str, bool],
        regions: Mapping[str, Sequence[Region]] | None = None,
        label_set: LabelSet | None = None,
        unknown: Collection[str] = (),
    ) -> Answer:
        """Return this reader's answer for one image.

        Parameters
        ----------
        sop_instance_uid : str
            Of the image.
        labels : sequence of str
            The labels of the task.
        truth : mapping of str to bool
            Label → present; a label that is missing is absent.
        regions : mapping, optional
            True regions of the labels. A reader who finds the label marks them, shifted by up to 1/20 of their size.
        label_set : LabelSet, optional
            Rules of the labels; those of the chest label set when not given.
        unknown : collection of str
            Labels that the reference standard does not have. They get no answer, and neither does a label that excludes one
            of them, unless another finding contradicts it.
        """
        rules = label_set or default_label_set(labels)
        states: dict[str, LabelState] = {}
        derived = [label for label in rules.exclusive if any(rules.excludes(label, other) for other in labels)]
        for label in labels:
            if label in unknown or label in derived:
                continue
            error, doubt = self._draws(sop_instance_uid, label)
            present = bool(truth.get(label, False))
            right = error < _rate(self.sensitivity if present else self.specificity, label, 0.9)
            state = LabelState.POSITIVE if present == right else LabelState.NEGATIVE
            states[label] = LabelState.UNCERTAIN if doubt < _rate(self.uncertain_rate, label, 0.0) else state
        for exclusive in derived:
            said = {state for label, state in states.items() if rules.excludes(exclusive, label)}
            open_question = any(rules.excludes(exclusive, label) for label in unknown if label in labels)
            if open_question and LabelState.POSITIVE not in said:
                continue
            states[exclusive] = (
                LabelState.NEGATIVE
                if LabelState.POSITIVE in said
                else LabelState.UNCERTAIN
                if LabelState.UNCERTAIN in said
                else LabelState.POSITIVE
            )
        marked = [
            self._marked(sop_instance_uid, region)
            for label in labels
            if states.get(label) is LabelState.POSITIVE
            for region in (regions or {}).get(label, ())
        ]
        return Answer(labels={label: states[label] for label in labels if label in states}, regions=tuple(marked))

    def __post_init__(self) -> None:
        for name in ("sensitivity", "specificity", "uncertain_rate"):
            rate = getattr(self, name)
            for value in rate.values() if isinstance(rate, Mapping) else (rate,):
                if not 0.0 <= value <= 1.0:
                    raise ServiceError(f"{name} of reader {self.name!r}: expected a number from 0 to 1, got {value}.")

    def _draws(self, sop_instance_uid: str, label: str) -> tuple[float, float]:
        """Return two uniform numbers in [0, 1)."""
        text = json.dumps([self.seed, self.name, sop_instance_uid, label])
        digest = hashlib.sha256(text.encode()).digest()
        return tuple(int.from_bytes(digest[i : i + 7], "big") / 2**56 for i in (0, 8))  # type: ignore[return-value]

    def _marked(self, sop_instance_uid: str, region: Region) -> Region:
        xs, ys = zip(*region.points_px, strict=True)
        size = max(max(xs) - min(xs), max(ys) - min(ys), 1.0)
        dx, dy = (draw - 0.5 for draw in self._draws(sop_instance_uid, f"{region.label} place {region.points_px[0]}"))
        points = tuple(
            (round(max(0.0, x + dx * size / 10), 2), round(max(0.0, y + dy * size / 10), 2)) for x, y in region.points_px
        )
        return Region(region.label, region.shape, points)


def read_all(
    portal_url: str,
    readers: Iterable[tuple[SimulatedReader, Secret]],
    truth: Truth,
    *,
    regions: Regions | None = None,
    progress: bool = True,
    idle_timeout_seconds: float = 15.0,
    timeout_seconds: float = 60.0,
    label_set: LabelSet | None = None,
) -> list[ReaderSummary]:
    """Let readers answer all their tasks, each in its own thread, and return the counts of each.

    Parameters
    ----------
    portal_url : str
        Base URL of the labeling service.
    readers : iterable of (SimulatedReader, Secret)
        Readers and the passwords of their accounts.
    truth : mapping
        Reference standard: SOP Instance UID → label → present. Labels and images that it does not have stay unknown.
    regions : mapping, optional
        SOP Instance UID → label → true regions.
    progress : bool
        Show a progress bar.
    idle_timeout_seconds : float
        End when no reader of this call has had a task for so long, although a job is not finished.
    timeout_seconds : float
        Of each request.
    label_set : LabelSet, optional
        Rules of the labels; those of the chest label set when not given.

    Raises
    ------
    ServiceError
        A reader cannot sign in, or the portal does not answer for two minutes.
    """
    from tqdm.auto import tqdm

    pairs = list(readers)
    idle = IdleTimeout(idle_timeout_seconds)
    with tqdm(desc="reading", unit="answer", disable=not progress) as bar, ThreadPoolExecutor(max(1, len(pairs))) as pool:
        sessions = [
            PortalSession(
                portal_url,
                reader.name,
                password,
                read=_answer_function(reader, truth, regions or {}, label_set),
                known=truth,
                idle=idle,
                bar=bar,
                timeout_seconds=timeout_seconds,
            )
            for reader, password in pairs
        ]
        running = [pool.submit(session.work) for session in sessions]
        try:
            return [future.result() for future in running]
        except BaseException:  # also Ctrl-C: the other readers must stop too
            idle.stop()
            raise


def _answer_function(
    reader: SimulatedReader, truth: Truth, regions: Regions, label_set: LabelSet | None
) -> Callable[[str, Sequence[str]], Answer]:
    known = {label for labels in truth.values() for label in labels}

    def answer(uid: str, labels: Sequence[str]) -> Answer:
        unknown = set(labels) - known if uid in truth else set(labels)
        return reader.read(uid, labels, truth.get(uid, {}), regions.get(uid), label_set, unknown=unknown)

    return answer


def _rate(rate: Rate, label: str, default: float) -> float:
    return rate.get(label, rate.get("", default)) if isinstance(rate, Mapping) else rate
