"""People for the fast maker: heads of the bundled topology from two families, a face that they make, and a skin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BadFile
from ..geometry.closest import TriangleTree
from ..geometry.mesh import vertex_normals
from ..io.files import atomic_file
from ..model.deformation import deformation_operator
from ..model.formats import ict
from ..model.formats.ict import END_OF_VISIBLE_SKIN, INDICES
from ..model.morphable import MorphableModel
from ..model.registered import registered_template
from .expressions import random_face
from .fast_skin import AtlasSkin, WornSkin, worn_skin
from .rig import make_subject

_IRIS = ((0.9, 0.55, 0.3), (0.5, 0.28, 0.15), (0.7, 0.9, 1.3), (0.6, 0.8, 0.55), (0.8, 0.85, 0.9))
_HAIR = ((0.012, 0.009, 0.008), (0.03, 0.018, 0.010), (0.075, 0.04, 0.02), (0.22, 0.14, 0.065), (0.12, 0.04, 0.015), (0.3, 0.3, 0.3))  # fmt: skip
_NEVER_FAR = {"tongueOut": 0.6, "mouthClose": 0.4, "jawOpen": 0.9, "mouthFunnel": 0.8, "jawForward": 0.8}


@dataclass(frozen=True)
class HeadFamily:
    """Heads as linear functions, in the bundled topology.

    Attributes:
        name: of the family. mean_mm: "v 3". identity_mm: "k v 3" per sigma. expression_mm: "e v 3", in the order of the bundled head's names.
    """

    name: str
    mean_mm: Tensor
    identity_mm: Tensor
    expression_mm: Tensor


@dataclass(frozen=True)
class DrawnPerson:
    """Somebody who does not exist.

    Attributes:
        name, family. neutral_mm: "v 3". identity: "k" of the bundled model, None for a head of another family.
        deformation_mm: (3, m, m), what the code does not explain; None: nothing. skin: worn. colour: "v 3" linear, of the parts that are not skin.
        hair: "3" linear. source: of the skin: its name.
    """

    name: str
    family: HeadFamily
    neutral_mm: Tensor
    identity: Tensor | None
    deformation_mm: NDArray[np.float32] | None
    skin: WornSkin
    colour: Tensor
    hair: Tensor
    source: str


def bundled_family(model: MorphableModel) -> HeadFamily:
    """The bundled head's own."""
    return HeadFamily("bundled", model.mean_mm, model.identity_mm, model.expression_mm)


def carried_family(model: MorphableModel, folder: Path) -> HeadFamily:
    """ICT-FaceKit's heads carried over to the bundled topology: every vertex of the skin keeps its place on the other mean head, hence moves as it does.

    Eyeballs, teeth and tongue are the bundled head's: they travel with the sockets and the jaws, and make its expressions. Takes ten seconds.

    Raises:
        AssetMissing, BadFile, WeightsMismatch: the folder is not ICT-FaceKit's.
    """
    theirs = ict.load(folder)
    visible = theirs.triangles[(theirs.triangles < END_OF_VISIBLE_SKIN).all(1)].numpy()
    marks = np.array(json.loads((folder / INDICES).read_text())["idx_to_landmark_verts"], np.int64)
    moved = registered_template(theirs.mean_mm.double().numpy(), visible, marks)
    skin = model.part_triangles("skin")
    outer = skin.unique()
    hidden = (model.regions["inner_mouth"] | model.regions["eye_sockets"]) if "inner_mouth" in model.regions else torch.zeros(len(moved), dtype=torch.bool)  # fmt: skip
    normals = vertex_normals(torch.from_numpy(moved), skin).numpy()
    corners, weights = torch.zeros(len(moved), 3, dtype=torch.int64), torch.zeros(len(moved), 3)
    every = theirs.part_triangles("skin").numpy()
    for chosen, triangles in ((outer[~hidden[outer]], visible), (outer[hidden[outer]], every)):
        tree = TriangleTree(theirs.mean_mm.double().numpy(), triangles)
        found = tree.query(moved[chosen], normals[chosen], 80.0)
        nearest = tree.query(moved[chosen])
        poor = (found.triangle_ids < 0) | (found.distances > nearest.distances + 5)
        triangle_ids = np.where(poor, nearest.triangle_ids, found.triangle_ids)
        corners[chosen] = torch.from_numpy(triangles[triangle_ids])
        weights[chosen] = torch.from_numpy(np.where(poor[:, None], nearest.barycentric, found.barycentric)).float()  # fmt: skip
    carry = lambda modes: (modes[:, corners] * weights[..., None]).sum(2)  # noqa: E731
    by_name = {name: carry(theirs.expression_mm[i : i + 1])[0] for i, name in enumerate(theirs.expression_names)}  # fmt: skip
    expression = model.expression_mm.clone()
    is_skin = torch.zeros(len(moved), dtype=torch.bool)
    is_skin[outer] = True
    for i, name in enumerate(model.expression_names):
        parts = [by_name[n] for n in (name, f"{name}Left", f"{name}Right") if n in by_name]
        expression[i][is_skin] = sum(parts)[is_skin] if parts else 0.0  # type: ignore[index]
        if not parts:
            expression[i] = 0
    identity = carry(theirs.identity_mm)
    _carry_along(model, identity, is_skin)
    mean = torch.from_numpy(moved).float()
    for part in model.part_names[1:]:  # eyeballs and teeth keep their shape
        ids = model.part_triangles(part).flatten().unique()
        ids = ids[~is_skin[ids]]
        mean[ids] = model.mean_mm[ids] + (mean[ids] - model.mean_mm[ids]).mean(0)
    return HeadFamily("ict", mean, identity, expression)


def _carry_along(model: MorphableModel, modes: Tensor, is_skin: Tensor) -> None:
    """Give parts that are not skin "k v 3" the mean motion of the skin about them, in place."""
    eyes = model.regions["eyes"] & is_skin
    left = model.mean_mm[:, 0] > 0
    around = {"eye_left": eyes & left, "eye_right": eyes & ~left}
    for part in model.part_names:
        ids = model.part_triangles(part).flatten().unique()
        ids = ids[~is_skin[ids]]
        if part == "lashes":
            for side in (left, ~left):
                modes[:, ids[side[ids]]] = modes[:, eyes & side].mean(1, keepdim=True)
        elif len(ids):
            modes[:, ids] = modes[:, around.get(part, model.regions["lips"] & is_skin)].mean(1, keepdim=True)


def write_family(path: Path, family: HeadFamily) -> None:
    """Keep a family.

    Raises:
        BadFile: it cannot be written.
    """
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.savez(
            file, name=np.array(family.name), mean=family.mean_mm.numpy(), identity=family.identity_mm.numpy(),
            expression=family.expression_mm.numpy(),
        )  # fmt: skip


def read_family(path: Path) -> HeadFamily:
    """A kept family.

    Raises:
        BadFile: missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            one = lambda name: torch.from_numpy(archive[name])  # noqa: E731
            return HeadFamily(str(archive["name"]), one("mean"), one("identity"), one("expression"))
    except Exception as error:
        raise BadFile(f"{path}: cannot be read ({error}); delete it and run the command again") from error


def make_drawn_person(
    model: MorphableModel, family: HeadFamily, name: str, skin: AtlasSkin, rng: np.random.Generator
) -> DrawnPerson:
    """Shape and looks of somebody of a family: a bundled head is bent, so that no code explains it wholly."""
    identity, deformation = None, None
    if family.name == "bundled":
        subject = make_subject(model, int(rng.integers(2**31)))
        identity, bent = 1.25 * subject.identity, subject.deformation_mm * float(rng.uniform(0.3, 1.2))
        # Rounded as it will be kept, so that nothing is left to be told by each vertex.
        deformation = (0.01 * np.rint(100 * bent.double().numpy())).astype(np.float32)
        matrix = deformation_operator(model, bent.shape[-1]).matrix
        neutral = _shaped(family.mean_mm, identity, family.identity_mm)
        neutral = neutral + torch.from_numpy(matrix @ deformation.reshape(3, -1).T)
    else:
        code = torch.from_numpy(rng.normal(0, 1, len(family.identity_mm))).float()
        neutral = _shaped(family.mean_mm, code, family.identity_mm)
    worn = worn_skin(model, skin, mirrored=bool(rng.random() < 0.5))
    hair = torch.tensor(_HAIR[int(rng.integers(len(_HAIR)))]) * float(np.exp(rng.normal(0, 0.25)))
    return DrawnPerson(name, family, neutral, identity, deformation, worn, _eye_colours(model, rng), hair, skin.name)  # fmt: skip


def posed(person: DrawnPerson, weights: Tensor) -> Tensor:
    """Vertices "v 3" of somebody with expression weights "e"."""
    used = weights.nonzero().squeeze(1)
    return _shaped(person.neutral_mm, weights[used], person.family.expression_mm[used])


def _shaped(start: Tensor, weights: Tensor, modes: Tensor) -> Tensor:
    return start + (weights @ modes.flatten(1)).reshape(-1, 3)


def random_weights(model: MorphableModel, rng: np.random.Generator) -> Tensor:
    """Expression weights "e": faces that people make, and any units at all, one side as it likes."""
    weights, _ = random_face(model, rng)
    if rng.random() < 0.6:
        return weights
    names: Sequence[str] = model.expression_names
    movable = [i for i, name in enumerate(names) if not name.startswith("eyeLook") and name != "mouthClose"]
    for i in rng.choice(movable, int(rng.integers(2, 8)), replace=False):
        name, value = names[i], float(rng.beta(1.2, 1.6))
        value *= _NEVER_FAR.get(name, 1.0)
        weights[i] = value
        other = _other_side(name)
        if other in names and rng.random() < 0.7:
            weights[names.index(other)] = min(1.0, value * float(rng.uniform(0.5, 1.5)))
    if "jawOpen" in names and "mouthClose" in names and rng.random() < 0.1:
        weights[names.index("mouthClose")] = float(weights[names.index("jawOpen")]) * float(rng.uniform(0, 1))
    if rng.random() < 0.15:
        for name in ("eyeBlinkLeft", "eyeBlinkRight"):
            if name in names:
                weights[names.index(name)] = float(rng.uniform(0.3, 1.0))
    return weights.clamp(0, 1)


def _other_side(name: str) -> str:
    if name.endswith("Left"):
        return name[:-4] + "Right"
    return name[:-5] + "Left" if name.endswith("Right") else ""


def _eye_colours(model: MorphableModel, rng: np.random.Generator) -> Tensor:
    """Vertex colours "v 3" of the parts that are not skin, irises between brown and blue."""
    colour = model.albedo_mean.clone()
    tint = torch.tensor(_IRIS[int(rng.integers(len(_IRIS)))]) * float(np.exp(rng.normal(0, 0.2)))
    for part in ("eye_left", "eye_right"):
        ids = model.part_triangles(part).flatten().unique()
        iris = ((0.45 - colour[ids].mean(1, keepdim=True)) / 0.1).clamp(0, 1)
        colour[ids] = colour[ids] * 0.82 * torch.lerp(torch.ones(3), tint, iris)
    return colour.clamp(0, 1)
