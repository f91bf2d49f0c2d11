"""One prediction against one scan by REALY's protocol: a global alignment, then per region a rigid and a non-rigid one, and the distances.

Follows the public evaluator, github.com/czh-98/REALY (``utils/gICP.py``, ``rICP.py``, ``eval.py``), step by step; the code is our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput
from ..geometry.closest import TriangleTree
from .benchmark import Points
from .realy_bend import bend
from .realy_keypoints import BENT_KEYPOINTS, RIGID_KEYPOINTS, SEVEN_KEYPOINTS
from .scan import Alignment

REGIONS = ("nose", "mouth", "forehead", "cheek")
_MOST_STEPS = 100
_SETTLED = 1e-6  # change of the mean squared distance, in the scan's units


@dataclass(frozen=True)
class ScanRegion:
    """A part of a scan: vertices (n, 3) in REALY's units (some 9 mm), triangles (f, 3)."""

    vertices: Points
    triangles: NDArray[np.int64]

    def welded(self) -> ScanRegion:
        """Vertices at one place made one, and those of no triangle left out: what the evaluator's mesh library does on reading."""
        used, triangles = np.unique(self.triangles, return_inverse=True)
        _, first, same = np.unique(
            self.vertices[used].round(8), axis=0, return_index=True, return_inverse=True
        )
        corners = same.ravel()[triangles.reshape(-1, 3)]
        return ScanRegion(self.vertices[used][first], corners)


def region_errors(
    vertices: Points,
    triangles: NDArray[np.int64],
    keypoints: Points,
    scan: Mapping[str, ScanRegion],
    scan_keypoints: Points,
) -> dict[str, NDArray[np.float64]]:
    """Distances (n,) of every vertex of each region of the scan to its counterpart on the prediction, in the scan's units.

    Args:
        vertices: (v, 3) of the prediction, in any frame and unit; triangles (f, 3). keypoints: (85, 3) on it. scan_keypoints: (85, 3).

    Raises:
        BadInput: coordinates that are not finite.
    """
    used = np.unique(triangles)
    if not (np.isfinite(vertices[used]).all() and np.isfinite(keypoints).all()):
        raise BadInput("the prediction has coordinates that are not finite: leave such triangles out")
    seven = list(SEVEN_KEYPOINTS)
    laid = align_by_keypoints(keypoints[seven], scan_keypoints[seven])
    tree = TriangleTree(laid.apply(vertices), triangles)
    keypoints = laid.apply(keypoints)
    return {name: _region_error(name, tree, keypoints, scan[name], scan_keypoints) for name in REGIONS}


def align_by_keypoints(source: Points, target: Points) -> Alignment:
    """The evaluator's similarity of (k, 3) points: its scale is the ratio of the sums of absolute coordinates, not the least-squares one."""
    turned = align_rigidly(source, target)
    spread = np.abs((source - source.mean(0)) @ turned.rotation.T).sum()
    scale = float(np.abs(target - target.mean(0)).sum() / max(spread, 1e-30))
    return Alignment(scale, turned.rotation, target.mean(0) - scale * turned.rotation @ source.mean(0))


def align_rigidly(source: Points, target: Points, weight: NDArray[np.float64] | None = None) -> Alignment:
    """Weighted least-squares rotation and translation of (n, 3) onto (n, 3) (Kabsch 1976)."""
    share = np.full(len(source), 1 / len(source)) if weight is None else weight / weight.sum()
    from_centre, to_centre = share @ source, share @ target
    left, _, right = np.linalg.svd((target - to_centre).T @ (share[:, None] * (source - from_centre)))
    rotation = left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right
    return Alignment(1.0, rotation, to_centre - rotation @ from_centre)


def _region_error(
    name: str, tree: TriangleTree, keypoints: Points, scan: ScanRegion, scan_keypoints: Points
) -> NDArray[np.float64]:
    chosen = list(RIGID_KEYPOINTS[name])
    laid = _align_region(
        tree, scan.vertices, keypoints[chosen], scan_keypoints[chosen], 4 if name == "cheek" else 1
    )
    back = laid.inverse()

    def on_prediction(points: Points) -> Points:
        return laid.apply(tree.query(back.apply(points)).points)

    mesh, steering = scan.welded(), list(BENT_KEYPOINTS[name])
    ids = targets = None
    if steering:
        gaps = np.linalg.norm(mesh.vertices - scan_keypoints[steering][:, None], axis=2)
        ids, targets = gaps.argmin(1), laid.apply(keypoints[steering])
    bent = bend(mesh.vertices, mesh.triangles, on_prediction(mesh.vertices), ids, targets)
    return np.linalg.norm(on_prediction(bent) - mesh.vertices, axis=1)


def _align_region(
    tree: TriangleTree, scan: Points, keypoints: Points, scan_keypoints: Points, divisor: int
) -> Alignment:
    """Rigid ICP from the scan's vertices to their nearest points; all key points together weigh as much as all vertices over ``divisor``.

    As in the evaluator the step at which the error settles is not taken any more.
    """
    repeats = int(len(scan) / len(keypoints) / divisor)
    weight = np.concatenate([np.ones(len(scan)), np.full(len(keypoints), float(repeats))])
    target = np.concatenate([scan, scan_keypoints])
    laid, before = Alignment(1.0, np.eye(3), np.zeros(3)), 0.0
    for _ in range(_MOST_STEPS):
        feet = tree.query(laid.inverse().apply(scan)).points
        source = laid.apply(np.concatenate([feet, keypoints]))
        step = align_rigidly(source, target, weight)
        error = float(weight @ ((step.apply(source) - target) ** 2).sum(1) / weight.sum())
        if abs(error - before) < _SETTLED:
            break
        laid = Alignment(1.0, step.rotation @ laid.rotation, step.apply(laid.translation[None])[0])
        before = error
    return laid
