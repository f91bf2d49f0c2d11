"""The multigrid solver against dense linear algebra."""

import pytest
import torch

from vultus.fit.poisson import divergence_of, gradient_of, solve_screened_poisson, surface_conductance


def dense_solution(divergence, screening, conductance):
    """Solve the same equations with a full matrix, edge by edge."""
    height, width = screening.shape
    matrix = torch.diag(screening.flatten().double())
    number = torch.arange(height * width).reshape(height, width)
    pairs = (number[:, :-1], number[:, 1:], conductance[0]), (number[:-1], number[1:], conductance[1])
    for first, second, c in pairs:
        for i, j, k in zip(first.flatten().tolist(), second.flatten().tolist(), c.flatten().double()):
            matrix[i, i] += k
            matrix[j, j] += k
            matrix[i, j] -= k
            matrix[j, i] -= k
    solution = torch.linalg.solve(matrix, -divergence.double().flatten(1).T).T
    return solution.reshape(divergence.shape)


@pytest.mark.parametrize("size", [(24, 24), (17, 30), (5, 3)])
@pytest.mark.parametrize("even", [True, False])
def test_like_a_dense_solver(size, even):
    torch.manual_seed(1)
    divergence = torch.randn(2, *size)
    screening = 0.001 + torch.rand(size) ** 4
    edges = (1, size[0], size[1] - 1), (1, size[0] - 1, size[1])
    conductance = tuple(torch.ones(e) if even else 0.3 + 2 * torch.rand(e) for e in edges)
    expected = dense_solution(divergence, screening, conductance)
    solution = solve_screened_poisson(divergence, screening, conductance=conductance, cycles=12)
    torch.testing.assert_close(solution.double(), expected, atol=1e-3 * float(expected.abs().max()), rtol=0)


def test_converges_fast():
    """A step leaves about a fifth of the error, so four of them a thousandth at most."""
    torch.manual_seed(2)
    divergence, screening = torch.randn(1, 64, 64), torch.full((64, 64), 1e-3)
    exact = solve_screened_poisson(divergence.double(), screening.double(), cycles=30)
    error = solve_screened_poisson(divergence, screening, cycles=4) - exact
    assert error.abs().max() < 1e-3 * exact.abs().max()


def test_channels_do_not_know_each_other():
    torch.manual_seed(3)
    divergence, screening = torch.randn(3, 20, 20), torch.rand(20, 20) + 0.01
    together = solve_screened_poisson(divergence, screening)
    apart = torch.cat([solve_screened_poisson(d[None], screening) for d in divergence])
    torch.testing.assert_close(together, apart)


def test_gives_back_an_image_from_its_gradients():
    """With values held on one row only, the gradients carry them over the whole image."""
    y, x = torch.meshgrid(torch.linspace(0, 3, 40), torch.linspace(0, 2, 50), indexing="ij")
    image = torch.stack([torch.sin(x + y), x * y]).double()
    screening = torch.zeros(40, 50, dtype=torch.float64)
    screening[0] = 10.0
    divergence = divergence_of(*gradient_of(image)) - screening * image
    torch.testing.assert_close(
        solve_screened_poisson(divergence, screening, cycles=25), image, atol=1e-5, rtol=0
    )


def test_zero_and_single_cells():
    assert solve_screened_poisson(torch.zeros(3, 16, 16), torch.ones(16, 16)).abs().max() == 0
    torch.testing.assert_close(
        solve_screened_poisson(torch.tensor([[[-6.0]]]), torch.tensor([[3.0]])), torch.tensor([[[2.0]]])
    )


def test_conductance_of_a_stretched_grid():
    """A plane whose columns are twice as far apart as its rows: little flows along a row, much along a column."""
    v, u = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="ij")
    right, down = surface_conductance(torch.stack([2 * u, v, 0 * u]))
    assert right.shape == (1, 6, 4)
    assert down.shape == (1, 5, 5)
    torch.testing.assert_close(right, torch.full_like(right, 0.5))
    torch.testing.assert_close(down, torch.full_like(down, 2.0))
