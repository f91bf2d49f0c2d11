"""Reflectance of the bundled head: a mean, two chromophore axes and region tints, in linear RGB per fine vertex.

Skin is a diffuse base seen through melanin and haemoglobin (Beer-Lambert, as in Jimenez et al., "A practical appearance model for
dynamic facial color", SIGGRAPH Asia 2010). The basis must be linear, so people are sampled from that law and their two principal
axes kept: they run from dark to light skin and from pale to flushed.
"""

from __future__ import annotations

import numpy as np

BASE = np.array([0.75, 0.62, 0.52])
SURFACE = 0.02  # what the skin's surface reflects, whatever is below
MELANIN = np.array([1.0, 1.41, 2.47])  # absorption falls with wavelength^-3.33; 610, 550, 465 nm, red = 1
HAEMOGLOBIN = np.array([0.15, 1.0, 1.2])
MELANIN_RANGE, HAEMOGLOBIN_RANGE = (0.08, 1.6), (0.12, 0.45)
LIP_TINT = np.array([0.78, 0.52, 0.56])  # lips relative to the skin around them
BROW_TINT = 0.42
SCLERA, IRIS, PUPIL = (0.72, 0.68, 0.65), (0.10, 0.06, 0.035), (0.008, 0.008, 0.008)
TEETH, TONGUE, MOUTH_INSIDE, LASHES = (
    (0.62, 0.56, 0.46),
    (0.38, 0.14, 0.13),
    (0.16, 0.05, 0.045),
    (0.02, 0.015, 0.012),
)
GUMS = (0.36, 0.15, 0.14)
CROWN_MM = 11.0  # length of a tooth; what is farther from its edge is gum
IRIS_ANGLE_RAD, PUPIL_ANGLE_RAD = 0.505, 0.16  # seen from the eyeball's centre
TINT_NAMES = ("lips", "brows")


def skin_colours(rng: np.random.Generator, number: int) -> np.ndarray:
    """(number, 3) linear RGB of people of all skin tones."""
    melanin = rng.uniform(*MELANIN_RANGE, (number, 1))
    haemoglobin = rng.uniform(*HAEMOGLOBIN_RANGE, (number, 1))
    return SURFACE + (BASE - SURFACE) * np.exp(-melanin * MELANIN - haemoglobin * HAEMOGLOBIN)


def make_albedo(
    mean_mm: np.ndarray, regions: dict[str, np.ndarray], parts: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Mean (v, 3), basis per sigma (4, v, 3) and the names of its axes."""
    colours = skin_colours(np.random.default_rng(0), 20000)
    centre = colours.mean(0)
    _, s, vt = np.linalg.svd(colours - centre, full_matrices=False)
    axes = s[:2, None] / np.sqrt(len(colours)) * vt[:2]
    axes *= np.sign(axes[:, :1])
    skin = np.zeros(len(mean_mm), bool)
    skin[np.unique(parts["skin"])] = True
    tint = np.ones((len(mean_mm), 3))
    lips = regions["lips"] & skin
    brows = regions["brows"] & skin
    tint[lips] = LIP_TINT
    tint[brows] = BROW_TINT
    mean = np.where(skin[:, None], centre * tint, 0.0)
    basis = np.zeros((2 + len(TINT_NAMES), len(mean_mm), 3))
    basis[:2] = np.where(skin[:, None], axes[:, None] * tint, 0.0)
    basis[2] = lips[:, None] * centre * [0.05, -0.06, -0.05]
    basis[3] = brows[:, None] * centre * 0.25
    mean[regions["inner_mouth"]] = MOUTH_INSIDE
    basis[:, regions["inner_mouth"]] = 0
    for name, colour in (("teeth", TEETH), ("tongue", TONGUE), ("lashes", LASHES)):
        mean[np.unique(parts[name])] = colour
    ids = np.unique(parts["teeth"])
    bite = np.median(mean_mm[ids, 1])
    mean[ids[np.abs(mean_mm[ids, 1] - bite) > CROWN_MM]] = GUMS
    for name in ("eye_left", "eye_right"):
        ids = np.unique(parts[name])
        arm = mean_mm[ids] - mean_mm[ids].mean(0)
        angle = np.arccos(np.clip(arm[:, 2] / np.linalg.norm(arm, axis=1), -1, 1))
        mean[ids] = np.select(
            [angle[:, None] < PUPIL_ANGLE_RAD, angle[:, None] < IRIS_ANGLE_RAD],
            [np.array(PUPIL), np.array(IRIS)],
            np.array(SCLERA),
        )
    return mean, basis, ("melanin", "haemoglobin", *TINT_NAMES)
