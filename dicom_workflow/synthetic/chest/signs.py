"""The radiographic sign of each condition and of support devices, drawn into a chest; each returns the boxes that hold it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from dicom_workflow.synthetic.chest.anatomy import rib_at
from dicom_workflow.synthetic.chest.thickness import Array, Box, Chest, Point, smooth_step, spline


@dataclass(frozen=True)
class Sides:
    """Which side each one-sided condition takes, so that none hides another."""

    effusion: int
    collapse: int
    air: int
    consolidation: int


def _across(chest: Chest, side: int) -> Array:
    return side * chest.x[None, :]


def _dim(chest: Chest, share: Array) -> None:
    """Fill a share of the air of the lung."""
    chest.air = chest.air * (1.0 - np.clip(share, 0.0, 1.0))


def _extent(chest: Chest, where: Array, margin_cm: float = 0.0) -> list[Box]:
    """Return the box around a mask, none where the mask is empty."""
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    if not rows.size:
        return []
    y, x, m = chest.y[rows[[0, -1]]], chest.x[columns[[0, -1]]], margin_cm
    return [(float(x[0]) - m, float(y[0]) - m, float(x[1]) + m, float(y[1]) + m)]


def _heart_box(chest: Chest, sides: Sides, rng: np.random.Generator) -> list[Box]:
    a = chest.anatomy
    width = a.heart_ratio * 2 * float(chest.outer(25.0))
    bottom = min(a.dome_cm) + 1.2
    return [(a.shift_cm - 0.335 * width, 14.5, a.shift_cm + 0.665 * width, bottom)]


def _mediastinum_box(chest: Chest, sides: Sides, rng: np.random.Generator) -> list[Box]:
    half = chest.anatomy.mediastinum_cm + 1.2
    return [(chest.anatomy.shift_cm - half, 6.5, chest.anatomy.shift_cm + half, 16.0)]


def _fracture_boxes(chest: Chest, sides: Sides, rng: np.random.Generator) -> list[Box]:
    boxes = []
    for crack in chest.anatomy.breaks:
        out, height = rib_at(crack.rib, crack.at)
        x = crack.side * out
        boxes.append((x - 1.1, height - 1.1, x + 1.1, height + 1.4))
    return boxes


def _effusion(chest: Chest, sides: Sides, rng: np.random.Generator) -> list[Box]:
    """Fluid with a level that climbs the chest wall: the angle is gone, the dome is under it."""
    boxes = []
    for side in (-1, 1) if rng.random() < 0.3 else (sides.effusion,):
        y, across = chest.y[:, None], _across(chest, side)
        wall = np.maximum(chest.outer(chest.y), 1.0)[:, None]
        level = float(chest.dome(side, 14.0)) - rng.uniform(8.5, 14.5)
        inward = np.clip(1.0 - across / wall, 0.0, 1.0)
        top = level + 3.6 * (1.0 - (1.0 - inward) ** 4)  # a meniscus: flat in the middle, drawn up along the wall
        share = smooth_step((y - top) / 2.6 + 0.35) * (across > 0)
        _dim(chest, 0.93 * share)
        chest.vessels = chest.vessels * (1.0 - share)
        boxes += _extent(chest, (share > 0.4) & (chest.lungs[side] > 2.0))
    return boxes


def _thickened_pleura(chest: Chest, sides: Sides, rng: np.random.Generator) -> list[Box]:
    """A rind along the chest wall and calcified plaques on wall and diaphragm."""
    boxes = []
    for side in (-1, 1) if rng.random() < 0.5 else (int(rng.choice((-1, 1))),):
        y, across = chest.y[:, None], _across(chest, side)
        begin, end = rng.uniform(8.0, 11.0), rng.uniform(21.0, 25.0)
        wave = 1.0 + 0.28 * np.sin(chest.y * rng.uniform(0.9, 1.5) + rng.uniform(0, 6))[:, None]
        thick = rng.uniform(1.1, 1.6) * wave * smooth_step((y - begin) / 2.0) * smooth_step((end - y) / 2.0)
        rind = smooth_step((across - chest.outer(chest.y)[:, None] + thick) / 0.35) * (chest.lungs[side] > 0.05)
        _dim(chest, 0.95 * rind)
        chest.vessels = chest.vessels * (1.0 - rind)
        chest.marks = chest.marks + 1.0 * rind
        plaques = []
        for _ in range(int(rng.integers(3, 6))):
            height = rng.uniform(begin + 1, end - 1)
            at = (side * (float(chest.outer(height)) - rng.uniform(0.7, 3.2)), height)
            plaques.append((_ragged(at, (rng.uniform(0.5, 0.9), rng.uniform(0.9, 1.7)), rng), 0.75))
        far = rng.uniform(5.0, 9.0)
        line = [(side * a, float(chest.dome(side, a)) - 0.05) for a in np.linspace(far - 2.2, far + 2.2, 9)]
        chest.bone += chest.fill(plaques) + chest.draw([(line, 0.45, 0.8)])
        boxes += _extent(chest, rind > 0.4, 0.3)
    return boxes


def _ragged(center: Point, radius: Point, rng: np.random.Generator) -> list[Point]:
    angles = np.linspace(0, 2 * np.pi, 15)[:-1]
    wobble = rng.uniform(0.6, 1.15, angles.size)
    return [
        (center[0] + radius[0] * w * float(np.cos(a)), center[1] + radius[1] * w * float(np.sin(a)))
        for a, w in zip(angles, wobble, strict=True)
    ]


def _edema(chest: Chest, sides: Sides, rng: np.random.Generator) -> list[Box]:
    """Bat-wing haze from both hila, Kerley lines at the bases."""
    boxes, lines = [], []
    strength, s = rng.uniform(0.62, 0.78), chest.anatomy.shift_cm
    texture = 1.0 + 0.16 * chest.cloud(1.6)
    for side in (-1, 1):
        wing = np.exp(-(chest.blob((side * 5.9 + s, 17.6), (5.6, 7.8), side * 0.15) ** 1.2))
        _dim(chest, strength * wing * texture + 0.10 * (_across(chest, side) > 0))
        boxes += _extent(chest, (wing > 0.45) & (chest.lungs[side] > 1.0))
        for _ in range(9):
            y = rng.uniform(20.0, 27.0)
            x = float(chest.outer(y)) - 0.1
            lines.append(([(side * x, y), (side * (x - rng.uniform(1.3, 2.4)), y + rng.normal(0, 0.12))], 0.13, 1.0))
    chest.vessels = chest.vessels * 0.65 + chest.draw(lines)
    return boxes


def _consolidation(chest: Chest, sides: Sides, rng: np.random.Generator) -> list[Box]:
    """A lobe without air, sharp where a fissure ends it, with air bronchograms."""
    side = sides.consolidation
    y, across = chest.y[:, None], _across(chest, side)
    upper = bool(rng.random() < 0.6)
    fissure = 15.6 + rng.normal(0, 0.4) - 0.06 * (across - 8.0)
    ragged = 0.9 * chest.cloud(2.2)
    if upper:
        share = smooth_step((fissure - y) / 0.35) * smooth_step((y + ragged - 6.0) / 2.0)
        root, angles = (side * 4.6, 15.0), np.linspace(-1.25, -0.35, 4)
    else:
        begin = 19.6 if side > 0 else 18.8
        share = smooth_step((y - begin + 0.35 * (across - 8.0) + 0.5 * ragged) / 1.3) * smooth_step((across - 1.0) / 0.8)
        root, angles = (side * 5.0, 19.5), np.linspace(0.2, 1.05, 4)
    lung = smooth_step(chest.lungs[side] / 1.0)
    share = share * lung
    _dim(chest, rng.uniform(0.70, 0.84) * share)
    chest.vessels = chest.vessels * (1.0 - 0.9 * share)
    tubes = []
    for angle in angles + rng.normal(0, 0.05, angles.size):
        points = [root]
        for step in range(4):
            bend = angle + 0.06 * step * rng.normal()
            points.append((points[-1][0] + side * 1.35 * float(np.cos(bend)), points[-1][1] + 1.35 * float(np.sin(bend))))
        tubes += [(points, 0.42, 1.0), (points[:3], 0.55, 1.0)]
        tubes.append(([points[2], (points[2][0] + side * 1.5, points[2][1] + rng.uniform(-0.9, 0.9))], 0.34, 0.9))
    chest.marks = chest.marks - 1.8 * chest.draw(tubes) * share
    return _extent(chest, share > 0.5)


def _clear_place(chest: Chest, rng: np.random.Generator, low: float, high: float, margin: float, side: int = 0) -> Point:
    """Return a place in aerated lung, at least `margin` from wall and dome; the clearest of many when none is clear."""
    best, best_air = (side * 8.0 or 8.0, 18.0), -1.0
    for _ in range(24):
        s = side or int(rng.choice((-1, 1)))
        y = rng.uniform(low, high)
        x = rng.uniform(4.6, max(4.8, float(chest.outer(y)) - margin))
        if y > float(chest.dome(s, x)) - margin:
            continue
        row, column = int(np.searchsorted(chest.y, y)), int(np.searchsorted(chest.x, s * x))
        if not (0 <= row < chest.size_px and 0 <= column < chest.size_px):
            continue
        air = float(chest.air[row, column]) * min(1.0, float(chest.lungs[s][row, column]) / 6.0)
        if air > best_air:
            best, best_air = (s * x, y), air
        if air > 0.8:
            break
    return best


def _pneumonia(chest: Chest, sides: Sides, rng: np.random.Generator) -> list[Box]:
    """Fluffy patches of different sizes, in one lung or both."""
    texture = np.clip(0.86 + 0.20 * chest.cloud(1.0), 0.3, 1.2)
    ragged = np.clip(1.0 + 0.45 * chest.cloud(1.3), 0.3, 2.0)
    share = np.zeros_like(chest.air)
    boxes = []
    home = int(rng.choice((-1, 1)))
    both = rng.random() < 0.6
    for number in range(int(rng.integers(5, 10))):
        side = (home if number % 2 else -home) if both else home
        x, y = _clear_place(chest, rng, 9.0, 26.0, 1.5, side)
        radius = rng.uniform(1.1, 2.3)
        patch = np.exp(-((chest.blob((x, y), (radius * 1.1, radius)) * ragged) ** 1.4))
        share = np.maximum(share, patch * rng.uniform(0.58, 0.78))
        boxes.append((x - radius, y - radius, x + radius, y + radius))
    _dim(chest, share * texture)
    lungs = ([b for b in boxes if b[0] + b[2] < 0], [b for b in boxes if b[0] + b[2] >= 0])
    return [_around(group) for group in lungs if group]


def _around(boxes: list[Box]) -> Box:
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left) - 0.3, min(top) - 0.3, max(right) + 0.3, max(bottom) + 0.3


def _opacity(chest: Chest, sides: Sides, rng: np.random.Generator) -> list[Box]:
    """One ill-defined haze that lets the vessels through."""
    x, y = _clear_place(chest, rng, 11.0, 24.0, 3.6)
    radius = (rng.uniform(3.3, 4.4), rng.uniform(3.0, 4.0))
    haze = np.exp(-(chest.blob((x, y), radius, rng.uniform(-0.5, 0.5)) ** 1.25))
    _dim(chest, rng.uniform(0.68, 0.80) * haze * (1.0 + 0.10 * chest.cloud(1.8)))
    return [(x - radius[0], y - radius[1], x + radius[0], y + radius[1])]


def _plates(chest: Chest, sides: Sides, rng: np.random.Generator) -> list[Box]:
    """Bands of collapsed lung above the raised dome."""
    side = sides.collapse
    bands = np.zeros_like(chest.air)
    for number in range(int(rng.integers(2, 4))):
        x = rng.uniform(6.5, 9.5)
        y = float(chest.dome(side, x)) - 1.6 - 2.3 * number - rng.uniform(0.0, 0.5)
        q = chest.blob((side * x, y), (rng.uniform(3.4, 5.0), rng.uniform(0.55, 0.8)), side * rng.uniform(-0.30, 0.12))
        bands = np.maximum(bands, smooth_step(1.1 * (1.2 - q)))
    _dim(chest, rng.uniform(0.46, 0.58) * bands)
    _dim(chest, 0.12 * smooth_step((chest.y[:, None] - 15.0) / 6.0) * (_across(chest, side) > 0))  # the crowded base
    return _extent(chest, (bands > 0.4) & (chest.lungs[side] > 1.0), 0.2)


def _lesions(chest: Chest, sides: Sides, rng: np.random.Generator) -> list[Box]:
    """One to three round nodules or masses of 18 to 46 mm with sharp edges."""
    boxes = []
    for number in range(int(rng.integers(1, 4))):
        radius = rng.uniform(1.7, 2.3) if number == 0 else rng.uniform(0.9, 1.6)
        x, y = _clear_place(chest, rng, 8.5, 25.0, radius + 0.6)
        q = chest.blob((x, y), (radius, radius * rng.uniform(0.88, 1.1)), rng.uniform(-0.6, 0.6))
        ball = np.sqrt(np.clip(1.0 - q, 0.0, 1.0))
        chest.marks = chest.marks + (3.6 * radius * ball + 0.7 * (q < 1.0)) * ((chest.lungs[-1] + chest.lungs[1]) > 0.8)
        boxes.append((x - radius, y - radius, x + radius, y + radius))
    return boxes


def _pneumothorax(chest: Chest, sides: Sides, rng: np.random.Generator) -> list[Box]:
    """The lung has shrunk toward its hilum: a fine edge, and only air between it and the ribs."""
    side = sides.air
    size = rng.uniform(0.62, 0.80)
    y, across = chest.y, _across(chest, side)
    root_x, root_y = 3.4, 19.5 + rng.uniform(-1.0, 2.0)
    back = root_y + (y - root_y) / size  # where this row of the shrunken lung was
    edge = (root_x + size * (chest.outer(np.clip(back, 4.7, 36.0)) - root_x))[:, None]
    edge = np.where(back[:, None] < 4.9, -1.0, edge + 0.15 * np.sin(y * 0.8 + rng.uniform(0, 6))[:, None])
    lung = (chest.lungs[side] > 0.05) & (y[:, None] < chest.dome(side, across) + 0.1)
    outside = smooth_step((across - edge) / 0.18 + 0.5) * lung
    chest.air = chest.air * (1.0 - outside) * np.where(lung, 0.88, 1.0) + outside * 1.33
    chest.vessels = chest.vessels * (1.0 - outside)
    chest.marks = chest.marks * (1.0 - outside * (across > 2.6)) + 1.1 * np.exp(-(((across - edge) / 0.13) ** 2)) * lung
    return _extent(chest, (outside > 0.5) & (across > 1.5))


def _devices(chest: Chest, sides: Sides, rng: np.random.Generator) -> list[Box]:
    """Add two to four devices, at least one of them easy to see, and return the box of each."""
    kinds = [_breathing_tube, _central_line, _pacemaker, _electrodes, _feeding_tube, _chest_drain]
    picked = rng.permutation(len(kinds))[: int(rng.integers(2, 5))]
    if not {2, 3} & {int(k) for k in picked}:
        picked = np.append(picked, rng.choice((2, 3)))  # at least one that is easy to see
    return [kinds[int(k)](chest, rng) for k in picked]


def _path(chest: Chest, points: list[Point], width: float, metal: float, hollow: bool = False) -> Box:
    curve = spline(points)
    strokes = [(curve, width, metal)] + ([(curve, width * 0.55, metal * 0.25)] if hollow else [])
    chest.metal = chest.metal + chest.draw(strokes)
    xs, ys = [p[0] for p in curve], [p[1] for p in curve]
    return min(xs) - 0.3, max(0.0, min(ys)) - 0.3, max(xs) + 0.3, max(ys) + 0.3


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


Planter = Callable[[Chest, Sides, np.random.Generator], list[Box]]

PLANTERS: Mapping[str, Planter] = {
    "Cardiomegaly": _heart_box,
    "Enlarged Cardiomediastinum": _mediastinum_box,
    "Fracture": _fracture_boxes,
    "Pleural Effusion": _effusion,
    "Pleural Other": _thickened_pleura,
    "Edema": _edema,
    "Consolidation": _consolidation,
    "Atelectasis": _plates,
    "Pneumonia": _pneumonia,
    "Lung Opacity": _opacity,
    "Lung Lesion": _lesions,
    "Pneumothorax": _pneumothorax,
    "Support Devices": _devices,
}
"""In the order in which one may cover another: fluid and rind first, air beside the lung after what lies in the lung."""
