"""Self-consistency: random heads of the model itself, their landmarks by projection, the head from the landmarks.

    python benchmarks/self_consistency.py [--limit N] [--save]

The points are exact, so the fit is first told that the detector errs by a hundredth of a millimetre: then it must find the head. The second
half uses the trust that real detections get: what the prior then holds back. Focal length known and guessed (20 % off). Beside
it, the mean head: how far apart random heads are to begin with.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch
from heads import bundled_model
from report import Report, Row, table, write

from vultus.data.scene import look_at_head
from vultus.fit.landmark_basis import gather
from vultus.fit.landmarks import ExpressionPrior, LandmarkOptions, fit_landmarks
from vultus.model.face import FaceCode

EXACT_MM = 0.01


def measure(limit: int | None = None) -> Report:
    number = limit or 40
    model = bundled_model()
    table_ = model.landmarks["mediapipe478"]
    # Exact points deserve exact trust: no spread of the detector, no neighbours that err together.
    exact = gather(model, table_.exact())
    # The same places, believed as little as those of a detector.
    doubted = gather(model, replace(table_, offset_mm=None, response_mm=None))
    exact_options = LandmarkOptions(iterations=30, noise_mm=EXACT_MM, correlation=1.0)
    rows, details = [], {}
    for label, used, options, goal in (
        ("exact trust", exact, exact_options, "<= 0.3"),
        ("trust as in photos", doubted, LandmarkOptions(), ""),
    ):
        for known in (True, False):
            chosen = replace(options, focal_log_sigma=0.0 if known else 0.25)
            errors, means, reprojections = zip(*(_one(model, used, i, known, chosen) for i in range(number)))
            variant = f"{label}, focal {'known' if known else 'unknown'}"
            rows += [
                Row(f"{variant}: identity vertices", float(np.median(errors)), "mm", float(np.median(means)), goal),
                Row(f"{variant}: 90th percentile", float(np.percentile(errors, 90)), "mm", float(np.percentile(means, 90))),
                Row(f"{variant}: reprojection", float(np.median(reprojections)), "px"),
            ]  # fmt: skip
            details[variant] = {"errors_mm": errors, "mean_head_mm": means}
    notes = (
        f"{number} random heads, yaw within 40 degrees, mild expressions; medians of medians; trivial: the mean head; no alignment",
    )
    return Report("self_consistency", tuple(rows), notes, details)


def _one(model, basis, seed: int, focal_known: bool, options: LandmarkOptions) -> tuple[float, float, float]:
    """Median distance of face vertices to the truth in mm, of the mean head to it, and the reprojection error in px."""
    rng = np.random.default_rng(seed)
    code, camera, points_px = _random_view(model, rng)
    guess_px = float(camera.focal_px) * (1 if focal_known else float(np.exp(rng.normal(0, 0.2))))
    prior = ExpressionPrior(
        model.expression_sigma.double().numpy(), *model.expression_range.double().numpy().T
    )
    fit = fit_landmarks(basis, points_px, camera.principal_px.double().numpy(), guess_px, prior, options)
    face = model.regions["face"]
    truth, found = (
        model.vertices(FaceCode(identity, torch.zeros_like(code.expression), code.albedo))[face]
        for identity in (code.identity, torch.from_numpy(fit.identity).float())
    )
    return (
        float((truth - found).norm(dim=1).median()),
        float((truth - model.mean_mm[face]).norm(dim=1).median()),
        float(np.median(np.linalg.norm(fit.residual_px, axis=1))),
    )


def _random_view(model, rng):
    expression = torch.from_numpy(rng.uniform(0, 1, len(model.expression_names)) ** 6).float()
    identity = torch.from_numpy(rng.normal(size=len(model.identity_mm))).float()
    code = FaceCode(identity, expression, torch.zeros(len(model.albedo)))
    yaw, pitch = float(rng.uniform(-40, 40)), float(rng.normal(0, 7))
    camera = look_at_head(
        yaw, pitch, 0.0, distance_mm=float(rng.uniform(450, 1200)), face_px=400, size_px=800
    )
    table_ = model.landmarks["mediapipe478"]
    points = table_.points(model.vertices(code), model.triangles, torch.tensor(yaw), torch.tensor(pitch))
    return code, camera, camera.project(points)[:, :2].double().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/")
    options = parser.parse_args()
    report = measure(options.limit)
    print(table(report))
    if options.save:
        write(report)


if __name__ == "__main__":
    main()
