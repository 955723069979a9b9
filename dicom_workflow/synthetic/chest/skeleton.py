"""Ribs, spine, collar bones and shoulder blades."""

from __future__ import annotations

import numpy as np

from dicom_workflow.synthetic.chest.thickness import RIB_CAGE, Array, Chest, Point, along, blurred, rounded, smooth_step

_RIBS = 10


def add_skeleton(chest: Chest) -> None:
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
