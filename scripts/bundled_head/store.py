"""Write the bundled head's asset; :mod:`vultus.model.bundled` reads it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

FINE_MODES = 20  # the first modes are large: 16 bits; the others fit 8 bits with 0.01 mm to spare
POSITION_STEP_MM = 0.006


def save(path: Path, **head: Any) -> None:
    """Quantise and write; see docs/model.md for the fields."""
    raw, chart = head["head"], head["chart"]
    basis, steps = zip(
        *(_quantise(mode, np.int16 if i < FINE_MODES else np.int8) for i, mode in enumerate(head["basis"]))
    )
    albedo, albedo_steps = zip(*(_quantise(axis, np.int8) for axis in (head["albedo_mean"], *head["albedo"])))
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {
        "schema": np.array(1),
        "quads": raw.quads.astype(np.int16),
        "part_of_quad": raw.part_of_quad.astype(np.uint8),
        "part_names": np.array(raw.part_names),
        "mirror": raw.mirror.astype(np.int16),
        "mean": np.rint(head["mean"] / POSITION_STEP_MM).astype(np.int16),
        "position_step_mm": np.array(POSITION_STEP_MM),
        "identity_high": np.stack(basis[:FINE_MODES]),
        "identity_low": np.stack(basis[FINE_MODES:]),
        "identity_step_mm": np.array(steps, np.float32),
        "expression": np.rint(head["expressions"] / POSITION_STEP_MM).astype(np.int16),
        "expression_names": np.array(raw.expression_names),
        "albedo": np.stack(albedo),
        "albedo_step": np.array(albedo_steps, np.float32),
        "albedo_names": np.array(head["albedo_names"]),
        "region_names": np.array(list(head["regions"])),
        "regions": np.packbits(np.stack(list(head["regions"].values())), axis=1),
        **{name: _compact(np.asarray(value)) for name, value in chart.items()},
    }
    write_deterministic(path, fields)


def checksum(path: Path) -> str:
    """SHA-256 of the file, which a test pins."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _quantise(values: np.ndarray, kind: type) -> tuple[np.ndarray, float]:
    step = max(float(np.abs(values).max()) / np.iinfo(kind).max, 1e-12)
    return np.rint(values / step).astype(kind), step


def _compact(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if values.dtype.kind in "iu" and values.size and values.max() < 2**15:
        return values.astype(np.int16)
    return values


def write_deterministic(path: Path, fields: dict[str, np.ndarray]) -> None:
    """``np.savez_compressed`` stamps the time; the same head must give the same bytes."""
    import io
    import zipfile

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, values in fields.items():
            buffer = io.BytesIO()
            np.save(buffer, values, allow_pickle=False)
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", (2020, 1, 1, 0, 0, 0)),
                buffer.getvalue(),
                zipfile.ZIP_DEFLATED,
                9,
            )
