"""The manifest of a set of samples: who made it and how, under which terms, and what is in each shard."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import BadFile, BadInput
from .packed_sample import model_digest
from .recipe import write_json

MANIFEST = "manifest.json"
_FORMAT, _VERSION = "vultus samples", 1


@dataclass(frozen=True)
class ShardEntry:
    """A finished shard.

    Attributes:
        name: of the file. first, planned: which things of the maker it is made from: ``planned`` ones from number ``first`` on. samples: how many it
            holds, fewer where the maker had to pass some over. bytes, sha256: of the file. sources: how many samples of each.
    """

    name: str
    first: int
    planned: int
    samples: int
    bytes: int
    sha256: str
    sources: Mapping[str, int]


@dataclass(frozen=True)
class Manifest:
    """What :data:`MANIFEST` in a set's folder says.

    Attributes:
        maker: the command or function. options: it was run with, as JSON gives them back; a run goes on only with the same. seed: of it.
        licences: source -> terms. per_shard: things per shard. model: digest of the bundled head (:func:`.packed_sample.model_digest`).
        shards: the finished ones, in order.
    """

    maker: str
    options: Mapping[str, Any]
    seed: int
    licences: Mapping[str, str]
    per_shard: int = 500
    model: str = field(default_factory=model_digest)
    shards: Sequence[ShardEntry] = ()

    @property
    def samples(self) -> int:
        """How many there are."""
        return sum(shard.samples for shard in self.shards)

    def with_shard(self, entry: ShardEntry) -> Manifest:
        """The same with one more shard, or a shard anew."""
        others = [shard for shard in self.shards if shard.name != entry.name]
        return replace(self, shards=tuple(sorted([*others, entry], key=lambda shard: shard.first)))


def claim_set(folder: str | Path, manifest: Manifest) -> Manifest:
    """Begin a set in a folder, or go on with the one that is there.

    Returns:
        ``manifest`` with the shards that are finished.

    Raises:
        BadInput: the folder holds a set made otherwise, or something else. BadFile: it cannot be read or written.
    """
    folder = Path(folder)
    if (folder / MANIFEST).exists():
        before = read_manifest(folder)
        said, says = _claims(before), _claims(manifest)
        options = {**says["options"]}, {**said["options"]}
        other = sorted(
            key for key in {*options[0], *options[1]} if options[0].get(key) != options[1].get(key)
        )
        other += [key for key in says if key != "options" and says[key] != said[key]]
        if other:
            raise BadInput(
                f"{folder}: holds a set made with another {', '.join(other)} (see {MANIFEST}); use the same, or another -o"
            )
        return replace(manifest, shards=before.shards)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: holds something else than a set of samples; choose another -o")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadFile(f"{folder}: cannot be made ({error.strerror}); choose another -o") from error
    write_manifest(folder, manifest)
    return manifest


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of a set.

    Raises:
        BadFile: none there, damaged, of another version, or made with another bundled head.
    """
    path = Path(folder) / MANIFEST
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(said, dict) or said.get("format") != _FORMAT:
            raise ValueError(f'"format" is not "{_FORMAT}"')
        if said.get("version") != _VERSION:
            raise BadFile(
                f"{path}: version {said.get('version')}, this vultus reads {_VERSION}; make the set anew"
            )
        shards = tuple(ShardEntry(**entry) for entry in said["shards"])
        found = Manifest(**{key: said[key] for key in ("maker", "options", "seed", "licences", "per_shard", "model")}, shards=shards)  # fmt: skip
    except FileNotFoundError:
        raise BadFile(
            f"{path}: not found; give a folder that `vultus dataset` made with samples in it"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFile(f"{path}: cannot be read ({error}); copy the set again, or make it anew") from error
    if found.model != model_digest():
        raise BadFile(f"{path}: made with another bundled head ({found.model}, here {model_digest()}); use that version of vultus, or make the set anew")  # fmt: skip
    return found


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Write it, whole or not at all.

    Raises:
        BadFile: it cannot be written.
    """
    document = {"format": _FORMAT, "version": _VERSION, **_claims(manifest), "samples": manifest.samples}
    write_json(Path(folder) / MANIFEST, document | {"shards": [asdict(shard) for shard in manifest.shards]})


def _claims(manifest: Manifest) -> dict[str, Any]:
    """All but the shards, as JSON gives it back."""
    return json.loads(json.dumps({
        "maker": manifest.maker, "model": manifest.model, "seed": manifest.seed, "options": dict(manifest.options),
        "licences": dict(manifest.licences), "per_shard": manifest.per_shard,
    }))  # fmt: skip
