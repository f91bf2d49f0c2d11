"""Videos in and out: colours, times, what is broken, and files that stay usable."""

import os

import cv2
import numpy as np
import pytest

from vultus.errors import BadFile, BadInput
from vultus.io.video import Video, VideoWriter

SIZE = (64, 48)


def picture(index: int) -> np.ndarray:
    """Red grows with time, green to the right; (h, w, 3) RGB."""
    image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    image[..., 0] = 5 * index
    image[..., 1] = np.linspace(0, 200, SIZE[0])
    return image


def written(path, num=40, fps=20.0):
    with VideoWriter(path, SIZE, fps) as writer:
        for index in range(num):
            writer.write(picture(index), index / fps)
    return path


def test_what_is_written_comes_back(tmp_path):
    path = written(tmp_path / "film.mp4")
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.mp4"]
    with Video(path) as video:
        frames = list(video)
        assert (video.size_px, video.fps, video.num_frames, video.is_live) == (SIZE, 20.0, 40, False)
    assert not video.problem and [frame.index for frame in frames] == list(range(40))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(40) / 20, atol=1e-3)
    for frame in frames[::13]:
        assert frame.image.shape == (48, 64, 3) and frame.image.dtype == np.uint8
        # RGB, to what compression leaves.
        assert np.abs(frame.image.astype(int) - picture(frame.index)).mean() < 4


def test_the_film_runs_as_fast_as_it_was_taken(tmp_path):
    # A camera that gives 10, then 40 frames per second, into a film of 20.
    times = [*np.arange(0, 1, 0.1), *np.arange(1, 2, 0.025)]
    with VideoWriter(tmp_path / "film.mp4", SIZE, 20.0) as writer:
        for time_s in times:
            writer.write(picture(int(20 * time_s)), 5 + time_s)
    with Video(tmp_path / "film.mp4") as video:
        frames = list(video)
    assert abs(len(frames) - 40) <= 1
    for frame in frames:
        taken = frame.image[..., 0].mean() / 5 / 20
        assert abs(taken - frame.time_s) < 0.11, frame.index


@pytest.mark.parametrize(("content", "said"), [(b"", "empty"), (b"this is no film " * 50, "not a video")])
def test_files_that_are_no_videos(tmp_path, content, said, capfd):
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=f"film.mp4: .*{said}"):
        Video(path)
    assert capfd.readouterr().err == ""  # nothing but the one line


def test_what_is_not_there(tmp_path, capfd):
    with pytest.raises(BadFile, match="no such file"):
        Video(tmp_path / "none.mp4")
    with pytest.raises(BadFile, match="a folder"):
        Video(tmp_path)
    with pytest.raises(BadFile, match="camera 97: not there"):
        Video("97")
    with pytest.raises(BadFile, match="camera /dev/video97: not there"):
        Video("/dev/video97")
    assert capfd.readouterr().err == ""
    with pytest.raises(BadFile, match="cannot be written"):
        VideoWriter(tmp_path / "none" / "film.mp4", SIZE, 20.0)


def test_a_file_that_may_not_be_read(tmp_path):
    path = written(tmp_path / "film.mp4", 3)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("the superuser reads everything")
    with pytest.raises(BadFile, match="cannot be read"):
        Video(path)


def test_a_film_that_is_cut_short_gives_what_it_has(tmp_path):
    whole = tmp_path / "whole.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, SIZE)
    for index in range(40):
        writer.write(picture(index)[..., ::-1])
    writer.release()
    content = whole.read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    with Video(tmp_path / "cut.avi") as video:
        frames = list(video)
    assert 10 < len(frames) < 25 and f"cut short or damaged, {len(frames)} of 40 frames" in video.problem
    # mp4 has its index at the end: without it nothing can be read.
    content = written(tmp_path / "film.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(BadFile, match=r"cut.mp4: not a video that can be read, or cut short"):
        Video(tmp_path / "cut.mp4")


def test_an_interrupted_film_is_usable_and_an_empty_one_is_none(tmp_path):
    with pytest.raises(KeyboardInterrupt), VideoWriter(tmp_path / "film.mp4", SIZE, 20.0) as writer:
        for index in range(10):
            writer.write(picture(index), index / 20)
        raise KeyboardInterrupt
    with Video(tmp_path / "film.mp4") as video:
        assert len(list(video)) == 10
    with pytest.raises(BadFile, match="no frame was written"), VideoWriter(tmp_path / "none.mp4", SIZE, 20.0):
        pass
    with pytest.raises(RuntimeError, match="own"), VideoWriter(tmp_path / "none.mp4", SIZE, 20.0):
        raise RuntimeError("own trouble is not hidden")
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.mp4"]


def test_frames_and_rates_that_do_not_fit(tmp_path):
    with VideoWriter(tmp_path / "film.mp4", SIZE, 20.0) as writer:
        writer.write(picture(0), 0.0)
        with pytest.raises(BadInput, match="64 x 48 px"):
            writer.write(np.zeros((64, 48, 3), np.uint8), 0.05)
        with pytest.raises(BadInput, match="64 x 48 px"):
            writer.write(picture(0).astype(np.float32), 0.05)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="per second"):
        VideoWriter(tmp_path / "other.mp4", SIZE, 0.0)
