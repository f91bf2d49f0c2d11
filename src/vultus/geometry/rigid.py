"""Rotations, rigid and similarity transforms, and their least-squares estimation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def cross_matrix(vectors: Tensor) -> Tensor:
    """Skew-symmetric matrices ``[v]_x`` with ``[v]_x w = v x w``: "... 3" -> "... 3 3"."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return torch.stack(rows, -1).reshape(*vectors.shape[:-1], 3, 3)


def rotation_from_axis_angle(axis_angle_rad: Tensor) -> Tensor:
    """Rodrigues' formula: rotation vectors "... 3" in radians -> matrices "... 3 3"; smooth at zero."""
    squared = (axis_angle_rad**2).sum(-1)[..., None, None]
    small = squared < 1e-8
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    sine_over_angle = torch.where(small, 1 - squared / 6, angle.sin() / angle)
    versine_over_square = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / safe)
    skew = cross_matrix(axis_angle_rad)
    identity = torch.eye(3, dtype=skew.dtype, device=skew.device)
    return identity + sine_over_angle * skew + versine_over_square * (skew @ skew)


def axis_angle_from_rotation(rotations: Tensor) -> Tensor:
    """Inverse of :func:`rotation_from_axis_angle` ("... 3 3" -> "... 3"), through quaternions, stable to pi."""
    m = rotations
    diagonal = torch.diagonal(m, dim1=-2, dim2=-1)
    trace = diagonal.sum(-1)
    # The four candidates of Shepperd's method; the largest component is always well conditioned.
    squares = torch.stack(
        [
            1 + trace,
            1 + 2 * diagonal[..., 0] - trace,
            1 + 2 * diagonal[..., 1] - trace,
            1 + 2 * diagonal[..., 2] - trace,
        ],
        -1,
    )
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    d, e, f = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    candidates = torch.stack(
        [
            torch.stack([squares[..., 0], a, b, c], -1),
            torch.stack([a, squares[..., 1], d, e], -1),
            torch.stack([b, d, squares[..., 2], f], -1),
            torch.stack([c, e, f, squares[..., 3]], -1),
        ],
        -2,
    )
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quaternion = torch.nn.functional.normalize(candidates.gather(-2, best).squeeze(-2), dim=-1)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    norm = imaginary.norm(dim=-1, keepdim=True)
    scale = torch.where(
        norm > 1e-7, 2 * torch.atan2(norm, real) / norm.clamp_min(1e-12), 2 / real.clamp_min(0.5)
    )
    return imaginary * scale


def transform_points(transforms: Tensor, points: Tensor) -> Tensor:
    """Apply homogeneous "... 4 4" transforms to "... n 3" points."""
    return points @ transforms[..., :3, :3].transpose(-1, -2) + transforms[..., None, :3, 3]


def rigid_transform(rotation: Tensor, translation: Tensor) -> Tensor:
    """Assemble "... 4 4" from rotation "... 3 3" and translation "... 3"."""
    top = torch.cat([rotation, translation[..., None]], -1)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=top.dtype, device=top.device)
    return torch.cat([top, bottom.expand(*top.shape[:-2], 1, 4)], -2)


class Similarity(NamedTuple):
    """``target = scale * rotation @ source + translation``."""

    scale: Tensor
    rotation: Tensor
    translation: Tensor

    def apply(self, points: Tensor) -> Tensor:
        """Move points "... n 3"."""
        moved = points @ self.rotation.transpose(-1, -2)
        return self.scale[..., None, None] * moved + self.translation[..., None, :]

    def inverse(self) -> Similarity:
        """The transform that undoes this one."""
        scale, rotation = 1 / self.scale, self.rotation.transpose(-1, -2)
        translation = -scale[..., None] * (rotation @ self.translation[..., None]).squeeze(-1)
        return Similarity(scale, rotation, translation)


def umeyama(
    source: Tensor, target: Tensor, weight: Tensor | None = None, *, with_scale: bool = True
) -> Similarity:
    """The least-squares similarity (or rigid motion) that takes ``source`` to ``target``.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991, eq. 34-42;
    the determinant correction is on the singular values, so the rotation is proper even for mirrored input.

    Args:
        source, target: "... n 3" corresponding points.
        weight: "... n" non-negative, all one when omitted.
        with_scale: estimate a scale; otherwise it is one.
    """
    weight = torch.ones_like(source[..., 0]) if weight is None else weight.expand(source.shape[:-1])
    weight = (weight / weight.sum(-1, keepdim=True))[..., None]
    source_mean = (weight * source).sum(-2, keepdim=True)
    target_mean = (weight * target).sum(-2, keepdim=True)
    x, y = source - source_mean, target - target_mean
    covariance = (weight * y).transpose(-1, -2) @ x
    u, s, vt = torch.linalg.svd(covariance)
    sign = torch.ones_like(s)
    sign[..., 2] = torch.where(torch.linalg.det(u @ vt) < 0, -1.0, 1.0)
    rotation = (u * sign[..., None, :]) @ vt
    if with_scale:
        scale = (s * sign).sum(-1) / (weight * x**2).sum((-1, -2)).clamp_min(1e-30)
    else:
        scale = torch.ones_like(s[..., 0])
    translation = (
        target_mean.transpose(-1, -2) - scale[..., None, None] * rotation @ source_mean.transpose(-1, -2)
    ).squeeze(-1)
    return Similarity(scale, rotation, translation)


# Head frame (y up, z out of the face) -> camera frame of a frontal view (y down, z forward): half a turn about x.
FRONTAL = torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]])


class PoseAngles(NamedTuple):
    """Head pose in degrees; each "..."; zero is frontal. See :func:`pose_angles`."""

    yaw_deg: Tensor
    pitch_deg: Tensor
    roll_deg: Tensor


def pose_angles(rotation_camera_head: Tensor) -> PoseAngles:
    """Yaw, pitch and roll in degrees of a head rotation "... 3 3" (``T_camera_head``'s upper left block).

    ``R_camera_head = FRONTAL @ Rz(roll) @ Ry(yaw) @ Rx(pitch)``. Positive yaw turns the face to the subject's left (towards the
    right border of the image), positive pitch turns it down, positive roll tilts the head towards the subject's right shoulder.
    """
    frontal = FRONTAL.to(rotation_camera_head)
    r = frontal.T @ rotation_camera_head
    yaw = torch.asin((-r[..., 2, 0]).clamp(-1, 1))
    pitch = torch.atan2(r[..., 2, 1], r[..., 2, 2])
    roll = torch.atan2(r[..., 1, 0], r[..., 0, 0])
    return PoseAngles(*(torch.rad2deg(angle) for angle in (yaw, pitch, roll)))


def rotation_from_pose_angles(yaw_deg: Tensor, pitch_deg: Tensor, roll_deg: Tensor) -> Tensor:
    """Inverse of :func:`pose_angles`: degrees "..." -> ``R_camera_head`` "... 3 3"."""
    axes = torch.eye(3, dtype=yaw_deg.dtype, device=yaw_deg.device)
    rx, ry, rz = (
        rotation_from_axis_angle(torch.deg2rad(angle)[..., None] * axes[i])
        for i, angle in ((0, pitch_deg), (1, yaw_deg), (2, roll_deg))
    )
    return FRONTAL.to(yaw_deg) @ rz @ ry @ rx
