"""One picture that tells whether photos were fused well: the head over each photo, and from all sides."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..model.face import TexturedFace
from ..model.result import FusedReconstruction, Reconstruction
from .overlay import from_all_sides, over_photo

MOST_COLUMNS = 7


@torch.no_grad()
def fused_sheet(fused: FusedReconstruction, panel_px: int = 256) -> Tensor:
    """Draw a contact sheet "3 h w" sRGB of a fused head; the result itself is only read.

    For every photo a column: the photo, its landmarks, the fused head as a mesh and with its texture, in this photo's pose and expression.
    Below, the head with the expression that was asked for, as in :func:`vultus.viewer.overlay.overlay`: from three sides and in its own colour,
    then the shapes of its levels.
    """
    columns = []
    for view in fused.views:
        face = view.face
        if isinstance(fused.head.face, TexturedFace):
            face = replace(fused.head.face, geometry=view.face)
        seen = Reconstruction(fused.head.model, view.view, face, fused.head.report, {}, {})
        columns.append(torch.cat(over_photo(seen, panel_px), -2))
    blocks = [torch.cat(columns[i : i + MOST_COLUMNS], -1) for i in range(0, len(columns), MOST_COLUMNS)]
    blocks += [torch.cat(row, -1) for row in from_all_sides(fused.head, panel_px)]
    width = max(block.shape[-1] for block in blocks)
    grey = blocks[-1][0, 0, 0].item()
    return torch.cat(
        [torch.nn.functional.pad(b, (0, width - b.shape[-1]), value=grey) for b in blocks], -2
    ).clamp(0, 1)
