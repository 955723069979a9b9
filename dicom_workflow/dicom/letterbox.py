"""Letterboxing: an image in the black square that a network sees, and the way back to the image's own pixels.

`pixels.to_model_input` shrinks an image with its aspect kept and centers it. A map over the square, such as saliency, is
brought back to the pixels of the image by the inverse of exactly that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


def fitted(shape: tuple[int, ...], longer_px: int) -> tuple[int, int]:
    """Return rows and columns with the aspect kept and the longer side `longer_px`."""
    scale = longer_px / max(shape)
    rows, columns = (max(1, round(side * scale)) for side in shape)
    return rows, columns


@dataclass(frozen=True)
class Framing:
    """One image in its square: which pixels of the square it covers."""

    shape: tuple[int, int]
    """Rows and columns of the image itself."""
    size_px: int
    """Side of the square."""

    @property
    def inner(self) -> tuple[int, int]:
        """Rows and columns of the square that the image covers; the rest is padding."""
        return fitted(self.shape, self.size_px)

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the square where the image begins."""
        rows, columns = self.inner
        return (self.size_px - rows) // 2, (self.size_px - columns) // 2

    def to_square(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the square with an image in its place and black around it.

        Parameters
        ----------
        image : ndarray, shape `inner`, float32

        Returns
        -------
        ndarray, shape (size_px, size_px), float32
        """
        square = np.zeros((self.size_px, self.size_px), np.float32)
        (top, left), (rows, columns) = self.corner, self.inner
        square[top : top + rows, left : left + columns] = image
        return square

    def to_image(self, grid: NDArray[Any], *, step_px: float = 1.0, first_px: float = 0.0) -> NDArray[np.float32]:
        """Return values known at places of the square for every pixel of the image.

        Parameters
        ----------
        grid : ndarray, shape (n, m), any number type
            Value (i, j) is that of the place `first_px` + i * `step_px`, `first_px` + j * `step_px`, in pixels of the square
            counted from the center of its first pixel.
        step_px, first_px : float
            A grid of one value per pixel of the square has 1 and 0.

        Returns
        -------
        ndarray, shape `shape`, float32
            Interpolated linearly between places, and constant beyond the outermost ones. Padding is not in it.
        """
        down, across = (
            _weights(_positions(side, inner, corner), count, step_px, first_px)
            for side, inner, corner, count in zip(self.shape, self.inner, self.corner, grid.shape, strict=True)
        )
        return np.asarray(down @ np.asarray(grid, np.float64) @ across.T, np.float32)


def _positions(side: int, inner: int, corner: int) -> NDArray[np.float64]:
    """Where the center of each pixel along one side of the image lies in the square."""
    return corner + (np.arange(side) + 0.5) * inner / side - 0.5


def _weights(positions: NDArray[np.float64], count: int, step_px: float, first_px: float) -> NDArray[np.float64]:
    """Return how much of each of `count` values is at each position: two neighbors at most, together 1."""
    at = np.clip((positions - first_px) / step_px, 0, count - 1)
    return np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(count)))
