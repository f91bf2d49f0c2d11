"""What a training run is: one frozen value, read from a file, saved inside every checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import BadFile, BadInput
from .fields import changed, from_document, to_document

_BUNDLED = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate over time.

    Attributes:
        kind: constant; halved every so many epochs (the PRNet paper's); cosine from the top to ``final`` of it.
        rate: the highest learning rate. warmup_steps: it rises to it in a straight line over so many.
        halve_every_epochs, final: see kind.
    """

    kind: Literal["constant", "halved", "cosine"] = "cosine"
    rate: float = 1e-3
    warmup_steps: int = 0
    halve_every_epochs: float = 5.0
    final: float = 0.01

    def __post_init__(self) -> None:
        _within(self, rate=(0, 10), warmup_steps=(0, 10**9), halve_every_epochs=(1e-6, 10**6), final=(0, 1))


@dataclass(frozen=True)
class OptimiserConfig:
    """Adam (decay as an L2 term in the gradient) or AdamW (decay apart from it); biases, norms and other vectors do not decay."""

    kind: Literal["adam", "adamw"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    decay: float = 1e-4
    clip_norm: float | None = 1.0
    """Gradients longer than this are shortened to it; null: never."""

    def __post_init__(self) -> None:
        _within(self, decay=(0, 10))
        if not all(0 <= beta < 1 for beta in self.betas):
            raise BadInput(f"betas {list(self.betas)}: both in [0, 1)")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise BadInput(f"clip_norm {self.clip_norm}: above 0, or null for no clipping")


@dataclass(frozen=True)
class AugmentConfig:
    """What is done to a training sample by chance; the defaults are the PRNet paper's (Feng et al., ECCV 2018, section 3.3) where it gives numbers.

    Attributes:
        rotation_deg: in-plane, up to this either way. translation: up to this share of the crop either way, in x and in y.
        scale: the face is drawn so many times as large, uniform between the two.
        colour: each channel is multiplied by a number between the two.
        occluders: chance that patches of noise cover parts of the crop. most_occluders: so many at most. mirror: chance of left and right exchanged.
        soften: chance that the crop is shrunk up to five times and enlarged again, as faces far from the camera are. grey: chance that it loses its colours.
    """

    rotation_deg: float = 45.0
    translation: float = 0.1
    scale: tuple[float, float] = (0.9, 1.2)
    colour: tuple[float, float] = (0.6, 1.4)
    occluders: float = 0.5
    most_occluders: int = 3
    mirror: float = 0.0
    soften: float = 0.0
    grey: float = 0.0

    def __post_init__(self) -> None:
        _within(
            self,
            rotation_deg=(0, 180),
            translation=(0, 0.5),
            occluders=(0, 1),
            most_occluders=(0, 20),
            mirror=(0, 1),
            soften=(0, 1),
            grey=(0, 1),
        )
        for name in ("scale", "colour"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise BadInput(f"{name} {[low, high]}: two positive numbers, the smaller one first")


@dataclass(frozen=True)
class TrainConfig:
    """A run.

    Attributes:
        task: what is learnt (:data:`vultus.train.tasks.TASKS`). options: of the task: network, loss, crop.
        seed: of weights, order, augmentation. epochs, steps: how long; steps count where both are given.
        batch: samples per step over all processes together.
        precision: bf16: autocast while training (validation is float32). channels_last: memory layout of images and weights;
            torch 2.13 crashes with it on a CPU where a strided 1x1 convolution has fewer than 16 channels.
        average: decay of the running average of the weights that is validated and exported; 0: the weights themselves.
        broken: whether samples that cannot be read are skipped, and reported, or end the run.
        workers: processes that read samples; 0: this one. Which samples and how they are augmented does not depend on it.
    """

    task: str
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    epochs: float = 10.0
    steps: int | None = None
    batch: int = 16
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    precision: Literal["bf16", "fp32"] = "fp32"
    channels_last: bool = False
    average: float = 0.999
    broken: Literal["skip", "stop"] = "skip"
    workers: int = 0
    log_every: int = 50
    validate_every: int = 1000
    validation_samples: int | None = None
    picture_every: int = 1000
    checkpoint_every: int = 1000
    keep: int = 3
    tensorboard: bool = False

    def __post_init__(self) -> None:
        _within(
            self, seed=(0, 2**31), batch=(1, 10**6), average=(0, 0.999999), workers=(0, 256), keep=(1, 10**6)
        )
        for name in ("epochs", "log_every", "validate_every", "picture_every", "checkpoint_every"):
            if not getattr(self, name) > 0:
                raise BadInput(f"{name} {getattr(self, name)}: above 0")
        for name in ("steps", "validation_samples"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise BadInput(f"{name} {getattr(self, name)}: at least 1, or null")


MAY_CHANGE = frozenset({
    "epochs", "steps", "workers", "log_every", "validate_every", "picture_every", "checkpoint_every", "keep", "tensorboard",
    "broken",
})  # fmt: skip
"""Keys that a run may be continued with other values of; how long it lasts moves a cosine schedule."""


def bundled_configs() -> tuple[str, ...]:
    """Names that :func:`read_config` knows."""
    return tuple(sorted(path.stem for path in _BUNDLED.glob("*.json")))


def read_config(source: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """A config from a JSON or TOML file, or by the name of one that ships with vultus.

    Args:
        overrides: ``KEY=VALUE``, the key dotted into sections (``schedule.rate=3e-4``), the value JSON or else a text.

    Raises:
        BadFile: no such file or it is not JSON (TOML). BadInput: a key or value that is not known, an override without "=".
    """
    path = Path(source)
    if str(source) in bundled_configs() and not path.exists():
        path = _BUNDLED / f"{source}.json"
    document = _document(path)
    for override in overrides:
        _override(document, override)
    return from_document(TrainConfig, document, f"{path}" if not overrides else f"{path} with --set")


def config_of(document: Mapping[str, Any], where: str) -> TrainConfig:
    """The config inside a checkpoint or an export."""
    return from_document(TrainConfig, document, where)


def config_document(config: TrainConfig) -> dict[str, Any]:
    """As it is stored."""
    return to_document(config)


def conflicts(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Keys in which a stored config keeps a run from going on with another one."""
    return [name for name in changed(before, after) if name.split(".")[0] not in MAY_CHANGE]


def _document(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".toml":
            try:
                import tomllib  # pyright: ignore[reportMissingImports]  # Python 3.11
            except ImportError as error:
                raise BadFile(f"{path}: TOML needs Python 3.11; write the config as JSON") from error
            document = tomllib.loads(text)
        else:
            document = json.loads(text)
    except OSError as error:
        known = ", ".join(bundled_configs())
        raise BadFile(
            f"{path}: cannot be read ({error.strerror}); give a config file or one of {known}"
        ) from error
    except ValueError as error:
        raise BadFile(
            f"{path}: is not a config ({error}); it must be JSON, or TOML in a file NAME.toml"
        ) from error
    if not isinstance(document, dict):
        raise BadFile(f"{path}: is not a config; it must be an object of keys and values")
    return document


def _override(document: dict[str, Any], text: str) -> None:
    """Set one dotted key of ``document`` in place."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BadInput(f"--set {text}: write KEY=VALUE, for example schedule.rate=3e-4")
    *sections, name = key.split(".")
    place = document
    for section in sections:
        inner = place.setdefault(section, {})
        if not isinstance(inner, dict):
            raise BadInput(f"--set {text}: {section} is a value, not a section")
        place = inner
    try:
        place[name] = json.loads(value)
    except ValueError:
        place[name] = value


def _within(config: object, **limits: tuple[float, float]) -> None:
    for name, (low, high) in limits.items():
        value = getattr(config, name)
        if not low <= value <= high:
            raise BadInput(f"{name} {value}: choose {low:g} to {high:g}")
