"""Which samples a static picture shows."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_workflow.formats.answers import LabelState
from dicom_workflow.viz.samples import SampleType, has_disagreement, labels_of


def choose_samples(samples: Sequence[SampleType], count: int, *, label: str = "") -> list[SampleType]:
    """Return samples worth a look, at most `count`: labeled ones before others, earlier ones before later.

    Parameters
    ----------
    samples : sequence of Labeled
    count : int
    label : str
        First those where this label is positive, then where it is uncertain; without one, first those on whose labels workers
        disagree most or that are to review, and among them those with most regions.
    """

    def interest(sample: SampleType) -> tuple[int, ...]:
        if label:
            order = (LabelState.POSITIVE, LabelState.UNCERTAIN, LabelState.NEGATIVE)
            state = sample.states.get(label, LabelState.UNKNOWN)
            return (order.index(state) if state in order else len(order),)
        disputed = sum(has_disagreement(sample, name) for name in labels_of(sample))
        return -disputed - len(sample.review), -len(sample.regions)

    return sorted(samples, key=lambda sample: (not sample.states, *interest(sample)))[:count]
