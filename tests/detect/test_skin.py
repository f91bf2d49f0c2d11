import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from skimage import data

from vultus.detect import default_detector, person_probability, skin_mask
from vultus.detect.protocol import Landmarks
from vultus.errors import BadInput


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


def painted(image: torch.Tensor, polygons, colour) -> tuple[torch.Tensor, torch.Tensor]:
    """An image with filled polygons [(x, y), ...], and where they are."""
    canvas = Image.new("L", (image.shape[2], image.shape[1]))
    for polygon in polygons:
        ImageDraw.Draw(canvas).polygon([tuple(point) for point in polygon], fill=255)
    where = torch.from_numpy(np.array(canvas)) > 0
    return torch.where(where, torch.tensor(colour)[:, None, None], image), where


def stroked(image: torch.Tensor, lines, colour, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Polylines drawn at four times the size, as thin things look in photos."""
    canvas = Image.new("L", (4 * image.shape[2], 4 * image.shape[1]))
    for line in lines:
        ImageDraw.Draw(canvas).line([(4 * x, 4 * y) for x, y in line], fill=255, width=width, joint="curve")
    share = (
        torch.from_numpy(np.array(canvas.resize((image.shape[2], image.shape[1]), Image.Resampling.BOX)))
        / 255
    )
    return image + share * (torch.tensor(colour)[:, None, None] - image), share > 0.6


@pytest.mark.parametrize("colour", [(0.93, 0.94, 0.95), (0.45, 0.65, 0.85), (0.06, 0.06, 0.07)])
def test_a_surgical_mask_falls_out(astronaut, landmarks, colour):
    """White, blue, black; it covers nose, mouth and half of the cheeks."""
    points = landmarks.points_px
    jaw = [93, 58, 172, 150, 176, 152, 400, 379, 397, 288, 323]
    image, covered = painted(astronaut, [points[[*jaw, 280, 197, 50]].tolist()], colour)
    mask = skin_mask(image, landmarks)
    assert mask[covered].float().mean() < 0.05
    assert share(mask, points[[9, 107, 336, 151, 118, 347]]) > 0.8  # forehead, under the eyes


def test_sunglasses_fall_out(astronaut, landmarks):
    points = landmarks.points_px
    lenses = []
    for outer, inner in ((33, 133), (263, 362)):
        (x0, y0), (x1, y1) = points[outer].tolist(), points[inner].tolist()
        x, y, half = (x0 + x1) / 2, (y0 + y1) / 2 + 2, abs(x1 - x0) * 0.75
        lenses.append(
            [
                (x - half, y - 0.7 * half),
                (x + half, y - 0.7 * half),
                (x + half, y + 0.8 * half),
                (x - half, y + 0.8 * half),
            ]
        )
    image, covered = painted(astronaut, lenses, (0.05, 0.05, 0.06))
    mask = skin_mask(image, landmarks)
    covered = ~torch.nn.functional.max_pool2d((~covered)[None].float(), 3, 1, 1)[0].bool()  # a pixel inside
    assert mask[covered].float().mean() < 0.05
    assert share(mask, points[[205, 425, 5, 199]]) == 1


@pytest.mark.parametrize("colour", [(0.25, 0.18, 0.15), (0.12, 0.12, 0.13)])
def test_thin_frames_of_glasses_fall_out(astronaut, landmarks, colour):
    points = landmarks.points_px
    rings = []
    for outer, inner in ((33, 133), (263, 362)):
        centre = (points[outer] + points[inner]) / 2 + torch.tensor([0.0, 3.0])
        radius = float((points[outer] - points[inner]).norm()) * 0.85
        turn = torch.linspace(0, 6.2832, 40)
        rings.append((centre + radius * torch.stack([turn.cos(), 0.8 * turn.sin()], 1)).tolist())
    bridge = [max(rings[0]), min(rings[1])]
    image, drawn = stroked(astronaut, [*rings, bridge], colour, 7)
    bare, mask = skin_mask(astronaut, landmarks), skin_mask(image, landmarks)
    seen = drawn & bare
    assert seen.sum() > 50 and mask[seen].float().mean() < 0.25
    assert mask.sum() > 0.7 * bare.sum()


def test_nothing_of_this_on_a_bare_face(astronaut, landmarks):
    """Smile lines, lashes and brows are neither frames nor strands nor a beard."""
    mask = skin_mask(astronaut, landmarks)
    points = landmarks.points_px
    around_the_eyes = [117, 118, 119, 346, 347, 348, 6, 197, 193, 417, 205, 425, 207, 427, 200, 18]
    assert share(mask, points[around_the_eyes]) > 0.93


def test_background_that_the_landmarks_reach_over(astronaut, landmarks):
    person = torch.ones(512, 512)
    x = int(landmarks.points_px[205, 0])
    person[:, : x + 1] = 0
    mask = skin_mask(astronaut, landmarks, person)
    assert not mask[:, : x - 2].any() and mask.any()
    with pytest.raises(BadInput, match="segment the same image"):
        skin_mask(astronaut, landmarks, person[:100])


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
