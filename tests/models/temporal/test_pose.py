"""Pose features: hand-worked figures, invariances, masks and gradients."""

import math

import pytest
import torch

from tarpon.models.temporal.pose import MOUSE_POINTS, PoseEncoder, PoseFeatures, PoseGraph

TRIANGLE = PoseGraph.from_points(("a", "b", "c"), edges=[("a", "b"), ("a", "centroid")], angles=[("b", "a", "c")])


def random_pose(*, frames: int = 12, points: int = 6, hidden: float = 0.3, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    xy = torch.rand(2, frames, points, 2, generator=generator, dtype=dtype)
    visible = torch.rand(2, frames, points, 1, generator=generator, dtype=dtype) > hidden
    return torch.cat([xy, visible.to(dtype)], -1)


def measure(graph: PoseGraph, xy: list, visible: list | None = None) -> dict[str, tuple[list, list]]:
    """{name: (values over frames, mask over frames)} of one clip."""
    xy = torch.tensor(xy, dtype=torch.float32)
    seen = torch.ones(xy.shape[:2]) if visible is None else torch.tensor(visible, dtype=torch.float32)
    values, mask = PoseFeatures(graph)(torch.cat([xy, seen[..., None]], -1)[None])
    return {name: (values[0, :, i].tolist(), mask[0, :, i].tolist()) for i, name in enumerate(graph.feature_names())}


def test_a_right_angle_by_hand():
    out = measure(TRIANGLE, [[[0, 3], [0, 0], [3, 0]], [[0, 3], [0, 0], [3, 3]]])
    assert out["length a-b"] == ([3.0, 3.0], [1.0, 1.0])
    assert out["length a-centroid"][0] == pytest.approx([math.dist((0, 3), (1, 1)), math.dist((0, 3), (1, 2))])
    assert out["angle a-b-c"][0] == pytest.approx([0.5, 0.25])
    assert out["speed c"][0] == pytest.approx([0.0, 30.0])  # 3 units a frame, in tenths
    assert out["speed c"][1] == [0.0, 1.0]
    assert out["change of angle a-b-c"][0] == pytest.approx([0.0, -2.5])  # signed: it closed by pi/4
    assert out["change of length a-b"] == ([0.0, 0.0], [0.0, 1.0])


def test_a_hidden_point_masks_all_that_needs_it_and_is_never_read():
    nan = math.nan
    out = measure(
        TRIANGLE,
        [[[0, 3], [0, 0], [3, 0]], [[0, 3], [nan, nan], [3, 0]], [[0, 3], [0, 0], [3, 0]]],
        [[1, 1, 1], [1, 0, 1], [1, 1, 1]],
    )
    for name in ("length a-b", "angle a-b-c"):
        assert out[name][1] == [1, 0, 1]
        assert out[name][0][1] == 0
    for name in ("speed b", "change of length a-b", "change of angle a-b-c"):
        assert out[name] == ([0, 0, 0], [0, 0, 0])
    assert out["speed a"][1] == [0, 1, 1]
    assert out["length a-centroid"][1] == [1, 1, 1]  # two of three points are enough for a middle
    assert out["change of length a-centroid"] == ([0, 0, 0], [0, 0, 0])  # but its jump is no motion


def with_stance(pose: torch.Tensor, usual: torch.Tensor) -> torch.Tensor:
    """(B, T, K, 3) and (K, K) -> (B, T, K, 3 + K)."""
    return torch.cat([pose, usual.to(pose.dtype).expand(*pose.shape[:2], *usual.shape)], -1)


def distances(xy: torch.Tensor) -> torch.Tensor:
    """(K, 2) -> (K, K)."""
    return torch.linalg.vector_norm(xy[:, None] - xy[None], dim=-1)


def test_what_differs_from_the_usual_posture_by_hand():
    """Usually a right angle of sides 3 and 4; now one side is 5 and the angle half of it."""
    pose = torch.tensor([[[[0, 5, 1], [0, 0, 1], [4, 4, 1]]]], dtype=torch.float32)
    usual = torch.tensor([[0, 3, 5], [3, 0, 4], [5, 4, 0]])
    values, mask = PoseFeatures(TRIANGLE, stance=True)(with_stance(pose, usual))
    names = TRIANGLE.feature_names(stance=True)
    found = dict(zip(names, zip(values[0, 0].tolist(), mask[0, 0].tolist(), strict=True), strict=True))
    assert names[-2:] == ("length a-b against usual", "angle a-b-c against usual")  # a centroid is not compared
    assert found["length a-b against usual"] == pytest.approx((20, 1))  # tenths
    assert found["angle a-b-c against usual"] == pytest.approx((-2.5, 1))
    for hidden in ((0, 1), (0, 2), (1, 2)):  # a pair that is never seen together
        gap = usual.clone()
        gap[hidden], gap[hidden[::-1]] = 0, 0
        mask = PoseFeatures(TRIANGLE, stance=True)(with_stance(pose, gap))[1]
        assert mask[0, 0, -2:].tolist() == [float(hidden != (0, 1)), 0]


def test_the_stance_adds_features_and_leaves_the_others():
    """The usual posture itself differs by nothing; moving, turning and scaling both changes nothing."""
    graph, pose = PoseGraph.from_points(MOUSE_POINTS), random_pose()
    usual = distances(pose[0, 0, :, :2])
    plain, plain_mask = PoseFeatures(graph)(pose)
    values, mask = PoseFeatures(graph, stance=True)(with_stance(pose, usual))
    assert values.shape[-1] == plain.shape[-1] + 7 + 10
    assert torch.equal(values[..., : plain.shape[-1]], plain)
    assert torch.equal(mask[..., : plain.shape[-1]], plain_mask)
    assert values[0, 0, plain.shape[-1] :].abs().max() < 1e-4
    turn = torch.tensor([[math.cos(1.0), -math.sin(1.0)], [math.sin(1.0), math.cos(1.0)]], dtype=pose.dtype)
    moved = torch.cat([pose[..., :2] @ turn + 3.0, pose[..., 2:]], -1)
    torch.testing.assert_close(PoseFeatures(graph, stance=True)(with_stance(moved, usual))[0], values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stance", [False, True])
def test_the_likelihood_adds_features_and_leaves_the_others(stance):
    """Of an invisible point too; 0 is not known."""
    graph, pose = PoseGraph.from_points(MOUSE_POINTS), random_pose()
    pose = with_stance(pose, distances(pose[0, 0, :, :2])) if stance else pose
    sure = torch.rand(2, 12, 6, generator=torch.Generator().manual_seed(2), dtype=pose.dtype)
    sure[0, 3, 4] = 0
    features = PoseFeatures(graph, stance=stance, likelihood=True)
    values, mask = features(torch.cat([pose, sure[..., None]], -1))
    plain, plain_mask = PoseFeatures(graph, stance=stance)(pose)
    names = graph.feature_names(stance=stance, likelihood=True)
    assert (features.pose_width, features.width) == (pose.shape[-1] + 1, len(names)) == (4 + 6 * stance, values.shape[-1])
    assert names[-6:] == tuple(f"likelihood {point}" for point in MOUSE_POINTS)
    assert torch.equal(values[..., :-6], plain)
    assert torch.equal(mask[..., :-6], plain_mask)
    assert torch.equal(values[..., -6:], sure.float())
    assert torch.equal(mask[..., -6:], (sure > 0).float())
    assert PoseEncoder(graph, stance=stance, likelihood=True)(torch.cat([pose, sure[..., None]], -1)).shape == (2, 12, 128)


def test_too_few_points_have_no_centroid():
    out = measure(TRIANGLE, [[[0, 3], [0, 0], [3, 0]]], [[1, 0, 0]])
    assert out["length a-centroid"] == ([0], [0])


def test_the_mouse_has_the_published_graph_in_any_order():
    order = tuple(reversed(MOUSE_POINTS))
    pose = random_pose()
    ours = PoseFeatures(PoseGraph.from_points(MOUSE_POINTS))
    graph = PoseGraph.from_points(order)
    assert (len(graph.edges), len(graph.angles), ours.width) == (8, 10, 42)
    other, mask = PoseFeatures(graph)(pose.flip(2))
    values, own_mask = ours(pose)
    names = ours.graph.feature_names()
    column = [names.index(name) for name in graph.feature_names()]
    torch.testing.assert_close(values[..., column], other)
    assert torch.equal(own_mask[..., column], mask)


def test_angles_of_the_contract_by_index():
    rows = ["1;0,2", "1;0,3", "0;1,4", "0;1,5", "0;2,4", "0;3,5", "1;2,4", "1;3,5", "2;0,3", "4;1,5"]
    expected = [tuple(MOUSE_POINTS[int(i)] for i in row.replace(";", ",").split(",")) for row in rows]
    assert list(PoseGraph.from_points(MOUSE_POINTS).angles) == expected


@pytest.mark.parametrize("count", [2, 3, 9])
def test_any_number_of_points_has_a_graph(count):
    graph = PoseGraph.from_points([f"p{i}" for i in range(count)])
    assert (len(graph.edges), len(graph.angles)) == (2 * count - 1, count - 2)
    values, mask = PoseFeatures(graph)(random_pose(points=count))
    assert values.shape == mask.shape == (2, 12, len(graph.feature_names()))
    assert PoseEncoder(graph)(random_pose(points=count)).shape == (2, 12, 128)


@pytest.mark.parametrize("points", [MOUSE_POINTS, ("a", "b", "c", "d", "e", "f")], ids=["mouse", "generic"])
@pytest.mark.parametrize("move", ["shift", "rotation", "scale"])
def test_invariance(points, move):
    pose = random_pose()
    turned = pose.clone()
    c, s = math.cos(1.1), math.sin(1.1)
    if move == "shift":
        turned[..., :2] += torch.tensor([3.0, -2.0])
    elif move == "rotation":
        turned[..., :2] = pose[..., :2] @ torch.tensor([[c, s], [-s, c]], dtype=pose.dtype)
    else:  # the caller divides by the body length, here the median first-to-second distance
        turned[..., :2] *= 37.0
        for each in (pose, turned):
            each[..., :2] /= (each[..., 0, :2] - each[..., 1, :2]).norm(dim=-1).flatten(1).median(1).values[:, None, None, None]
    features = PoseFeatures(PoseGraph.from_points(points))
    values, mask = features(pose)
    other, other_mask = features(turned)
    assert torch.equal(mask, other_mask)
    torch.testing.assert_close(values, other, rtol=1e-4, atol=2e-4)
    assert 0.2 < mask.mean() < 0.8


def test_gradients_are_finite_where_points_meet_and_lie_on_a_line():
    graph = PoseGraph.from_points(MOUSE_POINTS)
    pose = torch.zeros(1, 3, 6, 3)
    pose[..., 2] = 1.0
    pose[0, 1, :, 0] = torch.arange(6.0)
    pose.requires_grad_()
    values, mask = PoseFeatures(graph)(pose)
    values.square().sum().backward()
    assert values.isfinite().all()
    assert pose.grad.isfinite().all()
    angle = graph.feature_names().index("angle mouth-tail_base-L_frontpaw")
    assert mask[0, :, angle].tolist() == [0.0, 1.0, 0.0]


def test_gradients_agree_with_differences():
    features = PoseFeatures(TRIANGLE)
    pose = random_pose(frames=3, points=3, hidden=0.0, dtype=torch.float32)[:1]

    def total(xy: torch.Tensor) -> torch.Tensor:
        values, _ = features(torch.cat([xy, pose[..., 2:]], -1))
        return values.double().square().sum()

    xy = pose[..., :2].clone().requires_grad_()
    (slope,) = torch.autograd.grad(total(xy), xy)
    direction = torch.randn(xy.shape, generator=torch.Generator().manual_seed(1))
    step = 1e-3 * direction
    difference = (total(xy + step) - total(xy - step)).detach() / 2e-3
    assert float((slope * direction).sum()) == pytest.approx(float(difference), rel=1e-2)


def test_hidden_coordinates_get_no_gradient():
    pose = random_pose(dtype=torch.float32)
    hidden = pose[..., 2] == 0
    pose[..., :2][hidden] = math.nan
    pose.requires_grad_()
    PoseEncoder(PoseGraph.from_points(MOUSE_POINTS))(pose).sum().backward()
    assert (pose.grad[..., :2][hidden] == 0).all()
    assert pose.grad.isfinite().all()


def test_bf16_keeps_the_features_in_float32():
    pose = random_pose(dtype=torch.float32)
    encoder = PoseEncoder(PoseGraph.from_points(MOUSE_POINTS)).eval()
    exact, _ = encoder.features(pose)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values, _ = encoder.features(pose)
        assert encoder(pose).dtype == torch.bfloat16
    assert torch.equal(values, exact)
    assert encoder.bfloat16()(pose).dtype == torch.bfloat16
    assert torch.equal(encoder.features(pose)[0], exact)


def test_the_encoder_tells_hidden_from_zero():
    encoder = PoseEncoder(PoseGraph.from_points(MOUSE_POINTS)).eval()
    at_origin = torch.zeros(1, 1, 6, 3)
    at_origin[..., 2] = 1.0
    assert not torch.allclose(encoder(at_origin), encoder(torch.zeros(1, 1, 6, 3)))


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (["a"], {}, "at least 2"),
        (["a", "a"], {}, "distinct"),
        (["a", "centroid"], {}, "centroid"),
        (["a", "b"], {"edges": [("a", "z")]}, "edge"),
        (["a", "b", "c"], {"angles": [("a", "b", "b")]}, "angle"),
    ],
)
def test_mistakes_are_explained(points, options, message):
    with pytest.raises(ValueError, match=message):
        PoseGraph.from_points(points, **options)


def test_a_pose_of_other_points_is_refused():
    with pytest.raises(ValueError, match=r"\(B, T, 3, 3\)"):
        PoseFeatures(TRIANGLE)(torch.zeros(1, 2, 4, 3))
    with pytest.raises(ValueError, match=r"pose must be \(B, T, 3, 6\)"):
        PoseFeatures(TRIANGLE, stance=True)(torch.zeros(1, 2, 3, 3))
