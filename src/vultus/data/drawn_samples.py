"""Training samples drawn by the hundred thousand: heads that do not exist, with everything that :class:`~vultus.data.sample.Sample` can say about them.

Sample i depends on the seed, the split and i (and on the skins, which come from the photos and the seed), on nothing else. A person is in
:data:`PER_PERSON` samples that follow each other. What many samples share, skins and carried heads, is made first and kept in the set's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BadFile, BadInput
from ..geometry.light import ambient_and_directional
from ..io.images import list_images
from ..model import bundled
from ..render.shade import over
from .fast_finish import as_photo, backdrop, crop_camera, soft_things
from .fast_people import (
    DrawnPerson,
    HeadFamily,
    bundled_family,
    carried_family,
    make_drawn_person,
    posed,
    random_weights,
    read_family,
    write_family,
)
from .fast_picture import Stage, draw_fast, make_stage
from .fast_skin import AtlasSkin, for_test, made_skin, read_skin, skin_of_photo, write_skin
from .fast_worn import Wardrobe, dress, make_wardrobe
from .limits import check_limits
from .manifest import Manifest
from .person import fixed_of
from .sample import Sample
from .scene import random_light

PER_PERSON = 8
SKINS, ICT_HEADS = "skins", "ict_heads.npz"
_TERMS = {
    "bundled": "the head that ships with vultus (CC0)",
    "ict": "ICT-FaceKit light (MIT): keep its copyright notice with copies of the meshes",
    "photos": "skins and backgrounds made from the photos that were given: their licence and the consent of the people in them go with every picture",
}
_SPLITS = {"train": 0, "test": 1}


@dataclass(frozen=True)
class DrawnOptions:
    """Which samples are drawn.

    Raises:
        BadInput: a number out of range, or a folder without what it should hold.
    """

    samples: int = 20_000
    """How many pictures, eight of each person."""
    split: Literal["train", "test"] = "train"
    """People, and photos that skins come from, are in one of the two only."""
    ict: Path | None = None
    """Folder of ICT-FaceKit: every other person has one of its heads."""
    photos: Path | None = None
    """Folder of portraits: skins and blurred backgrounds are made from them, once, three seconds each."""
    skins: int = 120
    """How many skins are made up; with --photos they are worn by one person in four."""
    size_px: int = 256
    """Side of the pictures, crops about the face."""
    max_yaw_deg: float = 90.0
    """Heads turn at most so far."""
    occluded: float = 0.35
    """Share of heads with glasses, a mask, a scarf, a hand or hair before the face; as many have flat shapes over it."""
    quality: int = 92
    """Of the JPEG files that the pictures are kept in."""
    per_shard: int = 500
    """Samples per file."""
    seed: int = 0
    """Other people for another number."""

    def __post_init__(self) -> None:
        check_limits(self, {"samples": (1, 10**8), "skins": (1, 10_000), "size_px": (64, 1024), "max_yaw_deg": (0, 90), "occluded": (0, 1), "quality": (30, 100),
                  "per_shard": (1, 100_000), "seed": (0, 2**31)})  # fmt: skip
        if self.split not in _SPLITS:
            raise BadInput(f"--split {self.split}: say train or test")
        if self.ict is not None and not self.ict.is_dir():
            raise BadInput(f"--ict {self.ict}: no such folder; give the folder of ICT-FaceKit (FaceXModel)")
        if self.photos is not None and not photos_of(self):
            raise BadInput(f"--photos {self.photos}: no pictures for the {self.split} split in it; give a folder with more portraits")  # fmt: skip


def photos_of(options: DrawnOptions) -> tuple[Path, ...]:
    """The photos that skins of this split come from."""
    if options.photos is None:
        return ()
    return tuple(path for path in list_images(options.photos) if for_test(path.name) == (options.split == "test"))  # fmt: skip


def manifest_of(options: DrawnOptions) -> Manifest:
    """What the set's manifest says before there is a shard. Photos are told by their names, so that the folder may move."""
    chosen: dict[str, Any] = asdict(options) | {"ict": options.ict is not None, "photos": [path.name for path in photos_of(options)]}  # fmt: skip
    for once in ("samples", "seed", "per_shard"):
        del chosen[once]
    terms = {}
    for family in ("bundled", *(["ict"] if options.ict is not None else [])):
        terms[family] = _TERMS[family]
        if options.photos is not None:
            terms[f"{family}+photos"] = f"{_TERMS[family]}; {_TERMS['photos']}"
    return Manifest("vultus dataset drawn", chosen, options.seed, terms, options.per_shard)


@dataclass(frozen=True)
class SourceTask:
    """Something that many samples share: a skin from a photo, a made skin (by number), or the carried heads; and the file that it is kept in."""

    path: Path
    options: DrawnOptions
    photo: Path | None = None
    skin: int | None = None


def missing_sources(folder: Path, options: DrawnOptions) -> list[SourceTask]:
    """What is still to be made before samples are drawn."""
    tasks = [SourceTask(path, options, photo=photo) for photo, path in _photo_files(folder, options)]
    tasks += [SourceTask(path, options, skin=k) for k, path in enumerate(_made_files(folder, options))]
    if options.ict is not None:
        tasks.insert(0, SourceTask(folder / ICT_HEADS, options))
    return [task for task in tasks if not task.path.is_file()]


def make_source(task: SourceTask) -> Path:
    """Make and keep one of them.

    Raises:
        BadFile: it cannot be written, or a source cannot be read. AssetMissing: ``options.ict`` lacks a file.
    """
    try:
        task.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadFile(f"{task.path.parent}: cannot be made ({error.strerror}); choose another -o") from error
    if task.photo is not None:
        write_skin(task.path, skin_of_photo(task.photo), task.photo.name)
    elif task.skin is not None:
        # Splits have different people, hence different skins.
        made = made_skin(bundled.load(), task.skin, 2 * task.options.seed + _SPLITS[task.options.split])
        write_skin(task.path, made, made.name)
    else:
        assert task.options.ict is not None
        write_family(task.path, carried_family(bundled.load(), task.options.ict))
    return task.path


class DrawnSet:
    """Samples by number, each drawn when it is asked for: what :func:`.shards.write_shard` takes.

    Args:
        folder: of the set, where the sources are (:func:`missing_sources` says which are not).
    """

    def __init__(self, folder: str | Path, options: DrawnOptions) -> None:
        self.options = options
        folder = Path(folder)
        self._stage, self._wardrobe = _shared()
        self._families: list[HeadFamily] = [bundled_family(self._stage.model)]
        if options.ict is not None:
            self._families.append(_carried(folder / ICT_HEADS))
        self._made = _made_files(folder, options)
        found = [path for _, path in _photo_files(folder, options)]
        self._photos = [path for path in found if read_skin(path) is not None]
        if options.photos is not None and not self._photos:
            raise BadInput(f"--photos {options.photos}: no face in any of its pictures; give other portraits")
        self._person: tuple[int, DrawnPerson, AtlasSkin] | None = None

    def __len__(self) -> int:
        return self.options.samples

    def __getitem__(self, number: int, /) -> Sample:
        with torch.no_grad():
            return self._draw(number)

    def _somebody(self, number: int) -> tuple[DrawnPerson, AtlasSkin]:
        if self._person is None or self._person[0] != number:
            options, model = self.options, self._stage.model
            rng = np.random.default_rng([options.seed, _SPLITS[options.split], number, 15485867])
            family = self._families[number % len(self._families)]
            files: Sequence[Path] = self._photos if self._photos and rng.random() < 0.75 else self._made
            skin = read_skin(files[int(rng.integers(len(files)))])
            assert skin is not None
            name = f"{options.split}-{options.seed}-{number:07d}"
            self._person = number, make_drawn_person(model, family, name, skin, rng), skin
        return self._person[1:]

    def _draw(self, number: int) -> Sample:
        options, stage = self.options, self._stage
        model = stage.model
        person, skin = self._somebody(number // PER_PERSON)
        rng = np.random.default_rng([options.seed, _SPLITS[options.split], number, 32452867])
        weights = random_weights(model, rng)
        vertices = posed(person, weights)
        face = vertices[fixed_of(model).face]
        camera = crop_camera(rng, face, options.size_px, options.max_yaw_deg)
        light = random_light(rng, person.skin.tone)
        moved = vertices - model.mean_mm
        worn, haired = dress(self._wardrobe, moved, person.skin.tone, person.hair, options.occluded, rng)
        drawn = draw_fast(stage, person, vertices, worn, haired, camera, light)
        behind = None if skin.behind is None else torch.from_numpy(skin.behind).float() / 255
        linear = over(drawn.rgba[None], backdrop(rng, options.size_px, behind)[None])[0]
        share = drawn.face
        if rng.random() < options.occluded:
            linear, share = soft_things(rng, linear, share, int(rng.integers(1, 4)))
        image = as_photo(rng, linear)
        zero = torch.zeros(())
        marks = model.landmarks["ibug68"].points(vertices, model.triangles, zero, zero)
        code: dict[str, NDArray[np.float32]] = {}
        maps: dict[str, NDArray[np.floating]] = {}
        if person.identity is not None and person.deformation_mm is not None:
            code = {"identity": person.identity.numpy(), "expression": weights.numpy()}
            maps = {"deformation_mm": person.deformation_mm}
        lamp = ambient_and_directional(torch.zeros(3), light.lamp.colour, light.lamp.towards)
        return Sample(
            key=f"{options.split}-{options.seed}-{number:08d}",
            source=person.family.name + ("+photos" if options.photos is not None else ""),
            image=_bytes(image).transpose(1, 2, 0).copy(),
            mask=np.where(share.numpy() > 0.5, 255, 0).astype(np.uint8),
            vertices_mm=vertices.numpy(),
            focal_px=float(camera.focal_px),
            principal_px=camera.principal_px.numpy(),
            T_camera_head=camera.T_camera_head.numpy(),
            landmarks_px=camera.project(marks).numpy(),
            person=person.name,
            code=code,
            maps=maps,
            light=(light.environment + lamp).numpy(),
        )


@lru_cache(maxsize=1)
def _shared() -> tuple[Stage, Wardrobe]:
    model = bundled.load()
    return make_stage(model), make_wardrobe(model)


@lru_cache(maxsize=1)
def _carried(path: Path) -> HeadFamily:
    return read_family(path)


def _photo_files(folder: Path, options: DrawnOptions) -> list[tuple[Path, Path]]:
    return [(photo, folder / SKINS / f"photo-{photo.name}.npz") for photo in photos_of(options)]


def _made_files(folder: Path, options: DrawnOptions) -> list[Path]:
    return [folder / SKINS / f"made-{k:04d}.npz" for k in range(options.skins)]


def _bytes(image: Tensor) -> NDArray[np.uint8]:
    return (image * 255).round().byte().numpy()
