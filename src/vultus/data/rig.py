"""A synthetic capture rig as studios have it: people who do not exist, twenty expressions, nine cameras, eight lamps.

The arrangement is that of FaceHD-100 (Lei et al., CVPR 2023, which was never published) with the expressions of FaceScape. A subject is a
random head of the model, bent by a smooth random map that no code of the model explains, with wrinkles and blemished skin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.camera import Camera
from ..geometry.light import frontal_light
from ..geometry.rigid import FRONTAL, rigid_transform, rotation_from_pose_angles
from ..model.face import CoarseFace, DeformedFace, DetailedFace, FaceCode
from ..model.morphable import MorphableModel
from .expressions import weights_of
from .wrinkles import Lamp, wrinkle_map

MAP_SIZE = 64
DISPLACEMENT_SIZE = 512
_IDENTITY_SIGMA, _ALBEDO_SIGMA = 0.8, 0.45
_UNMODELLED_MM = 1.0  # of the random deformation, root mean square
_UNMODELLED_CELLS = 7  # of its grid: bumps are about 25 mm wide
_WRINKLES = (0.15, 1.1)
_FROWN = 0.5  # how much deeper wrinkles are in an expression
_MODEL_MM = 1100.0  # distance of the cameras
_HEAD_MM = 300.0  # what their pictures show across
_POSE_DEG, _POSE_MM = 5.0, 8.0

# fmt: off
EXPRESSIONS: dict[str, dict[str, float]] = {
    "1_neutral": {},
    "2_smile": {"mouthSmile": 0.8, "cheekSquint": 0.4},
    "3_mouth_stretch": {"jawOpen": 0.8, "mouthStretch": 0.4},
    "4_anger": {"browDown": 0.9, "noseSneer": 0.6, "mouthPress": 0.4, "eyeSquint": 0.3},
    "5_jaw_left": {"jawLeft": 0.8},
    "6_jaw_right": {"jawRight": 0.8},
    "7_jaw_forward": {"jawForward": 0.8},
    "8_mouth_left": {"mouthLeft": 0.8},
    "9_mouth_right": {"mouthRight": 0.8},
    "10_dimpler": {"mouthDimple": 0.9},
    "11_chin_raiser": {"mouthShrugLower": 0.8, "mouthShrugUpper": 0.4},
    "12_lip_puckerer": {"mouthPucker": 0.9},
    "13_lip_funneler": {"mouthFunnel": 0.8, "jawOpen": 0.2},
    "14_sadness": {"browInnerUp": 0.8, "mouthFrown": 0.7},
    "15_lip_roll": {"mouthRollLower": 0.8, "mouthRollUpper": 0.7},
    "16_grin": {"mouthSmile": 0.6, "mouthUpperUp": 0.6, "mouthLowerDown": 0.5, "jawOpen": 0.1},
    "17_cheek_blowing": {"cheekPuff": 0.9},
    "18_eye_closed": {"eyeBlink": 1.0},
    "19_brow_raiser": {"browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.4},
    "20_brow_lower": {"browDown": 0.9},
}
"""Name -> ARKit weights; a name without side means both."""
_CAMERAS = {"front": (0, 0), "right30": (30, 0), "left30": (-30, 0), "right60": (60, 0), "left60": (-60, 0), "below": (0, -22),
            "above": (0, 22), "right15": (15, 0), "left15": (-15, 0)}
# fmt: on


@dataclass(frozen=True)
class Subject:
    """A person who does not exist.

    Attributes:
        seed: of the blemishes of the skin. identity, albedo: coefficients. deformation_mm: "3 64 64", what no code explains.
        wrinkles: factor on the depth of wrinkles, 0 for a smooth face.
    """

    seed: int
    identity: Tensor
    albedo: Tensor
    deformation_mm: Tensor
    wrinkles: float


def make_subject(model: MorphableModel, seed: int, *, wrinkles: float = 1.0) -> Subject:
    """The person number ``seed``; wrinkles is a factor on top of their age's."""
    rng = np.random.default_rng([seed, 7919])
    normal = lambda n, sigma: torch.from_numpy(rng.normal(0, sigma, n)).to(model.mean_mm)  # noqa: E731
    identity, albedo = (
        normal(len(model.identity_mm), _IDENTITY_SIGMA),
        normal(len(model.albedo), _ALBEDO_SIGMA),
    )
    cells = torch.from_numpy(rng.normal(0, 1, (1, 3, _UNMODELLED_CELLS, _UNMODELLED_CELLS))).to(model.mean_mm)
    bumps = F.interpolate(cells, (MAP_SIZE, MAP_SIZE), mode="bicubic", align_corners=False)[0]
    deformation = _UNMODELLED_MM * bumps / bumps.square().sum(0).mean().sqrt()
    return Subject(seed, identity, albedo, deformation, wrinkles * float(rng.uniform(*_WRINKLES)))


def expression_weights(model: MorphableModel, name: str) -> Tensor:
    """Weights "e" of one of :data:`EXPRESSIONS`; units that the model lacks are left out."""
    return weights_of(model, EXPRESSIONS[name]).to(model.mean_mm)


def posed_subject(model: MorphableModel, subject: Subject, expression: str = "1_neutral") -> DetailedFace:
    """A subject making a face, with wrinkles that deepen with it; light and pose in it are placeholders."""
    weights = expression_weights(model, expression)
    code = FaceCode(subject.identity, weights, subject.albedo)
    depth = subject.wrinkles * (1 + _FROWN * float(weights.clamp(0, 1).max()))
    pose = rigid_transform(FRONTAL, torch.tensor([0.0, 0.0, _MODEL_MM]))
    return DetailedFace(
        DeformedFace(CoarseFace(code, pose, frontal_light()), subject.deformation_mm),
        wrinkle_map(model, DISPLACEMENT_SIZE, subject.seed, depth),
    )


def head_pose(seed: int, expression: str) -> Tensor:
    """``T_world_head`` "4 4": nobody keeps still between two expressions."""
    rng = np.random.default_rng([seed, list(EXPRESSIONS).index(expression), 104729])
    angles = torch.from_numpy(rng.normal(0, _POSE_DEG, 3)).float().clamp(-12, 12)
    turn = FRONTAL @ rotation_from_pose_angles(*angles)
    return rigid_transform(turn, torch.from_numpy(rng.normal(0, _POSE_MM, 3)).float())


def rig_cameras(number: int, size_px: int) -> dict[str, Camera]:
    """Name -> camera, ``T_camera_head`` meaning ``T_camera_world`` of the rig; at most nine, the most useful first."""
    cameras = {}
    for name, (yaw, pitch) in list(_CAMERAS.items())[:number]:
        rotation = rotation_from_pose_angles(*torch.tensor([float(yaw), float(pitch), 0.0]))
        translation = torch.tensor([0.0, 0.0, _MODEL_MM]) - rotation @ torch.tensor([0.0, -25.0, -30.0])
        focal_px = torch.tensor(size_px * _MODEL_MM / _HEAD_MM)
        pose = rigid_transform(rotation, translation)
        cameras[name] = Camera(focal_px, torch.full((2,), size_px / 2), (size_px, size_px), pose)
    return cameras


def rig_lamps(number: int) -> Tensor:
    """Directions "n 3" to the lamps in the rig's frame: rings of four, at 35 and 65 degrees from the line to the front camera."""
    directions = []
    for i in range(number):
        away = math.radians(35 if i % 2 == 0 else 65)
        around = 2 * math.pi * (i + 0.5 * (i % 2)) / max(number, 1)
        directions.append(
            [math.sin(away) * math.cos(around), math.sin(away) * math.sin(around), math.cos(away)]
        )
    return torch.tensor(directions, dtype=torch.float32).reshape(-1, 3)


def lit_by(directions: Tensor, chosen: int | None, T_camera_world: Tensor) -> tuple[Tensor, list[Lamp]]:
    """Ambient colour "3" and lamps in a camera's frame: all on (None), or one of them and little else."""
    rotation = T_camera_world[:3, :3]
    if chosen is None:
        share = torch.full((3,), 1.1 / max(len(directions), 1))
        return torch.full((3,), 0.25), [Lamp(rotation @ towards, share) for towards in directions]
    return torch.full((3,), 0.18), [Lamp(rotation @ directions[chosen], torch.full((3,), 0.85))]
