"""Modality LUT, VOI LUT and window as curves: the displayed value of every value that a pixel may have.

References: PS3.3 C.7.5.1.1.2 (padding), C.11.1 (Modality LUT), C.11.2 (VOI LUT).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_workflow.dicom.element_values import integer_of, numbers_of, text_of
from dicom_workflow.dicom.reading import name_of
from dicom_workflow.errors import DicomError, UnsupportedPixelsError

PERCENTILES = (0.5, 99.5)
"""Range shown of an image of more than 8 bits with neither window nor VOI LUT."""

_COUNTED_PIECE = 2**20
_PACKED_BITS, _MAX_LUT_BITS = 8, 16


def levels_of(stored: NDArray[Any]) -> NDArray[np.float64]:
    """Return every value the image could hold, in the order of its bit patterns, so that a pattern is its own index.

    Parameters
    ----------
    stored : ndarray, shape (rows, columns), integers of 8 or 16 bits

    Returns
    -------
    ndarray, shape (256,) or (65536,), float64
    """
    return np.arange(2 ** (stored.dtype.itemsize * 8), dtype=f"u{stored.dtype.itemsize}").view(stored.dtype).astype(np.float64)


def is_padding(dataset: Dataset, levels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which stored values are padding; a padding value of the wrong sign is read by its bit pattern.

    Parameters
    ----------
    dataset : Dataset
        With or without Pixel Padding Value and Pixel Padding Range Limit (PS3.3 C.7.5.1.1.2).
    levels : ndarray, shape (levels,), float64
        As `levels_of` returns them.

    Returns
    -------
    ndarray, shape (levels,), bool
    """
    value = integer_of(dataset, "PixelPaddingValue")
    if value is None:
        return np.zeros(levels.shape, bool)
    limit = integer_of(dataset, "PixelPaddingRangeLimit")
    ends = [value, value if limit is None else limit]
    bits = levels.size.bit_length() - 1
    signed = levels.min() < 0
    ends = [e % 2**bits - (2**bits if signed and e % 2**bits >= 2 ** (bits - 1) else 0) for e in ends]
    return (levels >= min(ends)) & (levels <= max(ends))


def modality(dataset: Dataset, levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each value after the Modality LUT Sequence or after rescale; never both (PS3.3 C.11.1).

    Parameters
    ----------
    dataset : Dataset
    levels : ndarray, shape (levels,), float64
        Stored values.

    Returns
    -------
    ndarray, shape (levels,), float64
        In the unit of Rescale Type or Modality LUT Type.
    """
    if dataset.get("ModalityLUTSequence"):
        table, first, _ = _lut(dataset.ModalityLUTSequence[0], name_of(dataset), signed_input=bool(levels.min() < 0))
        return table[np.clip(levels - first, 0, table.size - 1).astype(np.intp)]
    slope, intercept = _rescale(dataset)
    return levels * slope + intercept


def _rescale(dataset: Dataset) -> tuple[float, float]:
    return _number(dataset, "RescaleSlope", 1.0) or 1.0, _number(dataset, "RescaleIntercept", 0.0)


def voi(
    dataset: Dataset, curve: NDArray[np.float64], index: int, window: tuple[float, float] | None
) -> NDArray[np.float64] | None:
    """Return the displayed value of each rescaled one, or None where the instance has neither VOI LUT nor window.

    Parameters
    ----------
    dataset : Dataset
    curve : ndarray, shape (levels,), float64
        As `modality` returns it.
    index : int
        Which item of the VOI LUT Sequence, or which window.
    window : (center, width), optional
        In rescaled values, instead of what the instance holds.

    Returns
    -------
    ndarray, shape (levels,), float64 in [0, 1], or None

    Raises
    ------
    DicomError
        No VOI LUT or window of that index, or a width that is not above 0.
    UnsupportedPixelsError
        A VOI LUT that breaks C.11.2.1.1.

    References
    ----------
    PS3.3 C.11.2.1.1 (VOI LUT), C.11.2.1.2 (window), C.11.2.1.3 (VOI LUT Function).
    """
    name = name_of(dataset)
    function = (text_of(dataset, "VOILUTFunction") or "LINEAR").upper()
    if window is not None:
        if not (np.isfinite(window).all() and window[1] > 0):
            raise DicomError(f"{name}: expected a window as (center, width > 0), got {window}.")
        return _windowed(curve, *window, function)
    if dataset.get("VOILUTSequence"):
        items = dataset.VOILUTSequence
        if not 0 <= index < len(items):
            raise DicomError(f"{name}: expected a VOI LUT index below {len(items)}, got {index}.")
        table, first, bits = _lut(items[index], name, signed_input=_can_be_negative(dataset, curve))
        return table[np.clip(np.rint(curve) - first, 0, table.size - 1).astype(np.intp)] / (2.0**bits - 1.0)
    pairs = list(zip(numbers_of(dataset, "WindowCenter"), numbers_of(dataset, "WindowWidth"), strict=False))
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
    """Return the displayed value of each level of an image with neither VOI LUT nor window.

    Parameters
    ----------
    dataset : Dataset
    curve : ndarray, shape (levels,), float64
        As `modality` returns it.
    stored : ndarray, shape (rows, columns), integers of 8 or 16 bits
        The pixels, whose distribution sets the range where there are more than 8 bits.
    padding : ndarray, shape (levels,), bool
        As `is_padding` returns it.

    Returns
    -------
    ndarray, shape (levels,), float64 in [0, 1]
        Of 8 bits or fewer the whole range is shown, of more the range between `PERCENTILES`.
    """
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
    """Return how often each value occurs, by its bit pattern; piece by piece, because numpy counts in 64 bits a pixel."""
    flat = stored.view(f"u{stored.dtype.itemsize}").ravel()
    pieces = (flat[start : start + _COUNTED_PIECE] for start in range(0, flat.size, _COUNTED_PIECE))
    return sum((np.bincount(piece, minlength=levels) for piece in pieces), np.zeros(levels, np.intp))


def _can_be_negative(dataset: Dataset, curve: NDArray[np.float64]) -> bool:
    """Return whether the input of the VOI LUT can be negative (PS3.3 C.11.2.1.1); the output of a Modality LUT never is."""
    if dataset.get("ModalityLUTSequence"):
        return False
    bits, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation) == 1
    ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
    return bool(curve[ends % curve.size].min() < 0)


def _lut(item: Dataset, name: str, *, signed_input: bool) -> tuple[NDArray[np.float64], int, int]:
    """Return (table, first value mapped, bits of its output) of one LUT item.

    The first value mapped has the sign of the values that the table is applied to, in whatever VR it is written (C.11.1.1.1,
    C.11.2.1.1). A table shorter than its descriptor says is used as it is: its last entry goes on.
    """
    descriptor = numbers_of(item, "LUTDescriptor")
    if len(descriptor) != 3 or not all(np.isfinite(descriptor)):
        raise UnsupportedPixelsError(f"{name}: expected a LUT Descriptor (0028,3002) of three numbers, got {descriptor}.")
    count, first, bits = (int(value) & 0xFFFF for value in descriptor)
    if bits > _MAX_LUT_BITS:
        raise UnsupportedPixelsError(f"{name}: expected a LUT Descriptor (0028,3002) of 8 to 16 bits an entry, got {bits}.")
    first -= 65536 if signed_input and first >= 32768 else 0
    table = _entries(item, count or 65536, bits)
    if table.size == 0:
        raise UnsupportedPixelsError(f"{name}: expected LUT Data (0028,3006) of {count or 65536} entries, got none.")
    return table, first, max(bits, int(table.max()).bit_length(), 1)


def _entries(item: Dataset, count: int, bits: int) -> NDArray[np.float64]:
    """Return the entries of a LUT; those of 8 bits may lie two in a word (C.11.1.1.1)."""
    data = item.get("LUTData")
    if data is None:
        return np.zeros(0)
    if isinstance(data, bytes):
        order = "<" if item.original_encoding[1] is not False else ">"
        if bits <= _PACKED_BITS and len(data) < 2 * count:
            return np.frombuffer(data, np.uint8)[:count].astype(np.float64)
        return np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2")[:count].astype(np.float64)
    words = np.atleast_1d(np.asarray(data)).astype(np.int64) & 0xFFFF
    if bits <= _PACKED_BITS and words.size < count <= 2 * words.size:
        words = words.astype("<u2").view(np.uint8)
    return words[:count].astype(np.float64)


def _number(dataset: Dataset, keyword: str, default: float) -> float:
    """Return the only number of an element, or the default where there is not exactly one."""
    numbers = numbers_of(dataset, keyword)
    return numbers[0] if len(numbers) == 1 and np.isfinite(numbers[0]) else default
