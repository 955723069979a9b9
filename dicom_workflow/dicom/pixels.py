"""The preprocessing path: stored pixels of a DICOM radiograph → display image → network input. There is no other.

stored value -> padding mask -> Modality LUT or rescale -> VOI LUT or window -> inversion -> display, 0 black and 1 white.

Each step is a function of one stored value, and there are at most 65,536 of those. So the chain is computed once for every
possible value and applied to the image as a look-up table: exact, and as fast as one pass over the pixels.

References: PS3.3 C.7.6.3.1.2 (photometric interpretation), C.7.5.1.1.2 (padding), C.11.1 (Modality LUT), C.11.2 (VOI LUT),
C.11.4 and C.8.11.3.1.2 (presentation LUT shape).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import convert_color_space
from pydicom.uid import ExplicitVRLittleEndian

from dicom_workflow.dicom.decoding import read_frame, stored_values
from dicom_workflow.dicom.element_values import text_of
from dicom_workflow.dicom.jpeg import reduced_values
from dicom_workflow.dicom.letterbox import Framing, fitted
from dicom_workflow.dicom.lut import is_padding, levels_of, modality, stretched, voi
from dicom_workflow.dicom.reading import errors_named, name_of, read_dataset, read_header
from dicom_workflow.errors import DicomError, UnsupportedPixelsError

PREPROCESSING_VERSION = "1"
"""Changes whenever `to_model_input` gives other numbers for the same file; kept in every model bundle and cache."""

REDUCED_VERSION = f"{PREPROCESSING_VERSION}-reduced"
"""The same path, but JPEG 2000 is decoded at the smallest of its resolutions that is large enough: see `to_model_input`."""

PREPROCESSING_VERSIONS = (PREPROCESSING_VERSION, REDUCED_VERSION)

_UNREADABLE = "the elements of its modality and VOI transformations cannot be read"


def rescaled(dataset: Dataset) -> NDArray[np.float32]:
    """Return the values after the Modality LUT Sequence or after Rescale Slope and Intercept.

    Returns
    -------
    ndarray, shape (rows, columns), float32
        In the unit of Rescale Type; unspecified for most radiographs. Padding is not masked here.

    Raises
    ------
    DicomError
        As `stored_values`; a Modality LUT that breaks C.11.1.1, or an element that cannot be read.
    """
    stored = stored_values(dataset)
    with errors_named(name_of(dataset), _UNREADABLE):
        return _looked_up(modality(dataset, levels_of(stored)), stored)


def to_display(dataset: Dataset, *, index: int = 0, window: tuple[float, float] | None = None) -> NDArray[np.float32]:
    """Return the display image of one single-frame instance.

    Parameters
    ----------
    dataset : Dataset
        CR/DX instance with Pixel Data; MONOCHROME1 or MONOCHROME2.
    index : int
        Which item of the VOI LUT Sequence to use or, without one, which Window Center/Width pair.
    window : (center, width), optional
        In rescaled values, instead of the instance's own; the instance's VOI LUT Function applies.

    Returns
    -------
    ndarray, shape (rows, columns), float32 in [0, 1]
        0 is black for either photometric interpretation; padding is black.

    Raises
    ------
    UnsupportedPixelsError, TruncatedDicomError
        As `stored_values`.
    DicomError
        No window or VOI LUT of that index, or a `window` that cannot be.

    Notes
    -----
    Where the instance has neither VOI LUT nor usable window, an image of 8 stored bits or fewer shows its whole range: it was
    made for display already. With more bits the percentiles `lut.PERCENTILES` of the unpadded pixels become black and white,
    because detectors use a part of their range that no attribute tells, and a lead marker must not set the contrast. A
    percentile is the smallest value that so many of the pixels do not exceed.

    References
    ----------
    PS3.3 C.7.6.3.1.2 (photometric), C.11.1 (modality LUT), C.11.2 (VOI LUT), C.8.11.3.1.2 (presentation LUT shape).
    """
    return _displayed(dataset, stored_values(dataset), index, window)


def _displayed(
    dataset: Dataset, stored: NDArray[Any], index: int = 0, window: tuple[float, float] | None = None
) -> NDArray[np.float32]:
    levels = levels_of(stored)
    padding = is_padding(dataset, levels)
    with errors_named(name_of(dataset), _UNREADABLE):
        curve = modality(dataset, levels)
        shown = voi(dataset, curve, index, window)
        if shown is None:
            shown = stretched(dataset, curve, stored, padding)
        # One inversion for either reason: a DX image of MONOCHROME1 must also say INVERSE, and means it once.
        if dataset.PhotometricInterpretation == "MONOCHROME1" or text_of(dataset, "PresentationLUTShape") == "INVERSE":
            shown = 1.0 - shown
    shown[padding] = 0.0
    return _looked_up(shown, stored)


def to_model_input(dataset: Dataset, *, size_px: int, version: str = PREPROCESSING_VERSION) -> NDArray[np.float32]:
    """Return the network input: the display image, shrunk with its aspect kept, centered on a black square.

    Parameters
    ----------
    dataset : Dataset
        As for `to_display`.
    size_px : int
        Side of the square.
    version : str
        One of `PREPROCESSING_VERSIONS`: the one that a model was trained with. `REDUCED_VERSION` decodes JPEG 2000 more than
        ten times as fast and gives nearly the same numbers; of any other compression it gives the same ones.

    Returns
    -------
    ndarray, shape (1, size_px, size_px), float32 in [0, 1]
        Each pixel averages the area it covers, so nothing aliases. `version` names these numbers.

    Raises
    ------
    DicomError
        As `to_display`, or a version that this package does not have.

    Notes
    -----
    Along rows and along columns a pixel is the mean of those around its center, with the weights sinc(x) (0.54 + 0.46 cos πx)
    for x from -1 to 1: the distance in pixels of the result, or of the image where that has to be enlarged. What is fitted is
    the grid of pixels, whatever Pixel Aspect Ratio and Pixel Spacing say of their shape: detectors have square ones.

    `REDUCED_VERSION` lets the wavelets of JPEG 2000 average first, over 2, 4 or 8 pixels, and keeps at least twice the pixels
    of the result. What then differs: noise is averaged before windows, tables and percentiles see it, not after. A curve that
    is straight over the width of the noise gives the same; percentiles lie a little closer together, so contrast rises a
    little. Where padding is to be seen the whole image is decoded, or padding would be mixed with what lies beside it.
    """
    if version not in PREPROCESSING_VERSIONS:
        raise DicomError(f"expected a preprocessing version of {', '.join(PREPROCESSING_VERSIONS)}, got {version!r}.")
    with errors_named(name_of(dataset), "its pixels cannot be read"):
        return _model_input(dataset, size_px, version)


def _model_input(dataset: Dataset, size_px: int, version: str) -> NDArray[np.float32]:
    reduced = reduced_values(dataset, size_px) if version == REDUCED_VERSION else None
    if reduced and not is_padding(dataset, levels_of(reduced[0]))[reduced[0]].any():
        image = _resized_from(_displayed(dataset, reduced[0]), reduced[1], framing_of(dataset, size_px).shape, size_px)
    else:
        image = _resized(to_display(dataset), size_px)  # (rows, columns), the longer one size_px
    return framing_of(dataset, size_px).to_square(image)[None]


def framing_of(dataset: Dataset, size_px: int) -> Framing:
    """Return the place of an instance's image in the square of `to_model_input`: the way back to its own pixels."""
    return Framing((int(dataset.Rows), int(dataset.Columns)), size_px)


def to_png(dataset: Dataset, *, max_px: int | None = None, window: tuple[float, float] | None = None) -> bytes:
    """Return the display image as an 8-bit gray PNG; it carries no header text.

    Parameters
    ----------
    dataset : Dataset
        As for `to_display`.
    max_px : int, optional
        Most pixels of the longer side; a larger image is shrunk.
    window : (center, width), optional
        As for `to_display`.
    """
    image = to_display(dataset, window=window)
    if max_px is not None and max(image.shape) > max_px:
        image = _resized(image, max_px)
    return _png(Image.fromarray(np.rint(image * 255.0).astype(np.uint8)))


def frame_to_png(path: Path, *, index: int = 0, color: bool = False, max_px: int | None = None) -> bytes:
    """Return the display image of one frame of a file as an 8-bit PNG; of a multi-frame file no other frame is read.

    Parameters
    ----------
    path : Path
        DICOM Part 10 file.
    index : int
        0 for the first frame.
    color : bool
        Whether a color image may be returned; it is RGB then.
    max_px : int, optional
        Most pixels of the longer side; a larger image is shrunk.

    Raises
    ------
    UnsupportedPixelsError
        A color image without `color`, or one of more than 8 bits.
    DicomError
        As `to_png` and `decoding.read_frame`.

    References
    ----------
    PS3.3 C.7.6.16.2.9 and C.7.6.16.2.10 (window and rescale of one frame).
    """
    header = read_header(path)
    with errors_named(str(path), _UNREADABLE):
        is_single = int(header.get("NumberOfFrames") or 1) == 1
        is_gray = int(header.get("SamplesPerPixel") or 1) == 1
    if is_single and is_gray and index == 0:
        return to_png(read_dataset(path), max_px=max_px)
    if not (is_gray or color):
        raise UnsupportedPixelsError(f"{path}: the image is in color, and gray images only can be shown here.")
    frame = read_frame(path, index)
    if is_gray:
        with errors_named(str(path), _UNREADABLE):
            single = _as_single_frame(header, frame.values, index)
        return to_png(single, max_px=max_px)
    if frame.values.dtype != np.uint8:
        raise UnsupportedPixelsError(f"{path}: a color image of {frame.values.dtype.itemsize * 8} bits cannot be shown.")
    with errors_named(str(path), _UNREADABLE):
        shown = Image.fromarray(convert_color_space(frame.values, frame.photometric_interpretation, "RGB"))
    if max_px is not None:
        shown.thumbnail((max_px, max_px), Image.Resampling.HAMMING)
    return _png(shown)


def _as_single_frame(header: Dataset, values: NDArray[Any], index: int) -> Dataset:
    """Return an uncompressed instance of one frame, with that frame's window and rescale where an enhanced image has them."""
    shared = list(header.get("SharedFunctionalGroupsSequence") or ())
    groups = [*shared[:1], *list(header.get("PerFrameFunctionalGroupsSequence") or ())[index : index + 1]]
    for group in groups:
        for name in ("FrameVOILUTSequence", "PixelValueTransformationSequence"):
            for item in list(group.get(name) or ())[:1]:
                header.update(item)
    header.NumberOfFrames = 1
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.add_new("PixelData", "OB" if values.dtype.itemsize == 1 else "OW", values.tobytes() + b"\0" * (values.nbytes % 2))
    return header


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _resized(image: NDArray[np.float32], longer_px: int) -> NDArray[np.float32]:
    """Hamming weights over the covered area: as sharp as box averages, without their half-pixel jumps."""
    rows, columns = fitted(image.shape, longer_px)
    if (rows, columns) == image.shape:
        return image
    shrunk = Image.fromarray(image).resize((columns, rows), Image.Resampling.HAMMING)
    return np.clip(np.asarray(shrunk, np.float32), 0.0, 1.0)


def _resized_from(image: NDArray[np.float32], halvings: int, whole: tuple[int, int], longer_px: int) -> NDArray[np.float32]:
    """As `_resized` of the whole image, from one of its lower resolutions.

    Pixel i of it has its center where pixel i * 2**halvings of the whole one has. Taken for the average of the pixels it
    covers it would move the image by up to a quarter of a pixel of the result, so the frame is moved instead.
    """
    rows, columns = fitted(whole, longer_px)
    step = 2**halvings
    near = 0.5 - 0.5 / step
    bottom, right = ((side - 0.5) / step + 0.5 for side in whole)
    framed = Image.fromarray(np.pad(image, ((0, 1), (0, 1)), mode="edge"))  # the frame ends beyond the last center
    shrunk = framed.resize((columns, rows), Image.Resampling.HAMMING, box=(near, near, right, bottom))
    return np.clip(np.asarray(shrunk, np.float32), 0.0, 1.0)


def _looked_up(curve: NDArray[np.float64], stored: NDArray[Any]) -> NDArray[np.float32]:
    return curve.astype(np.float32)[stored.view(f"u{stored.dtype.itemsize}")]
