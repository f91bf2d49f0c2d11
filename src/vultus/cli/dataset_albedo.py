"""``vultus dataset albedo``: how the skin of faces differs, learnt from fitted photos. Joined to the others in :mod:`.dataset`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from ..data.albedo_set import AlbedoOptions, fits_of, learn_basis, make_textures, read_textures, write_basis
from ..errors import BadInput
from ..model.catalog import load_model


@dataclass(frozen=True)
class Albedo:
    """Mean and components of the face's albedo, from photos fitted by `vultus dataset fit`."""

    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT.npz")]
    """File for the basis. The photos' textures are kept beside it, in OUT-textures/."""
    options: Annotated[AlbedoOptions, tyro.conf.arg(name="")]
    debug: bool = False
    """Show where unexpected errors come from."""

    def run(self) -> int:
        """Make the textures that are missing, then the basis anew; 0 when it is written."""
        if self.out.suffix != ".npz":
            raise BadInput(f"-o {self.out}: a basis is one file, call it something.npz")
        model = load_model("vultus")
        total, new, paths = len(fits_of(self.options)), 0, []
        with tqdm(total=total, unit="texture", file=sys.stderr, disable=None, dynamic_ncols=True) as bar:
            for path, made in make_textures(model, self.out, self.options):
                paths.append(path)
                new += made
                bar.update()
        textures = read_textures(paths)
        basis = learn_basis(model, textures, self.options)
        write_basis(self.out, basis)
        card = basis.card
        print(
            f"{new} textures made, {total - new} were there; {total - len(textures)} fits show too little skin, {card['dropped_for_uneven_light']} too uneven light"
        )
        print(
            "tones, of photos and as weighed: "
            + ", ".join(
                f"{name} {100 * share:.0f} and {100 * card['tones_as_weighed'][name]:.0f} %"
                for name, share in card["tones_of_photos"].items()
                if share
            )
        )
        print(
            f"{len(basis.sigma)} components of {basis.size_px} x {basis.size_px} texels, {self.out.stat().st_size / 1e6:.1f} MB -> {self.out}"
        )
        return 0
