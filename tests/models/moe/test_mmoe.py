"""The batched mixture of experts against one written module by module, as it was published."""

import pytest
import torch
from torch import Tensor

from tarpon.models.moe.mmoe import MMoE, mmoe
from tarpon.models.moe.published import convert_published, load_published, read_published_sizes
from tarpon.tools.fish.baseline_trainer import GatedMMoE

OUTPUTS = {"family": 9, "order": 5, "habitat": 8, "troph": 1}
SIZES = {"experts": 3, "hidden": 16, "tower": 10}
D = 12


def published(*, temperature: float = 1.0) -> GatedMMoE:
    """With norms that are not the identity, so that leaving out their affine part shows."""
    torch.manual_seed(1)
    model = GatedMMoE(D, OUTPUTS, **SIZES, temperature=temperature).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_equals_the_published_model_with_every_gradient(temperature):
    theirs = published(temperature=temperature).eval()
    ours = MMoE(D, OUTPUTS, **SIZES, temperature=temperature).double().eval()
    load_published(ours, theirs.state_dict())
    x, x2 = (torch.randn(7, D, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) for _ in range(2))
    want = theirs(x.requires_grad_())
    gates = {task: torch.softmax(gate(x) / temperature, -1) for task, gate in theirs.task_gates.items()}
    got = ours(x2.requires_grad_())
    close = {"rtol": 1e-10, "atol": 1e-10}
    assert list(got) == [*OUTPUTS, "gates"]
    for k, task in enumerate(OUTPUTS):
        torch.testing.assert_close(got[task], want[task], **close)
        torch.testing.assert_close(got["gates"][:, k], gates[task], **close)
    for model in (want, got):
        sum((model[task] ** 2).sum() + model[task].sum() * (k + 1) for k, task in enumerate(OUTPUTS)).backward()
    torch.testing.assert_close(x2.grad, x.grad, **close)
    gradient = convert_published({name: p.grad for name, p in theirs.named_parameters()}, tasks=tuple(OUTPUTS))
    mine = {name: p.grad for name, p in ours.named_parameters()}
    assert gradient.keys() == mine.keys()
    for name, value in mine.items():
        torch.testing.assert_close(value, gradient[name], **close)
        assert value.abs().sum() > 0


@pytest.mark.parametrize(("dim", "experts", "count"), [(1024, 4, 34_193_988), (1024, 8, 59_400_788), (384, 4, 28_930_628)])
def test_parameter_counts_are_the_published_ones(dim, experts, count):
    with torch.device("meta"):
        model = MMoE(dim, {"family": 463, "order": 92, "habitat": 8, "troph": 1}, experts=experts)
        oracle = GatedMMoE(
            dim, {"family": 463, "order": 92, "habitat": 8, "troph": 1}, experts=experts, hidden=2048, tower=1024
        )
    assert sum(p.numel() for p in oracle.parameters()) == sum(p.numel() for p in model.parameters()) == count


def test_sizes_are_read_off_the_published_weights():
    theirs = published()
    sizes = read_published_sizes(theirs.state_dict())
    assert sizes == {"dim": D, "outputs": OUTPUTS, **SIZES}
    model = MMoE(**sizes)
    load_published(model, theirs.float().state_dict())
    assert torch.equal(model.gate.weight[2], theirs.task_gates["habitat"][1].weight.T)


def test_the_feeding_path_keeps_its_published_name_in_their_file_only():
    theirs = GatedMMoE(D, {"family": 9, "feedingpath": 2}, **SIZES)
    model = MMoE(**read_published_sizes(theirs.state_dict())).eval()
    assert list(model.last.outputs) == ["family", "feeding"]
    load_published(model, theirs.state_dict())
    x = torch.randn(3, D)
    torch.testing.assert_close(model(x)["feeding"], theirs.eval()(x)["feedingpath"])


def test_other_weights_are_refused():
    state = published().state_dict()
    with pytest.raises(ValueError, match=r"experts\.1\.4\.bias is missing"):
        convert_published({k: v for k, v in state.items() if k != "experts.1.4.bias"}, tasks=tuple(OUTPUTS))
    with pytest.raises(ValueError, match=r"troph.* has no place in a model of the tasks family, order"):
        convert_published(state, tasks=("family", "order", "habitat"))
    with pytest.raises(ValueError, match=r"expert_in\.weight is \(3, 12, 16\), the model wants \(3, 12, 20\)"):
        load_published(MMoE(D, OUTPUTS, **{**SIZES, "hidden": 20}), state)
    with pytest.raises(ValueError, match="not the published weights"):
        read_published_sizes({"encoder.weight": torch.zeros(1)})


def test_initial_weights_have_the_spread_of_linear_layers():
    torch.manual_seed(0)
    model = MMoE(64, {"a": 50, "b": 3}, experts=4, hidden=128, tower=96)
    for name, fan_in in (("expert_in", 64), ("expert_out", 128), ("gate", 64), ("tower", 128), ("last", 96)):
        for parameter in getattr(model, name).parameters():
            assert parameter.abs().max() <= fan_in**-0.5
        spread = getattr(model, name).weight.std().item()
        assert spread == pytest.approx((3 * fan_in) ** -0.5, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_features_of_any_float_dtype_give_float32_answers(dtype):
    model = MMoE(D, OUTPUTS, **SIZES, uncertainty=True).eval()
    features = torch.randn(5, D).to(dtype)
    out = model(features)
    assert {name: tuple(value.shape) for name, value in out.items()} == {
        **{task: (5, width) for task, width in OUTPUTS.items()},
        "gates": (5, 4, 3),
        "log_variance": (4,),
    }
    assert all(value.dtype == torch.float32 for value in out.values())
    torch.testing.assert_close(out["family"], model(features.float())["family"], rtol=0, atol=0)
    torch.testing.assert_close(out["gates"].sum(-1), torch.ones(5, 4))


def test_autocast_runs_forward_and_backward():
    model = MMoE(D, OUTPUTS, **SIZES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(torch.randn(5, D))
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in out.values())
    sum(value.square().sum() for value in out.values()).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_standardisation_is_part_of_the_weights():
    torch.manual_seed(0)
    features = torch.randn(40, D) * torch.rand(D) * 9 + torch.rand(D) * 5
    mean, std = features.mean(0), features.std(0, correction=0)
    plain = MMoE(D, OUTPUTS, **SIZES).eval()
    model = MMoE(D, OUTPUTS, **SIZES).eval()
    model.load_state_dict(plain.state_dict())
    model.set_standardisation(mean, std)
    torch.testing.assert_close(model(features)["order"], plain((features - mean) / std)["order"])
    other = MMoE(D, OUTPUTS, **SIZES).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(features)["order"], model(features)["order"])


def test_a_feature_that_never_varies_stays_finite_and_nonsense_is_refused():
    model = MMoE(D, OUTPUTS, **SIZES)
    model.set_standardisation(torch.ones(D), torch.zeros(D))
    assert model(torch.ones(2, D))["family"].isfinite().all()
    for mean, std in (
        (torch.ones(D + 1), torch.ones(D)),
        (torch.ones(D), -torch.ones(D)),
        (torch.full((D,), torch.nan), torch.ones(D)),
    ):
        with pytest.raises(ValueError, match="of the features must be"):
            model.set_standardisation(mean, std)


def test_dropout_acts_in_training_only():
    model = MMoE(D, OUTPUTS, **SIZES, dropout=0.5)
    x = torch.randn(4, D)
    assert not torch.equal(model(x)["family"], model(x)["family"])
    model.eval()
    assert torch.equal(model(x)["family"], model(x)["family"])


def test_dropout_is_inside_of_the_experts_and_leaves_the_gates_alone():
    model = MMoE(D, OUTPUTS, **SIZES).double()
    parts = (model.expert_norm, model.expert_in, model.expert_out, model.gate_norm, model.gate)
    tensors = [tensor for part in parts for tensor in part.parameters()]
    x = torch.randn(400, D, dtype=torch.float64)
    mixed, gates = mmoe(x, *tensors)
    torch.manual_seed(0)
    dropped, same = mmoe(x, *tensors, dropout=0.5)
    assert torch.equal(gates, same)
    assert not torch.allclose(dropped, mixed)
    with torch.no_grad():
        model.expert_out.weight.zero_()  # nothing is dropped behind the second layer
    assert torch.equal(mmoe(x, *tensors)[0], mmoe(x, *tensors, dropout=0.5)[0])


def test_every_parameter_learns_and_rows_do_not_mix():
    model = MMoE(D, OUTPUTS, **SIZES, dropout=0.0)
    x = torch.randn(6, D, requires_grad=True)
    out = model(x)
    out["family"][2].sum().backward(retain_graph=True)
    assert [bool(row.any()) for row in x.grad] == [False, False, True, False, False, False]
    sum(out[task].square().sum() for task in OUTPUTS).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_a_gate_far_to_one_side_answers_with_one_expert():
    model = MMoE(D, OUTPUTS, **SIZES, dropout=0.0).double().eval()
    with torch.no_grad():
        model.gate.weight.zero_()
        model.gate.bias.copy_(torch.tensor([[0, 0, 800.0], [0, 800, 0], [0, 0, 0], [800, 0, 0]]))
    normal = torch.randn(5, D, dtype=torch.float64)
    parts = (model.expert_norm, model.expert_in, model.expert_out, model.gate_norm, model.gate)
    tensors = [tensor for part in parts for tensor in part.parameters()]
    mixed, gates = mmoe(normal, *tensors)
    experts = torch.stack(
        [mmoe(normal, *[t[e : e + 1] for t in tensors[:6]], *narrowed(tensors[6:], e))[0][:, 0] for e in range(3)]
    )
    torch.testing.assert_close(mixed[:, 0], experts[2])
    torch.testing.assert_close(mixed[:, 1], experts[1])
    torch.testing.assert_close(mixed[:, 2], experts.mean(0))
    torch.testing.assert_close(mixed[:, 3], experts[0])
    assert gates[:, 2].unique().numel() == 1


def narrowed(gate: list[Tensor], expert: int) -> list[Tensor]:
    """The tensors of one gate over one expert."""
    scale, shift, weight, bias = gate
    return [scale[:1], shift[:1], weight[:1, :, expert : expert + 1], bias[:1, expert : expert + 1]]


@pytest.mark.parametrize("change", [{"experts": 0}, {"dropout": 1.0}, {"temperature": 0.0}])
def test_mistakes_are_explained(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        MMoE(D, OUTPUTS, **{**SIZES, **change})
