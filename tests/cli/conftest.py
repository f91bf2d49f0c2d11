"""Running the command line in this process, with and without the real reconstruction behind it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
import torch
from synthetic_model import synthetic_reconstruction

from vultus.cli.main import main
from vultus.model.result import Reconstruction


@dataclass(frozen=True)
class Run:
    """How a command line ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def vultus(capsys) -> Callable[..., Run]:
    """Run ``vultus ARGUMENTS`` and never let an exception through."""

    def run(*arguments: object) -> Run:
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = int(end.code or 0)
        captured = capsys.readouterr()
        return Run(status, captured.out, captured.err)

    return run


@dataclass
class FakeStage:
    """Stands for the reconstruction: per photo stem a number of faces or an exception to raise; one face unless told."""

    plan: dict[str, int | BaseException] = field(default_factory=dict)
    calls: list[tuple[Path, dict]] = field(default_factory=list)

    def reconstruct_all(self, photo: Path, **options) -> tuple[Reconstruction, ...]:
        self.calls.append((photo, options))
        planned = self.plan.get(photo.stem, 1)
        if isinstance(planned, BaseException):
            raise planned
        return (synthetic_reconstruction(texture_size=16),) * planned

    @property
    def photos(self) -> list[str]:
        return [photo.name for photo, _ in self.calls]


@pytest.fixture
def stage(monkeypatch) -> FakeStage:
    fake = FakeStage()
    module = ModuleType("vultus.stages.reconstruct")
    module.reconstruct_all = fake.reconstruct_all  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vultus.stages.reconstruct", module)
    monkeypatch.setattr("vultus.cli.batch.overlay", lambda _face: torch.zeros(3, 8, 8))
    return fake


@pytest.fixture
def photos(tmp_path) -> Callable[..., list[Path]]:
    """Make files of different contents; what is in them matters only to the real reconstruction."""

    def make(*names: str) -> list[Path]:
        paths = [tmp_path / "photos" / name for name in names]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"bytes of {path}".encode())
        return paths

    return make
