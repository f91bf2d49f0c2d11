"""Streams on the command line: lines and films that fit, sources that are broken, and interruptions."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from vultus.cli.align_stream import StreamOptions, run_stream, stream_name
from vultus.errors import BadFile, BadInput
from vultus.geometry.position_map import FaceCrop
from vultus.io.video import Video, VideoWriter
from vultus.model.bundled import load
from vultus.render.bake import bake
from vultus.stages.alignment import Alignment
from vultus.stages.alignment_surface import face_surface

SIZE, FPS = (160, 120), 20.0


@dataclass
class Oracle:
    """Stands for a network: the face is where the picture is red."""

    stop_at: int | None = None
    crop_factor: float = 1.6
    num: int = 0

    def _where(self, image):
        rows, columns = (image[0] - image[2] > 0.4).nonzero(as_tuple=True)
        return (float(columns.float().mean()) + 0.5, float(rows.float().mean()) + 0.5) if len(rows) > 50 else None  # fmt: skip

    def detect(self, image):
        where = self._where(image)
        return [FaceCrop(where, 80.0)] if where else []

    def look(self, image, crops):
        self.num += 1
        if self.num == self.stop_at:
            raise KeyboardInterrupt
        where = self._where(image) or (0.0, 0.0)
        surface = face_surface(load())
        mean = bake(surface.mean_mm, surface.topology, torch.arange(len(surface.triangles)), 32)[0]
        position = 0.35 * mean * torch.tensor([1.0, -1.0, 1.0])[:, None, None]
        position = position + torch.tensor([*where, 0.0])[:, None, None]
        return tuple(Alignment(load(), crop, position, SIZE, 0.9) for crop in crops)


@pytest.fixture
def film(tmp_path) -> Path:
    """A red disc that moves to the right by 2 pixels a frame, for two seconds."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    with VideoWriter(tmp_path / "film.mp4", SIZE, FPS) as writer:
        for index in range(40):
            image = np.stack([np.full_like(x, 60), x, y], -1).astype(np.uint8) // 2 + 40
            image[(x - 40 - 2 * index) ** 2 + (y - 60) ** 2 < 400] = (220, 60, 60)
            writer.write(image, index / FPS)
    return tmp_path / "film.mp4"


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "frames.jsonl").read_text().splitlines()]


def test_a_film_becomes_lines_and_a_film(film, tmp_path, capsys):
    assert run_stream(str(film), tmp_path / "out", StreamOptions(), Oracle) == 0
    folder = tmp_path / "out" / "film"
    assert sorted(entry.name for entry in folder.iterdir()) == ["frames.jsonl", "overlay.mp4"]
    lines = lines_of(folder)
    assert [line["frame"] for line in lines] == list(range(40))
    assert lines[21]["time_s"] == pytest.approx(21 / FPS)
    for line in lines:
        (face,) = line["faces"]
        assert face["number"] == 1 and face["confidence"] == 0.9 and len(face["landmarks_px"]) == 68
        assert abs(face["pose_deg"]["yaw"]) < 0.2
        middle = np.mean(face["landmarks_px"], 0)
        assert abs(middle[0] - (40.5 + 2 * line["frame"])) < 6, line["frame"]
    with Video(folder / "overlay.mp4") as overlay:
        shown = list(overlay)
    assert len(shown) == 40
    with Video(film) as plain:
        change = [np.abs(a.image.astype(int) - b.image).max(-1) > 60 for a, b in zip(plain, shown)]
    assert all(50 < changed.sum() < 4000 for changed in change)  # lines are drawn, and not everywhere
    said = capsys.readouterr().out
    assert "film.mp4: 1 face in 40 frames" in said and said.count("\n") == 1


def test_options(film, tmp_path):
    options = StreamOptions(seconds=1.0, every=3, no_filter=True, no_overlay=True)
    assert run_stream(str(film), tmp_path, options, Oracle) == 0
    assert [entry.name for entry in (tmp_path / "film").iterdir()] == ["frames.jsonl"]
    assert [line["frame"] for line in lines_of(tmp_path / "film")] == [0, 3, 6, 9, 12, 15, 18]
    assert run_stream(str(film), tmp_path, StreamOptions(every=3), Oracle) == 0
    with Video(tmp_path / "film" / "overlay.mp4") as overlay:
        frames = list(overlay)
    assert abs(len(frames) / overlay.fps - 2.0) < 0.2  # as long as the source
    for wrong, said in (({"every": 0}, "--every 0"), ({"seconds": 0.0}, "--seconds 0")):
        with pytest.raises(BadInput, match=said):
            StreamOptions(**wrong)  # type: ignore[arg-type]


def test_an_interruption_leaves_usable_files(film, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_stream(str(film), tmp_path, StreamOptions(), lambda: Oracle(stop_at=15))
    folder = tmp_path / "film"
    assert sorted(entry.name for entry in folder.iterdir()) == ["frames.jsonl", "overlay.mp4"]
    assert len(lines_of(folder)) == 14
    with Video(folder / "overlay.mp4") as overlay:
        assert len(list(overlay)) == 14


def test_nothing_is_made_of_what_is_no_video(tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no film")

    def never():
        raise AssertionError("the network is loaded for a good source only")

    for source, said in (("text.mp4", "not a video"), ("none.mp4", "no such file")):
        with pytest.raises(BadFile, match=said):
            run_stream(str(tmp_path / source), tmp_path / "out", StreamOptions(), never)
    assert not (tmp_path / "out").exists()
    (tmp_path / "taken").write_text("")
    with VideoWriter(tmp_path / "film.mp4", SIZE, FPS) as writer:
        writer.write(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), 0.0)
    with pytest.raises(BadFile, match="folder cannot be made"):
        run_stream(str(tmp_path / "film.mp4"), tmp_path / "taken", StreamOptions(), Oracle)
    assert run_stream(str(tmp_path / "film.mp4"), tmp_path / "out", StreamOptions(), Oracle) == 0
    assert "0 faces in 1 frame," in capsys.readouterr().out


def test_names_of_folders():
    assert stream_name("a/b/film.of.us.mp4") == "film.of.us" and stream_name("0") == "camera-0"
    assert stream_name("/dev/video1") == "dev-video1"
    assert stream_name("rtsp://me:secret@host:554/live/1?key=x") == "host-554-live-1"
