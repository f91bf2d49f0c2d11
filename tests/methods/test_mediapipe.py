import pickle
from collections import Counter
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from vultus.errors import BadInput
from vultus.evaluate.benchmark import Item
from vultus.geometry.rigid import pose_angles, rotation_from_pose_angles
from vultus.methods.mediapipe import OWN_FOV_DEG, MediaPipeMesh, canonical_face, metric_face

SIZE_PX = (640, 480)
FAR_PX = SIZE_PX[1] / 2 / np.tan(np.radians(0.1))
OWN_PX = SIZE_PX[1] / 2 / np.tan(np.radians(OWN_FOV_DEG / 2))
ANGLES_DEG = (20.0, -8.0, 5.0)
ASTRONAUT = Path(str(resources.files("vultus") / "assets" / "astronaut.jpg"))


def turned():
    """The canonical face, turned: (468, 3) mm, camera axes."""
    rotation = rotation_from_pose_angles(*(torch.tensor(a, dtype=torch.float64) for a in ANGLES_DEG))
    return canonical_face().vertices @ rotation.numpy().T


def seen_from_afar(px_per_mm=2.0, centre_px=(400.0, 200.0)):
    return px_per_mm * turned() + [*centre_px, 33.0]


def angles_of(camera):
    return [float(angle) for angle in pose_angles(camera.T_camera_head[:3, :3])]


def test_the_canonical_face_is_found_again():
    """Seen in parallel but unprojected from 137,510 px / 2 px per mm = 68.8 m: 75 mm aside and 100 mm deep are 75 x 100 / 68,800 = 0.11 mm off."""
    vertices, camera = metric_face(seen_from_afar(), FAR_PX, SIZE_PX)
    np.testing.assert_allclose(vertices, canonical_face().vertices, atol=0.11)
    # The picture's border is 0.13 degrees off the axis.
    np.testing.assert_allclose(angles_of(camera), ANGLES_DEG, atol=0.14)


@pytest.mark.parametrize("focal_px", [FAR_PX, OWN_PX])
def test_the_camera_sees_every_vertex_where_the_point_is(focal_px):
    points = seen_from_afar() + np.random.default_rng(0).normal(size=(468, 3)) * 4
    vertices, camera = metric_face(points, focal_px, SIZE_PX)
    np.testing.assert_allclose(
        camera.project(torch.from_numpy(vertices))[:, :2].numpy(), points[:, :2], atol=1e-6
    )
    rotation = camera.T_camera_head[:3, :3]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64))
    assert torch.linalg.det(rotation) > 0


@pytest.mark.parametrize("focal_px", [FAR_PX, OWN_PX])
def test_size_and_place_in_the_picture_do_not_matter(focal_px):
    """A picture twice as large shows the same face, twice as many pixels from the same camera; where z starts is nobody's business."""
    points = seen_from_afar()
    expected, _ = metric_face(points, focal_px, SIZE_PX)
    larger, _ = metric_face(2 * points + [0, 0, 500.0], 2 * focal_px, (1280, 960))
    np.testing.assert_allclose(larger, expected, atol=1e-9)


def test_perspective_is_undone_for_a_known_angle_of_view():
    """A face 350 mm from a camera of 63 degrees, z in pixels at the scale of its mean depth, as MediaPipe's networks give it.

    Parallel rays would have it that nearer parts are larger: an ear is 76 mm aside and about 50 mm behind the mean, 76 x 50 / 350 = 11 mm off.
    """
    metric = turned() + np.array([20.0, -10.0, 350.0])
    depth = metric[:, 2]
    points = np.concatenate(
        [
            OWN_PX * metric[:, :2] / depth[:, None] + [320.0, 240.0],
            (OWN_PX * (depth / depth.mean() - 1))[:, None],
        ],
        1,
    )
    truth = canonical_face().vertices
    known, camera = metric_face(points, OWN_PX, SIZE_PX)
    parallel, _ = metric_face(points, FAR_PX, SIZE_PX)
    np.testing.assert_allclose(known, truth, atol=1e-6)
    np.testing.assert_allclose(camera.T_camera_head[:3, 3], [20, -10, 350], atol=1e-6)
    np.testing.assert_allclose(angles_of(camera), ANGLES_DEG, atol=1e-6)
    assert 8 < abs(parallel - truth).max() < 14


def test_only_the_weighted_points_say_how_large_and_where_the_face_is():
    """An open mouth (14 and 17 lower, no weight) leaves the rest as it is; the tip of the nose (4) has a weight."""
    points = seen_from_afar()
    expected, _ = metric_face(points, FAR_PX, SIZE_PX)
    opened, pulled = points.copy(), points.copy()
    opened[[14, 17], 1] += 30
    pulled[4, 0] += 30
    rest = ~np.isin(np.arange(468), (14, 17))
    np.testing.assert_allclose(metric_face(opened, FAR_PX, SIZE_PX)[0][rest], expected[rest], atol=1e-9)
    moved_mm = np.linalg.norm(metric_face(pulled, FAR_PX, SIZE_PX)[0] - expected, axis=1)
    assert moved_mm[rest].min() > 0.1


def test_the_surface_is_skin_alone_and_faces_outwards():
    face = canonical_face()
    assert face.vertices.shape == (468, 3)
    edges = Counter(tuple(sorted((t[i], t[i - 1]))) for t in face.skin.tolist() for i in range(3))
    # Rims: 36 points around the face, 16 around each eye, 20 around the mouth; 898 triangles less 14 + 14 + 18 that closed them.
    assert sum(n == 1 for n in edges.values()) == 36 + 16 + 16 + 20
    assert len(face.skin) == 898 - 46
    corners = face.vertices[face.skin]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[:, 2] > 0).mean() > 0.98
    assert np.count_nonzero(face.weights) == 33


def test_a_photo():
    method = MediaPipeMesh()
    found = method(Item("astronaut", "astronaut", photo=ASTRONAUT))
    assert found.posed is not None and found.camera is not None
    assert found.neutral is None
    marks = found.posed.landmarks
    seen = found.camera.project(torch.from_numpy(marks))[:, :2].numpy()
    np.testing.assert_allclose(seen, found.points_px[:, :2], atol=1e-6)
    # Its size is the canonical face's, whose outer corners of the eyes are 89 mm apart.
    assert 80 < np.linalg.norm(marks[45] - marks[36]) < 98
    # She faces the camera, her head a little tilted: the nose is nearest, the ears are farthest.
    assert found.points_px[:, 2].argmax() == 30
    assert found.points_px[:17, 2].max() < found.points_px[48:, 2].min()
    assert abs(np.array(angles_of(found.camera))).max() < 25
    assert 0 < found.seconds < 60
    own = MediaPipeMesh(OWN_FOV_DEG)(Item("astronaut", "astronaut", photo=ASTRONAUT))
    np.testing.assert_allclose(own.points_px, found.points_px)
    assert 300 < float(own.camera.T_camera_head[2, 3]) < float(found.camera.T_camera_head[2, 3])


def test_options():
    assert pickle.loads(pickle.dumps(MediaPipeMesh())) == MediaPipeMesh()
    with pytest.raises(BadInput, match="vertical_fov_deg"):
        MediaPipeMesh(vertical_fov_deg=200)
