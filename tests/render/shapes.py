"""Small meshes for the tests of this room."""

import math

import torch

from vultus.geometry.camera import Camera


def sphere(radius: float = 80.0, rings: int = 12, sectors: int = 16, dtype: torch.dtype = torch.float64):
    """Vertices "v 3" and triangles, counter-clockwise seen from outside."""
    polar = torch.linspace(0, math.pi, rings + 1, dtype=dtype)[1:-1]
    turn = torch.arange(sectors, dtype=dtype) * (2 * math.pi / sectors)
    p, t = torch.meshgrid(polar, turn, indexing="ij")
    side = torch.stack([p.sin() * t.sin(), p.cos(), p.sin() * t.cos()], -1).reshape(-1, 3)
    poles = torch.tensor([[0, 1, 0], [0, -1, 0]], dtype=dtype)
    triangles, top, bottom = [], len(side), len(side) + 1
    for r in range(rings - 2):
        for s in range(sectors):
            a, b = r * sectors + s, r * sectors + (s + 1) % sectors
            c, d = a + sectors, b + sectors
            triangles += [(a, c, b), (b, c, d)]
    last = (rings - 2) * sectors
    for s in range(sectors):
        triangles += [(top, s, (s + 1) % sectors), (bottom, last + (s + 1) % sectors, last + s)]
    return radius * torch.cat([side, poles]), torch.tensor(triangles)


def camera(size_px=(48, 40), distance_mm=500.0, focal_px=130.0, dtype: torch.dtype = torch.float64) -> Camera:
    """Looks at the front of the head from ``distance_mm``."""
    pose = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=dtype))
    pose[2, 3] = distance_mm
    principal = torch.tensor(size_px, dtype=dtype) / 2
    return Camera(torch.tensor(focal_px, dtype=dtype), principal, size_px, pose)


def soup(num_triangles: int, size_px, seed: int, dtype: torch.dtype = torch.float32, batch: int = 1):
    """Random triangles of all sizes over and beyond the image: "b 3f 3", "f 3"."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(batch, num_triangles, 1, 2, generator=generator) * 1.4 - 0.2
    spread = 10 ** (torch.rand(batch, num_triangles, 1, 1, generator=generator) * 2 - 2)
    xy = (centre + spread * torch.randn(batch, num_triangles, 3, 2, generator=generator)) * torch.tensor(
        size_px
    )
    z = 300 + 400 * torch.rand(batch, num_triangles, 3, 1, generator=generator)
    vertices = torch.cat([xy, z], -1).reshape(batch, -1, 3).to(dtype)
    return vertices, torch.arange(3 * num_triangles).reshape(-1, 3)
