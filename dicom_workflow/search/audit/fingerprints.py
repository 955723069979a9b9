"""Fingerprints of radiographs: small normalized images that tell whether two files show the same exposure.

Window, gain and gamma change the gray values of an image but hardly its local contrast, up to its sign. A fingerprint is
therefore the band-passed image divided by its local standard deviation. A pair is compared twice: coarsely by the correlation
of 24 × 24 pixels under several assumed crops, which picks candidates; then exactly, after the two images have been brought into
register, by the correlation of fine detail. Two exposures of one patient share their anatomy and not their detail.

All chest radiographs look alike, so the coarse fingerprints are whitened: what the images of an archive have in common counts
little, what sets one apart counts much.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from dicom_workflow.dicom import pixels

SIDE_PX = 160
"""Side of the square that detail is compared in."""
COARSE_PX = 24
"""Side of the square that candidates are found with."""
_ONE_GRAY = 8  # of 255: the range of a border

_AXIS = ((0.0, 1.0), (0.055, 1.0), (0.0, 0.945), (0.04, 0.96))
CROPS: NDArray[np.float64] = np.array([(*rows, *columns) for rows, columns in product(_AXIS, repeat=2)])
"""Boxes of an image, (top, bottom, left, right) from 0 to 1, that another file may show; the first is the whole."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Match:
    """How one image is found in another."""

    similarity: float
    """Correlation of fine detail after registration, in [-1, 1]; near 1 for the same exposure, whatever its gray values."""
    rows: tuple[float, float]
    """The part of the second image that the first one shows, as fractions of its height; beyond 0 or 1 where it shows more."""
    columns: tuple[float, float]
    inverted: bool
    mirrored: bool
    gray_difference: float
    """Mean absolute difference of the gray values after registration, in [0, 1]."""


class Whitening:
    """Rescaling of coarse fingerprints by the covariance of an archive.

    Parameters
    ----------
    fingerprints : ndarray, shape (n, COARSE_PX * COARSE_PX), float32
        Of the images of an archive, or of a few thousand of them.
    dimensions : int
        How many principal components are kept.
    """

    def __init__(self, fingerprints: Array, dimensions: int = 256) -> None:
        self._mean = fingerprints.mean(0)
        centered = (fingerprints - self._mean).astype(np.float64)
        variances, axes = np.linalg.eigh(centered.T @ centered / len(fingerprints))
        shrunk = variances + variances.mean() + 1e-9
        self._axes = (axes / np.sqrt(shrunk))[:, -dimensions:].astype(np.float32)

    def __call__(self, fingerprints: Array) -> Array:
        """Return whitened fingerprints of unit length, shape (n, dimensions), float32."""
        white = (fingerprints - self._mean) @ self._axes
        length = np.linalg.norm(white, axis=1, keepdims=True)
        return np.divide(white, length, out=np.zeros_like(white), where=length > 1e-6)


def thumbnail(dataset: Dataset) -> NDArray[np.uint8]:
    """Return the display image in a square; its aspect is not kept.

    Parameters
    ----------
    dataset : Dataset
        As for `dicom.pixels.to_display`.

    Returns
    -------
    ndarray, shape (SIDE_PX, SIDE_PX), uint8
        0 is black.
    """
    small = Image.fromarray(pixels.to_display(dataset)).resize((SIDE_PX, SIDE_PX), Image.Resampling.HAMMING)
    return np.rint(np.clip(np.asarray(small, np.float32), 0.0, 1.0) * 255).astype(np.uint8)


def coarse(thumbnails: NDArray[np.uint8], boxes: NDArray[np.float64]) -> Array:
    """Return the coarse fingerprints of parts of thumbnails, each of unit length.

    Parameters
    ----------
    thumbnails : ndarray, shape (n, SIDE_PX, SIDE_PX), uint8
    boxes : ndarray, shape (4,) or (n, 4), float64
        The part of each: top, bottom, left and right, from 0 to 1.

    Returns
    -------
    ndarray, shape (n, COARSE_PX * COARSE_PX), float32
        Zero for an image without any contrast.
    """
    down, across = (_averaging(boxes[..., at : at + 2], COARSE_PX * 2) for at in (0, 2))
    small = down @ thumbnails.astype(np.float32) @ np.swapaxes(across, -1, -2)
    normal = local_contrast(small, fine_px=1.2, wide_px=5.0)
    halved = normal.reshape(len(normal), COARSE_PX, 2, COARSE_PX, 2).mean((2, 4)).reshape(len(normal), -1)
    halved -= halved.mean(1, keepdims=True)
    length = np.linalg.norm(halved, axis=1, keepdims=True)
    return np.divide(halved, length, out=np.zeros_like(halved), where=length > 0.05)


def content_box(thumbnail: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the box without the rows and columns at the edges that hold one gray value, as frames and padding do.

    Parameters
    ----------
    thumbnail : ndarray, shape (SIDE_PX, SIDE_PX), uint8

    Returns
    -------
    ndarray, shape (4,), float64
        Top, bottom, left and right from 0 to 1; at most a third of each side is left out.
    """
    box: list[float] = []
    most = SIDE_PX // 3
    for axis in (1, 0):
        varied = np.ptp(thumbnail, axis=axis) > _ONE_GRAY
        edges = (int(np.argmax(side[:most])) for side in (varied, varied[::-1]))
        begin, end = edges
        box += [begin / SIDE_PX, 1 - end / SIDE_PX]
    return np.array(box)


def mirrored(fingerprints: Array) -> Array:
    """Return the coarse fingerprints of the images with left and right exchanged; shape and dtype stay."""
    return fingerprints.reshape(-1, COARSE_PX, COARSE_PX)[:, :, ::-1].reshape(len(fingerprints), -1)


@dataclass(frozen=True)
class Detail:
    """A thumbnail at three bands of detail, made once for all pairs of an image."""

    gray: Array
    wide: Array
    """Half the side: where registration begins."""
    narrow: Array
    fine: Array

    @classmethod
    def of(cls, thumbnail: NDArray[np.uint8]) -> Detail:
        """Return the bands of a thumbnail, shape (SIDE_PX, SIDE_PX), uint8."""
        gray = thumbnail.astype(np.float32)
        half = gray.reshape(SIDE_PX // 2, 2, SIDE_PX // 2, 2).mean((1, 3))
        return cls(gray, local_contrast(half, 1.5, 5.0), local_contrast(gray, 1.2, 5.0), local_contrast(gray, 0.7, 2.0))

    def shown(self, *, inverted: bool, mirrored: bool) -> Detail:
        """Return the same with black and white, or left and right, exchanged."""
        bands = (255 - self.gray if inverted else self.gray, *(-band if inverted else band for band in self._bands))
        return Detail(*(np.ascontiguousarray(band[:, ::-1]) if mirrored else band for band in bands))

    @property
    def _bands(self) -> tuple[Array, Array, Array]:
        return self.wide, self.narrow, self.fine


def compare(
    first: Detail, second: Detail, *, box: NDArray[np.float64] = CROPS[0], inverted: bool = False, mirrored: bool = False
) -> Match:
    """Bring the first image into register with the second and compare their detail.

    Parameters
    ----------
    first, second : Detail
    box : ndarray, shape (4,), float64
        Where registration begins: the part of the second image that the first one seems to show.
    inverted, mirrored : bool
        Whether the first image is taken with black and white, or left and right, exchanged.

    Notes
    -----
    Registration solves for shift and scale of each axis by Gauss and Newton's method (Lucas and Kanade 1981), first on a
    wide band of the two images, then on a narrow one.
    """
    fixed = first.shown(inverted=inverted, mirrored=mirrored) if inverted or mirrored else first
    low, high = box - 0.2, box + 0.2
    for target, moving in ((fixed.wide, second.wide), (fixed.narrow, second.narrow)):
        for _ in range(5):
            step = _registration_step(target, moving, box)
            box = np.clip(box + step, low, high)
            if np.abs(step).max() < 5e-4:
                break
        sampled, inside = _sampled(moving, box)
        if _correlation(target[inside], sampled[inside]) < 0.4:  # not even the anatomy agrees
            break
    moved, inside = _sampled(second.fine, box)
    gray = np.abs(fixed.gray - _sampled(second.gray, box)[0])[inside]
    return Match(
        similarity=_correlation(fixed.fine[inside], moved[inside]),
        rows=(float(box[0]), float(box[1])),
        columns=(float(box[2]), float(box[3])),
        inverted=inverted,
        mirrored=mirrored,
        gray_difference=float(gray.mean()) / 255 if gray.size else 1.0,
    )


def local_contrast(images: Array, fine_px: float, wide_px: float) -> Array:
    """Return images between two blurs, divided by their local standard deviation.

    Parameters
    ----------
    images : ndarray, shape (..., side, side), float32
    fine_px, wide_px : float
        Standard deviations of the two Gaussian blurs.

    Returns
    -------
    ndarray, shape as `images`, float32
        About 1 in size where there is contrast, near 0 in flat areas.
    """
    side = images.shape[-1]
    fine, wide = _gaussian(side, fine_px), _gaussian(side, wide_px)
    band = fine @ images @ fine.T - wide @ images @ wide.T
    variance = wide @ (band * band) @ wide.T
    floor = 0.1 * (band * band).mean((-2, -1), keepdims=True) + 1e-3
    return np.clip(band / np.sqrt(np.maximum(variance, 0) + floor), -3.0, 3.0).astype(np.float32)


def _registration_step(fixed: Array, moved: Array, box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the change of the box, (top, bottom, left, right), that lowers the squared difference."""
    side = len(fixed)
    sampled, inside = _sampled(moved, box)
    by_row, by_column = np.gradient(sampled)  # per pixel of the sampled image
    at = (np.arange(side, dtype=np.float32) + 0.5) / side
    by_row *= side / np.float32(box[1] - box[0])
    by_column *= side / np.float32(box[3] - box[2])
    parts = (by_row * (1 - at)[:, None], by_row * at[:, None], by_column * (1 - at), by_column * at)
    design = np.stack([part[inside] for part in parts])
    normal = (design @ design.T).astype(np.float64)
    normal[np.diag_indices(4)] *= 1.001
    try:
        step = np.linalg.solve(normal, (design @ (fixed - sampled)[inside]).astype(np.float64))
    except np.linalg.LinAlgError:  # an image without contrast
        return np.zeros(4)
    return np.clip(step, -0.03, 0.03)


def _sampled(image: Array, box: NDArray[np.float64]) -> tuple[Array, NDArray[np.bool_]]:
    """Return the part of an image that a box names, as large as the whole, and where that part is inside the image."""
    side = len(image)
    weights = []
    for begin, end in (box[:2], box[2:]):
        at = (begin + (np.arange(side) + 0.5) / side * (end - begin)) * side - 0.5
        weights.append(np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(side))).astype(np.float32))
    inside = np.outer(weights[0].sum(1) > 0.99, weights[1].sum(1) > 0.99)
    return weights[0] @ image @ weights[1].T, inside


def _correlation(first: Array, second: Array) -> float:
    if first.size < SIDE_PX * SIDE_PX // 16:
        return 0.0
    one, two = first - first.mean(), second - second.mean()
    size = float(np.sqrt((one * one).sum() * (two * two).sum()))
    return float((one * two).sum()) / size if size > 1e-3 * first.size else 0.0


@cache
def _gaussian(side: int, sigma_px: float) -> Array:
    """Return the matrix that blurs a column of an image; at the edges it averages what there is."""
    distance = np.arange(side)[:, None] - np.arange(side)
    weights = np.exp(-0.5 * (distance / sigma_px) ** 2)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _averaging(parts: NDArray[np.float64], count: int) -> Array:
    """Return the matrices that shrink parts of a column of a thumbnail to `count` values, each the mean of what it covers."""
    begin, end = parts[..., :1], parts[..., 1:]
    edges = (begin + np.arange(count + 1) / count * (end - begin)) * SIDE_PX
    cells = np.arange(SIDE_PX)
    cover = np.minimum(edges[..., 1:, None], cells + 1) - np.maximum(edges[..., :-1, None], cells)
    cover = np.clip(cover, 0, None)
    return (cover / cover.sum(-1, keepdims=True)).astype(np.float32)
