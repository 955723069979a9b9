"""Exposure: the radiograph of a phantom, from attenuation, scatter, quantum noise, detector blur and a characteristic curve."""

from __future__ import annotations

import numpy as np
from PIL import Image

from dicom_workflow.synthetic.chest.thickness import Array, Chest, blurred

_LUNG_DENSITY = 0.26  # of soft tissue; the rest of a lung's thickness lets the rays pass
_TISSUE_PER_CM, _BONE_PER_CM, _METAL_PER_CM = 0.19, 0.42, 4.0  # effective attenuation at chest tube voltages


def expose(chest: Chest) -> Array:
    """Return the radiograph: attenuation along each ray, scatter, quantum noise, detector blur and a
    characteristic curve.

    Parameters
    ----------
    chest : Chest
        Thickness of tissue, lung, bone and metal along each ray.

    Returns
    -------
    ndarray, shape (size_px, size_px), float32 in [0, 1]
        0 is black (air), 1 white.
    """
    anatomy = chest.anatomy
    rng = np.random.default_rng([anatomy.texture_seed, 2])
    lung = chest.lungs[-1] + chest.lungs[1]
    soft = chest.tissue - lung * ((1.0 - _LUNG_DENSITY) * chest.air) + chest.vessels + chest.marks
    path = _TISSUE_PER_CM * np.maximum(soft, 0.0) + _BONE_PER_CM * chest.bone + _METAL_PER_CM * chest.metal
    primary = np.exp(-path)
    small = Image.fromarray(primary).resize((24, 24), Image.Resampling.BOX)
    scatter = np.asarray(small.resize(primary.shape, Image.Resampling.BICUBIC), np.float32)
    light = blurred(primary, 0.55 * chest.size_px / 512) + 0.05 * np.clip(scatter, 0.0, 0.35) + 0.004
    quanta = 16000.0 * anatomy.exposure / anatomy.noise**2
    grain = blurred(rng.standard_normal(light.shape, np.float32), 0.5)
    light = np.maximum(light + np.sqrt(light / quanta) * grain * 1.6, 1e-4)
    density = -np.log(light)
    # As automatic exposure does: aerated lung becomes dark gray, the densest tissue nearly white, in thin and thick patients.
    inside = density[(lung > 5.0) & (chest.air > 0.8)][::7]
    low = float(np.percentile(inside, 10)) - 0.72 if inside.size > 500 else 0.9
    high = float(np.percentile(density[::4, ::4], 98.0)) + 0.25
    value = np.clip((density - low) / (high - low), 0.0, 1.0)
    return (value * value * (3 - 2 * value) * 0.45 + value * 0.55).astype(np.float32)
