"""A model bundle: a folder that says itself what its network is, what it expects and what made it.

::

    model.safetensors    the weights: numbers only, nothing in it can run
    bundle.json          labels, mode, image size, preprocessing, normalization, thresholds, metrics, provenance, SHA-256
    configs/             the same once more as MONAI's bundle format has it; written from bundle.json and never read here

Nothing but the first two is needed to predict. No pickle is read or written anywhere.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import nn

import dicom_workflow
from dicom_workflow.errors import BundleError, RecordError
from dicom_workflow.learning import monai_configs
from dicom_workflow.learning.calibration import Calibration
from dicom_workflow.learning.dataset import MODES, preprocessing_versions
from dicom_workflow.records import parse_label_list

BUNDLE_SCHEMA = "dicom-workflow/bundle/1"
WEIGHTS_NAME = "model.safetensors"
DESCRIPTION_NAME = "bundle.json"
NETWORK_NAME = "monai.networks.nets.DenseNet121"
_MAX_DESCRIPTION_BYTES = 16 * 2**20
_MAX_WEIGHTS_BYTES = 2 * 2**30
"""A DenseNet121 has 28 MB. What an archive promises beyond this is refused before memory is taken for it."""


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
                "function": "dicom_workflow.archive.pixels.to_model_input",
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
    """
    from safetensors.torch import save as to_bytes

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in bundle.network.state_dict().items()}
    weights = to_bytes(tensors, metadata={"format": "pt"})  # one entry: several come in any order and change the SHA-256
    description = bundle.describe()
    description["weights"] = {"file": WEIGHTS_NAME, "sha256": hashlib.sha256(weights).hexdigest(), "size_bytes": len(weights)}
    text = json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / DESCRIPTION_NAME).unlink(missing_ok=True)
    write_atomically(folder / WEIGHTS_NAME, weights)
    write_atomically(folder / DESCRIPTION_NAME, text.encode("utf-8") + b"\n")
    _write_monai_configs(description, folder)
    return folder


def load(folder: str | Path, *, device: str = "cpu") -> Bundle:
    """Return the bundle of a folder, its network in evaluation mode.

    Raises
    ------
    BundleError
        A file is missing or damaged, the weights are not those that the description names, or the bundle was made with another
        schema or preprocessing than this package has.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    from dicom_workflow.learning import network

    folder = Path(folder)
    description = read_description(folder)
    weights_path = folder / WEIGHTS_NAME
    try:
        weights = weights_path.read_bytes()
    except OSError as error:
        raise BundleError(f"{weights_path}: expected the weights of the bundle: {error.strerror}.") from None
    sha256, expected = hashlib.sha256(weights).hexdigest(), _text(description, "weights", "sha256")
    if sha256 != expected:
        raise BundleError(
            f"{weights_path}: expected SHA-256 {expected[:12]}… as in {DESCRIPTION_NAME}, got {sha256[:12]}…: the weights were "
            "changed or cut short. Copy the bundle again or train anew."
        )
    bundle = replace(_parse(description, folder), identifier=identifier_of(folder))
    try:
        bundle.network.load_state_dict(from_bytes(weights))
    except (SafetensorError, RuntimeError, KeyError) as error:
        raise BundleError(f"{weights_path}: expected the weights of a {NETWORK_NAME}: {str(error)[:200]}") from None
    bundle.network.to(network.choose_device(device)).eval()
    return bundle


def read_description(folder: str | Path) -> dict[str, Any]:
    """Return the ``bundle.json`` of a folder without loading the weights.

    Raises
    ------
    BundleError
        It is missing, not JSON, or of another schema.
    """
    path = Path(folder) / DESCRIPTION_NAME
    try:
        if path.stat().st_size > _MAX_DESCRIPTION_BYTES:
            raise BundleError(f"{path}: expected a description of at most {_MAX_DESCRIPTION_BYTES >> 20} MB.")
        description = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(f"{path}: expected a model bundle, made by source/monai_dicom.py: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path}: expected JSON: {str(error)[:120]}.") from None
    schema = description.get("schema") if isinstance(description, dict) else None
    if schema != BUNDLE_SCHEMA:
        raise BundleError(f"{path}: expected schema {BUNDLE_SCHEMA!r}, got {str(schema)[:60]!r}. Update dicom-workflow.")
    return description


def identifier_of(folder: str | Path) -> str:
    """Return what names a bundle and all that is in it: the SHA-256 of its ``bundle.json``."""
    return hashlib.sha256((Path(folder) / DESCRIPTION_NAME).read_bytes()).hexdigest()


def provenance(*, manifests: Mapping[str, str], parameters: Mapping[str, Any], commit: str = "") -> dict[str, Any]:
    """Return what made a bundle: inputs with their SHA-256, parameters, versions, commit and time.

    Parameters
    ----------
    manifests : mapping of str to str
        File name → SHA-256.
    parameters : mapping
        All settings of the run.
    commit : str
        Of the code, when it is known; asked of git otherwise, and left out when git does not know.
    """
    import monai
    import numpy
    import torch

    commit = commit or git_commit()
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "manifests_sha256": dict(manifests),
        "parameters": dict(parameters),
        "versions": {
            "dicom_workflow": dicom_workflow.__version__,
            "torch": torch.__version__,
            "monai": monai.__version__,
            "numpy": numpy.__version__,
        },
        **({"commit": commit} if commit else {}),
    }


def git_commit() -> str:
    """Return the commit this package's checkout is at, with ``-dirty`` when files were changed; empty outside a checkout."""
    folder = Path(dicom_workflow.__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def pack(folder: str | Path, archive: str | Path) -> Path:
    """Write a bundle as ``model.tar.gz`` with its two files at the root, as SageMaker expects, and return the archive."""
    folder, archive = Path(folder), Path(archive)
    read_description(folder)
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:  # weights hardly compress
        for name in (WEIGHTS_NAME, DESCRIPTION_NAME):
            tar.add(folder / name, arcname=name)
    return archive


def unpack(archive: str | Path, folder: str | Path) -> Path:
    """Extract the two files of a bundle from a ``model.tar.gz`` and return the folder.

    Only the two known names are looked at, so no member can write anywhere else. MONAI's files hold expressions that MONAI
    evaluates: an archive's own are left in it, and written anew from the description.

    Raises
    ------
    BundleError
        Not a gzip'd tar archive, or one of the two files is not in it or too large.
    """
    archive, folder = Path(archive), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            members = {member.name.removeprefix("./"): member for member in tar if member.isfile()}
            for name, most in ((WEIGHTS_NAME, _MAX_WEIGHTS_BYTES), (DESCRIPTION_NAME, _MAX_DESCRIPTION_BYTES)):
                if name in members and members[name].size > most:
                    raise BundleError(f"{archive}: expected {name} of at most {most:,} bytes, got {members[name].size:,}.")
                stream = tar.extractfile(members[name]) if name in members else None
                if stream is None:
                    raise BundleError(f"{archive}: expected {name} at the root of the archive, got {sorted(members)[:8]}.")
                write_atomically(folder / name, stream.read())
    except (OSError, EOFError, tarfile.TarError) as error:
        raise BundleError(f"{archive}: expected a model.tar.gz: {error}.") from None
    _write_monai_configs(read_description(folder), folder)
    return folder


def _write_monai_configs(description: Mapping[str, Any], folder: Path) -> None:
    try:
        configs = monai_configs.configs_of(description, WEIGHTS_NAME)
        texts = {name: json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) for name, config in configs.items()}
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{folder / DESCRIPTION_NAME}: expected a complete description, got: {error!r:.120}") from None
    (folder / monai_configs.FOLDER).mkdir(exist_ok=True)
    for name, text in texts.items():
        write_atomically(folder / monai_configs.FOLDER / name, text.encode("utf-8") + b"\n")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file beside its place, flush it to disk and rename it: a reader sees the old one or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _parse(description: Mapping[str, Any], folder: Path) -> Bundle:
    from dicom_workflow.learning import network

    where = folder / DESCRIPTION_NAME
    name = _text(description, "network", "name")
    if name != NETWORK_NAME:
        raise BundleError(f"{where}: expected the network {NETWORK_NAME}, got {name[:60]!r}. Update dicom-workflow.")
    version = str(_value(description, "preprocessing", "version"))
    known = " or ".join(preprocessing_versions())
    if version not in preprocessing_versions():
        raise BundleError(
            f"{where}: expected preprocessing version {known}, which this package has, got {version}: the "
            "network would see other images than it was trained on. Train again, or install the package version named there."
        )
    try:
        labels = parse_label_list(description.get("labels"))
        thresholds = {label: float(_value(description, "thresholds", label)) for label in labels}
        size_px = int(_value(description, "size_px"))
        calibration = Calibration.parse(description.get("calibration"), labels)
        mean, std = (float(_value(description, "preprocessing", "normalization", key)) for key in ("mean", "std"))
        arguments = dict(_value(description, "network", "arguments"))
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
        network=network.build(labels, dropout=dropout, seed=0),
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


def _value(description: Mapping[str, Any], *keys: str) -> Any:
    value: Any = description
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            raise BundleError(f"{DESCRIPTION_NAME}: expected {'.'.join(keys)!r}, it is missing.")
        value = value[key]
    return value


def _text(description: Mapping[str, Any], *keys: str) -> str:
    value = _value(description, *keys)
    if not isinstance(value, str):
        raise BundleError(f"{DESCRIPTION_NAME}: expected {'.'.join(keys)!r} as a text, got {type(value).__name__}.")
    return value
