"""Face profiling: fitted photos turned out of plane, as 300W-LP was made, with exact pose, shape and mask for every turned picture.

Zhu et al., "Face alignment across large poses: a 3D solution", CVPR 2016, section 4: the photo is lifted to depth and rotated in steps of yaw up to
90 degrees. What differs here, and what the pictures are good for, is in docs/profiling.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ..geometry.rigid import pose_angles
from ..model.morphable import MorphableModel
from .limits import check_limits
from .manifest import Manifest
from .photo_fit import TERMS, as_sample, list_fits, read_fit, yaw_deg
from .profiling_draw import turn
from .profiling_scene import Scene, build_scene
from .sample import Sample

SOURCE = "profiled-photos"


@dataclass(frozen=True)
class ProfileOptions:
    """How photos are turned.

    Raises:
        BadInput: a number out of range.
    """

    fits: Path
    """Folder that `vultus dataset fit` made."""
    step_deg: float = 15.0
    """Steps of yaw."""
    max_yaw_deg: float = 90.0
    """Up to so far to either side."""
    pitch_deg: float = 15.0
    """At most so much is added to the photo's pitch, up or down, at random for every picture."""
    roll_deg: float = 10.0
    """The same for the photo's roll."""
    smallest_turn_deg: float = 8.0
    """Leave out yaws as near as this to the photo's own: `vultus dataset fit` has that picture already."""
    seed: int = 0
    """Other pitches and rolls for another number."""

    def __post_init__(self) -> None:
        check_limits(self, {"step_deg": (1, 90), "max_yaw_deg": (1, 90), "pitch_deg": (0, 40), "roll_deg": (0, 45),
                  "smallest_turn_deg": (0, 90), "seed": (0, 2**31)})  # fmt: skip

    @property
    def yaws_deg(self) -> tuple[float, ...]:
        """All yaws, zero among them."""
        steps = int(self.max_yaw_deg / self.step_deg + 1e-6)
        return tuple(self.step_deg * i for i in range(-steps, steps + 1))


class TurnedPhotos:
    """The turned pictures of a folder of fits by number, one photo's after the other's, each made when it is asked for.

    What a number shows depends on the folder and the options only; None where a photo has that yaw already. The last scene is kept: ask in order.
    """

    def __init__(self, model: MorphableModel, options: ProfileOptions) -> None:
        """Raises BadInput when no fits are there."""
        self._model, self._options = model, options
        self._paths = list_fits(options.fits)
        self._kept: tuple[Path, Sample, Scene] | None = None

    def __len__(self) -> int:
        return len(self._paths) * len(self._options.yaws_deg)

    def __getitem__(self, number: int, /) -> Sample | None:
        photo, index = divmod(number, len(self._options.yaws_deg))
        if self._kept is None or self._kept[0] != self._paths[photo]:
            fit = read_fit(self._paths[photo])
            self._kept = self._paths[photo], fit.sample, build_scene(self._model, fit)
        _, sample, scene = self._kept
        angles = turns_of(sample, self._options)[index]
        return None if angles is None else turned_sample(sample, scene, *angles)


def turned_sample(sample: Sample, scene: Scene, yaw: float, pitch: float, roll: float) -> Sample:
    """One turned picture; code and maps are the photo's, the light is left out, for the photo's turned with the face."""
    turned = turn(scene, yaw, pitch, roll)
    sign = "p" if yaw >= 0 else "m"
    return as_sample(
        scene.model, key=f"{sample.key}_{sign}{abs(yaw):04.1f}".replace(".", "d"), source=SOURCE, image=turned.image, mask=turned.mask,
        vertices=turned.vertices_mm, camera=turned.camera, person=sample.person, code=sample.code, maps=sample.maps, light=None,
    )  # fmt: skip


def manifest_of(options: ProfileOptions, per_shard: int = 500) -> Manifest:
    """What the set's manifest says before there is a shard."""
    chosen = asdict(options)
    del chosen["fits"], chosen["seed"]
    return Manifest("vultus dataset profile", chosen, options.seed, {SOURCE: f"turned {TERMS}"}, per_shard)


def turns_of(sample: Sample, options: ProfileOptions) -> tuple[tuple[float, float, float] | None, ...]:
    """Yaw, pitch and roll in degrees of every picture that is made of a sample, one per yaw; None: too near the photo's own."""
    own = pose_angles(torch.from_numpy(sample.T_camera_head)[:3, :3])
    rng = np.random.default_rng([options.seed, *sample.key.encode()])
    turns: list[tuple[float, float, float] | None] = []
    for yaw in options.yaws_deg:
        pitch, roll = rng.uniform(-1, 1, 2) * (options.pitch_deg, options.roll_deg)
        angles = yaw, float(own.pitch_deg + pitch), float(own.roll_deg + roll)
        turns.append(angles if abs(yaw - yaw_deg(sample)) >= options.smallest_turn_deg else None)
    return tuple(turns)
