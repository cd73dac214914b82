"""The loss terms against PyTorch's own, plain Python in float64, and cases worked out by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from tarpon.train.class_weights import balanced_weights
from tarpon.train.tasks.mouse import losses
from tarpon.train.tasks.mouse.options import LossOptions


@pytest.fixture
def windows():
    """Scores (3, 7, 4), actions with gaps; the last window has no label at all."""
    made = torch.Generator().manual_seed(3)
    actions = torch.randint(0, 4, (3, 7), generator=made)
    actions[0, 5:] = -1
    actions[2] = -1
    return torch.randn(3, 7, 4, generator=made), actions


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_without_gamma_is_cross_entropy_window_by_window(windows, smoothing):
    scores, actions = windows
    each = [F.cross_entropy(scores[b], actions[b], ignore_index=-1, label_smoothing=smoothing) for b in (0, 1)]
    got = losses.focal_loss(scores, actions, gamma=0.0, smoothing=smoothing, weights=None)
    torch.testing.assert_close(got, sum(each) / 3)  # the window without labels counts 0


def test_focal_against_plain_python(windows):
    scores, actions = windows
    weights, total = [0.5, 0.0, 2.0, 1.0], 0.0
    for b in range(2):
        frames = []
        for t in range(7):
            label = int(actions[b, t])
            if label < 0:
                continue
            row = [math.exp(float(s)) for s in scores[b, t]]
            p = [value / sum(row) for value in row]
            target = [0.1 / 4 + 0.9 * (c == label) for c in range(4)]
            p_true = sum(map(lambda a, b: a * b, p, target))
            entropy = -sum(q * math.log(a) for a, q in zip(p, target, strict=True))
            frames.append(weights[label] * (1 - p_true) ** 2.5 * entropy)
        total += sum(frames) / len(frames) / 3
    got = losses.focal_loss(scores, actions, gamma=2.5, smoothing=0.1, weights=torch.tensor(weights))
    assert float(got) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(("gamma", "smoothing"), [(2.5, 0.1), (0.5, 0.0)])
def test_focal_has_a_gradient_at_certainty(gamma, smoothing):
    scores = torch.tensor([[[80.0, 0.0], [0.0, 80.0]]], requires_grad=True)
    losses.focal_loss(scores, torch.tensor([[0, 1]]), gamma=gamma, smoothing=smoothing, weights=None).backward()
    assert torch.isfinite(scores.grad).all()


def test_padding_counts_for_nothing(windows):
    scores, actions = windows
    valid = actions >= 0
    noise = torch.where(valid[..., None], scores, 50.0)
    kp = torch.rand(3, 7, 2, 3, generator=torch.Generator().manual_seed(0))
    kp[..., 2] = valid[..., None]
    guess, spoilt = kp[..., :2] * 0.9, torch.where(valid[..., None, None], kp[..., :2] * 0.9, 7.0)
    for term in (
        lambda s, _: losses.focal_loss(s, actions, gamma=2.0, smoothing=0.1, weights=None),
        lambda s, _: losses.smoothness_loss(s, valid),
        lambda s, _: losses.boundary_loss(s, torch.where(valid, 1, -1)),
        lambda _, k: losses.keypoint_loss(k, kp, beta=0.02),
    ):
        a, b = term(scores, guess), term(noise, spoilt)
        assert float(a) == float(b) > 0


def test_a_window_of_padding_alone_counts_zero():
    scores, nothing = torch.randn(1, 5, 3, requires_grad=True), torch.zeros(1, 5, dtype=torch.bool)
    total = (
        losses.focal_loss(scores, torch.full((1, 5), -1), gamma=2.5, smoothing=0.1, weights=torch.ones(3))
        + losses.smoothness_loss(scores, nothing)
        + losses.boundary_loss(scores, torch.full((1, 5), -1))
        + losses.keypoint_loss(torch.rand(1, 5, 2, 2), torch.zeros(1, 5, 2, 3), beta=0.1)
    )
    total.backward()
    assert float(total.detach()) == 0.0
    assert not scores.grad.any()


def test_a_batch_is_the_mean_of_its_parts(windows):
    scores, actions = windows
    whole = losses.focal_loss(scores, actions, gamma=2.5, smoothing=0.1, weights=None)
    parts = [losses.focal_loss(scores[b : b + 1], actions[b : b + 1], gamma=2.5, smoothing=0.1, weights=None) for b in range(3)]
    torch.testing.assert_close(whole, torch.stack(parts).mean())


def test_smoothness_by_hand():
    scores = torch.log(torch.tensor([[[0.5, 0.5], [0.8, 0.2], [0.8, 0.2], [0.5, 0.5]]]))
    one = (math.log(0.8 / 0.5) + math.log(0.5 / 0.2)) / 2
    assert float(losses.smoothness_loss(scores, torch.ones(1, 4, dtype=torch.bool))) == pytest.approx(2 * one / 3, rel=1e-5)
    assert float(losses.smoothness_loss(scores, torch.tensor([[True, True, False, True]]))) == pytest.approx(one, rel=1e-5)


FOUR = torch.log(torch.tensor([[[0.5, 0.5], [0.8, 0.2], [0.8, 0.2], [0.5, 0.5]]]))
ONE = (math.log(0.8 / 0.5) ** 2 + math.log(0.5 / 0.2) ** 2) / 2  # from its first frame to its second, or from third to fourth


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([0, 0, 0, 0], 2 * ONE / 3),
        ([0, 0, 0, 1], ONE / 2),  # the last change is a true boundary
        ([1, 0, 0, 0], ONE / 2),
        ([1, 0, 0, 1], 0.0),
        ([0, 0, -1, -1], ONE),  # two unlabelled frames are not alike
        ([-1, 0, -1, 0], 0.0),
    ],
)
def test_change_within_bouts_by_hand(actions, expected):
    got = losses.boundary_loss(FOUR, torch.tensor([actions]))
    assert float(got) == pytest.approx(expected, rel=1e-5, abs=1e-12)


def test_change_within_bouts_against_plain_python(windows):
    """Every class, frame and window in turn, in double precision; the cap is reached by some changes and not by others."""
    scores, actions = windows[0] * 3, torch.randint(-1, 2, (3, 7), generator=torch.Generator().manual_seed(5))
    total, capped, counted = 0.0, 0, 0
    for b in range(3):
        changes = []
        for t in range(1, 7):
            if actions[b, t] < 0 or actions[b, t] != actions[b, t - 1]:
                continue
            before, now = (
                [float(s) - math.log(sum(math.exp(float(r)) for r in scores[b, u])) for s in scores[b, u]] for u in (t - 1, t)
            )
            squares = [min((a - z) ** 2, 16.0) for a, z in zip(now, before, strict=True)]
            capped, counted = capped + squares.count(16.0), counted + 4
            changes.append(sum(squares) / 4)
        total += sum(changes) / max(len(changes), 1) / 3
    assert 0 < capped < counted
    assert float(losses.boundary_loss(scores, actions)) == pytest.approx(total, rel=1e-5)


def test_only_the_later_frame_of_two_gets_a_slope_and_none_beyond_the_cap():
    for size, slope in ((1.0, True), (80.0, False)):
        scores = torch.tensor([[[size, 0.0], [0.0, size]]], requires_grad=True)
        losses.boundary_loss(scores, torch.tensor([[1, 1]])).backward()
        assert not scores.grad[0, 0].any()
        assert bool(scores.grad[0, 1].any()) == slope


def test_the_boundary_term_is_there_only_when_asked_for_and_changes_no_other(windows):
    scores, actions = windows
    batch = {"actions": actions, "valid": actions >= 0}
    plain, more = (
        losses.window_losses({"action": scores}, batch, options=LossOptions(lambda_boundary=weight), weights=None)
        for weight in (0.0, 0.5)
    )
    assert list(plain) == ["action", "smooth"]
    torch.testing.assert_close(more.pop("boundary"), 0.5 * losses.boundary_loss(scores, actions))
    assert {name: float(value) for name, value in more.items()} == {name: float(value) for name, value in plain.items()}


def test_points_by_hand():
    target = torch.tensor([[[[0.5, 0.5, 1.0], [0.2, 0.2, 0.0]], [[0.1, 0.1, 1.0], [0.0, 0.0, 0.0]]]])
    guess = torch.tensor([[[[0.51, 0.5], [0.9, 0.9]], [[0.2, 0.2], [1.0, 1.0]]]])
    square, straight = 0.5 * 0.01**2 / 0.02, 0.1 - 0.5 * 0.02
    assert float(losses.keypoint_loss(guess, target, beta=0.02)) == pytest.approx((square / 2 + straight) / 2, rel=1e-4)


def test_balanced_weights_by_hand():
    weights = balanced_weights(torch.tensor([60.0, 0.0, 30.0, 10.0]))
    torch.testing.assert_close(weights, torch.tensor([100 / 180, 0.0, 100 / 90, 100 / 30]))
    assert float((weights * torch.tensor([0.6, 0.0, 0.3, 0.1])).sum()) == pytest.approx(1.0)


def test_the_terms_of_refined_scores_are_means_over_the_stages(windows):
    scores, actions = windows
    stages = torch.stack([scores, scores.flip(0), 2 * scores], 1).requires_grad_()
    batch = {"actions": actions, "valid": torch.arange(7).expand(3, -1) < torch.tensor([[5], [7], [4]])}
    ways = {"options": LossOptions(lambda_smooth=0.5), "weights": torch.rand(4)}
    made = losses.window_losses({"action": stages[:, 2], "action_stages": stages}, batch, **ways)
    each = [losses.window_losses({"action": stages[:, stage]}, batch, **ways) for stage in range(3)]
    assert set(made) == {"action", "smooth"}
    for name, value in made.items():
        torch.testing.assert_close(value, torch.stack([terms[name] for terms in each]).mean())
    sum(made.values()).backward()
    assert all(stages.grad[:, stage].any() for stage in range(3))
