"""Paint on a face: pictures drawn on the face chart, put into the photo where it shows that part of the face.

    python examples/07_edit_texture.py [PHOTO] [OUT]

The chart is the same for everybody, so what is painted once fits every face. Here: lips and lids, a moustache, and stripes on the cheeks.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

import vultus
from vultus.io.images import read_image, write_png
from vultus.stages.face_swap import paste_texture

ROOT = Path(__file__).parents[1]
photo = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "src/vultus/assets/astronaut.jpg"
out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("out")
out.mkdir(parents=True, exist_ok=True)
SIZE = 1024  # texels of the chart

image, _ = read_image(photo)
face = vultus.align(image)
marks = (face.surface.points_uv("ibug68") * SIZE).tolist()  # where everybody's 68 points lie on the chart


def picture(shapes, opacity: float = 1.0, blur: float = 4.0) -> torch.Tensor:
    """Polygons [(points, colour), ...] on the chart as "4 s s", softened at their edges."""
    sheet = Image.new("RGBA", (SIZE, SIZE))
    for points, colour in shapes:
        layer = Image.new("L", (SIZE, SIZE))
        ImageDraw.Draw(layer).polygon([tuple(point) for point in points], fill=255)
        sheet.paste(Image.new("RGBA", sheet.size, (*colour, 255)), mask=layer.filter(ImageFilter.GaussianBlur(blur)))  # fmt: skip
    pixels = torch.from_numpy(np.array(sheet)).permute(2, 0, 1).float() / 255
    return pixels * torch.tensor([1.0, 1.0, 1.0, opacity])[:, None, None]


def moved(index: int, right: float, down: float) -> tuple[float, float]:
    """One of the 68 points, moved over the chart (whose side is 1)."""
    return marks[index][0] + right * SIZE, marks[index][1] + down * SIZE


def make_up() -> torch.Tensor:
    """Red lips (without what lies between them) and blue lids."""
    red, blue = (170, 20, 45), (60, 80, 190)
    upper = [*marks[48:55], *marks[64:59:-1]]
    lower = [marks[48], *marks[59:53:-1], *marks[64:68], marks[60]]
    lids = [[*marks[a : a + 4], moved(a + 2, 0.0, -0.045), moved(a + 1, 0.0, -0.045)] for a in (36, 42)]
    return picture([(upper, red), (lower, red), *((lid, blue) for lid in lids)], 0.45, 7)


def moustache() -> torch.Tensor:
    """Two wings between nose and lip, with ends that go up."""
    halves = []
    for side, corner in ((-1, 48), (1, 54)):
        halves.append([
            moved(33, 0.0, 0.012), moved(33, side * 0.06, 0.010), moved(corner, side * 0.02, -0.085), moved(corner, side * 0.10, -0.13),
            moved(corner, side * 0.07, -0.065), moved(corner, side * 0.0, -0.035), moved(33, side * 0.07, 0.068), moved(33, 0.0, 0.055),
        ])  # fmt: skip
    return picture([(half, (45, 28, 18)) for half in halves], 0.96, 5)


def stripes() -> torch.Tensor:
    """Three stripes across each cheek."""
    shapes = []
    for side, eye in ((-1, 39), (1, 42)):
        for number, colour in enumerate(((20, 90, 180), (245, 245, 245), (210, 40, 50))):
            top = 0.11 + 0.032 * number
            left, right = moved(eye, side * 0.03, top), moved(eye, side * 0.22, top - 0.03)
            shapes.append(([left, right, (right[0], right[1] + 0.03 * SIZE), (left[0], left[1] + 0.03 * SIZE)], colour))  # fmt: skip
    return picture(shapes, 0.9, 3)


for name, texture in (("make-up", make_up()), ("moustache", moustache()), ("stripes", stripes())):
    write_png(out / f"{name}.png", paste_texture(image, face, texture, blend="paint"))
    print("wrote", out / f"{name}.png")
