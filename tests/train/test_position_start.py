"""A trunk that starts as the face mesh's does what the face mesh's trunk does."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from vultus.detect.network import load_network
from vultus.nets.position import PositionConfig, network_of
from vultus.nets.position_basis import BasisPositionNet
from vultus.train.position_start import MESH_NETWORK, start_from_mesh


def test_the_trunk_answers_as_the_mesh_network_does():
    network = network_of(PositionConfig("basis", 192))
    assert isinstance(network, BasisPositionNet)
    start_from_mesh(network)
    mesh = load_network(MESH_NETWORK)
    last = [operation for operation in mesh.operations if operation.kind == "prelu"]
    ours = [m for m in nn.Sequential(network.stem, *network.stages).modules() if isinstance(m, nn.PReLU)]
    pruned = replace(mesh, outputs=(last[len(ours) - 1].output,))
    images = torch.rand(2, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = nn.Sequential(network.stem, *network.stages)(images)
    expected = pruned(images)[0]
    assert expected.shape == (2, 128, 3, 3)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)
