"""Teach MediaPipe's attention mesh where surface points really are: its trunk, trained on, with a head for places and their uncertainty.

The network that ships draws faces towards the mean (docs/model.md): its points follow half of what makes a face different. Here it learns
from pictures whose truth is known, as in Wood et al., "3D face reconstruction with dense landmarks", ECCV 2022: a Gaussian per point,
whose place and size both are predicted (eq. 1), so that a point says how far it may be believed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from network import read_heads
from torch import Tensor

from vultus.detect.mesh import AttentionMesh, mirror_indices
from vultus.detect.network import Network, Operation

NUM_POINTS, SIZE_PX = 468, 192
MESH, FINE, COARSE = "186", "83", "113"
"""Tensors of the attention mesh: its 468 points "b 1404", features "b 64 24 24" and "b 128 12 12"."""
FIXED_UNTIL = "53"
"""Edges and colours down to 48 px are good as they are, and cost most of the time to train."""
FIXED_UNTIL = "23"
"""The first stage (edges and colours at 96 px) is good as it is, and costs half of the time to train."""


@dataclass(frozen=True)
class TrainOptions:
    """Knobs of :func:`train`.

    Attributes:
        steps: optimiser steps. batch: pictures in each. learning_rate: highest, after ``warm_up`` steps; falls as a cosine. trunk_share: of
            it for what MediaPipe has taught.
        seed: of order and augmentation. keep_every: steps between checkpoints.
    """

    steps: int = 3500
    batch: int = 32
    learning_rate: float = 2e-3
    trunk_share: float = 0.07
    warm_up: int = 100
    weight_decay: float = 1e-4
    seed: int = 0
    keep_every: int = 100


class SurfaceNet(torch.nn.Module):
    """The attention mesh's trunk and points, and a head that looks at two of its feature maps: corrections of x and y, log sigma."""

    def __init__(self, mesh: Network):
        super().__init__()
        position = next(i for i, name in enumerate(mesh.outputs) if name == MESH)
        self.trunk = mesh.pruned((position,))
        self.trunk = replace(self.trunk, outputs=(MESH, FINE, COARSE))
        fixed = _fixed(self.trunk)
        self.weights = torch.nn.ParameterDict(
            {
                name.replace(".", "/"): torch.nn.Parameter(w.clone())
                for name, w in self.trunk.weights.items()
                if name not in fixed
            }
        )
        shapes = {
            "fine": (64, 128, 2),
            "coarse": (128, 128, 1),
            "middle": (128, 160, 2),
            "low": (160, 192, 2),
        }
        self.convs = torch.nn.ModuleDict(
            {name: torch.nn.Conv2d(i, o, 3, s, bias=False) for name, (i, o, s) in shapes.items()}
        )
        self.norms = torch.nn.ModuleDict(
            {name: torch.nn.BatchNorm2d(o) for name, (_, o, _) in shapes.items()}
        )
        self.last = torch.nn.Conv2d(192, 3 * NUM_POINTS, 3)
        torch.nn.init.zeros_(self.last.weight)
        with torch.no_grad():
            self.last.bias.copy_(torch.cat([torch.zeros(2 * NUM_POINTS), torch.ones(NUM_POINTS)]))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images "b 3 192 192" -> points "b 468 2" in pixels, log sigma "b 468"."""
        own = {name.replace("/", "."): w for name, w in self.weights.items()}
        trunk = replace(self.trunk, weights={**self.trunk.weights, **own})
        mesh, fine, coarse = Network.__call__.__wrapped__(trunk, images)  # type: ignore[attr-defined]
        x = F.relu(self._step("fine", fine) + self._step("coarse", coarse))
        x = F.relu(self._step("low", F.relu(self._step("middle", x))))
        return read_heads((mesh, self.last(x)))

    def _step(self, name: str, x: Tensor) -> Tensor:
        conv = self.convs[name]
        pads = [0, 1, 0, 1] if conv.stride[0] == 2 else [1, 1, 1, 1]  # TensorFlow's SAME padding
        return self.norms[name](conv(F.pad(x, pads)))

    def folded(self) -> Network:
        """The same as a :class:`Network`, normalisation folded into the filters."""
        self.eval()
        weights = dict(self.trunk.weights) | {
            n.replace("/", "."): w.detach() for n, w in self.weights.items()
        }
        operations = list(self.trunk.operations)

        def conv(name: str, source: str, weight: Tensor, bias: Tensor, stride: int, padding: str) -> None:
            weights[f"{name}.1"], weights[f"{name}.2"] = weight.detach(), bias.detach()
            options = {"stride": [stride] * 2, "padding": padding, "groups": 1, "activation": ""}
            operations.append(Operation("conv2d", (source, f"{name}.1", f"{name}.2"), name, options))

        for name, source in (("fine", FINE), ("coarse", COARSE), ("middle", "mixed"), ("low", "middle+")):
            norm, filters = self.norms[name], self.convs[name]
            gain = norm.weight / (norm.running_var + norm.eps).sqrt()
            conv(
                name,
                source,
                filters.weight * gain[:, None, None, None],
                norm.bias - norm.running_mean * gain,
                filters.stride[0],
                "same",
            )
            if name == "coarse":
                operations.append(Operation("add", ("fine", "coarse"), "sum", {}))
                operations.append(Operation("relu", ("sum",), "mixed", {}))
            elif name != "fine":
                operations.append(Operation("relu", (name,), f"{name}+", {}))
        conv("head", "low+", self.last.weight, self.last.bias, 1, "valid")
        return replace(self.trunk, outputs=(MESH, "head"), operations=tuple(operations), weights=weights)


def loss_of(points: Tensor, log_sigma: Tensor, truth: Tensor) -> Tensor:
    """Negative log likelihood of the true points (Wood et al. 2022, eq. 1), far-off ones counted less."""
    squared = ((points - truth) ** 2).sum(-1)
    robust = torch.where(squared < 400, squared, 40 * squared.clamp_min(1e-6).sqrt() - 400)
    return (2 * log_sigma + 0.5 * robust * (-2 * log_sigma).exp()).mean()


def augmented(images: Tensor, points: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Other windows, mirror images, cameras, occluders: bytes "b h w 3", "b l 2" -> floats "b 3 h w", "b l 2"."""
    batch = len(images)
    x = images.permute(0, 3, 1, 2).float() / 255
    rand = lambda low, high: torch.from_numpy(rng.uniform(low, high, batch)).float()  # noqa: E731
    normal = lambda sigma: torch.from_numpy(rng.normal(0, sigma, batch)).float()  # noqa: E731
    mirrored = torch.from_numpy(rng.uniform(size=batch) < 0.5)
    x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
    other = torch.cat([SIZE_PX - points[..., :1], points[..., 1:]], -1)[:, mirror_indices()[:NUM_POINTS]]
    points = torch.where(mirrored[:, None, None], other, points)
    scale, angle = normal(0.04).exp(), normal(0.05)
    shift = torch.stack([normal(4.0), normal(4.0)], 1)
    turn = scale[:, None, None] * torch.stack(
        [torch.stack([angle.cos(), -angle.sin()], 1), torch.stack([angle.sin(), angle.cos()], 1)], 1
    )
    points = (points - SIZE_PX / 2) @ turn.transpose(1, 2) + shift[:, None] + SIZE_PX / 2
    back = torch.linalg.inv(turn)
    offset = -(back @ (shift / (SIZE_PX / 2))[..., None])
    x = F.grid_sample(
        x, F.affine_grid(torch.cat([back, offset], 2), list(x.shape), align_corners=False),
        padding_mode="border", align_corners=False,
    )  # fmt: skip
    for i in range(batch):
        if rng.uniform() < 0.35:  # something before the face: a piece of another picture, or one colour
            height, width = (int(rng.uniform(10, 80)) for _ in range(2))
            top, left = (int(rng.uniform(-20, SIZE_PX - 20)) for _ in range(2))
            rows, columns = (
                slice(max(top, 0), max(top + height, 1)),
                slice(max(left, 0), max(left + width, 1)),
            )
            patch = x[(i + 1) % batch, :, rows, columns]
            if rng.uniform() < 0.5:
                patch = torch.from_numpy(rng.uniform(0, 1, (3, 1, 1))).float().expand_as(patch)
            x[i, :, rows, columns] = patch
        blur = rng.uniform()
        if blur < 0.25:  # a small photo
            small = int(rng.uniform(48, 150))
            down = F.interpolate(x[i : i + 1], (small, small), mode="bilinear", antialias=True)
            x[i] = F.interpolate(down, (SIZE_PX, SIZE_PX), mode="bilinear")[0]
    grey = torch.from_numpy(rng.uniform(size=batch) < 0.08)[:, None, None, None]
    x = torch.where(grey, x.mean(1, keepdim=True).expand_as(x), x)
    gain = torch.stack([normal(0.08), normal(0.05), normal(0.08)], 1).exp()[:, :, None, None]
    x = x.clamp(1e-4, 1) ** normal(0.25).exp()[:, None, None, None] * gain
    x = (x - 0.5) * rand(0.75, 1.2)[:, None, None, None] + 0.5 + normal(0.05)[:, None, None, None]
    noise = rand(0.0, 0.03)[:, None, None, None] * torch.from_numpy(rng.standard_normal(x.shape, np.float32))
    return (x + noise).clamp(0, 1), points


def batches(folder: Path, options: TrainOptions, first_step: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches, a few shards mixed at a time; the folder may still be filling."""
    rng = np.random.default_rng((options.seed, first_step))
    while True:
        paths = sorted(folder.glob("???????.npz"))
        rng.shuffle(paths)
        for start in range(0, len(paths), 8):
            loaded = [np.load(path) for path in paths[start : start + 8]]
            images = np.concatenate([shard["image"] for shard in loaded])
            points = np.concatenate([shard["points"] for shard in loaded])
            order = rng.permutation(len(images))
            for at in range(0, len(order) - options.batch + 1, options.batch):
                ids = order[at : at + options.batch]
                yield augmented(torch.from_numpy(images[ids]), torch.from_numpy(points[ids]), rng)


def train(folder: Path, checkpoint: Path, options: TrainOptions, until: int | None = None) -> Network:
    """Train on the shards of a folder, to the end or ``until`` a step; goes on from the checkpoint if there is one."""
    torch.manual_seed(options.seed)
    network = SurfaceNet(AttentionMesh().network)
    head = [p for name, p in network.named_parameters() if not name.startswith("weights.")]
    groups = [
        {"params": list(network.weights.values()), "share": options.trunk_share},
        {"params": head, "share": 1.0},
    ]
    optimiser = torch.optim.AdamW(
        groups, options.learning_rate, weight_decay=options.weight_decay, foreach=True
    )
    step = 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        step = state["step"]
        optimiser.load_state_dict(state["optimiser"])
        network.load_state_dict(state["weights"])
    source, start, losses, errors = batches(folder, options, step), time.perf_counter(), [], []
    first = step
    last = options.steps if until is None else min(until, options.steps)
    while step < last:
        progress = step / options.steps
        rate = (
            options.learning_rate
            * min(1.0, (step + 1) / options.warm_up)
            * 0.5
            * (1 + math.cos(math.pi * progress))
        )
        for group in optimiser.param_groups:
            group["lr"] = rate * group["share"]
        images, truth = next(source)
        points, log_sigma = network(images)
        loss = loss_of(points, log_sigma, truth)
        if not bool(torch.isfinite(loss)):
            raise FloatingPointError(f"the loss is not finite at step {step}; lower the learning rate")
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        step += 1
        losses.append(float(loss.detach()))
        errors.append(float((points.detach() - truth).norm(dim=-1).median()))
        if step % options.keep_every == 0 or step == last:
            partial = checkpoint.with_suffix(".part")
            torch.save(
                {"step": step, "weights": network.state_dict(), "optimiser": optimiser.state_dict()}, partial
            )
            partial.replace(checkpoint)
            speed = (step - first) * options.batch / (time.perf_counter() - start)
            print(
                f"step {step}  loss {np.mean(losses[-100:]):.3f}  error {np.mean(errors[-100:]):.2f} px  {speed:.0f} pictures/s",
                flush=True,
            )
    return network.folded()


def _fixed(network: Network) -> set[str]:
    """Names of the weights of the first stage."""
    names: set[str] = set()
    for operation in network.operations:
        names.update(name for name in operation.inputs if name in network.weights)
        if operation.output == FIXED_UNTIL:
            break
    return names
