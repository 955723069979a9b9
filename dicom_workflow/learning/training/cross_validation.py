"""Cross-validation: every image is evaluated once by a network that has not seen its patient; the networks form an ensemble.

The images of the train and validation splits are dealt out by patient into k folds. Network number i learns from k - 2 of
them, chooses its epoch and its calibration on fold i + 1, and is judged on fold i. The test split, where a channel has one, is
seen by none of them: it judges the ensemble. A set of a hundred patients has no other way to say how sure its figures are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_workflow.errors import DatasetError, LearningError
from dicom_workflow.formats.answers import LabelState
from dicom_workflow.formats.splits import SPLITS
from dicom_workflow.learning.data import images
from dicom_workflow.learning.data.channel import Channel, Sample, read_channel
from dicom_workflow.learning.data.targets import has_one_label, to_targets, untaught_labels
from dicom_workflow.learning.training import dataclass_flags, script_run

if TYPE_CHECKING:
    from dicom_workflow.learning.data.images import TrainingSet
    from dicom_workflow.learning.model.bundle import Bundle
    from dicom_workflow.learning.training.finish import Facts

TRAIN, VALIDATION, TEST = SPLITS
CROSS_VALIDATION = "cross-validation"
"""What takes the split's place in a report of images that were each judged by the network of their fold."""
LOCKED = "locked"
"""The split that samples of the channel's own test split are given in a fold: no network of it looks at them."""


def assign_folds(samples: Sequence[Sample], folds: int, *, seed: int = 0) -> dict[str, int]:
    """Return the fold of each patient; folds have similar sizes and label frequencies.

    Patients with rare labels are dealt out first, each to the fold that has fewest images of its labels so far.

    Parameters
    ----------
    samples : sequence of Sample
    folds : int
        At least 3: one to judge, one to choose, the others to learn from.
    seed : int
        Which of two equal folds takes a patient.

    Raises
    ------
    DatasetError
        Fewer than 3 folds, or fewer patients than folds.
    """
    patients: dict[str, Counter[str]] = {}
    for sample in samples:
        labels = patients.setdefault(sample.patient_id, Counter())
        labels.update(label for label, state in sample.states.items() if state == LabelState.POSITIVE)
        labels[""] += 1  # every image counts for something
    if folds < 3 or len(patients) < folds:
        raise DatasetError(
            f"--folds: expected from 3 to as many as there are patients ({len(patients)}), got {folds}: one fold judges, "
            "one chooses, the others are learned from."
        )
    totals = sum(patients.values(), Counter())
    order = sorted(patients)
    order = [order[place] for place in np.random.default_rng(seed).permutation(len(order))]
    order.sort(key=lambda patient: (min(totals[label] for label in patients[patient]), -sum(patients[patient].values())))
    held = [Counter[str]() for _ in range(folds)]
    found = {}
    for patient in order:
        mine = patients[patient]

        def crowding(fold: int, mine: Counter[str] = mine) -> tuple[float, int]:
            # Rare labels weigh more: one image of three matters, one of three hundred does not.
            return sum(count * held[fold][label] / totals[label] for label, count in mine.items()), held[fold][""]

        fold = min(range(folds), key=crowding)
        held[fold].update(mine)
        found[patient] = fold
    return found


def fold_channel(
    channel: Channel,
    folds: int,
    fold: int,
    *,
    seed: int = 0,
    mode: str = "multi-label",
    uncertain: str = "ignore",
    soft: bool = False,
) -> Channel:
    """Return a channel with the splits of one fold: it is the test split, the next one validates, the others train.

    Parameters
    ----------
    channel : Channel
    folds, fold : int
        How many there are, and which one, from 0.
    seed : int
        See `assign_folds`.
    mode, uncertain, soft
        As for `images.read_training_set`. A label that the training images of any fold do not teach is left out of all of
        them, so that the networks of the ensemble have the same labels.

    Raises
    ------
    DatasetError
        See `assign_folds`; or there is no such fold.
    """
    if not 0 <= fold < folds:
        raise DatasetError(f"--fold: expected a number from 0 to {folds - 1}, got {fold}.")
    pool = [sample for sample in channel.samples if sample.split != TEST]
    dealt = assign_folds(pool, folds, seed=seed)
    roles = {fold: TEST, (fold + 1) % folds: VALIDATION}
    samples = tuple(
        replace(sample, split=LOCKED if sample.split == TEST else roles.get(dealt[sample.patient_id], TRAIN))
        for sample in channel.samples
    )
    targets = to_targets(pool, channel.labels, uncertain=uncertain, soft=soft and mode != "single-label")
    usable = has_one_label(targets) if mode == "single-label" else np.full(len(pool), True)
    fold_of = np.array([dealt[sample.patient_id] for sample in pool])
    untaught: dict[str, str] = {}
    for number in range(folds):
        here = usable & (fold_of != number) & (fold_of != (number + 1) % folds)
        for label, why in untaught_labels(targets[here], channel.labels).items():
            untaught.setdefault(label, f"{why} in fold {number + 1} of {folds}")
    return replace(channel, samples=samples).without(untaught)


def cross_validate(config: Any, train: Callable[[Any], int]) -> int:
    """Train one network per fold, evaluate them together and save them as an ensemble; return the exit code.

    Parameters
    ----------
    config : Config
        Settings of the training script. Fold i leaves what a run leaves in ``output_dir/fold-i``; a run that goes on after a
        stop finds the folds that are finished.
    train : callable
        ``train(config)``, the exit code of one run.

    Notes
    -----
    ``evaluation.json`` and ``predictions.jsonl`` of the whole are about the channel's test images, where it has them, judged by
    the ensemble; ``cross_validation.json`` is about all others, each judged by the one network that had not seen its patient,
    with that network's calibration, and called at the mean of the networks' thresholds. Without test images the two are the
    same.
    """
    from dicom_workflow.learning.training.distributed import open_group

    with open_group(config.device) as group:
        for fold in range(config.folds):
            folder = config.output_dir / f"fold-{fold}"
            checkpoints = Path(config.checkpoint_dir) / f"fold-{fold}"
            mine = replace(config, fold=fold, output_dir=folder, model_dir=folder / "model", checkpoint_dir=str(checkpoints))
            group.print(f"fold {fold + 1} of {config.folds}")
            code = train(mine)
            if code:
                return code
        if group.is_first:
            _join(config, str(group.device))
    return 0


def _join(config: Any, device: str) -> None:
    """Save the folds' networks as one bundle, with its evaluation."""
    from dicom_workflow.learning.model import bundle
    from dicom_workflow.learning.model.calibration import Calibration
    from dicom_workflow.learning.training import finish

    members = [bundle.load(config.output_dir / f"fold-{fold}" / "model", device=device) for fold in range(config.folds)]
    channel = read_channel(config.channel).without(members[0].untaught)
    different = [number for number, member in enumerate(members) if member.labels != channel.labels]
    if different:
        raise LearningError(
            f"{config.output_dir}: the networks of folds {different} predict other labels than that of fold 0: images of rare "
            "labels could not be read. Repair the images that were left out, or use fewer --folds."
        )
    loading = {name: getattr(config, name) for name in ("workers", "progress", "cache_dir", "cache_gb")}
    data = images.read_training_set(
        channel,
        size_px=config.size_px,
        channels=members[0].channels,
        mode=config.mode,
        reduced=config.reduced,
        **loading,
    )
    dealt = assign_folds([sample for sample in channel.samples if sample.split != TEST], config.folds, seed=config.seed)
    rows, logits, calibrated = _of_unseen(members, data, dealt, config.batch_size)
    # Every image's logits come from a network that had not seen it: the ensemble's calibration may use them all. It errs on the
    # modest side, because the mean of several networks is right more often than each of them.
    trained, facts = _together(members, config, data, data.targets[rows], logits)
    more = {"folds": config.folds, "left_out": len(data.problems), "problems": data.problems[:100]}

    unseen = finish.HeldOut([data.samples[row] for row in rows], calibrated, CROSS_VALIDATION)
    thresholds = {label: float(np.mean([member.thresholds[label] for member in members])) for label in channel.labels}
    by_members = replace(trained, thresholds=thresholds, calibration=Calibration())  # the logits are calibrated already
    reports = {CROSS_VALIDATION: replace(finish.evaluate(by_members, facts, unseen), **more)}
    whole, judged = by_members, unseen
    if len(data.rows[TEST]):
        whole, judged = trained, finish.HeldOut(data.of(TEST), _logits(trained, data, data.rows[TEST], config.batch_size), TEST)
        reports[TEST] = replace(finish.evaluate(trained, facts, judged), **more)
    figures = {split: report.headline() for split, report in reports.items()}
    bundle.save(replace(trained, metrics=figures), config.model_dir)
    finish.write_report(config.output_dir / "cross_validation.json", reports[CROSS_VALIDATION])
    scores = whole.calibration.probabilities(judged.logits, channel.labels, config.mode)
    finish.write(whole, reports[judged.split], judged, scores, model_dir=config.model_dir, output_dir=config.output_dir)
    print(*(script_run.outcome_line(report) for report in reports.values()), sep="\n")
    print(f"ensemble of {config.folds} networks: {config.model_dir}", flush=True)


def _of_unseen(
    members: Sequence[Bundle], data: TrainingSet, dealt: Mapping[str, int], batch_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which images are in folds, and the logits of the network that had not seen them: as they are, and calibrated."""
    fold_of = np.array([-1 if sample.split == TEST else dealt[sample.patient_id] for sample in data.samples])
    raw = np.zeros((len(fold_of), len(data.channel.labels)), np.float32)
    calibrated = raw.copy()
    for fold, member in enumerate(members):
        rows = np.flatnonzero(fold_of == fold)
        raw[rows] = _logits(member, data, rows, batch_size)
        calibrated[rows] = member.calibration.apply(raw[rows], member.labels)
    pool = np.flatnonzero(fold_of >= 0)
    return pool, raw[pool], calibrated[pool]


def _together(
    members: Sequence[Bundle], config: Any, data: TrainingSet, targets: np.ndarray, logits: np.ndarray
) -> tuple[Bundle, Facts]:
    """Return the networks as one bundle, calibrated and with thresholds by the logits of images they had not seen."""
    from dicom_workflow.learning.model import network
    from dicom_workflow.learning.training import finish

    facts = finish.Facts(
        settings=dataclass_flags.to_json(config),
        channel=data.channel,
        architecture=members[0].architecture,
        preprocessing_version=data.preprocessing_version,
        normalization=(0.0, 1.0),  # each member keeps its own
        network_arguments={"dropout": config.dropout, "members": len(members)},
    )
    normalization = [(member.input_mean, member.input_std) for member in members]
    ensemble = network.Ensemble([member.network for member in members], normalization)
    return finish.calibrate(ensemble.eval(), facts, targets, logits), facts


def _logits(trained: Bundle, data: TrainingSet, rows: np.ndarray, batch_size: int) -> np.ndarray:
    """Return a bundle's logits of some images, shape (rows, labels), float32, as they are before calibration."""
    from dicom_workflow.learning.model.network import logits_of

    found = logits_of(
        trained.network, data.images, rows=rows, mean=trained.input_mean, std=trained.input_std, batch_size=2 * batch_size
    )
    return found.reshape(len(rows), len(trained.labels)).numpy()
