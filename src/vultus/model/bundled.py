"""The head that ships with vultus: adult head and neck with eyes, teeth and tongue, CC0 (docs/model.md).

The asset holds the coarse quad mesh; one Catmull-Clark step, a sparse matrix, makes the fine one when it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import AssetMissing, BadFile
from ..geometry.mesh import Topology
from .expressions import expression_sigma
from .landmarks import LandmarkTable
from .morphable import FaceChart, MorphableModel
from .subdivide import Subdivision, catmull_clark, mirror_fine, triangulate

ASSETS = Path(__file__).parent / "assets"
HEAD, LANDMARKS = ASSETS / "head.npz", ASSETS / "landmarks.npz"


@lru_cache(maxsize=1)
def load() -> MorphableModel:
    """The bundled model; later calls give the same object.

    Raises:
        AssetMissing: the package was installed without its data. BadFile: the asset is damaged.
    """
    fields = _read(HEAD)
    num_coarse = len(fields["mirror"])
    subdivision = catmull_clark(fields["quads"].astype(np.int64), num_coarse)
    triangles = triangulate(subdivision.quads_fine)
    part_of_triangle = np.repeat(fields["part_of_quad"][subdivision.parent_quad], 2)
    step = float(fields["position_step_mm"])
    low, high = fields["identity_low"], fields["identity_high"]
    coarse_basis = np.concatenate([high.astype(np.float32), low.astype(np.float32)])
    coarse_basis *= fields["identity_step_mm"][:, None, None]
    expression = fields["expression"].astype(np.float32) * np.float32(step)
    albedo = fields["albedo"].astype(np.float32) * fields["albedo_step"][:, None, None]
    regions = np.unpackbits(fields["regions"], axis=1, count=subdivision.num_fine).astype(bool)
    names = tuple(str(name) for name in fields["expression_names"])
    chart_ids = _tensor(fields["chart_triangles"].astype(np.int64))
    return MorphableModel(
        name="vultus",
        topology=Topology(
            triangles=_tensor(triangles),
            num_vertices=subdivision.num_fine,
            uv=_tensor(fields["uv"]),
            uv_triangles=_tensor(fields["uv_triangles"].astype(np.int64)),
        ),
        mean_mm=_tensor(fields["mean"].astype(np.float32) * np.float32(step)),
        identity_mm=_refine(subdivision, coarse_basis),
        expression_mm=_refine(subdivision, expression),
        expression_names=names,
        expression_range=torch.tensor([[0.0, 1.0]] * len(names)),
        expression_sigma=expression_sigma(names),
        albedo_mean=_tensor(albedo[0]),
        albedo=_tensor(albedo[1:]),
        part_of_triangle=_tensor(part_of_triangle.astype(np.int64)),
        part_names=tuple(str(name) for name in fields["part_names"]),
        regions={str(name): _tensor(mask) for name, mask in zip(fields["region_names"], regions)},
        chart=FaceChart(_tensor(fields["chart_uv"]), chart_ids, _tensor(fields["chart_is_membrane"])),
        landmarks=read_landmarks(LANDMARKS),
        mirror=_tensor(mirror_fine(subdivision, fields["mirror"].astype(np.int64))),
    )


def read_landmarks(path: Path) -> Mapping[str, LandmarkTable]:
    """The calibrated landmark tables of one model; none when the file does not exist (before calibration)."""
    if not path.is_file():
        return {}
    fields = _read(path)
    tables = {}
    for name in sorted({key.split("/")[0] for key in fields}):
        part = {key.split("/")[1]: value for key, value in fields.items() if key.startswith(f"{name}/")}
        weight = part["barycentric"].astype(np.float32)
        tables[name] = LandmarkTable(
            name=name,
            yaw_deg=_tensor(part["yaw_deg"].astype(np.float32)),
            pitch_deg=_tensor(part["pitch_deg"].astype(np.float32)),
            triangle_ids=_tensor(part["triangle_ids"].astype(np.int64)),
            barycentric=_tensor(weight / weight.sum(-1, keepdims=True)),
            spread_mm=_tensor(part["spread_mm"].astype(np.float32)),
            edges=_tensor(part["edges"]) if "edges" in part else None,
            **{
                key: _tensor(part[key].astype(np.float32))
                for key in ("error_modes_mm", "offset_mm", "response_mm")
                if key in part
            },
        )
    return tables


def _refine(subdivision: Subdivision, deltas: np.ndarray) -> Tensor:
    """Displacements "k v 3" of the coarse mesh -> of the fine one."""
    flat = deltas.transpose(1, 0, 2).reshape(deltas.shape[1], -1)
    fine = subdivision.matrix.astype(np.float32) @ flat
    return _tensor(fine.reshape(-1, *deltas.shape[::2]).transpose(1, 0, 2))


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise AssetMissing(f"{path}: not found; the package was installed without its data, reinstall vultus")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:
        raise BadFile(f"{path}: damaged ({error}); reinstall vultus") from error


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
