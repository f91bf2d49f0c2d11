"""Shape from pictures: one method over many shots, each scored against its target beside the mean head."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
from heads import Method
from report import Report, Row
from scenes import Shot
from scoring import REGIONS, Score, Target, score

WORST_RATIO = 1.3


@dataclass(frozen=True)
class Compared:
    """One picture: the method's score (None: no face found) and the mean head's."""

    name: str
    yaw_deg: float
    found: Score | None
    mean: Score
    seconds: float


def compare(
    method: Method, shots: Iterable[tuple[Shot, Target, Score]], *, focal_known: bool, verbose: bool = True
) -> list[Compared]:
    """Run a method over shots with their targets and the mean head's scores; one line each on stderr."""
    results = []
    for shot, target, mean in shots:
        start = time.perf_counter()
        camera = _without_pose(shot) if focal_known else None
        head = method(shot.image, camera)
        seconds = time.perf_counter() - start
        found = score(head, target) if head is not None else None
        results.append(Compared(shot.name, shot.yaw_deg, found, mean, seconds))
        if verbose:
            print(_line(results[-1]), file=sys.stderr, flush=True)
    return results


def report_shape(
    name: str, runs: dict[str, list[Compared]], goal_ratio: float, notes: tuple[str, ...] = ()
) -> Report:
    """Rows for one or several variants (focal length known or not): means of the per-view medians."""
    rows: list[Row] = []
    for variant, all_results in runs.items():
        results = [r for r in all_results if r.found is not None]
        found, mean = [r.found for r in results], [r.mean for r in results]
        if not results:
            notes = (*notes, f"{variant}: no view was reconstructed")
            continue
        average = lambda scores, key: float(np.mean([getattr(s, key) for s in scores]))  # noqa: E731
        similarity, similarity_mean = average(found, "similarity"), average(mean, "similarity")
        rows += [
            Row(f"{variant}: similarity median", similarity, "mm", similarity_mean),
            Row(f"{variant}: over mean head", similarity / similarity_mean, "x", 1.0, f"<= {goal_ratio}"),
            Row(f"{variant}: similarity mean", average(found, "similarity_mean"), "mm", average(mean, "similarity_mean")),
            Row(f"{variant}: rigid median", average(found, "rigid"), "mm", average(mean, "rigid")),
            Row(
                f"{variant}: rigid over mean head",
                average(found, "rigid") / average(mean, "rigid"), "x", 1.0, f"<= {goal_ratio}",
            ),
        ]  # fmt: skip
        ratios = np.array([r.found.similarity / r.mean.similarity for r in results])
        lost = len(all_results) - len(results)
        worse = (int((ratios > WORST_RATIO).sum()) + lost) / len(all_results)
        rows += [
            Row(f"{variant}: worst view over mean head", float(ratios.max()), "x", 1.0, f"<= {WORST_RATIO}"),
            Row(f"{variant}: views worse than {WORST_RATIO} x the mean head", 100 * worse, "%", 0.0, "<= 0"),
            Row(f"{variant}: views better than the mean head", 100 * float((ratios < 1).mean()), "%", 0.0),
            Row(f"{variant}: not found", lost, "views", 0.0, "<= 0"),
            Row(f"{variant}: scale error (similarity)", 100 * float(np.median([abs(s.scale - 1) for s in found])), "%",
                100 * float(np.median([abs(s.scale - 1) for s in mean]))),
        ]  # fmt: skip
        for region in REGIONS:
            both = [
                (r.found.regions[region], r.mean.regions[region]) for r in results if region in r.mean.regions
            ]
            if both:
                ours, theirs = np.mean(both, axis=0)
                rows.append(Row(f"{variant}: {region}", float(ours), "mm", float(theirs)))
        order = np.argsort(-ratios)[:3]
        worst = ", ".join(f"{results[i].name} {ratios[i]:.2f}" for i in order)
        notes = (*notes, f"{variant}: worst views (over mean head): {worst}")
    details = {variant: [asdict(r) for r in results] for variant, results in runs.items()}
    return Report(name, tuple(rows), notes, details)


def _without_pose(shot: Shot):
    from dataclasses import replace

    import torch

    return replace(shot.camera, T_camera_head=torch.eye(4))


def _line(result: Compared) -> str:
    mean = result.mean
    if result.found is None:
        return f"  {result.name:16} yaw {result.yaw_deg:+4.0f}  no face found   (mean head {mean.similarity:.3f})"
    found = result.found
    regions = " ".join(
        f"{name[:4]} {found.regions[name]:.2f}/{mean.regions[name]:.2f}" for name in found.regions
    )
    return (
        f"  {result.name:16} yaw {result.yaw_deg:+4.0f}  sim {found.similarity:.3f}/{mean.similarity:.3f} = "
        f"{found.similarity / mean.similarity:.2f}x  rigid {found.rigid:.3f}/{mean.rigid:.3f}  {regions}  {result.seconds:.2f} s"
    )
