"""Where the training of a position network begins: not at random numbers, when something better is at hand.

The face mesh network that ships with vultus (Apache-2.0; detect/assets/NOTICE.md) has seen millions of photos. It says where 478 points lie; its trunk, which
looks, is laid out as that of :class:`~vultus.nets.position_basis.BasisPositionNet` and becomes its first weights.
"""

from __future__ import annotations

from itertools import islice

import torch
from torch import nn

from ..detect.mesh import ASSETS
from ..detect.network import Network, load_network
from ..nets.position_basis import BasisPositionNet

MESH_NETWORK = ASSETS / "face_landmark_with_attention.safetensors"


@torch.no_grad()
def start_from_mesh(network: BasisPositionNet, mesh: Network | None = None) -> None:
    """Copy the mesh network's stem and stages, layer by layer in the order of their operations.

    Raises:
        AssetMissing, BadFile: the mesh network's file.
    """
    mesh = mesh or load_network(MESH_NETWORK)
    layers = [m for m in _trunk(network).modules() if isinstance(m, nn.Conv2d | nn.PReLU)]
    kinds = {"conv2d": nn.Conv2d, "prelu": nn.PReLU}
    operations = (op for op in mesh.operations if op.kind in kinds)
    for layer, operation in zip(layers, islice(operations, len(layers)), strict=True):
        assert isinstance(layer, kinds[operation.kind])
        stored = [mesh.weights[name] for name in operation.inputs if name in mesh.weights]
        for ours, theirs in zip(layer.parameters(), stored, strict=True):
            ours.copy_(theirs.reshape(ours.shape))


def _trunk(network: BasisPositionNet) -> nn.Sequential:
    return nn.Sequential(network.stem, *network.stages)
