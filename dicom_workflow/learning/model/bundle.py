"""A model bundle: a folder with a trained network and everything that predicting with it takes.

::

    model.safetensors    the weights: numbers only, nothing in it can run
    bundle.json          label set, mode, image size, preprocessing, normalization, thresholds, metrics, provenance, SHA-256
    configs/             the same in MONAI's bundle format; written from bundle.json and never read here

The first two are enough to predict. No pickle is read or written.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from dicom_workflow.errors import BundleError, LearningError, RecordError
from dicom_workflow.formats.labels import LabelSet, parse_label_list
from dicom_workflow.learning.data.images import preprocessing_versions
from dicom_workflow.learning.data.targets import MODES
from dicom_workflow.learning.model import monai_configs
from dicom_workflow.learning.model.architectures import ARCHITECTURES, DEFAULT_ARCHITECTURE, architecture_of
from dicom_workflow.learning.model.bundle_archive import MAX_WEIGHTS_BYTES
from dicom_workflow.learning.model.bundle_json import (
    BUNDLE_SCHEMA,
    DESCRIPTION_NAME,
    WEIGHTS_NAME,
    identifier_of,
    read_description,
    text_of,
    value_of,
    write_description,
)
from dicom_workflow.learning.model.calibration import Calibration
from dicom_workflow.learning.model.network import build, choose_device, embeddings_of
from dicom_workflow.storage import write_atomically

MAX_MEMBERS = 32
"""Networks in an ensemble; each takes 28 MB and the time of a single one."""


@dataclass(frozen=True)
class Bundle:
    """A trained network with everything that predicting with it takes."""

    network: nn.Module = field(repr=False)
    labels: tuple[str, ...]
    """Labels that are predicted, in the order of the logits."""
    mode: str
    """``multi-label`` or ``single-label``."""
    size_px: int
    preprocessing_version: str
    """`dicom.pixels.PREPROCESSING_VERSION` of the training images."""
    input_mean: float
    input_std: float
    thresholds: Mapping[str, float]
    """Probability from which a label is called positive, chosen on validation images, after calibration."""
    calibration: Calibration = field(default_factory=Calibration)
    """How logits are calibrated; not at all for a network as it was trained."""
    label_set: LabelSet = field(default_factory=LabelSet)
    """Order, parents and exclusions of every label of the training channel, the untaught ones included."""
    untaught: Mapping[str, str] = field(default_factory=dict)
    """Label of the label set that is not predicted → why no training image taught it."""
    architecture: str = DEFAULT_ARCHITECTURE
    """One of `architectures.ARCHITECTURES`."""
    network_arguments: Mapping[str, Any] = field(default_factory=dict)
    """``dropout``, and ``members`` of an ensemble."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    identifier: str = ""
    """SHA-256 of ``bundle.json``, which holds that of the weights; empty before a bundle is saved."""
    weights_sha256: str = ""
    """SHA-256 of ``model.safetensors``; empty before a bundle is saved."""

    @property
    def is_calibrated(self) -> bool:
        """Whether the probabilities of at least one label are calibrated."""
        return bool(self.calibration.scales)

    @property
    def channels(self) -> int:
        """Channels of the network's input: 1 for gray images, 3 for color."""
        return architecture_of(self.architecture).channels

    @property
    def embedding_space(self) -> str:
        """Identifier of the embedding space: embeddings can be compared only when it is the same.

        The weights' SHA-256, then the preprocessing: its version, the image size, and mean and standard deviation.
        """
        weights = self.weights_sha256 or hashlib.sha256(_weights_of(self.network)).hexdigest()
        return f"{weights}/{self.preprocessing_version}/{self.size_px}px/{self.input_mean:.6g},{self.input_std:.6g}"

    def check_images(self, images: np.ndarray) -> None:
        """Refuse images, ndarray of any dtype, whose shape is not (n, channels, size_px, size_px).

        Raises
        ------
        LearningError
            Images of another shape.
        """
        shape = (self.channels, self.size_px, self.size_px)
        if images.shape[1:] != shape:
            raise LearningError(
                f"{self.architecture}: expected images of shape (n, {', '.join(map(str, shape))}), got {images.shape}."
            )

    def embed(self, inputs: np.ndarray, *, batch_size: int = 8) -> np.ndarray:
        """Return the embeddings of images: the features that the classifier is computed from.

        Parameters
        ----------
        inputs : ndarray, shape (n, channels, size_px, size_px), float16 or float32 in [0, 1]
            As `learning.data.images.decode` returns each image.
        batch_size : int
            Images per pass through the network. An image has the same embedding, bit by bit, whatever images come with it.

        Returns
        -------
        ndarray, shape (n, features), float32
            What the network's classifier is computed from: 1024 features of a DenseNet121.

        Raises
        ------
        LearningError
            Images of another shape, or values that are not finite.
        """
        self.check_images(inputs)
        found = embeddings_of(self.network, inputs, mean=self.input_mean, std=self.input_std, batch_size=batch_size)
        if not np.isfinite(found).all():
            raise LearningError("embed: an image or the weights hold values that are not finite. Decode the images again.")
        return found

    def consistent(self, positive: Iterable[str]) -> list[str]:
        """Return labels called positive without those that exclude another of them.

        One-sided on purpose: a called finding stays, and the label that denies it is withdrawn; the other way round a finding
        would be hidden.
        """
        called = list(positive)
        withdrawn = self.label_set.excluders(called)
        return [label for label in called if label not in withdrawn]

    def describe(self) -> dict[str, Any]:
        """Return the JSON object of ``bundle.json``, without the checksum of the weights."""
        return {
            "schema": BUNDLE_SCHEMA,
            "labels": list(self.labels),
            "label_set": (self.label_set if self.label_set.labels else LabelSet(self.labels)).to_json(),
            "untaught": dict(self.untaught),
            "mode": self.mode,
            "size_px": self.size_px,
            "preprocessing": {
                "function": "dicom_workflow.dicom.pixels.to_model_input",
                "version": self.preprocessing_version,
                "normalization": {"mean": self.input_mean, "std": self.input_std},
            },
            "network": {"name": self.architecture, "arguments": dict(self.network_arguments)},
            "thresholds": dict(self.thresholds),
            "calibration": self.calibration.to_json(),
            "metrics": dict(self.metrics),
            "provenance": dict(self.provenance),
        }


def save(bundle: Bundle, folder: str | Path) -> Path:
    """Write a bundle and return its folder.

    The weights are written first and the description after them, each in one step: a folder with a description is complete.
    MONAI's files follow; they say nothing that the description does not.

    Raises
    ------
    BundleError
        The network is an ensemble of another number than `network_arguments` says under ``members``.
    """
    folder = Path(folder)
    _check_members(bundle.network_arguments, bundle.network.state_dict(), "network_arguments")
    folder.mkdir(parents=True, exist_ok=True)
    weights = _weights_of(bundle.network)
    description = bundle.describe()
    description["weights"] = {"file": WEIGHTS_NAME, "sha256": hashlib.sha256(weights).hexdigest(), "size_bytes": len(weights)}
    (folder / DESCRIPTION_NAME).unlink(missing_ok=True)
    write_atomically(folder / WEIGHTS_NAME, weights)
    write_description(description, folder)
    monai_configs.write(description, folder)
    return folder


def _weights_of(network: nn.Module) -> bytes:
    """Return the content of ``model.safetensors``."""
    from safetensors.torch import save as to_bytes

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    return to_bytes(tensors, metadata={"format": "pt"})  # one entry: several come in any order and change the SHA-256


def load(folder: str | Path, *, device: str = "cpu") -> Bundle:
    """Return the bundle of a folder, its network in evaluation mode.

    Raises
    ------
    BundleError
        A file is missing or was changed, the weights are not those that the description names, or the bundle was made with
        another schema or preprocessing than this package has.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    folder = Path(folder)
    description = read_description(folder)
    weights_path = folder / WEIGHTS_NAME
    try:
        if weights_path.stat().st_size > MAX_WEIGHTS_BYTES:
            raise BundleError(f"{weights_path}: expected weights of at most {MAX_WEIGHTS_BYTES >> 20} MB.")
        weights = weights_path.read_bytes()
    except OSError as error:
        raise BundleError(f"{weights_path}: the weights of the bundle cannot be read: {error.strerror}.") from None
    sha256, expected = hashlib.sha256(weights).hexdigest(), text_of(description, "weights", "sha256")
    if sha256 != expected:
        raise BundleError(
            f"{weights_path}: expected SHA-256 {expected[:12]}… as in {DESCRIPTION_NAME}, got {sha256[:12]}…: the weights were "
            "changed or cut short. Copy the bundle again or train anew."
        )
    try:
        tensors = from_bytes(weights)
        # Before a network is built: 32 of them take a gigabyte.
        members = _check_members(value_of(description, "network", "arguments"), tensors, str(folder / DESCRIPTION_NAME))
        bundle = _parse(description, folder, members)
        bundle = replace(bundle, identifier=identifier_of(folder), weights_sha256=sha256)
        bundle.network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, KeyError) as error:
        name = text_of(description, "network", "name")
        raise BundleError(f"{weights_path}: these are not the weights of a {name}: {str(error)[:200]}") from None
    bundle.network.to(choose_device(device)).eval()
    return bundle


def _check_members(arguments: object, names: Iterable[str], where: str) -> int:
    """Return the number of members in the arguments; BundleError unless the weights have as many."""
    members = arguments.get("members", 1) if isinstance(arguments, Mapping) else 1
    found = len({name.split(".")[1] for name in names if name.startswith("members.")}) or 1
    if isinstance(members, bool) or not isinstance(members, int) or not 1 <= members <= MAX_MEMBERS or members != found:
        raise BundleError(
            f"{where}: expected 'members' as a whole number from 1 to {MAX_MEMBERS} that the weights have, "
            f"got {str(members)[:40]} and weights of {found}."
        )
    return members


def _parse(description: Mapping[str, Any], folder: Path, members: int) -> Bundle:
    where = folder / DESCRIPTION_NAME
    name = text_of(description, "network", "name")
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise BundleError(f"{where}: expected a network of {known}, got {name[:60]!r}. Update dicom-workflow.")
    version = str(value_of(description, "preprocessing", "version"))
    known = " or ".join(preprocessing_versions())
    if version not in preprocessing_versions():
        raise BundleError(
            f"{where}: expected preprocessing version {known}, which this package has, got {version}: the "
            "network would see other images than it was trained on. Train again, or install the package version named there."
        )
    try:
        labels = parse_label_list(description.get("labels"))
        label_set = LabelSet.parse(value_of(description, "label_set"))
        untaught = {str(label): str(why) for label, why in dict(value_of(description, "untaught")).items()}
        thresholds = {label: float(value_of(description, "thresholds", label)) for label in labels}
        size_px = int(value_of(description, "size_px"))
        calibration = Calibration.parse(description.get("calibration"), labels)
        mean, std = (float(value_of(description, "preprocessing", "normalization", key)) for key in ("mean", "std"))
        arguments = dict(value_of(description, "network", "arguments"))
        dropout = float(arguments.get("dropout", 0.0))
        metrics, made_by = (dict(description.get(key) or {}) for key in ("metrics", "provenance"))
    except (RecordError, OverflowError, TypeError, ValueError) as error:
        raise BundleError(f"{where}: {error}") from None
    mode = str(description.get("mode"))
    if mode not in MODES or not 16 <= size_px <= 8192 or not std > 0:
        raise BundleError(
            f"{where}: expected mode {' or '.join(MODES)}, size_px from 16 to 8192 and std above 0, "
            f"got {mode[:40]!r}, {size_px} and {std}."
        )
    if not 0 <= dropout < 1 or not all(math.isfinite(number) for number in (mean, std, *thresholds.values())):
        numbers = f"{dropout}, {mean}, {std} and {list(thresholds.values())[:8]}"
        raise BundleError(f"{where}: expected a dropout from 0 to 1 and finite mean, std and thresholds, got {numbers}.")
    if {*labels, *untaught} != {*label_set.labels}:
        raise BundleError(f"{where}: every label of 'label_set' must be in either 'labels' or 'untaught'.")
    return Bundle(
        network=build(labels, architecture=name, dropout=dropout, seed=0, members=members),
        labels=labels,
        label_set=label_set,
        untaught=untaught,
        architecture=name,
        mode=mode,
        size_px=size_px,
        preprocessing_version=version,
        input_mean=mean,
        input_std=std,
        thresholds=thresholds,
        calibration=calibration,
        network_arguments=arguments,
        metrics=metrics,
        provenance=made_by,
    )
