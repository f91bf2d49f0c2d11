"""A small morphable model with everything a real one has: five parts, UV seams, 52 expressions, a chart with a membrane.

Made of icospheres, deterministic, no files. Skin: an 80 mm sphere with a hole for the mouth. The head frame is vultus' own.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from vultus.geometry.camera import Camera
from vultus.geometry.mesh import Topology
from vultus.geometry.rigid import rigid_transform, rotation_from_pose_angles
from vultus.geometry.view import View
from vultus.model.face import CoarseFace, DeformedFace, DetailedFace, FaceCode, Geometry, TexturedFace
from vultus.model.landmarks import LandmarkTable
from vultus.model.morphable import FaceChart, MorphableModel
from vultus.model.result import FitReport, Reconstruction

# fmt: off
ARKIT_NAMES = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft",
    "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft",
    "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft",
    "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft",
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight",
    "tongueOut",
)
# fmt: on
# name: (centre in mm, radius in mm, subdivisions, linear RGB)
PARTS = {
    "skin": ((0.0, -20.0, -60.0), 80.0, 3, (0.45, 0.25, 0.18)),
    "eye_left": ((31.0, 0.0, 5.0), 12.0, 1, (0.7, 0.7, 0.7)),
    "eye_right": ((-31.0, 0.0, 5.0), 12.0, 1, (0.7, 0.7, 0.7)),
    "teeth": ((0.0, -55.0, 0.0), 14.0, 1, (0.6, 0.55, 0.45)),
    "tongue": ((0.0, -58.0, 2.0), 9.0, 1, (0.5, 0.15, 0.15)),
}
MOUTH_MM = (0.0, -55.0, 15.0)


def icosphere(subdivisions: int) -> tuple[Tensor, Tensor]:
    """Unit vertices "v 3" (mirror-symmetric in x) and outward triangles "f 3"."""
    phi = (1 + math.sqrt(5)) / 2
    corners = [(-1, phi, 0), (1, phi, 0), (-1, -phi, 0), (1, -phi, 0)]
    corners += [(c, a, b) for a, b, c in corners] + [(b, c, a) for a, b, c in corners]
    vertices = [tuple(c / math.hypot(*corner) for c in corner) for corner in corners]
    edge = min(math.dist(vertices[0], v) for v in vertices[1:]) * 1.01
    near = [[math.dist(a, b) < edge and a != b for b in vertices] for a in vertices]
    triangles = [
        (i, j, k)
        for i in range(12)
        for j in range(i)
        for k in range(j)
        if near[i][j] and near[j][k] and near[i][k]
    ]
    for _ in range(subdivisions):
        middle: dict[tuple[int, int], int] = {}

        def between(i: int, j: int, middle: dict[tuple[int, int], int] = middle) -> int:
            key = (min(i, j), max(i, j))
            if key not in middle:
                total = [a + b for a, b in zip(vertices[i], vertices[j])]
                middle[key] = len(vertices)
                vertices.append(tuple(c / math.hypot(*total) for c in total))
            return middle[key]

        triangles = [
            t
            for i, j, k in triangles
            for a, b, c in [(between(i, j), between(j, k), between(k, i))]
            for t in [(i, a, c), (a, j, b), (c, b, k), (a, b, c)]
        ]
    points, faces = torch.tensor(vertices, dtype=torch.float64), torch.tensor(triangles)
    a, b, c = points[faces].unbind(1)
    inward = (torch.linalg.cross(b - a, c - a) * (a + b + c)).sum(-1) < 0
    faces[inward] = faces[inward].flip(-1)
    return points.float(), faces


def spherical_uv(directions: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:
    """Longitude and latitude as "t 2" with indices "f 3"; the seam is at the back, where vertices are doubled."""
    u = torch.atan2(directions[:, 0], directions[:, 2]) / (2 * math.pi) + 0.5
    v = 0.5 - directions[:, 1].clamp(-1, 1).asin() / math.pi
    corners = u[triangles]
    corners = corners + (corners < corners.amax(1, keepdim=True) - 0.5)  # cross the seam to the right
    corners = (0.05 + 0.9 * corners / 1.25).flatten()  # keep what crossed inside [0, 1]
    pairs = torch.stack([triangles.flatten().double(), corners.double()], -1)
    unique, index = torch.unique(pairs, dim=0, return_inverse=True)
    return torch.stack([unique[:, 1].float(), v[unique[:, 0].long()]], -1), index.reshape(-1, 3)


@cache
def synthetic_model(num_identities: int = 3, name: str = "synthetic") -> MorphableModel:
    """The model; the same object every time."""
    generator = torch.Generator().manual_seed(7)
    vertices, triangles, uvs, uv_triangles, part_of_triangle, albedo, part_of_vertex = (
        [],
        [],
        [],
        [],
        [],
        [],
        [],
    )
    for index, (centre, radius_mm, subdivisions, colour) in enumerate(PARTS.values()):
        directions, faces = icosphere(subdivisions)
        points = directions * radius_mm * torch.tensor([0.9, 1.2, 1.0] if index == 0 else [1.0, 1.0, 1.0])
        points = points + torch.tensor(centre)
        uv, uv_faces = spherical_uv(directions, faces)
        triangles.append(faces + sum(map(len, vertices)))
        uv_triangles.append(uv_faces + sum(map(len, uvs)))
        part_of_triangle.append(torch.full((len(faces),), index))
        part_of_vertex.append(torch.full((len(points),), index))
        albedo.append(torch.tensor(colour).expand(len(points), 3) + 0.03 * directions[:, :1])
        vertices.append(points)
        uvs.append(uv)
    mean, faces, part = torch.cat(vertices), torch.cat(triangles), torch.cat(part_of_triangle)
    part_of_vertex = torch.cat(part_of_vertex)
    is_skin = part_of_vertex == 0

    lips = (mean - torch.tensor(MOUTH_MM)).norm(dim=-1).masked_fill(~is_skin, math.inf).argmin()
    mouth = (faces == lips).any(1) & (part == 0)
    topology = Topology(faces[~mouth], len(mean), torch.cat(uvs), torch.cat(uv_triangles)[~mouth])
    front = is_skin & (mean[:, 2] > -40)
    in_chart = front[faces].all(1) & (part == 0)
    plane = (mean[:, :2] - torch.tensor([0.0, -20.0])) / torch.tensor([90.0, 120.0])
    chart_uv = torch.where(
        front[:, None], torch.stack([0.5 + plane[:, 0] / 2, 0.5 - plane[:, 1] / 2], -1), math.nan
    )
    chart = FaceChart(
        chart_uv,
        torch.cat([faces[in_chart & ~mouth], faces[mouth]]),
        torch.arange(int(in_chart.sum())) >= int((in_chart & ~mouth).sum()),
    )

    expression = torch.zeros(len(ARKIT_NAMES), len(mean), 3)
    front_ids = front.nonzero().squeeze(-1)
    for i, expression_name in enumerate(ARKIT_NAMES):
        centre = mean[front_ids[int(torch.randint(len(front_ids), (), generator=generator))]]
        falloff = (1 - ((mean - centre).norm(dim=-1) / 35.0) ** 2).clamp(min=0) ** 2 * is_skin
        expression[i] = falloff[:, None] * torch.randn(3, generator=generator) * 5
        if expression_name.startswith("jaw"):
            moved = (part_of_vertex == list(PARTS).index("teeth")) | (
                part_of_vertex == list(PARTS).index("tongue")
            )
            expression[i, moved] = torch.tensor([0.0, -12.0, -2.0])
        if expression_name.startswith("eyeLook"):
            eye = list(PARTS).index("eye_left" if expression_name.endswith("Left") else "eye_right")
            expression[i, part_of_vertex == eye] = torch.tensor([1.0, 0.5, 0.0])
    expression[ARKIT_NAMES.index("tongueOut"), is_skin] = 0  # an expression that leaves the skin alone
    expression[ARKIT_NAMES.index("tongueOut"), part_of_vertex == 4, 2] = 15.0

    waves = torch.randn(num_identities, 3, 3, generator=generator) / 40
    identity = 3 * torch.sin(mean @ waves.transpose(-1, -2))
    mirrored = (mean * torch.tensor([-1.0, 1.0, 1.0]))[:, None] - mean
    return MorphableModel(
        name=name,
        topology=topology,
        mean_mm=mean,
        identity_mm=identity,
        expression_mm=expression,
        expression_names=ARKIT_NAMES,
        expression_range=torch.tensor([0.0, 1.0]).expand(len(ARKIT_NAMES), 2),
        expression_sigma=torch.full((len(ARKIT_NAMES),), 0.3),
        albedo_mean=torch.cat(albedo),
        albedo=torch.tensor([[-0.06, -0.05, -0.04], [0.03, -0.02, -0.01]])[:, None] * is_skin[:, None],
        part_of_triangle=part[~mouth],
        part_names=tuple(PARTS),
        regions={"face": front, "mouth": front & ((mean - torch.tensor(MOUTH_MM)).norm(dim=-1) < 30)},
        chart=chart,
        landmarks={
            n: _landmark_table(n, k, topology, front, generator)
            for n, k in (("ibug68", 68), ("mediapipe478", 478))
        },
        mirror=mirrored.norm(dim=-1).argmin(1),
    )


def _landmark_table(
    name: str, count: int, topology: Topology, front: Tensor, generator: torch.Generator
) -> LandmarkTable:
    candidates = front[topology.triangles].all(1).nonzero().squeeze(-1)
    triangle_ids = candidates[torch.randint(len(candidates), (3, 1, count), generator=generator)]
    barycentric = torch.rand(3, 1, count, 3, generator=generator) + 0.05
    barycentric /= barycentric.sum(-1, keepdim=True)
    yaw_deg, pitch_deg = torch.tensor([-40.0, 0.0, 40.0]), torch.zeros(1)
    return LandmarkTable(name, yaw_deg, pitch_deg, triangle_ids, barycentric, torch.full((3, 1, count), 1.5))


def synthetic_camera(size_px: tuple[int, int] = (320, 400), yaw_deg: float = 15.0) -> Camera:
    """A camera 600 mm in front of the head, which fills most of the image."""
    width, height = size_px
    angles = (torch.tensor(a) for a in (yaw_deg, -5.0, 3.0))
    pose = rigid_transform(rotation_from_pose_angles(*angles), torch.tensor([2.0, -15.0, 600.0]))
    return Camera(torch.tensor(2.0 * height), torch.tensor([width / 2, height / 2]), size_px, pose)


def synthetic_reconstruction(
    textured: bool = True, texture_size: int = 64, level: str = "detail"
) -> Reconstruction:
    """A finished reconstruction of the synthetic head: everything that a real run leaves in it."""
    model, camera = synthetic_model(), synthetic_camera()
    generator = torch.Generator().manual_seed(11)
    expression = torch.rand(len(ARKIT_NAMES), generator=generator) * (
        torch.rand(len(ARKIT_NAMES), generator=generator) < 0.3
    )
    code = FaceCode(torch.tensor([0.5, -1.25, 1.0]), expression, torch.tensor([0.3, -0.7]))
    light = torch.zeros(3, 9)
    light[:, 0], light[1, 2] = 3.5, -0.25
    coarse = CoarseFace(code, camera.T_camera_head, light)
    width, height = camera.size_px
    ramp = torch.linspace(0, 1, width).expand(height, width)
    table = model.landmarks["mediapipe478"]
    points = table.points(model.vertices(code), model.triangles, torch.tensor(15.0), torch.tensor(-5.0))
    view = View(
        torch.stack([ramp, 0.5 * ramp + 0.2, 1 - ramp]),
        camera,
        camera.project(points)[:, :2],
        "mediapipe478",
        torch.ones(height, width, dtype=torch.bool),
    )
    geometry: Geometry = coarse
    if level != "coarse":
        geometry = DeformedFace(coarse, 3 * torch.rand(3, 8, 8, generator=generator) - 1.5)
    if level == "detail":
        steps = (2000 * torch.rand(32, 32, generator=generator) - 1000).round()
        geometry = DetailedFace(geometry, (steps.double() * 1e-4).float())
    face: Geometry | TexturedFace = geometry
    if textured:
        texture = {
            part: torch.rand(3, texture_size, texture_size, generator=generator)
            for part in model.part_names[:4]
        }
        texture = {part: (image * 255).round() / 255 for part, image in texture.items()}
        observed = (torch.rand(texture_size, texture_size, generator=generator) * 255).round() / 255
        albedo = (torch.rand(3, texture_size, texture_size, generator=generator) * 255).round() / 255
        face = TexturedFace(geometry, texture, observed, albedo)
    report = FitReport("ok", (), {"landmarks": 1.5, "prior": 0.25}, 12)
    provenance = {
        "version": "0.1.0",
        "model": model.name,
        "photo": "/somewhere/person.jpg",
        "config": {"focal": "auto"},
    }
    return Reconstruction(model, view, face, report, {"detect": 0.05, "coarse": 0.9}, provenance)
