"""How many photos are reconstructed, and how well the model's landmarks meet the detected ones: over all of ../shared/data/photos.

    python benchmarks/photos.py [--folder FOLDER] [--limit N] [--again] [--shared DIR] [--save]

Resumes: finished photos are remembered under $XDG_CACHE_HOME/vultus-benchmarks per state of the sources; --again forgets them. A limited
run takes photos spread evenly over the folder. Trivial baseline: the mean head with the best pose and focal length, over a sample of the
same photos.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from faces import EYES_478, Outcome, remembered
from report import Report, Row, table, write
from scenes import cache_folder, recipe

import vultus
from vultus.detect import default_detector
from vultus.errors import VultusError
from vultus.fit.landmark_basis import landmark_basis, pose_angles_deg
from vultus.fit.landmarks import ExpressionPrior, LandmarkFit, fit_landmarks
from vultus.io.images import list_images, read_image
from vultus.stages.options import ReconstructOptions
from vultus.stages.views import guess_focal

SHARED = Path(__file__).parents[2] / "shared" / "data"
MEAN_SAMPLE = 12


def measure(
    shared: Path = SHARED, *, folder: Path | None = None, limit: int | None = None, again: bool = False
) -> Report:
    root = folder or shared / "photos"
    paths = sorted(path for sub in [root, *_folders(root)] for path in list_images(sub))
    if limit and limit < len(paths):
        paths = [paths[i] for i in np.linspace(0, len(paths) - 1, limit).round().astype(int)]
    sources = sorted(
        path for path in Path(vultus.__file__).parent.rglob("*") if path.suffix in (".py", ".npz")
    )
    log = cache_folder("photos") / f"{recipe(*sources)}.jsonl"
    if again:
        log.unlink(missing_ok=True)
    outcomes = list(remembered(paths, root, log))
    found = [o for o in outcomes if o.off_percent is not None]
    off = np.array([o.off_percent for o in found])
    mean_off = _mean_head_percent(paths)
    statuses = Counter(o.status for o in outcomes)
    rows = (
        Row("reconstructed", 100 * len(found) / max(len(outcomes), 1), "%", None, ">= 99"),
        Row("landmarks, median of medians", float(np.median(off)), "% of eye distance", mean_off, "<= 1.5"),
        Row("landmarks, 95th percentile of medians", float(np.percentile(off, 95)), "% of eye distance"),
        Row("landmarks, median of 95th percentiles", float(np.median([o.p95_percent for o in found])), "% of eye distance"),
        Row("doubtful", 100 * statuses["doubtful"] / max(len(outcomes), 1), "%"),
        Row("seconds per photo", float(np.median([o.seconds for o in outcomes])), "s"),
    )  # fmt: skip
    notes = [f"{len(outcomes)} photos; statuses: " + ", ".join(f"{k} {v}" for k, v in statuses.most_common())]
    for o in outcomes:
        if o.off_percent is None:
            print(f"{o.photo}: {o.status}: {o.message[:160]}", file=sys.stderr)
    worst = sorted(found, key=lambda o: -(o.off_percent or 0))[:8]
    numbers = {path.relative_to(root).as_posix(): str(i) for i, path in enumerate(paths)}
    notes.append(
        "farthest, by number: " + ", ".join(f"{numbers[o.photo]} {o.off_percent:.1f} %" for o in worst)
    )
    return Report("photos", rows, tuple(notes), {"by_folder": _by_folder(outcomes)})


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_dir())


def _by_folder(outcomes: list[Outcome]) -> dict[str, dict[str, float]]:
    """Medians per folder; no names of people in the committed result."""
    groups: dict[str, list[Outcome]] = {}
    for o in outcomes:
        groups.setdefault(o.photo.rpartition("/")[0], []).append(o)
    return {
        name: {
            "photos": len(group),
            "reconstructed": sum(o.off_percent is not None for o in group),
            "median_percent": float(np.median([o.off_percent for o in group if o.off_percent is not None] or [np.nan])),
        }
        for name, group in groups.items()
    }  # fmt: skip


def _mean_head_percent(paths: list[Path]) -> float:
    """The same distance when only pose and focal length are fitted: identity and expression held at the mean, over a sample."""
    from heads import bundled_model

    model = bundled_model()
    full = landmark_basis(model, "mediapipe478")
    rigid = replace(
        full, identity_mm=full.identity_mm[:, :0], expression_mm=full.expression_mm[:, :0], response_mm=None
    )
    none = ExpressionPrior(np.zeros(0), np.zeros(0), np.zeros(0))
    medians = []
    for path in [paths[i] for i in np.linspace(0, len(paths) - 1, min(MEAN_SAMPLE, len(paths))).astype(int)]:
        try:
            image, info = read_image(path)
        except VultusError:
            continue
        faces = default_detector().detect(image)
        if faces:
            points = faces[0].landmarks.points_px.double().numpy()
            centre = np.array([image.shape[2], image.shape[1]]) / 2
            fit = fit_landmarks(
                rigid, points, centre, guess_focal(info, faces[0], ReconstructOptions()).focal_px, none
            )
            mean_mm = rigid.at(*pose_angles_deg(fit.rotation)[:2])[0]
            medians.append(np.median(_percent(mean_mm, fit, points, centre)))
    return float(np.median(medians)) if medians else float("nan")


def _percent(
    points_mm: np.ndarray, fit: LandmarkFit, points_px: np.ndarray, centre_px: np.ndarray
) -> np.ndarray:
    """As :func:`faces.reprojection_percent`, of a fit in numpy."""
    seen = points_mm @ fit.rotation.T + fit.translation
    off_px = np.linalg.norm(fit.focal_px * seen[:, :2] / seen[:, 2:] + centre_px - points_px, axis=1)
    right, left = (seen[list(corners)].mean(0) for corners in EYES_478)
    return 100 * off_px / (np.linalg.norm(right - left) * fit.focal_px / ((right + left) / 2)[2])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/")
    options = parser.parse_args()
    report = measure(options.shared, folder=options.folder, limit=options.limit, again=options.again)
    print(table(report))
    if options.save:
        write(report)


if __name__ == "__main__":
    main()
