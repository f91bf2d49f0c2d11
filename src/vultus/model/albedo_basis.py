"""How the skin of faces differs: a mean and components over the face chart, learnt from photos (docs/cards/albedo.md).

Beside :attr:`MorphableModel.albedo`, whose few axes per vertex fits of light use: this one has eyebrows, lips, beards and freckles.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..errors import AssetMissing, BadFile, BadInput
from .bundled import ASSETS

ALBEDO = ASSETS / "albedo.npz"
_PER_BYTE = 127
_TOGETHER = 256.0
"""So many values of a texture count as one observation: what a code does not explain (folds, what is left of the light) spans nine texels or so. Half of a
face says most about the other half with this number (docs/cards/albedo.md)."""


@dataclass(frozen=True)
class AlbedoBasis:
    """Textures of the face chart as linear functions of a code, in the logarithm of albedo, or in albedo itself.

    Attributes:
        mean: "3 s s". components: "k 3 s s" of length one. sigma: "k", falling; codes are in units of it.
        known: "s s" bool, texels that are skin; elsewhere (eyes, mouth, beside the chart) maps go on smoothly and mean nothing.
        noise: standard deviation of real textures about what any code gives.
        offset: maps hold log(albedo + offset); None: albedo.
        card: what it was made from, how, and what was measured.
    """

    mean: Tensor
    components: Tensor
    sigma: Tensor
    known: Tensor
    noise: float
    offset: float | None
    card: Mapping[str, Any]

    @property
    def size_px(self) -> int:
        """Texels per side."""
        return self.mean.shape[-1]

    def texture(self, code: Tensor) -> Tensor:
        """Linear-light albedo "... 3 s s" of codes "... k" in units of sigma; shorter codes use the first components."""
        count = code.shape[-1]
        if count > len(self.sigma):
            raise BadInput(f"a code of {count} numbers for an albedo basis of {len(self.sigma)} components")
        change = (code * self.sigma[:count]) @ self.components[:count].flatten(1)
        return self._decoded(self.mean + change.unflatten(-1, self.mean.shape))

    def fit(self, texture: Tensor, confidence: Tensor, *, number: int | None = None) -> Tensor:
        """The most probable code "k" of a texture that is seen in part; zero where nothing is.

        Minimises confidence (texture - mean - code)^2 / (256 noise^2) + code^2, which is linear: neighbouring texels err together (:data:`_TOGETHER`).

        Args:
            texture: "3 s s" linear albedo. confidence: "s s" in [0, 1]. number: of components to use; all.
        """
        if texture.shape != self.mean.shape or confidence.shape != self.mean.shape[1:]:
            raise BadInput(
                f"a texture {tuple(texture.shape)} with confidence {tuple(confidence.shape)} for an albedo basis of {self.size_px} texels"
            )
        chosen = (confidence > 0) & self.known
        weight = confidence[chosen]
        loadings = (self.components[:number] * self.sigma[:number, None, None, None])[:, :, chosen].flatten(1)
        apart = (self._coded(texture) - self.mean)[:, chosen]
        doubled = weight.expand(3, -1).flatten()
        normal = (loadings * doubled) @ loadings.T + _TOGETHER * self.noise**2 * torch.eye(len(loadings))
        return torch.linalg.solve(normal, loadings @ (apart * weight).flatten())

    def resized(self, size_px: int) -> AlbedoBasis:
        """The same at another size; components are no longer exactly of length one, but codes mean the same."""
        if size_px == self.size_px:
            return self
        to = lambda maps: F.interpolate(maps, (size_px, size_px), mode="bilinear", align_corners=False)  # noqa: E731
        known = to(self.known[None, None].float())[0, 0] > 0.99
        return AlbedoBasis(to(self.mean[None])[0], to(self.components), self.sigma, known, self.noise, self.offset, self.card)  # fmt: skip

    def _coded(self, albedo: Tensor) -> Tensor:
        return albedo if self.offset is None else (albedo + self.offset).log()

    def _decoded(self, coded: Tensor) -> Tensor:
        return (coded if self.offset is None else coded.exp() - self.offset).clamp(0, 1)


def random_code(basis: AlbedoBasis, rng: np.random.Generator, *, within: float = 2.5) -> Tensor:
    """Somebody's code "k": standard normal, redrawn beyond so many sigmas."""
    code = rng.normal(0, 1, len(basis.sigma))
    while (far := np.abs(code) > within).any():
        code[far] = rng.normal(0, 1, int(far.sum()))
    return torch.from_numpy(code).float()


@lru_cache(maxsize=1)
def load_albedo_basis() -> AlbedoBasis:
    """The basis that ships with the bundled head; later calls give the same object.

    Raises:
        AssetMissing: the package was installed without its data. BadFile: the asset is damaged.
    """
    if not ALBEDO.is_file():
        raise AssetMissing(
            f"{ALBEDO}: not found; the package was installed without its data, reinstall vultus"
        )
    return read_albedo_basis(ALBEDO)


def read_albedo_basis(path: Path) -> AlbedoBasis:
    """A basis from its file.

    Raises:
        BadFile: missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            number = lambda name: torch.from_numpy(file[name].astype(np.float32))  # noqa: E731
            mean, sigma, offset = number("mean"), number("sigma"), float(file["offset"])
            components = number("components") * number("steps")[:, None, None, None]
            known = torch.from_numpy(file["known"].astype(bool))
            if components.shape != (len(sigma), *mean.shape) or known.shape != mean.shape[1:]:
                raise ValueError("maps that do not belong together")
            if not all(bool(torch.isfinite(part).all()) for part in (mean, components, sigma)):
                raise ValueError("numbers that are none")
            return AlbedoBasis(mean, components, sigma, known, float(file["noise"]), offset if offset > 0 else None, json.loads(str(file["card"])))  # fmt: skip
    except Exception as error:
        raise BadFile(
            f"{path}: not an albedo basis ({error}); make it again with vultus dataset albedo, or reinstall vultus"
        ) from error


def fields_of(basis: AlbedoBasis) -> dict[str, NDArray[Any]]:
    """What a file of a basis holds: the mean as float16, components as bytes with a step each."""
    steps = basis.components.flatten(1).abs().amax(1) / _PER_BYTE
    whole = (basis.components / steps[:, None, None, None]).round().to(torch.int8)
    return {
        "mean": basis.mean.numpy().astype(np.float16), "components": whole.numpy(), "steps": steps.numpy(),
        "sigma": basis.sigma.numpy(), "known": basis.known.numpy(), "noise": np.array(basis.noise, np.float32),
        "offset": np.array(basis.offset or 0.0, np.float32), "card": np.array(json.dumps(basis.card)),
    }  # fmt: skip
