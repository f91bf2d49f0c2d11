"""Draw docs/images/chart.png: the face chart and the atlas, and the head under a checkerboard.

python scripts/bundled_head/picture.py docs/images/chart.png
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from chart import MARGIN
from PIL import Image, ImageDraw

from vultus.model.morphable import MorphableModel
from vultus.render.raster import rasterize

SIZE_PX = 640
COLOURS = {
    **{
        "scalp": "7a5230",
        "ears": "e08a3c",
        "neck": "9c9cc8",
        "inner_mouth": "5a1414",
        "eye_sockets": "2c4a2c",
    },
    **{
        "cheeks": "f0c4bc",
        "forehead": "e8e08c",
        "chin": "98dcd8",
        "nose": "58c058",
        "mouth": "f0b468",
        "eyes": "78a8f0",
    },
    **{"lips": "d83040", "nostrils": "1c3c1c", "brows": "40281c"},
}


def draw(model: MorphableModel) -> Image.Image:
    """Six panels: chart, atlas, regions on the head; checkerboard in front, at an angle, from the side."""
    chart = model.chart
    assert chart is not None and model.topology.uv is not None and model.topology.uv_triangles is not None
    colours = np.full((len(model.mean_mm), 3), 0.92)
    for name, code in COLOURS.items():
        colours[model.regions[name].numpy()] = [int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    skin = (model.part_of_triangle == 0).numpy()
    triangles, uv_triangles = model.triangles.numpy(), model.topology.uv_triangles.numpy()
    points, uv = model.mean_mm.numpy().astype(float), model.topology.uv.numpy().astype(float)

    membranes = chart.triangles.numpy()[chart.is_membrane.numpy()]
    face = chart.triangles.numpy()[~chart.is_membrane.numpy()]
    flat_chart = _flat(chart.uv.numpy(), face, colours[face], membranes)
    flat_atlas = _flat(uv, uv_triangles[skin], colours[triangles[skin]], None)

    def checker(at: np.ndarray) -> np.ndarray:
        inside = (np.abs(at - 0.5) <= 0.5 - MARGIN).all(-1)
        squares = np.floor(at / (1 - 2 * MARGIN) * 40 - 40 * MARGIN / (1 - 2 * MARGIN)).sum(-1) % 2
        light = np.where(inside[..., None], [1.0, 0.95, 0.85], [0.8, 0.85, 1.0])
        return np.where(squares[..., None] > 0, light, 0.45 * light)

    plain = np.full((len(triangles), 3, 2), 0.5)
    plain[skin] = uv[uv_triangles[skin]]
    heads = [
        _head(points, triangles, yaw_deg, lambda ids, b: checker(np.einsum("nk,nkc->nc", b, plain[ids])))
        for yaw_deg in (0, -40, -85)
    ]
    regions = _head(
        points, triangles, -30, lambda ids, b: np.einsum("nk,nkc->nc", b, colours[triangles[ids]])
    )
    sheet = Image.new("RGB", (3 * SIZE_PX, 2 * SIZE_PX), "white")
    for i, panel in enumerate([flat_chart, flat_atlas, regions, *heads]):
        sheet.paste(panel, (i % 3 * SIZE_PX, i // 3 * SIZE_PX))
    return sheet


def _flat(
    uv: np.ndarray, triangles: np.ndarray, colours: np.ndarray, membranes: np.ndarray | None
) -> Image.Image:
    """Triangles in texture space with their corner colours (f, 3, 3) and their edges."""
    frame, scale = 20, SIZE_PX - 40
    at = np.nan_to_num(uv) * scale + frame
    vertices = torch.tensor(np.concatenate([at, np.full((len(at), 1), 10.0)], 1))[None]
    seen = rasterize(vertices, torch.tensor(triangles), (SIZE_PX, SIZE_PX))
    picture = np.ones((SIZE_PX, SIZE_PX, 3))
    mask = seen.mask[0].numpy()
    weights = seen.barycentric[0].numpy().transpose(1, 2, 0)[mask]
    picture[mask] = np.einsum("nk,nkc->nc", weights, colours[seen.triangle_ids[0].numpy()[mask]])
    image = Image.fromarray((picture * 255).astype(np.uint8)).resize((4 * SIZE_PX, 4 * SIZE_PX))
    pen = ImageDraw.Draw(image)
    for shown, colour in ((triangles, (70, 70, 70)), (membranes, (200, 0, 0))):
        if shown is None:
            continue
        pairs = np.concatenate([shown[:, [0, 1]], shown[:, [1, 2]], shown[:, [2, 0]]])
        for a, b in np.unique(np.sort(pairs, axis=1), axis=0):
            pen.line([*(4 * at[a]), *(4 * at[b])], fill=colour, width=2)
    return image.resize((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS)


def _head(points: np.ndarray, triangles: np.ndarray, yaw_deg: float, colour_at) -> Image.Image:
    """The head turned by an angle, lit from the camera, drawn at twice the size."""
    yaw, size, distance = np.radians(yaw_deg), 2 * SIZE_PX, 1500.0
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    turned = (points - [0, -15, -35]) @ turn.T
    depth = distance - turned[:, 2]
    focal = 0.0037 * size * distance
    px = np.stack(
        [size / 2 + focal * turned[:, 0] / depth, size / 2 - focal * turned[:, 1] / depth, depth], 1
    )
    seen = rasterize(torch.tensor(px)[None], torch.tensor(triangles), (size, size))
    mask, ids = seen.mask[0].numpy(), seen.triangle_ids[0].numpy()
    weights = seen.barycentric[0].numpy().transpose(1, 2, 0)[mask]
    a, b, c = (turned[triangles[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    light = 0.3 + 0.7 * np.abs(normal[:, 2]) / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)
    picture = np.ones((size, size, 3))
    picture[mask] = colour_at(ids[mask], weights) * light[ids[mask]][:, None]
    image = Image.fromarray((picture * 255).clip(0, 255).astype(np.uint8))
    return image.resize((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    from vultus.model.catalog import load_model

    draw(load_model("vultus")).quantize(128).save(sys.argv[1], optimize=True)
