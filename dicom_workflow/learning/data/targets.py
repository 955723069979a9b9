"""Training and evaluation targets: label states as numbers, policies for uncertain labels, and readers' shares.

Targets of training and of evaluation differ. In training an uncertain label may have a value; evaluation uses only labels that
are positive or negative (`to_targets` without a policy).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dicom_workflow.errors import DatasetError
from dicom_workflow.formats.answers import LabelState
from dicom_workflow.learning.data.channel import Sample

MODES = ("multi-label", "single-label")
UNCERTAIN_POLICIES = ("ignore", "ones", "zeros", "soft")
SOFT_TARGET = 0.5
"""What an uncertain label counts under the policy `soft` when no other value is given."""

_VALUES = {"ignore": float("nan"), "ones": 1.0, "zeros": 0.0, "soft": SOFT_TARGET}


@dataclass(frozen=True)
class UncertainPolicy:
    """The training target of uncertain labels: one value for all labels, and others for some.

    NaN takes no part in the loss. Which value serves best differs from finding to finding: see the references.

    References
    ----------
    Irvin et al. 2019, "CheXpert" (ignore, ones, zeros; Atelectasis was best with ones); Pham et al. 2021, "Interpreting chest
    X-rays via CNNs that exploit hierarchical disease dependencies and uncertainty labels" (smoothed: ones drawn from 0.55 to
    0.85, zeros from 0 to 0.3). Here a smoothed value is fixed: ``soft=0.7`` and ``soft=0.15`` are the middles of those.
    """

    text: str = "ignore"
    """As it was given."""
    value: float = float("nan")
    """Of every label that has none of its own."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Label → value."""

    @classmethod
    def parse(cls, text: str, labels: Sequence[str]) -> UncertainPolicy:
        """Return the policy of a text.

        Parameters
        ----------
        text : str
            A policy for all labels, then, after commas, other policies for some of them: ``ignore`` or
            ``ignore,Atelectasis=ones,Cardiomegaly=soft=0.7``. A policy is ``ignore``, ``ones``, ``zeros``, ``soft`` (0.5) or
            ``soft=VALUE`` with a value from 0 to 1. A label with a comma in its name keeps the policy for all.
        labels : sequence of str
            Those there are.

        Raises
        ------
        DatasetError
            No policy for all labels comes first; another policy; a label that is not there or comes twice.
        """
        first, *others = (part.strip() for part in text.split(","))
        values: dict[str, float] = {}
        for part in others:
            # A label may have = in its name, so the longest that fits is meant.
            label = max((name for name in labels if part.startswith(f"{name}=")), key=len, default="")
            if not label:
                raise DatasetError(
                    f"uncertain: expected LABEL=POLICY with one of the labels {', '.join(labels)}, got {part[:60]!r}."
                )
            if label in values:
                raise DatasetError(f"uncertain: expected each label once, got {label} again.")
            values[label] = _value(part.removeprefix(f"{label}="), label)
        return cls(text, _value(first, ""), values)

    def of(self, label: str) -> float:
        """Return the target of an uncertain `label`: a number from 0 to 1, or NaN."""
        return self.values.get(label, self.value)


def _value(text: str, label: str) -> float:
    kind, equals, number = (part.strip() for part in text.partition("="))
    if kind in UNCERTAIN_POLICIES and not equals:
        return _VALUES[kind]
    if kind == "soft":
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if 0 <= value <= 1:
            return value
        raise DatasetError(f"uncertain: expected soft=VALUE with a value from 0 to 1, got {text[:60]!r}.")
    where = f"for {label}" if label else "for all labels first"
    raise DatasetError(f"uncertain: expected one of {', '.join(UNCERTAIN_POLICIES)} {where}, got {text[:60]!r}.")


def to_targets(
    samples: Sequence[Sample],
    labels: Sequence[str],
    *,
    uncertain: str | UncertainPolicy = "ignore",
    of: str = "states",
    soft: bool = False,
) -> np.ndarray:
    """Return the targets of samples.

    Parameters
    ----------
    samples : sequence of Sample
    labels : sequence of str
        Columns, in order.
    uncertain : str or UncertainPolicy
        What an uncertain label counts, see `UncertainPolicy.parse`. Judging always ignores.
    of : {'states', 'truth'}
        The consolidated answers, or the known truth; a sample without truth gives a row of NaN.
    soft : bool
        Take the share of readers who saw the finding where it is known (`Sample.fractions`), else the value of the state. For
        teaching alone: never with `of` ``truth``.

    Returns
    -------
    ndarray, shape (samples, labels), float32
        1 positive, 0 negative, NaN unknown: unknown is masked, never negative. With `soft`, shares between 0 and 1 too.

    Raises
    ------
    DatasetError
        A policy that there is not; shares asked of the truth.
    """
    if of not in ("states", "truth") or (soft and of == "truth"):
        raise DatasetError(f"expected targets of 'states' or 'truth', soft ones only of 'states'; got {of!r}, soft={soft}.")
    policy = uncertain if isinstance(uncertain, UncertainPolicy) else UncertainPolicy.parse(uncertain, labels)
    values = {
        label: {
            LabelState.POSITIVE: 1.0,
            LabelState.NEGATIVE: 0.0,
            LabelState.UNCERTAIN: policy.of(label),
            LabelState.UNKNOWN: float("nan"),
        }
        for label in labels
    }

    def row(sample: Sample) -> list[float]:
        states = (sample.truth or {}) if of == "truth" else sample.states
        shares = sample.fractions if soft else {}
        said = {label: values[label][states.get(label, LabelState.UNKNOWN)] for label in labels}
        return [shares.get(label, said[label]) for label in labels]

    return np.array([row(sample) for sample in samples], dtype=np.float32).reshape(len(samples), len(labels))


def untaught_labels(targets: np.ndarray, labels: Sequence[str]) -> dict[str, str]:
    """Return the labels that training images do not teach, each with the reason.

    A network learns to tell a label from images that have it and from images that do not; without either there is nothing to
    learn, and its probability would mean nothing.

    Parameters
    ----------
    targets : ndarray, shape (samples, labels), float32 in [0, 1] or NaN
        Of training images, as `to_targets` gives them to training.
    labels : sequence of str
        Columns, in order.
    """
    missing = {
        label: [
            name
            for name, found in (("positive", targets[:, column] > 0), ("negative", targets[:, column] < 1))
            if not found.any()  # NaN compares false
        ]
        for column, label in enumerate(labels)
    }
    return {label: f"no {' and no '.join(names)} training image" for label, names in missing.items() if names}


def has_one_label(targets: np.ndarray) -> np.ndarray:
    """Return which rows a single-label network can be trained on: those with exactly one positive label.

    Parameters
    ----------
    targets : ndarray, shape (samples, labels), float32
        From `to_targets`, without readers' shares: a share below 1 is no positive.

    Returns
    -------
    ndarray, shape (samples,), bool
    """
    return (targets == 1.0).sum(axis=1) == 1
