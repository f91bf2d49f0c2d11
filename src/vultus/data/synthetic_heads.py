"""A folder of heads that do not exist, one picture each, whose every truth is known: what ``vultus evaluate synthetic`` is measured on.

Half are ICT-FaceKit heads where the user has them, the others bundled heads bent by a random map that no code explains. Head number i depends on
the seed, i, and the photos that skins come from, on nothing else; one head is one folder, written beside its place and renamed when whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BadInput
from ..geometry.camera import FULL_FRAME_DIAGONAL_MM, Camera
from ..geometry.mesh import Mesh, Topology
from ..geometry.rigid import pose_angles
from ..io.files import atomic_directory
from ..io.images import list_images, read_image, write_png
from ..io.ply import write_ply
from ..model.formats import ict
from ..model.morphable import MorphableModel
from .limits import check_limits
from .occluders import random_occluder
from .person import Person, fixed_of, make_person
from .picture import Drawn, draw
from .recipe import claim, rounded, write_json
from .scene import Light, as_jpeg, finished, random_backdrop, random_camera, random_light
from .worn import Wearer, cropped_hair, shirt

PHOTO, CAMERA, NEUTRAL, POSED = "photo.png", "camera.json", "neutral.ply", "posed.ply"
LANDMARKS, MASK, OCCLUDER, TRUTH = "landmarks.json", "mask.png", "occluded.png", "truth.npz"
_SOURCES = {
    "bundled": "the head that ships with vultus (CC0)",
    "ict": "ICT-FaceKit light (MIT): keep its copyright notice with copies of the meshes",
    "photos": "skins and backgrounds made from the photos that were given: their licence and the consent of the people in them go with every picture",
}
_HAIR = ((0.012, 0.009, 0.008), (0.03, 0.018, 0.010), (0.075, 0.04, 0.02), (0.22, 0.14, 0.065), (0.12, 0.04, 0.015), (0.25, 0.25, 0.25))  # fmt: skip


@dataclass(frozen=True)
class SyntheticOptions:
    """Which heads are made.

    Raises:
        BadInput: a number out of range, or photos without any.
    """

    heads: int = 200
    """How many people, one picture each."""
    ict: Path | None = None
    """Folder of ICT-FaceKit: every other head is one of its."""
    photos: Path | None = None
    """Folder of frontal portraits, evenly lit: skins and blurred backgrounds are made from them."""
    size_px: int = 640
    """Side of the pictures."""
    max_yaw_deg: float = 60.0
    """Heads turn at most so far."""
    occluded: float = 0.25
    """Share of heads with sunglasses, a mask, a scarf, a hand or hair before the face."""
    jpeg: bool = False
    """Pass pictures through JPEG (still stored as PNG)."""
    seed: int = 0
    """Other people for another number."""

    def __post_init__(self) -> None:
        check_limits(self, {"heads": (1, 10**6), "size_px": (128, 4096), "max_yaw_deg": (0, 90), "occluded": (0, 1), "seed": (0, 2**31)})  # fmt: skip
        if self.ict is not None and not self.ict.is_dir():
            raise BadInput(f"--ict {self.ict}: no such folder; give the folder of ICT-FaceKit (FaceXModel)")
        if self.photos is not None and not list_images(self.photos):
            raise BadInput(f"--photos {self.photos}: no pictures in it; give a folder with portraits")


def make_heads(
    model: MorphableModel, folder: str | Path, options: SyntheticOptions
) -> Iterator[tuple[Path, bool]]:
    """Write what is missing of a set, one head at a time: yields each folder and whether it was made just now.

    Args:
        model: the bundled one.

    Raises:
        BadInput: the folder holds a set made with other options. BadFile: it cannot be written, or a source cannot be read.
        AssetMissing: ``options.ict`` lacks a file.
    """
    folder = Path(folder)
    if options.ict is not None:
        _ict(options.ict)  # before the folder is claimed: a wrong path leaves nothing behind
    claim(folder, recipe_of(model, options), grows="heads", what="a set of synthetic heads")
    for number in range(options.heads):
        place = folder / f"{number + 1:03d}"
        made = not (place / TRUTH).is_file()
        if made:
            write_head(model, place, number, options)
        yield place, made


def recipe_of(model: MorphableModel, options: SyntheticOptions) -> dict[str, Any]:
    """What :data:`~vultus.data.recipe.RECIPE` says: options, sources with their terms; photos by a digest, so that the folder may move."""
    chosen = asdict(options) | {"ict": options.ict is not None, "photos": None}
    sources = [_SOURCES["bundled"]]
    if options.ict is not None:
        sources.append(_SOURCES["ict"])
    if options.photos is not None:
        names = [path.name for path in list_images(options.photos)]
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]
        chosen["photos"] = f"{len(names)} files, names {digest}"
        sources.append(_SOURCES["photos"])
    return {"maker": "vultus dataset synthetic", "version": 1, "model": model.name, **chosen, "sources": sources}  # fmt: skip


def write_head(model: MorphableModel, place: Path, number: int, options: SyntheticOptions) -> None:
    """One person: picture, camera, surfaces, landmarks, masks, and the numbers behind them."""
    rng = np.random.default_rng([options.seed, number, 15485863])
    photos = list_images(options.photos) if options.photos is not None else ()
    if options.ict is not None and number % 2:
        person = make_person(_ict(options.ict), "ict", number, options.seed, photos, rng)
    else:
        person = make_person(model, "bundled", number, options.seed, photos, rng)
    own = person.model
    zero = torch.zeros(())
    table = own.landmarks["ibug68"]
    marks = {name: table.points(v, own.triangles, zero, zero) for name, v in (("neutral", person.neutral), ("posed", person.posed))}  # fmt: skip
    fixed = fixed_of(own)
    camera = random_camera(rng, person.posed[fixed.face], options.size_px, options.max_yaw_deg)
    light = random_light(rng, person.tone)
    image, drawn, worn = take_picture(person, marks["posed"], camera, light, options, photos, rng)
    occluded = float(drawn.hidden.sum() / (drawn.hidden.sum() + drawn.face.sum()).clamp_min(1))
    angles = {name: float(angle) for name, angle in pose_angles(camera.T_camera_head[:3, :3])._asdict().items()}  # fmt: skip
    with atomic_directory(place, lambda _: ()) as partial:
        write_png(partial / PHOTO, image)
        write_png(partial / MASK, (drawn.face > 0.5).float()[None])
        write_png(partial / OCCLUDER, (drawn.hidden > 0.5).float()[None])
        for name, vertices in ((NEUTRAL, person.neutral), (POSED, person.posed)):
            used, triangles = torch.unique(fixed.surface, return_inverse=True)
            write_ply(partial / name, Mesh(vertices[used], Topology(triangles, len(used))), normals=False)
        write_json(partial / CAMERA, _camera_entry(camera) | angles)
        px = camera.project(marks["posed"])[:, :2]
        write_json(partial / LANDMARKS, {
            "unit": "mm", "scheme": "ibug68", "neutral": rounded(marks["neutral"], 4), "posed": rounded(marks["posed"], 4),
            "posed_px": rounded(px, 3),
        })  # fmt: skip
        _write_truth(partial / TRUTH, person, light, worn=worn, occluded_share=occluded)


def take_picture(
    person: Person,
    marks: Tensor,
    camera: Camera,
    light: Light,
    options: SyntheticOptions,
    photos: Sequence[Path],
    rng: np.random.Generator,
) -> tuple[Tensor, Drawn, str]:
    """A picture "3 h w" sRGB of somebody dressed, in 256 levels; what was drawn; and the name of what hides the face, if anything."""
    hair = torch.tensor(_HAIR[int(rng.integers(len(_HAIR)))]) * float(np.exp(rng.normal(0, 0.2)))
    wearer = Wearer(person.model, person.posed, marks, person.tone, hair)
    props, skin = [shirt(wearer, rng)], person.skin
    occluder = random_occluder(wearer, rng) if rng.random() < options.occluded else None
    if rng.random() < 0.75 or (occluder and occluder.name == "hair"):
        depth = fixed_of(person.model).hairline
        props.append(cropped_hair(wearer, depth, rng))
        stubble = (0.8 * (2 * depth + 0.6).clamp(0, 1))[:, None]
        skin = replace(skin, colour=torch.lerp(skin.colour, 0.6 * hair.expand_as(skin.colour), stubble))
    if occluder:
        props.append(occluder)
    own = person.model
    drawn = draw(own, person.posed, fixed_of(own).is_face, skin, props, camera, light)
    behind = None
    if photos:
        behind = read_image(photos[int(rng.integers(len(photos)))], 256)[0]
    backdrop, _ = random_backdrop(rng, options.size_px, behind)
    noise = float(rng.uniform(0.003, 0.02))
    image = finished(drawn.rgba, backdrop[None], noise, int(rng.integers(2**31)))
    quality = int(rng.integers(35, 93))
    image = (image * 255).round() / 255
    return (as_jpeg(image, quality) if options.jpeg else image), drawn, occluder.name if occluder else ""


@lru_cache(maxsize=1)
def _ict(folder: Path) -> MorphableModel:
    return ict.load(folder)


def _camera_entry(camera: Camera) -> dict[str, Any]:
    focal, (x, y) = float(camera.focal_px), camera.principal_px.tolist()
    diagonal = float(np.hypot(*camera.size_px))
    return {
        "unit": "mm",
        "K": [[focal, 0.0, x], [0.0, focal, y], [0.0, 0.0, 1.0]],
        "T_camera_head": rounded(camera.T_camera_head, 9),
        "size": list(camera.size_px),
        "focal_px": focal,
        "focal_mm35": focal / diagonal * FULL_FRAME_DIAGONAL_MM,
    }


def _write_truth(path: Path, person: Person, light: Light, *, worn: str, occluded_share: float) -> None:
    with path.open("wb") as file:
        np.savez_compressed(
            file, group=person.group, identity=person.code.identity.numpy(), expression=person.code.expression.numpy(),
            expression_names=np.array(person.model.expression_names), expression_kind=person.expression,
            albedo=person.code.albedo.numpy(), deformation_mm=person.deformation_mm.numpy(), tone=person.tone.numpy(),
            skin=person.source, environment=light.environment.numpy(), lamp_towards=light.lamp.towards.numpy(),
            lamp_colour=light.lamp.colour.numpy(), occluder=worn, occluded_share=occluded_share,
        )  # fmt: skip
