import cv2
import numpy as np
import pytest

from vultus.detect.face_region import WORK_PX, FaceLayout, landmark_sets, rows
from vultus.detect.occlusion import bridge_contrast, doubt_of_hair, fringe, grey_beard, thin_structures

SETS = landmark_sets("ibug68")


@pytest.fixture
def layout() -> FaceLayout:
    """A schematic face, 130 px wide, with the 68 points: enough for every region."""
    xy = np.zeros((68, 2))
    angle = np.linspace(np.pi, 0, 17)
    xy[:17] = np.stack([96 + 62 * np.cos(angle), 88 + 82 * np.sin(angle)], 1)
    xy[17:27] = np.stack([np.linspace(46, 146, 10), np.full(10, 62.0)], 1)
    xy[27:31] = np.stack([np.full(4, 96.0), np.linspace(76, 108, 4)], 1)
    xy[31:36] = np.stack([np.linspace(86, 106, 5), np.full(5, 114.0)], 1)
    for first, x in ((36, 66), (42, 126)):
        xy[first : first + 6] = [
            (x - 13, 80),
            (x - 5, 76),
            (x + 5, 76),
            (x + 13, 80),
            (x + 5, 83),
            (x - 5, 83),
        ]
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    xy[48:60] = np.stack([96 - 24 * np.cos(turn), 136 - 8 * np.sin(turn)], 1)
    turn = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    xy[60:68] = np.stack([96 - 18 * np.cos(turn), 136 - 2 * np.sin(turn)], 1)
    return FaceLayout(SETS, xy)


def skin(seed: int = 0, sigma: float = 0.05) -> np.ndarray:
    """Lightness of smooth skin, softly noisy."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, (WORK_PX, WORK_PX)), (0, 0), 1.0)
    return sigma * noise / noise.std()


def line(points, contrast: float, width: int = 2) -> np.ndarray:
    """A line to be added to the lightness, blurred as a camera would."""
    canvas = np.zeros((WORK_PX, WORK_PX), np.float32)
    cv2.polylines(canvas, [np.array(points, np.int32)], False, 1.0, width)
    return contrast * cv2.GaussianBlur(canvas, (0, 0), 0.6)


def test_strand_over_the_forehead_but_no_wrinkle(layout):
    strand = line([(70, 20), (78, 40), (80, 58)], -1.0)
    wrinkle = line([(100, 50), (130, 50)], -0.35)
    found = thin_structures(skin() + strand + wrinkle, layout)
    here = np.broadcast_to(rows() < layout.brow_line - 5, found.shape)
    assert found[(strand < -0.6) & here].mean() > 0.9
    assert not found[:, 92:].any()


def test_glasses_are_known_by_their_bridge(layout):
    rings = sum(line(cv2.ellipse2Poly((x, 82), (24, 18), 0, 0, 360, 8), -0.4) for x in (66, 126))
    bridge = line([(89, 78), (103, 78)], -0.7)
    worn = thin_structures(skin() + rings + bridge, layout)
    assert worn[rings < -0.25].mean() > 0.9
    assert not thin_structures(skin() + rings, layout).any()  # eye bags, shadows
    assert bridge_contrast(-bridge, layout) > 0.5 and bridge_contrast(0 * bridge, layout) == 0


def features(lightness: np.ndarray, redness: np.ndarray) -> np.ndarray:
    return np.stack([lightness, 0.5 * redness, -0.5 * redness], -1)


def test_grey_beard_but_no_pale_smooth_chin(layout):
    samples, lower = layout.samples(), layout.lower() & layout.face()
    chin = lower & (rows() > 140)
    grey = np.where(chin, 0.4, 1.0)
    rough = np.where(chin, 4.0, 1.0)
    found = grey_beard(features(skin() * rough, grey), samples, layout)
    assert found[chin].mean() > 0.85 and not (found & ~lower).any()
    assert not grey_beard(features(skin(), np.ones_like(grey)), samples, layout).any()
    assert not grey_beard(features(skin() * rough, np.ones_like(grey)), samples, layout).any()  # stubble


def test_fringe_of_streaks_that_run_down(layout):
    streaks = 0.25 * np.broadcast_to(np.sin(np.arange(WORK_PX) * 1.1), (WORK_PX, WORK_PX))
    above = np.broadcast_to(rows() < layout.brow_line, streaks.shape)
    found = fringe(skin() + streaks * above, layout.samples(), layout)
    forehead = layout.face() & (rows() < layout.brow_line - 8)
    assert found[forehead].mean() > 0.8 and not found[rows()[:, 0] > layout.brow_line].any()
    assert not fringe(skin() + streaks.T * above, layout.samples(), layout).any()  # wrinkles run across


def test_doubt_grows_with_roughness_above_the_brows_only(layout):
    rough = np.where(np.arange(WORK_PX)[None] < 96, 6.0, 1.0)
    doubt = doubt_of_hair(skin() * rough, layout.samples() & (rough == 1), layout)
    top = int(layout.brow_line) - 15
    assert (doubt >= 1).all() and (doubt[int(layout.brow_line) + 1 :] == 1).all()
    assert doubt[:top, 20:80].mean() > 1.7 > 1.15 > doubt[:top, 115:].mean()


def test_no_samples(layout):
    none = np.zeros((WORK_PX, WORK_PX), bool)
    flat = np.zeros((WORK_PX, WORK_PX))
    assert not fringe(flat, none, layout).any()
    assert not grey_beard(features(flat, flat), none, layout).any()
    assert not thin_structures(flat, layout).any()
    assert np.isfinite(doubt_of_hair(flat, none, layout)).all()
