"""One person's face on another's head, both ways, through dense alignment.

    python examples/06_swap_faces.py [PHOTO] [OUT] [OTHER_PHOTO]

Without a second photo the other face is a drawn one.
"""

import sys
from pathlib import Path

import vultus
from vultus.data.synthetic_heads import SyntheticOptions, make_heads
from vultus.io.images import read_image, write_png
from vultus.model.bundled import load
from vultus.stages.face_swap import swap_face

ROOT = Path(__file__).parents[1]
photo = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "src/vultus/assets/astronaut.jpg"
out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("out")
out.mkdir(parents=True, exist_ok=True)


def drawn_head() -> Path:
    """The picture of somebody who does not exist."""
    options = SyntheticOptions(heads=1, size_px=512, max_yaw_deg=10, occluded=0, seed=7)
    ((folder, _),) = make_heads(load(), out / "drawn", options)
    return folder / "photo.png"


images = [read_image(path)[0] for path in (photo, Path(sys.argv[3]) if len(sys.argv) > 3 else drawn_head())]
faces = [vultus.align(image) for image in images]
for face in faces:
    yaw, pitch, roll = (float(angle) for angle in face.pose.angles)
    print(f"confidence {face.confidence:.2f}, yaw {yaw:.0f}, pitch {pitch:.0f}, roll {roll:.0f} degrees")

for name, target, source in (("one", 0, 1), ("other", 1, 0)):
    swapped = swap_face(images[target], faces[target], images[source], faces[source])
    write_png(out / f"{name}.png", swapped)
    print("wrote", out / f"{name}.png")

# A face put on itself is the photo again, but for what was seen obliquely.
same = swap_face(images[0], faces[0], images[0], faces[0])
print("swapped with itself: changed by", round(255 * float((same - images[0]).abs().mean()), 3), "levels on average")  # fmt: skip
