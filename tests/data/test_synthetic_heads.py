"""Generated heads: the same bytes again, heads that do not depend on how many there are, and truth that fits the picture."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vultus.data.expressions import MILD, random_expression, random_face, weights_of
from vultus.data.occluders import fringe, hand, random_occluder, sunglasses
from vultus.data.picture import open_sky
from vultus.data.recipe import RECIPE, claim
from vultus.data.scene import CLOSEST_MM, as_jpeg, random_backdrop, random_camera, random_light
from vultus.data.shapes import ellipsoid, is_outward, joined, tube
from vultus.data.synthetic_heads import SyntheticOptions, make_heads
from vultus.data.worn import Wearer, mask, scarf
from vultus.errors import BadFile, BadInput
from vultus.geometry.mesh import vertex_normals
from vultus.geometry.rigid import pose_angles, transform_points
from vultus.io.images import read_image
from vultus.io.meshes import read_mesh
from vultus.model.bundled import load

SIZE_PX = 160


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture(scope="module")
def heads(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("heads") / "set"
    assert [made for _, made in make_heads(model, folder, SyntheticOptions(heads=2, occluded=1, size_px=SIZE_PX))] == [True, True]  # fmt: skip
    return folder


def test_what_is_there_stays_and_more_can_be_added(model, heads):
    before = (heads / "001" / "photo.png").read_bytes()
    more = list(make_heads(model, heads, SyntheticOptions(heads=3, occluded=1, size_px=SIZE_PX)))
    assert [(place.name, made) for place, made in more] == [("001", False), ("002", False), ("003", True)]
    assert (heads / "001" / "photo.png").read_bytes() == before
    recipe = json.loads((heads / RECIPE).read_text())
    assert recipe["heads"] == 3 and recipe["sources"] == ["the head that ships with vultus (CC0)"]
    with pytest.raises(BadInput, match="another seed"):
        next(make_heads(model, heads, SyntheticOptions(heads=2, occluded=1, seed=1, size_px=SIZE_PX)))


def test_a_head_depends_on_seed_and_number_only(model, heads, tmp_path):
    options = SyntheticOptions(heads=2, occluded=1, size_px=SIZE_PX)
    stolen = tmp_path / "set" / "001"
    stolen.mkdir(parents=True)
    claimed = tmp_path / "set" / RECIPE
    claimed.write_text((heads / RECIPE).read_text())
    (stolen / "truth.npz").write_bytes(b"")  # as if number one had been made before
    assert [made for _, made in make_heads(model, tmp_path / "set", options)] == [False, True]
    for file in sorted((heads / "002").iterdir()):
        if file.suffix == ".npz":  # its zip holds the time
            with np.load(file) as a, np.load(tmp_path / "set" / "002" / file.name) as b:
                assert all(np.array_equal(a[key], b[key]) for key in a.files) and a.files == b.files
        else:
            assert file.read_bytes() == (tmp_path / "set" / "002" / file.name).read_bytes(), file.name


def test_an_interrupted_head_is_made_again(model, tmp_path, monkeypatch):
    from vultus.data import synthetic_heads

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    options = SyntheticOptions(heads=1, size_px=SIZE_PX)
    with monkeypatch.context() as broken:
        broken.setattr(synthetic_heads, "_write_truth", full)
        with pytest.raises(BadFile, match="001"):
            list(make_heads(model, tmp_path / "set", options))
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [RECIPE]
    assert [made for _, made in make_heads(model, tmp_path / "set", options)] == [True]


def test_camera_landmarks_surfaces_and_masks_fit_together(heads):
    for place in (heads / "001", heads / "002"):
        camera = json.loads((place / "camera.json").read_text())
        marks = json.loads((place / "landmarks.json").read_text())
        pose, K = torch.tensor(camera["T_camera_head"]).double(), np.array(camera["K"])
        posed = torch.tensor(marks["posed"]).double()
        seen = transform_points(pose, posed).numpy() @ K.T
        # Poses are rounded at 1e-9 and points at 1e-4 mm; at 330 mm or more and a focal length of at most 720 px that is 5e-4 px.
        np.testing.assert_allclose(seen[:, :2] / seen[:, 2:], marks["posed_px"], atol=2e-3)
        assert camera["focal_px"] == pytest.approx(
            camera["focal_mm35"] / 43.2666 * np.hypot(160, 160), rel=1e-4
        )
        assert camera["yaw_deg"] == pytest.approx(float(pose_angles(pose[:3, :3]).yaw_deg), abs=1e-3)
        surface, neutral = read_mesh(place / "posed.ply"), read_mesh(place / "neutral.ply")
        assert torch.equal(surface.topology.triangles, neutral.topology.triangles)
        # Landmarks lie on triangles of the skin whose corners are at most some millimetres away.
        assert torch.cdist(posed.float(), surface.vertices).min(1).values.max() < 4
        image, (bare, *_) = read_image(place / "photo.png")[0], read_image(place / "mask.png")[0]
        hidden = read_image(place / "occluded.png")[0][0]
        assert image.shape == (3, 160, 160) and bare.mean() > 0.01
        assert not bool(((bare > 0.5) & (hidden > 0.5)).any())
        with np.load(place / "truth.npz") as truth:
            share = float(hidden.sum() / (hidden.sum() + bare.sum()))
            assert float(truth["occluded_share"]) == pytest.approx(
                share, abs=0.03
            )  # pixels are half covered at the rim
            assert str(truth["group"]) == "bundled" and str(truth["occluder"]) != ""
        # The picture shows the head where the surface is: the mask lies within the projection of the posed skin.
        everywhere = transform_points(pose, surface.vertices.double()).numpy() @ K.T
        x, y = (everywhere[:, :2] / everywhere[:, 2:]).T
        rows, columns = np.nonzero(bare.numpy() > 0.5)
        assert x.min() - 1 < columns.min() and columns.max() < x.max() + 1
        assert y.min() - 1 < rows.min() and rows.max() < y.max() + 1


def test_options_are_checked(tmp_path):
    cases: tuple[dict[str, Any], ...] = (
        {"heads": 0}, {"size_px": 20}, {"max_yaw_deg": 120}, {"occluded": 2}, {"photos": tmp_path}, {"ict": tmp_path / "no"},
    )  # fmt: skip
    for wrong in cases:
        with pytest.raises(BadInput, match=f"--{next(iter(wrong)).replace('_', '-')}"):
            SyntheticOptions(**wrong)
    (tmp_path / "other.txt").write_text("x")
    with pytest.raises(BadInput, match="something else"):
        claim(tmp_path, {"n": 1}, grows="n", what="a set")
    (tmp_path / RECIPE).write_text("[]")
    with pytest.raises(BadFile, match="no JSON object"):
        claim(tmp_path, {"n": 1}, grows="n", what="a set")


def test_cameras_keep_the_face_in_the_picture_and_their_distance(model):
    face = model.mean_mm[model.regions["face"]]
    focal, distance = [], []
    for i in range(40):
        camera = random_camera(np.random.default_rng(i), face, 320, 60.0)
        seen = camera.project(face)
        x, y = seen[:, 0], seen[:, 1]
        # Moving the head sideways changes its perspective a little: hence not exactly the margin of 3 %.
        assert min(x.min(), y.min()) > -6 and max(x.max(), y.max()) < 326
        focal.append(float(camera.focal_px) / np.hypot(320, 320) * 43.2666)
        distance.append(float(camera.T_camera_head[2, 3]))
        assert abs(float(pose_angles(camera.T_camera_head[:3, :3]).yaw_deg)) <= 60.001
    assert min(focal) >= 19.99 and max(focal) <= 135.01 and min(distance) > CLOSEST_MM - 45


def test_light_and_background(model):
    light = random_light(np.random.default_rng(0), torch.tensor([0.35, 0.19, 0.1]))
    assert light.environment.shape == (3, 9) and float(light.lamp.towards.norm()) == pytest.approx(1)
    for i in range(6):
        backdrop, _ = random_backdrop(np.random.default_rng(i), 48, torch.rand(3, 40, 30) if i % 2 else None)
        assert backdrop.shape == (3, 48, 48) and bool(torch.isfinite(backdrop).all()) and backdrop.min() >= 0
    image = torch.rand(3, 32, 40)
    rough, fine = (float((as_jpeg(image, quality) - image).abs().mean()) for quality in (20, 95))
    assert fine < rough and as_jpeg(image, 95).shape == image.shape


def test_the_sky_above_a_plate_under_a_roof():
    # A plate 100 mm wide that looks up (y), and a roof of the same size 20 mm above it: the plate's middle sees nothing but the horizon.
    axis = torch.linspace(-50, 50, 21)
    x, z = torch.meshgrid(axis, axis, indexing="ij")
    plate = torch.stack([x, torch.zeros_like(x), z], 2).flatten(0, 1)
    index = torch.arange(441).reshape(21, 21)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    triangles = torch.cat([torch.stack([a, c, b], 2), torch.stack([a, d, c], 2)], 0).reshape(-1, 3)
    free = open_sky(plate, vertex_normals(plate, triangles), triangles)
    both = torch.cat([plate, plate + torch.tensor([0.0, 20, 0])])
    faces = torch.cat([triangles, triangles + 441])
    under = open_sky(both, vertex_normals(both, faces), faces)
    assert free.min() > 0.95 and under[220] < 0.2 and under[441 + 220] > 0.95


@pytest.fixture(scope="module")
def wearer(model):
    zero = torch.zeros(())
    marks = model.landmarks["ibug68"].points(model.mean_mm, model.triangles, zero, zero)
    return Wearer(
        model, model.mean_mm, marks, torch.tensor([0.3, 0.2, 0.1]), torch.tensor([0.05, 0.03, 0.02])
    )


def test_solids_face_outwards():
    path = torch.tensor([[0.0, 0, 0], [0, 10, 0], [0, 20, 3]])
    assert is_outward(*tube(path, 3.0)) and is_outward(*ellipsoid(torch.ones(3), torch.tensor([1.0, 2, 3])))
    ring = torch.tensor([[10.0, 0, 0], [0, 10, 0], [-10, 0, 0], [0, -10, 0]])
    assert is_outward(*tube(ring, 1.0, closed=True)) and is_outward(*tube(ring.flip(0), 1.0, closed=True))
    two = joined("two", [(*tube(path, 3.0), torch.zeros(3)), (*tube(path, 2.0), torch.ones(3))])
    assert two.triangles.max() == len(two.vertices) - 1 and two.colour.shape == two.vertices.shape


@pytest.mark.parametrize("make", [sunglasses, mask, scarf, hand, fringe])
def test_things_lie_before_the_face_and_not_in_it(model, wearer, make):
    thing = make(wearer, np.random.default_rng(3))
    assert bool(torch.isfinite(thing.vertices).all()) and bool((thing.colour >= 0).all())
    assert thing.triangles.min() >= 0 and thing.triangles.max() < len(thing.vertices)
    # Seen from the front, something of it is nearer to the camera than the nearest face vertex around.
    face = wearer.vertices[model.regions["face"]]
    near = torch.cdist(thing.vertices[:, :2], face[:, :2])
    distance, which = near.min(1)
    over = distance < 4
    assert over.sum() > 20 and ((thing.vertices[:, 2] - face[which, 2])[over] > 0).float().mean() > 0.6


@pytest.mark.long
def test_all_kinds_of_occluders_come(wearer):
    kinds = set()
    for i in range(40):
        kinds.add(random_occluder(wearer, np.random.default_rng(i)).name)
        if len(kinds) == 5:
            break
    assert kinds == {"sunglasses", "mask", "scarf", "hand", "hair"}


def test_expressions(model):
    names = list(model.expression_names)
    both = weights_of(model, {"mouthSmile": 0.5, "jawLeft": 0.2, "noSuchUnit": 1})
    assert {names[i] for i in both.nonzero()[:, 0]} == {"mouthSmileLeft", "mouthSmileRight", "jawLeft"}
    mild = random_expression(model, np.random.default_rng(0), MILD)
    assert 0.05 < mild.max() <= 0.5
    kinds = set()
    for i in range(20):
        weights, kind = random_face(model, np.random.default_rng(i))
        assert weights.min() >= 0 and weights.max() <= 1.0
        moved = [n for n, w in zip(names, weights) if w and not n.startswith("eyeLook")]
        assert (kind == "neutral") == (not moved)
        kinds.add(kind)
    assert kinds == {"neutral", "mild", "strong"}
