"""The temporal block in plain PyTorch: its gradients, causal padding, its dropout, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F

from tarpon.models.ops import OPS
from tarpon.models.ops.dropout import hash_dropout
from tarpon.models.ops.tcn.block import temporal_block
from tarpon.models.ops.tcn.reference import temporal_block_reference, temporal_conv
from tarpon.models.ops.tcn.spec import run_published

NORMS = {"frame": "temporal_block", "clip": "temporal_block_clip"}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("channels", "norm"), [(16, "frame"), (5, "frame"), (16, "clip"), (5, "clip")])
def test_gradients(channels, norm, causal):
    given = OPS[NORMS[norm]].inputs((2, 5, channels, 16), dtype=torch.float64, device="cpu", seed=1)
    leaves = [name for name, value in given.items() if torch.is_tensor(value) and value.requires_grad]

    def function(*values):
        return temporal_block_reference(**given | dict(zip(leaves, values, strict=True)), causal=causal)

    assert torch.autograd.gradcheck(function, [given[name] for name in leaves], fast_mode=True)


@pytest.mark.parametrize("taps", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 4, 30])
def test_causal_conv_equals_torch_padded_on_the_left(taps, dilation):
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(size, dtype=torch.float64) for size in ((2, 17, 6), (4, taps, 6), (4,)))
    padded = F.pad(x.transpose(1, 2), (dilation * (taps - 1), 0))
    expected = F.conv1d(padded, weight.permute(0, 2, 1), bias, dilation=dilation).transpose(1, 2)
    torch.testing.assert_close(temporal_conv(x, weight, bias, dilation=dilation, causal=True), expected)


def test_causal_sees_nothing_to_come():
    given = OPS["temporal_block"].inputs((1, 12, 16, 16), dtype=torch.float64, device="cpu", seed=1) | {"causal": True}
    given["valid"][:] = True
    temporal_block(**given)[0, 6].sum().backward()
    seen = given["x"].grad[0].abs().sum(-1).nonzero().flatten().tolist()
    assert seen == [2, 4, 6]


@pytest.mark.parametrize("norm", list(NORMS))
def test_equals_torchs_own_layers_on_full_clips(norm):
    given = OPS[NORMS[norm]].inputs((2, 13, 12, 16), dtype=torch.float64, device="cpu", seed=1)
    given |= {"valid": torch.ones(2, 13, dtype=torch.bool), "dropout": 0.0}
    torch.testing.assert_close(temporal_block(**given), run_published(**given))


def test_dropout_drops_the_branch_and_not_the_trunk():
    given = OPS["temporal_block"].inputs((2, 13, 16, 16), dtype=torch.float64, device="cpu", seed=1)
    given["valid"][:] = True
    branch = temporal_block(**given | {"dropout": 0.0}) - given["x"]
    expected = given["x"] + hash_dropout(branch, 0.3, given["seed"])
    torch.testing.assert_close(temporal_block(**given), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"valid": torch.ones(2, 9)}, "bool"),
        ({"weight": torch.ones(16, 3, 7)}, r"\(H, k, C\)"),
        ({"bias": torch.ones(3)}, r"must be \(16,\)"),
        ({"norm": "batch"}, "'frame'"),
        ({"dilation": 0}, "at least 1"),
        ({"weight": torch.ones(16, 2, 12)}, "odd unless causal"),
        ({"project": None, "project_bias": None}, "12 channels in and 16 out"),
        ({"project_bias": None}, r"with a bias \(16,\)"),
        ({"dropout": 1.0}, r"in \[0, 1\)"),
    ],
)
def test_mistakes_are_explained(change, message):
    given = OPS["temporal_block"].inputs((2, 9, 12, 16), dtype=torch.float32, device="cpu", seed=1)
    with pytest.raises(ValueError, match=message):
        temporal_block(**given | change)
