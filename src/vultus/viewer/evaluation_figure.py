"""One picture of an evaluation: cumulative error curves, and where on the face the errors are."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import AssetMissing, BadInput
from ..evaluate.benchmark import Evaluation
from ..evaluate.regions import mean_face, region_of_vertex
from ..geometry.mesh import edges
from ..io.files import atomic_file
from ..render.shade import srgb_from_linear
from .scan_picture import draw_clay, error_colours

SUFFIXES = (".png", ".pdf", ".svg")
_WORST_MM = 3.0
_SMOOTHINGS = 6  # of the errors over neighbouring vertices: points are fewer than vertices
_YAWS_DEG = (0.0, 40.0)


def write_figure(path: Path, results: Sequence[Evaluation]) -> None:
    """Draw evaluations of one benchmark, a method each: their curves in one frame, their heat maps side by side.

    Raises:
        BadInput: a name that is no picture's, or nothing to draw. AssetMissing: matplotlib is not installed.
    """
    check_figure(path)
    from matplotlib.figure import Figure

    maps = [(f"{result.method}\nmean {mean_mm(result):.2f} mm", heat_map(result)) for result in results]
    maps = [(title, errors) for title, errors in maps if errors is not None]
    curves = [result for result in results if result.curves]
    if not maps and not curves:
        raise BadInput(f"{path}: nothing to draw: no item was scored")
    columns = bool(curves) + len(maps)
    # A Figure without pyplot: no window, no global state, safe in any thread.
    figure = Figure(figsize=(2.2 + 4.2 * bool(curves) + 2.6 * len(maps), 4.6), layout="constrained")
    ratios = [1.6] * bool(curves) + [1.0] * len(maps)
    axes = list(np.atleast_1d(figure.subplots(1, columns, width_ratios=ratios)))
    if curves:
        _draw_curves(axes.pop(0), curves)
    for axis, (title, errors) in zip(axes, maps, strict=True):
        axis.imshow(heat_picture(errors, _WORST_MM).permute(1, 2, 0).numpy())
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    if maps:
        _draw_scale(figure, axes[-1])
    figure.suptitle(f"vultus evaluate {results[0].benchmark}", fontsize=10)
    with atomic_file(path) as partial:
        figure.savefig(partial, format=path.suffix[1:].lower(), dpi=160)


def check_figure(path: Path) -> None:
    """Fail before hours of measuring rather than after them; raises as :func:`write_figure`."""
    if path.suffix.lower() not in SUFFIXES:
        raise BadInput(f"{path}: figures are {', '.join(SUFFIXES)}; choose another name")
    if importlib.util.find_spec("matplotlib") is None:
        raise AssetMissing("figures need matplotlib: pip install 'vultus[evaluate]'")


def mean_mm(result: Evaluation) -> float:
    """Mean over items of their mean distances."""
    means = [
        float(s.samples["distance_mm"].mean()) for s in result.scores if len(s.samples.get("distance_mm", ()))
    ]
    return float(np.mean(means)) if means else float("nan")


def heat_map(result: Evaluation) -> NDArray[np.float64] | None:
    """Mean distance in mm at each vertex of the mean head (v,), over all items; NaN where none was measured, None if none anywhere.

    From the samples ``distance_mm`` and ``head_vertex`` (:func:`~vultus.evaluate.scan_score.score_against_scan`).
    """
    vertices = len(mean_face().vertices)
    total, count = np.zeros(vertices), np.zeros(vertices)
    for score in result.scores:
        if "head_vertex" in score.samples:
            ids = score.samples["head_vertex"].astype(np.int64)
            total += np.bincount(ids, score.samples["distance_mm"], vertices)
            count += np.bincount(ids, minlength=vertices)
    if not count.any():
        return None
    pairs = edges(torch.from_numpy(mean_face().triangles)).numpy()
    for _ in range(_SMOOTHINGS):
        for values in (total, count):
            spread = np.bincount(pairs[:, 0], values[pairs[:, 1]], vertices)
            spread += np.bincount(pairs[:, 1], values[pairs[:, 0]], vertices)
            values += 0.5 * spread
            values /= 4.0
    errors = np.full(vertices, np.nan)
    known = (count > 1e-9) & (region_of_vertex() >= 0)
    errors[known] = total[known] / count[known]
    return errors


def heat_picture(errors_mm: NDArray[np.float64], worst_mm: float) -> Tensor:
    """The mean head from the front and the side, coloured by error: "3 h w" sRGB."""
    mean = mean_face()
    surface = torch.from_numpy(mean.vertices).float(), torch.from_numpy(mean.triangles)
    colour = error_colours(torch.from_numpy(errors_mm).float(), worst_mm)
    views = [draw_clay(*surface, yaw, colour) for yaw in _YAWS_DEG]
    return srgb_from_linear(torch.cat(views, 1).clamp(0, 1))


def _draw_curves(axis: Any, results: Sequence[Evaluation]) -> None:
    """All curves of one result, or the first of each of several."""
    shown = (
        [(c.name, c) for c in results[0].curves] if len(results) == 1 else [(r.method, r.curves[0]) for r in results]
    )  # fmt: skip
    for name, curve in shown:
        if len(curve.errors):
            axis.plot(curve.errors, 100 * curve.share, label=name, linewidth=1.5)
    # The tail of a few hopeless points would squeeze what matters into a corner.
    ends = [c.errors[np.searchsorted(c.share, 0.98, side="right") - 1] for _, c in shown if len(c.errors)]
    axis.set(xlim=(0, max(ends, default=1.0)), ylim=(0, 100), xlabel=f"error ({shown[0][1].unit or '1'})", ylabel="share at most so far off (%)")  # fmt: skip
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="lower right")


def _draw_scale(figure: Any, axis: Any) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    steps = torch.linspace(0, _WORST_MM, 128)
    colours = srgb_from_linear(error_colours(steps, _WORST_MM))
    mappable = ScalarMappable(Normalize(0, _WORST_MM), ListedColormap(colours.numpy().tolist()))
    figure.colorbar(mappable, ax=axis, label="mean distance (mm)", shrink=0.7)
