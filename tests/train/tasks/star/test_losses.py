"""Circle, triplet and identity terms: the published forms, worked by hand, and against other implementations."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import ArcFaceLoss

from tarpon.train.tasks.star.losses import MetricLoss, arcface, circle, metric_losses, triplet

ALL = MetricLoss(circle_weight=1.0, triplet_weight=1.0, identity_weight=1.0)
PAIRS = replace(ALL, identity_weight=0.0)


def batch(people: int = 4, each: int = 3, dim: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(people * each, dim, generator=generator), torch.arange(people).repeat_interleave(each)


def angles(*degrees: float) -> torch.Tensor:
    """Unit vectors of the plane."""
    radians = torch.tensor(degrees) * math.pi / 180
    return torch.stack([radians.cos(), radians.sin()], 1)


def circle_by_loops(embedding: torch.Tensor, identity: torch.Tensor, *, margin: float, gamma: float) -> torch.Tensor:
    """Equations 4 to 6 of Sun et al. for one anchor at a time."""
    unit, losses = F.normalize(embedding.double(), dim=1), []
    for i in range(len(unit)):
        cosines = unit[i] @ unit.T
        positive = [s for j, s in enumerate(cosines) if j != i and identity[j] == identity[i]]
        negative = [s for j, s in enumerate(cosines) if identity[j] != identity[i]]
        if positive and negative:
            up = sum(torch.exp(-gamma * max(1 + margin - s.item(), 0) * (s - (1 - margin))) for s in positive)
            down = sum(torch.exp(gamma * max(s.item() + margin, 0) * (s - margin)) for s in negative)
            losses.append(torch.log(1 + up * down))
    return torch.stack(losses).mean()


def test_circle_of_a_perfect_batch_worked_by_hand():
    """Eight identities of four, positives at 1, negatives at 0: ln(1 + 3 e^-4 * 28 e^-4), not the 4.443 of a wrong form."""
    embedding, identity = torch.eye(8).repeat_interleave(4, 0), torch.arange(8).repeat_interleave(4)
    each, used = circle(embedding, identity, margin=0.25, gamma=64)
    assert used.all()
    torch.testing.assert_close(each, torch.full((32,), math.log1p(84 * math.exp(-8))), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("margin", "gamma"), [(0.25, 64), (0.4, 8)])
def test_circle_is_the_published_one(margin, gamma):
    embedding, identity = batch()
    embedding.requires_grad_()
    each, used = circle(embedding, identity, margin=margin, gamma=gamma)
    assert used.all()
    wanted = circle_by_loops(embedding, identity, margin=margin, gamma=gamma)
    torch.testing.assert_close(each.mean().double(), wanted, rtol=1e-5, atol=1e-5)
    (ours,) = torch.autograd.grad(each.mean(), embedding)
    (theirs,) = torch.autograd.grad(wanted, embedding)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_circle_still_pulls_where_a_wrong_form_has_stopped():
    """A positive at 0.8 and a negative at 0.2, both inside of the margins of 0.75 and 0.25."""
    embedding = torch.tensor([[1.0, 0, 0], [0.8, 0.6, 0], [0.2, 0, 0.96**0.5]], requires_grad=True)
    each, _ = circle(embedding, torch.tensor([0, 0, 1]), margin=0.25, gamma=64)
    slope = torch.autograd.grad(each[0], embedding)[0]
    # a_p = 0.45, a_n = 0.45: the exponents are -64*.45*.05 = -1.44 each, d/ds = -/+ 28.8 sigmoid(-2.88)
    pull = 28.8 / (1 + math.exp(2.88))
    unit = embedding.detach()
    tangent = unit[0] - 0.8 * unit[1]  # of s_p along the second embedding, on the sphere
    torch.testing.assert_close(slope[1], -pull * tangent, rtol=1e-4, atol=1e-5)


def test_triplet_worked_by_hand():
    """0 and 60 degrees of one identity, 30 of another, 200 of a third: hardest positive and negative by the cosine distance."""
    embedding, identity = angles(0, 60, 30, 200), torch.tensor([0, 0, 1, 2])
    each, used = triplet(embedding, identity, margin=0.3)
    assert used.tolist() == [True, True, False, False]  # one photograph has no positive
    violation = (1 - 0.5) - (1 - math.cos(math.pi / 6)) + 0.3
    torch.testing.assert_close(each, torch.tensor([violation, violation, 0.0, 0.0]))
    terms = metric_losses({"embedding": 7 * embedding}, identity, options=MetricLoss(circle_weight=0, triplet_weight=0.3))
    assert list(terms) == ["triplet"]
    torch.testing.assert_close(terms["triplet"], torch.tensor(0.3 * violation))  # a mean over two anchors, not four


def test_an_anchor_that_is_right_counts_as_zero_in_the_mean():
    """A library's default leaves it out, which keeps the loss up however few are wrong."""
    embedding, identity = angles(0, 1, 180, 181, 60, 120), torch.tensor([0, 0, 1, 1, 2, 2])
    each, used = triplet(embedding, identity, margin=0.3)
    assert used.all()
    assert (each[2:4] == 0).all()
    assert (each[4:] > 0).all()
    terms = metric_losses({"embedding": embedding}, identity, options=PAIRS)
    torch.testing.assert_close(terms["triplet"], each.sum() / 6)


def test_triplet_picks_the_hardest_pairs():
    embedding, identity = batch()
    distance = 1 - F.normalize(embedding, dim=1) @ F.normalize(embedding, dim=1).T
    same = identity[:, None] == identity
    hardest = distance.masked_fill(~same, -9).amax(1) - distance.masked_fill(same, 9).amin(1)
    torch.testing.assert_close(triplet(embedding, identity, margin=0.3)[0], (hardest + 0.3).relu())


@pytest.mark.parametrize("options", [replace(PAIRS, triplet_weight=0.0), replace(PAIRS, circle_weight=0.0), MetricLoss()])
def test_descent_brings_the_same_identity_together_and_others_apart(options):
    embedding, identity = batch(people=6, each=4)
    same = (identity[:, None] == identity).fill_diagonal_(False)
    other = identity[:, None] != identity
    moving = embedding.clone().requires_grad_()

    def cosines() -> tuple[float, float]:
        unit = F.normalize(moving.detach(), dim=1)
        return (unit @ unit.T)[same].mean().item(), (unit @ unit.T)[other].mean().item()

    optimizer, before = torch.optim.SGD([moving], lr=0.2), cosines()
    for _ in range(200):
        optimizer.zero_grad()
        sum(metric_losses({"embedding": moving}, identity, options=options).values()).backward()
        optimizer.step()
    after = cosines()
    assert after[0] > before[0] + 0.3
    assert not options.circle_weight or after[0] > 0.75
    assert after[1] < before[1]


def test_arcface_is_the_librarys():
    embedding, identity = batch()
    theirs = ArcFaceLoss(num_classes=5, embedding_size=8, margin=math.degrees(0.5), scale=64)
    embedding[:3] = -theirs.W.detach()[:, 0] + 0.05 * embedding[:3]  # past the half turn
    embedding.requires_grad_()
    cosine = F.normalize(embedding, dim=1) @ F.normalize(theirs.W, dim=0)
    ours = arcface(cosine, identity, margin=0.5, scale=64).mean()
    wanted = theirs(embedding, identity)
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)
    for one, other in zip(*(torch.autograd.grad(x, (embedding, theirs.W)) for x in (ours, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_arcface_worked_by_hand():
    """Own angle 60 degrees plus 0.5 radians, the other one 90: softmax over two."""
    out = arcface(torch.tensor([[0.5, 0.0]]), torch.tensor([0]), margin=0.5, scale=2.0)
    torch.testing.assert_close(out, torch.tensor([math.log1p(math.exp(-2 * math.cos(math.pi / 3 + 0.5)))]))


def test_arcface_at_a_cosine_of_1_and_of_minus_1_has_a_slope():
    cosine = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    arcface(cosine, torch.tensor([0, 0]), margin=0.5, scale=64).sum().backward()
    assert cosine.grad.isfinite().all()


@pytest.mark.parametrize("identity", [[0, 0, 0, 0], [0, 1, 2, 3], [-1, -1, -1, -1], [-1, -1, -1, 2], [0, 0, -1, -1]], ids=str)
def test_a_batch_without_pairs_costs_nothing_and_has_a_graph(identity):
    embedding = torch.randn(4, 8, requires_grad=True)
    terms = metric_losses({"embedding": embedding}, torch.tensor(identity), options=PAIRS)
    assert {name: value.item() for name, value in terms.items()} == {"circle": 0, "triplet": 0}
    sum(terms.values()).backward()
    assert (embedding.grad == 0).all()


def test_rows_without_a_partner_are_negatives_only_and_padding_is_nothing():
    embedding, identity = batch()
    alone = torch.cat([embedding, 3 * embedding[:1] + 0.1])
    terms = metric_losses({"embedding": embedding}, identity, options=PAIRS)
    with_negative = metric_losses({"embedding": alone}, torch.cat([identity, torch.tensor([9])]), options=PAIRS)
    assert all(with_negative[name] > terms[name] for name in terms)
    padded = metric_losses({"embedding": alone * torch.tensor(1.0)}, torch.cat([identity, torch.tensor([-1])]), options=PAIRS)
    for name, value in terms.items():
        torch.testing.assert_close(padded[name], value)


def test_only_those_asked_for_are_anchors():
    embedding, identity = batch()
    anchors = identity < 2
    terms = metric_losses({"embedding": embedding}, identity, options=PAIRS, anchors=anchors)
    torch.testing.assert_close(terms["circle"], circle(embedding, identity, margin=0.25, gamma=64)[0][anchors].mean())
    torch.testing.assert_close(terms["triplet"], triplet(embedding, identity, margin=0.3)[0][anchors].mean())
    nobody = metric_losses({"embedding": embedding}, identity, options=PAIRS, anchors=anchors & ~anchors)
    assert all(value == 0 for value in nobody.values())


def test_terms_and_weights():
    embedding, identity = batch()
    out = {"embedding": embedding, "cosine": torch.tanh(embedding)}
    whole = metric_losses(out, identity, options=ALL)
    assert list(whole) == ["circle", "triplet", "identity"]
    half = metric_losses(out, identity, options=MetricLoss(circle_weight=0.5, triplet_weight=0.5, identity_weight=0.5))
    for name, value in whole.items():
        torch.testing.assert_close(half[name], value / 2)
    assert list(metric_losses(out, identity, options=MetricLoss())) == ["circle", "triplet"]
    assert list(metric_losses(out, identity, options=replace(MetricLoss(), circle_weight=0.0))) == ["triplet"]
    assert metric_losses({"embedding": embedding}, identity, options=ALL)["identity"] == 0  # as in evaluation


def test_16_bits_do_not_reach_the_losses():
    embedding, identity = batch()
    out = {"embedding": embedding, "cosine": torch.tanh(embedding)}
    plain = metric_losses(out, identity, options=ALL)
    with torch.autocast("cpu", torch.bfloat16):
        cast = metric_losses(out, identity, options=ALL)
    for name, value in plain.items():
        assert torch.equal(cast[name], value)
    rounded = metric_losses({name: value.bfloat16() for name, value in out.items()}, identity, options=ALL)
    assert all(value.dtype == torch.float32 for value in rounded.values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"circle_weight": 0.0, "triplet_weight": 0.0}, "one of them above"),
        ({"circle_weight": -1.0}, "at least 0"),
        ({"circle_margin": 1.0}, "circle_margin"),
        ({"circle_gamma": 0.0}, "circle_gamma"),
        ({"triplet_margin": -0.1}, "triplet_margin"),
        ({"arc_margin": 2.0}, "arc_margin"),
        ({"arc_scale": 0.0}, "arc_scale"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        MetricLoss(**options)


def test_identities_of_one_process_with_embeddings_of_all_are_refused():
    with pytest.raises(ValueError, match="12 embeddings and 4 identities"):
        metric_losses({"embedding": batch()[0]}, torch.arange(4), options=PAIRS)
