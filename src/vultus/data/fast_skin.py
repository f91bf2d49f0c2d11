"""Skins for the fast maker: textures over the whole atlas of the bundled head, made once per set and worn by many people.

From photos: the pipeline explains the photo, takes its light out and completes what it does not show. Without photos: a random skin of the albedo basis
with moles, blotches, brows, stubble and make-up, and a relief of wrinkles that turns the normals.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BadFile, FaceNotFound
from ..geometry.chart_map import detailed_normals, unit
from ..geometry.mesh import vertex_normals
from ..io.files import atomic_file
from ..io.images import read_image
from ..model.albedo_basis import AlbedoBasis, load_albedo_basis, random_code
from ..model.face import TexturedFace
from ..model.morphable import MorphableModel
from ..render.bake import bake, dilate
from ..render.shade import linear_from_srgb, sample_texture, srgb_from_linear
from .wrinkles import light_map, skin_albedo, wrinkle_map

TEXELS = 384
CHART_IN_ATLAS = (0.115, 0.885)
"""The face chart's square in the skin's atlas (docs/model.md)."""
_CHART = round(TEXELS * (CHART_IN_ATLAS[1] - CHART_IN_ATLAS[0]))
_MILDER = 0.8  # than the photos' spread about their tones: some of that is light
_FADING = 12  # texels of the chart
_BEHIND_PX = 64
_PATCH = 21  # texels
_DARKER, _DARKENED = (0.95, 1.05, 1.05), 1 / 3  # in the logarithm of each channel; share of made skins
_TEST_SHARE = 10  # one in so many photos is for the test split


@dataclass(frozen=True)
class AtlasSkin:
    """A skin as it is kept.

    Attributes:
        name: of the photo, or of the made skin. albedo: (3, s, s) uint8 sRGB. relief: (4, s, s) uint8, what is added to normals (head frame, 128 is
            nothing, 127 steps are one) and how open the relief's own sky is; None: none. behind: (3, t, t) uint8, the photo, small; None: none.
    """

    name: str
    albedo: NDArray[np.uint8]
    relief: NDArray[np.uint8] | None = None
    behind: NDArray[np.uint8] | None = None


def for_test(name: str) -> bool:
    """Whether the person of a photo of this name is for the test split: a tenth are, whatever folder the photo is in and whoever else is."""
    return int(hashlib.sha256(Path(name).stem.encode()).hexdigest(), 16) % _TEST_SHARE == 0


def skin_of_photo(path: Path) -> AtlasSkin | None:
    """Of the largest face of a photo; None where there is none. Takes three seconds.

    Raises:
        BadFile: the photo cannot be read.
    """
    from ..stages.reconstruct import reconstruct  # here: the command line is up before the networks are

    image, _ = read_image(path, 1000)
    try:
        found = reconstruct(image, level="deformed", texture_size=TEXELS)
    except FaceNotFound:
        return None
    face = found.face
    if not isinstance(face, TexturedFace) or face.albedo is None:
        return None
    albedo = face.albedo
    albedo = _evened(linear_from_srgb(albedo))
    small = F.interpolate(image[None], (_BEHIND_PX, _BEHIND_PX), mode="area")[0]
    return AtlasSkin(path.name, _bytes(srgb_from_linear(albedo)), behind=_bytes(small))


def _evened(albedo: Tensor) -> Tensor:
    """Linear albedo "3 s s" with milder large patches, alike on both sides: what is left in it of the photo's light is uneven, people are less so."""
    light = albedo.clamp_min(0.004).log()
    smooth = light[None]
    for _ in range(3):
        smooth = F.avg_pool2d(F.pad(smooth, (_PATCH // 2,) * 4, mode="replicate"), _PATCH, 1)
    smooth = smooth[0]
    middle = smooth.flatten(1).median(1).values[:, None, None]
    return (light - smooth + middle + 0.6 * ((smooth + smooth.flip(-1)) / 2 - middle)).exp().clamp(0, 1)


def made_skin(model: MorphableModel, number: int, seed: int) -> AtlasSkin:
    """Skin number so-and-so of a set; takes a quarter of a second."""
    rng = np.random.default_rng([seed, number, 32452843])
    # Cameras lift dark faces, so photos and what is learnt from them show fewer than there are.
    melanin = float(rng.uniform(0.3, 1.4)) if rng.random() < _DARKENED else 0.0
    shade = torch.exp(-melanin * torch.tensor(_DARKER))
    blemishes = int(rng.integers(2**31))
    colour = model.albedo_mean
    detail = torch.log(skin_albedo(model, colour, _CHART, blemishes) / _in_chart(model, colour))
    grounds = _grounds(model)
    basis = load_albedo_basis()
    looks = random_code(basis, rng)
    looks[1:] *= _MILDER
    base = around_chart(model, basis, basis.texture(looks))
    texture = base * torch.exp(grounds.chart * _pasted(detail)) * shade[:, None, None]
    noise = F.interpolate(torch.from_numpy(rng.normal(0, 1, (1, 1, 192, 192))).float(), (TEXELS, TEXELS), mode="bicubic")[0, 0]  # fmt: skip
    texture = texture * torch.exp(0.025 * noise * (1 - grounds.chart))
    if rng.random() < 0.4:  # stubble or a beard
        thick = float(rng.uniform(0.15, 1.6))
        hair = grounds.beard * (1 + 0.45 * noise).clamp_min(0) * thick
        texture = texture * torch.exp(-hair * torch.tensor([1.0, 0.97, 0.88])[:, None, None])
    elif rng.random() < 0.6:  # make-up
        lips = torch.from_numpy(rng.uniform([0.0, 0.4, 0.2], [0.35, 1.3, 1.0])).float()
        lids = torch.from_numpy(rng.uniform(0.0, 0.9, 3) * rng.uniform(0, 1)).float()
        blush = float(rng.uniform(0, 0.35)) * torch.tensor([0.05, 1.0, 0.7])
        for ground, absorbed in ((grounds.lips, lips), (grounds.lids, lids), (grounds.cheeks, blush)):
            texture = texture * torch.exp(-ground * absorbed[:, None, None])
    relief = _relief(model, wrinkle_map(model, _CHART, blemishes, float(rng.uniform(0.0, 0.8))))
    nothing = torch.tensor([0.0, 0.0, 0.0, 1.0])[:, None, None]
    relief = torch.lerp(nothing.expand(4, TEXELS, TEXELS), _pasted(relief), grounds.chart)
    coded = torch.cat([(relief[:3] * 127 + 128) / 255, relief[3:]])
    return AtlasSkin(f"made {number}", _bytes(srgb_from_linear(texture.clamp(0, 1))), _bytes(coded))


def around_chart(model: MorphableModel, basis: AlbedoBasis, chart: Tensor) -> Tensor:
    """A texture of the basis "3 s s" laid into the atlas "3 t t"; where it ends the model's mean skin goes on in its tone."""
    resized = lambda maps: F.interpolate(maps[None], (_CHART,) * 2, mode="bilinear", align_corners=False)[0]  # noqa: E731
    large, known = resized(chart).clamp_min(0.004), resized(basis.known[None].float())
    tone = (large / _in_chart(model, model.albedo_mean))[:, known[0] > 0.9].median(1).values
    around = (_in_atlas(model, model.albedo_mean) * tone[:, None, None]).clamp_min(0.004)
    # From the temples to the hair it goes over slowly, at lids and lips at once: they are the face's.
    slowly = known[None]
    for _ in range(3):
        slowly = F.avg_pool2d(F.pad(slowly, (_FADING,) * 4), 2 * _FADING + 1, 1)
    fade = _pasted(((slowly[0] - 0.4) / 0.4).clamp(0, 1).maximum(_inside_face(_CHART)) * known)
    return torch.lerp(around.log(), _pasted(large).log(), _grounds(model).chart * fade).exp().clamp(0, 1)


def _inside_face(size: int) -> Tensor:
    """One in the middle of the chart, where eyes and mouth are, zero towards its border: "1 s s"."""
    axis = (torch.arange(size) + 0.5) / size
    far = torch.maximum((axis[None] - 0.5).abs() / 0.5, (axis[:, None] - 0.5).abs() / 0.5)
    return ((0.8 - far) / 0.2).clamp(0, 1)[None]


def write_skin(path: Path, skin: AtlasSkin | None, name: str) -> None:
    """Keep a skin; None: that the photo of this name has none.

    Raises:
        BadFile: it cannot be written.
    """
    fields = {"name": np.array(name)}
    if skin is not None:
        fields |= {key: value for key, value in (("albedo", skin.albedo), ("relief", skin.relief), ("behind", skin.behind)) if value is not None}  # fmt: skip
    with atomic_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **fields)


@lru_cache(maxsize=64)
def read_skin(path: Path) -> AtlasSkin | None:
    """A kept skin; None where the photo showed nobody.

    Raises:
        BadFile: damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            fields = {name: archive[name] for name in archive.files}
        name = str(fields.pop("name"))
        return AtlasSkin(name, **fields) if fields else None
    except Exception as error:
        raise BadFile(f"{path}: cannot be read ({error}); delete it and run the command again") from error


@dataclass(frozen=True)
class WornSkin:
    """A skin ready to draw: layers "s s 3" linear albedo, or "s s 7" with what is added to normals and the relief's open sky; tone "3" of the cheeks."""

    layers: Tensor
    tone: Tensor


_LINEAR = linear_from_srgb(torch.arange(256) / 255)


def worn_skin(model: MorphableModel, skin: AtlasSkin, *, mirrored: bool) -> WornSkin:
    """As it is drawn, or with left and right exchanged: the atlas is symmetric."""
    albedo = _LINEAR[torch.from_numpy(skin.albedo).long()]
    layers = albedo
    if skin.relief is not None:
        coded = torch.from_numpy(skin.relief).float()
        layers = torch.cat([albedo, (coded[:3] - 128) / 127, coded[3:] / 255])
    if mirrored:
        layers = layers.flip(-1)
        layers[3:4] *= -1
    cheeks = _grounds(model).cheeks > 0.5
    return WornSkin(layers.permute(1, 2, 0).contiguous(), albedo[:, cheeks].median(1).values)


def atlas_uv(model: MorphableModel) -> Tensor:
    """Atlas coordinates "v 2" of the skin's vertices; zero for other parts."""
    topology, skin = model.topology, model.part_of_triangle == 0
    assert topology.uv is not None and topology.uv_triangles is not None
    uv = torch.zeros(len(model.mean_mm), 2)
    uv[topology.triangles[skin].flatten()] = topology.uv[topology.uv_triangles[skin]].flatten(0, 1)
    return uv


@dataclass(frozen=True)
class _Grounds:
    """Where in the atlas things are, "s s" in [0, 1] with soft borders: the chart's inside, beard, lips, upper lids, cheeks."""

    model: MorphableModel
    chart: Tensor
    beard: Tensor
    lips: Tensor
    lids: Tensor
    cheeks: Tensor


_kept: list[_Grounds] = []


def _grounds(model: MorphableModel) -> _Grounds:
    if not _kept or _kept[0].model is not model:
        assert model.chart is not None
        zero = torch.zeros(())
        marks = model.landmarks["ibug68"].points(model.mean_mm, model.triangles, zero, zero)
        x, y, z = model.mean_mm.unbind(1)
        chin, nose = float(marks[8, 1]), float(marks[33, 1])
        low = torch.sigmoid((nose - 3 - y) / 2) * torch.sigmoid((y - chin + 35) / 8)
        aside = torch.sigmoid((nose + 30 - y - 0.9 * (x.abs() - 42)) / 4) * torch.sigmoid((x.abs() - 40) / 5)
        front = torch.sigmoid((z + 45) / 8)
        lips = model.regions["lips"].float()
        brow, eye = float(marks[17:27, 1].mean()), marks[36:48, 1].mean()
        lids = (model.regions["eyes"] & (y > float(eye)) & (y < brow - 5)).float()
        masks = torch.stack([torch.maximum(low, aside).clamp(0, 1) * front * (1 - lips), lips, lids, model.regions["cheeks"].float()], 1)  # fmt: skip
        inside = torch.isfinite(model.chart.uv[:, 0]).float()[:, None]
        found = _in_atlas(model, torch.cat([masks, inside], 1))
        soft = lambda m, r: F.avg_pool2d(m[None, None], 2 * r + 1, 1, r)[0, 0].clamp(0, 1)  # noqa: E731
        _kept[:] = [_Grounds(model, (2 * soft(found[4], 6) - 1).clamp(0, 1), soft(found[0], 2), soft(found[1], 1), soft(found[2], 3), soft(found[3], 8))]  # fmt: skip
    return _kept[0]


def _in_atlas(model: MorphableModel, values: Tensor) -> Tensor:
    """Vertex values "v c" over the skin's atlas: "c s s"."""
    skin = (model.part_of_triangle == 0).nonzero().squeeze(1)
    return dilate(*bake(values, model.topology, skin, TEXELS))


def _in_chart(model: MorphableModel, values: Tensor) -> Tensor:
    """Vertex values "v c" over the face chart: "c t t", as fine as the atlas is there."""
    assert model.chart is not None
    topology = model.chart.topology
    return dilate(*bake(values, topology, torch.arange(len(topology.triangles)), _CHART)).clamp_min(0.005)


def _pasted(chart: Tensor) -> Tensor:
    """A map over the face chart "c t t" laid into the atlas: "c s s"; around the chart its border goes on."""
    low, high = CHART_IN_ATLAS
    axis = ((torch.arange(TEXELS) + 0.5) / TEXELS - low) / (high - low)
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    return sample_texture(chart, torch.stack([u, v])[None])[0]


def _relief(model: MorphableModel, displacement_mm: Tensor) -> Tensor:
    """What a relief adds to the mean head's normals, and its own open sky: "4 t t" over the face chart."""
    assert model.chart is not None
    topology = model.chart.topology
    normals = vertex_normals(model.mean_mm, model.triangles)
    every = torch.arange(len(topology.triangles))
    values = dilate(*bake(torch.cat([model.mean_mm, normals], 1), topology, every, len(displacement_mm)))
    smooth = unit(values[3:])
    turned = detailed_normals(values[:3], smooth, displacement_mm) - smooth
    return torch.cat([turned, light_map(values[:3], smooth, displacement_mm, torch.ones(3), [])[:1]])


def _bytes(image: Tensor) -> NDArray[np.uint8]:
    return (image.clamp(0, 1) * 255).round().byte().numpy()
