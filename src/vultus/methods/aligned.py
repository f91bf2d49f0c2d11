"""Dense alignment as a method: position maps of a network (`vultus align`), without any fit."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import BadInput, FaceNotFound
from ..evaluate.benchmark import FaceMesh, Item, Prediction
from ..geometry.crop_motion import overlap
from ..geometry.position_map import FaceCrop, crop_around
from ..io.images import read_image
from ..stages.align import Aligner, load_aligner
from ..stages.alignment import Alignment

_LOOKS = 2


@dataclass(frozen=True)
class Aligned:
    """Item -> its 68 points and its face in millimetres of an average head; no camera, and no neutral face.

    Attributes:
        by_box: look where the benchmark says that the face is (a crop 1.6 times its box, as the paper's authors evaluate), once; else find it as `vultus align` does, and take
            the benchmark's box only to choose among several, and where nobody was found.
        weights: exported network; the shipped one when not given.
    """

    by_box: bool = False
    weights: str | Path | None = None

    def __call__(self, item: Item) -> Prediction:
        """Align the item's photo.

        Raises:
            BadInput: it has none, or no box where one is needed. FaceNotFound: nobody is in it.
        """
        if item.photo is None:
            raise BadInput(f"{item.key}: has no photo, and this method needs one")
        image, _ = read_image(item.photo)
        started, aligner = time.perf_counter(), load_aligner(self.weights)
        found = self._align(item, image, aligner)
        marks_px = found.landmarks68_px.double()
        seconds = time.perf_counter() - started
        surface = found.surface
        vertices = found.frontal_mesh.vertices.double().numpy()
        posed = FaceMesh(
            vertices, surface.triangles[~surface.is_membrane].numpy(), found.pose.to_head(marks_px).numpy()
        )
        return Prediction(posed=posed, points_px=marks_px.numpy(), seconds=seconds)

    def _align(self, item: Item, image: torch.Tensor, aligner: Aligner) -> Alignment:
        box = None if item.box_px is None else _around_box(item.box_px, aligner)
        if self.by_box:
            if box is None:
                raise BadInput(f"{item.key}: this benchmark gives no box; use --method align")
            return aligner.look(image, [box])[0]
        crops = aligner.detect(image, small_too=box is not None)
        if box is not None:
            crops = [crop for crop in crops if overlap(crop, box) > 0.3]
            crops = sorted(crops, key=lambda crop: -overlap(crop, box))[:1] or [box]
        if not crops:
            raise FaceNotFound(f"{item.photo}: no face found; crop closer to the face")
        return aligner.look(image, crops[:1], looks=_LOOKS)[0]


def _around_box(box: tuple[float, float, float, float], aligner: Aligner) -> FaceCrop:
    corners = torch.tensor(box).reshape(2, 2)
    return crop_around(corners, aligner.crop_factor, aligner.crop_px)
