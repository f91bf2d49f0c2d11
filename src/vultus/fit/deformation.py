"""The deformation fit: offsets over the face chart that bring a coarse face to where the photo shows it.

Everything known is put into one least-squares problem over the map: landmarks, shading and outline as linear terms in the vertices
(:mod:`.linear_terms`, :mod:`.projected_terms`), openings that must stay closed, and a Gaussian prior (:mod:`.smoothness`). The terms are made anew around the
current face with new robust weights (Gauss-Newton), on maps of 16, 32 and then 64 texels. The normal equations are solved by conjugate
gradients on the prior's own scale: preconditioned with its covariance, which spreads every force smoothly over the skin (a Sobolev gradient:
Nicolet, Jacobson and Jakob, "Large steps in inverse rendering of geometry", SIGGRAPH Asia 2021) and leaves only the few directions
that the photo says something about to be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from ..geometry.view import View
from ..model.deformation import DeformationOperator, deformation_operator
from ..model.face import CoarseFace
from ..model.morphable import MorphableModel
from .agreement import Appearance, agreement_term, appearance_of
from .contour import PUBLISHED_WIDTH_MM, RowExtent, outline_region, outline_vertices, row_extent
from .landmark_basis import LandmarkBasis
from .linear_terms import LinearTerm, photometric_term, vertex_area
from .openings import Openings, lid_term, lip_term, openings_of
from .outline import Outline
from .photometric import sample_skin
from .projected_terms import contour_term_1d, contour_term_2d, detector_offset_px, landmark_term
from .smoothness import MapPrior, PriorOptions, distance_to_openings, map_prior

Contour = Literal["none", "1d", "2d"]
_UNSHADED_MM = 7.0
_LID_STEPS = 3


@dataclass(frozen=True)
class DeformationOptions:
    """Knobs of :func:`fit_deformation`.

    Attributes:
        prior: what the map is like.
        contour: which outline cost, see :mod:`vultus.fit.contour`.
        sizes: texels per side of the maps, coarse to fine. iterations: Gauss-Newton steps on each. steps: conjugate-gradient steps of each.
        face_px: the photo is looked at with the face about this wide.
        noise: relative brightness error of a pixel that is normal. outlier: multiples of it beyond which it loses its influence.
        pixel_correlation_mm: skin of this diameter counts as one pixel. light_error: of the coarse light, relative.
        landmark_noise_mm, landmark_correlation, landmark_outlier: as in :class:`~vultus.fit.landmarks.LandmarkOptions`.
        contour_noise_mm: of the photo's outline. contour_scale_mm: distance beyond which the outline is more likely wrong.
        contour_correlation_mm: outline of this length counts as one observation.
        photometric, landmarks: False leaves the term out.
        shared_error: correlation of the errors of several photos of one person: detector and albedo model err alike each time.
        agreement_mm: size of the structures on whose place several photos must agree, on each map. agreement_noise: disagreement that is
            normal; agreement_outlier: multiples of it beyond which a point loses its influence. agreement_share: what a patch of that size
            is worth, 0 for nothing. pose_error: of each photo, see :func:`~vultus.fit.agreement.agreement_term`.
    """

    prior: PriorOptions = field(default_factory=PriorOptions)
    contour: Contour = "2d"
    sizes: tuple[int, ...] = (16, 32, 64)
    iterations: int = 2
    steps: int = 30
    face_px: float = 140.0
    noise: float = 0.12
    outlier: float = 2.0
    pixel_correlation_mm: float = 11.0
    light_error: float = 0.1
    landmark_noise_mm: float = 0.5
    landmark_correlation: float = 20.0
    landmark_outlier: float = 4.0
    contour_noise_mm: float = 1.0
    contour_scale_mm: float = 3.0
    contour_correlation_mm: float = 10.0
    photometric: bool = True
    landmarks: bool = True
    shared_error: float = 0.3
    agreement_mm: tuple[float, ...] = (4.0, 2.5, 1.5)
    agreement_noise: float = 0.5
    agreement_outlier: float = 2.0
    agreement_share: float = 0.1
    pose_error: tuple[float, float, float] = (0.3, 0.3, 3.0)


@dataclass(frozen=True)
class Evidence:
    """What the photo says, found before the fit.

    Attributes:
        basis: the model's landmarks. points_px: (l, 2), where their surface points should appear. trust: (l,).
        outline: of the face in the photo, for the two-dimensional contour. rows: of the skin mask, for the published one.
    """

    basis: LandmarkBasis
    points_px: np.ndarray
    trust: np.ndarray
    outline: Outline | None = None
    rows: RowExtent | None = None


@dataclass(frozen=True)
class Observation:
    """One posed photo of a person: its coarse face, whose code, light and albedo stay as they are, and what it says."""

    view: View
    coarse: CoarseFace
    evidence: Evidence


@dataclass(frozen=True)
class DeformationFit:
    """A map "3 m m" and name of each term -> cost before the last step."""

    deformation_mm: Tensor
    cost: dict[str, float]
    iterations: int


def evidence_of(
    view: View,
    model: MorphableModel,
    coarse: CoarseFace,
    basis: LandmarkBasis,
    points_px: np.ndarray,
    trust: np.ndarray,
    outline: Outline | None,
) -> Evidence:
    """Landmarks, the outline if there is one, and the extent of the skin mask.

    Args:
        points_px: (l, 2) detected. trust: (l,). The detector's known offsets from the surface are taken off here.
    """
    surface = points_px - detector_offset_px(model, basis, view.camera, coarse.code)
    return Evidence(basis, surface, trust, outline, row_extent(view.skin_mask))


def fit_deformation(
    view: View, model: MorphableModel, coarse: CoarseFace, evidence: Evidence, options: DeformationOptions
) -> DeformationFit:
    """The most probable deformation map of a posed view.

    Args:
        view: posed. coarse: its code, light and albedo stay as they are.
    """
    return fit_shared_deformation([Observation(view, coarse, evidence)], model, options)


def fit_shared_deformation(
    observations: Sequence[Observation], model: MorphableModel, options: DeformationOptions
) -> DeformationFit:
    """The most probable deformation map of one person whom several posed views show, each with its own expression and light."""
    bases = [model.vertices(seen.coarse.code) for seen in observations]
    openings = [openings_of(model, base) for base in bases]
    region = outline_region(model)
    # Around openings, lips and brows light is blocked and skin has other colours: nothing there is shading alone.
    shaded = 1 - torch.exp(-((distance_to_openings(model) / _UNSHADED_MM) ** 2))
    trust = 1 / (1 + options.shared_error * (len(observations) - 1))
    size = options.sizes[0]
    values = torch.zeros(3, size, size)
    cost: dict[str, float] = {}
    count = 0
    for level, size in enumerate(options.sizes):
        structure_mm = options.agreement_mm[min(level, len(options.agreement_mm) - 1)]
        looks = _structures(observations, structure_mm, options)
        values = torch.nn.functional.interpolate(values[None], (size, size), mode="bilinear")[0]
        operator = deformation_operator(model, size)
        prior = map_prior(model, size, options.prior)
        for _ in range(options.iterations):
            offsets = operator.offsets_mm(values)
            terms: list[tuple[str, LinearTerm]] = []
            for seen, base, opening in zip(observations, bases, openings):
                terms += _closed(opening, base + offsets, base)
                known = _terms(seen, model, base + offsets, region, shaded, options)
                terms += [(name, term.trusted(trust)) for name, term in known]
            if looks:
                shapes = [base + offsets for base in bases]
                agreed = _agreement(observations, model, looks, shapes, structure_mm, options)
                terms.append(("agreement", agreed))
            flat = values.flatten(1).T.double().numpy()
            flat = flat + _solve([term for _, term in terms], operator.matrix, prior, flat, options.steps)
            values = torch.from_numpy(flat.T.reshape(values.shape)).float()
            cost = {"prior": prior.energy(flat)}
            for name, term in terms:
                cost[name] = cost.get(name, 0.0) + term.energy()
            count += 1
    prior = map_prior(model, options.sizes[-1], options.prior)
    operator = deformation_operator(model, options.sizes[-1])
    for base, opening in zip(bases, openings):
        values = _freed_lids(opening, base, values, operator, prior, options.steps)
    return DeformationFit(values, cost, count)


def _freed_lids(
    openings: Openings,
    base: Tensor,
    values: Tensor,
    operator: DeformationOperator,
    prior: MapPrior,
    steps: int,
) -> Tensor:
    """The least change of a map "3 m m" that takes lids out of the eyeballs: which of them are in it is known only at the end."""
    for _ in range(_LID_STEPS):
        term = lid_term(openings, base + operator.offsets_mm(values))
        if not len(term.residual):
            break
        still = np.zeros((operator.size**2, 3))
        change = _solve([term], operator.matrix, prior, still, steps)
        values = values + torch.from_numpy(change.T.reshape(values.shape)).float()
    return values


def _structures(
    observations: Sequence[Observation], structure_mm: float, options: DeformationOptions
) -> list[Appearance]:
    """What each of several photos shows of structures of one size."""
    if len(observations) < 2 or options.agreement_share <= 0:
        return []
    return [appearance_of(seen.view, structure_mm) for seen in observations]


def _agreement(
    observations: Sequence[Observation],
    model: MorphableModel,
    looks: Sequence[Appearance],
    shapes: Sequence[Tensor],
    structure_mm: float,
    options: DeformationOptions,
) -> LinearTerm:
    """Where the photos disagree; patches of the size of the structures count once."""
    skin = model.part_triangles(model.part_names[0])
    weight = torch.zeros(len(observations), len(shapes[0]))
    for row, seen, vertices in zip(weight, observations, shapes):
        samples = sample_skin(seen.view, model, seen.coarse.code, options.face_px, vertices)
        row[samples.ids] = samples.weight
    patches = (vertex_area(shapes[0], skin) / (2 * structure_mm) ** 2).clamp_max(1)
    return agreement_term(
        [seen.view.camera for seen in observations], looks, shapes, weight * patches * options.agreement_share,
        noise=options.agreement_noise, outlier=options.agreement_outlier, pose_error=options.pose_error,
    )  # fmt: skip


def _closed(openings: Openings, vertices: Tensor, base: Tensor) -> list[tuple[str, LinearTerm]]:
    """What holds lids and lips, around the current vertices."""
    terms = [("lids", lid_term(openings, vertices)), ("lips", lip_term(openings, vertices - base))]
    return [(name, term) for name, term in terms if len(term.residual)]


def _terms(
    seen: Observation,
    model: MorphableModel,
    vertices: Tensor,
    region: Tensor,
    shaded: Tensor,
    options: DeformationOptions,
) -> list[tuple[str, LinearTerm]]:
    """Everything that one photo says, around the current vertices."""
    view, coarse, evidence = seen.view, seen.coarse, seen.evidence
    camera = view.camera
    terms: dict[str, LinearTerm] = {}
    if options.photometric and np.isfinite(coarse.light.numpy()).all():
        samples = sample_skin(view, model, coarse.code, options.face_px, vertices)
        samples = replace(samples, weight=samples.weight * shaded[samples.ids])
        terms["photometric"] = photometric_term(
            model, coarse, vertices, samples, noise=options.noise, outlier=options.outlier,
            correlation_mm=options.pixel_correlation_mm, light_error=options.light_error,
        )  # fmt: skip
    if options.landmarks:
        terms["landmarks"] = landmark_term(
            model, evidence.basis, camera, vertices, evidence.points_px, evidence.trust,
            noise_mm=options.landmark_noise_mm, correlation=options.landmark_correlation,
            outlier_sigma=options.landmark_outlier,
        )  # fmt: skip
    if options.contour == "2d" and evidence.outline is not None:
        rim = outline_vertices(camera.project(vertices), model.triangles, region)
        terms["contour"] = contour_term_2d(
            camera, vertices, rim, evidence.outline, noise_mm=options.contour_noise_mm,
            scale_mm=options.contour_scale_mm, correlation_mm=options.contour_correlation_mm,
        )  # fmt: skip
    if options.contour == "1d" and evidence.rows is not None:
        width_px = PUBLISHED_WIDTH_MM * float(camera.focal_px / camera.T_camera_head[2, 3])
        terms["contour"] = contour_term_1d(
            camera, vertices, evidence.rows, width_px, face=model.regions.get("face"),
            noise_mm=options.contour_noise_mm, correlation_mm=options.contour_correlation_mm,
        )  # fmt: skip
    return [(name, term) for name, term in terms.items() if len(term.residual)]


def _solve(
    terms: Sequence[LinearTerm], operator: sparse.csr_matrix, prior: MapPrior, values: np.ndarray, steps: int
) -> np.ndarray:
    """The Gauss-Newton step (n, 3) from map values (n, 3), by conjugate gradients preconditioned with the prior's covariance."""
    wide = sparse.block_diag([operator] * 3, format="csr")
    jacobians = [sparse.csr_matrix(term.jacobian @ wide) for term in terms]

    def curved(step: np.ndarray) -> np.ndarray:
        total = prior.precision @ step
        for jacobian, term in zip(jacobians, terms):
            total = total + (jacobian.T @ term.precise(jacobian @ step.T.ravel())).reshape(3, -1).T
        return total

    downhill = -(prior.precision @ values)
    for jacobian, term in zip(jacobians, terms):
        downhill = downhill - (jacobian.T @ term.precise(term.residual)).reshape(3, -1).T
    step = np.zeros_like(values)
    better = prior.factor.solve(downhill)
    direction, fit = better, float((downhill * better).sum())
    first = fit
    for _ in range(steps):
        if fit <= 1e-4 * first:
            break
        applied = curved(direction)
        length = fit / float((direction * applied).sum())
        step = step + length * direction
        downhill = downhill - length * applied
        better = prior.factor.solve(downhill)
        old, fit = fit, float((downhill * better).sum())
        direction = better + fit / old * direction
    return step
