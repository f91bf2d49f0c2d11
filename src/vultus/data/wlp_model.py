"""The Basel Face Model 2009 with 53,215 vertices and 29 expressions, as 3DDFA and 300W-LP use it; the user brings the files.

Paysan et al., "A 3D face model for pose and illumination invariant face recognition", AVSS 2009, cut by ``trimIndex``; expressions made from FaceWarehouse
(Cao et al., TVCG 2014) by Zhu et al. Either what face3d's ``generate.m`` writes (``BFM.mat``: all of it in one struct), or the three files that it is made from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import AssetMissing, BadFile, WeightsMismatch

Array = NDArray[np.float64]
Ids = NDArray[np.int64]
NUM_SHAPES, NUM_EXPRESSIONS, NUM_KEYPOINTS = 199, 29, 68
WHOLE, BASEL, INFO, EXPRESSION, CHART = "BFM.mat", "01_MorphableModel.mat", "model_info.mat", "Model_Expression.mat", "BFM_UV.mat"  # fmt: skip
RECIPE = (
    f"put there {WHOLE}, made with generate.m of https://github.com/YadiraF/face3d (examples/Data/BFM); or {BASEL} from"
    f" https://faces.dmi.unibas.ch/bfm with {INFO} (3DDFA: trimIndex, tri, keypoints) and {EXPRESSION} (3DDFA: mu_exp and w_exp, 29 components)"
    f" from http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm; for position maps also {CHART} of"
    " https://github.com/anilbas/3DMMasSTN (util)"
)


@dataclass(frozen=True)
class BaselFace:
    """The model; lengths in micrometres, as in its files.

    Attributes:
        mean: (v, 3), of shape and expression together. shapes: (199, v, 3). expressions: (29, v, 3).
        triangles: (t, 3), counter-clockwise or not as the files have it; with those that close the mouth where they are known.
        keypoints: (68,), or None. uv: (v, 2) with v upwards, or None.
    """

    mean: Array
    shapes: NDArray[np.floating]
    expressions: NDArray[np.floating]
    triangles: Ids
    keypoints: Ids | None
    uv: Array | None

    def shape(self, shape: Array, expression: Array) -> Array:
        """Vertices (v, 3) of coefficients (199,) and (29,)."""
        offsets = shape @ self.shapes.reshape(len(self.shapes), -1) + expression @ self.expressions.reshape(len(self.expressions), -1)  # fmt: skip
        return self.mean + offsets.reshape(-1, 3)


def load_basel(folder: str | Path) -> BaselFace:
    """Read the model from a folder.

    Raises:
        AssetMissing: a file is not there. BadFile: one is damaged or another. WeightsMismatch: they do not belong together.
    """
    folder = Path(folder)
    chart = folder / CHART
    if (folder / WHOLE).is_file():
        fields = _whole(folder / WHOLE)
    elif (folder / BASEL).is_file():
        fields = _from_parts(folder)
    else:
        raise AssetMissing(f"{folder}: neither {WHOLE} nor {BASEL} there; {RECIPE}")
    path = folder / (WHOLE if (folder / WHOLE).is_file() else BASEL)
    number = fields["mean"].size // 3
    shapes, expressions = (_modes(path, name, fields[name], size, number) for name, size in (("shapePC", NUM_SHAPES), ("expPC", NUM_EXPRESSIONS)))  # fmt: skip
    triangles = _ids(path, fields["tri"], 3, number)
    if fields["tri_mouth"] is not None:
        triangles = np.concatenate([triangles, _ids(path, fields["tri_mouth"], 3, number)])
    keypoints = fields["kpt_ind"]
    if keypoints is not None:
        keypoints = _ids(path, np.reshape(keypoints, (-1, 1)), 1, number).ravel()
        if len(keypoints) != NUM_KEYPOINTS:
            raise WeightsMismatch(f"{path}: {len(keypoints)} keypoints, expected {NUM_KEYPOINTS}; {RECIPE}")
    uv = _chart(chart, number, fields["trim"]) if chart.is_file() else None
    return BaselFace(fields["mean"].reshape(-1, 3), shapes, expressions, triangles, keypoints, uv)


def _whole(path: Path) -> dict[str, Any]:
    """``BFM.mat``: one struct; expression and shape have a mean each."""
    outer = _read(path, ("model",))["model"]
    try:
        inner = outer[0, 0] if outer.dtype.names else outer
        get = lambda name: np.asarray(inner[name]) if name in inner.dtype.names else None  # noqa: E731
        fields: dict[str, Any] = {
            name: get(name)
            for name in ("shapeMU", "shapePC", "expMU", "expPC", "tri", "tri_mouth", "kpt_ind")
        }
    except (IndexError, TypeError, AttributeError) as error:
        raise BadFile(
            f"{path}: its model is not the struct that generate.m writes ({error}); {RECIPE}"
        ) from error
    missing = [name for name in ("shapeMU", "shapePC", "expMU", "expPC", "tri") if fields[name] is None]
    if missing:
        raise BadFile(f"{path}: its model lacks {', '.join(missing)}; {RECIPE}")
    return fields | {"mean": _mean(path, fields["shapeMU"], fields["expMU"]), "trim": None}


def _from_parts(folder: Path) -> dict[str, Any]:
    """The original model, what 3DDFA cuts out of it, and 3DDFA's expressions."""
    for name, what in ((INFO, "which vertices 300W-LP uses"), (EXPRESSION, "3DDFA's 29 expressions")):
        if not (folder / name).is_file():
            raise AssetMissing(f"{folder}: {name} not there, which says {what}; {RECIPE}")
    basel = _read(folder / BASEL, ("shapeMU", "shapePC"))
    info = _read(folder / INFO, ("trimIndex", "tri"))
    moves = _read(folder / EXPRESSION, ("mu_exp", "w_exp"))
    number = basel["shapeMU"].size // 3
    trim = _ids(folder / INFO, np.reshape(info["trimIndex"], (-1, 1)), 1, number).ravel()
    rows = (3 * trim[:, None] + np.arange(3)).ravel()
    path = folder / EXPRESSION
    return {
        "mean": _mean(path, basel["shapeMU"].ravel()[rows], moves["mu_exp"]),
        "shapePC": basel["shapePC"][rows],
        "expPC": moves["w_exp"],
        "tri": info["tri"],
        "tri_mouth": None,
        "kpt_ind": info.get("keypoints"),
        "trim": trim,
    }


def _read(path: Path, needed: tuple[str, ...]) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        fields = loadmat(path)
    except Exception as error:  # scipy raises a dozen types on broken files
        raise BadFile(f"{path}: not a readable .mat file ({error}); {RECIPE}") from error
    missing = [name for name in needed if name not in fields]
    if missing:
        raise BadFile(f"{path}: lacks {', '.join(missing)}; {RECIPE}")
    return fields


def _mean(path: Path, shape: NDArray[Any], expression: NDArray[Any]) -> Array:
    if shape.size != expression.size or shape.size % 3:
        raise WeightsMismatch(f"{path}: the mean shape has {shape.size} numbers, the mean expression {expression.size}; {RECIPE}")  # fmt: skip
    return (np.asarray(shape, np.float64) + np.asarray(expression, np.float64).reshape(shape.shape)).ravel()


def _modes(path: Path, name: str, basis: NDArray[Any], modes: int, number: int) -> NDArray[np.floating]:
    if basis.shape != (3 * number, modes):
        raise WeightsMismatch(f"{path}: {name} is {basis.shape}, expected {(3 * number, modes)}; {RECIPE}")
    return np.ascontiguousarray(basis.T).reshape(modes, number, 3)


def _ids(path: Path, ids: NDArray[Any], width: int, number: int) -> Ids:
    """Matlab's indices (n, width) or (width, n), from zero."""
    found = np.asarray(ids, np.float64)
    found = found.T if found.shape[0] == width and found.shape[1] != width else found
    if found.ndim != 2 or found.shape[1] != width or found.min() < 1 or found.max() > number:
        raise WeightsMismatch(f"{path}: indices {found.shape} that do not fit {number} vertices; {RECIPE}")
    return np.ascontiguousarray(found).astype(np.int64) - 1


def _chart(path: Path, number: int, trim: Ids | None) -> Array:
    """The chart of all vertices, or of those that are used: 3DMMasSTN gives the former, face3d the latter under the same name."""
    uv = np.asarray(_read(path, ("UV",))["UV"], np.float64)
    if trim is not None and len(uv) != number and len(uv) > trim.max():
        uv = uv[trim]
    if uv.shape != (number, 2) or not np.isfinite(uv).all():
        raise WeightsMismatch(f"{path}: UV is {uv.shape}, the model has {number} vertices; {RECIPE}")
    return uv
