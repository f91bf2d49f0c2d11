"""300W-LP and AFLW2000-3D as their authors give them: photos, and beside each a .mat with the parameters of a fitted Basel face.

Zhu et al., "Face alignment across large poses: a 3D solution", CVPR 2016. The formulas are those of github.com/cleardusk/3DDFA and, for position
maps, of github.com/YadiraF/face3d, examples/8_generate_posmap_300WLP.py (Feng et al., "Joint 3D face reconstruction and dense alignment with
position map regression network", ECCV 2018):

    S = mean + shape_basis @ Shape_Para + expression_basis @ Exp_Para        53,215 vertices
    V = f * S @ R.T + t,  R = Rx(pitch) @ Ry(yaw) @ Rz(roll)                 Pose_Para = pitch, yaw, roll, tx, ty, tz, f
    y <- h + 1 - y in Matlab's pixels (3DDFA);  y <- h - 1 - y (face3d)

with every elementary matrix the transpose of the usual right-handed one. Frame: x right, y up until the last line, z towards the camera.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import BadFile, BadInput
from ..evaluate.layout import Layout
from ..geometry.rigid import FRONTAL, PoseAngles, pose_angles
from .wlp_model import BaselFace

Array = NDArray[np.float64]
Rows = Literal["3ddfa", "face3d"]
FROM_MATLAB_PX = -0.5
"""Matlab's first pixel has its centre at 1, ours at 0.5, as for :mod:`vultus.evaluate.aflw2000`."""
LANDMARKS = "landmarks"
LAYOUT = Layout(
    name="300W-LP or AFLW2000-3D",
    source="http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm (research only; the photos have terms of their own)",
    expected=(
        "photos *.jpg, in the folder or in folders of it (AFW, HELEN, IBUG, LFPW and their *_Flip)",
        "a .mat of the same name beside each, with Pose_Para (1 x 7), Shape_Para (199) and Exp_Para (29)",
        "landmarks in it as pt3d_68 (3 x 68) or pt2d (2 x 68), or in landmarks/<folder>/<photo>_pts.mat as pts_3d or pts_2d (68 x 2)",
    ),
)


@dataclass(frozen=True)
class WlpFace:
    """One photo and what its file says.

    Attributes:
        key: path without suffix, relative to the set's folder. photo: the file. size_px: (width, height).
        landmarks: (68, 2 or 3) in our pixels (centres at +0.5), z towards the camera in pixels where there is one; None: the set has none for it.
        pitch_rad, yaw_rad, roll_rad: as in the file, 3DDFA's signs. translation_px (3,), scale: of the fit, pixels per micrometre.
        shape (199,), expression (29,): coefficients; empty where the file has none.
        other: Illum_Para, Color_Para, Tex_Para, as far as there.
    """

    key: str
    photo: Path
    size_px: tuple[int, int]
    landmarks: Array | None
    pitch_rad: float
    yaw_rad: float
    roll_rad: float
    translation_px: Array
    scale: float
    shape: Array
    expression: Array
    other: dict[str, Array]

    @property
    def rotation(self) -> Array:
        """R (3, 3), from the model's axes (x to the subject's left, y up, z out of the face) to x right, y up, z towards the camera."""
        return rotation_3ddfa(self.pitch_rad, self.yaw_rad, self.roll_rad)

    @property
    def pose(self) -> PoseAngles:
        """The same pose in our angles (docs/conventions.md), degrees; the yaw has the other sign than the file's."""
        return pose_angles(FRONTAL.double() @ torch.from_numpy(self.rotation))


def open_wlp(folder: str | Path) -> Iterator[WlpFace]:
    """All faces of a folder, by name; photos without a .mat of fitted parameters are passed over (``*_pts.mat`` are landmarks).

    Raises:
        BadFile: nothing of the kind is there, or a file does not hold what it should.
    """
    folder = Path(folder)
    LAYOUT.check(folder, ["**/*.jpg", "**/*.mat"])
    found = False
    for path in sorted(folder.rglob("*.mat")):
        inside = path.relative_to(folder).parts
        if inside[0] not in (LANDMARKS, "Code") and path.with_suffix(".jpg").is_file():
            found = True
            yield read_face(folder, path)
    if not found:
        raise LAYOUT.incomplete(folder, "no .mat lies beside a .jpg of its name")


def read_face(folder: Path, path: Path) -> WlpFace:
    """One .mat and the size of its photo.

    Raises:
        BadFile: unreadable, or without what a fit has.
    """
    from PIL import Image

    fields = _load(path)
    pose = _numbers(path, fields, "Pose_Para", 7)
    shape, expression = (_numbers(path, fields, name, size, optional=True) for name, size in (("Shape_Para", 199), ("Exp_Para", 29)))  # fmt: skip
    try:
        with Image.open(path.with_suffix(".jpg")) as photo:
            size_px = photo.size
    except OSError as error:
        raise BadFile(
            f"{path.with_suffix('.jpg')}: not a readable picture ({error}); copy it again"
        ) from error
    other = {name: np.asarray(fields[name], np.float64).ravel() for name in ("Illum_Para", "Color_Para", "Tex_Para") if name in fields}  # fmt: skip
    key = path.relative_to(folder).with_suffix("").as_posix()
    pitch, yaw, roll = (float(angle) for angle in pose[:3])
    marks = _landmarks(folder, path, fields)
    return WlpFace(
        key, path.with_suffix(".jpg"), size_px, marks, pitch, yaw, roll, pose[3:6], float(pose[6]), shape, expression, other
    )  # fmt: skip


def rotation_3ddfa(pitch_rad: float, yaw_rad: float, roll_rad: float) -> Array:
    """R = Rx Ry Rz (3, 3) with 3DDFA's signs: each factor is the transpose of the right-handed rotation."""
    (cx, sx), (cy, sy), (cz, sz) = ((np.cos(a), np.sin(a)) for a in (pitch_rad, yaw_rad, roll_rad))
    rx = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    ry = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    rz = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    return rx @ ry @ rz


def image_vertices(face: WlpFace, model: BaselFace, rows: Rows = "3ddfa") -> Array:
    """Dense vertices (53,215, 3) in our image pixels: x right, y down, z towards the camera (its origin is the fit's, not a depth).

    Args:
        rows: how y is turned downwards. ``3ddfa``: h + 1 - y, in Matlab's pixels, as the landmarks of the same files are.
            ``face3d``: h - 1 - y in pixels counted from zero, as PRNet's targets were made: one pixel further right and one higher.

    Raises:
        BadInput: the face has no coefficients, or no such rows.
    """
    if rows not in ("3ddfa", "face3d"):
        raise BadInput(f"rows {rows!r}: say 3ddfa or face3d")
    if not len(face.shape) or not len(face.expression):
        raise BadInput(
            f"{face.key}: its .mat has no Shape_Para and Exp_Para, so no dense shape; use the landmarks"
        )
    vertices = face.scale * model.shape(face.shape, face.expression) @ face.rotation.T + face.translation_px
    height = face.size_px[1]
    if rows == "3ddfa":
        vertices[:, 1] = height + 1 - vertices[:, 1]
        vertices[:, :2] += FROM_MATLAB_PX
    else:
        vertices[:, 1] = height - 1 - vertices[:, 1]
        vertices[:, :2] += 0.5
    return vertices


def model_landmarks(face: WlpFace, model: BaselFace, rows: Rows = "3ddfa") -> Array:
    """The 68 keypoints of the fitted model (68, 3), as :func:`image_vertices`.

    Raises:
        BadInput: the model came without keypoints.
    """
    if model.keypoints is None:
        raise BadInput(
            "this Basel face has no keypoints (kpt_ind or model_info.mat): use the landmarks of the files"
        )
    return image_vertices(face, model, rows)[model.keypoints]


def position_map(
    vertices: Array, model: BaselFace, size: int = 256
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Vertices drawn over the model's own chart: (size, size, 3) and (size, size), where the chart is.

    PRNet's chart: column = (size - 1) u, row = (size - 1) (1 - v), pixel centres at whole numbers, the mouth closed where its triangles are known.

    Raises:
        BadInput: the model came without a chart, or the vertices are not its.
    """
    from ..render.interpolate import interpolate
    from ..render.raster import rasterize

    if model.uv is None:
        raise BadInput(
            "this Basel face has no chart: put BFM_UV.mat (github.com/anilbas/3DMMasSTN, util) beside it"
        )
    if vertices.shape != model.mean.shape:
        raise BadInput(f"vertices {vertices.shape}, the model has {model.mean.shape}")
    place = np.stack([model.uv[:, 0], 1 - model.uv[:, 1]], 1) * (size - 1) + 0.5
    corners = torch.from_numpy(np.concatenate([place, np.full((len(place), 1), 2.0)], 1))[None]
    triangles = torch.from_numpy(model.triangles)
    found = rasterize(corners, triangles, (size, size))
    drawn = interpolate(found, corners, triangles, torch.from_numpy(np.ascontiguousarray(vertices)))
    return drawn[0].permute(1, 2, 0).float().numpy(), found.mask[0].numpy()


def _load(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        return loadmat(path)
    except Exception as error:  # scipy raises a dozen types on broken files
        raise BadFile(f"{path}: not a readable .mat file ({error}); copy it again") from error


def _numbers(path: Path, fields: dict[str, Any], name: str, size: int, *, optional: bool = False) -> Array:
    if name not in fields and optional:
        return np.zeros(0)
    values = np.asarray(fields.get(name, ()), np.float64).ravel()
    if len(values) != size or not np.isfinite(values).all():
        raise BadFile(f"{path}: {name} holds {len(values)} numbers or some that are not finite, expected {size}; {LAYOUT.advice()}")  # fmt: skip
    return values


def _landmarks(folder: Path, path: Path, fields: dict[str, Any]) -> Array | None:
    """From the file itself, or from the set's folder of landmarks; those that the release gives in 3D before those of the photo's contour."""
    inside = path.relative_to(folder)
    beside = folder / LANDMARKS / inside.parent / f"{inside.stem}_pts.mat"
    for name in ("pt3d_68", "pts_3d", "pts_2d", "pt2d"):
        source = (
            fields if name in fields else _load(beside) if name.startswith("pts") and beside.is_file() else {}
        )
        if name in source:
            points = np.asarray(source[name], np.float64)
            points = points.T if points.shape[-1] == 68 else points
            if points.shape in ((68, 2), (68, 3)) and np.isfinite(points).all():
                points = points.copy()
                points[:, :2] += FROM_MATLAB_PX
                return points
    return None
