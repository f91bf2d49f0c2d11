"""Maps over time: at rest when the face is, with it when it moves, and the same whatever the picture's size, place and turn."""

import math
from dataclasses import replace

import pytest
import torch

from vultus.errors import BadInput
from vultus.geometry.one_euro import OneEuro
from vultus.geometry.rigid import rotation_from_pose_angles
from vultus.geometry.steady_map import Steadiness, face_frame, steady

FPS, FACE_PX = 25.0, 200.0
FRAME_OF_HEAD = torch.diag(torch.tensor([1.0, -1.0, 1.0]))  # head frame -> the map's: y down


@pytest.fixture(scope="module")
def frame():
    """A face-like bowl over 32 x 32 texels, in mm."""
    v, u = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    return face_frame(torch.stack([70 * u, -90 * v, 60 - 40 * u**2 - 20 * v**2 + 9 * u * v]))


def posed(frame, yaw=0.0, roll=0.0, x=300.0, y=200.0, size_px=FACE_PX):
    """The frame's map as a picture shows it: "3 s s" in pixels."""
    turn = rotation_from_pose_angles(*torch.tensor([yaw, 0.0, roll]))
    turn = torch.diag(torch.tensor([1.0, 1.0, -1.0])) @ turn  # camera frame (z forward) -> map
    return torch.einsum("ij,jhw->ihw", size_px * turn, frame) + torch.tensor([x, y, 0.0])[:, None, None]


def run(frame, maps, settings=None, times=None):
    settings, state, found = settings or Steadiness(), None, []
    for index, position in enumerate(maps):
        state, shown = steady(
            settings, frame, state, position, index / FPS if times is None else times[index]
        )
        found.append(shown)
    return torch.stack(found)


def test_the_frame_is_centred_and_of_size_one(frame):
    assert frame.flatten(1).mean(1).abs().max() < 1e-6
    extent = frame.flatten(1).amax(1) - frame.flatten(1).amin(1)
    assert float(extent[:2].mean()) == pytest.approx(1, abs=1e-6)


def test_a_face_at_rest_passes_unchanged(frame):
    still = posed(frame, 40.0, -20.0)
    found = run(frame, [still] * 10)
    # Through a similarity and back in float32: a thousandth of a pixel at 300 px.
    assert (found - still).abs().max() < 2e-3


def test_jitter_is_reduced_pose_and_points_alike(frame):
    torch.manual_seed(1)
    maps = []
    for _ in range(150):
        jitter = torch.randn(4) * torch.tensor([0.3, 0.3, 1.0, 1.0])  # degrees and pixels
        maps.append(posed(frame, 10 + float(jitter[0]), float(jitter[1]), 300 + float(jitter[2]), 200 + float(jitter[3])))  # fmt: skip
    noisy = torch.stack(maps) + 0.5 * torch.randn(150, 3, 32, 32)
    found = run(frame, noisy)[25:]
    raw, calm = noisy[25:].std(0).mean(), found.std(0).mean()
    assert calm < 0.5 * raw


def test_motion_is_followed_closely(frame):
    # One face size in a second, as somebody who leans over, while turning by 40 degrees.
    times = torch.arange(50) / FPS
    maps = [posed(frame, 40 * float(t), 0.0, 200 + FACE_PX * float(t)) for t in times]
    behind = (run(frame, maps) - torch.stack(maps))[-1].norm(dim=0).mean()
    assert behind < 0.03 * FACE_PX  # without slope it would be a sixth of the face
    slow = Steadiness(OneEuro(1.0, 0.0), OneEuro(1.0, 0.0))
    assert (run(frame, maps, slow) - torch.stack(maps))[-1].norm(dim=0).mean() > 0.1 * FACE_PX


def test_a_talking_mouth_is_followed_and_leaves_the_forehead_calm(frame):
    torch.manual_seed(2)
    noise = 0.004 * torch.randn(75, 3, 32, 32)
    mouth = torch.zeros(32, 32)
    mouth[22:28, 10:22] = 1
    # Three openings in a second, by 6 % of the face.
    open_by = [0.03 * (1 - math.cos(2 * math.pi * 3 * index / FPS)) for index in range(75)]
    faces = [frame + noise[index] + torch.stack([0 * mouth, -open_by[index] * mouth, 0 * mouth]) for index in range(75)]  # fmt: skip
    maps = torch.stack([posed(face) for face in faces])
    found = run(frame, maps)
    moving = mouth > 0
    moved = (found[25:, 1] - found[25:, 1].mean(0))[:, moving].std() / (maps[25:, 1] - maps[25:, 1].mean(0))[:, moving].std()  # fmt: skip
    assert moved > 0.7  # of the motion's size is left
    assert found[25:, :, :8].std(0).mean() < 0.55 * maps[25:, :, :8].std(0).mean()


def test_size_place_and_turn_of_the_picture_do_not_matter(frame):
    torch.manual_seed(3)
    faces = [frame + 0.005 * torch.randn(3, 32, 32) for _ in range(12)]
    turns = torch.linspace(0, 15, 12).tolist()
    small = run(frame, [posed(face, turn, turn, 100 + turn, 50.0, 100.0) for face, turn in zip(faces, turns)])
    large = run(frame, [posed(face, turn, turn, 1200 + 10 * turn, 900.0, 1000.0) for face, turn in zip(faces, turns)])  # fmt: skip
    shifted = large - torch.tensor([200.0, 400.0, 0.0])[:, None, None]
    assert (shifted / 10 - small).abs().max() < 1e-2


def test_dropped_frames_leave_no_trace_at_rest(frame):
    still = posed(frame)
    moved = posed(frame, x=310.0)
    settings = replace(Steadiness(), head=OneEuro(1.0, 0.0), face=OneEuro(1.0, 0.0))
    some = run(frame, [still, moved, moved], settings, [0.0, 0.1, 0.4])[-1]
    many = run(frame, [still, *[moved] * 8], settings, [0.0, *[0.05 * step for step in range(1, 9)]])[-1]
    assert (some - many).abs().max() < 2e-3


def test_time_must_grow(frame):
    state, _ = steady(Steadiness(), frame, None, posed(frame), 1.0)
    with pytest.raises(BadInput, match="times must grow"):
        steady(Steadiness(), frame, state, posed(frame), 1.0)
