"""Shards: samples come back as they were, finished shards stay, any place of any order is reached, and damage is told, not fatal."""

import dataclasses
import io
import json
import pickle
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vultus.data.manifest import MANIFEST, Manifest, claim_set, read_manifest
from vultus.data.packed_sample import (
    ARRAYS,
    FACTS,
    IMAGE,
    MASK,
    STEP_MM,
    _joined,
    _planes,
    _walk,
    pack,
    unpack,
)
from vultus.data.sample import Sample
from vultus.data.shards import (  # fmt: skip
    ShardTask,
    damaged_shards,
    missing_shards,
    open_sets,
    read_samples,
    write_shard,
    write_shards,
)
from vultus.errors import BadFile, BadInput
from vultus.model.bundled import load
from vultus.model.deformation import deformation_offsets
from vultus.model.face import FaceCode

TERMS = {"here": "ours", "there": "theirs"}


@pytest.fixture(scope="module")
def model():
    return load()


def make_sample(model, number: int, *, coded: bool = True, size: int = 24) -> Sample:
    rng = np.random.default_rng(number)
    identity = rng.normal(0, 1, len(model.identity_mm)).astype(np.float32)
    expression = np.zeros(len(model.expression_mm), np.float32)
    expression[rng.integers(len(expression), size=3)] = rng.uniform(0, 1, 3)
    deformation = np.round(rng.normal(0, 1, (3, 16, 16)), 2).astype(np.float32)
    code = FaceCode(torch.from_numpy(identity), torch.from_numpy(expression), torch.zeros(len(model.albedo)))
    vertices = model.vertices(code) + deformation_offsets(model, torch.from_numpy(deformation))
    return Sample(
        key=f"s{number:04d}", source="here" if number % 2 else "there", person=f"p{number // 3}",
        image=np.full((size, size + 8, 3), rng.integers(256, size=3), np.uint8), mask=np.where(rng.random((size, size + 8)) > 0.5, 255, 0).astype(np.uint8),
        vertices_mm=vertices.numpy(), focal_px=float(rng.uniform(300, 900)), principal_px=rng.normal(size=2).astype(np.float32),
        T_camera_head=rng.normal(size=(4, 4)).astype(np.float32), landmarks_px=rng.normal(size=(68, 3)).astype(np.float32),
        code={"identity": identity, "expression": expression} if coded else {}, maps={"deformation_mm": deformation} if coded else {},
        light=rng.normal(size=(3, 9)).astype(np.float32) if number % 2 else None,
    )  # fmt: skip


@dataclasses.dataclass
class Counting:
    """A source that remembers what it was asked for; some numbers cannot be made."""

    samples: list[Sample]
    broken: tuple[int, ...] = ()
    asked: list[int] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int, /) -> Sample | None:
        self.asked.append(number)
        return None if number in self.broken else self.samples[number]


@pytest.fixture(scope="module")
def samples(model) -> list[Sample]:
    return [make_sample(model, i) for i in range(23)]


def manifest(**changes) -> Manifest:
    return dataclasses.replace(Manifest("a test", {"a": 1, "b": [1, 2]}, 5, TERMS, per_shard=4), **changes)


@pytest.fixture
def folder(samples, tmp_path) -> Path:
    list(write_shards(samples, tmp_path / "set", manifest()))
    return tmp_path / "set"


def keys(stream) -> list[str]:
    return [sample.key for sample in stream]


def test_a_sample_comes_back(samples):
    for sample in samples[:2]:
        files = pack(sample, quality=95)
        with np.load(io.BytesIO(files[ARRAYS])) as arrays:
            assert "vertex_steps" not in arrays.files  # code and deformation explain them
        back = unpack(files)
        assert np.abs(back.vertices_mm - sample.vertices_mm).max() < 1e-3
        for name in ("key", "source", "person", "focal_px"):
            assert getattr(back, name) == getattr(sample, name)
        for name in ("principal_px", "T_camera_head", "landmarks_px", "mask"):
            assert np.array_equal(getattr(back, name), getattr(sample, name)), name
        assert back.image.shape == sample.image.shape and np.abs(back.image.astype(int) - sample.image).max() < 6  # fmt: skip
        assert all(np.array_equal(back.code[name], sample.code[name]) for name in sample.code)
        assert np.allclose(back.maps["deformation_mm"], sample.maps["deformation_mm"], atol=1e-5)
        assert (back.light is None) == (sample.light is None)
        if sample.light is not None and back.light is not None:
            assert np.array_equal(back.light, sample.light)
        assert pack(sample, quality=95) == files  # the same bytes at any time of day


def test_vertices_that_nothing_explains_are_exact_to_a_step(model):
    rng = np.random.default_rng(0)
    plain = make_sample(model, 1, coded=False)
    rough = plain.vertices_mm * 1.07 + rng.normal(0, 0.3, plain.vertices_mm.shape) + [3, -2, 40]
    for vertices in (plain.vertices_mm, rough.astype(np.float32)):
        back = unpack(pack(dataclasses.replace(plain, vertices_mm=vertices)))
        assert np.abs(back.vertices_mm - vertices).max() <= 0.5 * STEP_MM + 1e-4
        assert np.linalg.norm(back.vertices_mm - vertices, axis=1).max() < 0.01
    # A code that is not quite right: the rest is told.
    off = dataclasses.replace(make_sample(model, 2), vertices_mm=make_sample(model, 2).vertices_mm + 0.02)
    assert np.abs(unpack(pack(off)).vertices_mm - off.vertices_mm).max() <= 0.5 * STEP_MM + 1e-4


def test_maps_come_back_in_their_steps(model):
    rng = np.random.default_rng(0)
    maps = {"deformation_mm": rng.normal(0, 2, (3, 9, 9)), "displacement_mm": rng.normal(0, 0.3, (32, 32)), "albedo": rng.random((3, 8, 8)).astype(np.float16)}  # fmt: skip
    back = unpack(pack(dataclasses.replace(make_sample(model, 3), maps=maps))).maps
    assert set(back) == set(maps)
    assert np.abs(back["deformation_mm"] - maps["deformation_mm"]).max() < 0.00501
    assert np.abs(back["displacement_mm"] - maps["displacement_mm"]).max() < 0.00101
    assert np.array_equal(back["albedo"], maps["albedo"])


def test_integers_and_the_walk_are_undone():
    rng = np.random.default_rng(0)
    for span in (1, 100, 40_000, 2**28):
        values = rng.integers(-span, span, (50, 3)).astype(np.int32)
        assert np.array_equal(_joined(_planes(values)), values)
    assert len(_planes(np.zeros((4, 3), np.int32))) == 1
    walk = _walk()
    values = rng.integers(-999, 999, (len(walk.rule), 3)).astype(np.int32)
    assert np.array_equal(walk.values(walk.differences(values)), values)
    # A field that grows evenly is foretold almost everywhere.
    even = np.rint(20 * load().mean_mm.numpy()).astype(np.int32)
    assert np.median(np.abs(walk.differences(even))) < 0.25 * np.median(np.abs(even - even[walk.rule[:, 0].clip(0, len(even) - 1)]))  # fmt: skip


@pytest.mark.parametrize("change", [
    {"image": np.zeros((4, 4, 3), np.float32)}, {"mask": np.zeros((5, 5), np.uint8)}, {"vertices_mm": np.zeros((7, 3), np.float32)},
    {"vertices_mm": np.full((19883, 3), np.nan, np.float32)},
])  # fmt: skip
def test_malformed_samples_are_refused(samples, change):
    with pytest.raises(BadInput, match="s0001"):
        pack(dataclasses.replace(samples[1], **change))


def test_the_files_are_plain_webdataset(folder):
    with tarfile.open(folder / "shard-000001.tar") as archive:
        names = archive.getnames()
    assert names == [f"s{i:04d}.{ending}" for i in range(4, 8) for ending in (IMAGE, MASK, ARRAYS, FACTS)]
    said = json.loads((folder / MANIFEST).read_text())
    assert (
        said["samples"] == 23 and said["licences"] == TERMS and said["seed"] == 5 and len(said["shards"]) == 6
    )
    assert said["shards"][0]["sources"] == {"there": 2, "here": 2}
    assert damaged_shards(folder) == []


def test_finished_shards_stay_and_more_can_be_added(samples, tmp_path):
    source = Counting(samples[:10], broken=(6,))
    assert [made for _, made in write_shards(source, tmp_path / "set", manifest())] == [True, True, True]
    before = {path.name: path.read_bytes() for path in (tmp_path / "set").glob("*.tar")}
    assert read_manifest(tmp_path / "set").samples == 9
    source = Counting(samples, broken=(6,))
    again = [(path.name, made) for path, made in write_shards(source, tmp_path / "set", manifest())]
    assert [made for _, made in again] == [False, False, True, True, True, True]
    assert source.asked == list(range(8, 23))  # the third shard was not full
    assert (tmp_path / "set" / "shard-000001.tar").read_bytes() == before["shard-000001.tar"]
    # All in one go gives the same bytes; so does an iterable, where a made-up gap is not counted.
    list(write_shards(Counting(samples, broken=(6,)), tmp_path / "other", manifest()))
    for path in (tmp_path / "set").glob("*.tar"):
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()
    assert [made for _, made in write_shards(iter(samples[:5]), tmp_path / "third", manifest())] == [True, True]  # fmt: skip
    assert [made for _, made in write_shards(iter(samples[:7]), tmp_path / "third", manifest())] == [False, True]  # fmt: skip
    assert keys(read_samples(tmp_path / "third", shuffle=False)) == [f"s{i:04d}" for i in range(7)]


def test_a_full_disk_is_one_line_and_the_run_goes_on(samples, tmp_path, monkeypatch):
    original = tarfile.TarFile.addfile

    def full(archive, member, *rest):
        if member.name.startswith("s0005"):
            raise OSError(28, "No space left on device")
        return original(archive, member, *rest)

    with monkeypatch.context() as broken:
        broken.setattr(tarfile.TarFile, "addfile", full)
        with pytest.raises(BadFile, match=r"shard-000001\.tar.*free some space"):
            list(write_shards(samples, tmp_path / "set", manifest()))
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [MANIFEST, "shard-000000.tar"]
    assert [made for _, made in write_shards(samples, tmp_path / "set", manifest())] == [False] + 5 * [True]


def test_a_folder_is_claimed(folder, samples, tmp_path):
    for changes, says in (({"options": {"a": 2, "b": [1, 2]}}, "another a "), ({"seed": 6}, "another seed"), ({"per_shard": 5}, "per_shard")):  # fmt: skip
        with pytest.raises(BadInput, match=says):
            claim_set(folder, manifest(**changes))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.txt").write_text("x")
    with pytest.raises(BadInput, match="something else"):
        claim_set(tmp_path / "x", manifest())
    with pytest.raises(BadInput, match="licence"):
        list(write_shards([dataclasses.replace(samples[0], source="?")], tmp_path / "y", manifest()))
    with pytest.raises(BadInput, match="without dots"):
        write_shard(ShardTask(tmp_path / "a.tar", 0, 1), [dataclasses.replace(samples[0], key="a.b")], TERMS)
    path = folder / MANIFEST
    said = json.loads(path.read_text())
    for wrong, says in (("[]", "cannot be read"), ("{", "cannot be read"), (json.dumps(said | {"version": 9}), "version 9"), (json.dumps(said | {"model": "0"}), "another bundled head")):  # fmt: skip
        path.write_text(wrong)
        with pytest.raises(BadFile, match=says):
            read_manifest(folder)
    path.unlink()
    with pytest.raises(BadFile, match="not found"):
        read_manifest(folder)


def test_an_epoch_is_every_sample_once_in_an_order_of_its_own(folder):
    first, again, other = (keys(read_samples(folder, seed=1, epoch=e)) for e in (0, 0, 1))
    assert first == again and first != other
    assert sorted(first) == sorted(other) == [f"s{i:04d}" for i in range(23)]
    assert keys(read_samples(folder, seed=2)) != first
    assert keys(read_samples(folder, shuffle=False)) == sorted(first)
    assert len({key[3:] for key in first[:8]}) > 4  # not one shard after the other


def test_any_place_is_reached(folder):
    whole = keys(read_samples(folder, seed=1, epoch=3))
    for start in (0, 1, 9, 22, 23, 40):
        assert keys(read_samples(folder, seed=1, epoch=3, start=start)) == whole[start:]
    stream = read_samples(folder, seed=1, epoch=3)
    for _ in range(5):
        next(stream)
    assert keys(read_samples(folder, seed=1, epoch=3, start=stream.position)) == whole[5:]
    parts = [keys(read_samples(folder, seed=1, epoch=3, start=2, rank=r, world=3)) for r in range(3)]
    assert [parts[i % 3][i // 3] for i in range(21)] == whole[2:]
    cases: tuple[dict[str, Any], ...] = ({"rank": 1}, {"start": -1}, {"world": 0}, {"epoch": -1})
    for wrong in cases:
        with pytest.raises(BadInput):
            read_samples(folder, **wrong)


def test_sets_are_mixed_by_weights(folder, samples, tmp_path):
    small = [dataclasses.replace(sample, key=f"t{i}") for i, sample in enumerate(samples[:3])]
    list(write_shards(small, tmp_path / "small", manifest()))
    both = keys(read_samples([folder, tmp_path / "small"], seed=1))
    assert len(both) == 26 == len(set(both)) and {key[0] for key in both[:13]} == {"s", "t"}
    mixed = Counter()
    for epoch in range(6):
        epoch_keys = keys(read_samples({folder: 1, tmp_path / "small": 1}, seed=1, epoch=epoch))
        assert Counter(key[0] for key in epoch_keys) == {"s": 13, "t": 13}
        mixed.update(epoch_keys)
    # 6 x 13 of the small set's three, and of the large one's 23: each as often as any other, give or take one.
    assert {mixed[f"t{i}"] for i in range(3)} == {26}
    assert {mixed[f"s{i:04d}"] for i in range(23)} == {3, 4}
    assert {key[0] for key in keys(read_samples({folder: 1, tmp_path / "small": 0}))} == {"s"}
    for wrong in ([], {folder: -1.0}, {folder: 0.0}, {folder: float("nan")}):
        with pytest.raises(BadInput, match="at least one folder"):
            read_samples(wrong)


def test_damage_is_told_and_passed_over(folder, samples):
    whole = keys(read_samples(folder, seed=1))
    cut, gone, changed = (folder / f"shard-00000{i}.tar" for i in (1, 2, 3))
    cut.write_bytes(cut.read_bytes()[:-3000])
    gone.unlink()
    content = bytearray(changed.read_bytes())
    with tarfile.open(changed) as archive:
        member = archive.getmember(f"s0013.{ARRAYS}")
    content[member.offset_data : member.offset_data + 200] = bytes(200)
    changed.write_bytes(content)
    stream = read_samples(folder, seed=1)
    lost = {f"s{i:04d}" for i in (*range(4, 12), 13)}
    assert keys(stream) == [key for key in whole if key not in lost]
    assert stream.position == 23 and len(stream.problems) == 3
    for path, says in ((cut, "damaged"), (gone, "not found"), (changed, "a sample in it cannot be read")):
        (line,) = [line for line in stream.problems if str(path) in line]
        assert says in line and "run the command that made the set again" in line
    with pytest.raises(BadFile, match="shard-00000"):
        list(read_samples(folder, seed=1, keep_going=False))
    # The places of what cannot be read hold an error, so nothing after them moves.
    items = list(open_sets(folder).read(seed=1, epoch=0, shuffle=True))
    assert [isinstance(item, Sample) for item in items] == [key not in lost for key in whole]
    assert len(damaged_shards(folder)) == 3
    assert [task.path.name for task in missing_shards(folder, read_manifest(folder), 23)] == [cut.name, gone.name]  # fmt: skip
    changed.unlink()
    list(write_shards(samples, folder, manifest()))
    assert damaged_shards(folder) == [] and keys(read_samples(folder, seed=1)) == whole


def test_sets_travel_to_other_processes(folder, tmp_path, samples):
    sets = pickle.loads(pickle.dumps(open_sets(folder)))
    assert sets.count == 23 and sets.digest == open_sets(folder).digest
    list(write_shards(samples[:20], tmp_path / "less", manifest()))
    assert open_sets(tmp_path / "less").digest != sets.digest
    claim_set(tmp_path / "none", manifest())
    with pytest.raises(BadFile, match="no finished shard"):
        open_sets(tmp_path / "none")
