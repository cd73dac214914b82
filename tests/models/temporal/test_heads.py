"""Heads: shapes, where a heatmap points, and what can be reached."""

import pytest
import torch

from tarpon.models.temporal.heads import ActionHead, KeypointHead, cell_centres


def test_cell_centres_by_hand():
    assert torch.equal(cell_centres(1, 2), torch.tensor([[0.25, 0.5], [0.75, 0.5]]))
    assert torch.equal(cell_centres(2, 1), torch.tensor([[0.5, 0.25], [0.5, 0.75]]))


def test_action_head_is_linear_in_evaluation():
    head = ActionHead(5, 3).eval()
    x = torch.randn(2, 4, 5)
    torch.testing.assert_close(head(x), x @ head.linear.weight.T + head.linear.bias)


def lit_grid(row: int, column: int) -> torch.Tensor:
    grid = torch.zeros(1, 1, 4, 6, 8)
    grid[..., 1] = 1.0
    grid[0, 0, row, column] = torch.eye(8)[0]
    return grid


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 4), (3, 5)])
def test_a_sharp_heatmap_gives_the_centre_of_its_cell(row, column):
    head = KeypointHead(8, 1)
    with torch.no_grad():
        head.heatmap.weight.zero_()
        head.heatmap.weight[0, 0] = 1.0
        head.log_temperature.fill_(-4.0)
    found = head(lit_grid(row, column))[0, 0, 0]
    torch.testing.assert_close(found, torch.tensor([(column + 0.5) / 6, (row + 0.5) / 4]), rtol=0, atol=1e-4)


def test_a_flat_heatmap_gives_the_middle():
    torch.testing.assert_close(KeypointHead(8, 3)(torch.ones(2, 2, 4, 6, 8)), torch.full((2, 2, 3, 2), 0.5))


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_offset_reaches_the_border_and_no_further(sign):
    head = KeypointHead(8, 1)
    corner = (0, 0) if sign < 0 else (3, 5)
    with torch.no_grad():
        head.heatmap.weight.zero_()
        head.heatmap.weight[0, 0] = 1.0
        head.log_temperature.fill_(-6.0)
        head.offset[..., 0] = 1e3 * sign
    expected = torch.full((2,), 0.0 if sign < 0 else 1.0)
    torch.testing.assert_close(head(lit_grid(*corner))[0, 0, 0], expected, rtol=0, atol=1e-5)


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    head = KeypointHead(8, 3)
    (head(torch.randn(2, 3, 4, 4, 8)) - 0.1).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters() if parameter is not head.heatmap.bias)


def test_bf16_answers_in_float32():
    out = KeypointHead(8, 3).bfloat16()(torch.randn(1, 2, 4, 4, 8))
    assert out.dtype == torch.float32
    assert ((out >= 0) & (out <= 1)).all()
