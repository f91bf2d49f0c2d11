"""478 landmarks of one face crop with MediaPipe's attention mesh (Grishchenko et al., "Attention Mesh", 2020)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from vultus.detect.network import Network, load_network

MODEL_PATH = Path(__file__).parent / "assets" / "face_landmark_with_attention.safetensors"

RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263  # of the subject; in the image the right eye is on the left
_MESH, _LIPS, _LEFT_EYE, _RIGHT_EYE, _LEFT_IRIS, _RIGHT_IRIS, _PRESENCE = range(7)
_NUM_EYE_CONTOUR = 16  # the first points of an eye's list: lids without halo; the iris takes their mean depth


class AttentionMesh:
    """Landmarks from crops; the network's five heads (mesh, lips, two eyes with irises) merged as MediaPipe does.

    "left" and "right" of the network's outputs are the image's.
    """

    def __init__(self, network: Network | None = None) -> None:
        self.network = network or load_network(MODEL_PATH)
        self.size_px = self.network.input_size_px[0]
        windows = [
            op.options["subset_idxs"] for op in self.network.operations if op.kind == "landmarks_to_matrix"
        ]
        self._lips, self._left_eye, self._right_eye = (torch.tensor(indices) for indices in windows)

    @cached_property
    def _coarse_network(self) -> Network:
        return self.network.pruned((_MESH,))

    def coarse(self, crops: Tensor) -> Tensor:
        """Crops "b 3 192 192" -> points "b 468 3" without the refining heads: a third of the time."""
        return self._coarse_network(crops)[0].reshape(len(crops), -1, 3)

    def __call__(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Crops "b 3 192 192" -> (points "b 478 3" in crop pixels, depth in the same unit, presence "b" in [0, 1])."""
        outputs = [output.reshape(len(crops), -1) for output in self.network(crops)]
        points = torch.cat([outputs[_MESH].reshape(-1, 468, 3), crops.new_zeros(len(crops), 10, 3)], 1)
        for head, indices in (
            (_LIPS, self._lips),
            (_LEFT_EYE, self._left_eye),
            (_RIGHT_EYE, self._right_eye),
            (_LEFT_IRIS, torch.arange(468, 473)),
            (_RIGHT_IRIS, torch.arange(473, 478)),
        ):
            points[:, indices.to(points.device), :2] = outputs[head].reshape(len(crops), -1, 2)
        points[:, 468:473, 2] = points[:, self._left_eye[:_NUM_EYE_CONTOUR], 2].mean(1, keepdim=True)
        points[:, 473:478, 2] = points[:, self._right_eye[:_NUM_EYE_CONTOUR], 2].mean(1, keepdim=True)
        return points, outputs[_PRESENCE].reshape(-1).sigmoid()
