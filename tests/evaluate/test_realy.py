import json

import numpy as np
import pytest

from vultus.errors import BadFile, BadInput
from vultus.evaluate.benchmark import FaceMesh, Prediction, evaluation, run_item
from vultus.evaluate.realy import open_realy
from vultus.evaluate.realy_bend import _smoothness, _solve, bend
from vultus.evaluate.realy_keypoints import carry_over
from vultus.evaluate.realy_regions import (
    REGIONS,
    ScanRegion,
    _align_region,
    align_by_keypoints,
    align_rigidly,
    region_errors,
)
from vultus.evaluate.scan import Alignment
from vultus.geometry.closest import TriangleTree

HEIGHT = {"nose": 0.1, "mouth": 0.2, "forehead": 0.3, "cheek": 0.4}
CORNER = {"forehead": (-6, 3), "nose": (-6, -3), "cheek": (1, -3), "mouth": (1, 3)}
SCALE_MM = 9.0


def grid(x, y, z):
    """A height field over ascending x, descending or ascending y: (v, 3), (f, 3)."""
    xy = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    i = np.arange(len(x) * len(y)).reshape(len(y), len(x))
    a, b, c, d = (part.ravel() for part in (i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]))
    return np.column_stack([xy, z(xy[:, 0], xy[:, 1])]), np.concatenate(
        [np.stack([a, b, c], 1), np.stack([b, d, c], 1)]
    )


def flat(x, y):
    return 0 * x


def bumps(x, y):
    return (
        2 * np.exp(-((x - 0.4) ** 2 + (y + 1) ** 2) / 4)
        - (x / 6) ** 2
        - (y / 8) ** 2
        + 0.3 * np.sin(x + y / 2)
    )


def corrugated(name):
    """Columns +h -h -h +h, twice: no mean and no slope in either direction, so no rigid motion brings it nearer to its plane."""
    x0, y0 = CORNER[name]
    sign = np.tile([1, -1, -1, 1], 2)
    return grid(
        x0 + np.arange(8) * 0.6, y0 + np.arange(8) * 0.4, lambda x, y: HEIGHT[name] * np.tile(sign, 8)
    )


def keypoints_xy():
    """85 places, those that steer a region on vertices of that region."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(-5, 5, (85, 2))
    for name, ids in (
        ("forehead", [*range(17, 27), *range(36, 48)]),
        ("nose", range(27, 36)),
        ("mouth", [*range(48, 61), 64]),
    ):
        vertices, _ = corrugated(name)
        xy[list(ids)] = vertices[rng.choice(len(vertices), len(ids), replace=False), :2]
    return xy


def write_obj(path, vertices, triangles=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x:.9f} {y:.9f} {z:.9f}" for x, y, z in vertices] + [
        f"f {a + 1} {b + 1} {c + 1}" for a, b, c in triangles
    ]
    path.write_text("\n".join(lines) + "\n")


def write_table(path, vertices, triangles, xy):
    """The key points as [triangle, a, b] of a height field, and the template beside it."""
    write_obj(path.with_suffix(".obj"), vertices, triangles)
    corners = vertices[triangles][:, :, :2]
    rows = []
    for point in xy:
        system = np.concatenate([corners.transpose(0, 2, 1), np.ones((len(triangles), 1, 3))], 1)
        weights = np.linalg.solve(system, np.tile([*point, 1.0], (len(triangles), 1))[:, :, None])[:, :, 0]
        best = int(weights.min(1).argmax())
        rows.append([best, *weights[best, :2].tolist()])
    path.write_text(json.dumps(rows))


PLANE = grid(np.linspace(-9, 9, 25), np.linspace(-9, 9, 23), flat)


def make_data(root, surface=flat, region=corrugated, people=("1", "2")):
    xy = keypoints_xy()
    for person in people:
        write_obj(
            root / "REALY_HIFI3D_keypoints" / f"{person}.obj",
            np.column_stack([xy, surface(xy[:, 0], xy[:, 1])]),
        )
        for name in REGIONS:
            write_obj(root / "REALY_scan_region" / person / f"{name}.obj", *region(name))
    (root / "metrical_scale.txt").write_text("".join(f"{SCALE_MM + i:.6e}\n" for i in range(int(people[-1]))))
    write_table(root / "PLANE.txt", *PLANE, xy)
    return root


MOVED = Alignment(
    40.0,
    align_rigidly(np.eye(3), np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]).rotation,
    np.array([5.0, -80, 30]),
)


def test_a_scan_corrugated_about_the_prediction_errs_by_the_height(tmp_path):
    """Errors by hand: every vertex is h from the plane and its counterpart is its foot, so 0.1 to 0.4 units of 9 mm, mean 0.25 * 9 = 2.25 mm.

    The prediction comes turned and 40 times as large: the protocol is blind to similarities.
    """
    data = open_realy(make_data(tmp_path))
    vertices, triangles = PLANE
    prediction = Prediction(posed=FaceMesh(MOVED.apply(vertices), triangles), seconds=1.0)
    score = run_item(data, lambda item: prediction, data.items[0])
    for name in REGIONS:
        assert score.values[name] == pytest.approx(HEIGHT[name] * SCALE_MM, abs=1e-5)
        np.testing.assert_allclose(score.samples[name], HEIGHT[name] * SCALE_MM, atol=1e-4)
    assert score.values["all"] == pytest.approx(2.25, abs=1e-5)
    # Person 2 has a scale of 10 mm: 2.5 mm; mean 2.375, nose 0.9 and 1.0 with deviation sqrt(2 * 0.05^2) = 0.0707
    result = evaluation(data, "files", [score, run_item(data, lambda item: prediction, data.items[1])])
    rows = {r.what: r for r in result.rows}
    assert rows["all, frontal"].value == pytest.approx(2.375, abs=1e-5)
    assert rows["nose, frontal, deviation"].value == pytest.approx(0.0707107, abs=1e-5)
    assert "all, side" not in rows and len(result.curves) == 5


def test_a_perfect_prediction_scores_zero(tmp_path):
    def region(name):
        vertices, triangles = corrugated(name)
        return np.column_stack([vertices[:, :2], bumps(*vertices[:, :2].T)]), triangles

    root = make_data(tmp_path, bumps, region, people=("1",))
    # The prediction has the scan's very vertices: between those of another triangulation it would be off by the sagitta.
    parts, offset = [], 0
    for name in REGIONS:
        vertices, triangles = region(name)
        parts.append((vertices, triangles + offset))
        offset += len(vertices)
    xy = keypoints_xy()
    np.savetxt(root / "1.keypoints.txt", MOVED.apply(np.column_stack([xy, bumps(*xy.T)])), fmt="%.12g")
    (root / "own" / "frontal").mkdir(parents=True)
    (root / "1.keypoints.txt").rename(root / "own" / "frontal" / "1.keypoints.txt")
    data = open_realy(root, keypoints=root / "own")
    mesh = FaceMesh(MOVED.apply(np.concatenate([v for v, _ in parts])), np.concatenate([t for _, t in parts]))
    score = data.score(data.items[0], Prediction(neutral=mesh))
    assert score.values["all"] < 2e-5  # the OBJ reader keeps float32


def test_bend_follows_an_affine_motion_and_meets_the_papers_energy():
    vertices, triangles = grid(np.arange(7.0), np.arange(6.0), bumps)
    moved = vertices @ (np.eye(3) + 0.01 * np.arange(9).reshape(3, 3)).T + [0.05, -0.1, 0.08]
    np.testing.assert_allclose(bend(vertices, triangles, moved), moved, atol=1e-7)
    keys = np.array([0, 9, 20, 33, 41])
    np.testing.assert_allclose(bend(vertices, triangles, moved, keys, moved[keys]), moved, atol=1e-7)
    # The oracle: all rows of Amberg et al., eq. 12, solved densely.
    rng = np.random.default_rng(0)
    weight, pull = rng.uniform(size=42), rng.normal(size=(42, 3))
    edges = {tuple(sorted((t[i], t[(i + 1) % 3]))) for t in triangles.tolist() for i in range(3)}
    rows = np.zeros((4 * len(edges) + 42, 168))
    for e, (i, j) in enumerate(sorted(edges)):
        for axis in range(4):
            rows[4 * e + axis, [4 * i + axis, 4 * j + axis]] = 3.0, -3.0
    for i in range(42):
        rows[4 * len(edges) + i, 4 * i : 4 * i + 4] = np.sqrt(weight[i]) * np.append(vertices[i], 1)
    right = np.concatenate([np.zeros((4 * len(edges), 3)), np.sqrt(weight)[:, None] * pull])
    expected = np.linalg.lstsq(rows, right, rcond=None)[0]
    found = _solve(_smoothness(triangles, 42)[0] * 9.0, vertices, weight, weight[:, None] * pull)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_bend_follows_the_evaluators_schedule():
    """The naive oracle: dense rows, the schedule spelled out, key points that contradict the nearest ones."""
    vertices, triangles = grid(np.arange(6.0), np.arange(5.0), bumps)
    rng = np.random.default_rng(1)
    targets = vertices + rng.normal(size=vertices.shape) * 0.3
    targets[7] += [0, 0, 9]  # beyond twice the mean distance
    keys, places = np.array([3, 12, 20, 26, 29]), rng.normal(size=(5, 3)) * 0.4
    places += vertices[keys]
    count = len(vertices)
    edges = sorted({tuple(sorted((t[i], t[(i + 1) % 3]))) for t in triangles.tolist() for i in range(3)})
    arcs = np.zeros((len(edges), count))
    for e, (i, j) in enumerate(edges):
        arcs[e, i], arcs[e, j] = 1, -1

    def solve(points, axes, stiffness, seen, found, key_weight):
        place = np.zeros((count, 4 * count))
        for i in range(count):
            place[i, 4 * i : 4 * i + 4] = [*points[i], 1]
        kept = np.zeros(count)
        kept[keys] = key_weight
        wanted = np.zeros((count, 3))
        wanted[keys] = places
        rows = [stiffness * np.kron(arcs, np.diag(axes)), seen[:, None] * place, kept[:, None] * place]
        right = [np.zeros((4 * len(edges), 3)), seen[:, None] * found, kept[:, None] * wanted]
        maps = np.linalg.lstsq(np.concatenate(rows), np.concatenate(right), rcond=None)[0]
        return maps, place @ maps

    maps, bent = solve(vertices, [2, 2, 3, 2], 150, np.zeros(count), vertices, 50)
    before, solved = np.ones_like(maps), 1
    for stage in range(3):
        for _ in range(11):
            if np.linalg.norm(maps - before) <= 0.5**stage:
                break
            gaps = np.linalg.norm(bent[:, None] - targets, axis=2)
            seen = (gaps.min(1) < max(2 * gaps.min(1).mean(), 1)).astype(float)
            before = maps
            weight = 50 * np.exp(-0.9 * solved) / 10
            maps, bent = solve(
                bent, [1, 1, 1, 1], 50 * np.exp(-stage / 2), seen, targets[gaps.argmin(1)], weight
            )
            solved += 1
    assert solved > 2
    np.testing.assert_allclose(bend(vertices, triangles, targets, keys, places), bent, atol=1e-5)


def test_rigid_icp_is_that_of_a_mesh_moved_step_by_step():
    """The naive oracle moves the mesh and its key points and repeats these as often as the evaluator does."""
    mesh, triangles = grid(np.linspace(-8, 8, 17), np.linspace(-8, 8, 17), bumps)
    scan, _ = grid(
        np.linspace(-4, 4, 12), np.linspace(-3, 5, 11), lambda x, y: bumps(x, y) + 0.1 * np.cos(3 * x)
    )
    turned = align_rigidly(np.eye(3), np.linalg.qr([[1, -0.3, 0.2], [0.3, 1, -0.4], [-0.2, 0.4, 1]])[0])
    mesh = Alignment(1.0, turned.rotation, np.array([0.5, -1, 2])).apply(mesh)
    marks, truth = mesh[[40, 120, 200, 250]], scan[[10, 60, 90, 120]]
    found = _align_region(TriangleTree(mesh, triangles), scan, marks, truth, 4)
    moved, moved_marks, before, steps = mesh, np.repeat(marks, 132 // 4 // 4, 0), 0.0, 0
    target = np.concatenate([scan, np.repeat(truth, 132 // 4 // 4, 0)])
    while steps < 100:
        source = np.concatenate([TriangleTree(moved, triangles).query(scan).points, moved_marks])
        step = align_rigidly(source, target)
        error = ((step.apply(source) - target) ** 2).sum(1).mean()
        if abs(error - before) < 1e-6:
            break
        moved, moved_marks, before, steps = step.apply(moved), step.apply(moved_marks), error, steps + 1
    assert steps > 3
    np.testing.assert_allclose(found.apply(mesh), moved, atol=1e-7)


def test_key_points_pull_where_nearest_points_cannot():
    """A flat patch against itself, shifted in its own plane by two steps: nearest points see nothing, key points bring it over."""
    vertices, triangles = grid(np.arange(9.0), np.arange(8.0), flat)
    wide, _ = grid(np.arange(-4.0, 13), np.arange(-4.0, 12), flat)
    shifted = vertices + np.array([2.0, 0, 0])
    assert np.abs(bend(vertices, triangles, wide) - vertices).max() < 1e-6
    keys = np.array([10, 16, 40, 55, 60])
    bent = bend(vertices, triangles, wide, keys, shifted[keys])
    np.testing.assert_allclose(bent, shifted, atol=1e-6)


def test_the_global_scale_is_the_ratio_of_absolute_sums():
    """By hand: 4 along x and 2 along y become 12 and 2, so 14 / 6; least squares would say (24 + 2) / (8 + 2) = 2.6."""
    source = np.array([[2.0, 0, 0], [-2, 0, 0], [0, 1, 0], [0, -1, 0]])
    found = align_by_keypoints(source, source * [3, 1, 1] + [10, 0, 5])
    assert found.scale == pytest.approx(14 / 6)
    np.testing.assert_allclose(found.apply(source).mean(0), [10, 0, 5])
    weighted = align_rigidly(
        source,
        source + np.array([[0, 0, 4.0], [0, 0, 4], [8, 0, 4], [8, 0, 4]]),
        np.array([1.0, 1, 0, 0]),
    )
    np.testing.assert_allclose(weighted.translation, [0, 0, 4], atol=1e-12)


def test_vertices_at_one_place_count_once():
    vertices, triangles = grid(np.arange(3.0), np.arange(3.0), flat)
    soup = ScanRegion(vertices[triangles].reshape(-1, 3), np.arange(3 * len(triangles)).reshape(-1, 3))
    welded = soup.welded()
    assert len(welded.vertices) == 9
    np.testing.assert_array_equal(welded.vertices[welded.triangles], vertices[triangles])
    loose = ScanRegion(np.concatenate([vertices, [[50.0, 50, 50]]]), triangles).welded()
    assert len(loose.vertices) == 9


def test_carried_key_points_follow_an_affine_face():
    """The spline reproduces affine maps, so the key points between and beside the landmarks are exact; then they lie on the surface."""
    xy = keypoints_xy()
    template = np.column_stack([xy, bumps(*xy.T)])
    warp = np.array([[1.1, 0.1, 0], [0, 0.9, 0], [0.1, 0, 1.2]])
    vertices, triangles = grid(np.linspace(-7, 7, 141), np.linspace(-7, 7, 141), bumps)
    mesh = FaceMesh(vertices @ warp.T, triangles, template[:68] @ warp.T)
    found = carry_over(mesh, template)
    np.testing.assert_allclose(found[:68], template[:68] @ warp.T)
    assert np.abs(found[68:] - template[68:] @ warp.T).max() < 0.01  # the sagitta of 0.1 wide cells
    for marks in (None, template[:7]):
        with pytest.raises(BadInput, match="85 key points"):
            carry_over(FaceMesh(vertices, triangles, marks), template)


def test_what_lacks_key_points_is_told(tmp_path):
    root = make_data(tmp_path, people=("1",))
    vertices, triangles = grid(np.linspace(-9, 9, 9), np.linspace(-9, 9, 9), flat)
    data = open_realy(root)
    with pytest.raises(BadInput, match=r"81 vertices.*HIFI3D"):
        data.score(data.items[0], Prediction(posed=FaceMesh(vertices, triangles)))
    with pytest.raises(BadInput, match="has none"):
        data.score(data.items[0], Prediction())
    # With HIFI3D there 68 landmarks will do, and a note says so.
    template = np.column_stack([PLANE[0][:, :2], bumps(*PLANE[0][:, :2].T)])
    write_table(
        root / "HIFI3D.txt", template[:-25], PLANE[1][(PLANE[1] < len(template) - 25).all(1)], keypoints_xy()
    )
    data = open_realy(root)
    xy = keypoints_xy()[:68]
    mesh = FaceMesh(vertices, triangles, np.column_stack([xy, 0 * xy[:, 0]]))
    score = data.score(data.items[0], Prediction(posed=mesh))
    assert score.values["cheek"] == pytest.approx(HEIGHT["cheek"] * SCALE_MM, rel=0.02)
    assert "not the board's" in evaluation(data, "own", [score]).notes[0]


def test_a_table_of_ones_own_topology(tmp_path):
    root = make_data(tmp_path / "data", people=("1",))
    (root / "PLANE.txt").unlink()
    write_table(tmp_path / "mine.txt", *PLANE, keypoints_xy())
    data = open_realy(tmp_path, keypoints=tmp_path / "mine.txt")
    score = data.score(data.items[0], Prediction(posed=FaceMesh(*PLANE)))
    assert score.values["all"] == pytest.approx(2.25, abs=1e-5)
    (tmp_path / "mine.txt").write_text("[[1, 2, 3]]")
    with pytest.raises(BadFile, match="85 rows"):
        open_realy(tmp_path, keypoints=tmp_path / "mine.txt")


def test_photos_make_the_items(tmp_path):
    root = make_data(tmp_path, people=("1", "2", "10"))
    assert [item.key for item in open_realy(root).items] == ["frontal/1", "frontal/2", "frontal/10"]
    for name in (
        "crop_image_frontal_512x512/10.jpg",
        "crop_image_frontal_512x512/2.jpg",
        "crop_image_multiview_512x512/2_1.jpg",
        "crop_image_multiview_512x512/10_0.jpg",
        "crop_image_multiview_512x512/99_0.jpg",
        "crop_image_depth_512x512/1.png",
        "image_depth/1.png",
    ):
        (root / "REALY_image" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "REALY_image" / name).touch()
    items = open_realy(root).items
    assert [item.key for item in items] == ["frontal/2", "frontal/10", "side/2_1", "side/10_0"]
    assert [item.person for item in items] == ["2", "10", "2", "10"]


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(BadFile, match=r"no such folder.*Headspace"):
        open_realy(tmp_path / "nowhere")
    root = make_data(tmp_path)
    (root / "REALY_scan_region/2/mouth.obj").unlink()
    with pytest.raises(BadFile, match=r"REALY_scan_region/2/mouth.obj not there.*Headspace"):
        open_realy(root)
    (root / "metrical_scale.txt").unlink()
    with pytest.raises(BadFile, match=r"metrical_scale\.txt not there"):
        open_realy(root)
    write_obj(root / "REALY_scan_region/2/mouth.obj", *corrugated("mouth"))
    (root / "metrical_scale.txt").write_text("9.0\n")
    with pytest.raises(BadFile, match="1 numbers for scans up to 2"):
        open_realy(root)


def test_coordinates_that_are_not_finite_are_refused():
    vertices, triangles = grid(np.arange(4.0), np.arange(4.0), flat)
    vertices[3] = np.nan
    with pytest.raises(BadInput, match="finite"):
        region_errors(vertices, triangles, np.zeros((85, 3)), {}, np.zeros((85, 3)))
