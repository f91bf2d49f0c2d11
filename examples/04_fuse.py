"""Several photos of one person become one head.

python examples/04_fuse.py [PHOTO...] [OUT]

Give photos from different sides. With a single photo its mirror image stands in for a second one, just to show how it goes.
"""

import sys
from pathlib import Path

import vultus
from vultus.io.images import read_image

ROOT = Path(__file__).parents[1]
*photos, out = sys.argv[1:] or [ROOT / "src/vultus/assets/astronaut.jpg", "out"]
if len(photos) == 1:
    image, _ = read_image(photos[0])
    photos = [image, image.flip(-1)]

fused = vultus.fuse(photos, texture_size=512, progress=print)

print("status", fused.head.report.status, *fused.head.report.advice)
for view in fused.views:
    strongest = view.face.coarse.code.expression.argsort(descending=True)[:3].tolist()
    names = ", ".join(fused.head.model.expression_names[index] for index in strongest)
    print(f"  {view.name}: {100 * view.weight:.0f} % of the texture; {names}")
for name, why in fused.left_out.items():
    print(f"  left out: {name}: {why}")
print("saved to", fused.save(Path(out) / "fused"))
