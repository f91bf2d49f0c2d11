"""The paper's ablations: one face of one photo with one part of the method switched off or exchanged at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..errors import BadInput
from ..geometry.view import View
from ..model.face import CoarseFace, DeformedFace, Geometry, TexturedFace
from ..model.morphable import MorphableModel
from .deformed import DeformedOptions, Realign, fit_deformed
from .detail import fit_detail
from .texture import texture


@dataclass(frozen=True)
class Ablation:
    """One row of the table.

    Attributes:
        deformed: switches of the deformation; None stops at the coarse level.
        displacement: whether wrinkles are fitted. realign, delight: of the texture.
    """

    deformed: DeformedOptions | None = DeformedOptions()  # noqa: RUF009, frozen
    displacement: bool = True
    realign: Realign = "on"
    delight: bool = True


ABLATIONS: dict[str, Ablation] = {
    "coarse": Ablation(None, displacement=False),
    "no deformation": Ablation(DeformedOptions(deformation=False)),
    "no displacement": Ablation(displacement=False),
    "contour none": Ablation(DeformedOptions(contour="none")),
    "contour 1d": Ablation(DeformedOptions(contour="1d")),
    "smoothness tv": Ablation(DeformedOptions(smoothness="tv")),
    "re-alignment off": Ablation(realign="off"),
    "re-alignment flow": Ablation(realign="flow"),
    "no delighting": Ablation(delight=False),
    "full": Ablation(),
}
"""Name -> what differs from ``full``, which has the 2D contour, Laplacian smoothness and re-alignment by sampling again."""


def chosen_ablations(names: Iterable[str]) -> dict[str, Ablation]:
    """Some of :data:`ABLATIONS` in their order; all for no names.

    Raises:
        BadInput: an unknown name.
    """
    names = list(names)
    unknown = [name for name in names if name not in ABLATIONS]
    if unknown:
        raise BadInput(f"no ablation {', '.join(unknown)}: there are {', '.join(ABLATIONS)}")
    return {name: ablation for name, ablation in ABLATIONS.items() if name in names or not names}


def run_ablations(
    view: View,
    model: MorphableModel,
    coarse: CoarseFace,
    ablations: dict[str, Ablation],
    *,
    texture_size: int = 512,
    displacement_size: int = 512,
) -> Iterator[tuple[str, TexturedFace]]:
    """The same coarse face taken on in each way; what several ways share is computed once.

    Args:
        view: posed, of :func:`~vultus.stages.coarse.fit_coarse`, as ``coarse``.
    """
    deformed: dict[DeformedOptions, DeformedFace] = {}
    shapes: dict[tuple[DeformedOptions | None, bool], Geometry] = {}
    for name, ablation in ablations.items():
        key = (ablation.deformed, ablation.displacement)
        if key not in shapes:
            geometry: Geometry = coarse
            if ablation.deformed is not None:
                if ablation.deformed not in deformed:
                    deformed[ablation.deformed] = fit_deformed(view, model, coarse, ablation.deformed)[0]
                geometry = deformed[ablation.deformed]
                if ablation.displacement:
                    geometry = fit_detail(view, model, geometry, size=displacement_size)
            shapes[key] = geometry
        yield (
            name,
            texture(
                view,
                model,
                shapes[key],
                size=texture_size,
                realign=ablation.realign,
                delight=ablation.delight,
            ),
        )
