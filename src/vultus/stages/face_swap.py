"""Uses of dense alignment: pictures from the face chart put into a photo, and one person's face on another's head.

Feng et al., "Joint 3D face reconstruction and dense alignment with position map regression network", ECCV 2018, section 4 and its authors' examples. Here only
visible pixels are painted, hidden parts of the source are filled before, and colours go from photo to photo in one step, without a texture between.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import BadInput
from ..fit.seamless import smooth_offset
from ..render.bake import photo_pyramid, sample_photo
from ..render.shade import linear_from_srgb, srgb_from_linear
from .alignment import Alignment
from .chart_in_photo import (
    ChartWindow,
    chart_window,
    look_up,
    mirrored_values,
    mirrored_vertices,
    vertex_trust,
)

Blend = Literal["over", "paint", "gradient"]
_BORDER = 0.07  # of the chart, over which a swapped face fades out
_RIM = 0.04  # of the face's size: how far inside its border a picture has to agree with the photo
_FLOOR = 0.4  # sRGB, added before the logarithm: between a factor (0) and an offset (a large one)
_ODD = 0.2  # of the difference's logarithm, by which the light may differ from its median along the border
_OPENING = 0.01  # of the face's size: what of lids and lips goes with an opening that is kept
_FIRM = 0.02  # per pixel: agreement is averaged over some seven pixels
_LUMINANCE = (0.2126, 0.7152, 0.0722)


def paste_texture(
    image: Tensor,
    alignment: Alignment,
    texture: Tensor,
    mask: Tensor | None = None,
    *,
    blend: Blend = "over",
    border: float = 0.0,
) -> Tensor:
    """Put a picture on the face chart into the photo, where the photo shows that part of the face.

    Args:
        image: "3 h w" sRGB, the photo that was aligned.
        texture: "3 s s" sRGB over the chart, or "4 s s" with its opacity (not premultiplied).
        mask: "s s", a further opacity from 0 to 1.
        blend: "over" shows the colours as they are; "paint" shades them as the skin below is shaded; "gradient" shifts them smoothly so that they
            fit the photo around them (for skin).
        border: over which part of the chart the picture fades out towards the chart's border.

    Returns:
        "3 h w".

    Raises:
        BadInput: shapes that do not fit, another blend, or a face outside of the photo.
    """
    alignment.check_photo(image)
    if texture.ndim != 3 or texture.shape[0] not in (3, 4) or texture.shape[1] != texture.shape[2]:
        raise BadInput(f"a texture of shape {tuple(texture.shape)}: give (3 or 4, s, s) over the face chart")
    if mask is not None and mask.shape != texture.shape[1:]:
        raise BadInput(f"a mask of shape {tuple(mask.shape)} for a texture of {tuple(texture.shape[1:])}: give the same size")  # fmt: skip
    if blend not in ("over", "paint", "gradient"):
        raise BadInput(f"blend '{blend}': choose over, paint or gradient")
    opacity = texture[3] if len(texture) == 4 else torch.ones_like(texture[0])
    opacity = opacity if mask is None else opacity * mask.to(opacity)
    window = chart_window(alignment)
    # Premultiplied: the colour of what is transparent must not come in.
    drawn = look_up(torch.cat([texture[:3] * opacity, opacity[None]]), window)
    colours = drawn[:3] / drawn[3:].clamp_min(1e-4)
    alpha = (drawn[3] * window.soft(border)).clamp(0, 1)
    photo = image[:, window.rows, window.columns]
    if blend == "paint":
        colours = _shaded(colours, photo, window)
    elif blend == "gradient":
        colours = _fitted(colours, photo, window, alpha)
    return _put(image, window, colours, alpha)


def swap_face(
    target_image: Tensor,
    target: Alignment,
    source_image: Tensor,
    source: Alignment,
    *,
    keep_openings: bool = False,
) -> Tensor:
    """The source's face on the target's head: the target's shape and pose, the source's colours, fitted to the light around.

    What the source's photo hides shows the other side of the source's face, and where that is hidden too, the target's own.

    Args:
        target_image, source_image: "3 h w" sRGB, the photos that were aligned.
        keep_openings: leave the target's own eyes and inner mouth, for faces that differ in which of them are open.

    Returns:
        "3 h w", the target's photo with another face.

    Raises:
        BadInput: photos of other sizes than those aligned, different models, or a face outside of the photo.
    """
    target.check_photo(target_image)
    source.check_photo(source_image)
    if target.model is not source.model:
        raise BadInput(f"faces aligned with different models ({target.model.name}, {source.model.name}): align both with one")  # fmt: skip
    window = chart_window(target)
    photo = target_image[:, window.rows, window.columns]
    colours = _completed(photo, window, source_image, source)
    alpha = window.soft(_BORDER)
    if keep_openings:
        alpha = alpha * (1 - _blurred(_near(window.membrane, _OPENING)))
    return _put(target_image, window, _fitted(colours, photo, window, alpha), alpha)


def _completed(photo: Tensor, window: ChartWindow, image: Tensor, source: Alignment) -> Tensor:
    """The source's colours at the target's pixels "3 h w": seen, else mirrored, else the target's own; each fitted to the one before."""
    own_trust = vertex_trust(source.vertices_px, source.surface.triangles) * source.visible
    seen, seen_weight = _from_source(window, image, source.vertices_px, own_trust)
    mirror_trust = mirrored_values(source, own_trust)
    other, other_weight = _from_source(window, image, mirrored_vertices(source), mirror_trust)
    other = other + smooth_offset(seen - other, _FIRM * seen_weight * other_weight)
    colours = torch.lerp(other, seen, seen_weight)
    weight = torch.maximum(seen_weight, other_weight)
    rest = photo + smooth_offset(colours - photo, _FIRM * weight)
    return torch.lerp(rest, colours, weight)


def _from_source(
    window: ChartWindow, image: Tensor, points_px: Tensor, trust: Tensor
) -> tuple[Tensor, Tensor]:
    """A photo's colours "3 h w" at the places "n 3" that it shows the vertices, and how far to trust them "h w"."""
    drawn = window.draw(torch.cat([points_px[:, :2], trust[:, None].to(points_px)], 1))
    wanted = window.covered & (drawn[2] > 0)
    places = window.fill(drawn[:2])  # without steps at the outline, which would look like large texels
    # A pixel between a vertex that is seen and one that is not is seen rather than not: hidden parts begin further on.
    weight = (2 * drawn[2]).clamp(0, 1) * window.covered
    return sample_photo(photo_pyramid(image, places, wanted), places), weight


def _fitted(colours: Tensor, photo: Tensor, window: ChartWindow, alpha: Tensor) -> Tensor:
    """Colours shifted smoothly, so that they agree with the photo along the border of what is shown, as far as that is seen squarely.

    At the face's outline they need not: the photo beside it may be background.
    """
    rim = _near((alpha < 0.5) & window.covered, _RIM) * (alpha > 0.02)
    weight = _FIRM * rim * window.trust
    difference = _levels(photo) - _levels(colours)
    if bool((weight > 0).any()):  # hair, collars and background at the border are no reason to tint a face
        usual = difference[:, weight > 0].median(1).values[:, None, None]
        difference = usual + (difference - usual).clamp(-_ODD, _ODD)
    return (_levels(colours) + smooth_offset(difference, weight)).exp() - _FLOOR


def _levels(colours: Tensor) -> Tensor:
    """sRGB so that light is nearly an offset: darkening lessens contrasts too, and brightening does not blow up the noise of dark pixels."""
    return (colours.clamp_min(0) + _FLOOR).log()


def _shaded(colours: Tensor, photo: Tensor, window: ChartWindow) -> Tensor:
    """Paint as bright as it is on the skin below: in linear light, times the skin's brightness over that of most of the face."""
    light = torch.einsum("c,chw->hw", photo.new_tensor(_LUMINANCE), linear_from_srgb(photo))
    usual = light[window.covered].quantile(0.7) if bool(window.covered.any()) else light.mean()
    return srgb_from_linear((linear_from_srgb(colours) * (light / usual.clamp_min(1e-3)).clamp(0, 1.6)).clamp(0, 1))  # fmt: skip


def _put(image: Tensor, window: ChartWindow, colours: Tensor, alpha: Tensor) -> Tensor:
    """The photo with colours "3 h w" over its window, as opaque as "h w" says."""
    result = image.clone()
    part = result[:, window.rows, window.columns]
    result[:, window.rows, window.columns] = torch.lerp(part, colours.clamp(0, 1), alpha)
    return result


def _near(mask: Tensor, share: float) -> Tensor:
    """Pixels "h w" within a share of the window's size of a mask "h w" bool: 0 or 1."""
    reach = max(2, round(share * sum(mask.shape) / 2))
    return F.max_pool2d(mask.float()[None, None], 2 * reach + 1, stride=1, padding=reach)[0, 0]


def _blurred(weight: Tensor) -> Tensor:
    """Weights "h w" averaged over 5 x 5 pixels."""
    return F.avg_pool2d(weight[None, None], 5, stride=1, padding=2, count_include_pad=False)[0, 0]
