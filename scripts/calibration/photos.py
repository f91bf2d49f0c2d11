"""What the landmark detector does on photos, where nobody knows the true shape: its bias, its answer to shape, its noise.

Three measurements that need no ground truth:

- *Response*: a photo is warped as if its person had other identity coefficients; how the detections move tells how much of a shape
  difference the network shows at all. Networks draw faces towards the mean: on average about half of it.
- *Offset*: over many neutral people the mean residual against the mean head is the detector's bias (plus the mean head's own error).
- *Noise*: what the spread of the residuals over people has beyond the response to the identity prior.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial.distance import cdist
from tqdm import tqdm

from vultus.detect.detector import PhotoDetector
from vultus.fit.landmark_basis import LandmarkBasis, pose_angles_deg
from vultus.fit.landmarks import ExpressionPrior, LandmarkFit, LandmarkOptions, fit_landmarks
from vultus.geometry.mesh import vertex_normals
from vultus.io.images import read_image
from vultus.model.face import FaceCode
from vultus.model.morphable import MorphableModel
from vultus.stages.options import ReconstructOptions
from vultus.stages.views import guess_focal

cv2.setNumThreads(1)  # waiting threads cost more than they help

FACE_PX = 260  # a face's width in the warped pictures
FIELD_SHRINK = 4  # the field of displacements is smooth: it is spread at a quarter of the resolution
FRONTAL_DEG = 15.0
RIDGE = 60.0  # of the response's regression, against 100 unit-variance coefficients
POSE_ONLY = LandmarkOptions(iterations=0)


@dataclass(frozen=True)
class Photo:
    """A photo with its detected points "l 2" and the fit of the head to them; ``image`` "h w 3" bytes."""

    path: Path
    image: np.ndarray
    points_px: np.ndarray
    fit: LandmarkFit
    centre_px: np.ndarray


def read_photos(
    paths: list[Path], model: MorphableModel, basis: LandmarkBasis, detector, options: LandmarkOptions
) -> Iterator[Photo]:
    """Detect and fit the largest face of each photo; what has none is passed over."""
    prior = expression_prior(model)
    for path in tqdm(paths, desc="photos", leave=False):
        image, info = read_image(path)
        faces = detector.detect(image)
        if not faces:
            continue
        points = faces[0].landmarks.points_px.double().numpy()
        centre = np.array([image.shape[2], image.shape[1]]) / 2
        focal_px = float(guess_focal(info, faces[0], ReconstructOptions()).focal_px)
        fit = fit_landmarks(basis, points, centre, focal_px, prior, options)
        yield Photo(path, np.uint8(image.permute(1, 2, 0).numpy() * 255), points, fit, centre)


def expression_prior(model: MorphableModel) -> ExpressionPrior:
    return ExpressionPrior(
        model.expression_sigma.double().numpy(), *model.expression_range.double().numpy().T
    )


def upright_mm(gap_px: np.ndarray, fit: LandmarkFit) -> np.ndarray:
    """Differences "l 2" in pixels -> millimetres at the head's distance, x right, y down, head upright."""
    roll = np.radians(pose_angles_deg(fit.rotation)[2])
    cosine, sine = np.cos(roll), np.sin(roll)
    return gap_px * fit.translation[2] / fit.focal_px @ np.array([[cosine, sine], [-sine, cosine]])


def measure_response(
    paths: list[Path],
    model: MorphableModel,
    basis: LandmarkBasis,
    detector: PhotoDetector,
    warps: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Warp frontal photos by random identities.

    Returns:
        identity differences (n, k) in sigma and how the detections moved (n, l, 2), millimetres, upright.
    """
    rng = np.random.default_rng(seed)
    differences, moved = [], []
    for photo in read_photos(paths, model, basis, detector, LandmarkOptions()):
        if max(map(abs, pose_angles_deg(photo.fit.rotation)[:2])) > FRONTAL_DEG:
            continue
        image, scale, shift = _cropped(photo)
        base = detector.detect(_tensor(image))
        if not base:
            continue
        start = base[0].landmarks.points_px.numpy()
        for _ in range(warps):
            difference = rng.normal(size=len(model.identity_mm))
            warped = _warped(image, model, photo, difference, scale, shift)
            found = detector.detect(_tensor(warped))
            if found:
                gap = (found[0].landmarks.points_px.numpy() - start) / scale
                differences.append(difference)
                moved.append(upright_mm(gap, photo.fit))
    return np.array(differences), np.array(moved)


def _tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


def _cropped(photo: Photo) -> tuple[np.ndarray, float, np.ndarray]:
    """The face with as much around it again, :data:`FACE_PX` wide; pixel = scale * old + shift."""
    low, high = photo.points_px.min(0), photo.points_px.max(0)
    width = high[0] - low[0]
    scale = min(1.0, FACE_PX / width)
    shift = -scale * (low - 0.6 * width)
    size = tuple(int(x) for x in scale * (high - low + 1.2 * width))
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    image = cv2.warpAffine(photo.image, matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return image, scale, shift


def _warped(
    image, model, photo: Photo, difference: np.ndarray, scale: float, shift: np.ndarray
) -> np.ndarray:
    """The picture as if the person's identity were ``difference`` away; hair and surroundings follow smoothly."""
    here, there, seen = _projected(model, photo, difference)
    height, width = image.shape[0] // FIELD_SHRINK, image.shape[1] // FIELD_SHRINK
    at = np.floor((scale * here[seen] + shift) / FIELD_SHRINK).astype(int)
    inside = ((at >= 0) & (at < [width, height])).all(1)
    summed = np.zeros((height, width, 3), np.float32)
    moved = scale * (there - here)[seen][inside]
    np.add.at(summed, tuple(at[inside].T[::-1]), np.column_stack([moved, np.ones(len(moved))]))
    field = None
    for sigma in (30.0, 8.0, 2.0, 0.7):  # from far to near: what is close to the face follows it closely
        blurred = cv2.GaussianBlur(summed, (0, 0), sigma)
        mean = blurred[..., :2] / np.maximum(blurred[..., 2:], 1e-9)
        trust = np.clip(blurred[..., 2:] / (0.05 * blurred[..., 2].max()), 0, 1)
        field = mean if field is None else trust * mean + (1 - trust) * field
    assert field is not None
    field = cv2.resize(field, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    x, y = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in image.shape[1::-1]))
    from_x, from_y = x, y
    for _ in range(4):  # the field says where a pixel goes; the picture needs where it comes from
        back = cv2.remap(field, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        from_x, from_y = x - back[..., 0], y - back[..., 1]
    return cv2.remap(image, from_x, from_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _projected(model, photo: Photo, difference: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices before and after "v 2" in the photo's pixels, and which skin faces the camera."""
    fit = photo.fit
    expression, albedo = torch.from_numpy(fit.expression).float(), torch.zeros(len(model.albedo))
    pixels, seen = [], np.zeros(0, bool)
    for identity in (fit.identity, fit.identity + difference):
        vertices = model.vertices(FaceCode(torch.from_numpy(identity).float(), expression, albedo)).numpy()
        camera = vertices @ fit.rotation.T + fit.translation
        pixels.append(fit.focal_px * camera[:, :2] / camera[:, 2:] + photo.centre_px)
        if not len(seen):
            normals = vertex_normals(torch.from_numpy(camera).float(), model.triangles).numpy()
            skin = np.zeros(len(camera), bool)
            skin[model.part_triangles("skin").numpy()] = True
            seen = ((normals * camera).sum(1) < 0) & skin
    return pixels[0], pixels[1], seen


def regress_response(
    differences: np.ndarray, moved: np.ndarray, mirror_478: np.ndarray, mirror_identity: np.ndarray
) -> np.ndarray:
    """Ridge regression of the movements on identity, every sample seen in a mirror as well: (k, l, 2) per sigma."""
    x = np.concatenate([differences, differences @ mirror_identity.T])
    y = np.concatenate([moved, moved[:, mirror_478] * [-1, 1]]).reshape(len(x), -1)
    answer = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
    return answer.reshape(-1, *moved.shape[1:])


def mirrored_identity(model: MorphableModel) -> np.ndarray:
    """(k, k): coefficients of a person's mirror image."""
    assert model.mirror is not None
    basis = model.identity_mm.double().numpy()
    flipped = basis[:, model.mirror.numpy()] * [-1, 1, 1]
    return np.linalg.lstsq(basis.reshape(len(basis), -1).T, flipped.reshape(len(basis), -1).T, rcond=None)[0]


def measure_population(
    paths: list[Path], model: MorphableModel, basis: LandmarkBasis, detector: PhotoDetector
) -> np.ndarray:
    """Detection minus the mean head's landmarks in the best pose, for neutral frontal people: (n, l, 2) upright millimetres."""
    rows = []
    for photo in read_photos(paths, model, basis, detector, POSE_ONLY):
        yaw, pitch, _ = pose_angles_deg(photo.fit.rotation)
        if abs(yaw) > FRONTAL_DEG or abs(pitch) > FRONTAL_DEG:
            continue
        mean = basis.at(yaw, pitch, identity=False, expression=False)[0]
        seen = mean @ photo.fit.rotation.T + photo.fit.translation
        projected = photo.fit.focal_px * seen[:, :2] / seen[:, 2:] + photo.centre_px
        rows.append(upright_mm(photo.points_px - projected, photo.fit))
    return np.array(rows)


def noise_covariance(
    population: np.ndarray,
    mean_mm: np.ndarray,
    response: np.ndarray,
    unexplained: np.ndarray,
    smooth_mm: float,
    length_mm: float,
) -> np.ndarray:
    """Covariance (2l, 2l) of the detector's error on photos, once pose is taken out.

    Args:
        population: (n, l, 2) residuals, mirrored ones included. mean_mm: (l, 3). response: (k, l, 2).
        unexplained: (n', l, 2) movements of the warped photos that the response does not explain.
        smooth_mm, length_mm: size and correlation length of the errors that a hundred people cannot show.
    """
    centred = without_pose(population - population.mean(0), mean_mm)
    answered = without_pose(response, mean_mm)
    value, vector = np.linalg.eigh(centred.T @ centred / len(centred) - answered.T @ answered)
    covariance = (vector * np.maximum(value, 0)) @ vector.T
    left = without_pose(unexplained, mean_mm)
    covariance += 0.5 * left.T @ left / len(left)  # a difference of two detections has twice the noise of one
    return covariance + smooth_noise(mean_mm, smooth_mm, length_mm)


def smooth_noise(mean_mm: np.ndarray, size_mm: float, length_mm: float) -> np.ndarray:
    """Errors that neighbours share: a squared-exponential kernel over the head, alike in x and y, (2l, 2l)."""
    kernel = size_mm**2 * np.exp(-0.5 * (cdist(mean_mm, mean_mm) / length_mm) ** 2)
    return np.kron(kernel, np.eye(2))


def principal_modes(covariance: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest modes (m, l, 2) of a covariance (2l, 2l) and, per landmark, the standard deviation they leave (l,)."""
    value, vector = np.linalg.eigh(covariance)
    modes = (vector[:, -number:] * np.sqrt(np.maximum(value[-number:], 0))).T[::-1]
    left = np.maximum(np.diag(covariance) - (modes**2).sum(0), 0).reshape(-1, 2).mean(1)
    return modes.reshape(number, -1, 2), np.sqrt(left)


def without_pose(rows: np.ndarray, mean_mm: np.ndarray) -> np.ndarray:
    """(n, l, 2) -> (n, 2l) without shift, scale, and turns about the three axes, which the fit takes out anyway."""
    x, y = (mean_mm - mean_mm.mean(0))[:, :2].T * [[1], [-1]]
    z, one, zero = mean_mm[:, 2] - mean_mm[:, 2].mean(), np.ones_like(x), np.zeros_like(x)
    moves = [(one, zero), (zero, one), (x, y), (-y, x), (z, zero), (zero, z)]
    basis = np.linalg.qr(np.stack([np.stack(move, 1).ravel() for move in moves], 1))[0]
    flat = rows.reshape(len(rows), -1)
    return flat - flat @ basis @ basis.T
