"""The albedo basis against the chromophore axes per vertex, on people that it was not learnt from.

    python benchmarks/albedo_basis.py --fits NAME=DIR ... [--basis FILE.npz] [--cache DIR] [--limit N] [--save]

DIR are folders of `vultus dataset fit`; their light is taken off as for learning, but left-right differences stay as they are. Every method explains the texels of
skin that a photo shows (confidence above a half): the mean alone; the best least-squares fit of all chromophore axes, spread over the chart; the
basis with its first components (most probable code). Completion: the same from the left half of the face, measured on the right half where both are seen, against
the left half mirrored. Means over people of each person's RMS error (linear light) and mean colour difference (CIE 1976); 95 % intervals resample people.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
import torch
from report import Report, Row, write
from torch import Tensor
from tqdm import tqdm

from vultus.data.albedo_set import AlbedoOptions, make_textures, read_textures
from vultus.data.albedo_texture import ChartAlbedo
from vultus.evaluate import summary
from vultus.evaluate.benchmark import Evaluation, ItemScore
from vultus.model.albedo_basis import AlbedoBasis, load_albedo_basis, read_albedo_basis
from vultus.model.catalog import load_model
from vultus.model.morphable import MorphableModel
from vultus.render.bake import bake, dilate
from vultus.render.lab import TONES, lab_from_linear, tone_of

COUNTS = (8, 20, 40, 80)
SURE = 0.5
AXES, MEAN, MIRROR = "chromophore axes", "mean", "mirrored"
RESTS = "seen", "completed"


def chromophores(model: MorphableModel, size_px: int) -> tuple[Tensor, Tensor]:
    """The model's albedo over the chart: mean "3 s s" and axes "a 3 s s", linear light."""
    assert model.chart is not None
    topology = model.chart.topology
    maps = torch.cat([model.albedo_mean[None], model.albedo])
    drawn = [dilate(*bake(part, topology, torch.arange(len(topology.triangles)), size_px)) for part in maps]
    return drawn[0], torch.stack(drawn[1:])


def least_squares(albedo: Tensor, weight: Tensor, mean: Tensor, axes: Tensor) -> Tensor:
    """The best texture "3 s s" of a few axes, no prior."""
    chosen = weight > 0
    design = (axes[:, :, chosen] * weight[chosen].sqrt()).flatten(1)
    right = ((albedo - mean)[:, chosen] * weight[chosen].sqrt()).flatten()
    code = torch.linalg.lstsq(design.T, right[:, None]).solution[:, 0]
    return (mean + torch.einsum("a,acvu->cvu", code, axes)).clamp(0, 1)


def errors(found: Tensor, truth: Tensor, chosen: Tensor) -> tuple[float, float]:
    """RMS in linear light, in percent of white, and mean colour difference, over chosen texels."""
    rest = (found - truth)[:, chosen]
    lab = lab_from_linear(found[:, chosen]) - lab_from_linear(truth[:, chosen])
    return 100 * float(rest.square().mean().sqrt()), float(lab.square().sum(0).sqrt().mean())


def explained(
    person: ChartAlbedo, basis: AlbedoBasis, axes: tuple[Tensor, Tensor], weight: Tensor
) -> dict[str, Tensor]:
    """What each method makes of the weighed texels: textures by name."""
    counts = sorted({min(count, len(basis.sigma)) for count in COUNTS})
    found = {f"basis, {count}": basis.texture(basis.fit(person.albedo, weight, number=count)) for count in counts}  # fmt: skip
    return {MEAN: basis.texture(torch.zeros(0)), AXES: least_squares(person.albedo, weight, *axes)} | found


def score(person: ChartAlbedo, basis: AlbedoBasis, axes: tuple[Tensor, Tensor], group: str) -> ItemScore:
    """All errors of all methods on one person."""
    sure = (person.confidence > SURE) & basis.known
    weight = person.confidence * sure
    values: dict[str, float] = {}
    for name, texture in explained(person, basis, axes, weight).items():
        values[f"seen, {name}, rms"], values[f"seen, {name}, lab"] = errors(texture, person.albedo, sure)
    left = torch.zeros_like(sure)
    left[:, : left.shape[1] // 2] = True
    other = sure & sure.flip(-1) & ~left
    if int(other.sum()) > 200:
        halves = explained(person, basis, axes, weight * left) | {MIRROR: person.albedo.flip(-1)}
        for name, texture in halves.items():
            values[f"completed, {name}, rms"], values[f"completed, {name}, lab"] = errors(texture, person.albedo, other)  # fmt: skip
    best = f"basis, {min(COUNTS[-1], len(basis.sigma))}"
    for rest, against in (("seen", AXES), ("completed", AXES), ("completed", MIRROR)):
        for unit in ("rms", "lab"):
            if f"{rest}, {against}, {unit}" in values:
                values[f"{rest}, {best} minus {against}, {unit}"] = values[f"{rest}, {best}, {unit}"] - values[f"{rest}, {against}, {unit}"]  # fmt: skip
    return ItemScore(person.key, person.key, group, values)


def measure(fits: Mapping[str, Path], basis: AlbedoBasis, cache: Path, limit: int | None = None) -> Report:
    model = load_model("vultus")
    axes = chromophores(model, basis.size_px)
    rows, notes, details = [], [], {}
    for group, folder in fits.items():
        options = AlbedoOptions((folder,), size_px=basis.size_px)
        paths = [
            path for path, _ in tqdm(make_textures(model, cache / group, options), desc=group, leave=False)
        ]
        people = read_textures(paths)[:limit]
        scores = [score(person, basis, axes, TONES[tone_of(person.typology_deg)]) for person in tqdm(people, desc=group, leave=False)]  # fmt: skip
        names = list(dict.fromkeys(name for item in scores for name in item.values))
        summed = {
            name: summary.row(name, "dE" if name.endswith("lab") else "%", scores, name) for name in names
        }
        print(summary.text(Evaluation(f"{group}: {len(scores)} people", "albedo basis", tuple(summed.values()), (), tuple(scores))))  # fmt: skip
        best = f"basis, {min(COUNTS[-1], len(basis.sigma))}"
        for tone in TONES:
            some = [item for item in scores if item.group == tone]
            if some:
                mean = lambda name: summary.row(name, "", some, name).value  # noqa: E731, B023
                notes.append(f"{group}, {tone} ({len(some)}): dE of what is seen {mean(f'seen, {MEAN}, lab'):.2f} mean, {mean(f'seen, {AXES}, lab'):.2f} axes, {mean(f'seen, {best}, lab'):.2f} basis")  # fmt: skip
        for name, row in summed.items():
            trivial = summed.get(f"{name.split(',')[0]}, {AXES}, {name.split(', ')[-1]}")
            rows.append(Row(f"{group}: {name}", row.value, row.unit, trivial.value if trivial else None))
            details[f"{group}: {name}"] = [row.low, row.high, row.count]
    return Report("albedo_basis", tuple(rows), ("trivial: the chromophore axes; details: 95 % intervals and people", *notes), details)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fits", nargs="+", required=True, metavar="NAME=DIR")
    parser.add_argument("--basis", type=Path)
    parser.add_argument(
        "--cache", type=Path, default=Path("/tmp/vultus-albedo"), help="textures are kept here"
    )
    parser.add_argument("--limit", type=int)
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = read_albedo_basis(arguments.basis) if arguments.basis else load_albedo_basis()
    folders = {name: Path(folder) for name, folder in (pair.split("=", 1) for pair in arguments.fits)}
    arguments.cache.mkdir(parents=True, exist_ok=True)
    report = measure(folders, chosen, arguments.cache, arguments.limit)
    print("\n".join(report.notes))
    if arguments.save:
        write(report)
