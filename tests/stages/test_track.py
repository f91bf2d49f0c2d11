"""Tracking with an oracle for a network: faces that come, go, are lost, cross, and scenes that change."""

from dataclasses import dataclass, field, replace
from functools import lru_cache

import pytest
import torch

from vultus.errors import BadInput
from vultus.geometry.position_map import FaceCrop, crop_around
from vultus.geometry.rigid import rotation_from_pose_angles
from vultus.geometry.steady_map import Steadiness
from vultus.model.bundled import load
from vultus.render.bake import bake
from vultus.stages.alignment import Alignment
from vultus.stages.alignment_surface import face_surface
from vultus.stages.track import FaceTracker
from vultus.stages.tracked import TrackOptions

SIZE, FPS = (320, 240), 25.0


@pytest.fixture(scope="module")
def mean_map():
    surface = face_surface(load())
    return bake(surface.mean_mm, surface.topology, torch.arange(len(surface.triangles)), 32)[0]


@dataclass
class Head:
    """A head in the picture; ``nearer`` ones hide others."""

    x: float
    y: float
    px_per_mm: float = 0.4
    yaw: float = 0.0
    nearer: int = 0
    is_there: bool = True


@dataclass
class World:
    """What the oracle knows: the heads now; it stands for detector and network."""

    mean_map: torch.Tensor
    heads: list[Head]
    noise_px: float = 0.0
    finds: bool = True
    num_looks: int = 0
    num_aligned: int = 0
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def truth(self, head: Head) -> torch.Tensor:
        turn = rotation_from_pose_angles(*torch.tensor([head.yaw, 0.0, 0.0])) * torch.tensor([1.0, 1.0, -1.0])[:, None]  # fmt: skip
        points = torch.einsum("ij,jhw->ihw", head.px_per_mm * turn, self.mean_map)
        return points + torch.tensor([head.x, head.y, 0.0])[:, None, None]

    def _seen(self) -> list[Head]:
        there = [head for head in self.heads if head.is_there]
        hidden = lambda a: any(b.nearer > a.nearer and abs(a.x - b.x) + abs(a.y - b.y) < 25 for b in there)  # noqa: E731
        return [head for head in there if not hidden(head)]

    def detect(self, _image) -> list[FaceCrop]:
        self.num_looks += 1
        if not self.finds:
            return []
        return [self._crop(head) for head in self._seen() if 0 < head.x < SIZE[0]]

    def _crop(self, head: Head) -> FaceCrop:
        crop = crop_around(self.truth(head).flatten(1).T)
        return replace(crop, side_px=0.8 * crop.side_px)  # a detector's boxes are others than ours

    def align(self, image, crops) -> list[Alignment]:
        self.num_aligned += len(crops)
        return [self._aligned(image, crop) for crop in crops]

    def _aligned(self, image, crop: FaceCrop) -> Alignment:
        """The nearest visible head in the crop, or something that is no face."""
        off = lambda head: max(abs(head.x - crop.centre_px[0]), abs(head.y - crop.centre_px[1]))  # noqa: E731
        near = sorted((head for head in self._seen() if off(head) < 0.35 * crop.side_px), key=off)
        found = self.truth(near[0]) if near else self.truth(Head(*crop.centre_px, 0.3))
        found = found + self.noise_px * torch.randn(3, 1, 1, generator=self.generator)
        size = (image.shape[2], image.shape[1])
        return Alignment(load(), crop, found, size, 0.95 if near else 0.1)


@lru_cache
def scene(seed: int = 0) -> torch.Tensor:
    """A background with something in it to recognise the scene by."""
    rough = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(rough, (SIZE[1], SIZE[0]), mode="bilinear")[0]


def follow(
    world: World, num: int, change=lambda index: None, tracker=None, image=lambda index: scene(), **options
):
    """Run some frames: the tracker, and for each frame the faces seen."""
    tracker = tracker or FaceTracker(world.align, world.detect, TrackOptions(**options))
    start_s = tracker.state.time_s + 1 / FPS if tracker.state else 0.0
    shown = []
    for index in range(num):
        change(index)
        shown.append(tracker(image(index), start_s + index / FPS))
    return tracker, shown


def numbers(faces) -> list[int]:
    return [face.number for face in faces]


def test_a_face_is_followed_without_a_detector(mean_map):
    world = World(mean_map, [Head(60, 120)])

    def walk(index):
        world.heads[0] = Head(60 + 5 * index, 120 + index, 0.4 + 0.003 * index, 2.0 * index)

    _, shown = follow(world, 40, walk, steadiness=None)
    assert all(numbers(faces) == [1] for faces in shown)
    assert world.num_looks == 4 and world.num_aligned == 40  # at frames 0, 10, 20, 30
    truth = world.truth(world.heads[0])
    assert torch.equal(shown[-1][0].alignment.position_px, truth)
    # 5 px in 40 ms are 125 px per second, and the head turns to where it goes.
    face = shown[-1][0]
    assert 120 < face.velocity[0] * face.crop.side_px < 150


def test_a_fast_face_needs_its_motion_predicted(mean_map):
    # A third of the face's width per frame, with looks of the detector too rare to help.
    world = World(mean_map, [Head(-400, 120, 0.4)])
    speeds = [0.5 * index for index in range(46)]

    def run(index):
        world.heads[0].x = 40 + sum(speeds[: index + 1])

    _, shown = follow(world, 46, run, detect_every=1000, steadiness=None)
    assert speeds[-1] > 0.3 * 0.4 * 140 and all(numbers(faces) == [1] for faces in shown[:30])
    # The next crop is where the face is, to a few pixels.
    assert abs(shown[20][0].alignment.crop.centre_px[0] - world.truth(Head(40 + sum(speeds[:21]), 120))[0].mean()) < 8  # fmt: skip


def test_faces_come_go_and_get_new_numbers(mean_map):
    world = World(mean_map, [Head(70, 120), Head(230, 120, is_there=False)])

    def change(index):
        world.heads[1].is_there = 5 <= index < 40
        world.heads[0].is_there = index < 60 or index >= 90

    _, shown = follow(world, 110, change)
    assert numbers(shown[4]) == [1] and numbers(shown[16]) == [1, 2]  # found at the next look
    assert numbers(shown[40]) == [1]  # gone at once
    assert shown[65] == () and numbers(shown[94]) == [3]  # away for longer than 0.6 s: somebody new


def test_a_short_loss_keeps_the_number(mean_map):
    world = World(mean_map, [Head(70, 120)])

    def change(index):
        world.heads[0] = Head(70 + 2 * index, 120, is_there=not 20 <= index < 30)

    tracker, shown = follow(world, 50, change)
    assert shown[25] == () and tracker.state is not None and numbers(shown[34]) == [1]
    # It starts anew, without smoothing towards where it was lost.
    back = next(index for index in range(30, 35) if shown[index])
    assert torch.allclose(shown[back][0].alignment.position_px, world.truth(Head(70 + 2 * back, 120)), atol=1e-2)  # fmt: skip


def test_two_that_cross_keep_their_numbers(mean_map):
    world = World(mean_map, [Head(60, 110, nearer=1), Head(260, 125)])

    def change(index):
        world.heads[0].x, world.heads[1].x = 60 + 4 * index, 260 - 4 * index

    _, shown = follow(world, 50, change)
    assert numbers(shown[10]) == [1, 2]
    during = [numbers(faces) for faces in shown[22:29]]
    assert [1] in during  # the hidden one is not shown, least of all on top of the one in front
    last = {face.number: face.alignment.position_px[0].mean() for face in shown[-1]}
    assert set(last) == {1, 2} and last[1] > 200 > 100 > last[2]


def test_a_cut_starts_anew(mean_map):
    world = World(mean_map, [Head(120, 120)])

    def change(index):
        if index == 20:
            world.heads[0] = Head(135, 125, 0.45)

    _, shown = follow(world, 30, change, image=lambda index: scene(0 if index < 20 else 1))
    assert numbers(shown[19]) == [1] and numbers(shown[20]) == [2]
    # Without the cut the filter would have shown something between the two.
    assert torch.allclose(shown[20][0].alignment.position_px, world.truth(world.heads[0]), atol=1e-2)
    _, same = follow(World(mean_map, [Head(120, 120)]), 30, image=lambda index: scene() * (0.5 if index % 7 else 1.0))  # fmt: skip
    assert all(numbers(faces) == [1] for faces in same)  # lights that flicker are no cut


def test_jitter_is_filtered_unless_unwanted(mean_map):
    spread = {}
    for name, steadiness in (("raw", None), ("calm", Steadiness())):
        world = World(mean_map, [Head(160, 120)], noise_px=1.0)
        _, shown = follow(world, 60, steadiness=steadiness)
        maps = torch.stack([faces[0].alignment.position_px for faces in shown[15:]])
        poses = torch.stack([faces[0].alignment.pose.translation_px for faces in shown[15:]])
        spread[name] = (maps.std(0).mean(), poses.std(0).mean())
    assert spread["calm"][0] < 0.55 * spread["raw"][0]
    assert spread["calm"][1] < 0.55 * spread["raw"][1]


def test_what_leaves_the_picture_is_dropped_and_what_no_detector_confirms(mean_map):
    world = World(mean_map, [Head(250, 120)])

    def leave(index):
        world.heads[0].x = 250 + 4 * index

    tracker, shown = follow(world, 60, leave)
    assert numbers(shown[10]) == [1] and shown[35] == () and tracker.state and tracker.state.faces == ()
    # A network that is sure of what no detector ever calls a face again.
    sure = World(mean_map, [Head(160, 120)])
    _, shown = follow(sure, 100, lambda index: setattr(sure, "finds", index < 5), unconfirmed=3)
    assert numbers(shown[28]) == [1] and shown[-1] == ()


def test_maps_that_are_not_finite_or_of_one_point_are_no_faces(mean_map):
    world = World(mean_map, [Head(160, 120)], noise_px=float("nan"))
    assert follow(world, 3)[1] == [(), (), ()]
    point = World(0 * mean_map, [Head(160, 120)])
    point.detect = lambda _image: [FaceCrop((160.0, 120.0), 80.0)]  # type: ignore[method-assign]
    assert follow(point, 3)[1] == [(), (), ()]


def test_as_many_faces_as_asked_for_the_largest_first(mean_map):
    world = World(mean_map, [Head(60, 120), Head(160, 120), Head(260, 120)])
    _, shown = follow(world, 15, max_faces=2)
    assert all(numbers(faces) == [1, 2] for faces in shown)


def test_nobody_there_and_bad_values(mean_map):
    world = World(mean_map, [])
    tracker, shown = follow(world, 3)
    assert shown == [(), (), ()] and world.num_looks == 1  # looks in vain are dear
    with pytest.raises(BadInput, match="times must grow"):
        tracker(scene(), 0.01)
    for wrong in ({"detect_every": 0}, {"search_every": 0}, {"max_faces": 0}, {"lost_s": -1.0}):
        with pytest.raises(BadInput, match="1 at least"):
            TrackOptions(**wrong)  # type: ignore[arg-type]
