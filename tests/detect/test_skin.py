import pytest
import torch
from skimage import data

from vultus.detect import default_detector, person_probability, skin_mask
from vultus.detect.protocol import Landmarks


@pytest.fixture(scope="module")
def astronaut() -> torch.Tensor:
    return torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255


@pytest.fixture(scope="module")
def landmarks(astronaut) -> Landmarks:
    return default_detector().detect(astronaut)[0].landmarks


def share(mask: torch.Tensor, points_px: torch.Tensor) -> float:
    x, y = points_px.long().T
    return float(mask[y, x].float().mean())


CHEEKS_NOSE_CHIN = [205, 425, 50, 280, 101, 330, 5, 195, 199, 152 - 2, 9]
IRISES = [468, 473]


def test_skin_of_a_face(astronaut, landmarks):
    mask = skin_mask(astronaut, landmarks)
    points = landmarks.points_px
    assert mask.shape == (512, 512) and mask.dtype == torch.bool
    assert share(mask, points[CHEEKS_NOSE_CHIN]) > 0.9
    assert share(mask, points[IRISES]) == 0
    assert not mask[:60].any() and not mask[200:].any()  # hair above, suit below
    teeth = (points[13] + points[14]) / 2
    assert not mask[int(teeth[1]), int(teeth[0])]
    assert share(mask, points[[0, 17]]) == 1  # lips


@pytest.mark.parametrize("gain", [(0.15, 0.13, 0.12), (0.4, 0.5, 0.9), (1.0, 0.7, 0.5)])
def test_other_skin_tones_and_lights(astronaut, landmarks, gain):
    """Dimmed in linear light, as a darker skin or another lamp would: nearly the same pixels."""
    linear = torch.where(astronaut <= 0.04045, astronaut / 12.92, ((astronaut + 0.055) / 1.055) ** 2.4)
    linear = linear * torch.tensor(gain)[:, None, None]
    dimmed = torch.where(
        linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp_min(1e-9) ** (1 / 2.4) - 0.055
    )
    reference, mask = skin_mask(astronaut, landmarks), skin_mask(dimmed, landmarks)
    common = (reference & mask).sum() / (reference | mask).sum()
    assert common > 0.85


def test_things_before_the_face_fall_out(astronaut, landmarks):
    image = astronaut.clone()
    x, y = (int(v) for v in landmarks.points_px[425].tolist())
    image[:, y - 8 : y + 12, x - 6 : x + 14] = torch.tensor([0.05, 0.05, 0.06])[:, None, None]  # a microphone
    image[:, 98:102, 190:262] = torch.tensor([0.1, 0.2, 0.6])[:, None, None]  # the rim of glasses
    mask = skin_mask(image, landmarks)
    assert mask[y - 4 : y + 8, x - 2 : x + 10].float().mean() < 0.05
    assert mask[98:102, 190:262].float().mean() < 0.15
    assert share(mask, landmarks.points_px[[205, 50, 101, 199]]) == 1


def test_ibug_landmarks_will_do(astronaut, landmarks):
    # the 68 points among the 478, well enough for a mask
    table = [127, 234, 93, 132, 58, 172, 136, 150, 152, 379, 365, 397, 288, 361, 323, 454, 356]
    table += [70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305]
    table += [33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380]
    table += [61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87]
    points = landmarks.points_px[table]
    mask = skin_mask(astronaut, Landmarks(points, torch.zeros(68), 1.0, "ibug68"))
    full = skin_mask(astronaut, landmarks)
    assert share(mask, landmarks.points_px[[205, 425, 5, 199]]) == 1
    assert (mask & full).sum() / mask.sum() > 0.9 and mask.sum() > 0.6 * full.sum()


def test_a_face_off_the_image_or_without_colour(astronaut, landmarks):
    away = Landmarks(landmarks.points_px + 2000, landmarks.depth_px, 1.0)
    assert not skin_mask(astronaut, away).any()
    assert skin_mask(torch.zeros_like(astronaut), landmarks).shape == (512, 512)
    point = Landmarks(torch.zeros(478, 2), torch.zeros(478), 1.0)
    assert skin_mask(astronaut, point).sum() < 10


def test_person_probability(astronaut, landmarks):
    probability = person_probability(astronaut, landmarks)
    assert probability.shape == (512, 512) and probability.min() >= 0 and probability.max() <= 1
    assert share(probability > 0.9, landmarks.points_px) > 0.95
    assert (probability[:120, 20:90] < 0.1).float().mean() > 0.9  # the wall
