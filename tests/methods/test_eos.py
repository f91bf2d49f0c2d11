"""The Surrey model's files are not here, so eos fits a model made of the bundled head, in the very layout of its share/ folder."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from vultus.detect.protocol import DetectedFace, FaceBox, Landmarks
from vultus.errors import AssetMissing, BadFile, BadInput
from vultus.evaluate.benchmark import SEVEN, Item
from vultus.geometry.rigid import rotation_from_pose_angles
from vultus.io.images import write_png
from vultus.methods import eos as method
from vultus.methods.detected import IBUG68_FROM_478
from vultus.methods.eos import EosFit
from vultus.model import bundled

FILES = [method.SHAPE, method.BLENDSHAPES, method.MAPPING, method.CONTOURS, method.EDGES]
EXPRESSIONS = ("jawOpen", "mouthFunnel", "browInnerUp")


class Face:
    """The bundled head's face as a small PCA model: vertices "v 3" mm, triangles, modes "k v 3" per sigma, and where iBUG's points are."""

    def __init__(self, num_modes=4):
        head = bundled.load()
        zero = torch.zeros(())
        marks = head.landmarks["ibug68"].points(head.mean_mm, head.triangles, zero, zero).numpy()
        triangles = head.part_triangles("skin").numpy()
        triangles = triangles[head.regions["face"].numpy()[triangles].all(1)]
        used, self.triangles = np.unique(triangles, return_inverse=True)
        self.triangles = self.triangles.reshape(-1, 3)
        self.mean = head.mean_mm.double().numpy()[used]
        self.modes = head.identity_mm.double().numpy()[:num_modes, used]
        names = [head.expression_names.index(name) for name in EXPRESSIONS]
        self.expressions = head.expression_mm.double().numpy()[names][:, used]
        self.places = np.linalg.norm(self.mean[None] - marks[:, None], axis=-1).argmin(1)

    def shape(self, identity, expression=(0, 0, 0)):
        return (
            self.mean
            + np.tensordot(identity, self.modes, 1)
            + np.tensordot(np.array(expression, float), self.expressions, 1)
        )


@pytest.fixture(scope="module")
def face():
    return Face()


@pytest.fixture(scope="module")
def eos():
    return pytest.importorskip("eos", reason="eos-py is not installed (pip install eos-py)")


@pytest.fixture(scope="module")
def share(eos, face, tmp_path_factory):
    """A folder as eos's share/: 61 and 65 not mapped, the jaw by its contour."""
    folder = tmp_path_factory.mktemp("share")
    basis, sizes, _ = np.linalg.svd(face.modes.reshape(len(face.modes), -1).T, full_matrices=False)
    shape = eos.morphablemodel.PcaModel(face.mean.ravel(), basis, sizes**2, face.triangles.tolist())
    model = eos.morphablemodel.MorphableModel(shape, eos.morphablemodel.PcaModel())
    eos.morphablemodel.save_model(model, str(folder / method.SHAPE))
    blendshapes = [eos.morphablemodel.Blendshape(n, e.ravel()) for n, e in zip(EXPRESSIONS, face.expressions)]
    eos.morphablemodel.save_blendshapes(blendshapes, str(folder / method.BLENDSHAPES))
    fixed = [i for i in range(68) if i == 8 or (i > 16 and i not in (60, 64))]
    lines = ["[landmark_mappings]", *(f"{i + 1} = {face.places[i]}" for i in fixed)]
    lines += [
        "[contour_landmarks]",
        f"right = {list(range(1, 9))}",
        f"left = {list(range(10, 18))}",
    ]
    (folder / method.MAPPING).write_text("\n".join(lines) + "\n")
    sides = {"right_contour": face.places[:8].tolist(), "left_contour": face.places[9:17].tolist()}
    (folder / method.CONTOURS).write_text(json.dumps({"model_contour": sides}))
    edges = {}
    for number, triangle in enumerate(np.sort(face.triangles, 1) + 1, start=1):
        for pair in ((0, 1), (0, 2), (1, 2)):
            edges.setdefault(tuple(triangle[list(pair)].tolist()), [0, 0]).append(number)
    topology = eos.morphablemodel.EdgeTopology([two[-2:] for two in edges.values()], [list(e) for e in edges])
    eos.morphablemodel.save_edge_topology(topology, str(folder / method.EDGES))
    return folder


class Seen:
    """A detector that sees given iBUG points."""

    def __init__(self, ibug68):
        points = np.zeros((478, 2), np.float32)
        points[IBUG68_FROM_478] = ibug68
        marks = Landmarks(torch.from_numpy(points), torch.zeros(478), 1.0)
        self.faces = (DetectedFace(FaceBox(0, 0, 9, 9, 1.0, 0.0), marks),)

    def detect(self, image):
        return self.faces


SIZE_PX = (64, 48)
# eos weighs its prior (30 per sigma^2) against squared pixels over 3: at 40 px per mm the prior is nearly silent.
SCALE = 40.0


def project(points, yaw_deg=6.0, pitch_deg=4.0, roll_deg=3.0):
    """A scaled orthographic camera: (n, 3) -> (n, 2) px."""
    angles = (torch.tensor(a, dtype=torch.float64) for a in (yaw_deg, pitch_deg, roll_deg))
    rotation = rotation_from_pose_angles(*angles).numpy()
    return SCALE * points @ rotation.T[:, :2] + [900.0, 700.0], rotation


@pytest.fixture
def photo(tmp_path):
    write_png(tmp_path / "someone.png", torch.zeros(3, SIZE_PX[1], SIZE_PX[0]))
    return Item("someone", "someone", photo=tmp_path / "someone.png")


@pytest.fixture(scope="module")
def recovered(face, share, tmp_path_factory):
    """Truth (posed, neutral, the points seen, rotation) and what eos made of the points."""
    path = tmp_path_factory.mktemp("photo") / "someone.png"
    write_png(path, torch.zeros(3, SIZE_PX[1], SIZE_PX[0]))
    identity, expression = np.array([1.0, -0.8, 0.7, -0.9]), (0.4, 0.0, 0.5)
    posed, neutral = face.shape(identity, expression), face.shape(identity)
    seen, rotation = project(posed[face.places])
    found = EosFit(share, num_iterations=50, detector=Seen(seen))(Item("a", "a", photo=path))
    return posed, neutral, seen, rotation, found


def test_a_known_face_is_recovered(face, recovered):
    """Landmarks on the spot: the prior (1 % of the evidence at this scale) and the jaw, whose points eos matches anew, leave about 0.14 mm.

    The mean head is 4 mm off (1.9 mm neutral).
    """
    posed, neutral, _, rotation, found = recovered
    for got, truth in ((found.posed, posed), (found.neutral, neutral)):
        off_mm = np.linalg.norm(got.vertices - truth, axis=1)
        assert off_mm.mean() < 0.25
        assert off_mm.max() < 1.0
        assert np.linalg.norm(face.mean - truth, axis=1).mean() > 1.5
        np.testing.assert_array_equal(got.triangles, face.triangles)
        np.testing.assert_array_equal(got.landmarks, got.vertices[face.places[list(SEVEN)]])
    # 0.4 of an open jaw: the two differ where the chin is, by centimetres.
    assert np.linalg.norm(found.posed.vertices - found.neutral.vertices, axis=1)[face.places[8]] > 8
    np.testing.assert_allclose(found.camera.T_camera_head[:3, :3].numpy(), rotation, atol=0.01)


def test_the_points_are_where_the_mesh_is_seen(face, recovered):
    seen, found = recovered[2], recovered[4]
    inner = [i for i in range(17, 68) if i not in (60, 64)]
    # 0.14 mm at 40 px per mm is 6 px.
    np.testing.assert_allclose(found.points_px[inner, :2], seen[inner], atol=8)
    assert np.linalg.norm(found.points_px[:17, :2] - seen[:17], axis=1).max() < 25
    # What the mapping lacks: the outer corners of the mouth stand in for the inner ones.
    np.testing.assert_array_equal(found.points_px[[60, 64]], found.points_px[[48, 54]])
    assert found.points_px[:, 2].argmax() == 30  # z is towards the camera: the tip of the nose
    # The stand-in pinhole is 100 m away: 100 mm x 100 mm / 100 m = 0.1 mm = 4 px at the rim, less in the face.
    pinhole = found.camera.project(torch.from_numpy(found.posed.vertices))[:, :2].numpy()
    np.testing.assert_allclose(pinhole[face.places[inner]], found.points_px[inner, :2], atol=2)
    # z has the scale of x and y: between nose and chin as in the mesh, turned.
    nose, chin = found.posed.vertices[face.places[[30, 8]]]
    rotation = -found.camera.T_camera_head[2, :3].numpy()
    assert found.points_px[30, 2] - found.points_px[8, 2] == pytest.approx(
        SCALE * rotation @ (nose - chin), rel=0.01
    )


def test_an_incomplete_mapping_gives_no_68_points(face, share, photo, tmp_path):
    """Without the tip of the nose (31 in eos's count) neither the seven nor the 68 are known; the mesh is."""
    folder = copied(share, tmp_path)
    text = (folder / method.MAPPING).read_text()
    (folder / method.MAPPING).write_text(text.replace(f"31 = {face.places[30]}\n", ""))
    found = EosFit(folder, detector=Seen(project(face.mean[face.places])[0]))(photo)
    assert found.posed.landmarks is None
    assert found.points_px is None


def test_missing_and_damaged_files_are_named(face, share, photo, tmp_path):
    assert pickle.loads(pickle.dumps(EosFit(share))) == EosFit(share)
    for name in FILES:
        folder = copied(share, tmp_path)
        (folder / name).unlink()
        with pytest.raises(BadFile, match=rf"{name} not there; .*patrikhuber/eos"):
            EosFit(folder)
    with pytest.raises(BadFile, match="no such folder"):
        EosFit(tmp_path / "nowhere")
    detector = Seen(project(face.mean[face.places])[0])
    folder = copied(share, tmp_path)
    # The mapping as it was before eos 1.0.
    (folder / method.MAPPING).write_text("landmarkMappings ; old\n{\n\t 9    33 ; chin bottom\n}\n")
    with pytest.raises(BadFile, match="eos cannot read it"):
        EosFit(folder, detector=detector)(photo)
    folder = copied(share, tmp_path)
    with (folder / method.CONTOURS).open("w") as file:
        json.dump({"model_contour": {"right_contour": [len(face.mean)], "left_contour": [0]}}, file)
    with pytest.raises(BadFile, match=f"names vertex {len(face.mean)}"):
        EosFit(folder, detector=detector)(photo)


def test_without_the_library(monkeypatch, tmp_path):
    def nothing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(method, "import_module", nothing)
    with pytest.raises(AssetMissing, match="pip install eos-py"):
        EosFit(tmp_path)
    with pytest.raises(BadInput, match="num_iterations"):
        EosFit(tmp_path, num_iterations=0)


def copied(share, tmp_path):
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    return Path(shutil.copytree(share, folder))
