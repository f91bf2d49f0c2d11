"""How the trained network errs on pictures that it was not taught, and how much of a person's shape it shows."""

from __future__ import annotations


import numpy as np
import torch
from draw import Wardrobe, draw
from network import find_surface_points
from photos import without_pose

from vultus.detect.network import Network

FIRST_SEED = 10_000_000
TOP_AND_CHIN = (10, 152)


def observed_errors(
    given: Wardrobe, network: Network, number: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Network minus truth (n, l, 2), upright millimetres, with the similarity that fits best taken off; stated sigma (n, l) in mm; yaw (n,)."""
    errors, sigmas, yaws = [], [], []
    mean = given.table.points(given.model.mean_mm, given.model.triangles, torch.zeros(()), torch.zeros(()))
    height_mm = float((mean[TOP_AND_CHIN[0]] - mean[TOP_AND_CHIN[1]]).norm())
    for seed in range(FIRST_SEED, FIRST_SEED + number):
        drawn = draw(given, seed)
        image = torch.from_numpy(drawn.image).permute(2, 0, 1).float() / 255
        truth = torch.from_numpy(drawn.points)
        found = find_surface_points(image, truth, network)
        mm = height_mm / float((truth[TOP_AND_CHIN[0]] - truth[TOP_AND_CHIN[1]]).norm())
        errors.append(mm * (found.points_px - truth).numpy())
        sigmas.append(mm * found.sigma_px.numpy())
        yaws.append(drawn.yaw_deg)
    return np.array(errors), np.array(sigmas), np.array(yaws)


def identity_shown(true_mm: np.ndarray, found_mm: np.ndarray, mean_mm: np.ndarray) -> str:
    """Of what identity moves points by (n, l, 2), how much detections (n, l, 2) show: slope, correlation and what is left."""
    true, found = (without_pose(x, mean_mm) for x in (true_mm, found_mm))
    true, found = true - true.mean(0), found - found.mean(0)
    slope, correlation = (
        (true * found).sum() / (true**2).sum(),
        np.corrcoef(true.ravel(), found.ravel())[0, 1],
    )
    rms = lambda x: np.sqrt((x**2).mean())  # noqa: E731
    return f"{len(true)} pictures: identity moves {rms(true):.2f} mm, slope {slope:.2f}, correlation {correlation:.2f}, error {rms(true - found):.2f} mm"


def report(errors_mm: np.ndarray, sigma_mm: np.ndarray, yaw_deg: np.ndarray) -> str:
    """A table of errors by yaw, beside what the network says of itself."""
    lines = [f"{'yaw':>12} {'pictures':>9} {'median mm':>10} {'rms mm':>8} {'stated rms':>11}"]
    for low, high in ((0, 20), (20, 45), (45, 90)):
        some = (np.abs(yaw_deg) >= low) & (np.abs(yaw_deg) < high)
        distance = np.linalg.norm(errors_mm[some], axis=-1)
        stated = np.sqrt(2 * (sigma_mm[some] ** 2).mean())
        lines.append(
            f"{f'{low}..{high}':>12} {some.sum():9d} {np.median(distance):10.2f} {np.sqrt((distance**2).mean()):8.2f} {stated:11.2f}"
        )
    return "\n".join(lines)
