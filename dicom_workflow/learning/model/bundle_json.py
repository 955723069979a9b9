"""A bundle's ``bundle.json``: its schema, how it is read, and the seal that shows when a byte of it was changed.

The seal is the file's last entry, ``sha256``: that of the whole file with the seal's own 64 digits written as zeros. It guards
against damage and against thresholds edited by hand and forgotten, not against somebody who means harm and seals anew: for that
keep the bundle's identifier, the SHA-256 of the file, in another place.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dicom_workflow.errors import BundleError
from dicom_workflow.storage import write_atomically

BUNDLE_SCHEMA = "dicom-workflow/bundle/3"
WEIGHTS_NAME = "model.safetensors"
DESCRIPTION_NAME = "bundle.json"
MAX_DESCRIPTION_BYTES = 16 * 2**20
_EARLIER_SCHEMAS = ("dicom-workflow/bundle/1", "dicom-workflow/bundle/2")
UNSEALED = "0" * 64
_SEAL = re.compile("[0-9a-f]{64}")


def write_description(description: Mapping[str, Any], folder: Path) -> None:
    """Write the ``bundle.json`` of a folder, sealed."""
    whole = {**{key: value for key, value in description.items() if key != "sha256"}, "sha256": UNSEALED}
    text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(folder / DESCRIPTION_NAME, sealed(text))


def sealed(text: str) -> bytes:
    """Return the bytes of a description whose last 64 zeros are replaced by the seal."""
    start, _, end = text.rpartition(UNSEALED)
    return (start + hashlib.sha256(text.encode("utf-8")).hexdigest() + end).encode("utf-8")


def read_description(folder: str | Path) -> dict[str, Any]:
    """Return the ``bundle.json`` of a folder without loading the weights.

    Raises
    ------
    BundleError
        It is missing, not JSON, of another schema, or not as it was written.
    """
    path = Path(folder) / DESCRIPTION_NAME
    try:
        if path.stat().st_size > MAX_DESCRIPTION_BYTES:
            raise BundleError(f"{path}: expected a description of at most {MAX_DESCRIPTION_BYTES >> 20} MB.")
        return parse_description(path.read_bytes(), path)
    except OSError as error:
        raise BundleError(f"{path}: no model bundle is there: {error.strerror}. `dicom-workflow train` writes one.") from None


def parse_description(data: bytes, where: str | Path) -> dict[str, Any]:
    """Return the content of a ``bundle.json``; `where` it was found is for the error.

    Raises
    ------
    BundleError
        Not JSON, of another schema, or not as it was written.
    """
    try:
        description = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not JSON: {str(error)[:120]}.") from None
    schema = description.get("schema") if isinstance(description, dict) else None
    if schema in _EARLIER_SCHEMAS:
        raise BundleError(
            f"{where}: the bundle has schema {schema!r}, which this version no longer reads. Train it again: "
            "`dicom-workflow train training.manifest`."
        )
    if schema != BUNDLE_SCHEMA:
        raise BundleError(f"{where}: expected schema {BUNDLE_SCHEMA!r}, got {str(schema)[:60]!r}. Update dicom-workflow.")
    if not _is_as_written(data, description.get("sha256")):
        raise BundleError(
            f"{where}: the file was changed: its SHA-256 is not the one that it holds. Copy the bundle again; to "
            "change a threshold, load the bundle, replace it and save."
        )
    return description


def _is_as_written(data: bytes, seal: object) -> bool:
    if not isinstance(seal, str) or not _SEAL.fullmatch(seal):
        return False
    start, _, end = data.rpartition(seal.encode())
    return hashlib.sha256(start + UNSEALED.encode() + end).hexdigest() == seal


def identifier_of(folder: str | Path) -> str:
    """Return the identifier of a bundle: the SHA-256 of its ``bundle.json``, which holds that of the weights."""
    return hashlib.sha256((Path(folder) / DESCRIPTION_NAME).read_bytes()).hexdigest()


def value_of(description: Mapping[str, Any], *keys: str) -> Any:
    """Return the value of a description under nested keys.

    Raises
    ------
    BundleError
        There is none.
    """
    value: Any = description
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            raise BundleError(f"{DESCRIPTION_NAME}: {'.'.join(keys)!r} is missing.")
        value = value[key]
    return value


def text_of(description: Mapping[str, Any], *keys: str) -> str:
    """Return the text of a description under nested keys.

    Raises
    ------
    BundleError
        There is none, or it is no text.
    """
    value = value_of(description, *keys)
    if not isinstance(value, str):
        raise BundleError(f"{DESCRIPTION_NAME}: expected {'.'.join(keys)!r} as a text, got {type(value).__name__}.")
    return value
