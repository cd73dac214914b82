"""The clip encoder: one vector a frame from overlapping clips, padding, chunks, passes and freezing."""

import pytest
import torch

from tarpon.models.backbones.video import VideoEncoder, clip_starts, weight_frames
from tarpon.models.backbones.video_backbone import VideoBackbone
from tarpon.models.groups import group_parameters
from tarpon.models.temporal.tagger import FrameTagger

TINY = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48}
L = 16  # frames of a clip


def backbone(**options) -> VideoBackbone:
    return VideoBackbone(**{"pretrained": False, "image_size": 32, "overrides": TINY, **options})


def encoder(**options) -> VideoEncoder:
    """Weights of the size they have after training: fresh ones hardly mix frames."""
    torch.manual_seed(0)
    model = backbone(**options).build()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def video(frames: int, *, windows: int = 1) -> torch.Tensor:
    return torch.randn(windows, frames, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def repeated(clip: torch.Tensor, frames: int) -> torch.Tensor:
    return torch.cat([clip, clip[:, -1:].expand(-1, frames, -1, -1, -1)], 1)


@pytest.mark.parametrize("frames", [1, 2, 7, 15, 16, 17, 24, 37])
def test_shapes_at_any_length(frames):
    model = encoder()
    pooled, grid = model(video(frames, windows=2))
    assert (model.dim, model.grid_dim, model.grid_size) == (24, 24, (2, 2))
    assert pooled.shape == (2, frames, 24)
    assert grid.shape == (2, frames, 2, 2, 24)
    torch.testing.assert_close(pooled, grid.mean((2, 3)))


def test_windows_do_not_see_each_other():
    model, clip = encoder().eval(), video(20, windows=2)
    torch.testing.assert_close(model(clip)[0][1:], model(clip[1:])[0])


def test_every_frame_has_its_own_vector():
    pooled, _ = encoder().eval()(video(40))
    apart = torch.cdist(pooled[0], pooled[0]) + 1e9 * torch.eye(40)
    assert apart.min() > 0.05 * pooled.norm(dim=-1).mean()


@pytest.mark.parametrize("stride", [8, 5])
@pytest.mark.parametrize("frame", [0, 21, 43])
def test_a_frame_changes_what_is_near_it_and_nothing_outside_its_clips(frame, stride):
    model, clip = encoder(stride=stride).eval(), video(44)
    other = clip.clone()
    other[:, frame] = 2.0
    with torch.no_grad():
        change = (model(clip)[0] - model(other)[0]).norm(dim=-1)[0]
    # The last frame also stands for what is past the end.
    inside = {t for s in range(0, 44, stride) if s <= frame < s + L for t in range(s, min(s + L, 44))}
    assert {t for t in range(44) if change[t] > 0} == inside
    assert max(abs(t - frame) for t in inside) <= model.reach
    assert change.argmax() in range(frame - 2, frame + 3)


def test_a_frame_is_read_off_its_clips_by_hand():
    """Frame 9 of 12 at stride 8: clip 0 between rows 4 and 5, clip 1 between rows 0 and 1 of its own."""
    model, clip = encoder().eval(), video(12)
    one, two = (repeated(part, 16)[:, :L] for part in (clip, clip[:, 8:]))
    with torch.no_grad():
        a, b = (model.net(part).last_hidden_state[0].view(8, 2, 2, 24) for part in (one, two))
        _, grid = model(clip)
    # place 9 of clip 0: 0.25 rows after the middle of row 4, weight 16 - 9 = 7; place 1 of clip 1, weight 2
    expected = (7 * (0.75 * a[4] + 0.25 * a[5]) + 2 * (0.75 * b[0] + 0.25 * b[1])) / 9
    torch.testing.assert_close(grid[0, 9], expected)
    torch.testing.assert_close(grid[0, 0], a[0])


@pytest.mark.parametrize(("stride", "tubelet"), [(8, 2), (1, 2), (15, 2), (7, 2), (8, 1)])
def test_weights_of_a_frame_sum_to_one_and_follow_time(stride, tubelet):
    starts = clip_starts(50, stride=stride)
    weight = weight_frames(50, starts, length=L, tubelet=tubelet)
    assert weight.shape == (50, len(starts), L // tubelet)
    assert (weight >= 0).all()
    torch.testing.assert_close(weight.sum((1, 2)), torch.ones(50))
    middle = starts[:, None] + tubelet * torch.arange(L // tubelet) + (tubelet - 1) / 2
    centre = (weight * middle).sum((1, 2))  # the time that a frame's tokens stand for
    assert (centre.diff() > 0).all()
    assert (centre - torch.arange(50)).abs().max() <= (tubelet - 1) / 2  # off by that where a clip's end has no row beyond


def test_the_map_is_the_right_way_up():
    model = encoder().eval()
    for layer in model.net.encoder.layer:  # without attention a cell sees itself only
        torch.nn.init.zeros_(layer.attention.output.dense.weight)
    clip = video(24)
    other = clip.clone()
    other[:, 10, :, 2:10, 18:30] = 3.0  # upper right, frame 10 of the window
    with torch.no_grad():
        change = (model(clip)[1] - model(other)[1]).norm(dim=-1)[0]
    assert change[10, 0, 1] > 0
    assert {tuple(place) for place in change.nonzero()[:, 1:].tolist()} == {(0, 1)}
    assert {int(t) for t in change.nonzero()[:, 0]} <= set(range(8, 14))


@pytest.mark.parametrize("frames", [1, 9, 16, 20, 24])
@pytest.mark.parametrize("stride", [8, 5])
def test_padding_by_the_last_frame_changes_nothing(frames, stride):
    model, clip = encoder(stride=stride).eval(), video(frames)
    with torch.no_grad():
        alone = model(clip)
        for more in (1, 8, 19):
            padded = model(repeated(clip, more))
            for one, other in zip(alone, padded, strict=True):
                torch.testing.assert_close(one, other[:, :frames], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [8, 5])
def test_chunks_at_a_multiple_of_the_phase_answer_as_the_whole_does(stride):
    model, clip = encoder(stride=stride).eval(), video(70)

    def gap(first: int, last: int, margin: tuple[int, int]) -> float:
        chunk = slice(first + margin[0], last - margin[1])
        return (whole[:, chunk] - model(clip[:, first:last])[0][:, margin[0] : last - first - margin[1]]).abs().max()

    with torch.no_grad():
        whole, _ = model(clip)
        assert gap(2 * model.phase, 60, (model.reach, model.reach)) < 1e-5
        assert gap(2 * model.phase, 60, (L - stride, model.reach)) < 1e-5  # what the docstring says
        assert gap(2 * model.phase, 70, (L - stride, 0)) < 1e-5  # the end of the video is the end of the whole
        assert gap(0, 60, (0, model.reach)) < 1e-5
        assert gap(2 * model.phase + 1, 60, (model.reach, model.reach)) > 1e-2  # out of phase: other clips, other answers


def test_passes_change_neither_answers_nor_gradients():
    whole, parts, clip = encoder(), encoder(clips_per_pass=3), video(30, windows=2)
    answers = [model(clip) for model in (whole, parts)]
    for one, other in zip(*answers, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    for pooled, grid in answers:
        (pooled.square().mean() + grid[..., 0].square().mean()).backward()
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5)


def test_passes_bound_what_the_backward_keeps():
    def kept(model: VideoEncoder) -> int:
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            model(video(64))
        return sum(sizes)

    assert kept(encoder(clips_per_pass=1)) < kept(encoder()) / 4


@pytest.mark.parametrize("pooling", [True, False])
def test_frozen_stays_still_under_a_training_parent_and_all_of_it_learns_again(pooling):
    model = encoder(overrides={**TINY, "use_mean_pooling": pooling, "hidden_dropout_prob": 0.1})
    parent = torch.nn.ModuleList([model])
    model.freeze(True)
    parent.train()
    pooled, grid = model(video(20))
    assert not any(module.training for module in model.modules())
    assert not pooled.requires_grad
    assert not grid.requires_grad
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.freeze(False)
    assert all(module.training for module in model.modules())
    pooled, grid = model(video(20))
    (pooled.square().mean() + grid[..., 0].square().mean()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()] == []


def test_thawing_in_evaluation_stays_in_evaluation():
    model = encoder()
    model.freeze(True)
    model.eval()
    model.freeze(False)
    assert not model.net.training


def test_bf16_parameters_take_a_float32_clip():
    model = encoder().eval()
    exact, _ = model(video(20))
    pooled, grid = model.bfloat16()(video(20))
    assert pooled.dtype == grid.dtype == torch.bfloat16
    assert (pooled.float() - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("frames", [5, 20])
def test_the_tagger_takes_it_as_it_is(frames):
    model = FrameTagger(encoder(), classes=6, points=4, hidden=32)
    valid = torch.arange(frames).expand(2, -1) < frames - 2
    out = model(video(frames, windows=2), valid)
    assert {name: tuple(value.shape) for name, value in out.items()} == {
        "action": (2, frames, 6),
        "keypoints": (2, frames, 4, 2),
    }
    (out["action"].square().mean() + (out["keypoints"] - 0.1).square().mean()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.zero_grad()
    model.freeze_backbone(True)
    sum(value.square().mean() for value in model.train()(video(frames, windows=2), valid).values()).backward()
    learnt = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert learnt == {name for name, _ in model.named_parameters() if not name.startswith("encoder.")}


def test_the_tagger_answers_alike_with_and_without_padding_by_the_last_frame():
    model, clip = FrameTagger(encoder(), classes=6, keypoints=False, hidden=32).eval(), video(21)
    with torch.no_grad():
        alone = model(clip, torch.ones(1, 21, dtype=torch.bool))["action"]
        padded = model(repeated(clip, 11), torch.arange(32)[None] < 21)["action"]
    torch.testing.assert_close(alone, padded[:, :21], rtol=1e-4, atol=1e-5)


def test_parameter_groups_decay_matrices_only():
    groups = group_parameters(FrameTagger(encoder(), classes=6, keypoints=False, hidden=32))
    assert all(parameter.ndim > 1 for parameter in groups["backbone/decay"].values())
    assert all(parameter.ndim == 1 for parameter in groups["backbone/no_decay"].values())
    assert "encoder.net.embeddings.patch_embeddings.projection.weight" in groups["backbone/decay"]


def test_the_fixed_table_moves_with_the_model_and_is_not_saved():
    model = encoder()
    assert "net.embeddings.position_embeddings" in dict(model.named_buffers())
    assert not any("position" in name for name in model.state_dict())
