"""One photo becomes a head; what is in the result.

python examples/01_reconstruct.py [PHOTO] [OUT]
"""

import sys
from pathlib import Path

import vultus

ROOT = Path(__file__).parents[1]
photo = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "src/vultus/assets/astronaut.jpg"
out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("out")

face = vultus.reconstruct(photo)

print("status", face.report.status, *face.report.advice)
print("seconds", {stage: round(seconds, 2) for stage, seconds in face.timings_s.items()})
print("focal length", round(float(face.camera.focal_px)), "px")
strongest = face.coarse.code.expression.argsort(descending=True)[:5].tolist()
for index in strongest:
    print(f"  {face.model.expression_names[index]:20} {face.coarse.code.expression[index]:.2f}")

print("saved to", face.save(out / photo.stem))
again = vultus.load(out / photo.stem)
assert (again.mesh.vertices - face.mesh.vertices).abs().max() < 1e-3  # mm
