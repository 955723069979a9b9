"""Tubes, lines, leads and electrodes."""

from __future__ import annotations

import numpy as np

from dicom_workflow.synthetic.chest.thickness import Box, Chest, Point, smooth_step


def add_devices(chest: Chest, rng: np.random.Generator) -> list[Box]:
    """Add two to four devices, at least one of them easy to see, and return the box of each."""
    kinds = [_breathing_tube, _central_line, _pacemaker, _electrodes, _feeding_tube, _chest_drain]
    picked = rng.permutation(len(kinds))[: int(rng.integers(2, 5))]
    if not {2, 3} & {int(k) for k in picked}:
        picked = np.append(picked, rng.choice((2, 3)))  # at least one that is easy to see
    return [kinds[int(k)](chest, rng) for k in picked]


def _path(chest: Chest, points: list[Point], width: float, metal: float, hollow: bool = False) -> Box:
    curve = _spline(points)
    strokes = [(curve, width, metal)] + ([(curve, width * 0.55, metal * 0.25)] if hollow else [])
    chest.metal = chest.metal + chest.draw(strokes)
    xs, ys = [p[0] for p in curve], [p[1] for p in curve]
    return min(xs) - 0.3, max(0.0, min(ys)) - 0.3, max(xs) + 0.3, max(ys) + 0.3


def _spline(points: list[Point]) -> list[Point]:
    """Catmull-Rom through the points."""
    p = np.array([points[0], *points, points[-1]], np.float64)
    t = np.linspace(0, 1, 9)[:-1, None]
    pieces = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
    ]
    return [(float(x), float(y)) for x, y in [*np.concatenate(pieces), p[-1]]]


def _breathing_tube(chest: Chest, rng: np.random.Generator) -> Box:
    s = chest.anatomy.shift_cm
    end = rng.uniform(10.0, 12.0)
    return _path(chest, [(0.5, -0.5), (0.1, 3.0), (0.1 + 0.5 * s, 7.0), (0.15 + s, end)], 0.85, 0.16, hollow=True)


def _central_line(chest: Chest, rng: np.random.Generator) -> Box:
    s, end = chest.anatomy.shift_cm, rng.uniform(15.5, 18.5)
    if rng.random() < 0.5:
        points = [(-5.0, -0.5), (-3.6, 3.0), (-2.6, 7.5), (-2.3 + s, 12.0), (-2.2 + s, end)]
    else:
        points = [(-13.5, 9.0), (-10.0, 7.6), (-5.5, 8.2), (-2.8, 10.2), (-2.3 + s, 13.0), (-2.2 + s, end)]
    return _path(chest, points, 0.26, 0.16)


def _pacemaker(chest: Chest, rng: np.random.Generator) -> Box:
    s, side = chest.anatomy.shift_cm, 1
    x, y = side * rng.uniform(10.4, 12.0), rng.uniform(9.0, 10.6)
    can = np.clip((1.0 - chest.blob((x, y), (2.5, 2.1)) ** 2) * 6.0, 0.0, 1.0)
    chest.metal = chest.metal + (0.55 * can).astype(np.float32)
    top = (x - 0.6, y - 1.9)
    for tip in ((2.6 + s, 25.6), (-2.4 + s, 20.6)):
        _path(chest, [top, (x - 3.5, 7.4), (3.4, 8.6), (-0.6 + s, 11.0), (-2.2 + s, 15.0), (-1.9 + s, 19.5), tip], 0.2, 0.2)
    return -3.2 + s, 6.8, x + 2.5, 26.2


def _electrodes(chest: Chest, rng: np.random.Generator) -> Box:
    spots = [(-11.2, 9.4), (11.0, 9.2), (-9.8, 25.2), (10.6, 26.0), (3.2, 20.5)][: int(rng.integers(3, 6))]
    for spot in spots:
        spot = (spot[0] + rng.normal(0, 0.7), spot[1] + rng.normal(0, 0.7))
        disc = smooth_step(5.0 * (1.0 - chest.blob(spot, (0.85, 0.85))))
        snap = smooth_step(5.0 * (1.0 - chest.blob(spot, (0.40, 0.40))))
        chest.metal = chest.metal + (0.13 * disc + 0.35 * snap).astype(np.float32)
        end = (rng.uniform(4, 14) * (1 if spot[0] > 0 else -1), 39.0)
        middle = ((spot[0] + end[0]) / 2 + rng.normal(0, 1.8), (spot[1] + end[1]) / 2)
        _path(chest, [spot, middle, end], 0.22, 0.13)
    return -12.2, 8.2, 12.2, 27.0


def _feeding_tube(chest: Chest, rng: np.random.Generator) -> Box:
    s, top = chest.anatomy.shift_cm, chest.anatomy.dome_cm[1]
    swallowed = [(-0.4, -0.5), (-0.3, 8.0), (0.5 + s, 16.0), (0.9 + s, 23.0)]
    points = [*swallowed, (2.0 + s, top + 1.5), (5.5, top + 4.0), (7.8, top + 5.2)]
    return _path(chest, points, 0.36, 0.12)


def _chest_drain(chest: Chest, rng: np.random.Generator) -> Box:
    side = int(rng.choice((-1, 1)))
    points = [(side * 18.0, 27.0), (side * 14.0, 25.0), (side * 11.5, 20.0), (side * 9.6, 13.5), (side * 7.6, 9.0)]
    return _path(chest, points, 0.75, 0.13, hollow=True)
