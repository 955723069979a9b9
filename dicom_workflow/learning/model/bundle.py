"""A model bundle: a folder that says itself what its network is, what it expects and what made it.

::

    model.safetensors    the weights: numbers only, nothing in it can run
    bundle.json          labels, mode, image size, preprocessing, normalization, thresholds, metrics, provenance, SHA-256
    configs/             the same once more as MONAI's bundle format has it; written from bundle.json and never read here

Nothing but the first two is needed to predict. No pickle is read or written anywhere.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from dicom_workflow.errors import BundleError, RecordError
from dicom_workflow.formats.labels import parse_label_list
from dicom_workflow.learning.data.images import MODES, preprocessing_versions
from dicom_workflow.learning.files import write_atomically
from dicom_workflow.learning.model import monai_configs
from dicom_workflow.learning.model.bundle_archive import MAX_WEIGHTS_BYTES, pack, unpack
from dicom_workflow.learning.model.bundle_json import (
    BUNDLE_SCHEMA,
    DESCRIPTION_NAME,
    MAX_DESCRIPTION_BYTES,
    WEIGHTS_NAME,
    identifier_of,
    parse_description,
    read_description,
    text_of,
    value_of,
    write_description,
)
from dicom_workflow.learning.model.calibration import Calibration
from dicom_workflow.provenance import git_commit, provenance

__all__ = [
    "BUNDLE_SCHEMA",
    "DESCRIPTION_NAME",
    "MAX_DESCRIPTION_BYTES",
    "MAX_MEMBERS",
    "NETWORK_NAME",
    "WEIGHTS_NAME",
    "Bundle",
    "git_commit",
    "identifier_of",
    "load",
    "pack",
    "parse_description",
    "provenance",
    "read_description",
    "save",
    "unpack",
    "write_atomically",
]

NETWORK_NAME = "monai.networks.nets.DenseNet121"
MAX_MEMBERS = 32
"""Networks in an ensemble; each takes 28 MB and the time of a single one."""


@dataclass(frozen=True)
class Bundle:
    """A trained network with everything that predicting with it takes."""

    network: nn.Module = field(repr=False)
    labels: tuple[str, ...]
    """The order of the logits."""
    mode: str
    """``multi-label`` or ``single-label``."""
    size_px: int
    preprocessing_version: str
    """`archive.pixels.PREPROCESSING_VERSION` of the training images."""
    input_mean: float
    input_std: float
    thresholds: Mapping[str, float]
    """Probability from which a label is called positive, chosen on validation images, after calibration."""
    calibration: Calibration = field(default_factory=Calibration)
    """What is done to logits so that probabilities are true; nothing for a network as it was trained."""
    network_arguments: Mapping[str, Any] = field(default_factory=dict)
    """``dropout``, and ``members`` of an ensemble."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    identifier: str = ""
    """SHA-256 of ``bundle.json``, which holds that of the weights; empty before a bundle is saved."""

    @property
    def is_calibrated(self) -> bool:
        """Whether probabilities of at least one label were fitted to how often it is there."""
        return bool(self.calibration.scales)

    def describe(self) -> dict[str, Any]:
        """Return the JSON object of ``bundle.json``, without the checksum of the weights."""
        return {
            "schema": BUNDLE_SCHEMA,
            "labels": list(self.labels),
            "mode": self.mode,
            "size_px": self.size_px,
            "preprocessing": {
                "function": "dicom_workflow.dicom.pixels.to_model_input",
                "version": self.preprocessing_version,
                "normalization": {"mean": self.input_mean, "std": self.input_std},
            },
            "network": {"name": NETWORK_NAME, "arguments": dict(self.network_arguments)},
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
    from safetensors.torch import save as to_bytes

    folder = Path(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in bundle.network.state_dict().items()}
    _check_members(bundle.network_arguments, tensors, "network_arguments")
    folder.mkdir(parents=True, exist_ok=True)
    weights = to_bytes(tensors, metadata={"format": "pt"})  # one entry: several come in any order and change the SHA-256
    description = bundle.describe()
    description["weights"] = {"file": WEIGHTS_NAME, "sha256": hashlib.sha256(weights).hexdigest(), "size_bytes": len(weights)}
    (folder / DESCRIPTION_NAME).unlink(missing_ok=True)
    write_atomically(folder / WEIGHTS_NAME, weights)
    write_description(description, folder)
    monai_configs.write(description, folder)
    return folder


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

    from dicom_workflow.learning.model import network

    folder = Path(folder)
    description = read_description(folder)
    weights_path = folder / WEIGHTS_NAME
    try:
        if weights_path.stat().st_size > MAX_WEIGHTS_BYTES:
            raise BundleError(f"{weights_path}: expected weights of at most {MAX_WEIGHTS_BYTES >> 20} MB.")
        weights = weights_path.read_bytes()
    except OSError as error:
        raise BundleError(f"{weights_path}: expected the weights of the bundle: {error.strerror}.") from None
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
        bundle = replace(_parse(description, folder, members), identifier=identifier_of(folder))
        bundle.network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, KeyError) as error:
        raise BundleError(f"{weights_path}: expected the weights of a {NETWORK_NAME}: {str(error)[:200]}") from None
    bundle.network.to(network.choose_device(device)).eval()
    return bundle


def _check_members(arguments: object, names: Iterable[str], where: str) -> int:
    """Return how many networks the arguments say there are; BundleError unless the names of the weights say so too."""
    members = arguments.get("members", 1) if isinstance(arguments, Mapping) else 1
    found = len({name.split(".")[1] for name in names if name.startswith("members.")}) or 1
    if isinstance(members, bool) or not isinstance(members, int) or not 1 <= members <= MAX_MEMBERS or members != found:
        raise BundleError(
            f"{where}: expected 'members' as a whole number from 1 to {MAX_MEMBERS} that the weights have, "
            f"got {str(members)[:40]} and weights of {found}."
        )
    return members


def _parse(description: Mapping[str, Any], folder: Path, members: int) -> Bundle:
    from dicom_workflow.learning.model import network

    where = folder / DESCRIPTION_NAME
    name = text_of(description, "network", "name")
    if name != NETWORK_NAME:
        raise BundleError(f"{where}: expected the network {NETWORK_NAME}, got {name[:60]!r}. Update dicom-workflow.")
    version = str(value_of(description, "preprocessing", "version"))
    known = " or ".join(preprocessing_versions())
    if version not in preprocessing_versions():
        raise BundleError(
            f"{where}: expected preprocessing version {known}, which this package has, got {version}: the "
            "network would see other images than it was trained on. Train again, or install the package version named there."
        )
    try:
        labels = parse_label_list(description.get("labels"))
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
    return Bundle(
        network=network.build(labels, dropout=dropout, seed=0, members=members),
        labels=labels,
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
