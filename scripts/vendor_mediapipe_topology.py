"""Make src/vultus/methods/assets/mediapipe_topology.npz from MediaPipe's published model bundle; run once, the result is committed.

    python scripts/vendor_mediapipe_topology.py face_landmarker.task

The bundle (https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker, Apache-2.0; the wheel lacks this part) carries what
MediaPipe's face geometry module knows: the canonical face (468 vertices in centimetres, 898 triangles) and the weights of the 33 points that
the metric scale is estimated from. All of it is kept as it is; which triangles close the eyes and the open mouth is added, because those
are no skin.
"""

from __future__ import annotations

import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vendor_detectors import sha256

sys.path.insert(0, str(Path(__file__).resolve().parent / "bundled_head"))
from store import write_deterministic

ASSETS = Path(__file__).resolve().parents[1] / "src" / "vultus" / "methods" / "assets"
BUNDLE = "face_landmarker.task"
MEMBER = "geometry_pipeline_metadata_landmarks.binarypb"
SHA256 = "bdbcda96dfcb7da883da124aaa2c55dee49770d934f0fcc71747f8c21bdc75b4"

# Rims of what the canonical face closes over: the lids of both eyes and the inner edge of the lips (MediaPipe's face mesh connections).
OPENINGS = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95),
)  # fmt: skip

NOTICE = """# Data file in this folder

`mediapipe_topology.npz` is MediaPipe's canonical face (468 vertices, 898 triangles) and the weights of its metric scale. Copyright The MediaPipe
Authors, Apache License 2.0 (https://github.com/google-ai-edge/mediapipe). Made by `scripts/vendor_mediapipe_topology.py`: the container was
changed from a protocol buffer to npz, the numbers were not (float32, as there); `is_skin` was added.

| file | SHA-256 | taken from | SHA-256 of the original |
|---|---|---|---|
"""


def fields_of(message: bytes) -> Iterator[tuple[int, bytes]]:
    """(field number, raw value) of a protocol buffer message; numbers as eight bytes, little-endian."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            raw = value.to_bytes(8, "little")
        elif kind == 2:
            size, at = _varint(message, at)
            raw, at = message[at : at + size], at + size
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            raw, at = message[at : at + size], at + size
        else:
            raise SystemExit(f"protocol buffer wire type {kind} at byte {at}: not what {MEMBER} held")
        yield key >> 3, raw


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def read_metadata(content: bytes) -> dict[str, np.ndarray]:
    """The message GeometryPipelineMetadata: 1 canonical_mesh, 2 procrustes_landmark_basis (1 landmark_id, 2 weight)."""
    top = list(fields_of(content))
    mesh = list(fields_of(next(raw for number, raw in top if number == 1)))
    # Mesh3d: 3 vertex_buffer (x y z u v), 4 index_buffer.
    buffer = np.frombuffer(b"".join(raw for number, raw in mesh if number == 3), "<f4").reshape(-1, 5)
    triangles = np.array([int.from_bytes(raw, "little") for number, raw in mesh if number == 4]).reshape(
        -1, 3
    )
    basis = [dict(fields_of(raw)) for number, raw in top if number == 2]
    weights = np.zeros(len(buffer), np.float32)
    for point in basis:
        weights[int.from_bytes(point[1], "little")] = struct.unpack("<f", point[2])[0]
    return {
        "vertices_cm": np.ascontiguousarray(buffer[:, :3]),
        "triangles": triangles.astype(np.int16),
        "is_skin": ~np.any([np.isin(triangles, rim).all(1) for rim in OPENINGS], axis=0),
        "scale_weights": weights,
    }


def main(bundle: Path) -> None:
    ASSETS.mkdir(parents=True, exist_ok=True)
    content = zipfile.ZipFile(bundle).read(MEMBER)
    if sha256(content) != SHA256:
        raise SystemExit(f"{bundle}: {MEMBER} has SHA-256 {sha256(content)}, expected {SHA256}")
    asset = ASSETS / "mediapipe_topology.npz"
    write_deterministic(asset, read_metadata(content))
    digest = sha256(asset.read_bytes())
    (ASSETS / "NOTICE.md").write_text(
        f"{NOTICE}| {asset.name} | `{digest}` | `{BUNDLE}`: `{MEMBER}` | `{SHA256}` |\n", encoding="utf-8"
    )
    print(f"{asset.name}: {asset.stat().st_size / 1024:.0f} KB {digest}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
