"""A predicted face and scans of it whose distances are known, for the benchmarks that hold a mesh against a scan."""

import numpy as np

from vultus.evaluate.benchmark import FaceMesh

# Eye corners from the image's left to its right, nose, mouth corners: outer eye corners 90 apart, nose 40 long.
SEVEN_MM = np.array(
    [[-45.0, 20, 0], [-15, 20, 0], [15, 20, 0], [45, 20, 0], [0, -20, 0], [-25, -45, 0], [25, -45, 0]]
)


def plate(reach=150.0):
    """The square [-reach, reach]^2 at z = 0 with the seven landmarks on it."""
    corners = reach * np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    return FaceMesh(corners, np.array([[0, 1, 2], [0, 2, 3]]), SEVEN_MM)


def layers(heights_mm, reach=60.0, step=10.0):
    """Points over a grid, one per height above every node, (n, 3): symmetric, so the best plate lies at the mean height."""
    x, y = np.meshgrid(np.arange(-reach, reach + 1, step), np.arange(-reach, reach + 1, step) - 8)
    return np.concatenate([np.stack([x, y, np.full_like(x, h)], -1).reshape(-1, 3) for h in heights_mm])


def bumpy(size=40):
    """A face-sized height field without symmetry: a mesh with 68 landmarks, the seven at their places, the others on the forehead."""
    x, y = np.meshgrid(np.linspace(-110, 110, size), np.linspace(-120, 110, size))
    i = np.arange(size * size).reshape(size, size)
    a, b, c, d = (part.ravel() for part in (i[:-1, :-1], i[:-1, 1:], i[1:, :-1], i[1:, 1:]))
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    vertices = np.stack([x, y, _height(x, y)], -1).reshape(-1, 3)
    marks = np.tile([0.0, 70, 0], (68, 1))
    marks[[36, 39, 42, 45, 33, 48, 54]] = SEVEN_MM
    marks[30] = [0, -10, 0]
    marks[:, 2] = _height(marks[:, 0], marks[:, 1])
    return FaceMesh(vertices, triangles, marks)


def _height(x, y):
    z = 60 - (x / 14) ** 2 - (y / 18) ** 2 + 22 * np.exp(-(((x - 3) / 12) ** 2) - ((y + 8) / 22) ** 2)
    return z + 4 * np.sin(x / 11 + y / 25) * np.cos(y / 13)


def moved(face, scale=1.0, seed=0):
    """The face elsewhere: turned, shifted and scaled."""
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    shift = rng.normal(size=3) * 40
    return FaceMesh(
        scale * face.vertices @ turn.T + shift, face.triangles, scale * marks(face) @ turn.T + shift
    )


def marks(face):
    """Its landmarks, which these faces have."""
    assert face.landmarks is not None
    return face.landmarks


def base_seven(face):
    """Eye corners, base of the nose and mouth corners of its 68 landmarks."""
    return marks(face)[[36, 39, 42, 45, 33, 48, 54]]


def write_scan(path, points, triangles=((0, 1, 2),)):
    """An OBJ of these vertices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in points]
    lines += ["f " + " ".join(str(i + 1) for i in triangle) for triangle in triangles]
    path.write_text("\n".join(lines) + "\n")


def write_picked(path, points):
    """What MeshLab's PickPoints saves; its attributes come in any order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f' <point y="{y:.9g}" x="{x:.9g}" name="{i}" active="1" z="{z:.9g}"/>' for i, (x, y, z) in enumerate(points)]  # fmt: skip
    head = '<!DOCTYPE PickedPoints>\n<PickedPoints>\n <DocumentData>\n  <DateTime time="09:00:00" date="2019-01-01"/>\n  <User name="a"/>\n  <DataFileName name="scan.obj"/>\n  <templateName name=""/>\n </DocumentData>\n'
    path.write_text(head + "\n".join(lines) + "\n</PickedPoints>\n")
