"""Augmentation in the graph: each does what its formula says, and pixels, points and labels move together."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from tarpon.pipelines.clip.checks import check_clips, check_codec
from tarpon.pipelines.clip.feed import ClipFields, ClipRequest
from tarpon.pipelines.clip.graph import ClipGraph
from tarpon.pipelines.clip.stance import usual_distances
from tarpon.pipelines.feed import Feed
from tarpon.pipelines.loader import Loader
from tarpon.shards.manifest import Manifest
from tarpon.shards.npy import read_npy
from tarpon.shards.quarantine import Budget
from tarpon.shards.reader import Reader

T = 16


def batches(loader, *windows: ClipRequest) -> list[dict]:
    return list(loader.run([[window] for window in windows]))


def test_brightness_and_contrast_are_the_formula(mouse_shards, make_loader, drawn):
    plain, changed = batches(
        make_loader(mouse_shards),
        ClipRequest(row=0, start=5),
        ClipRequest(row=0, start=5, draw=drawn(brightness=1.15, contrast=0.85)),
    )
    expected = (plain["clip"] * 1.15 - 128) * 0.85 + 128
    torch.testing.assert_close(changed["clip"], expected, rtol=0, atol=1e-3)
    assert (plain["clip"] - changed["clip"]).abs().mean() > 1


def test_noise_is_as_strong_as_asked_and_comes_again(mouse_shards, make_loader, drawn):
    loader = make_loader(mouse_shards, noise_sd=0.02)
    windows = [
        ClipRequest(row=0, start=5),
        *(ClipRequest(row=0, start=5, draw=drawn(noise=place)) for place in (0.3, 0.3, 0.7)),
    ]
    plain, one, same, other = (batch["clip"] for batch in batches(loader, *windows))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    inside = (plain > 30) & (plain < 225)
    noise = (one - plain)[inside]
    assert noise.std() == pytest.approx(5.1, rel=0.03)
    assert abs(noise.mean()) < 0.05
    assert abs(torch.corrcoef(torch.stack([noise, (other - plain)[inside]]))[0, 1]) < 0.01
    assert (one.min(), one.max()) >= (0, 0)
    assert one.max() <= 255
    alone = batches(make_loader(mouse_shards, noise_sd=0.02), windows[1])[0]["clip"]
    assert torch.equal(alone, one)


def test_a_noisy_clip_leaves_its_neighbour_in_the_batch_alone(mouse_shards, make_loader, drawn):
    (both,) = make_loader(mouse_shards, noise_sd=0.02, batch=2).run(
        [[ClipRequest(row=0, start=5, draw=drawn(noise=0.1)), ClipRequest(row=0, start=5)]]
    )
    (plain,) = batches(make_loader(mouse_shards), ClipRequest(row=0, start=5))
    assert torch.equal(both["clip"][1], plain["clip"][0])
    assert not torch.equal(both["clip"][0], plain["clip"][0])


def test_the_share_of_augmenting_is_that_of_noisy_clips_made_without_noise_too(mouse_shards, make_loader, drawn):
    loader = make_loader(mouse_shards, noise_sd=0.02)
    batches(loader, *(ClipRequest(row=0, start=start, draw=drawn(noise=0.3)) for start in (5, 40)))
    assert 0 <= loader.measure_augment_share() <= 1


def test_a_flip_mirrors_pixels_and_points_and_swaps_sides(mouse_shards, make_loader, drawn):
    plain, flipped = batches(
        make_loader(mouse_shards), ClipRequest(row=0, start=5), ClipRequest(row=0, start=5, draw=drawn(flip=True))
    )
    assert torch.equal(flipped["clip"], plain["clip"].flip(-1))
    assert torch.equal(flipped["actions"], plain["actions"])
    order = [0, 1, 3, 2, 5, 4]
    for name in ("keypoints", "pose"):
        assert torch.equal(flipped[name][..., 2], plain[name][..., order, 2])
    seen = flipped["keypoints"][..., 2] == 1
    x, y = plain["keypoints"][..., order, 0], plain["keypoints"][..., order, 1]
    torch.testing.assert_close(flipped["keypoints"][..., 0][seen], 1 - x[seen])
    torch.testing.assert_close(flipped["keypoints"][..., 1][seen], y[seen])
    torch.testing.assert_close(flipped["pose"][..., 1][seen], plain["pose"][..., order, 1][seen])
    assert (flipped["keypoints"][~seen] == 0).all()


@pytest.mark.parametrize(("start", "roll"), [(100, 3), (100, -4), (2, -5), (342, 5)])
def test_a_roll_moves_everything_together_and_masks_what_is_beyond(mouse_shards, make_loader, drawn, start, roll):
    trial = int(mouse_shards.value(0, "frames"))
    rolled, plain = batches(
        make_loader(mouse_shards),
        ClipRequest(row=0, start=start, draw=drawn(roll=roll)),
        ClipRequest(row=0, start=min(max(start + roll, 0), trial - T)),
    )
    asked = start + roll + np.arange(T)
    inside = (asked >= 0) & (asked < trial)
    np.testing.assert_array_equal(rolled["valid"][0], inside)
    held = asked[inside] - int(plain["start"])
    for name in ("clip", "actions", "keypoints", "pose"):
        assert torch.equal(rolled[name][0][inside], plain[name][0][held]), name
    assert (rolled["actions"][0][~inside] == -1).all()
    assert not rolled["keypoints"][0][~inside].any()
    assert not rolled["pose"][0][~inside].any()


def test_a_dropped_frame_is_the_one_before_in_pixels_only(mouse_shards, make_loader, drawn):
    dropped = np.isin(np.arange(T), [3, 4, 9])
    plain, less = batches(
        make_loader(mouse_shards), ClipRequest(row=0, start=50), ClipRequest(row=0, start=50, draw=drawn(dropped=dropped))
    )
    assert torch.equal(less["clip"][0], plain["clip"][0][[0, 1, 2, 2, 2, 5, 6, 7, 8, 8, 10, 11, 12, 13, 14, 15]])
    for name in ("actions", "keypoints", "pose", "valid"):
        assert torch.equal(less[name], plain[name])


def test_jitter_is_in_the_pose_input_only(mouse_shards, make_loader, drawn):
    jitter = np.random.default_rng(0).normal(0, 0.02, (6, 2)).astype(np.float32)
    plain, moved = batches(
        make_loader(mouse_shards), ClipRequest(row=0, start=50), ClipRequest(row=0, start=50, draw=drawn(jitter=jitter))
    )
    for name in ("clip", "actions", "keypoints", "valid"):
        assert torch.equal(moved[name], plain[name])
    seen = plain["pose"][0, ..., 2] == 1
    body = mouse_shards.value(0, "body_length")
    torch.testing.assert_close(
        (moved["pose"] - plain["pose"])[0, ..., :2][seen],
        torch.from_numpy(jitter).expand(T, 6, 2)[seen] * 160 / body,
        rtol=1e-3,
        atol=1e-5,
    )
    assert not moved["pose"][0][~seen].any()
    torch.testing.assert_close(plain["pose"][0, ..., :2], plain["keypoints"][0, ..., :2] * 160 / body)


def test_the_stance_goes_with_the_pose_and_turns_with_it(mouse_shards, make_loader, drawn):
    """Of the whole trial, not of the window; a mirror swaps its points, jitter moves them as it moves the pose's."""
    jitter = np.random.default_rng(0).normal(0, 0.02, (6, 2)).astype(np.float32)
    plain, flipped, moved = batches(
        make_loader(mouse_shards, stance_frames=360),
        ClipRequest(row=0, start=50),
        ClipRequest(row=0, start=50, draw=drawn(flip=True)),
        ClipRequest(row=0, start=50, draw=drawn(jitter=jitter)),
    )
    (bare,) = batches(make_loader(mouse_shards), ClipRequest(row=0, start=50))
    assert torch.equal(plain["pose"][..., :3], bare["pose"])
    trial = read_npy(Reader(mouse_shards).read(0, "keypoints")).copy()
    body = mouse_shards.value(0, "body_length")
    usual = usual_distances(trial, frames=360, likelihood=0.9)[0] / body
    torch.testing.assert_close(plain["pose"][0, ..., 3:], torch.from_numpy(usual).expand(T, 6, 6), rtol=1e-5, atol=1e-6)
    swap = [0, 1, 3, 2, 5, 4]
    swapped = plain["pose"][..., 3:][:, :, swap][..., swap]
    torch.testing.assert_close(flipped["pose"][..., 3:], swapped, rtol=1e-4, atol=1e-5)
    trial[..., :2] += jitter * 160
    usual = usual_distances(trial, frames=360, likelihood=0.9)[0] / body
    torch.testing.assert_close(moved["pose"][0, ..., 3:], torch.from_numpy(usual).expand(T, 6, 6), rtol=1e-4, atol=1e-5)
    loader = make_loader(mouse_shards, batch=2, stance_frames=360)
    (padding,) = loader.run([[ClipRequest(row=3, start=5), ClipRequest(row=-1, start=0)]])
    assert not padding["pose"][1].any()


@pytest.mark.parametrize("stance", [0, 360])
def test_the_likelihood_goes_with_the_pose_and_keeps_to_its_points(stance, mouse_shards, make_loader, drawn):
    """The stored one, of invisible points too; a mirror swaps its points, a roll moves its frames, jitter leaves it alone."""
    jitter = np.full((6, 2), 0.02, np.float32)
    loader = make_loader(mouse_shards, batch=2, stance_frames=stance, with_likelihood=True)
    trial = int(mouse_shards.value(0, "frames"))
    draws = (None, drawn(flip=True), drawn(roll=5), drawn(jitter=jitter), None, None)
    at = [ClipRequest(row=0, start=50, draw=draw) for draw in draws[:4]]
    at += [ClipRequest(row=0, start=trial - 4), ClipRequest(row=-1, start=0)]
    poses = [pose for batch in loader.run([at[:2], at[2:4], at[4:]]) for pose in batch["pose"]]
    (bare,) = batches(make_loader(mouse_shards, stance_frames=stance), ClipRequest(row=0, start=50))
    assert torch.equal(poses[0][..., :-1], bare["pose"][0])
    xyl = torch.from_numpy(read_npy(Reader(mouse_shards).read(0, "keypoints")).copy())
    sure = torch.where(xyl[..., :2].isfinite().all(-1), xyl[..., 2], 0)
    assert (sure < 0.9).any()
    plain, flipped, rolled, moved, last, padding = (pose[..., -1] for pose in poses)
    assert torch.equal(plain, sure[50 : 50 + T])
    assert torch.equal(flipped, sure[50 : 50 + T][:, [0, 1, 3, 2, 5, 4]])
    assert torch.equal(rolled, sure[55 : 55 + T])
    assert torch.equal(moved, plain)
    assert torch.equal(last[:4], sure[-4:])
    assert not last[4:].any()
    assert not padding.any()


def test_padding_is_wholly_invalid(mouse_shards, make_loader):
    (batch,) = make_loader(mouse_shards, batch=2).run([[ClipRequest(row=3, start=5), ClipRequest(row=-1, start=0)]])
    assert batch["row"].tolist() == [3, -1]
    assert batch["valid"][0].all()
    assert not batch["valid"][1].any()
    assert (batch["actions"][1] == -1).all()
    assert not batch["keypoints"][1].any()
    assert not batch["pose"][1].any()


def test_the_last_tile_is_padded(mouse_shards, make_loader):
    row = int(np.flatnonzero(mouse_shards.column("frames") == 345)[0])
    (batch,) = batches(make_loader(mouse_shards), ClipRequest(row=row, start=336))
    np.testing.assert_array_equal(batch["valid"][0], np.arange(T) < 9)
    assert (batch["actions"][0, 9:] == -1).all()
    assert (batch["actions"][0, :9] >= 0).all()
    assert torch.equal(batch["clip"][0, 9], batch["clip"][0, 8])


def clips(codec: str, width: int, height: int) -> Manifest:
    table = pa.table({"codec": ["vp9", codec], "clip_width": [224, width], "clip_height": [224, height]})
    return Manifest(root="shards", card={}, table=table)


def test_clips_below_a_gpus_minimum_are_refused_there_and_taken_by_a_cpu(mouse_shards):
    check_clips(mouse_shards, device=0)
    check_clips(clips("vp9", 96, 128), device=None)
    with pytest.raises(
        ValueError,
        match=r"^shards: 1 of 2 clips are too small for a GPU's decoder: 96 x 128 pixels, vp9 needs 128 x 128; "
        r"pack again with a larger --short_side, or train on a CPU$",
    ):
        check_clips(clips("vp9", 96, 128), device=0)
    with pytest.raises(ValueError, match="hevc needs 144 x 144"):
        check_clips(clips("hevc", 128, 160), device=0)


def test_a_loader_refuses_them_before_it_asks_for_a_gpu():
    fields = ClipFields(frames=T, size=96, mean=(0.0,) * 3, std=(1.0,) * 3, likelihood=0.9, merge=(0,), swap=())
    feed = Feed(clips("vp9", 96, 96), None, fields, pool=np.arange(2), budget=Budget(0))
    with pytest.raises(ValueError, match="vp9 needs 128 x 128; pack again with a larger --short_side"):
        Loader(ClipGraph(size=96, batch=1), feed, device=0)


def test_codecs_that_the_device_cannot_decode_are_told():
    for codec in ("vp9", "mjpeg"):
        check_codec(codec, device=None)
    for codec in ("vp9", "mjpeg", "h264", "hevc"):
        check_codec(codec, device=0)
    with pytest.raises(
        ValueError, match=r"stored as h264, which DALI decodes only on a GPU; pack with --codec vp9 or train on a GPU"
    ):
        check_codec("h264", device=None)
    with pytest.raises(ValueError, match="nowhere"):
        check_codec("prores", device=0)
