"""The first task: the position map of a face in a crop (Feng et al., "PRNet", ECCV 2018; docs/training.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.sample import Sample
from ..data.sample_maps import ChartLattice, chart_lattice, position_sample
from ..errors import BadInput
from ..geometry.position_map import CROP_FACTOR, CROP_PX, crop_around, in_pixels, mirrored, sample_map
from ..geometry.rigid import pose_angles
from ..model.catalog import load_model
from ..nets.position import PositionConfig, Variant, network_of
from ..nets.position_basis import BasisPositionNet
from ..nets.position_loss import PAPERS_WEIGHTS, LossOptions, position_loss, weight_mask
from ..nets.position_readout import face_chart, landmarks_uv
from ..nets.weights_file import load_strictly, read_export
from .augment import moved, occluded, recoloured, worsened
from .config import AugmentConfig, TrainConfig
from .fields import from_document
from .position_measure import SCORE, YAW, map_errors, summarise
from .position_start import start_from_mesh
from .task import Batch, Example, Outputs

_POINTS_DRAWN = 900
_OURS, _TRUE = (0.1, 0.9, 1.0), (0.3, 1.0, 0.2)


@dataclass(frozen=True)
class PositionOptions:
    """The options of a config whose task is ``position``.

    Attributes:
        variant, crop_px, map_size: of the network (:class:`~vultus.nets.position.PositionConfig`).
        crop_factor: side of the crop over the mean of width and height of the 68 points.
        weights: of the loss, for texels with one of the 68 points, of eyes nose and mouth, of the rest of the face, of everything else.
        normals, edges: factors of the loss's terms about shape (:class:`~vultus.nets.position_loss.LossOptions`).
        start: of the weights: "random"; "mesh", the trunk of the variant "basis" begins as the bundled face mesh network's (other variants: random);
            else an exported file of the same network, to train on from.
    """

    variant: Variant = "paper"
    crop_px: int = CROP_PX
    map_size: int | None = None
    crop_factor: float = CROP_FACTOR
    weights: tuple[float, float, float, float] = PAPERS_WEIGHTS
    normals: float = 0.0
    edges: float = 0.0
    start: str = "mesh"

    def __post_init__(self) -> None:
        self.network_config()
        if not (min(self.weights) >= 0 and max(self.weights) > 0):
            raise BadInput(f"weights {list(self.weights)}: four numbers, none negative, not all zero")
        if not self.crop_factor > 0:
            raise BadInput(f"crop_factor {self.crop_factor}: above 0")

    def network_config(self) -> PositionConfig:
        """Which network.

        Raises:
            BadInput: there is none like this.
        """
        return PositionConfig(self.variant, self.crop_px, self.map_size)


@dataclass(frozen=True)
class PositionTask:
    """See :class:`.task.Task`. Examples hold the image "3 c c", the normalised map "3 s s" and the true yaw in degrees."""

    options: PositionOptions = field(default_factory=PositionOptions)
    augment: AugmentConfig | None = None
    name: str = "position"
    score: str = SCORE

    def network(self) -> nn.Module:
        """A new network, begun as the options say.

        Raises:
            BadFile, WeightsMismatch: the file to start from.
        """
        network = network_of(self.options.network_config())
        if self.options.start not in ("mesh", "random"):
            found = read_export(self.options.start)
            theirs = f"{found.task} {found.options} ({self.options.start})"
            load_strictly(network, found.state, f"{self.name} {self.options}", theirs)
        elif isinstance(network, BasisPositionNet):
            network.set_basis(load_model("vultus"))
            if self.options.start == "mesh":
                start_from_mesh(network)
        return network

    def example(self, sample: Sample, rng: np.random.Generator | None) -> Example:
        """Crop around the 68 points, moved by chance; then colours, occluders, left and right.

        Raises:
            BadInput: the sample's points or vertices are not usable.
        """
        landmarks = torch.from_numpy(np.asarray(sample.landmarks_px, np.float32))
        crop = crop_around(landmarks[:, :2], self.options.crop_factor, self.options.crop_px)
        augment = self.augment if rng is not None else None
        if augment and rng:
            crop = moved(crop, augment, rng)
        found = position_sample(sample, crop, _fixed(self._texels).lattice)
        image, position = found.image, found.position
        rotation = torch.from_numpy(np.asarray(sample.T_camera_head, np.float32)[:3, :3])
        yaw_deg = pose_angles(rotation).yaw_deg
        if augment and rng:
            image, _ = occluded(recoloured(image, augment, rng), found.mask, augment, rng)
            image = worsened(image, augment, rng)
            if rng.random() < augment.mirror:
                image, position, yaw_deg = image.flip(-1), mirrored(position), -yaw_deg
        if not bool(position.isfinite().all()):
            raise BadInput("the position map is not finite: leave the sample out")
        return {"key": sample.key, "image": image, "position": position, YAW: yaw_deg}

    def outputs(self, network: nn.Module, batch: Batch) -> Outputs:
        """The map "b 3 s s"."""
        return {"position": network(batch["image"])}

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The paper's weighted distance, in normalised units, and the terms about shape."""
        options = LossOptions(self.options.normals, self.options.edges)
        truth = batch["position"]
        weight = _weight(self._texels, self.options.weights, truth.device)
        terms = position_loss(outputs["position"], truth, weight, options)
        parts = {"position": terms.position}
        if options.normals:
            parts["normals"] = terms.normals
        if options.edges:
            parts["edges"] = terms.edges
        return terms.total, parts

    def measure(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Errors in per cent (:func:`.position_measure.map_errors`) and the yaw they are told apart by."""
        truth, fixed = batch["position"], _fixed(self._texels)
        marks, vertices = (uv.to(truth.device) for uv in (fixed.landmarks_uv, fixed.vertices_uv))
        errors = map_errors(outputs["position"], truth, marks, vertices, self.options.crop_px)
        return {**errors, YAW: batch[YAW]}

    def summary(self, values: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
        """See :func:`.position_measure.summarise`."""
        return summarise(values)

    def baseline(self, examples: Iterable[Example]) -> Callable[[Batch], Outputs]:
        """The mean map of the training set.

        Raises:
            BadInput: there are no examples.
        """
        total, count = torch.zeros(3, self._texels, self._texels, dtype=torch.float64), 0
        for example in examples:
            total, count = total + example["position"], count + 1
        if not count:
            raise BadInput("no sample of the training set can be read: check the sets that --data names")
        mean = (total / count).float()
        return lambda batch: {"position": mean.to(batch["position"].device).expand(batch["position"].shape)}

    def picture(self, outputs: Outputs, batch: Batch) -> Tensor:
        """A row for each sample: the crop, points of the predicted map over it, points of the true one."""
        uv = _fixed(self._texels).vertices_uv
        uv = uv[:: max(1, len(uv) // _POINTS_DRAWN)]
        rows = []
        for image, ours, true in zip(batch["image"], outputs["position"], batch["position"]):
            image = image.float().cpu()
            drawn = [
                _dotted(image, sample_map(in_pixels(m.float().cpu(), self.options.crop_px), uv), colour)
                for m, colour in ((ours, _OURS), (true, _TRUE))
            ]
            rows.append(torch.cat([image, *drawn], 2))
        return torch.cat(rows, 1)

    @property
    def _texels(self) -> int:
        return self.options.network_config().texels


def make_position_task(config: TrainConfig) -> PositionTask:
    """The task of a config.

    Raises:
        BadInput: an option that is not known, or that no network fits.
    """
    return PositionTask(from_document(PositionOptions, config.options, "options"), config.augment)


@dataclass(frozen=True, eq=False)
class _Fixed:
    """What is the same for all samples: the lattice, places of the landmarks "68 2" and of the chart's vertices "n 2"."""

    lattice: ChartLattice
    landmarks_uv: Tensor
    vertices_uv: Tensor


@lru_cache(maxsize=4)
def _fixed(texels: int) -> _Fixed:
    model = load_model("vultus")
    lattice, uv = chart_lattice(model, texels), face_chart(model).uv
    return _Fixed(lattice, landmarks_uv(model), uv[lattice.vertex_ids])


@lru_cache(maxsize=4)
def _weight(texels: int, weights: tuple[float, float, float, float], device: torch.device) -> Tensor:
    return weight_mask(load_model("vultus"), texels, weights).to(device)


def _dotted(image: Tensor, points_px: Tensor, colour: tuple[float, float, float]) -> Tensor:
    """The image "3 c c" with a pixel coloured at each of the points "n 3" that lie in it."""
    size = image.shape[-1]
    x, y = points_px[:, :2].floor().long().clamp(-1, size).T
    inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
    drawn = image.clone()
    drawn[:, y[inside], x[inside]] = torch.tensor(colour)[:, None]
    return drawn
