"""Photometric refinement: move shape and pose until shading and features agree with the photo, within what the landmarks allow.

The landmark fit ends in a Gaussian: a mode and a curvature (its normal matrix, with all priors inside). The refinement minimises the
photometric residual plus that Gaussian, in coordinates whitened by it, so that directions the landmarks know well are stiff and those
they cannot see (the depth of a cheek) are free to follow the shading. Residuals are taken at visible skin vertices, relative to the
local brightness, robustly: beard, brows, glasses and spots are not explained by four albedo axes and must not become shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..geometry.camera import Camera
from ..geometry.light import COSINE_LOBE, sh_basis, shading
from ..geometry.mesh import vertex_normals
from ..geometry.rigid import rigid_transform, rotation_from_axis_angle
from ..geometry.view import View
from ..model.face import FaceCode
from ..model.morphable import MorphableModel
from .adam import Adam
from .agreement import appearance_of, disagreement
from .photometric import PhotometricOptions, fit_light_and_albedo, sample_skin, shrunk_photo

_DARK, _LEAST_SHADE = 0.01, 0.05


@dataclass(frozen=True)
class RefineOptions:
    """Knobs of :func:`refine`.

    Attributes:
        face_px: the face's width in pixels at each scale, coarse to fine.
        steps: optimiser steps per scale; 0 leaves the landmark fit as it is.
        num_samples: vertices looked at.
        information: how many independent observations the pixels of a face are worth; the weight against the landmarks.
        light_error: how far the light may be off in each of its coefficients, relative to its strength.
        noise: relative brightness error that is normal. outlier: multiples of it beyond which a pixel loses its influence.
        step_size: of the optimiser, in standard deviations of the landmarks' posterior.
        shared_error: correlation of what several photos of one person say wrongly: the albedo model errs alike each time.
        agreement_mm: size of the structures on whose place several photos must agree, at each scale.
        agreement: how many independent observations a face's structure is worth per pair of photos, 0 for none.
        agreement_noise: disagreement that is normal. joint_steps: optimiser steps per scale with several photos.
    """

    face_px: tuple[float, ...] = (70.0, 140.0)
    steps: int = 20
    num_samples: int = 1500
    information: float = 50.0
    light_error: float = 0.2
    noise: float = 0.08
    outlier: float = 2.0
    step_size: float = 0.1
    shared_error: float = 0.1
    agreement_mm: tuple[float, ...] = (4.0, 2.0)
    agreement: float = 100.0
    agreement_noise: float = 0.5
    joint_steps: int = 25


def refine(
    view: View,
    model: MorphableModel,
    code: FaceCode,
    landmark_normal: np.ndarray,
    photometric: PhotometricOptions,
    options: RefineOptions,
) -> tuple[View, FaceCode, Tensor, float]:
    """Refine a posed view.

    Args:
        view: posed by the landmark fit. code: its code.
        landmark_normal: (7 + k + e) squared: precision of rotation, translation, log focal length, identity, expression.

    Returns:
        the view with its camera moved, the code with albedo, the light "3 9", and the final median relative residual.
    """
    factor = np.linalg.cholesky(landmark_normal + 1e-6 * np.eye(len(landmark_normal)))
    root = np.linalg.inv(factor).T
    return refine_jointly([view], model, [code], [root], 0, photometric, options)[0]


def refine_jointly(
    views: Sequence[View],
    model: MorphableModel,
    codes: Sequence[FaceCode],
    roots: Sequence[np.ndarray],
    num_shared: int,
    photometric: PhotometricOptions,
    options: RefineOptions,
) -> list[tuple[View, FaceCode, Tensor, float]]:
    """Refine several posed views of one person; arguments and result as of :func:`refine`, for each view.

    Args:
        roots: per view (7 + k + e, s + o), see :class:`~vultus.fit.joint_landmarks.JointFit`. num_shared: s.
    """
    starts = [fit_light_and_albedo(view, model, code, photometric) for view, code in zip(views, codes)]
    unwhiten = [torch.from_numpy(np.ascontiguousarray(root)).float() for root in roots]
    shared = torch.zeros(num_shared, requires_grad=True)
    alone = [torch.zeros(root.shape[1] - num_shared, requires_grad=True) for root in unwhiten]
    seen = [i for i, start in enumerate(starts) if np.isfinite(start[2])]  # others show no skin
    information = options.information / (1 + options.shared_error * (len(seen) - 1))
    steps = [torch.zeros(len(root)) for root in unwhiten]
    for scale, face_px in enumerate(options.face_px):
        looks: dict[int, _Look] = {}
        now: dict[int, tuple[View, FaceCode]] = {}
        for i in seen:
            view, code = _moved(views[i], codes[i], steps[i])
            if scale > 0:  # at the first scale nothing has moved yet
                starts[i] = fit_light_and_albedo(view, model, code, photometric)
            code = replace(code, albedo=starts[i][1])
            looks[i] = _Look(view, model, code, starts[i][0], face_px, options, information)
            now[i] = view, code
        structure = (
            _Structure(now, model, options, scale) if len(seen) > 1 and options.agreement > 0 else None
        )
        optimiser = Adam([shared, *(alone[i] for i in seen)], options.step_size)
        steps_now = options.steps if len(seen) < 2 else min(options.steps, 1) * options.joint_steps
        for _ in range(steps_now if seen else 0):
            energy = 0.5 * (shared**2).sum()
            here = {i: _moved(views[i], codes[i], unwhiten[i] @ torch.cat([shared, alone[i]])) for i in seen}
            for i, look in looks.items():
                energy = energy + look.energy(here[i][0].camera, here[i][1]) + 0.5 * (alone[i] ** 2).sum()
            if structure is not None:
                energy = energy + structure.energy(here)
            optimiser.step(energy)
        with torch.no_grad():
            steps = [root @ torch.cat([shared, own]) for root, own in zip(unwhiten, alone)]
    low, high = model.expression_range.T
    result = []
    for i, step in enumerate(steps):
        view, code = _moved(views[i], codes[i], step)
        light, albedo, cost = starts[i]
        if i in seen:
            code = replace(code, expression=code.expression.clamp(low, high))
            light, albedo, cost = fit_light_and_albedo(view, model, code, photometric)
        result.append((view, replace(code, albedo=albedo), light, cost))
    return result


class _Look:
    """What is seen at one scale: a fixed set of visible vertices, the blurred photo, and the model around those vertices only."""

    def __init__(
        self,
        view: View,
        model: MorphableModel,
        code: FaceCode,
        light: Tensor,
        face_px: float,
        options: RefineOptions,
        information: float,
    ):
        samples = sample_skin(view, model, code, face_px)
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(len(samples.ids), generator=generator)[: options.num_samples]
        ids = samples.ids[chosen]
        touched = torch.zeros(len(model.mean_mm), dtype=torch.bool)
        touched[ids] = True
        triangles = model.triangles[touched[model.triangles].any(1)]
        used, local = torch.unique(triangles, return_inverse=True)
        place = torch.full((len(model.mean_mm),), -1)
        place[used] = torch.arange(len(used))
        self._ids, self._triangles = place[ids], local.reshape(-1, 3)
        self._mean = model.mean_mm[used]
        self._basis = torch.cat([model.identity_mm[:, used], model.expression_mm[:, used]]).flatten(1)
        self._scale, self._image = shrunk_photo(view, face_px)
        self._albedo = model.vertex_albedo(code)[ids].clamp_min(0.01)
        self._light, self._options = light, options
        self._weight = samples.weight[chosen] / samples.weight[chosen].sum() * information
        self._light_errors = light_errors(samples.normals[chosen], light, options.light_error)

    def energy(self, camera: Camera, code: FaceCode) -> Tensor:
        """Robust relative residual over the samples, in units of independent observations."""
        vertices = self._mean + (torch.cat([code.identity, code.expression]) @ self._basis).view(-1, 3)
        position = camera.to_camera(vertices)
        normals = vertex_normals(position, self._triangles)[self._ids]
        projected = camera.project_camera(position[self._ids])[:, :2] * self._scale
        grid = 2 * projected / projected.new_tensor(self._image.shape[:1:-1]) - 1
        seen = torch.nn.functional.grid_sample(self._image, grid[None, None], align_corners=False)[0, :, 0].T
        expected = (self._albedo * shading(normals, self._light)).mean(1)
        residual = log_brightness(seen.mean(1), 0.01) - log_brightness(expected, 0.02)
        errors = self._explained(residual.detach())
        squared = (residual - self._light_errors @ errors) ** 2 / self._options.noise**2
        limit = self._options.outlier**2
        return 0.5 * (self._weight * limit * squared / (limit + squared)).sum() + 0.5 * (errors**2).sum()

    def _explained(self, residual: Tensor) -> Tensor:
        """The most probable change of the light. At a minimum its own gradient is zero, so none has to flow through it."""
        modes, options = self._light_errors, self._options
        errors = modes.new_zeros(modes.shape[1])
        for _ in range(2):
            squared = (residual - modes @ errors) ** 2 / options.noise**2
            weight = self._weight / options.noise**2 / (1 + squared / options.outlier**2) ** 2
            normal = (modes * weight[:, None]).T @ modes + torch.eye(len(errors))
            errors = torch.linalg.solve(normal, modes.T @ (weight * residual))
        return errors


def log_brightness(linear: Tensor, least: float) -> Tensor:
    """Logarithm of linear-light brightness, which dark pixels cannot drown in noise."""
    return (linear + _DARK).clamp_min(least).log()


def light_errors(normals: Tensor, light: Tensor, size: float) -> Tensor:
    """By how much the logarithm of the brightness changes with each coefficient of the light, per standard deviation: "n 9".

    The light was found on a shape that was not yet right, and has taken some of what the shape should say. So it stays open: free in
    its strength, and in all else within ``size`` times its strength.

    Args:
        normals: "n 3" in the camera frame. light: "3 9".
    """
    basis = sh_basis(normals) * normals.new_tensor(COSINE_LOBE)
    grey = light.mean(0)
    shade = (basis @ grey).clamp_min(_LEAST_SHADE * float(grey[0]))
    sigma = grey[0] * normals.new_tensor([1.0] + [size] * 8)
    return basis * sigma / shade[:, None]


class _Structure:
    """What all views show at one set of vertices of the face, whichever see them: where they disagree, a point is misplaced."""

    def __init__(
        self,
        seen: Mapping[int, tuple[View, FaceCode]],
        model: MorphableModel,
        options: RefineOptions,
        scale: int,
    ):
        sigma_mm = options.agreement_mm[min(scale, len(options.agreement_mm) - 1)]
        candidates = model.regions["face"].nonzero().squeeze(-1)
        generator = torch.Generator().manual_seed(1)
        self._ids = candidates[torch.randperm(len(candidates), generator=generator)[: options.num_samples]]
        self._looks = {i: appearance_of(view, sigma_mm) for i, (view, _) in seen.items()}
        trust = []
        for view, code in seen.values():
            samples = sample_skin(view, model, code, options.face_px[scale])
            whole = torch.zeros(len(model.mean_mm))
            whole[samples.ids] = samples.weight
            trust.append(whole[self._ids])
        weight = torch.stack(trust)
        # A point that a single view sees says nothing.
        self._weight = weight * (weight.sum(0) - weight > 0.05)
        self._mean = model.mean_mm[self._ids]
        self._basis = torch.cat([model.identity_mm[:, self._ids], model.expression_mm[:, self._ids]]).flatten(
            1
        )
        self._options = options

    def energy(self, here: Mapping[int, tuple[View, FaceCode]]) -> Tensor:
        """In units of independent observations."""
        values = []
        for i, (view, code) in here.items():
            vertices = self._mean + (torch.cat([code.identity, code.expression]) @ self._basis).view(-1, 3)
            values.append(self._looks[i].at(view.camera.project(vertices)[:, :2]))
        options = self._options
        cost = disagreement(torch.stack(values), self._weight, options.agreement_noise, options.outlier)
        share = options.agreement * (len(values) - 1) / len(self._ids)
        return 0.5 * share * (self._weight * cost).sum() / len(values)


def _moved(view: View, code: FaceCode, delta: Tensor) -> tuple[View, FaceCode]:
    """Apply rotation, translation, log focal length, identity and expression increments to a view and a code."""
    num_identity = len(code.identity)
    pose = view.camera.T_camera_head
    rotation = rotation_from_axis_angle(delta[:3]) @ pose[:3, :3]
    camera = replace(
        view.camera,
        focal_px=view.camera.focal_px * delta[6].exp(),
        T_camera_head=rigid_transform(rotation, pose[:3, 3] + delta[3:6]),
    )
    code = replace(
        code,
        identity=code.identity + delta[7 : 7 + num_identity],
        expression=code.expression + delta[7 + num_identity :],
    )
    return replace(view, camera=camera), code
