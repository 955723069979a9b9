"""What becomes of a stored value on its way to the screen, for every value that a pixel may have.

References: PS3.3 C.7.5.1.1.2 (padding), C.11.1 (Modality LUT), C.11.2 (VOI LUT).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from dicom_workflow.dicom.reading import name_of, shortened
from dicom_workflow.errors import DicomError, UnsupportedPixelsError

PERCENTILES = (0.5, 99.5)
"""Range shown of an image of more than 8 bits that brings neither window nor VOI LUT."""

_COUNTED_PIECE = 2**20


def levels_of(stored: NDArray[Any]) -> NDArray[np.float64]:
    """Return every value the image could hold, in the order of its bit patterns, so that a pattern is its own index."""
    return np.arange(2 ** (stored.dtype.itemsize * 8), dtype=f"u{stored.dtype.itemsize}").view(stored.dtype).astype(np.float64)


def is_padding(dataset: Dataset, levels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say which stored values are padding; a value written with the wrong sign is read by its bit pattern."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return np.zeros(levels.shape, bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = [value, limit if isinstance(limit, int) else value]
    bits = levels.size.bit_length() - 1
    signed = levels.min() < 0
    ends = [e % 2**bits - (2**bits if signed and e % 2**bits >= 2 ** (bits - 1) else 0) for e in ends]
    return (levels >= min(ends)) & (levels <= max(ends))


def modality(dataset: Dataset, levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each value after the Modality LUT Sequence or after rescale; never both (C.11.1)."""
    if dataset.get("ModalityLUTSequence"):
        table, first, _ = _lut(dataset.ModalityLUTSequence[0], name_of(dataset))
        return table[np.clip(levels - first, 0, table.size - 1).astype(np.intp)]
    slope, intercept = _number(dataset.get("RescaleSlope"), 1.0), _number(dataset.get("RescaleIntercept"), 0.0)
    return levels * (slope or 1.0) + intercept


def voi(
    dataset: Dataset, curve: NDArray[np.float64], index: int, window: tuple[float, float] | None
) -> NDArray[np.float64] | None:
    """Return the displayed value in [0, 1] of each rescaled one, or None where nothing says how."""
    name = name_of(dataset)
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    if window is not None:
        if not (np.isfinite(window).all() and window[1] > 0):
            raise DicomError(f"{name}: expected a window as (center, width > 0), got {window}.")
        return _windowed(curve, *window, function)
    if dataset.get("VOILUTSequence"):
        items = dataset.VOILUTSequence
        if not 0 <= index < len(items):
            raise DicomError(f"{name}: expected a VOI LUT index below {len(items)}, got {index}.")
        table, first, bits = _lut(items[index], name)
        return table[np.clip(np.rint(curve) - first, 0, table.size - 1).astype(np.intp)] / (2.0**bits - 1.0)
    pairs = list(zip(_numbers(dataset.get("WindowCenter")), _numbers(dataset.get("WindowWidth")), strict=False))
    pairs = [(center, width) for center, width in pairs if np.isfinite(center) and np.isfinite(width) and width > 0]
    if not pairs:
        return None
    if not 0 <= index < len(pairs):
        raise DicomError(f"{name}: expected a window index below {len(pairs)}, got {index}.")
    return _windowed(curve, *pairs[index], function)


def _windowed(values: NDArray[np.float64], center: float, width: float, function: str) -> NDArray[np.float64]:
    """C.11.2.1.2 and C.11.2.1.3. LINEAR with a width below 1, which is forbidden, is read as LINEAR_EXACT."""
    if function == "SIGMOID":
        return 0.5 + 0.5 * np.tanh(2.0 * (values - center) / width)
    if function == "LINEAR_EXACT" or width < 1.0:
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)
    if width == 1.0:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)


def stretched(
    dataset: Dataset, curve: NDArray[np.float64], stored: NDArray[Any], padding: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the displayed value of each: the whole range of 8 bits or fewer, robust percentiles of what is there for more."""
    bits = int(dataset.BitsStored)
    if bits <= 8:
        signed = stored.dtype.kind == "i"
        ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
        low, high = sorted(curve[ends % curve.size])
    else:
        order = np.argsort(curve, kind="stable")
        heaped = np.cumsum(np.where(padding, 0, _counts(stored, curve.size))[order])
        if heaped[-1] == 0:
            return np.zeros_like(curve)
        ranks = np.searchsorted(heaped, np.array(PERCENTILES) / 100.0 * heaped[-1])
        low, high = curve[order[np.minimum(ranks, order.size - 1)]]
    if high <= low:
        return np.zeros_like(curve)
    return np.clip((curve - low) / (high - low), 0.0, 1.0)


def _counts(stored: NDArray[Any], levels: int) -> NDArray[np.intp]:
    """Return how often each value occurs, by its bit pattern. numpy widens what it counts to 64 bits: a piece at a time."""
    flat = stored.view(f"u{stored.dtype.itemsize}").ravel()
    pieces = (flat[start : start + _COUNTED_PIECE] for start in range(0, flat.size, _COUNTED_PIECE))
    return sum((np.bincount(piece, minlength=levels) for piece in pieces), np.zeros(levels, np.intp))


def _lut(item: Dataset, name: str) -> tuple[NDArray[np.float64], int, int]:
    """Return (table, first value mapped, bits of its output) of one LUT item (C.11.1.1)."""
    try:
        count, first, bits = (int(v) for v in item.LUTDescriptor)
        count = (count & 0xFFFF) or 65536
        data = item.LUTData
        if isinstance(data, bytes):
            order = "<" if item.original_encoding[1] is not False else ">"
            table = np.frombuffer(data, np.uint8 if len(data) < 2 * count else f"{order}u2")
        else:
            table = np.atleast_1d(np.asarray(data)).astype(np.int64) & 0xFFFF
            if table.size < count <= 2 * table.size:  # two 8-bit entries in each word
                table = table.astype("<u2").view(np.uint8)
    except (AttributeError, TypeError, ValueError) as error:
        raise UnsupportedPixelsError(f"{name}: expected a LUT with descriptor and data, got: {shortened(error)}.") from error
    table = table[:count].astype(np.float64)
    if table.size == 0:
        raise UnsupportedPixelsError(f"{name}: expected a LUT of {count} entries, got none.")
    return table, first, max(bits, int(table.max()).bit_length(), 1)


def _numbers(value: object) -> list[float]:
    if value is None:
        return []
    values = value if isinstance(value, list | tuple | MultiValue) else [value]
    return [_number(v, np.nan) for v in values]


def _number(value: object, default: float) -> float:
    try:
        number = float(str(value))
    except ValueError:
        return default
    return number if np.isfinite(number) else default
