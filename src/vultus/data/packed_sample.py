"""A :class:`~vultus.data.sample.Sample` as a few small files in memory, and back: what a shard holds of each.

Vertices are most of a sample. Where code and deformation map explain them nothing is stored; else, or where they do not explain all, what is left in
steps of :data:`STEP_MM` beside an affine map of the mean head, each vertex as the difference to what its neighbours foretell. Either way no coordinate is off by
more than half a step.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import zipfile
from collections import deque
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import BadInput
from ..model import bundled
from ..model.deformation import deformation_operator
from .sample import Sample

STEP_MM = 0.01
IMAGE, MASK, ARRAYS, FACTS = "jpg", "mask.png", "npz", "json"
"""Endings of the files of one sample, after its key and a dot."""
_MAP_STEPS = {"deformation_mm": 0.01, "displacement_mm": 0.002}
_STEPS, _DELTAS, _AFFINE = "steps", "vertex_steps", "vertex_affine"


def pack(sample: Sample, *, quality: int = 92) -> dict[str, bytes]:
    """Ending -> contents.

    Args:
        quality: of the JPEG picture, 1 to 100; the only thing that is not given back as it was (and masks: 0 or 255).

    Raises:
        BadInput: vertices that are not the bundled head's, an image or mask of the wrong type.
    """
    if sample.image.dtype != np.uint8 or sample.image.ndim != 3 or sample.image.shape[2] != 3:
        raise BadInput(f"sample {sample.key}: image must be uint8 (h, w, 3), got {sample.image.dtype} {sample.image.shape}")  # fmt: skip
    if sample.mask.dtype != np.uint8 or sample.mask.shape != sample.image.shape[:2]:
        raise BadInput(f"sample {sample.key}: mask must be uint8 {sample.image.shape[:2]}, got {sample.mask.dtype} {sample.mask.shape}")  # fmt: skip
    arrays: dict[str, NDArray] = {"landmarks_px": np.asarray(sample.landmarks_px, np.float32)}
    arrays |= {f"code/{name}": np.asarray(value, np.float32) for name, value in sample.code.items()}
    for name, value in sample.maps.items():
        arrays |= _packed_map(name, value)
    stored_maps = {name: _unpacked_map(name, arrays) for name in sample.maps}
    wanted = np.asarray(sample.vertices_mm, np.float64)
    if not np.isfinite(wanted).all():
        raise BadInput(f"sample {sample.key}: vertices_mm are not all finite")
    left = wanted - _explained(sample.key, len(wanted), sample.code, stored_maps)
    if np.abs(left).max() > STEP_MM / 2:
        arrays[_AFFINE] = _affine(left)
        left = left - _places() @ arrays[_AFFINE]
        steps = np.rint(left / STEP_MM).astype(np.int32)
        arrays[_DELTAS] = _planes(_walk().differences(steps))
    facts = {
        "key": sample.key, "source": sample.source, "person": sample.person, "focal_px": float(sample.focal_px),
        "principal_px": np.asarray(sample.principal_px, np.float64).tolist(),
        "T_camera_head": np.asarray(sample.T_camera_head, np.float64).tolist(),
        "light": None if sample.light is None else np.asarray(sample.light, np.float64).tolist(), "maps": sorted(sample.maps),
    }  # fmt: skip
    return {
        IMAGE: _image_bytes(Image.fromarray(sample.image), "JPEG", quality=quality, subsampling=0 if quality > 90 else 2),
        MASK: _image_bytes(Image.fromarray(sample.mask > 127), "PNG"),
        ARRAYS: _npz_bytes(arrays),
        FACTS: json.dumps(facts).encode(),
    }  # fmt: skip


def unpack(files: Mapping[str, bytes]) -> Sample:
    """The sample of :func:`pack`'s files.

    Raises:
        ValueError, KeyError, OSError, zipfile.BadZipFile: a file is damaged or missing.
    """
    facts = json.loads(files[FACTS])
    with np.load(io.BytesIO(files[ARRAYS]), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    code = {name[5:]: value for name, value in arrays.items() if name.startswith("code/")}
    maps = {name: _unpacked_map(name, arrays) for name in facts["maps"]}
    vertices = _explained(facts["key"], len(bundled.load().mean_mm), code, maps)
    if _DELTAS in arrays:
        vertices = vertices + _places() @ arrays[_AFFINE] + STEP_MM * _walk().values(_joined(arrays[_DELTAS]))
    light = facts["light"]
    return Sample(
        key=facts["key"],
        source=facts["source"],
        image=np.array(Image.open(io.BytesIO(files[IMAGE])).convert("RGB")),
        mask=np.array(Image.open(io.BytesIO(files[MASK])).convert("L")),
        vertices_mm=vertices.astype(np.float32),
        focal_px=float(facts["focal_px"]),
        principal_px=np.array(facts["principal_px"], np.float32),
        T_camera_head=np.array(facts["T_camera_head"], np.float32),
        landmarks_px=arrays["landmarks_px"],
        person=facts["person"],
        code=code,
        maps=maps,
        light=None if light is None else np.array(light, np.float32),
    )


@lru_cache(maxsize=1)
def model_digest() -> str:
    """Of the bundled head: samples can only be unpacked with the head that they were packed with."""
    return hashlib.sha256(bundled.HEAD.read_bytes()).hexdigest()[:16]


def _explained(key: str, count: int, code: Mapping[str, NDArray], maps: Mapping[str, NDArray]) -> NDArray:
    """Vertices (v, 3) float64 as code and deformation say; the mean head's without a code."""
    model = bundled.load()
    if count != len(model.mean_mm):
        raise BadInput(f"sample {key}: {count} vertices, the bundled head has {len(model.mean_mm)}")
    identity, deformation = np.zeros(0, np.float32), np.zeros((3, 0, 0), np.float32)
    if "identity" in code and "expression" in code:
        identity = np.asarray(code["identity"], np.float32)
    if "deformation_mm" in maps:
        deformation = np.asarray(maps["deformation_mm"], np.float32)
    found = _neutral(identity.tobytes(), deformation.shape[-1], deformation.tobytes())
    if len(identity):
        found = found + _moved(code["expression"], model.expression_mm)
    return found


@lru_cache(maxsize=4)
def _neutral(identity: bytes, size: int, deformation: bytes) -> NDArray[np.float64]:
    """The head before its expression; kept, because samples of one person are packed one after the other."""
    model = bundled.load()
    found = model.mean_mm.double().numpy()
    if identity:
        found = found + _moved(np.frombuffer(identity, np.float32), model.identity_mm)
    if deformation:
        offsets = np.frombuffer(deformation, np.float32).reshape(3, -1)
        found = found + deformation_operator(model, size).matrix @ offsets.T
    return found


def _moved(weights: NDArray, modes: Tensor) -> NDArray[np.float64]:
    """What modes "k v 3" with weights (k,) do: (v, 3). Expressions are mostly zeros."""
    used = np.flatnonzero(weights)
    if len(weights) != len(modes):
        raise ValueError(f"{len(weights)} coefficients for {len(modes)} modes")
    given = torch.from_numpy(np.asarray(weights, np.float32)[used])
    chosen = modes if len(used) == len(modes) else modes[torch.from_numpy(used)]
    return (given @ chosen.flatten(1)).reshape(-1, 3).double().numpy()


@lru_cache(maxsize=1)
def _places() -> NDArray[np.float64]:
    """The mean head's vertices and a one: (v, 4)."""
    mean = bundled.load().mean_mm.double().numpy()
    return np.concatenate([mean / 100, np.ones((len(mean), 1))], 1)


def _affine(offsets: NDArray) -> NDArray[np.float32]:
    """The affine map of the mean head (4, 3) whose offsets are nearest to given ones (v, 3): heads are larger and smaller, and sit elsewhere."""
    places = _places()
    return np.linalg.solve(places.T @ places, places.T @ offsets).astype(np.float32)


def _packed_map(name: str, value: NDArray) -> dict[str, NDArray]:
    """Maps in millimetres in small steps, differenced along both axes; others as float16."""
    step = _MAP_STEPS.get(name)
    if step is None or not np.abs(value).max() / step < 2**29:
        return {f"map/{name}": np.asarray(value, np.float16 if step is None else np.float32)}
    steps = np.rint(np.asarray(value, np.float64) / step).astype(np.int32)
    for axis in (-1, -2):
        steps = np.diff(steps, axis=axis, prepend=0)
    return {f"{_STEPS}/{name}": _planes(steps)}


def _unpacked_map(name: str, arrays: Mapping[str, NDArray]) -> NDArray:
    if f"map/{name}" in arrays:
        return arrays[f"map/{name}"]
    steps = _joined(arrays[f"{_STEPS}/{name}"])
    return (_MAP_STEPS[name] * steps.cumsum(-2).cumsum(-1)).astype(np.float32)


def _planes(values: NDArray) -> NDArray[np.uint8]:
    """Integers "..." -> their bytes (n, ...) with the sign in the lowest bit, so many planes as the largest needs: they compress better."""
    zigzag = np.where(values >= 0, 2 * values.astype(np.int64), -2 * values.astype(np.int64) - 1).astype(np.uint32)  # fmt: skip
    number = max(1, (int(zigzag.max(initial=0)).bit_length() + 7) // 8)
    return np.stack([(zigzag >> (8 * i)).astype(np.uint8) for i in range(number)])


def _joined(planes: NDArray[np.uint8]) -> NDArray[np.int32]:
    zigzag = np.zeros(planes.shape[1:], np.int64)
    for i in range(len(planes)):
        zigzag += planes[i].astype(np.int64) << (8 * i)
    return np.where(zigzag & 1, -(zigzag >> 1) - 1, zigzag >> 1).astype(np.int32)


class _Walk:
    """A walk over the mesh, triangle by triangle: each new vertex is told by the triangle that it was reached from, as if the two made a parallelogram.

    Source: Touma and Gotsman, "Triangle mesh compression", Graphics Interface 1998 (the prediction; the order is breadth-first).

    Attributes:
        rule: (v, 3), vertices whose values foretell each vertex's: the first two added, the third taken away; v, where there is none, counts as zero.
        levels: vertices whose rules only need those before.
    """

    def __init__(self, triangles: NDArray[np.int64], count: int) -> None:
        self.rule, depth = np.full((count, 3), count), np.full(count + 1, -1)
        depth[count] = 0
        at_edge: dict[tuple[int, int], list[int]] = {}
        faces: list[list[int]] = triangles.tolist()
        for t, face in enumerate(faces):
            for i in range(3):
                at_edge.setdefault(_edge(face[i], face[i - 1]), []).append(t)
        done = np.zeros(len(faces), bool)
        for first in range(len(faces)):
            if done[first]:
                continue
            done[first], waiting = True, deque([first])
            root = faces[first][0]
            for vertex in faces[first]:
                if depth[vertex] < 0:
                    if vertex != root:
                        self.rule[vertex, 0] = root
                    depth[vertex] = depth[self.rule[vertex]].max() + 1
            while waiting:
                face = faces[waiting.popleft()]
                for i in range(3):
                    for t in at_edge[_edge(face[i], face[i - 1])]:
                        if done[t]:
                            continue
                        done[t] = True
                        waiting.append(t)
                        (new,) = set(faces[t]) - {face[i], face[i - 1]}
                        if depth[new] < 0:
                            self.rule[new] = face[i], face[i - 1], face[i - 2]
                            depth[new] = depth[self.rule[new]].max() + 1
        order = np.argsort(depth[:count], kind="stable")
        starts = np.searchsorted(depth[order], np.arange(1, depth.max() + 2))
        self.levels = [order[start:end] for start, end in itertools.pairwise([int(s) for s in starts])]
        self.rules = [self.rule[ids] for ids in self.levels]

    def differences(self, values: NDArray[np.int32]) -> NDArray[np.int32]:
        """Values (v, 3) less what is foretold."""
        b, c, a = np.concatenate([values, np.zeros((1, 3), np.int32)])[self.rule].swapaxes(0, 1)
        return values - (b + c - a)

    def values(self, differences: NDArray[np.int32]) -> NDArray[np.int32]:
        """Inverse of :meth:`differences`."""
        found = np.concatenate([differences, np.zeros((1, 3), np.int32)])
        for ids, rule in zip(self.levels, self.rules):
            found[ids] += found[rule[:, 0]] + found[rule[:, 1]] - found[rule[:, 2]]
        return found[:-1]


def _edge(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a < b else (b, a)


@lru_cache(maxsize=1)
def _walk() -> _Walk:
    model = bundled.load()
    return _Walk(model.triangles.numpy(), len(model.mean_mm))


def _image_bytes(image: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _npz_bytes(arrays: Mapping[str, NDArray]) -> bytes:
    """As numpy's savez_compressed, but faster, and the same bytes at any time of day."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
        for name, value in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(value), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED, 4)
    return file.getvalue()
