"""Scores on generated heads: nothing is wrong with the truth, and known errors come out as worked out by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from vultus.errors import BadFile, BadInput, FaceNotFound
from vultus.evaluate.benchmark import FaceMesh, ItemScore, Prediction, evaluation, run_item
from vultus.evaluate.nme import box_size
from vultus.evaluate.regions import mean_face
from vultus.evaluate.synthetic import open_synthetic
from vultus.evaluate.synthetic_head import geodesic_deg
from vultus.geometry.camera import Camera
from vultus.geometry.mesh import Mesh, Topology
from vultus.geometry.rigid import rigid_transform, rotation_from_axis_angle, rotation_from_pose_angles
from vultus.io.images import read_image, write_png
from vultus.io.ply import write_ply

YAW = {"001": 15.0, "002": -15.5, "003": 50.0, "004": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four mean heads in the layout of the set: cameras at 700 mm, photos of noise, the mask a square."""
    place = tmp_path_factory.mktemp("synthetic")
    (place / "dataset.json").write_text("{}")
    (place / ".005.partial-1").mkdir()
    (place / ".005.partial-1" / "camera.json").write_text("{}")
    face = mean_face()
    mesh = Mesh(torch.from_numpy(face.vertices).float(), Topology(torch.from_numpy(face.triangles), len(face.vertices)))  # fmt: skip
    for i, (name, yaw) in enumerate(YAW.items()):
        head = place / name
        head.mkdir()
        rotation = rotation_from_pose_angles(*torch.tensor([yaw, 0.0, 0.0]).double())
        pose = rigid_transform(rotation, torch.tensor([3.0, 20.0, 700.0]).double())
        camera = {"K": [[600, 0, 80], [0, 600, 80], [0, 0, 1]], "T_camera_head": pose.tolist(), "size": [160, 160], "yaw_deg": yaw}  # fmt: skip
        (head / "camera.json").write_text(json.dumps(camera))
        assert face.landmarks is not None
        marks = face.landmarks.tolist()
        (head / "landmarks.json").write_text(json.dumps({"neutral": marks, "posed": marks}))
        write_ply(head / "neutral.ply", mesh, normals=False)
        bare = torch.zeros(1, 160, 160)
        bare[:, 40:120, 40:120] = 1
        write_png(head / "mask.png", bare)
        write_png(head / "photo.png", torch.rand(3, 160, 160, generator=torch.Generator().manual_seed(i)))
        np.savez(head / "truth.npz", group="ict" if i % 2 else "bundled", occluded_share=0.3 * (i == 2))
    return place


def perfect(benchmark, key) -> Prediction:
    face, head = mean_face(), benchmark.heads[key]
    photo = read_image(head.folder / "photo.png")[0]
    return Prediction(face, face, head.camera, None, photo, torch.ones(160, 160, dtype=torch.bool), 0.5)


def test_the_truth_scores_nothing(folder):
    benchmark = open_synthetic(folder)
    assert [(i.key, i.group, i.focal_px) for i in benchmark.items[:2]] == [("001", "bundled", None), ("002", "ict", None)]  # fmt: skip
    assert open_synthetic(folder, focal="known").items[0].focal_px == 600
    score = benchmark.score(benchmark.items[2], perfect(benchmark, "003"))
    v = score.values
    # The surface went through a file of float32: 1e-5 mm at 100 mm.
    for name in ("similarity_median_mm", "rigid_mean_mm", "similarity_nose_mm"):
        assert v[name] < 1e-3
    for name in ("nme_percent", "pose_deg", "focal_percent", "depth_percent"):
        assert v[name] < 1e-6
    assert v["pose_aligned_deg"] < 1e-5 and v["psnr_db"] == 100 and v["coverage_percent"] == 100
    assert score.seconds == 0.5 and score.group == "bundled"


def test_known_errors(folder):
    benchmark = open_synthetic(folder)
    item, head, face = benchmark.items[0], benchmark.heads["001"], mean_face()
    true = perfect(benchmark, "001")
    assert true.camera is not None and true.image is not None and face.landmarks is not None
    # A turn of 7 degrees about any axis is an error of 7 degrees; ten per cent more focal length is 100 ln 1.1 = 9.531 %.
    axis = torch.tensor([1.0, -2.0, 0.5]).double()
    turn = rotation_from_axis_angle(axis / axis.norm() * np.radians(7.0))
    turned = rigid_transform(turn @ head.camera.T_camera_head[:3, :3], head.camera.T_camera_head[:3, 3])
    camera = replace(head.camera, T_camera_head=turned, focal_px=1.1 * head.camera.focal_px)
    seen = head.camera.project(torch.from_numpy(face.landmarks)).numpy()
    wrong = replace(true, camera=camera, points_px=seen + np.array([3.0, 4.0, 0.0]), image=(true.image + 0.1))
    v = benchmark.score(item, wrong).values
    assert v["pose_deg"] == pytest.approx(7, abs=1e-6) and v["pose_aligned_deg"] == pytest.approx(7, abs=1e-5)
    assert v["focal_percent"] == pytest.approx(100 * np.log(1.1), abs=1e-6)
    # Every point is 5 px away, whatever the camera says: points_px count first.
    assert v["nme_percent"] == pytest.approx(100 * 5 / box_size(seen), abs=1e-6)
    # A tenth off everywhere: 10 log10(1 / 0.01) = 20 dB.
    assert v["psnr_db"] == pytest.approx(20, abs=1e-3)
    # Without points they are projected: a camera whose principal point is 5 px off moves all by 5 px.
    shifted = replace(head.camera, principal_px=head.camera.principal_px + torch.tensor([3.0, 4.0]))
    v = benchmark.score(item, Prediction(face, camera=shifted)).values
    assert v["nme_percent"] == pytest.approx(100 * 5 / box_size(seen), abs=1e-6) and v["pose_deg"] < 1e-6
    # Twice as far with twice the focal length: depth is off by 100 ln of the ratio of mean depths.
    away = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 700], [0, 0, 0, 1.0]]).double() @ head.camera.T_camera_head  # fmt: skip
    v = benchmark.score(item, Prediction(face, camera=replace(head.camera, T_camera_head=away))).values
    mean_depth = seen[:, 2].mean()
    assert v["depth_percent"] == pytest.approx(100 * np.log((mean_depth + 700) / mean_depth), abs=1e-6)


def test_frames_do_not_count_in_the_aligned_pose(folder):
    benchmark = open_synthetic(folder)
    head, face = benchmark.heads["002"], mean_face()
    assert face.landmarks is not None
    # A system whose heads look down by 20 degrees in its own frame, in units of its own: the same picture, another R_camera_head.
    turn = rotation_from_axis_angle(torch.tensor([np.radians(20.0), 0, 0])).double().numpy()
    theirs = FaceMesh(2 * face.vertices @ turn.T, face.triangles, 2 * face.landmarks @ turn.T)
    pose = head.camera.T_camera_head.clone()
    pose[:3, :3] = pose[:3, :3] @ torch.from_numpy(turn.T)
    pose[:3, 3] *= 2
    v = benchmark.score(benchmark.items[1], Prediction(theirs, theirs, replace(head.camera, T_camera_head=pose))).values  # fmt: skip
    assert v["pose_deg"] == pytest.approx(20, abs=1e-4) and v["pose_aligned_deg"] < 1e-4
    assert v["similarity_median_mm"] < 1e-3 and v["nme_percent"] < 1e-5
    assert v["similarity_scale"] == pytest.approx(0.5, abs=1e-4) and v["rigid_median_mm"] > 2
    # The depth is in units of nobody's: 100 ln 2.
    assert v["depth_percent"] == pytest.approx(100 * np.log(2), abs=1e-4)


def test_seven_landmarks_and_parts_of_a_prediction(folder):
    benchmark = open_synthetic(folder)
    item, face = benchmark.items[3], mean_face()
    few = FaceMesh(face.vertices, face.triangles, face.seven)
    v = benchmark.score(item, Prediction(few, camera=benchmark.heads["004"].camera)).values
    assert v["similarity_median_mm"] < 1e-3 and "nme_percent" not in v and v["pose_aligned_deg"] < 1e-5
    only = benchmark.score(item, Prediction(points_px=np.zeros((68, 3)))).values
    assert set(only) == {"nme_percent"}
    with pytest.raises(BadInput, match="nothing to measure"):
        benchmark.score(item, Prediction())
    with pytest.raises(BadInput, match="photo's size"):
        benchmark.score(item, Prediction(image=torch.zeros(3, 8, 8), drawn=torch.zeros(8, 8, dtype=torch.bool)))  # fmt: skip


def test_rows_are_of_groups_bins_and_occlusion(folder):
    benchmark = open_synthetic(folder)
    # nme 1, 2, 3, 4 %: bundled (1 + 3) / 2, ict (2 + 4) / 2; yaw 15 and 0: (1 + 4) / 2; -15.5: 2; 50: 3, which is occluded.
    scores = [ItemScore.of(item, {"nme_percent": float(i + 1)}) for i, item in enumerate(benchmark.items)]
    rows, _, notes = benchmark.summarise(scores)
    values = {row.what: row.value for row in rows}
    assert values == {
        "landmarks, NME": 2.5, "ict: landmarks, NME": 3.0, "bundled: landmarks, NME": 2.0, "yaw 0-15: landmarks, NME": 2.5,
        "yaw 15-30: landmarks, NME": 2.0, "yaw 30-60: landmarks, NME": 3.0, "not occluded: landmarks, NME": pytest.approx(7 / 3),
        "occluded: landmarks, NME": 3.0,
    }  # fmt: skip
    assert any("advantage" in note for note in notes)
    assert not any("advantage" in note for note in benchmark.summarise([scores[1]])[2])


def test_failures_are_counted_and_curves_are_per_group(folder):
    benchmark = open_synthetic(folder)

    def method(item):
        if item.key == "002":
            raise FaceNotFound("002: no face found")
        return Prediction(mean_face())

    result = evaluation(
        benchmark, "test", [run_item(benchmark, method, item) for item in benchmark.items[:2]]
    )
    assert [c.name for c in result.curves] == ["bundled"] and "1 of 2 not scored" in result.notes[-1]


def test_angles():
    quarter = rotation_from_axis_angle(torch.tensor([0.0, 0, np.pi / 2])).double().numpy()
    assert geodesic_deg(np.eye(3), quarter) == pytest.approx(90, abs=1e-5)
    assert geodesic_deg(quarter, quarter) == 0
    assert geodesic_deg(np.diag([1.0, -1, -1]), np.eye(3)) == pytest.approx(180)


def test_what_is_missing_is_said(folder, tmp_path):
    with pytest.raises(BadFile, match="vultus dataset synthetic -o FOLDER"):
        open_synthetic(tmp_path / "nowhere")
    with pytest.raises(BadFile, match=r"dataset.json, \*/camera.json not there"):
        open_synthetic(tmp_path)
    with pytest.raises(BadInput, match="focal maybe"):
        open_synthetic(folder, focal="maybe")  # type: ignore[arg-type]
    (tmp_path / "dataset.json").write_text("{}")
    (tmp_path / "001").mkdir()
    (tmp_path / "001" / "camera.json").write_text("{}")
    with pytest.raises(BadFile, match=r"001: photo.png, landmarks.json"):
        open_synthetic(tmp_path)
    for name in ("photo.png", "landmarks.json", "neutral.ply", "mask.png", "truth.npz"):
        (tmp_path / "001" / name).write_text("{}")
    with pytest.raises(BadFile, match="damaged"):
        open_synthetic(tmp_path)


def test_a_generated_set_is_read(tmp_path):
    from vultus.data.synthetic_heads import SyntheticOptions, make_heads
    from vultus.model.bundled import load

    list(make_heads(load(), tmp_path / "set", SyntheticOptions(heads=1, size_px=128)))
    benchmark = open_synthetic(tmp_path / "set")
    head = benchmark.heads["001"]
    assert isinstance(head.camera, Camera) and benchmark.items[0].group == "bundled"
    v = benchmark.score(benchmark.items[0], Prediction(mean_face(), camera=head.camera)).values
    assert 0.3 < v["similarity_median_mm"] < 4 and v["focal_percent"] < 1e-4
