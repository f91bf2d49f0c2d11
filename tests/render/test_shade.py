from dataclasses import replace

import pytest
import torch
from shapes import camera, sphere

from vultus.errors import BadInput
from vultus.geometry.light import ambient_and_directional, frontal_light
from vultus.geometry.rigid import rigid_transform, rotation_from_axis_angle
from vultus.render.shade import linear_from_srgb, over, render, sample_texture, srgb_from_linear

DOUBLE = torch.float64


def scene():
    vertices, triangles = sphere(rings=8, sectors=12)
    generator = torch.Generator().manual_seed(0)
    albedo = torch.rand(len(vertices), 3, generator=generator, dtype=DOUBLE)
    light = ambient_and_directional(
        torch.full((3,), 0.3, dtype=DOUBLE),
        torch.tensor([0.9, 0.7, 0.5], dtype=DOUBLE),
        torch.tensor([0.5, -0.4, -1.0], dtype=DOUBLE),
    )
    return vertices, triangles, albedo, light


def moved(view, motion):
    """The camera after a small rotation and translation, six numbers."""
    change = rigid_transform(rotation_from_axis_angle(motion[:3]), motion[3:])
    return replace(view, T_camera_head=change @ view.T_camera_head)


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("what", ["vertices", "light", "motion", "focal", "albedo"])
def test_gradients_of_a_whole_render_match_finite_differences(what, backend):
    """Central differences in float64, over the pixels whose triangle stays the same: the rest are edges."""
    vertices, triangles, albedo, light = scene()
    view = camera()
    generator = torch.Generator().manual_seed(1)
    start = {
        "vertices": vertices,
        "light": light,
        "motion": torch.zeros(6, dtype=DOUBLE),
        "focal": view.focal_px,
        "albedo": albedo,
    }
    step = torch.randn(start[what].shape, generator=generator, dtype=DOUBLE)
    step = step / step.norm()

    def image(offset):
        values = dict(start)
        values[what] = values[what] + offset * step
        seen_from = moved(replace(view, focal_px=values["focal"]), values["motion"])
        return (
            render(
                values["vertices"],
                triangles,
                seen_from,
                values["light"],
                albedo=values["albedo"],
                backend=backend,
            ),
            values,
            seen_from,
        )

    def ids(offset):
        from vultus.render.raster import rasterize

        _, values, seen_from = image(offset)
        return rasterize(
            seen_from.project(values["vertices"])[None], triangles, view.size_px, backend=backend
        ).triangle_ids

    # An error of 2nd order in the step, ~ step^2 * third derivative (< 1e-4 / unit^3 of these scenes), beside rounding 1e-16 / step.
    size = 1e-4
    steady = ((ids(size) == ids(0.0)) & (ids(-size) == ids(0.0)) & (ids(0.0) >= 0))[0]
    assert steady.sum() > 500
    upstream = torch.rand(1, 3, *steady.shape, generator=generator, dtype=DOUBLE) * steady

    def loss(offset):
        return (image(offset)[0][:, :3] * upstream).sum()

    offset = torch.zeros((), dtype=DOUBLE, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(offset), offset)
    numeric = (loss(size) - loss(-size)) / (2 * size)
    assert abs(float(gradient)) > 1e-3
    assert float(gradient.detach()) == pytest.approx(float(numeric), rel=1e-6)


def test_srgb_and_back():
    x = torch.linspace(-0.1, 1.2, 200, dtype=DOUBLE, requires_grad=True)
    torch.testing.assert_close(
        srgb_from_linear(linear_from_srgb(x)), x, rtol=0, atol=3e-7
    )  # the standard's own constants jump there
    assert float(linear_from_srgb(torch.tensor(0.5))) == pytest.approx(0.21404, abs=1e-5)
    srgb_from_linear(linear_from_srgb(x)).sum().backward()
    assert x.grad.isfinite().all()
    zero = torch.zeros(3, requires_grad=True)
    srgb_from_linear(zero).sum().backward()
    assert zero.grad.isfinite().all()


def test_batch_is_a_loop():
    vertices, triangles, albedo, light = scene()
    shapes = torch.stack([vertices, 0.8 * vertices])
    view = camera()
    poses = torch.stack([view.T_camera_head, moved(view, 0.1 * torch.ones(6, dtype=DOUBLE)).T_camera_head])
    whole = render(
        shapes,
        triangles,
        replace(view, T_camera_head=poses),
        torch.stack([light, 0.5 * light]),
        albedo=albedo,
    )
    for i in range(2):
        alone = render(
            shapes[i], triangles, replace(view, T_camera_head=poses[i]), (1 - 0.5 * i) * light, albedo=albedo
        )
        torch.testing.assert_close(whole[i : i + 1], alone, rtol=1e-9, atol=1e-12)


def test_supersampling_averages_and_keeps_colour():
    vertices, triangles, albedo, light = scene()
    one, four = (render(vertices, triangles, camera(), light, albedo=albedo, samples=s) for s in (1, 4))
    assert one.shape == four.shape == (1, 4, 40, 48)
    assert set(one[:, 3].unique().tolist()) == {0.0, 1.0}
    assert len(four[:, 3].unique()) > 3
    # About 130 of 1,920 pixels lie on the outline, each rounded by 0.29 (uniform): 0.29 * sqrt(130) / 1920 = 0.0017; three times that.
    assert float((one - four).mean().abs()) < 5e-3
    # Premultiplied: an unlit white ball over white is white everywhere, borders included.
    white = over(render(vertices, triangles, camera(), samples=4), torch.ones(3, dtype=DOUBLE))
    torch.testing.assert_close(white, torch.ones_like(white))


def test_texture_equals_vertex_colour_where_both_are_linear():
    view = camera()
    xy = torch.tensor([[-90, 70], [90, 70], [90, -70], [-90, -70]], dtype=DOUBLE)
    vertices = torch.cat([xy, torch.tensor([[20], [-30], [10], [0]], dtype=DOUBLE)], -1)
    triangles = torch.tensor([[0, 3, 1], [1, 3, 2]])
    uv = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=DOUBLE)
    inner = 0.1 + 0.8 * uv  # border texels repeat outside of the centres
    side = 64
    ramp = (torch.arange(side, dtype=DOUBLE) + 0.5) / side
    texture = torch.stack(
        [ramp.expand(side, side), ramp[:, None].expand(side, side), torch.full((side, side), 0.5)]
    )
    colour = torch.cat([inner, torch.full((4, 1), 0.5, dtype=DOUBLE)], -1)
    light = frontal_light(dtype=DOUBLE)
    expected = render(vertices, triangles, view, albedo=colour)
    torch.testing.assert_close(
        render(vertices, triangles, view, texture=texture, uv=inner), expected, rtol=0, atol=1e-9
    )
    corners = render(
        vertices,
        triangles,
        view,
        light,
        texture=texture,
        uv=inner[triangles.reshape(-1)],
        uv_triangles=torch.arange(6).reshape(2, 3),
    )
    torch.testing.assert_close(
        corners, render(vertices, triangles, view, light, texture=texture, uv=inner), rtol=0, atol=1e-9
    )


def test_texel_centres():
    texture = torch.arange(12.0).reshape(1, 3, 4)
    v, u = torch.meshgrid((torch.arange(3) + 0.5) / 3, (torch.arange(4) + 0.5) / 4, indexing="ij")
    torch.testing.assert_close(
        sample_texture(texture, torch.stack([u, v])[None])[0], texture, rtol=0, atol=1e-5
    )


def test_a_texture_needs_coordinates():
    vertices, triangles, _, _ = scene()
    texture = torch.ones(3, 4, 4, dtype=DOUBLE)
    with pytest.raises(BadInput, match="uv"):
        render(vertices, triangles, camera(), texture=texture)
    with pytest.raises(BadInput, match="uv_triangles"):
        render(vertices, triangles, camera(), texture=texture, uv=torch.zeros(3, 2, dtype=DOUBLE))


def test_nothing_in_view():
    vertices, triangles, albedo, light = scene()
    image = render(
        vertices + torch.tensor([0.0, 0.0, 2000.0], dtype=DOUBLE), triangles, camera(), light, albedo=albedo
    )
    assert (image == 0).all()
