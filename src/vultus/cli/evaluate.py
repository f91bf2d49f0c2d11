"""``vultus evaluate``: how good a method is, by published protocols and our own."""

from __future__ import annotations

import json as json_text
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro
from tqdm import tqdm

from ..errors import BadInput
from ..evaluate.benchmark import Benchmark, Evaluation
from ..evaluate.summary import document, text
from ..io.files import atomic_file
from ..methods.choose import METHODS, choose_method
from ..viewer.evaluation_figure import check_figure, write_figure
from .scoring import cache_folder, score_all

if TYPE_CHECKING:
    from ..evaluate.rerender import Colour

DESCRIPTION = f"""Measure a method: ours, a peer, or any other system's files.

A benchmark compares predictions with the truth in DATA, your own copy of a data set;
`vultus evaluate NAME --help` says what is expected in it, docs/evaluate/ has a page for each.

Methods (--method NAME, or a path to predictions):
{chr(10).join(f"  {name:15}{what}" for name, what in METHODS.items())}

Examples:
  vultus evaluate scan anna.ply --photo anna.jpg            our face against a scan
  vultus evaluate scan anna.ply --method other/anna.obj     another system's mesh
  vultus evaluate now NoW_Dataset --method files --files predictions
  vultus evaluate aflw2000 AFLW2000-3D --json aflw.json --figure aflw.png
  vultus evaluate synthetic heads --method mean             made by `vultus dataset synthetic`

What is finished is kept, so the same command goes on after an interruption. Exit status: 0 all
items were scored, 2 otherwise (the table is of the others)."""


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """What every benchmark takes."""

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """Your copy of the data."""
    method: str = "vultus"
    """Which method, or where its predictions are; `vultus evaluate --help` lists them."""
    files: Path | None = None
    """Folder of predictions for --method files: FOLDER/<key>.obj, .ply or .glb with landmarks in <key>.npy or .txt."""
    unit: Literal["mm", "cm", "m", "none"] | None = None
    """Unit of the predicted meshes; none: their own, so that only an alignment with scale says something."""
    mirrored: bool = False
    """The predicted meshes are left-handed (z towards the camera, y down)."""
    model: str = "vultus"
    """Face model of our own methods, as `vultus models` lists it."""
    eos: Path | None = None
    """Folder of the Surrey model, for --method eos."""
    limit: int | None = None
    """At most so many items, spread evenly."""
    jobs: int = 1
    """How many processes, of one thread each."""
    again: bool = False
    """Measure again what was kept from an earlier run."""
    json: Path | None = None
    """Write the rows and every item's numbers as JSON to this file."""
    dump: Path | None = None
    """Write the distances behind the numbers to this .npz file, an array `<key>|<name>` each."""
    figure: Path | None = None
    """Draw error curves and heat maps into this PNG or PDF file (needs matplotlib)."""
    debug: bool = False
    """Show where unexpected errors come from."""

    def run(self) -> int:
        """Do it; 0 when every item was scored."""
        if self.limit is not None and self.limit < 1:
            raise BadInput(f"--limit {self.limit}: ask for at least one item")
        if self.jobs < 1:
            raise BadInput(f"--jobs {self.jobs}: ask for at least one process")
        if self.figure is not None:
            check_figure(self.figure)
        method = choose_method(
            self.method, model=self.model, colour=self._colour(), files=self.files, unit=self.unit, mirrored=self.mirrored, eos=self.eos
        )  # fmt: skip
        benchmark = self.open()
        result = score_all(
            benchmark, method, self.method, self.data, jobs=self.jobs, limit=self.limit, again=self.again, debug=self.debug
        )  # fmt: skip
        print(text(result))
        self._write(result)
        return 2 if any(score.problem for score in result.scores) else 0

    def open(self) -> Benchmark:
        """The benchmark on the data."""
        raise NotImplementedError

    def _colour(self) -> Colour | None:
        return None

    def _write(self, result: Evaluation) -> None:
        if self.json is not None:
            with atomic_file(self.json) as partial:
                partial.write_text(json_text.dumps(document(result), indent=1) + "\n")
        if self.dump is not None:
            arrays = {f"{s.key}|{name}": array for s in result.scores for name, array in s.samples.items()}
            with atomic_file(self.dump) as partial, partial.open("wb") as file:
                np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]
        if self.figure is not None:
            write_figure(self.figure, (result,))


@dataclass(frozen=True, kw_only=True)
class Scan(Evaluate):
    """Against scans: a file with the person's scan, a folder of scans, or a set of captures."""

    landmarks: Path | None = None
    """File of 7 or 68 points on the scan; beside it (NAME.json, .npy, .txt, .pp) or searched for when not given."""
    mesh_landmarks: Path | None = None
    """The same for the one predicted mesh."""
    photo: Path | None = None
    """Photo of the one scan's person, for methods that take one."""
    scan_unit: Literal["mm", "cm", "m"] | None = None
    """Unit of the scan's coordinates."""
    posed: bool = False
    """The scans make the photo's face: measure that instead of the neutral person (always so for captures)."""
    no_corresponded: bool = False
    """Leave out the comparison of points that mean the same, which takes seconds per scan."""

    def open(self) -> Benchmark:
        """See :func:`~vultus.evaluate.scans.open_scan`."""
        from ..data.scan_cases import capture_cases, is_capture_set
        from ..data.scan_points import find_scan_points
        from ..evaluate.scan_score import KINDS
        from ..evaluate.scans import ScanBenchmark, open_scan

        kinds = KINDS[:1] if self.unit == "none" else KINDS
        if is_capture_set(self.data):
            return ScanBenchmark(
                capture_cases(self.data), find_scan_points, not self.no_corresponded, posed=True, kinds=kinds
            )
        return open_scan(
            self.data, landmarks=self.landmarks, photo=self.photo, unit=self.scan_unit, find_points=find_scan_points,
            posed=self.posed, corresponded=not self.no_corresponded, kinds=kinds,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Now(Evaluate):
    """NoW (Sanyal et al., CVPR 2019): neutral faces from photos, median scan-to-mesh distance."""

    image_set: Literal["val", "test", "all"] = "val"
    """Which list of images of the data set."""
    challenge: str = ""
    """Only this one: multiview_neutral, multiview_expressions, multiview_occlusions or selfie."""
    metrical: bool = False
    """Align without scale."""

    def open(self) -> Benchmark:
        """See :func:`~vultus.evaluate.now.open_now`."""
        from ..evaluate.now import open_now

        return open_now(self.data, image_set=self.image_set, challenge=self.challenge, metrical=self.metrical)


@dataclass(frozen=True, kw_only=True)
class Esrc(Evaluate):
    """ESRC, Stirling (Feng et al., FG 2018): faces from low- and high-quality photos against scans."""

    quality: Literal["", "HQ", "LQ"] = ""
    """Only photos of this quality."""
    per_person: bool = False
    """One prediction per person, for methods that fuse all of the photos."""

    def open(self) -> Benchmark:
        """See :func:`~vultus.evaluate.esrc.open_esrc`."""
        from ..evaluate.esrc import open_esrc

        return open_esrc(self.data, quality=self.quality, per_person=self.per_person)


@dataclass(frozen=True, kw_only=True)
class Florence(Evaluate):
    """MICC Florence: PRNet's normalised error and the 95 mm crop's millimetres."""

    scan: str = "frontal1"
    """Which of a person's scans is the truth."""

    def open(self) -> Benchmark:
        """See :func:`~vultus.evaluate.florence.open_florence`."""
        from ..evaluate.florence import open_florence

        return open_florence(self.data, scan=self.scan)


@dataclass(frozen=True, kw_only=True)
class Realy(Evaluate):
    """REALY (Chai et al., ECCV 2022): nose, mouth, forehead and cheek, each aligned and registered by itself."""

    keypoints: Path | None = None
    """REALY's key points of the predictions: a folder of KEY.keypoints.npy, or a table NAME.txt with NAME.obj beside it."""

    def open(self) -> Benchmark:
        """See :func:`~vultus.evaluate.realy.open_realy`."""
        from ..evaluate.realy import open_realy

        return open_realy(self.data, keypoints=self.keypoints)


@dataclass(frozen=True, kw_only=True)
class Facescape(Evaluate):
    """FaceScape's benchmark (Zhu et al., TPAMI 2023): posed faces, depth shift only."""

    sets: tuple[Literal["wild", "lab"], ...] = ()
    """Which of the two; both where both are there."""

    def open(self) -> Benchmark:
        """See :func:`~vultus.evaluate.facescape.open_facescape`."""
        from ..evaluate.facescape import open_facescape

        return open_facescape(self.data, sets=self.sets)


@dataclass(frozen=True, kw_only=True)
class Aflw2000(Evaluate):
    """AFLW2000-3D: 68 landmarks in 2D and 3D by yaw."""

    annotations: Literal["original", "reannotated"] = "original"
    """Which ground truth; numbers of the two do not compare."""

    def open(self) -> Benchmark:
        """See :func:`~vultus.evaluate.aflw2000.open_aflw2000`."""
        from ..evaluate.aflw2000 import open_aflw2000

        return open_aflw2000(self.data, self.annotations)


@dataclass(frozen=True, kw_only=True)
class Aflw21(Evaluate):
    """AFLW: 21 visible landmarks by yaw."""

    def open(self) -> Benchmark:
        """See :func:`~vultus.evaluate.aflw21.open_aflw21`."""
        from ..evaluate.aflw21 import open_aflw21

        return open_aflw21(self.data)


@dataclass(frozen=True, kw_only=True)
class Photo(Evaluate):
    """The photo drawn again: L1, PSNR, SSIM in the face, and whether a recogniser still knows the person."""

    draw: Literal["texture", "model", "relit"] = "texture"
    """With what colour: the extracted texture, the model's albedo, or the delit albedo under the fitted light."""

    def open(self) -> Benchmark:
        """See :func:`~vultus.evaluate.photo.open_photo`."""
        from ..evaluate.photo import open_photo

        return open_photo(self.data)

    def _colour(self) -> Colour | None:
        return self.draw


@dataclass(frozen=True, kw_only=True)
class Consistency(Evaluate):
    """Is one person the same head on every photo, and another person another: DATA/PERSON/*.jpg."""

    def open(self) -> Benchmark:
        """See :func:`~vultus.evaluate.consistency.open_consistency`."""
        from ..evaluate.consistency import open_consistency

        return open_consistency(self.data)


@dataclass(frozen=True, kw_only=True)
class Synthetic(Evaluate):
    """Generated heads whose truth is known: shape, landmarks, pose, camera; `vultus dataset synthetic -o DATA` makes them."""

    data: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")] = None  # pyright: ignore[reportGeneralTypeIssues, reportIncompatibleVariableOverride]
    """The set; 200 heads from the package alone, made now and kept for the next time, when not given."""
    focal: Literal["unknown", "known"] = "unknown"
    """Whether the method is told the focal length."""
    corresponded: bool = False
    """Also compare points that mean the same, which takes seconds per head."""
    draw: Literal["no", "texture", "model", "relit"] = "no"
    """Also draw the photo again, with this colour, and compare."""

    def open(self) -> Benchmark:
        """See :func:`~vultus.evaluate.synthetic.open_synthetic`."""
        from ..evaluate.synthetic import open_synthetic

        if self.data is None:
            return open_synthetic(_default_heads(), focal=self.focal, corresponded=self.corresponded)
        return open_synthetic(self.data, focal=self.focal, corresponded=self.corresponded)

    def _colour(self) -> Colour | None:
        return None if self.draw == "no" else self.draw


def _default_heads() -> Path:
    """The set that anybody can make, under the cache; what of it is missing is made."""
    from ..data.synthetic_heads import SyntheticOptions, make_heads
    from ..model.catalog import load_model

    folder, options = cache_folder() / "synthetic", SyntheticOptions()
    with tqdm(total=options.heads, desc="making heads", unit="head", file=sys.stderr, disable=None) as bar:
        for _ in make_heads(load_model("vultus"), folder, options):
            bar.update()
    return folder


BENCHMARKS: dict[str, type[Evaluate]] = {
    "scan": Scan, "now": Now, "realy": Realy, "facescape": Facescape, "florence": Florence, "esrc": Esrc,
    "aflw2000": Aflw2000, "aflw21": Aflw21, "photo": Photo, "synthetic": Synthetic, "consistency": Consistency,
}  # fmt: skip
