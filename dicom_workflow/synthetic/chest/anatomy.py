"""A normal chest: soft tissue, heart, lungs, airways and vessels, ribs, spine, collar bones and shoulder blades."""

from __future__ import annotations

import numpy as np

from dicom_workflow.synthetic.chest.thickness import (  # fmt: skip
    FIELD_CM,
    RIB_CAGE,
    Anatomy,
    Array,
    Chest,
    Point,
    along,
    blurred,
    rounded,
    smooth_step,
)

# Outline of trunk and shoulders, and depth as a share of the patient's: (height, value).
_BODY = (
    (0.0, 5.6), (2.0, 5.9), (3.6, 7.6), (5.0, 12.6), (6.5, 17.6), (8.5, 20.5), (11.0, 20.2), (14.0, 18.0), (20.0, 16.8),
    (28.0, 16.2), (38.0, 16.6),
)  # fmt: skip
_RIBS = 10
_DEPTH = ((0, 0.62), (3, 0.66), (6, 0.80), (10, 0.92), (16, 1.0), (26, 1.06), (38, 1.10))


def compose(anatomy: Anatomy, size_px: int) -> Chest:
    """Return the normal chest of an anatomy, into which conditions can be planted.

    Parameters
    ----------
    anatomy : Anatomy
        Patient and day.
    size_px : int
        Side of the image.
    """
    scale = FIELD_CM / size_px
    columns = ((np.arange(size_px) + 0.5) * scale - FIELD_CM / 2 - anatomy.center_cm[0]) / anatomy.width
    rows = ((np.arange(size_px) + 0.5) * scale - anatomy.center_cm[1]) / anatomy.height
    empty = np.zeros((size_px, size_px), np.float32)
    chest = Chest(
        anatomy, columns.astype(np.float32), rows.astype(np.float32), empty, {}, np.ones_like(empty), empty, empty.copy(),
        empty.copy(), empty.copy(), np.random.default_rng([anatomy.texture_seed, 1]),
    )  # fmt: skip
    chest.tissue = _body(chest)
    heart = _heart(chest)
    chest.lungs = {side: _lung(chest, side, heart) for side in (-1, 1)}
    chest.tissue += 1.2 * heart
    _airways(chest)
    chest.vessels = _vessels(chest) * (1.0 - 0.7 * heart)
    _skeleton(chest)
    _stomach(chest)
    _side_marker(chest)
    return chest


def _body(chest: Chest) -> Array:
    anatomy, x, y = chest.anatomy, chest.x[None, :], chest.y[:, None]
    half = along(_BODY, chest.y)[:, None] * (0.94 + 0.06 * anatomy.depth_cm / 19.0)
    depth = anatomy.depth_cm * along(_DEPTH, chest.y)[:, None]
    body = depth * np.sqrt(np.clip(1.0 - np.abs(x / half) ** 2.6, 0.0, 1.0))
    if not anatomy.ap_view:
        # Elbows forward: the arm leaves the field, a fold of it stays beside the axilla.
        body += 4.0 * np.sqrt(np.clip(1.0 - ((np.abs(x) - 18.6 - 0.10 * (y - 8)) / 3.4) ** 2, 0, 1)) * smooth_step((y - 6) / 5)
    else:
        body += 6.0 * np.sqrt(np.clip(1.0 - ((np.abs(x) - 19.6) / 3.0) ** 2, 0, 1)) * smooth_step((y - 6) / 4)
    for side in (-1, 1):  # pectoral folds, and breasts
        body += 1.0 * rounded(1.4 * (1.0 - chest.blob((side * 11.5, 9.5), (6.5, 5.0), side * 0.5)))
        if anatomy.female:
            droop = 19.8 + 0.03 * (anatomy.age_years - 40)
            breast = np.sqrt(np.clip(1.0 - chest.blob((side * 8.4, droop), (6.0, 6.2), side * 0.15), 0, 1))
            body += 3.4 * breast * smooth_step((y - droop + 5.5) / 8.0)
    return body.astype(np.float32)


def _borders(anatomy: Anatomy, y: Array) -> tuple[Array, Array]:
    """Return how far heart and great vessels reach to the patient's right and left of the midline at heights `y`."""
    chest_cm = 2.0 * float(along(RIB_CAGE, 25.0))
    right, left = 0.335 * anatomy.heart_ratio * chest_cm, 0.665 * anatomy.heart_ratio * chest_cm
    # The heart rests on the diaphragm; one dome raised alone lifts it only so far, or its outline would fold over.
    top = max(-1.6, min(anatomy.dome_cm) - 26.6)
    m, knob = anatomy.mediastinum_cm, 0.75 + 0.02 * (anatomy.age_years - 50)
    wide = max(0.0, m - 2.7)
    tall = 1.5 * (anatomy.heart_ratio / 0.45 - 1.0)  # a bigger heart also begins higher
    at_left = (
        (5.0, m - 0.5 + 0.1 * wide), (9.8, m - 0.3 + 0.7 * wide), (11.0, m + 0.4 * knob + 0.75 * wide),
        (12.2, m + knob + 0.8 * wide), (13.6, m + 0.35 + 0.9 * wide), (14.8 - tall, m + 0.35 + 0.95 * wide),
        (16.4 - tall, 0.35 * m + 0.26 * left + 0.8 + 0.8 * wide), (18.6 - tall, 0.60 * left + 0.45 + 0.6 * wide),
        (20.8 - 0.6 * tall + top, 0.83 * left + 0.2 + 0.2 * wide), (23.2 + top, 0.975 * left), (24.7 + top, left),
        (26.3 + top, 0.975 * left), (28.0 + top, 0.90 * left), (32.0 + top, 0.6 * left),
    )  # fmt: skip
    at_right = (
        (5.0, m - 0.2 + 0.1 * wide), (8.0, m - 0.1 + 0.5 * wide), (12.5, m + 0.15 + 0.8 * wide),
        (16.0 - tall, m + 0.2 + 0.7 * wide), (18.0 - 0.8 * tall, 0.78 * right + 0.2 + 0.5 * wide),
        (20.3 + top, 0.97 * right + 0.1 * wide), (21.9 + top, right), (24.0 + top, 0.95 * right),
        (26.5 + top, 0.78 * right), (31.0 + top, 0.5 * right),
    )  # fmt: skip
    return along(at_right, y), along(at_left, y)


def _heart(chest: Chest) -> Array:
    """Share of the depth filled by heart and great vessels."""
    anatomy = chest.anatomy
    right, left = _borders(anatomy, chest.y)
    shift = anatomy.shift_cm * smooth_step((chest.y - 7) / 6)
    x = chest.x[None, :] - shift[:, None]
    filled = rounded((left[:, None] - x) / 4.2) * rounded((x + right[:, None]) / 3.4)
    y = chest.y[:, None]
    aorta = (1.2 - np.abs(x - 1.6 - 0.25 * np.sin((y - 12) / 5))) / 0.8  # descending aorta, seen through the heart
    upper = 0.86 + 0.05 * min(2.0, max(0.0, anatomy.mediastinum_cm - 2.9))
    filled *= upper + (1.0 - upper) * smooth_step((y - 16) / 5)
    return np.maximum(filled, 0.62 * rounded(aorta) * smooth_step((y - 11) / 2)).astype(np.float32)


def _lung(chest: Chest, side: int, heart: Array) -> Array:
    anatomy, y = chest.anatomy, chest.y[:, None]
    across = side * chest.x[None, :]
    outer = chest.outer(chest.y)[:, None]
    inner = 1.5 + side * anatomy.shift_cm * smooth_step((chest.y - 7) / 6)[:, None]
    lateral = rounded((outer - across) / 5.2)
    medial = rounded((across - inner) / 1.7)
    below = y - chest.dome(side, across)
    bottom = smooth_step(0.5 - below / 0.3) + 0.13 * (below > 0) * np.exp(-np.maximum(below, 0) / 2.2)
    depth = anatomy.depth_cm * (0.42 + 0.24 * smooth_step((y - 5) / 14))
    return (depth * lateral * medial * np.minimum(bottom, 1.0) * (1.0 - 0.86 * heart)).astype(np.float32)


def _airways(chest: Chest) -> None:
    """Trachea down to the carina and the two main bronchi, as tissue taken away."""
    s = chest.anatomy.shift_cm
    x, y = chest.x[None, :], chest.y[:, None]
    center = 0.1 + s * smooth_step((y - 4) / 8)
    column = np.sqrt(np.clip(1.0 - ((x - center) / 0.85) ** 2, 0, 1)) * smooth_step((15.4 - y) / 2.2)
    rings = 1.0 + 0.08 * np.cos(y * 2 * np.pi / 0.55)
    bronchi = chest.draw([
        ([(0.1 + s, 14.2), (-1.6 + s, 15.9), (-3.4 + s, 18.0)], 1.2, 1.0),
        ([(0.1 + s, 14.2), (2.1 + s, 16.0), (4.2 + s, 17.3)], 1.0, 0.9),
    ])  # fmt: skip
    chest.marks -= (2.7 * column * rings + 1.6 * blurred(bronchi, 0.2 * chest.px_per_cm)).astype(np.float32)


def _vessels(chest: Chest) -> Array:
    """Trees from both hila, tapering outward; larger below than above when the patient stands."""
    rng, s = chest.rng, chest.anatomy.shift_cm
    strokes: list[tuple[list[Point], float, float]] = []

    def grow(start: Point, angle: float, width: float, length: float, level: int) -> None:
        points, (px, py) = [start], start
        bend = rng.normal(0, 0.10)
        for _ in range(4):
            angle += bend + rng.normal(0, 0.06)
            px, py = px + np.cos(angle) * length / 4, py + np.sin(angle) * length / 4
            points.append((px, py))
        strokes.append((points, width, width * 4.2))
        if level:
            turn = rng.uniform(0.25, 0.45)
            for sign in (-1, 1):
                thinner, shorter = width * rng.uniform(0.62, 0.76), length * rng.uniform(0.68, 0.86)
                grow((px, py), angle + sign * turn, thinner, shorter, level - 1)
            if level > 1:
                grow(points[2], angle + rng.choice((-1, 1)) * 0.7, width * 0.5, length * 0.6, level - 2)

    hila = {-1: (-3.9 + s, 17.4), 1: (4.3 + s, 16.4)}
    for side, hilum in hila.items():
        for angle in np.linspace(-1.32, 1.38, 10):
            lower = angle > 0
            strength = 1.0 if lower else _upper_strength(chest.anatomy.upper_vessels, angle)
            turned = float(angle + rng.normal(0, 0.06))
            grow(hilum, turned if side > 0 else np.pi - turned, 0.50 * strength * rng.uniform(0.85, 1.1),
                 (3.5 if lower else 3.1) * rng.uniform(0.9, 1.1), 4)  # fmt: skip
    strokes.sort(key=lambda stroke: stroke[1])
    trees = blurred(chest.draw(strokes), 0.7)
    for side, (hx, hy) in hila.items():
        trees += 2.6 * np.exp(-1.1 * chest.blob((hx - side * 0.5, hy), (1.25, 2.3), side * 0.35))
        trees += 2.0 * np.exp(-1.2 * chest.blob((hx + side * 0.7, hy + 1.6), (0.8, 2.0), -side * 0.35))
    inside = sum(smooth_step(lung / 2.0) for lung in chest.lungs.values())
    return (trees * inside).astype(np.float32)


def _upper_strength(upper: float, angle: float) -> float:
    """Width of an upper lobe vessel: `upper` straight up, 1 sideways."""
    return float(1.0 + (upper - 1.0) * min(1.0, -angle / 0.7))


def _stomach(chest: Chest) -> None:
    rng = chest.rng
    top = chest.anatomy.dome_cm[1]
    center = (6.6 + rng.normal(0, 0.7), top + 3.2 + rng.normal(0, 0.3))
    bubble = rounded(1.5 * (1.0 - chest.blob(center, (2.5 + rng.uniform(-0.6, 0.7), 1.7))))
    level = center[1] + rng.uniform(0.0, 0.9)
    bubble = bubble * smooth_step((level - chest.y[:, None]) / 0.25 + 0.5)
    gas = np.zeros_like(bubble)
    for _ in range(int(rng.integers(0, 3))):
        spot = (rng.uniform(-12, 11), rng.uniform(33.0, 37.0))
        gas = np.maximum(gas, rounded(1.5 * (1.0 - chest.blob(spot, (rng.uniform(1.0, 2.2), rng.uniform(0.7, 1.2))))))
    chest.marks -= (3.4 * bubble + 1.0 * gas).astype(np.float32)


def _side_marker(chest: Chest) -> None:
    """A lead L at the patient's left shoulder."""
    x, y = 14.6 + chest.rng.uniform(-0.8, 0.8), 2.2 + chest.rng.uniform(-0.5, 0.8)
    chest.metal = chest.metal + chest.draw([([(x, y), (x, y + 1.7), (x + 1.0, y + 1.7)], 0.34, 0.9)])


def _skeleton(chest: Chest) -> None:
    """Add the bones of the chest, with the breaks its anatomy names."""
    rng, x, y = chest.rng, chest.x, chest.y
    bone = chest.bone
    calcium = 1.1 - 0.004 * max(0, chest.anatomy.age_years - 40)
    for side in (-1, 1):
        for rib in range(_RIBS):
            _rib(chest, side, rib, calcium)
    # Spine: bodies with brighter end plates, pedicles and spinous processes.
    level = (y - 1.1) / 2.45
    phase = np.abs(level - np.round(level))[:, None]
    half = 1.9 + 0.2 * smooth_step((y - 8) / 20)[:, None]
    body = rounded((half - np.abs(x[None, :])) / 1.5) * (1.25 + 0.35 * smooth_step((phase - 0.25) / 0.12))
    body *= 1.0 - 0.6 * smooth_step((phase - 0.43) / 0.05)
    bone += (0.30 * calcium * body * (0.45 + 0.55 * smooth_step((y - 9) / 14))[:, None]).astype(np.float32)
    near = (y - 1.1) % 2.45 - 1.0
    for offset in (-1.05, 1.05):
        bone += 0.35 * np.exp(-(((x[None, :] - offset) / 0.28) ** 2) - (near[:, None] / 0.42) ** 2)
    bone += 0.35 * np.exp(-((x[None, :] / 0.25) ** 2) - ((near[:, None] - 0.5) / 0.7) ** 2)
    lift = 1.2 if chest.anatomy.ap_view else 0.0
    strokes: list[tuple[list[Point], float, float]] = []
    outlines: list[tuple[list[Point], float]] = []
    for side in (-1, 1):
        tilt = rng.normal(0, 0.25)
        along = np.linspace(0, 1, 14)
        collar = [(side * (1.9 + 13.0 * t), 8.3 - lift - 2.6 * t**0.8 + 0.55 * np.sin(2 * np.pi * t) + tilt * t) for t in along]
        strokes += [(collar, 1.25 * calcium, 0.75 * calcium), (collar, 0.75, 0.5 * calcium)]
        blade = [(13.2, 6.6), (16.2, 8.4), (15.4, 12.0), (13.6, 17.4), (12.6, 18.0), (11.7, 15.5), (11.0, 10.5), (11.4, 8.0)]
        out = 0.0 if chest.anatomy.ap_view else 1.2
        outlines.append(([(side * (px + out), py) for px, py in blade], 0.42 * calcium))
        outline = [(side * (px + out), py) for px, py in [*blade[2:], blade[0]]]
        strokes.append((outline, 0.3, 0.32 * calcium))
        strokes.append(([(side * (11.4 + out), 8.6), (side * 15.6, 6.4), (side * 17.4, 5.2)], 0.8, 0.6))  # spine, acromion
        bone += 1.5 * calcium * rounded(2.0 * (1.0 - chest.blob((side * 17.2, 8.6), (2.4, 2.6))))
        bone += 1.6 * rounded((1.2 - np.abs(side * x[None, :] - 18.6)) / 0.6) * smooth_step((y[:, None] - 9.5) / 1.5)
    bone += blurred(chest.draw(strokes) + chest.fill(outlines), 0.06 * chest.px_per_cm)


def rib_at(rib: int, share: float) -> Point:
    """Return (distance from the midline, height) of a rib's posterior arc at a share of the way to the chest wall."""
    start, fall, reach = _rib_loop(rib)
    return share * reach, float(_posterior(start, fall, np.array([share]))[0])


def _rib_loop(rib: int) -> tuple[float, float, float]:
    """Return height at the spine, fall to the front end and reach to the side of one rib, counted from 0."""
    start = 4.3 + 2.32 * rib + 0.02 * rib * rib
    fall = 2.6 + 1.0 * min(rib, 5) + 0.12 * rib
    return start, fall, float(along(RIB_CAGE, start + fall * 0.45)) + 0.25


def _posterior(start: float, fall: float, t: Array) -> Array:
    """Height of the posterior arc: it rises a little before it falls."""
    level = 1.0 - 0.92 * np.sqrt(1.0 - t * t) - 0.08
    return start + fall / 2 * level - 0.35 * np.sin(np.pi * np.clip(t * 1.6, 0, 1))


def _rib(chest: Chest, side: int, rib: int, calcium: float) -> None:
    """Posterior arc, nearly level, and anterior arc, falling toward the midline: the two halves of one tilted loop."""
    start, fall, reach = _rib_loop(rib)
    across = side * chest.x
    columns = np.flatnonzero((across > 1.2) & (across < reach + 0.3))
    rows = np.flatnonzero((chest.y > start - 1.6) & (chest.y < start + fall + 2.0))
    if not columns.size or not rows.size:
        return
    block = np.ix_(rows, columns)
    t = np.clip(across[columns] / reach, 0.0, 0.985)
    cos = np.sqrt(1.0 - t * t)
    slope = fall / 2 * t / cos / reach
    tangent = 1.0 / np.sqrt(1.0 + slope * slope)
    y = chest.y[rows][:, None]
    depth = 0.34 + 0.30 * t**6  # the ray runs along the rib where it turns at the chest wall
    for front in (False, True):
        height = start + fall / 2 * (1.0 + cos) if front else _posterior(start, fall, t)
        half = 0.46 + 0.015 * rib + (0.12 if front else 0.0)
        share = smooth_step((reach - across[columns]) / 0.8)
        bump: Array = np.zeros((rows.size, columns.size), np.float32)
        for crack in chest.anatomy.breaks:
            if (crack.side, crack.rib) == (side, rib) and not front:
                gap = t - crack.at
                height = height + crack.step_cm * (gap > 0) * np.exp(-np.maximum(gap, 0) / 0.25)
                share = share * np.clip(np.abs(gap) / 0.034 - 0.6, 0.0, 1.0)
                if crack.callus:
                    middle = float(np.interp(crack.at, t[np.argsort(t)], height[np.argsort(t)])) - crack.step_cm / 2
                    beside = (across[columns][None, :] - crack.at * reach) / 0.75
                    bump = 1.9 * np.exp(-(beside**2) - ((y - middle) / 0.75) ** 2)
        if front:
            share = share * smooth_step((t - 0.40) / 0.08) * (0.5 if rib else 0.7)
            if rib > 8:
                continue
        d = np.abs(y - height[None, :]) * tangent[None, :] / half
        cross = np.clip((1.0 - d) / 0.22, 0.0, 1.0) * (0.72 + 0.75 * np.clip(d, 0, 1) ** 3)  # bright cortex, paler marrow
        chest.bone[block] += (1.25 * calcium * (cross * (depth * share)[None, :] * 1.15 + bump)).astype(np.float32)
