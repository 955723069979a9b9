"""A bundle's description in MONAI's bundle format: ``configs/metadata.json`` and ``configs/inference.json``.

`monai.bundle.ConfigParser` builds the network from them and loads the safetensors file; no pickle is written for MONAI's sake.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dicom_workflow.errors import BundleError, LearningError
from dicom_workflow.learning.model.architectures import architecture_of
from dicom_workflow.learning.model.bundle_json import DESCRIPTION_NAME, WEIGHTS_NAME
from dicom_workflow.storage import write_atomically

FOLDER = "configs"
_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"


def write(description: Mapping[str, Any], folder: Path) -> None:
    """Write the two files of MONAI's bundle format.

    Raises
    ------
    BundleError
        The description lacks what they say.
    """
    try:
        configs = configs_of(description, WEIGHTS_NAME)
        texts = {name: json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) for name, config in configs.items()}
    except (ArithmeticError, AttributeError, LearningError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{folder / DESCRIPTION_NAME}: the description is incomplete: {error!r:.120}") from None
    (folder / FOLDER).mkdir(exist_ok=True)
    for name, text in texts.items():
        write_atomically(folder / FOLDER / name, text.encode("utf-8") + b"\n")


def configs_of(description: Mapping[str, Any], weights_name: str) -> dict[str, dict[str, Any]]:
    """Return the content of MONAI's two files, by name.

    Parameters
    ----------
    description : mapping
        What ``bundle.json`` holds.
    weights_name : str
        The safetensors file, relative to the bundle's folder.
    """
    return {"metadata.json": _metadata(description), "inference.json": _inference(description, weights_name)}


def _metadata(description: Mapping[str, Any]) -> dict[str, Any]:
    provenance = description.get("provenance") or {}
    versions = provenance.get("versions") or {}
    size_px = description["size_px"]
    mean, std = (description["preprocessing"]["normalization"][key] for key in ("mean", "std"))
    architecture = architecture_of(description["network"]["name"])
    members = description["network"]["arguments"].get("members", 1)
    networks = architecture.title if members == 1 else f"{members} {architecture.title}, averaged,"
    return {
        "schema": _SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"trained {provenance.get('created', '')}".strip()},
        "monai_version": versions.get("monai", ""),
        "pytorch_version": versions.get("torch", ""),
        "numpy_version": versions.get("numpy", ""),
        "required_packages_version": {"safetensors": "0.5"},
        "name": "dicom-workflow classifier",
        "task": f"{description['mode']} image classification",
        "description": f"{networks} one output per label. Not a medical device. bundle.json says more.",
        "authors": "dicom-workflow",
        "copyright": "of whoever trained it",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "n/a",
                    "num_channels": architecture.channels,
                    "spatial_shape": [size_px, size_px],
                    "dtype": "float32",
                    # Black and white after normalization: 0 and 1 before it.
                    "value_range": [round((0 - mean) / std, 6), round((1 - mean) / std, 6)],
                    "is_patch_data": False,
                    "channel_def": {str(channel): "display image, normalized" for channel in range(architecture.channels)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "logits",
                    "format": "classification",
                    "num_channels": len(description["labels"]),
                    "spatial_shape": [],
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": False,
                    "channel_def": {str(number): label for number, label in enumerate(description["labels"])},
                }
            },
        },
    }


def _inference(description: Mapping[str, Any], weights_name: str) -> dict[str, Any]:
    """`network` is the trained one, `network_def` the bare one; `predict` needs this package, for the pixels."""
    arguments = description["network"]["arguments"]
    mean, std = (description["preprocessing"]["normalization"][key] for key in ("mean", "std"))
    numbers = (description.get("calibration") or {}).get("labels") or {}
    dropout, members = float(arguments.get("dropout", 0.0)), int(arguments.get("members", 1))
    outputs = len(description["labels"])
    architecture = architecture_of(description["network"]["name"])
    network = dict(architecture.monai_config(outputs, dropout))
    if members > 1:  # MONAI has no module that averages others
        ours = "dicom_workflow.learning.model.network.build"
        network = {"_target_": ours, "labels": "@labels", "architecture": architecture.name}
        network |= {"dropout": dropout, "members": members}
    activation = {"softmax": True} if description["mode"] == "single-label" else {"sigmoid": True}
    return {
        "imports": ["$import torch", "$from pathlib import Path", "$from safetensors.torch import load_file"],
        "bundle_root": ".",
        "device": "cpu",
        "labels": list(description["labels"]),
        "network_def": network,
        "weights": f"$load_file(Path(@bundle_root) / {weights_name!r}, device=@device)",
        "network": "$(@network_def.load_state_dict(@weights), @network_def.to(@device).eval())[1]",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "ToTensor"},
                {"_target_": "NormalizeIntensity", "subtrahend": mean, "divisor": std},
            ],
        },
        "scales": [float(numbers.get(label, {}).get("scale", 1.0)) for label in description["labels"]],
        "offsets": [float(numbers.get(label, {}).get("offset", 0.0)) for label in description["labels"]],
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Lambda", "func": "$lambda logits: logits * torch.tensor(@scales) + torch.tensor(@offsets)"},
                {"_target_": "Activations", **activation},
            ],
        },
        "files": [],
        "bundle": {"_target_": "dicom_workflow.learning.model.bundle.load", "folder": "@bundle_root", "device": "@device"},
        "predict": {"_target_": "dicom_workflow.learning.inference.predict.predict", "bundle": "@bundle", "datasets": "@files"},
        "run": ["$print(@predict)"],
    }
