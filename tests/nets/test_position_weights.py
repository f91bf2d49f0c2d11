"""Reading exported position networks: the right one comes back, others are named."""

import os

import pytest
import torch

from vultus.errors import AssetMissing, BadFile, WeightsMismatch
from vultus.nets.position import make_network
from vultus.nets.position_weights import position_weights
from vultus.train.checkpoint import Checkpoint
from vultus.train.export import export


def write(path, task="position", seed=0, variant="light", of="light", **options):
    torch.manual_seed(seed)
    state = make_network(of, crop_px=64).state_dict()
    options = {"variant": variant, "crop_px": 64} | options
    export(path, Checkpoint({"task": task, "options": options}, "abc", 7, 0, 0, state, state, {}, {}, 0, 1.5, 2, {"nme68": 3.5}))  # fmt: skip
    return state


def test_the_network_of_the_file(tmp_path):
    path = tmp_path / "net.safetensors"
    state = write(path, crop_factor=1.8, normals=0.1, map_size=None)  # options of training do not matter
    before = torch.get_rng_state()
    found = position_weights(path)
    assert torch.equal(torch.get_rng_state(), before)  # reading draws no random numbers
    assert (found.config.variant, found.config.crop_px, found.config.texels) == ("light", 64, 32)
    assert found.crop_factor == 1.8 and found.card["metrics"] == {"nme68": 3.5} and not found.network.training
    for name, value in found.network.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, state[name], rtol=1e-3, atol=1e-4)


def test_it_is_read_once_and_again_when_the_file_changes(tmp_path):
    path = tmp_path / "net.safetensors"
    write(path)
    first = position_weights(path)
    assert position_weights(str(path)) is first
    write(path, seed=1)
    os.utime(path, ns=(1, 1))
    assert position_weights(path) is not first


def test_other_networks_are_named(tmp_path):
    path = tmp_path / "net.safetensors"
    write(path, task="skin")
    with pytest.raises(
        WeightsMismatch, match=r"net\.safetensors: holds weights of skin .*not of a position network"
    ):
        position_weights(path)
    write(path, variant="paper", of="light")
    with pytest.raises(
        WeightsMismatch, match=r"'variant': 'paper'.* do not fit PositionConfig\(variant='paper'"
    ):
        position_weights(path)
    write(path, variant="cubist", of="light")
    with pytest.raises(WeightsMismatch, match=r"'cubist'.*has no network for"):
        position_weights(path)


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(AssetMissing, match=r"none\.safetensors: no such file of weights; train .*--weights"):
        position_weights(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(BadFile, match=r"bad\.safetensors: cannot be read as safetensors"):
        position_weights(tmp_path / "bad.safetensors")


def test_what_ships_may_be_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "vultus.nets.position_weights.DEFAULT_WEIGHTS", tmp_path / "position_light.safetensors"
    )
    with pytest.raises(AssetMissing, match=r"not installed; train some \(vultus train"):
        position_weights()
