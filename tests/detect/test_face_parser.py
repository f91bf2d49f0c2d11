from pathlib import Path

import pytest
import torch
from skimage import data

from vultus.detect import default_detector
from vultus.detect.face_parser import CELEBAMASK, ColourParser, FaceParser, NetworkParser
from vultus.detect.yunet import MODEL_PATH as YUNET
from vultus.errors import AssetMissing, BadFile, WeightsMismatch


class Reddish(torch.nn.Module):
    """Says skin where the normalised image is redder than blue, else background."""

    def forward(self, image: torch.Tensor):
        red = (image[:, :1] - image[:, 2:]) * 4 + 0.2
        rest = torch.full_like(red, -9.0)
        return torch.cat([-red, red, rest.expand(-1, 17, -1, -1)], 1), image


@pytest.fixture(scope="module")
def scene():
    image = torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255
    return image, default_detector().detect(image)[0].landmarks


def saved(path: Path, module: torch.nn.Module, size: int = 64) -> Path:
    torch.jit.trace(module, torch.rand(1, 3, size, size)).save(str(path))
    return path


def test_network_from_a_file(scene, tmp_path):
    parser: FaceParser = NetworkParser(saved(tmp_path / "parser.pt", Reddish()), size_px=64)
    parts = parser.parse(*scene)
    x, y = scene[1].points_px[[205, 425, 151]].long().T
    assert parts.skin.shape == (512, 512) and parts.skin[y, x].all() and parts.head[y, x].all()
    assert not parts.skin[:, :60].any()  # far from the face nothing is looked at


def test_built_in_parser(scene):
    parser: FaceParser = ColourParser()
    parts = parser.parse(*scene)
    assert (
        parts.skin.any()
        and (parts.skin & parts.head).sum() > 0.97 * parts.skin.sum()
        and parts.head.sum() > parts.skin.sum()
    )


def test_errors_say_what_to_do(scene, tmp_path):
    with pytest.raises(AssetMissing, match="ColourParser"):
        NetworkParser(tmp_path / "nowhere.onnx")
    for name in ("broken.onnx", "broken.pt"):
        (tmp_path / name).write_bytes(b"not a network")
        with pytest.raises(BadFile, match=name):
            NetworkParser(tmp_path / name)
    three = NetworkParser(saved(tmp_path / "three.pt", torch.nn.Conv2d(3, 3, 1)), size_px=64)
    with pytest.raises(WeightsMismatch, match="labels"):
        three.parse(*scene)
    with pytest.raises(WeightsMismatch, match="labels"):
        NetworkParser(YUNET, size_px=320).parse(*scene)  # an ONNX file, but of a detector
    assert len(CELEBAMASK) == 19
