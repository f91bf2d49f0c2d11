"""ICT-FaceKit light: 100 identity modes of registered light-stage scans and 57 expressions (MIT licence).

Li et al., "Learning formation of physically-based face attributes", CVPR 2020; https://github.com/ICT-VGL/ICT-FaceKit.
Two layouts of the folder are read: ``FaceXModel/`` of the repository (``generic_neutral_mesh.obj``, ``identity000.obj`` ...,
``<expression>.obj``, each a whole head), and the same numbers as ``ict_shape.npz`` beside ``generic_neutral_mesh.obj``.

What is made of it: centimetres become millimetres, the origin moves between the eyeballs (axes are ours already). Lacrimal fluid, eye
blend, eye occlusion and eyelashes, which only a translucent material makes sense of, lose their triangles; their vertices stay, so
vertex numbers are ICT's. Triangles are the quads of the file, cut into fans. Light has no albedo: the bundled head's is carried over.

Expression names are ARKit's with Left and Right spelled out (``browDown_L`` -> ``browDownLeft``). Those that ICT splits stay split,
because a face can raise one brow: ``browInnerUpLeft/Right`` and ``cheekPuffLeft/Right`` add up to ARKit's ``browInnerUp`` and
``cheekPuff``. ``cheekRaiserLeft/Right`` and ``pupilDilateLeft/Right`` are ICT's own; it has no ``tongueOut``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ...errors import AssetMissing, BadFile, WeightsMismatch
from ...geometry.mesh import Topology
from ..expressions import expression_sigma
from ..landmarks import LandmarkTable
from ..morphable import MorphableModel
from ..transfer import Transfer
from .keypoints import vertex_table
from .wavefront import Wavefront, read_wavefront

NUM_VERTICES = 26719
MM_PER_UNIT = 10.0
# First vertex of each of the file's pieces (the README's table of the repository), and the part that it belongs to.
PIECES = (
    (0, "skin"),  # face
    (9409, "skin"),  # head and neck
    (11248, "skin"),  # mouth socket
    (13294, "skin"),  # eye socket left
    (13678, "skin"),  # eye socket right
    (14062, "tongue"),  # gums and tongue
    (17039, "teeth"),
    (21451, "eye_left"),
    (23021, "eye_right"),
    (24591, ""),  # lacrimal fluid, eye blend, eye occlusion, eyelashes
)
END_OF_VISIBLE_SKIN = 11248
PART_NAMES = ("skin", "eye_left", "eye_right", "teeth", "tongue")
MESH, INDICES, SHAPE = "generic_neutral_mesh.obj", "vertex_indices.json", "ict_shape.npz"
DOWNLOAD = "download FaceXModel from https://github.com/ICT-VGL/ICT-FaceKit"


@dataclass(frozen=True)
class _Shapes:
    """Neutral "v 3", identity "100 v 3" and expression "e v 3" in centimetres, float32."""

    neutral: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    expression_names: tuple[str, ...]


def load(path: str | Path) -> MorphableModel:
    """Read ICT-FaceKit light from its folder (or from its ``ict_shape.npz``, whose neighbours are read as well).

    Raises:
        AssetMissing: a file of the folder is missing. BadFile: one is damaged or something else.
        WeightsMismatch: the meshes are not of the 26,719 vertices of the light model.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    for name in (MESH, INDICES):
        if not (folder / name).is_file():
            raise AssetMissing(
                f"{folder / name}: not found; it holds the triangles and landmarks of ICT-FaceKit, {DOWNLOAD}"
            )
    mesh = read_wavefront(folder / MESH)
    indices = _read_indices(folder / INDICES)
    packed = path if path.suffix == ".npz" else folder / SHAPE
    shapes = _read_packed(packed) if packed.is_file() else _read_separate(folder, mesh, indices)
    for name, array in (("neutral", shapes.neutral), ("mesh", mesh.vertices)):
        if array.shape != (NUM_VERTICES, 3):
            raise WeightsMismatch(
                f"{folder}: {name} is {array.shape}, ICT-FaceKit light has ({NUM_VERTICES}, 3); {DOWNLOAD}"
            )
    ibug68 = np.asarray(indices["idx_to_landmark_verts"], np.int64)
    return _assemble(shapes, mesh, ibug68)


def arkit_name(name: str) -> str:
    """ICT's name of an expression -> ours: ``browDown_L`` -> ``browDownLeft``, ``PupilDilate_R`` -> ``pupilDilateRight``."""
    stem, _, side = name.partition("_")
    return stem[0].lower() + stem[1:] + {"L": "Left", "R": "Right"}.get(side, "")


def _assemble(shapes: _Shapes, mesh: Wavefront, ibug68: np.ndarray) -> MorphableModel:
    neutral = shapes.neutral * MM_PER_UNIT
    starts = [start for start, _ in PIECES]
    piece = np.searchsorted(starts, mesh.triangles, side="right").max(1) - 1
    names = np.array([name for _, name in PIECES])[piece]
    shown = names != ""
    part = np.array([PART_NAMES.index(name) for name in names[shown]])
    triangles, uv_triangles = mesh.triangles[shown], mesh.uv_triangles[shown]
    eyes = [neutral[np.unique(triangles[part == i])].mean(0) for i in (1, 2)]
    neutral = neutral - (eyes[0] + eyes[1]) / 2
    uv = _without_tiles(mesh.uv, uv_triangles, part)
    num_expressions = len(shapes.expression_names)
    bare = MorphableModel(
        name="ict",
        topology=Topology(_tensor(triangles), NUM_VERTICES, _tensor(uv), _tensor(uv_triangles)),
        mean_mm=_tensor(neutral.astype(np.float32)),
        identity_mm=_tensor(shapes.identity * np.float32(MM_PER_UNIT)),
        expression_mm=_tensor(shapes.expression * np.float32(MM_PER_UNIT)),
        expression_names=tuple(arkit_name(name) for name in shapes.expression_names),
        expression_range=torch.tensor([[0.0, 1.0]] * num_expressions),
        expression_sigma=expression_sigma([arkit_name(name) for name in shapes.expression_names]),
        albedo_mean=torch.zeros(NUM_VERTICES, 3),
        albedo=torch.zeros(0, NUM_VERTICES, 3),
        part_of_triangle=_tensor(part),
        part_names=PART_NAMES,
        regions={},
        chart=None,
        landmarks={},
        mirror=_mirror(neutral),
    )
    visible = np.flatnonzero((triangles < END_OF_VISIBLE_SKIN).all(1))
    transfer = Transfer.between(bare, ibug68, visible)
    chart = transfer.chart()
    albedo_mean, albedo = transfer.albedo()
    own: dict[str, LandmarkTable] = {"ibug68": vertex_table("ibug68", _tensor(ibug68), _tensor(triangles))}
    return replace(
        bare,
        chart=chart,
        regions=transfer.regions(chart),
        landmarks=own | dict(transfer.landmarks()),  # calibrated tables win where the bundled head has them
        albedo_mean=albedo_mean,
        albedo=albedo,
    )


def _mirror(neutral_mm: np.ndarray) -> torch.Tensor | None:
    from scipy.spatial import KDTree

    distance, nearest = KDTree(neutral_mm).query(neutral_mm * [-1, 1, 1])
    return _tensor(np.asarray(nearest)) if np.max(distance) < 1 else None


def _without_tiles(uv: np.ndarray, uv_triangles: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Texture coordinates "t 2" in the unit square: a part's tiles (ICT gives each material its own) side by side, v down."""
    uv = uv.copy()
    for i in range(len(PART_NAMES)):
        corners = uv_triangles[part == i]
        tile_of_triangle = np.floor(uv[corners, 0].mean(1)).astype(int)
        tiles = np.unique(tile_of_triangle)
        for rank, tile in enumerate(tiles):
            ids = np.unique(corners[tile_of_triangle == tile])
            uv[ids, 0] = (uv[ids, 0] - tile + rank) / len(tiles)
    return np.clip(uv * [1, -1] + [0, 1], 0, 1).astype(np.float32)


def _read_packed(path: Path) -> _Shapes:
    try:
        with np.load(path, allow_pickle=False) as archive:
            neutral, identity, expression = (
                archive[name].astype(np.float32) for name in ("neutral", "identity", "expression")
            )
            names = tuple(str(name) for name in archive["expression_names"])
    except KeyError as error:
        raise BadFile(f"{path}: is not ICT-FaceKit's shape file ({error.args[0]})") from error
    except Exception as error:
        raise BadFile(f"{path}: cannot be read ({error}); copy it again") from error
    if identity.shape[1:] != neutral.shape or expression.shape != (len(names), *neutral.shape):
        raise WeightsMismatch(
            f"{path}: modes {identity.shape} and {expression.shape} do not fit the neutral head {neutral.shape}"
        )
    return _Shapes(neutral, identity, expression, names)


def _read_separate(folder: Path, mesh: Wavefront, indices: dict) -> _Shapes:
    """The repository's layout: every mode is a file with the whole head, so the mode is its difference to the neutral one."""
    identity = sorted(folder.glob("identity[0-9][0-9][0-9].obj"))
    if not identity:
        raise AssetMissing(f"{folder}: holds neither {SHAPE} nor identity000.obj; {DOWNLOAD}")
    # The JSON lists ARKit's; the folder may hold more (cheekRaiser, PupilDilate).
    files = {file.stem: file for file in folder.glob("*.obj") if file not in identity and file.name != MESH}
    missing = [name for name in indices.get("expressions", ()) if name not in files]
    if missing:
        raise AssetMissing(
            f"{folder / missing[0]}.obj: not found ({len(missing)} expressions are missing); {DOWNLOAD}"
        )
    names = tuple(sorted(files))

    def modes(paths: list[Path]) -> np.ndarray:
        deltas = np.empty((len(paths), len(mesh.vertices), 3), np.float32)
        for delta, file in zip(deltas, paths):
            head = read_wavefront(file)
            if head.vertices.shape != mesh.vertices.shape:
                raise WeightsMismatch(
                    f"{file}: has {len(head.vertices)} vertices, {MESH} has {len(mesh.vertices)}; {DOWNLOAD}"
                )
            delta[:] = head.vertices - mesh.vertices
        return deltas

    return _Shapes(
        mesh.vertices.astype(np.float32), modes(identity), modes([files[name] for name in names]), names
    )


def _read_indices(path: Path) -> dict:
    try:
        indices = json.loads(path.read_text(encoding="utf-8"))
        complete = len(indices["idx_to_landmark_verts"]) == 68
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFile(f"{path}: is not ICT-FaceKit's list of landmarks ({error!r}); {DOWNLOAD}") from error
    if not complete:
        raise BadFile(f"{path}: idx_to_landmark_verts does not hold 68 vertices; {DOWNLOAD}")
    return indices


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
