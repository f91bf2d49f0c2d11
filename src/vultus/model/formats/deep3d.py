"""The 257 coefficients of Deep3D and HRN, to and from a face of ours on the ``bfm`` model: identity, pose and light carry over exactly.

Order: identity 80, expression 64, texture 80, angles 3 (radians, about x, y, z), light 27 (:func:`light_from_gamma`), translation 3
(decimetres). Their posed point is ``x = R_z R_y R_x v + t`` with ``v`` in decimetres around the mean vertex, y up, z towards the
viewer; the camera stands at z = 10 dm: ``u = f x / (10 - z) + 112``, and the same for y **upwards** (f = 1015 on 224 px).
Deng et al., "Accurate 3D face reconstruction with weakly-supervised learning", CVPRW 2019, as in the authors' code.

In our terms: the principal point is the middle of the image, in coordinates whose pixel centres are at +0.5, where their renderer has it.
Their landmark loss turns rows around as 223 - v instead of 224 - v: compare with published landmarks accordingly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import BadInput
from ...geometry.camera import Camera
from ...geometry.light import gamma_from_light, light_from_gamma
from ...geometry.rigid import FRONTAL, pose_angles, rigid_transform, rotation_from_pose_angles
from ..face import CoarseFace, FaceCode
from ..morphable import MorphableModel

SECTIONS = (80, 64, 80, 3, 27, 3)
NUM_COEFFICIENTS = sum(SECTIONS)
MM_PER_DM = 100.0
CAMERA_DISTANCE_MM = 1000.0
FOCAL_PX, SIZE_PX = 1015.0, 224


def code_from_coefficients(coefficients: Tensor, model: MorphableModel) -> CoarseFace:
    """A coefficient vector "... 257" -> code, pose and light for :mod:`vultus.model.formats.bfm`'s model.

    Raises:
        BadInput: another number of coefficients, or a model with other modes.
    """
    _check(model)
    if coefficients.shape[-1] != NUM_COEFFICIENTS:
        raise BadInput(
            f"expected {NUM_COEFFICIENTS} coefficients of Deep3D or HRN, got {coefficients.shape[-1]}"
        )
    identity, expression, albedo, angles_rad, gamma, shift_dm = coefficients.split(SECTIONS, -1)
    pitch, yaw, roll = torch.rad2deg(angles_rad).unbind(-1)
    rotation = rotation_from_pose_angles(yaw, pitch, roll)
    # Head-frame points are their points less the mean vertex: put it back before turning.
    to_their_origin = -model.mean_mm.double().mean(0).to(coefficients)
    forward = coefficients.new_tensor([0.0, 0.0, CAMERA_DISTANCE_MM])
    translation = rotation @ to_their_origin + MM_PER_DM * shift_dm @ FRONTAL.to(coefficients) + forward
    return CoarseFace(
        FaceCode(identity, expression, albedo),
        rigid_transform(rotation, translation),
        light_from_gamma(gamma),
    )


def coefficients_from_code(face: CoarseFace, model: MorphableModel) -> Tensor:
    """Inverse of :func:`code_from_coefficients`: "... 257"; angles come back in (-pi, pi], about y in [-pi/2, pi/2]."""
    _check(model)
    code, pose = face.code, face.T_camera_head
    angles = pose_angles(pose[..., :3, :3])
    angles_rad = torch.deg2rad(torch.stack([angles.pitch_deg, angles.yaw_deg, angles.roll_deg], -1))
    to_their_origin = -model.mean_mm.double().mean(0).to(pose)
    forward = pose.new_tensor([0.0, 0.0, CAMERA_DISTANCE_MM])
    shift = pose[..., :3, 3] - pose[..., :3, :3] @ to_their_origin - forward
    shift_dm = shift @ FRONTAL.to(pose) / MM_PER_DM
    parts = (code.identity, code.expression, code.albedo, angles_rad, gamma_from_light(face.light), shift_dm)
    return torch.cat(parts, -1)


def papers_camera(T_camera_head: Tensor) -> Camera:
    """The camera of their 224-pixel crop for a pose "... 4 4"."""
    focal = T_camera_head.new_full(T_camera_head.shape[:-2], FOCAL_PX)
    middle = T_camera_head.new_full((*T_camera_head.shape[:-2], 2), SIZE_PX / 2)
    return Camera(focal, middle, (SIZE_PX, SIZE_PX), T_camera_head)


def _check(model: MorphableModel) -> None:
    modes = (len(model.identity_mm), len(model.expression_mm), len(model.albedo))
    if modes != SECTIONS[:3]:
        raise BadInput(
            f"the model {model.name} has {modes} modes, the coefficients are for {SECTIONS[:3]} (bfm)"
        )
