"""Play with a reconstructed face: other expressions on the same person, as pictures.

python examples/03_animate.py [PHOTO] [OUT]
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch

import vultus
from vultus.io.images import write_png
from vultus.render.shade import over, render, srgb_from_linear

ROOT = Path(__file__).parents[1]
photo = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "src/vultus/assets/astronaut.jpg"
out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("out")
out.mkdir(parents=True, exist_ok=True)

face = vultus.reconstruct(photo, texture_size=0)
model, code = face.model, face.coarse.code


def with_expression(**weights: float) -> vultus.FaceCode:
    """The person's own shape and colour, and nothing but these ARKit weights as expression."""
    expression = torch.zeros_like(code.expression)
    for name, weight in weights.items():
        expression[model.expression_names.index(name)] = weight
    return replace(code, expression=expression)


EXPRESSIONS = {
    "neutral": {},
    "smile": {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "cheekSquintLeft": 0.4, "cheekSquintRight": 0.4},
    "surprise": {"jawOpen": 0.5, "browInnerUp": 0.9, "eyeWideLeft": 0.7, "eyeWideRight": 0.7},
    "wink": {"eyeBlinkLeft": 1.0, "mouthSmileLeft": 0.4},
}

for name, weights in EXPRESSIONS.items():
    posed = with_expression(**weights)
    drawn = render(
        model.vertices(posed),
        model.triangles,
        face.camera,
        face.coarse.light,
        albedo=model.vertex_albedo(posed),
        samples=2,
    )
    on_grey = over(drawn, torch.full((3,), 0.03))
    write_png(out / f"{name}.png", srgb_from_linear(on_grey)[0])
    print("wrote", out / f"{name}.png")
