"""The Basel Face Model 2009 as Deep3D and HRN use it: ``BFM_model_front.mat`` (research licence, on request).

Paysan et al., "A 3D face model for pose and illumination invariant face recognition", AVSS 2009, cut to a face of 35,709 vertices, with the
expressions of Guo et al. (PAMI 2018) made from FaceWarehouse; Deng et al., "Accurate 3D face reconstruction with weakly-supervised
learning", CVPRW 2019, whose script writes the file from ``01_MorphableModel.mat``, ``Exp_Pca.bin`` and ``facemodel_info.mat``.

What is made of it: lengths in the file are decimetres (the script divides the Basel model's micrometres by 1e5), so they are multiplied by
100. Axes are ours already. The origin moves between the eyeballs of the bundled head fitted to the keypoints; the papers' frame has its
origin at the mean vertex, which :mod:`vultus.model.formats.deep3d` undoes. Coefficients stay the papers': 80 identity and 80 texture in sigma,
64 expression in sigma. Texture is sRGB in the file; its mean and, to first order around it, its axes become linear albedo, so that
small coefficients mean the papers' colours and large ones nearly.

Fields used: meanshape, idBase, exBase, meantex, texBase, tri, keypoints, frontmask2_idx and skinmask (as regions ``deep3d_front``
and ``deep3d_skin``, if there). point_buf and tri_mask2 say nothing that tri does not.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ...errors import AssetMissing, BadFile, WeightsMismatch
from ...geometry.mesh import Topology
from ..morphable import MorphableModel
from ..registered import align_template
from ..transfer import Transfer
from .keypoints import vertex_table

MM_PER_UNIT = 100.0
NUM_IDENTITIES, NUM_EXPRESSIONS, NUM_TEXTURES, NUM_KEYPOINTS = 80, 64, 80, 68
EXPRESSION_RANGE = 3.0  # sigma
REQUIRED = ("meanshape", "meantex", "idBase", "exBase", "texBase", "tri", "keypoints")
RECIPE = (
    "make BFM_model_front.mat with the script of https://github.com/sicxu/Deep3DFaceRecon_pytorch"
    " from the Basel Face Model (https://faces.dmi.unibas.ch/bfm)"
)


def load(path: str | Path) -> MorphableModel:
    """Read ``BFM_model_front.mat`` (or a folder that holds it).

    Raises:
        AssetMissing: it is not there. BadFile: it is damaged, or another MATLAB file.
        WeightsMismatch: it has other numbers of modes or vertices than Deep3D and HRN use.
    """
    path = Path(path)
    path = path / "BFM_model_front.mat" if path.is_dir() else path
    if not path.is_file():
        raise AssetMissing(f"{path}: not found; {RECIPE}")
    fields = _read(path)
    keypoints = fields["keypoints"].ravel().astype(np.int64) - 1
    triangles = fields["tri"].astype(np.int64) - 1
    mean_mm = fields["meanshape"].reshape(-1, 3).astype(np.float64) * MM_PER_UNIT
    mean_mm -= align_template(mean_mm[keypoints]).translation.numpy()
    albedo_mean, albedo = _linear_albedo(fields["meantex"], fields["texBase"])
    bare = MorphableModel(
        name="bfm",
        topology=Topology(_tensor(triangles), len(mean_mm)),
        mean_mm=_tensor(mean_mm.astype(np.float32)),
        identity_mm=_modes(fields["idBase"]) * MM_PER_UNIT,
        expression_mm=_modes(fields["exBase"]) * MM_PER_UNIT,
        expression_names=tuple(f"expression{i:02d}" for i in range(NUM_EXPRESSIONS)),
        expression_range=torch.tensor([[-EXPRESSION_RANGE, EXPRESSION_RANGE]] * NUM_EXPRESSIONS),
        expression_sigma=torch.ones(NUM_EXPRESSIONS),
        albedo_mean=albedo_mean,
        albedo=albedo,
        part_of_triangle=torch.zeros(len(triangles), dtype=torch.int64),
        part_names=("skin",),
        regions={},
        chart=None,
        landmarks={},
    )
    transfer = Transfer.between(bare, keypoints)
    chart = transfer.chart()
    # The papers' own keypoints, so that landmark losses and benchmarks mean the same points.
    own = {"ibug68": vertex_table("ibug68", _tensor(keypoints), _tensor(triangles))}
    return replace(
        bare,
        topology=replace(bare.topology, uv=transfer.atlas()),
        chart=chart,
        regions=transfer.regions(chart) | _own_regions(fields, len(mean_mm)),
        landmarks=dict(transfer.landmarks()) | own,
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    from scipy.io import loadmat

    try:
        fields = loadmat(str(path))
    except Exception as error:  # scipy raises whatever the damaged bytes lead to
        raise BadFile(f"{path}: is not a readable MATLAB file ({error}); {RECIPE}") from error
    missing = [name for name in REQUIRED if name not in fields]
    if missing:
        hint = " (this looks like the original Basel model)" if "shapePC" in fields else ""
        raise BadFile(f"{path}: is not BFM_model_front.mat, it lacks {', '.join(missing)}{hint}; {RECIPE}")
    size = fields["meanshape"].size
    expected = {
        "meantex": size,
        "idBase": (size, NUM_IDENTITIES),
        "exBase": (size, NUM_EXPRESSIONS),
        "texBase": (size, NUM_TEXTURES),
        "keypoints": NUM_KEYPOINTS,
    }
    for name, shape in expected.items():
        found = fields[name].shape if isinstance(shape, tuple) else fields[name].size
        if found != shape:
            raise WeightsMismatch(f"{path}: {name} has size {found}, expected {shape}; {RECIPE}")
    triangles, keypoints = fields["tri"], fields["keypoints"]
    if triangles.ndim != 2 or triangles.shape[1] != 3 or size % 3:
        raise WeightsMismatch(f"{path}: tri is {triangles.shape}, meanshape holds {size} numbers; {RECIPE}")
    low, high = min(triangles.min(), keypoints.min()), max(triangles.max(), keypoints.max())
    if low < 1 or high > size // 3 or not np.isfinite(fields["meanshape"]).all():
        raise BadFile(
            f"{path}: is damaged (vertex {low}..{high} of {size // 3}, or positions that are no numbers); {RECIPE}"
        )
    return fields


def _modes(base: np.ndarray) -> torch.Tensor:
    """The file's (3 v, k) -> "k v 3"."""
    return _tensor(base.T.astype(np.float32).reshape(base.shape[1], -1, 3))


def _linear_albedo(mean: np.ndarray, base: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Linear-light mean "v 3" and axes "80 v 3" of the file's sRGB texture in [0, 255] (IEC 61966-2-1 and its derivative)."""
    value = (mean.astype(np.float64) / 255).clip(0, 1).reshape(-1)
    curved = value > 0.04045
    root = (value + 0.055) / 1.055
    linear = np.where(curved, root**2.4, value / 12.92)
    slope = np.where(curved, 2.4 / 1.055 * root**1.4, 1 / 12.92)
    axes = base * (slope / 255)[:, None]
    return _tensor(linear.reshape(-1, 3).astype(np.float32)), _modes(axes)


def _own_regions(fields: dict[str, np.ndarray], num_vertices: int) -> dict[str, torch.Tensor]:
    regions = {}
    if "frontmask2_idx" in fields:
        front = np.zeros(num_vertices, bool)
        front[fields["frontmask2_idx"].ravel().astype(np.int64) - 1] = True
        regions["deep3d_front"] = _tensor(front)
    if fields.get("skinmask", np.zeros(0)).size == num_vertices:
        regions["deep3d_skin"] = _tensor(fields["skinmask"].ravel() > 0)
    return regions


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
