"""Meshes that other systems made, with their landmarks, read and doubted: unit, handedness, order of the landmarks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..errors import BadFile, BadInput
from ..fit.register import checked_scan
from ..geometry.rigid import umeyama
from ..geometry.units import MM_PER_UNIT, likely_units
from ..io.meshes import read_mesh
from ..io.points import POINT_SUFFIXES, read_points
from .benchmark import FaceMesh, Points
from .regions import mean_face

MESH_SUFFIXES = (".obj", ".ply", ".glb")
LANDMARK_IDS = "landmark_ids.txt"
"""In a folder of meshes of one topology: 7 or 68 vertex numbers, from 0, in iBUG's order."""
_EYES_APART_MM = (55.0, 130.0)  # outer corners of a person's eyes
_FITS = 0.16  # of the distance of the outer eye corners: how far, root mean square, seven points of any face are from the mean head's
_SWAPPED = (3, 2, 1, 0, 4, 6, 5)  # left for right among the seven


def read_face(
    path: str | Path, *, landmarks: Path | None = None, unit: str | None = None, mirrored: bool = False
) -> FaceMesh:
    """A mesh and its landmarks, in millimetres.

    Args:
        path: .obj, .ply or .glb.
        landmarks: file of 7 or 68 points; else one beside the mesh: ``NAME.npy``, ``.txt``, ``.json``, ``.ljson``, ``.pp`` or the same with
            ``NAME_landmarks``; else :data:`LANDMARK_IDS` in its folder; else the mesh has none.
        unit: mm, cm or m; ``none`` for coordinates that mean no length. None: mm, checked against the size of the face.
        mirrored: the coordinates are left-handed (x right, y down, z towards the camera): x is negated.

    Raises:
        BadFile: not readable. BadInput: no surface, the wrong unit or handedness, landmarks in another order.
    """
    path = Path(path)
    mesh = read_mesh(path)
    try:
        vertices, triangles = checked_scan(mesh.vertices.double().numpy(), mesh.topology.triangles.numpy())
        points = _landmarks(path, landmarks, vertices)
        face = FaceMesh(vertices, triangles, points)
        if mirrored:
            turn = np.array([-1.0, 1.0, 1.0])
            face = FaceMesh(vertices * turn, triangles, None if points is None else points * turn)
        if path.suffix.lower() == ".glb":  # metres by its format, and read as millimetres
            return checked_face(face, unit if unit == "none" else "mm")
        return checked_face(face, unit)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error


def beside(path: Path) -> Path | None:
    """The landmark file of a mesh: of its name, with or without ``_landmarks``; None if there is none."""
    for ending in ("_landmarks", ""):
        for suffix in POINT_SUFFIXES:
            found = path.with_name(f"{path.stem}{ending}{suffix}")
            if found.is_file():
                return found
    return None


def checked_face(face: FaceMesh, unit: str | None = None) -> FaceMesh:
    """The face in millimetres with triangles that face outwards, if it can be one.

    Args:
        unit: mm, cm, m, or none; None: mm unless the landmarks say that it cannot be.

    Raises:
        BadInput: eyes that are no plausible distance apart, a left-handed mesh, or landmarks in another order.
    """
    if unit not in (None, "none", *MM_PER_UNIT):
        raise BadInput(f"--unit {unit}: say mm, cm, m or none")
    factor = MM_PER_UNIT.get(unit or "mm", 1.0)
    face = replace(
        face,
        vertices=face.vertices * factor,
        landmarks=None if face.landmarks is None else face.landmarks * factor,
    )
    seven = face.seven
    if seven is None:
        return face
    apart = float(np.linalg.norm(seven[0] - seven[3]))
    if not apart > 0:
        raise BadInput("the landmarks lie in one place: pick them on the surface")
    _check_order(face, seven)
    if _inside_out(face, seven):
        face = replace(face, triangles=np.ascontiguousarray(face.triangles[:, ::-1]))
    if unit != "none":
        likely = likely_units(apart, unit or "mm", _EYES_APART_MM)
        if (unit or "mm") not in likely:
            remedy = " or ".join(f"--unit {name}" for name in [*likely, "none"])
            raise BadInput(
                f"the outer corners of the eyes are {apart:.3g} mm apart if the unit is {unit or 'mm'}: use {remedy}"
                " (none: a unit of its own, compared with scale only)"
            )
    return face


def _landmarks(path: Path, given: Path | None, vertices: Points) -> Points | None:
    file = given or beside(path)
    if file is not None:
        return read_points(file)
    ids_file = path.parent / LANDMARK_IDS
    if not ids_file.is_file():
        return None
    try:
        ids = np.array(ids_file.read_text().replace(",", " ").split(), np.int64)
    except ValueError as error:
        raise BadFile(f"{ids_file}: {error}; it holds 7 or 68 vertex numbers, from 0") from error
    if len(ids) not in (7, 68) or ids.min() < 0 or ids.max() >= len(vertices):
        raise BadFile(
            f"{ids_file}: {len(ids)} numbers up to {ids.max(initial=0)} for {len(vertices)} vertices; it holds 7 or 68 vertex"
            " numbers, from 0, in iBUG's order"
        )
    return vertices[ids]


def _check_order(face: FaceMesh, seven: Points) -> None:
    """Landmarks that fit no face any way round are in another order; those that fit a mirrored one are left-handed, or exchanged."""
    straight, exchanged = _misfit(seven), _misfit(seven[list(_SWAPPED)])
    if straight <= _FITS:
        return
    if exchanged > _FITS:
        raise BadInput(
            f"the landmarks fit no face ({100 * straight:.0f} % of the eyes' distance off): the order is outer and inner corner of the image-left"
            " eye, inner and outer corner of the other, nose tip, image-left and image-right corner of the mouth (iBUG 36 39 42 45 30 48 54)"
        )
    if _inside_out(face, seven[list(_SWAPPED)]):
        raise BadInput(
            "the mesh is left-handed, a mirror image: negate one coordinate of it, or say --mirrored"
        )
    raise BadInput(
        "the landmarks have left and right exchanged: image-left comes first (iBUG 36 39 42 45 30 48 54)"
    )


def _misfit(seven: Points) -> float:
    """Root mean square distance from the mean head's seven after the best similarity, in units of the outer eye corners' distance."""
    mean = mean_face().seven
    assert mean is not None
    source, target = torch.from_numpy(seven), torch.from_numpy(mean)
    off = umeyama(source, target).apply(source) - target
    return float(off.square().sum(1).mean().sqrt()) / float(np.linalg.norm(mean[0] - mean[3]))


def _inside_out(face: FaceMesh, seven: Points) -> bool:
    """Whether the triangles around the nose show their backs to whoever stands before the face."""
    mean = mean_face().seven
    assert mean is not None
    forwards = umeyama(torch.from_numpy(mean), torch.from_numpy(seven)).rotation[:, 2].numpy()
    a, b, c = (face.vertices[face.triangles[:, i]] for i in range(3))
    reach = float(np.linalg.norm(seven[0] - seven[3]))
    near = np.linalg.norm((a + b + c) / 3 - seven[4], axis=1) < reach
    return float((np.cross(b - a, c - a)[near] @ forwards).sum()) < 0
