import pytest
import torch
from skimage import data

from vultus.detect import default_detector, skin_mask
from vultus.detect.head import head_mask
from vultus.detect.protocol import Landmarks
from vultus.errors import BadInput


@pytest.fixture(scope="module")
def astronaut() -> torch.Tensor:
    return torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255


@pytest.fixture(scope="module")
def landmarks(astronaut) -> Landmarks:
    return default_detector().detect(astronaut)[0].landmarks


def test_face_and_hair_but_neither_neck_nor_wall(astronaut, landmarks):
    mask = head_mask(astronaut, landmarks)
    assert mask.shape == (512, 512) and mask.dtype == torch.bool
    skin = skin_mask(astronaut, landmarks)
    assert (mask & skin).sum() > 0.97 * skin.sum()
    assert mask[30:60, 200:250].float().mean() > 0.9  # hair above the forehead
    chin = int(landmarks.points_px[152, 1])
    assert not mask[chin + 6 :].any()  # neck, suit
    assert not mask[:, :120].any()  # wall


def test_it_ends_where_the_person_ends(astronaut, landmarks):
    person = torch.zeros(512, 512)
    person[:, 190:260] = 1
    mask = head_mask(astronaut, landmarks, person)
    assert mask.any() and not mask[:, :188].any() and not mask[:, 262:].any()
    assert not head_mask(astronaut, landmarks, torch.zeros(512, 512)).any()


def test_landmarks_that_are_none(astronaut):
    with pytest.raises(BadInput, match="NaN"):
        head_mask(astronaut, Landmarks(torch.full((478, 2), float("nan")), torch.zeros(478), 1.0))
