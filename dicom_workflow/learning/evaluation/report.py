"""The evaluation report, ``evaluation.json``, as frozen dataclasses.

The fields have the names that stand in the file. Undefined numbers are None here and null there; intervals are 95 % and over
resampled patients: images of one patient are not independent.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from dicom_workflow.errors import LearningError

EVALUATION_SCHEMA = "dicom-workflow/evaluation/2"

Interval = tuple[float, float]


@dataclass(frozen=True)
class ReliabilityBin:
    """Images of about the same predicted probability, and how often they had the finding."""

    count: int
    low: float
    high: float
    predicted: float
    """Mean probability."""
    observed: float
    """Share of positive images."""
    observed_interval: Interval
    """Wilson's, images taken as independent."""


@dataclass(frozen=True)
class LabelFigures:
    """The figures of one label."""

    positives: int
    negatives: int
    unknown: int
    threshold: float
    prevalence: float | None = None
    auroc: float | None = None
    auroc_interval: Interval | None = None
    average_precision: float | None = None
    average_precision_interval: Interval | None = None
    sensitivity: float | None = None
    """At the threshold."""
    sensitivity_interval: Interval | None = None
    specificity: float | None = None
    """At the threshold."""
    specificity_interval: Interval | None = None
    sensitivity_at_specificity: float | None = None
    """Read off this ROC curve: what the label could reach, not what its threshold does."""
    sensitivity_at_specificity_interval: Interval | None = None
    brier: float | None = None
    brier_interval: Interval | None = None
    ece: float | None = None
    """Expected calibration error."""
    reliability: tuple[ReliabilityBin, ...] = ()
    brier_uncalibrated: float | None = None
    ece_uncalibrated: float | None = None
    reliability_uncalibrated: tuple[ReliabilityBin, ...] = ()

    def interval_of(self, name: str) -> Interval | None:
        """Return the interval of a figure, by the figure's name."""
        found: Interval | None = getattr(self, f"{name}_interval", None)
        return found


@dataclass(frozen=True)
class Figures:
    """The figures of some images against one set of targets; means are over the labels that have the figure."""

    images: int
    patients: int
    labels: Mapping[str, LabelFigures]
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Label → why it has no AUROC; it takes no part in the mean AUROC and the mean average precision."""
    macro_auroc: float | None = None
    macro_auroc_interval: Interval | None = None
    macro_average_precision: float | None = None
    macro_brier: float | None = None
    macro_ece: float | None = None
    macro_brier_uncalibrated: float | None = None
    macro_ece_uncalibrated: float | None = None
    at_specificity: float = 0.9
    """Where `sensitivity_at_specificity` is read off."""
    interval: str = ""
    """How the intervals were made."""
    accuracy: float | None = None
    """Mode ``single-label``: share of images whose most probable label is the true one."""
    confusion: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Mode ``single-label``: true label → most probable label → images."""


@dataclass(frozen=True)
class SubgroupLabel:
    """One label in one subgroup; no AUROC with too few positive or negative images."""

    positives: int
    negatives: int
    auroc: float | None = None
    auroc_interval: Interval | None = None


@dataclass(frozen=True)
class Subgroup:
    """The figures of one subgroup of the images."""

    images: int
    patients: int
    labels_measured: int
    """Labels that the mean AUROC is over."""
    labels: Mapping[str, SubgroupLabel]
    macro_auroc: float | None = None
    macro_auroc_interval: Interval | None = None


@dataclass(frozen=True)
class ReaderLabel:
    """Model and reader on one label: how often both, one or neither called it positive."""

    both_positive: int
    model_only: int
    reader_only: int
    both_negative: int
    kappa: float | None = None
    """Cohen's; None where one of them never varies."""
    sensitivity: float | None = None
    """The reader's own, against the reference standard."""
    specificity: float | None = None


@dataclass(frozen=True)
class ReaderComparison:
    """The model beside one reader."""

    reader: int
    """Number for reports, from 1."""
    pseudonym: str
    images: int
    labels: Mapping[str, ReaderLabel]


@dataclass(frozen=True)
class ExclusionCounts:
    """How often a label was called together with one that it excludes."""

    called: int
    """Images for which the excluding label was called."""
    contradicted: int
    """Of these, images for which an excluded label was called too: there the excluding label is withdrawn."""
    by: Mapping[str, int] = field(default_factory=dict)
    """Excluded label → images."""


@dataclass(frozen=True)
class SplitCounts:
    """Size of a split, and its positive images by label, by the consolidated states."""

    images: int
    patients: int
    positives: Mapping[str, int]


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a model on one split of one channel: the content of ``evaluation.json``."""

    split: str
    """``train``, ``validation``, ``test`` or ``cross-validation``."""
    mode: str
    measured_against: str
    """What `figures` are measured against: ``truth`` (the reference standard) where it is known, else ``states``."""
    against: Mapping[str, Figures]
    """``states`` (the consolidated states) and, where it is known, ``truth`` → figures."""
    calibration: Mapping[str, Any] = field(default_factory=dict)
    subgroups: Mapping[str, Mapping[str, Subgroup]] = field(default_factory=dict)
    """Field → group → figures."""
    readers: tuple[ReaderComparison, ...] = ()
    exclusions: Mapping[str, ExclusionCounts] = field(default_factory=dict)
    """Excluding label → how often it was contradicted."""
    nothing_called: int = 0
    """Images for which no label was called."""
    untaught: Mapping[str, str] = field(default_factory=dict)
    """Label of the label set → why no training image teaches it; it is not predicted and not measured."""
    splits: Mapping[str, SplitCounts] = field(default_factory=dict)
    cautions: tuple[str, ...] = ()
    bundle: str = ""
    """Identifier of the evaluated bundle, where it was loaded from one."""
    left_out: int = 0
    """Images and lines that could not be used."""
    problems: tuple[str, ...] = ()
    best_epoch: int | None = None
    epochs: int = 0
    folds: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    predictions: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def figures(self) -> Figures:
        """The figures against `measured_against`."""
        return self.against[self.measured_against]

    def headline(self) -> dict[str, Any]:
        """Return the figures at the top of ``evaluation.json``, which the bundle keeps too."""
        found = self.figures
        return {
            "measured_against": self.measured_against,
            "macro_auroc": found.macro_auroc,
            "macro_auroc_interval": to_plain(found.macro_auroc_interval),
            "auroc": {label: values.auroc for label, values in found.labels.items()},
        }

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `parse` reads: the headline figures first, then every field."""
        size = {"images": self.figures.images, "patients": self.figures.patients}
        return {"schema": EVALUATION_SCHEMA, "split": self.split, **size, **self.headline(), **to_plain(self)}

    @classmethod
    def parse(cls, value: object, where: str = "evaluation.json") -> Evaluation:
        """Return the evaluation of one JSON object.

        Raises
        ------
        LearningError
            Another schema, or a field that is missing or of another type.
        """
        schema = value.get("schema") if isinstance(value, Mapping) else None
        if schema != EVALUATION_SCHEMA:
            raise LearningError(
                f"{where}: expected schema {EVALUATION_SCHEMA!r}, got {str(schema)[:60]!r}. Train again, or evaluate the model "
                "with `dicom-workflow evaluate BUNDLE CHANNEL --report evaluation.json`."
            )
        found: Evaluation = _read(cls, value, where)
        if found.measured_against not in found.against:
            raise LearningError(f"{where}: 'against' has no figures for {found.measured_against[:40]!r}. Evaluate again.")
        return found


def read_evaluation(path: str | Path) -> Evaluation:
    """Return the evaluation of a file.

    Raises
    ------
    LearningError
        It cannot be read, is not JSON, or is not an evaluation.
    """
    try:
        value = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise LearningError(f"{path}: not a readable JSON file: {str(error)[:160]}. Train or evaluate again.") from None
    return Evaluation.parse(value, str(path))


def to_plain(value: Any) -> Any:
    """Return dataclasses and tuples as the objects and lists of JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: to_plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(each) for key, each in value.items()}
    return [to_plain(each) for each in value] if isinstance(value, tuple | list) else value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(kind: Any, value: Any, where: str) -> Any:
    """Return a JSON value as the type that a field is annotated with."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        [inner] = (each for each in arguments if each is not type(None))
        return None if value is None else _read(inner, value, where)
    if is_dataclass(kind) and isinstance(value, Mapping):
        missing = [each.name for each in fields(kind) if each.name not in value and _is_required(each)]
        if missing:
            raise LearningError(f"{where}: {', '.join(missing)} missing. Evaluate again.")
        hints, make = _hints(cast(type, kind)), cast(Callable[..., Any], kind)
        given = {each.name: value[each.name] for each in fields(kind) if each.name in value}
        return make(**{name: _read(hints[name], each, f"{where}, {name}") for name, each in given.items()})
    if origin is Mapping and isinstance(value, Mapping):
        return {str(key): _read(arguments[1], each, f"{where}, {key}") for key, each in value.items()}
    if origin is tuple and isinstance(value, list):
        each_kind = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(each_kind) == len(value):
            return tuple(_read(one, each, where) for one, each in zip(each_kind, value, strict=True))
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if kind in (int, str) and isinstance(value, kind) and not isinstance(value, bool):
        return value
    raise LearningError(f"{where}: expected {getattr(kind, '__name__', kind)}, got {str(value)[:60]!r}. Evaluate again.")


def _is_required(each: Any) -> bool:
    return each.default is MISSING and each.default_factory is MISSING
