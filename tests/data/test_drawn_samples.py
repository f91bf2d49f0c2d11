"""Drawn samples: each depends on its number only, its truth lies on the picture, and the fast kernels agree with the slow functions."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vultus.data._fast_kernels import add_normals, light_pixels
from vultus.data.drawn_samples import (  # fmt: skip
    PER_PERSON,
    DrawnOptions,
    DrawnSet,
    _shared,
    make_source,
    manifest_of,
    missing_sources,
    photos_of,
)
from vultus.data.fast_finish import _blurred, as_photo, backdrop, crop_camera, soft_things
from vultus.data.fast_people import bundled_family, make_drawn_person, posed, random_weights
from vultus.data.fast_picture import _monomials
from vultus.data.fast_skin import TEXELS, _evened, for_test, made_skin, read_skin, worn_skin, write_skin
from vultus.data.fast_worn import OCCLUDERS, dress, worn_by
from vultus.data.person import fixed_of
from vultus.data.scene import CLOSEST_MM
from vultus.errors import BadFile, BadInput
from vultus.geometry.light import COSINE_LOBE, ambient_and_directional, sh_basis, shading
from vultus.geometry.mesh import vertex_normals
from vultus.geometry.rigid import pose_angles
from vultus.model.bundled import load
from vultus.model.deformation import deformation_offsets
from vultus.model.face import FaceCode
from vultus.render.raster import rasterize

pytestmark = pytest.mark.long  # `make test` draws samples in tests/cli/test_dataset.py
SIZE_PX = 96


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture(scope="module")
def drawn(folder) -> DrawnSet:
    options = DrawnOptions(samples=24, skins=2, size_px=SIZE_PX)
    assert [task.path.name for task in missing_sources(folder, options)] == ["made-0000.npz", "made-0001.npz"]
    for task in missing_sources(folder, options):
        make_source(task)
    assert missing_sources(folder, options) == []
    return DrawnSet(folder, options)


def same(a, b) -> bool:
    arrays = ("image", "mask", "vertices_mm", "landmarks_px", "T_camera_head", "light")
    return a.key == b.key and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays)


def test_a_sample_depends_on_its_number_only(drawn, folder):
    few = DrawnSet(folder, dataclasses.replace(drawn.options, samples=3))
    assert same(drawn[17], few[17]) and not same(drawn[2], drawn[3])
    again = drawn[2]
    assert same(again, few[2])
    other = DrawnSet(folder, dataclasses.replace(drawn.options, seed=1))
    assert not np.array_equal(other[2].vertices_mm, again.vertices_mm)


def test_a_person_is_in_several_samples_and_in_one_split(drawn, folder):
    samples = [drawn[i] for i in (0, PER_PERSON - 1, PER_PERSON)]
    assert samples[0].person == samples[1].person != samples[2].person
    assert np.array_equal(samples[0].code["identity"], samples[1].code["identity"])
    assert not np.array_equal(samples[0].code["expression"], samples[1].code["expression"])
    test = DrawnSet(folder, dataclasses.replace(drawn.options, split="test"))[0]
    assert test.person != samples[0].person and test.key != samples[0].key
    assert not np.allclose(test.code["identity"], samples[0].code["identity"])
    names = [f"person{i}.jpg" for i in range(2000)]
    assert 0.07 < np.mean([for_test(name) for name in names]) < 0.13
    assert all(for_test(f"elsewhere/{name[:-3]}png") == for_test(name) for name in names[:50])


def test_the_truth_lies_on_the_picture(drawn, model):
    shown = torch.cat([model.part_triangles(name) for name in model.part_names if name != "lashes"])
    face = fixed_of(model).is_face
    is_face = torch.cat([face[model.part_of_triangle == i] for i, name in enumerate(model.part_names) if name != "lashes"])  # fmt: skip
    zero = torch.zeros(())
    for number in range(0, 24, 3):
        s = drawn[number]
        identity, expression = (torch.from_numpy(s.code[name]) for name in ("identity", "expression"))
        code = FaceCode(identity, expression, torch.zeros(len(model.albedo)))  # fmt: skip
        explained = model.vertices(code) + deformation_offsets(model, torch.from_numpy(s.maps["deformation_mm"]))  # fmt: skip
        assert np.abs(explained.numpy() - s.vertices_mm).max() < 1e-3
        camera = s.vertices_mm @ s.T_camera_head[:3, :3].T + s.T_camera_head[:3, 3]
        px = s.focal_px * camera[:, :2] / camera[:, 2:] + s.principal_px
        marks = model.landmarks["ibug68"].points(torch.from_numpy(s.vertices_mm), model.triangles, zero, zero)
        marks_camera = marks.numpy() @ s.T_camera_head[:3, :3].T + s.T_camera_head[:3, 3]
        expected = np.concatenate([s.focal_px * marks_camera[:, :2] / marks_camera[:, 2:] + s.principal_px, marks_camera[:, 2:]], 1)  # fmt: skip
        assert np.abs(s.landmarks_px - expected).max() < 0.01
        assert s.image.shape == (SIZE_PX, SIZE_PX, 3) and s.mask.shape == (SIZE_PX, SIZE_PX)
        assert set(np.unique(s.mask)) <= {0, 255} and s.light is not None and s.light.shape == (3, 9)
        # Skin that is seen is where the bare head shows its face, but for a pixel at the rim; and where it is not hidden it is all of it.
        corner = torch.from_numpy(np.concatenate([px, camera[:, 2:]], 1)).float()[None]
        found = rasterize(corner, shown, (SIZE_PX, SIZE_PX))
        bare = (is_face[found.triangle_ids[0].clamp_min(0).long()] & found.mask[0]).float()
        wide = torch.nn.functional.max_pool2d(bare[None], 3, 1, 1)[0].numpy() > 0
        assert wide[s.mask > 0].all()
        # The face fills a good part of the crop and lies in it, but for what its jitter cuts.
        assert 0.08 < float(bare.mean()) < 0.75


def test_the_mask_is_the_face_where_nothing_is_before_it(folder, drawn, model):
    bare = DrawnSet(folder, dataclasses.replace(drawn.options, occluded=0.0))
    for number in (1, 9):
        s = bare[number]
        inside = s.mask > 0
        camera = s.vertices_mm @ s.T_camera_head[:3, :3].T + s.T_camera_head[:3, 3]
        px = s.focal_px * camera[:, :2] / camera[:, 2:] + s.principal_px
        normals = vertex_normals(torch.from_numpy(camera), model.triangles).numpy()
        squarely = (normals * camera).sum(1) < -0.5 * np.linalg.norm(camera, axis=1)
        cheeks = px[model.regions["cheeks"].numpy() & squarely]
        cheeks = cheeks[((cheeks > 1) & (cheeks < SIZE_PX - 1)).all(1)].astype(int)
        assert len(cheeks) > 50 and inside[cheeks[:, 1], cheeks[:, 0]].mean() > 0.9


def test_fast_normals_and_light_agree_with_the_slow(model):
    total = np.zeros((len(model.mean_mm), 3), np.float32)
    add_normals(model.mean_mm.numpy(), model.triangles.numpy(), total)
    expected = vertex_normals(model.mean_mm, model.triangles)
    assert torch.allclose(torch.nn.functional.normalize(torch.from_numpy(total), dim=1), expected, atol=1e-4)
    light = ambient_and_directional(torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.3, -0.5, -1.0]))  # fmt: skip
    n = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    x, y, z = n.unbind(1)
    monomials = torch.stack([torch.ones(50), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], 1)
    assert torch.allclose(monomials * _monomials(), sh_basis(n), atol=1e-6)
    # One triangle with three normals, a texture of one colour, under harmonics and a lamp.
    normals = torch.nn.functional.normalize(torch.tensor([[0.0, 0, -1], [0.3, 0.1, -1], [-0.2, 0.4, -1]]), dim=1)  # fmt: skip
    corners = torch.tensor([[-5.0, -5, 900], [60, 0, 900], [0, 70, 900]])
    triangles = torch.tensor([[0, 1, 2]])
    ids = rasterize(corners[None], triangles, (20, 16)).triangle_ids[0]
    albedo = torch.tensor([0.6, 0.4, 0.2])
    look = torch.cat([normals, torch.tensor([[0.0, 1.0, 0.2, 0.3, 1.0, 9, 9, 9, 0.0]]).expand(3, 9)], 1)
    hue, wrap = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.3, 0.1, 0.0])
    out = np.zeros((5, 16, 20), np.float32)

    def run(seen: float, share: float = 1.0) -> torch.Tensor:
        given = look.clone()
        given[:, 3], given[:, 7] = seen, share
        lamp = torch.nn.functional.normalize(torch.tensor([0.2, -0.3, -1.0]), dim=0)
        texture = albedo.expand(4, 4, 3).contiguous()
        strands = torch.full((4, 4, 1), 0.5)
        tensors = (ids, corners, triangles, given, torch.tensor([True]), texture, strands, torch.eye(3), light * torch.tensor(COSINE_LOBE) * _monomials(), lamp, hue, wrap, lamp, torch.zeros(3))  # fmt: skip
        light_pixels(*(t.contiguous().numpy() for t in tensors), 500.0, 10.0, 8.0, np.zeros(7), np.zeros(12), out)  # fmt: skip
        return torch.from_numpy(out.copy())

    # All corners are equally far: plain barycentric weights.
    py, px = torch.meshgrid(torch.arange(16) + 0.5, torch.arange(20) + 0.5, indexing="ij")
    matrix = torch.linalg.inv(torch.cat([corners[:, :2], torch.ones(3, 1)], 1).T)
    weight = torch.stack([px, py, torch.ones(16, 20)], 2) @ matrix.T
    at = torch.nn.functional.normalize(weight @ normals, dim=2)
    covered = ids >= 0
    assert bool(covered.all())
    expected = albedo * shading(at.reshape(-1, 3), light).clamp_min(0.02).reshape(16, 20, 3)
    assert torch.allclose(run(0.0)[:3].permute(1, 2, 0), expected, atol=1e-5)
    lamp = torch.nn.functional.normalize(torch.tensor([0.2, -0.3, -1.0]), dim=0)
    direct = albedo * ((at @ lamp)[..., None] + wrap).clamp_min(0) / (1 + wrap) * hue
    assert torch.allclose(run(1.0)[:3].permute(1, 2, 0), expected + direct, atol=1e-5)
    # Strands darken and brighten the colour of a thing: here by 1 + 0.6 * 0.5.
    assert torch.allclose(run(0.0, -0.6)[0], 1.3 * 9 / 0.6 * expected[..., 0], rtol=1e-4)
    assert bool((torch.from_numpy(out[3:]) == 1).all())


def test_things_go_with_the_head(model):
    wardrobe = _shared()[1]
    along = torch.tensor([4.0, -7.0, 2.0]).expand(len(model.mean_mm), 3).contiguous()
    for things in wardrobe.values():
        thing = things[0]
        moved = worn_by(thing, along, torch.ones(3))
        assert torch.allclose(moved.vertices, thing.prop.vertices + along[0], atol=1e-3)
        assert torch.equal(worn_by(thing, 0 * along, torch.ones(3)).vertices, thing.prop.vertices)
    seen = set()
    for i in range(60):
        worn, haired = dress(wardrobe, along, torch.full((3,), 0.3), torch.full((3,), 0.1), 1.0, np.random.default_rng(i))  # fmt: skip
        names = [thing.name for thing, _ in worn]
        assert names[0] == "shirt" and haired == ("cropped hair" in names) and names[-1] in OCCLUDERS
        seen.update(names)
    assert seen == set(wardrobe)
    worn, _ = dress(wardrobe, along, torch.ones(3), torch.ones(3), 0.0, np.random.default_rng(0))
    assert not {thing.name for thing, _ in worn} & set(OCCLUDERS)


def test_people_have_any_face_and_a_code_that_says_so(model):
    skin = made_skin(model, 0, 0)
    person = make_drawn_person(model, bundled_family(model), "x", skin, np.random.default_rng(1))
    uneven = 0
    names = list(model.expression_names)
    left, right = names.index("mouthSmileLeft"), names.index("mouthSmileRight")
    used = torch.zeros(len(names), dtype=torch.bool)
    for i in range(400):
        weights = random_weights(model, np.random.default_rng(i))
        assert weights.min() >= 0 and weights.max() <= 1
        uneven += bool(weights[left] != weights[right])
        used |= weights > 0.2
    assert uneven > 100 and {name for name, on in zip(names, used) if not on} <= {"tongueOut", "mouthClose"}
    weights = random_weights(model, np.random.default_rng(2))
    bent = deformation_offsets(model, torch.from_numpy(person.deformation_mm))
    assert person.identity is not None
    code = FaceCode(person.identity, weights, torch.zeros(len(model.albedo)))
    assert torch.allclose(posed(person, weights), model.vertices(code) + bent, atol=1e-3)


def test_skins(model, tmp_path):
    skin = made_skin(model, 1, 0)
    assert skin.albedo.shape == (3, TEXELS, TEXELS) and skin.relief is not None and skin.albedo.std() > 3
    assert not np.array_equal(skin.albedo, made_skin(model, 2, 0).albedo)
    plain, mirrored = (worn_skin(model, skin, mirrored=side) for side in (False, True))
    flipped = plain.layers.flip(1)
    assert torch.equal(mirrored.layers[..., :3], flipped[..., :3])
    assert torch.equal(mirrored.layers[..., 3], -flipped[..., 3]) and torch.equal(mirrored.layers[..., 4:], flipped[..., 4:])  # fmt: skip
    write_skin(tmp_path / "a.npz", skin, "a")
    write_skin(tmp_path / "b.npz", None, "b")
    kept = read_skin(tmp_path / "a.npz")
    assert kept is not None and np.array_equal(kept.albedo, skin.albedo) and read_skin(tmp_path / "b.npz") is None  # fmt: skip
    (tmp_path / "c.npz").write_bytes(b"nothing")
    with pytest.raises(BadFile, match=r"c\.npz.*delete it"):
        read_skin(tmp_path / "c.npz")
    # A shadow over one half goes to both, milder; pores stay.
    pores = 0.02 * torch.randn(3, 60, 60, generator=torch.Generator().manual_seed(0))
    uneven = (0.3 * torch.ones(3, 60, 60) + pores).clone()
    uneven[:, :, :30] *= 0.4
    even = _evened(uneven)
    halves = even[:, :, :20].mean() / even[:, :, 40:].mean()
    assert abs(float(halves) - 1) < 0.1 and float(even[:, :20, 5:9].std()) > 0.01


def test_cameras_are_of_photos_that_people_take(model):
    face = model.mean_mm[model.regions["face"]]
    mm35, yaws, aside = [], [], []
    for i in range(60):
        camera = crop_camera(np.random.default_rng(i), face, 256, 90.0)
        seen = camera.project(face)[:, :2]
        size = float((seen.max(0).values - seen.min(0).values).mean())
        assert 256 / 1.76 < size < 256 / 1.24
        middle = (seen.max(0).values + seen.min(0).values) / 2
        assert float((middle - 128).abs().max()) < 0.101 * size
        assert float(camera.T_camera_head[2, 3]) > CLOSEST_MM - 60
        # The photo's diagonal in the crop's pixels is not known here, but its focal length by its own middle is at least its angle.
        mm35.append(float(camera.focal_px))
        aside.append(float((camera.principal_px - 128).abs().max()))
        yaws.append(float(pose_angles(camera.T_camera_head[:3, :3]).yaw_deg))
    assert max(mm35) / min(mm35) > 4 and max(yaws) > 70 and min(yaws) < -70 and np.abs(yaws).max() <= 90.01
    assert np.median(aside) > 30  # the optical axis is not the crop's middle
    narrow = [crop_camera(np.random.default_rng(i), face, 64, 10.0) for i in range(20)]
    assert max(abs(float(pose_angles(c.T_camera_head[:3, :3]).yaw_deg)) for c in narrow) <= 10.001


def test_backgrounds_soft_things_and_photos():
    for i in range(8):
        rng = np.random.default_rng(i)
        behind = torch.rand(3, 16, 16) if i % 2 else None
        image = backdrop(rng, 64, behind)
        assert image.shape == (3, 64, 64) and bool(torch.isfinite(image).all()) and float(image.min()) >= 0
        covered, face = soft_things(rng, image, torch.ones(64, 64), 2)
        assert float(face.min()) >= 0 and 0.2 < float(face.mean()) < 1 and not torch.equal(covered, image)
        untouched = face > 0.999
        assert torch.allclose(covered[:, untouched], image[:, untouched], atol=0.02)
        photo = as_photo(rng, image)
        assert photo.shape == image.shape and torch.equal((photo * 255).round() / 255, photo)


def test_blur_is_a_gaussian():
    dot = torch.zeros(1, 41, 41)
    dot[0, 20, 20] = 1
    axis = torch.arange(41) - 20
    for sigma in (0.6, 2.0):
        soft = _blurred(dot, sigma)[0]
        assert float(soft.sum()) == pytest.approx(1, abs=1e-5)
        for along in (soft.sum(0), soft.sum(1)):
            # The kernel ends at 2.5 sigma, rounded up to pixels.
            assert float((along * axis).sum()) == pytest.approx(0, abs=1e-5)
            assert float((along * axis**2).sum()) ** 0.5 == pytest.approx(sigma, rel=0.05)
    assert torch.allclose(_blurred(torch.full((3, 9, 12), 0.4), 1.5), torch.full((3, 9, 12), 0.4))
    assert torch.equal(_blurred(dot, 0.1), dot)


def test_options_are_checked(tmp_path):
    (tmp_path / "photos").mkdir()
    cases: tuple[dict[str, Any], ...] = (
        {"samples": 0}, {"size_px": 8}, {"max_yaw_deg": 120}, {"occluded": 2}, {"photos": tmp_path / "photos"}, {"ict": tmp_path / "no"}, {"split": "x"}, {"per_shard": 0},
    )  # fmt: skip
    for wrong in cases:
        with pytest.raises(BadInput, match=f"--{next(iter(wrong)).replace('_', '-')}"):
            DrawnOptions(**wrong)
    names = [f"{i}.png" for i in range(40)]
    for name in names:
        (tmp_path / "photos" / name).write_bytes(b"x")
    sides = [{path.name for path in photos_of(DrawnOptions(photos=tmp_path / "photos", split=split))} for split in ("train", "test")]  # fmt: skip
    assert sides[0] | sides[1] == set(names) and not sides[0] & sides[1] and len(sides[0]) > len(sides[1]) > 0
    manifest = manifest_of(DrawnOptions(photos=tmp_path / "photos"))
    assert set(manifest.licences) == {"bundled", "bundled+photos"} and "consent" in manifest.licences["bundled+photos"]  # fmt: skip
    assert "samples" not in manifest.options


@pytest.mark.slow
def test_a_skin_from_a_photo(tmp_path):
    import vultus

    photo = Path(vultus.__file__).parent / "assets" / "astronaut.jpg"
    from vultus.data.fast_skin import skin_of_photo

    skin = skin_of_photo(photo)
    assert skin is not None and skin.albedo.shape == (3, TEXELS, TEXELS) and skin.behind is not None
    # Skin is redder than it is blue, and hers is not black.
    middle = skin.albedo[:, TEXELS // 4 : -TEXELS // 4, TEXELS // 4 : -TEXELS // 4].mean((1, 2))
    assert middle[0] > middle[1] > middle[2] > 30
    from vultus.io.images import write_png

    write_png(tmp_path / "grey.png", torch.full((3, 200, 200), 0.5))
    assert skin_of_photo(tmp_path / "grey.png") is None


@pytest.mark.shared
def test_ict_heads_are_carried_over(model, shared_data, tmp_path):
    from vultus.data.fast_people import carried_family, read_family, write_family
    from vultus.geometry.closest import TriangleTree
    from vultus.model.formats import ict

    family = carried_family(model, shared_data / "ict")
    theirs = ict.load(shared_data / "ict")
    code = torch.from_numpy(np.random.default_rng(0).normal(0, 1, len(family.identity_mm))).float()
    ours = family.mean_mm + (code @ family.identity_mm.flatten(1)).reshape(-1, 3)
    target = theirs.vertices(FaceCode(code, torch.zeros(len(theirs.expression_mm)), torch.zeros(len(theirs.albedo))))  # fmt: skip
    tree = TriangleTree(target.double().numpy(), theirs.part_triangles("skin").numpy())
    distance = tree.query(ours[model.regions["face"]].double().numpy()).distances
    assert np.median(distance) < 0.15 and np.percentile(distance, 95) < 0.8
    # A jaw that opens takes the chin along as theirs does; a tongue they have not.
    names = list(model.expression_names)
    down = family.expression_mm[names.index("jawOpen"), model.regions["chin"], 1].mean()
    assert float(down) < -5 and not family.expression_mm[names.index("tongueOut")].any()
    write_family(tmp_path / "a.npz", family)
    assert torch.equal(read_family(tmp_path / "a.npz").identity_mm, family.identity_mm)
    with pytest.raises(BadFile, match=r"b\.npz"):
        read_family(tmp_path / "b.npz")
