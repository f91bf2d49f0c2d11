"""How like the photo the face is, drawn again over it: PSNR inside the skin mask per level, with the model's albedo and with the extracted texture.

    python benchmarks/rerender.py [--limit N] [--shared DIR] [--save]

Photos are spread evenly over the shared portraits and studio pictures; a photo without a face is left out and counted. PSNR is of sRGB
values in [0, 1]; the table shows means over photos, and the share of photos that a level makes better.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from heads import bundled_model
from report import Report, Row, table, write
from tqdm import tqdm

from vultus.detect import default_detector
from vultus.evaluate.rerender import rerender_psnr
from vultus.io.images import list_images, read_image
from vultus.model.face import Geometry
from vultus.stages.coarse import CoarseOptions, fit_coarse
from vultus.stages.deformed import fit_deformed
from vultus.stages.detail import fit_detail
from vultus.stages.options import ReconstructOptions
from vultus.stages.texture import texture
from vultus.stages.views import guess_focal, make_view

SHARED = Path(__file__).parents[2] / "shared" / "data"
FOLDERS = ("portraits", "studio/neutral_front", "studio/smiling_front")
NUM_PHOTOS, LARGEST_PX, STRETCH_DB = 200, 1200, 32


def measure(shared: Path = SHARED, *, limit: int | None = None) -> Report:
    paths = [path for folder in FOLDERS for path in list_images(shared / "photos" / folder)]
    paths = [
        paths[i] for i in np.linspace(0, len(paths) - 1, min(limit or NUM_PHOTOS, len(paths))).astype(int)
    ]
    found: dict[str, list[float]] = {}
    missed = 0
    for path in tqdm(paths, desc="photos", leave=False):
        numbers = of_photo(path)
        missed += numbers is None
        for name, value in (numbers or {}).items():
            found.setdefault(name, []).append(value)
    rows = []
    for name, values in found.items():
        level, colour = name.split(", ")
        coarse = np.array(found[f"coarse, {colour}"])
        rows.append(
            Row(name, float(np.nanmean(values)), "dB", float(np.nanmean(coarse)),
                f">= {STRETCH_DB}" if colour == "extracted texture" and level == "detail" else "")
        )  # fmt: skip
        if level != "coarse":
            rows.append(
                Row(
                    f"{name}: photos better than coarse", 100 * float(np.mean(np.array(values) > coarse)), "%"
                )
            )
    notes = (
        f"{len(paths) - missed} photos, {missed} without a face; trivial: coarse; {STRETCH_DB} dB is the stretch goal",
    )
    return Report("rerender", tuple(rows), notes, {"psnr_db": found})


def of_photo(path: Path) -> dict[str, float] | None:
    """ "level, colour" -> dB; None without a face."""
    model = bundled_model()
    image, info = read_image(path, LARGEST_PX)
    faces = default_detector().detect(image)
    if not faces:
        return None
    focal = guess_focal(info, faces[0], ReconstructOptions())
    view, coarse, _ = fit_coarse(
        make_view(image, faces[0], focal), model, CoarseOptions(focal_log_sigma=focal.log_sigma)
    )
    deformed, _ = fit_deformed(view, model, coarse)
    levels: dict[str, Geometry] = {
        "coarse": coarse,
        "deformed": deformed,
        "detail": fit_detail(view, model, deformed),
    }
    numbers = {}
    for level, face in levels.items():
        numbers[f"{level}, model albedo"] = rerender_psnr(view, model, face, "model")
        painted = texture(view, model, face, size=1024, delight=False)
        numbers[f"{level}, extracted texture"] = rerender_psnr(view, model, painted, "texture")
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, help=f"photos; {NUM_PHOTOS} if not given")
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/")
    options = parser.parse_args()
    report = measure(options.shared, limit=options.limit)
    print(table(report))
    if options.save:
        write(report)


if __name__ == "__main__":
    main()
