"""Hair, clothes and things before the face, made once on the mean head and carried to any other: the fast maker has no time to tailor.

Each thing's vertices follow some hundred handles on the skin about them, so that glasses sit on other noses and masks follow an opening jaw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse
from scipy.spatial import KDTree
from torch import Tensor

from ..geometry.mesh import edges, vertex_normals
from ..model.morphable import MorphableModel
from .occluders import fringe, hand, sunglasses
from .shapes import Prop, joined, sheet
from .worn import Wearer, cropped_hair, hairline, mask, random_colour, scarf, shirt

_HANDLES, _NEIGHBOURS = 700, 10
_VARIANTS: Mapping[str, int] = {"cropped hair": 10, "long hair": 10, "shirt": 8, "sunglasses": 10, "glasses": 10, "mask": 6, "scarf": 5,
                                "hand": 16, "fringe": 10}  # fmt: skip
OCCLUDERS = ("sunglasses", "glasses", "mask", "scarf", "hand", "fringe")
_OFTEN = (0.14, 0.30, 0.16, 0.08, 0.20, 0.12)
_GREY, _TONE = 0.5, 0.5  # of hair, cloth and skin when things are made: colours come when they are worn


@dataclass(frozen=True)
class Thing:
    """Something made, and how it follows a head.

    Attributes:
        name: a key of the variants. prop: on the mean head. follow: (n, v), what share of each vertex's motion every vertex of it takes.
        normals: "n 3" on the mean head.
    """

    name: str
    prop: Prop
    follow: sparse.csr_matrix
    normals: Tensor


Wardrobe = Mapping[str, Sequence[Thing]]
"""Things by name."""


def make_wardrobe(model: MorphableModel) -> Wardrobe:
    """Some of each kind, the same for every set; takes three seconds."""
    zero = torch.zeros(())
    marks = model.landmarks["ibug68"].points(model.mean_mm, model.triangles, zero, zero)
    wearer = Wearer(model, model.mean_mm, marks, torch.full((3,), _TONE), torch.full((3,), _GREY))
    skin = model.part_triangles("skin")
    inner = model.regions["inner_mouth"] | model.regions["eye_sockets"] | model.regions["ears"]
    outer = skin.unique()
    outer = outer[~inner[outer]]
    depth = hairline(model, edges(model.triangles))
    makers: dict[str, Callable[[np.random.Generator], Prop]] = {
        "cropped hair": lambda rng: cropped_hair(wearer, depth, rng),
        "long hair": lambda rng: _long_hair(wearer, depth, rng),
        "shirt": lambda rng: _both_sides(shirt(wearer, rng)),
        "sunglasses": lambda rng: sunglasses(wearer, rng),
        "glasses": lambda rng: _clear(sunglasses(wearer, rng), rng),
        "mask": lambda rng: mask(wearer, rng),
        "scarf": lambda rng: scarf(wearer, rng),
        "hand": lambda rng: hand(wearer, rng),
        "fringe": lambda rng: fringe(wearer, rng),
    }
    found = {}
    for k, (name, make) in enumerate(makers.items()):
        props = [make(np.random.default_rng([k, i, 49979687])) for i in range(_VARIANTS[name])]
        found[name] = [_bound(model, outer, name, prop) for prop in props]
    return found


def _bound(model: MorphableModel, outer: Tensor, name: str, prop: Prop) -> Thing:
    places = model.mean_mm.numpy()
    handles = outer[torch.randperm(len(outer), generator=torch.Generator().manual_seed(1))[:_HANDLES]].numpy()
    if name == "hand":  # a thing of its own: it goes where its middle goes
        middle = prop.vertices[: len(prop.vertices) * 2 // 3].mean(0, keepdim=True).expand_as(prop.vertices)
        distance, near = KDTree(places[handles]).query(middle.numpy(), k=_NEIGHBOURS)
    else:
        distance, near = KDTree(places[handles]).query(prop.vertices.numpy(), k=_NEIGHBOURS)
    width = distance.mean(1, keepdims=True) + 1e-6
    weight = np.exp(-((distance / width) ** 2))
    weight /= weight.sum(1, keepdims=True)
    count = len(prop.vertices)
    columns = handles[np.asarray(near).ravel()]
    entries = weight.ravel().astype(np.float32), (np.repeat(np.arange(count), _NEIGHBOURS), columns)
    follow = sparse.csr_matrix(entries, shape=(count, len(places)))
    return Thing(name, prop, follow, vertex_normals(prop.vertices, prop.triangles))


def worn_by(thing: Thing, moved_mm: Tensor, tint: Tensor) -> Prop:
    """A thing on a head that lies "v 3" from the mean head, its colours times "3"."""
    vertices = thing.prop.vertices + torch.from_numpy(thing.follow @ moved_mm.numpy())
    return replace(thing.prop, vertices=vertices, colour=(thing.prop.colour * tint).clamp(0, 1))


def dress(
    wardrobe: Wardrobe,
    moved_mm: Tensor,
    tone: Tensor,
    hair: Tensor,
    occluded: float,
    rng: np.random.Generator,
) -> tuple[list[tuple[Thing, Prop]], bool]:
    """What somebody wears, and whether hair covers the scalp.

    Args:
        moved_mm: "v 3" from the mean head. tone, hair: "3" linear. occluded: how often something is before the face.
    """
    pick = lambda name: wardrobe[name][int(rng.integers(len(wardrobe[name])))]  # noqa: E731
    worn = [(pick("shirt"), torch.from_numpy(rng.uniform(0.7, 1.3, 3)).float())]
    style = str(rng.choice(["cropped hair", "long hair", ""], p=[0.5, 0.3, 0.2]))
    over = str(rng.choice(OCCLUDERS, p=_OFTEN)) if rng.random() < occluded else ""
    if over == "fringe" and not style:
        style = "cropped hair"
    if style:
        worn.append((pick("cropped hair"), hair / _GREY))
    if style == "long hair":
        worn.append((pick("long hair"), hair / _GREY))
    if over:
        plain = random_colour(rng, 0.5, 0.95) / 0.5
        tints = {"hand": tone / _TONE * float(rng.uniform(0.85, 1.1)), "fringe": hair / _GREY, "mask": plain, "scarf": plain}  # fmt: skip
        worn.append((pick(over), tints.get(over, torch.ones(3))))
    return [(thing, worn_by(thing, moved_mm, tint)) for thing, tint in worn], bool(style)


def _long_hair(wearer: Wearer, depth: Tensor, rng: np.random.Generator) -> Prop:
    """A curtain round the back and the sides of the head, down to the jaw or over the shoulders; it is seen from both sides."""
    head = wearer.vertices[wearer.model.regions["scalp"]]
    centre = torch.tensor([0.0, 0.0, float(head[:, 2].max() + head[:, 2].min()) / 2])
    half = (head.max(0).values - head.min(0).values) / 2
    begin = math.radians(float(rng.uniform(62, 88)))
    bottom, thick = float(rng.uniform(-230, -70)), float(rng.uniform(4, 16))
    rows, columns = 18, 72
    turn = torch.linspace(begin, 2 * math.pi - begin, columns)[None]
    height = torch.linspace(88, bottom, rows)[:, None]
    strand = torch.from_numpy(rng.normal(0, 1, columns)).float()
    wave = float(rng.uniform(0, 5)) * torch.sin(
        height / float(rng.uniform(14, 40)) + 2 * strand.cumsum(0) / 6
    )
    level = ((height - 20) / 105).clamp(-1, 0.92)
    wide = torch.where(height > 20, (1 - level**2).sqrt(), torch.ones_like(level))
    out = thick * (0.5 + 0.5 * ((100 - height) / 120).clamp(0, 1)) + wave + 1.2 * strand
    x = torch.sin(turn) * (half[0] * wide + out)
    z = centre[2] + torch.cos(turn) * (half[2] * wide + out) - 6
    # Below the jaw hair falls on the shoulders, not into the neck.
    z = torch.where(height < -60, z + 0.12 * (-60 - height) * torch.cos(turn).clamp_min(-0.3), z)
    y = height + 0 * turn + (height < bottom + 20) * 6 * strand
    points = torch.stack([x, y, z], 2).flatten(0, 1)
    grain = torch.stack([(turn / (2 * math.pi)).expand(rows, -1), ((88 - height) / 330).expand(-1, columns), torch.full((rows, columns), 0.7)], 2)  # fmt: skip
    faces = sheet(rows, columns)
    shade = wearer.hair * torch.exp(0.12 * strand)[None, :, None].expand(rows, columns, 1)
    outside = Prop("long hair", points, faces, shade.flatten(0, 1), grain.flatten(0, 1), 0.05)
    return _both_sides(outside)


def _both_sides(prop: Prop) -> Prop:
    n = len(prop.vertices)
    return replace(
        prop, vertices=prop.vertices.repeat(2, 1), colour=prop.colour.repeat(2, 1), grain=prop.grain.repeat(2, 1),
        triangles=torch.cat([prop.triangles, prop.triangles.flip(1) + n]),
    )  # fmt: skip


def _clear(glasses: Prop, rng: np.random.Generator) -> Prop:
    """Spectacles: the frame alone, in any colour."""
    lens = glasses.colour[0]
    is_lens = (glasses.colour == lens).all(1)
    keep = ~is_lens[glasses.triangles].all(1)
    used, triangles = torch.unique(glasses.triangles[keep], return_inverse=True)
    colour = random_colour(rng, 0.02, 0.6)
    return joined("glasses", [(glasses.vertices[used], triangles, colour)], gloss=0.5)
