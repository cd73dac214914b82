"""Masked loss terms against PyTorch's own on the known rows, and the promises about splitting a batch."""

import math

import pytest
import torch
import torch.nn.functional as F

from tarpon.train.tasks.fish.losses import (
    TrainFacts,
    attribute_losses,
    binary_cross_entropy,
    cross_entropy,
    smooth_l1,
    train_facts,
)

WEIGHTS = {"family": 1.0, "order": 0.5, "habitat": 0.5, "troph": 0.5, "feeding": 0.5}
CLASSES = {"family": 5, "order": 3, "feeding": 2}


def rows(count: int = 24, *, seed: int = 0, missing: int = 6) -> tuple[dict, dict]:
    """Outputs and batch; the first `missing` rows lack habitat, troph and feeding path, and class 4 never occurs."""
    made = torch.Generator().manual_seed(seed)
    out = {
        "family": torch.randn(count, 5, generator=made),
        "order": torch.randn(count, 3, generator=made),
        "habitat": torch.randn(count, 8, generator=made),
        "troph": 3 + 2 * torch.randn(count, 1, generator=made),
        "feeding": torch.randn(count, 2, generator=made),
    }
    batch = {
        "family": torch.randint(0, 4, (count,), generator=made),
        "order": torch.randint(0, 3, (count,), generator=made),
        "habitat": torch.randint(0, 2, (count, 8), generator=made),
        "troph": 3 + torch.randn(count, generator=made),
        "feeding": torch.randint(0, 2, (count,), generator=made),
        "row": torch.arange(count),
    }
    batch["habitat"][:missing], batch["troph"][:missing], batch["feeding"][:missing] = -1, torch.nan, -1
    return out, batch


def facts_of(batch: dict, *, balanced: bool = False) -> TrainFacts:
    return train_facts({task: batch[task] for task in WEIGHTS}, classes=CLASSES, balanced=balanced)


def test_over_the_training_rows_each_term_is_torchs_mean_over_known_rows():
    out, batch = rows()
    got = attribute_losses(out, batch, facts=facts_of(batch), weights=WEIGHTS)
    known = slice(6, None)
    want = {
        "family": F.cross_entropy(out["family"], batch["family"]),
        "order": F.cross_entropy(out["order"], batch["order"]),
        "habitat": F.binary_cross_entropy_with_logits(out["habitat"][known], batch["habitat"][known].float()),
        "troph": F.smooth_l1_loss(out["troph"][known, 0], batch["troph"][known]),
        "feeding": F.cross_entropy(out["feeding"][known], batch["feeding"][known]),
    }
    assert list(got) == list(WEIGHTS)
    for task, weight in WEIGHTS.items():
        torch.testing.assert_close(got[task], weight * want[task])


def test_balanced_weights_are_those_of_torch_with_absent_classes_left_out():
    out, batch = rows()
    facts = facts_of(batch, balanced=True)
    counts = torch.bincount(batch["family"], minlength=5).float()
    assert facts.class_weights["family"][4] == 0
    torch.testing.assert_close(facts.class_weights["family"][:4], 24 / (4 * counts[:4]))
    each = F.cross_entropy(out["family"], batch["family"], weight=facts.class_weights["family"], reduction="none")
    got = attribute_losses(out, batch, facts=facts, weights={"family": 1.0})["family"]
    torch.testing.assert_close(got, each.mean())
    yes = batch["habitat"][6:].sum(0)
    torch.testing.assert_close(facts.positive_weights["habitat"], (18 - yes) / yes)


def test_a_habitat_nobody_has_keeps_a_finite_weight():
    labels = {"habitat": torch.tensor([[0, 1], [0, 1], [-1, -1]])}
    facts = train_facts(labels, classes={}, balanced=True)
    assert facts.positive_weights["habitat"].tolist() == [2.0, 0.0]
    assert facts.share["habitat"] == pytest.approx(2 / 3)


def test_smoothing_goes_to_the_classes_that_exist():
    scores = torch.tensor([[1.0, 0.0, 2.0, 9.0]], requires_grad=True)
    log_p = [v - math.log(math.e + 1 + math.exp(2) + math.exp(9)) for v in (1.0, 0.0, 2.0)]
    want = -(0.9 * log_p[2] + 0.1 * sum(log_p) / 3)
    present = torch.tensor([1.0, 1.0, 1.0, 0.0])
    loss = cross_entropy(scores, torch.tensor([2]), weights=present, smoothing=0.1)
    assert float(loss.detach()) == pytest.approx(want, rel=1e-5)
    everywhere = cross_entropy(scores, torch.tensor([2]), weights=torch.ones(4), smoothing=0.1)
    torch.testing.assert_close(everywhere, F.cross_entropy(scores, torch.tensor([2]), label_smoothing=0.1, reduction="none"))
    assert not torch.allclose(everywhere, loss)


def test_unknown_rows_change_nothing_and_get_no_gradient():
    out, batch = rows()
    facts = facts_of(batch, balanced=True)
    spoilt = {task: value.clone() for task, value in out.items()}
    for task in ("habitat", "troph", "feeding"):
        spoilt[task][:6] = 1e4
        spoilt[task].requires_grad_()
    a = attribute_losses(out, batch, facts=facts, weights=WEIGHTS, smoothing=0.1)
    b = attribute_losses(spoilt, batch, facts=facts, weights=WEIGHTS, smoothing=0.1)
    for task in ("habitat", "troph", "feeding"):
        assert float(a[task]) == float(b[task].detach()) > 0
    sum(b.values()).backward()
    for task in ("habitat", "troph", "feeding"):
        assert not spoilt[task].grad[:6].any()
        assert spoilt[task].grad[6:].any(1).all()
        assert spoilt[task].grad.isfinite().all()


def test_a_batch_of_unknown_rows_alone_counts_zero():
    unknown = torch.full((3,), -1)
    scores = torch.randn(3, 5, requires_grad=True)
    total = (
        cross_entropy(scores, unknown, weights=torch.ones(5), smoothing=0.1).sum()
        + binary_cross_entropy(scores, unknown[:, None].expand(3, 5), positive_weights=None).sum()
        + smooth_l1(scores[:, :1], torch.full((3,), torch.nan)).sum()
    )
    total.backward()
    assert float(total.detach()) == 0.0
    assert not scores.grad.any()


@pytest.mark.parametrize("uncertain", [False, True])
def test_any_split_of_a_batch_has_the_same_mean(uncertain):
    """Unknown rows lie all in the first part, so means over known rows would not agree."""
    out, batch = rows()
    facts = facts_of(batch, balanced=True)
    shared = {"log_variance": torch.tensor([0.3, -0.2, 0.1, 0.8, 0.0])} if uncertain else {}

    def terms(part):
        return attribute_losses(
            {task: value[part] for task, value in out.items()} | shared,
            {task: value[part] for task, value in batch.items()},
            facts=facts,
            weights=WEIGHTS,
            smoothing=0.1,
        )

    whole, parts = terms(slice(None)), [terms(slice(at, at + 8)) for at in (0, 8, 16)]
    for task in WEIGHTS:
        torch.testing.assert_close(whole[task], sum(part[task] for part in parts) / 3)


@pytest.mark.parametrize("uncertain", [False, True])
def test_padding_counts_zero_so_that_rescaling_by_real_rows_is_exact(uncertain):
    out, batch = rows()
    if uncertain:
        out["log_variance"] = torch.tensor([0.3, -0.2, 0.1, 0.8, 0.0])
    facts = facts_of(batch)
    padded = {task: torch.cat([value, value[:8]]) for task, value in batch.items()}
    padded["row"][24:] = -1
    more = {task: value if task == "log_variance" else torch.cat([value, value[:8]]) for task, value in out.items()}
    a = attribute_losses(out, batch, facts=facts, weights=WEIGHTS)
    b = attribute_losses(more, padded, facts=facts, weights=WEIGHTS)
    for task in WEIGHTS:
        torch.testing.assert_close(a[task], b[task] * 32 / 24)


def test_uncertainty_by_hand_and_its_optimum():
    out, batch = rows()
    facts = facts_of(batch)
    plain = attribute_losses(out, batch, facts=facts, weights=dict.fromkeys(WEIGHTS, 1.0))
    s = torch.tensor([0.3, -0.2, 0.1, 0.8, 0.0])
    got = attribute_losses(out | {"log_variance": s}, batch, facts=facts, weights=WEIGHTS)
    for k, (task, weight) in enumerate(WEIGHTS.items()):
        half = 0.5 if task == "troph" else 1.0
        torch.testing.assert_close(got[task], weight * (half * torch.exp(-s[k]) * plain[task] + s[k] / 2))
    best = torch.stack([torch.log((1.0 if task == "troph" else 2.0) * plain[task]) for task in WEIGHTS]).requires_grad_()
    sum(attribute_losses(out | {"log_variance": best}, batch, facts=facts, weights=WEIGHTS).values()).backward()
    torch.testing.assert_close(best.grad, torch.zeros(5), atol=1e-6, rtol=0)


def test_missing_habitats_may_be_nan_as_well():
    out, batch = rows()
    floats = batch["habitat"].float()
    floats[:6] = torch.nan
    a, b = (binary_cross_entropy(out["habitat"], labels, positive_weights=None) for labels in (batch["habitat"], floats))
    assert torch.equal(a, b)


def test_a_task_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="no training row has a known troph"):
        train_facts({"troph": torch.full((4,), torch.nan)}, classes={}, balanced=False)


def test_logit_adjustment_is_the_softmax_weighted_by_class_counts():
    """At 1 the balanced softmax: exp(s_c) n_c / sum of all such, with counts 6, 3, 2, 1 and a class that never occurs."""
    label = torch.tensor([0] * 6 + [1] * 3 + [2] * 2 + [3])
    scores = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    facts = train_facts({"family": label}, classes=CLASSES, balanced=False, adjustment=1.0)
    batch = {"family": label, "row": torch.arange(12)}
    got = attribute_losses({"family": scores}, batch, facts=facts, weights={"family": 1.0})["family"]
    lifted = scores.double().exp() * torch.tensor([6, 3, 2, 1, 1])
    want = -(lifted.gather(1, label[:, None])[:, 0] / lifted.sum(1)).log().mean()
    assert got.item() == pytest.approx(want.item(), rel=1e-5)
    half = train_facts({"family": label}, classes=CLASSES, balanced=False, adjustment=0.5)
    torch.testing.assert_close(half.offsets["family"], facts.offsets["family"] / 2)
