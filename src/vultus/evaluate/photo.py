"""``photo``: how like its photo the face is that a method draws again, in colour and in identity; needs photos and nothing else.

A protocol of vultus. What every method is measured on comes from the photo alone, never from what the method chose to draw: bare skin for colours,
the face with eyes and mouth for identity. What a method leaves out shows as coverage, and in the numbers over the whole skin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from ..errors import AssetMissing, BadInput, FaceNotFound, WeightsMismatch
from ..io.images import list_images, read_image
from .benchmark import Curve, Item, ItemScore, Prediction, Row
from .image_metrics import colour_values
from .layout import Layout
from .recogniser import SAME_PERSON, Recogniser, cosine, sface
from .summary import curve, row

LAYOUT = Layout(
    "a set of photos",
    "you: any photos with a face in each",
    ("FOLDER/NAME.jpg (one person a photo)", "or FOLDER/PERSON/NAME.jpg (several photos of a person)"),
)
_BACKDROP = 0.5  # around a face that is shown to the recogniser alone


@dataclass(frozen=True)
class FaceInPhoto:
    """What a photo itself says about its face.

    Attributes:
        skin: "h w" bool, bare skin and lips: what any method can be expected to draw. face: "h w" bool, with eyes and mouth.
        points_px: (5, 2), what the recogniser aligns by.
    """

    skin: Tensor
    face: Tensor
    points_px: np.ndarray


def find_face(photo: Tensor) -> FaceInPhoto:
    """The largest face of a photo "3 h w".

    Raises:
        FaceNotFound: nobody there, or no skin to be seen.
    """
    from ..detect import default_detector, person_probability, skin_mask
    from ..detect.face_recogniser import five_points

    found = default_detector().detect(photo)
    if not found:
        raise FaceNotFound("no face found in the photo: nothing to compare; leave it out")
    landmarks = found[0].landmarks
    skin = skin_mask(photo, landmarks, person_probability(photo, landmarks))
    if not bool(skin.any()):
        raise FaceNotFound("the face in the photo shows no bare skin: nothing to compare; leave it out")
    return FaceInPhoto(skin, hull(skin), five_points(landmarks))


def open_photo(folder: Path) -> PhotoBenchmark:
    """Every photo of a folder and of the folders in it, or one photo file.

    Raises:
        BadFile: no such folder, no photo in it, or two photos of one name.
    """
    folder = Path(folder)
    if folder.is_file():
        return PhotoBenchmark((Item(folder.stem, folder.stem, photo=folder),))
    LAYOUT.check(folder, ())
    people = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    items = [Item(path.stem, path.stem, photo=path) for path in list_images(folder)]
    items += [Item(f"{p.name}/{path.stem}", p.name, photo=path) for p in people for path in list_images(p)]
    if not items:
        raise LAYOUT.incomplete(folder, "no photo in it")
    keys = [item.key for item in items]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise LAYOUT.incomplete(
            folder, f"two photos are called {twice[0]} (with different endings); rename one"
        )
    return PhotoBenchmark(tuple(items))


@dataclass(frozen=True)
class PhotoBenchmark:
    """See :func:`open_photo`.

    Attributes:
        items: the photos. recogniser: gives the network, or says why there is none. look: what the photo says.
    """

    items: tuple[Item, ...]
    recogniser: Callable[[], Recogniser] = sface
    look: Callable[[Tensor], FaceInPhoto] = find_face
    name: str = "photo"

    def score(self, item: Item, prediction: Prediction) -> ItemScore:
        """Compare a drawn picture with its photo.

        Raises:
            BadInput: no picture, or of another size. FaceNotFound: nothing to compare it with. BadFile: the photo.
        """
        assert item.photo is not None
        photo, _ = read_image(item.photo)
        image, drawn = _picture(prediction, photo)
        face = self.look(photo)
        values = colour_values(photo, image, drawn, face.skin)
        samples = {}
        network, _ = self._network()
        if network is not None:
            shown = drawn & face.face
            own = network.embed(photo, face.points_px)
            alone = network.embed(_over_backdrop(image, shown), face.points_px)
            cut_out = network.embed(_over_backdrop(photo, face.face), face.points_px)
            composed = network.embed(torch.where(shown, image, photo), face.points_px)
            values |= {
                "identity": cosine(own, alone), "identity_cut_out": cosine(own, cut_out),
                "identity_composed": cosine(own, composed), "recognised_percent": 100.0 * (cosine(own, alone) >= SAME_PERSON),
            }  # fmt: skip
            samples = {"photo_embedding": own.astype(np.float32), "drawn_embedding": alone.astype(np.float32)}
        return ItemScore.of(item, values, samples, prediction.seconds)

    def summarise(
        self, scores: Sequence[ItemScore]
    ) -> tuple[tuple[Row, ...], tuple[Curve, ...], tuple[str, ...]]:
        """Means over photos; people are resampled."""
        rows = [
            row("L1 on the drawn skin", "", scores, "l1"),
            row("PSNR on the drawn skin", "dB", scores, "psnr_db", better="higher"),
            row("SSIM on the drawn skin", "", scores, "ssim", better="higher"),
            row("share of the skin that is drawn", "%", scores, "coverage_percent", better="higher"),
            row("L1 on all skin, undrawn as one colour", "", scores, "whole_l1"),
            row("reference: L1 of one colour", "", scores, "flat_l1", better=""),
            row("reference: PSNR of one colour", "dB", scores, "flat_psnr_db", better=""),
        ]
        notes = [
            "L1 and SSIM of sRGB in [0, 1]; skin is told from the photo alone; undrawn pixels only count where a row says so"
        ]
        curves = [curve("L1 on the drawn skin", _finite(scores, "l1"), "")]
        if any("identity" in s.values for s in scores):
            rows += _identity_rows(_with_strangers(scores))
            curves.append(curve("1 - cosine of identity", 1 - _finite(scores, "identity"), ""))
            notes.append(
                f"identity: cosine of SFace between the photo and the drawn face alone on grey; recognised: at least {SAME_PERSON}"
            )
        else:
            reason = self._network()[1] or "these scores were kept from a run without the network; --again"
            notes.append(f"identity is left out: {reason}")
        nothing = sum(s.values["coverage_percent"] == 0 for s in scores)
        if nothing:
            notes.append(
                f"{nothing} of {len(scores)} pictures draw nothing on the face's skin: no L1, PSNR and SSIM of theirs is in the means"
            )
        return tuple(rows), tuple(c for c in curves if len(c.errors)), tuple(notes)

    def _network(self) -> tuple[Recogniser | None, str]:
        """The recogniser, or why the rest must do without."""
        try:
            return self.recogniser(), ""
        except (AssetMissing, WeightsMismatch) as error:
            return None, " ".join(str(error).split())


def hull(mask: Tensor) -> Tensor:
    """Pixels in the convex hull of a mask "h w", which closes the holes of eyes, brows and mouth; the mask itself where it is a line."""
    ys, xs = (found.numpy() for found in torch.nonzero(mask.cpu(), as_tuple=True))
    try:
        sides = ConvexHull(np.stack([xs, ys], -1).astype(float)).equations
    except (QhullError, ValueError):
        return mask.clone()
    closed = mask.cpu().clone()
    rows, columns = np.mgrid[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    inside = np.ones(rows.shape, bool)
    for a, b, c in sides:
        inside &= a * columns + b * rows + c <= 1e-6
    closed[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1] |= torch.from_numpy(inside)
    return closed.to(mask.device)


def _picture(prediction: Prediction, photo: Tensor) -> tuple[Tensor, Tensor]:
    """The drawn picture and where it is drawn, once they fit the photo."""
    if prediction.image is None or prediction.drawn is None:
        raise BadInput("the method draws no picture, or does not say where; photo measures nothing else")
    image, drawn = prediction.image.detach().cpu(), prediction.drawn.detach().cpu().bool()
    if image.shape != photo.shape or drawn.shape != photo.shape[1:]:
        raise BadInput(
            f"the picture is {image.shape[-1]} x {image.shape[-2]} pixels (its mask {drawn.shape[-1]} x {drawn.shape[-2]}), "
            f"the photo {photo.shape[2]} x {photo.shape[1]}: draw it at the photo's size"
        )
    if not bool(torch.isfinite(image[:, drawn]).all()):
        raise BadInput("the picture holds NaN or infinite values where it is drawn")
    return torch.where(drawn, image.to(photo).clamp(0, 1), 0), drawn


def _over_backdrop(image: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, image, _BACKDROP)


def _identity_rows(scores: Sequence[ItemScore]) -> list[Row]:
    rows = [
        row("identity of the drawn face", "", scores, "identity", better="higher"),
        row("drawn faces recognised", "%", scores, "recognised_percent", better="higher"),
        row("identity of the face drawn into its photo", "", scores, "identity_composed", better="higher"),
        row("reference: the photo's own face alone", "", scores, "identity_cut_out", better=""),
        row("reference: drawn face and other people's photos", "", scores, "identity_strangers", better=""),
    ]
    return [r for r in rows if r.count]  # there are no strangers to a single person


def _with_strangers(scores: Sequence[ItemScore]) -> list[ItemScore]:
    """Each score with the mean cosine between its drawn face and the photos of other people; NaN where there are none."""
    known = [s for s in scores if "photo_embedding" in s.samples]
    photos, drawn = (
        np.stack([s.samples[name] for s in known]).astype(float)
        for name in ("photo_embedding", "drawn_embedding")
    )
    people = np.array([s.person for s in known])
    found = []
    for score, vector in zip(known, drawn, strict=True):
        others = photos[people != score.person] @ vector
        strangers = float(others.mean()) if len(others) else float("nan")
        found.append(replace(score, values={**score.values, "identity_strangers": strangers}))
    return found


def _finite(scores: Sequence[ItemScore], value: str) -> np.ndarray:
    values = np.array([s.values.get(value, np.nan) for s in scores], float)
    return values[np.isfinite(values)]
