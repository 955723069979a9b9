"""The geometry of a chest phantom: the patient's proportions, and the thickness of each kind of matter along each ray.

Lengths are centimeters of a standard body in a field of `FIELD_CM`, x to the patient's left (the right of the image) from the
midline, y downward from the top. Tissue, air, bone and metal are kept apart, and only the exposure turns their sum into a gray
value, so that overlapping structures add up as they do on a radiograph. Nothing here is taken from a patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Array = NDArray[Any]
"""float32, unless it is a mask."""

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in body centimeters."""

FIELD_CM = 38.0
"""Side of the square field."""

SUPERSAMPLING = 2
"""Lines are drawn on a finer grid, then averaged."""

# Inner edge of the ribs: (height, distance from the midline).
RIB_CAGE = (
    (4.6, 0.0), (4.9, 2.6), (5.5, 4.9), (6.6, 7.3), (8.5, 9.5), (11.0, 11.2), (14.0, 12.4), (18.0, 13.4), (22.0, 13.9),
    (27.0, 14.1), (36.0, 13.9),
)  # fmt: skip


@dataclass(frozen=True)
class RibBreak:
    """One broken rib: which side, which rib, how far out, and how far the outer piece has slipped."""

    side: int
    rib: int
    at: float
    """Share of the way from the spine to the chest wall."""
    step_cm: float
    callus: bool


@dataclass(frozen=True)
class Anatomy:
    """One patient on one day. Defaults are an average adult, PA, full inspiration."""

    width: float = 1.0
    height: float = 1.0
    center_cm: Point = (0.0, 0.0)
    depth_cm: float = 19.0
    female: bool = False
    age_years: int = 50
    ap_view: bool = False
    heart_ratio: float = 0.45
    """Greatest width of the heart over that of the chest inside the ribs."""
    mediastinum_cm: float = 2.7
    """Half width above the heart."""
    shift_cm: float = 0.0
    """Of heart and mediastinum, positive to the patient's left."""
    dome_cm: tuple[float, float] = (26.6, 27.9)
    """Height of the right and the left dome of the diaphragm."""
    upper_vessels: float = 0.6
    """Width of upper against lower lobe vessels; above 1 they are redistributed upward."""
    breaks: tuple[RibBreak, ...] = ()
    exposure: float = 1.0
    noise: float = 1.0
    texture_seed: int = 0
    """Vessels, noise and small asymmetries; the same seed gives the same picture."""


@dataclass
class Chest:
    """Thickness of each kind of matter along the ray of each pixel; changed in place while a phantom is composed."""

    anatomy: Anatomy
    x: Array  # (size,) body centimeters of each column
    y: Array  # (size,) of each row
    tissue: Array  # (size, size) cm, as if there were no lungs
    lungs: dict[int, Array]  # side -> (size, size) cm of lung; -1 is the patient's right, at the left of the image
    air: Array  # (size, size) share of lung thickness that is air; 1 is healthy
    vessels: Array  # (size, size) cm of vessels inside the lungs
    bone: Array  # (size, size) cm
    metal: Array  # (size, size) cm
    marks: Array  # (size, size) cm of soft tissue added or taken away over everything
    rng: np.random.Generator = field(repr=False)

    @property
    def size_px(self) -> int:
        """Side of the square image."""
        return self.x.size

    @property
    def px_per_cm(self) -> float:
        """Pixels in a body centimeter across; down it differs by the patient's proportions."""
        return self.size_px / FIELD_CM * self.anatomy.width

    def to_px(self, point: Point) -> Point:
        """Return corner-origin pixel coordinates of a place in the body."""
        scale = self.size_px / FIELD_CM
        x = (point[0] * self.anatomy.width + self.anatomy.center_cm[0] + FIELD_CM / 2) * scale
        return x, (point[1] * self.anatomy.height + self.anatomy.center_cm[1]) * scale

    def outer(self, y: Array | float) -> Array:
        """Return the inner edge of the ribs: half widths at heights `y`."""
        return along(RIB_CAGE, y)

    def dome(self, side: int, across: Array | float) -> Array:
        """Return the height of the diaphragm at distances `across` from the midline."""
        top = self.anatomy.dome_cm[0 if side < 0 else 1]
        away = np.asarray(across, np.float32) - 6.2
        drop = np.where(away > 0, (away / 7.6) ** 2 * 4.6, (away / 6.0) ** 2 * 1.3)
        return (top + drop).astype(np.float32)

    def draw(self, strokes: Sequence[tuple[Sequence[Point], float, float]]) -> Array:
        """Return lines as thickness: each stroke is (points, width in cm, thickness in cm); later ones cover earlier ones."""
        n = self.size_px * SUPERSAMPLING
        canvas = Image.new("F", (n, n))
        pen = ImageDraw.Draw(canvas)
        for points, width, thickness in strokes:
            at = [tuple(c * SUPERSAMPLING for c in self.to_px(p)) for p in points]
            pen.line(at, fill=float(thickness), width=max(1, round(width * self.px_per_cm * SUPERSAMPLING)), joint="curve")
        return np.array(canvas.reduce(SUPERSAMPLING), np.float32)

    def fill(self, outlines: Sequence[tuple[Sequence[Point], float]]) -> Array:
        """Return polygons as thickness: each is (points, thickness in cm)."""
        n = self.size_px * SUPERSAMPLING
        canvas = Image.new("F", (n, n))
        pen = ImageDraw.Draw(canvas)
        for points, thickness in outlines:
            pen.polygon([tuple(c * SUPERSAMPLING for c in self.to_px(p)) for p in points], fill=float(thickness))
        return np.array(canvas.reduce(SUPERSAMPLING), np.float32)

    def blob(self, center: Point, radius: Point, tilt_rad: float = 0.0) -> Array:
        """Return squared distance from `center` in units of the two radii: below 1 inside the ellipse.

        Parameters
        ----------
        center, radius : (float, float)
            Body centimeters, x and y.
        tilt_rad : float
            Rotation of the ellipse.

        Returns
        -------
        ndarray, shape (size_px, size_px), float32
        """
        dx, dy = self.x[None, :] - np.float32(center[0]), self.y[:, None] - np.float32(center[1])
        if not tilt_rad:
            return (dx / radius[0]) ** 2 + (dy / radius[1]) ** 2
        cos, sin = np.float32(np.cos(tilt_rad)), np.float32(np.sin(tilt_rad))
        return ((dx * cos + dy * sin) / radius[0]) ** 2 + ((dy * cos - dx * sin) / radius[1]) ** 2

    def cloud(self, grain_cm: float) -> Array:
        """Return a smooth random field of mean 0 and spread 1 with structures of about `grain_cm`."""
        n = max(4, round(FIELD_CM / grain_cm))
        coarse = Image.fromarray(self.rng.standard_normal((n, n), np.float32))
        smooth = np.asarray(coarse.resize((self.size_px, self.size_px), Image.Resampling.BICUBIC), np.float32)
        return smooth / max(float(smooth.std()), 1e-6)


def along(points: Sequence[Point], at: Array | float) -> Array:
    """Smooth interpolation (monotone between points, so outlines never overshoot)."""
    px, py = np.array(points, np.float64).T
    t = np.clip(np.asarray(at, np.float64), px[0], px[-1])
    slopes = np.diff(py) / np.diff(px)
    inner = np.where(slopes[1:] * slopes[:-1] > 0, 2 * slopes[1:] * slopes[:-1] / (slopes[1:] + slopes[:-1] + 1e-12), 0.0)
    tangent = np.concatenate([slopes[:1], inner, slopes[-1:]])
    i = np.clip(np.searchsorted(px, t, side="right") - 1, 0, px.size - 2)
    h = px[i + 1] - px[i]
    u = (t - px[i]) / h
    value = (
        (1 + 2 * u) * (1 - u) ** 2 * py[i]
        + u * (1 - u) ** 2 * h * tangent[i]
        + u**2 * (3 - 2 * u) * py[i + 1]
        + u**2 * (u - 1) * h * tangent[i + 1]
    )
    return value.astype(np.float32)


def spline(points: list[Point]) -> list[Point]:
    """Return a smooth curve through the points (Catmull-Rom), eight points from each to the next."""
    p = np.array([points[0], *points, points[-1]], np.float64)
    t = np.linspace(0, 1, 9)[:-1, None]
    pieces = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
    ]
    return [(float(x), float(y)) for x, y in [*np.concatenate(pieces), p[-1]]]


def rounded(t: Array) -> Array:
    """Thickness of a rounded edge: steep at the rim, flat inside; 0 at t <= 0, 1 at t >= 1."""
    rest = 1.0 - np.clip(t, 0.0, 1.0)
    return np.sqrt(1.0 - rest * rest)


def smooth_step(t: Array) -> Array:
    """Return 0 at t <= 0, 1 at t >= 1 and a cubic without corners between."""
    t = np.clip(t, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def blurred(image: Array, sigma_px: float) -> Array:
    """Gaussian blur by one separable kernel; float images, edges repeated."""
    radius = max(1, round(2.5 * sigma_px))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma_px, 1e-3)) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    for axis in (0, 1):
        padded = np.pad(image, [(radius, radius) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        image = sum(
            k * (padded[i : i + image.shape[0]] if axis == 0 else padded[:, i : i + image.shape[1]])
            for i, k in enumerate(kernel)
        )
    return image
