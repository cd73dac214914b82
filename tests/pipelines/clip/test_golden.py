"""What the loader delivers is the source video, frame for frame: pixels, labels and points, by an independent way.

PyAV counts frames from the start of the file, PIL resizes, the CSV files are read by NumPy; none of Tarpon's readers.
"""

import numpy as np
import pytest

from tarpon.pipelines.clip.feed import ClipRequest

FRAMES = 24
TOLERANCE = 4.0  # grey levels of mean difference on what moves: the codec's loss and another resizer


def kinds(manifest) -> dict[str, int]:
    """A row of each kind of trial that was ever misplaced."""
    trials, frames = manifest.column("trial"), manifest.column("frames")
    return {
        "first": int(np.flatnonzero((trials == 1) & (frames == 360))[0]),
        "second": int(np.flatnonzero(trials == 2)[0]),
        "third": int(np.flatnonzero(trials == 3)[0]),
        "late": int(np.flatnonzero(frames == 345)[0]),
    }


@pytest.mark.parametrize("codec", ["vp9", "mjpeg"])
@pytest.mark.parametrize("size", [160, 64])
def test_windows_are_the_sources_frames(packed_as, make_loader, truth, busiest, codec, size):
    manifest = packed_as(codec)
    rows = kinds(manifest)
    starts = {kind: busiest(manifest, row, FRAMES) for kind, row in rows.items()}
    loader = make_loader(manifest, frames=FRAMES, size=size, resize=size != 160)
    work = [[ClipRequest(row=row, start=starts[kind])] for kind, row in rows.items()]
    for (kind, row), batch in zip(rows.items(), loader.run(work), strict=True):
        stem, trial, begin = (manifest.value(row, name) for name in ("video", "trial", "first_frame"))
        assert begin == (trial - 1) * 360 + (15 if manifest.value(row, "frames") == 345 else 0)
        start = starts[kind]
        np.testing.assert_array_equal(batch["actions"][0], truth.actions(stem, trial, start, FRAMES))
        np.testing.assert_allclose(batch["keypoints"][0], truth.keypoints(stem, begin + start, FRAMES, side=160), atol=1e-5)
        assert batch["valid"].all()
        assert (int(batch["row"]), int(batch["start"])) == (row, start)
        clip = batch["clip"][0].permute(0, 2, 3, 1).numpy()
        near = truth.pixels(stem, begin + start - 2, FRAMES + 4, size=size)
        moves = np.ptp(near, axis=0) > 40
        error = {shift: np.abs(clip - near[2 + shift : 2 + shift + FRAMES])[:, moves].mean() for shift in range(-2, 3)}
        assert error[0] < TOLERANCE, (kind, error)
        assert all(error[0] < 0.8 * error[shift] for shift in (-2, -1, 1, 2)), (kind, error)
        if start >= 15:  # the old mistake: a trial of 345 rows read from its block's start
            wrong = truth.pixels(stem, begin + start - 15, FRAMES, size=size)
            assert np.abs(clip - wrong)[:, moves].mean() > 2 * error[0]


def test_every_frame_of_a_trial_by_its_own(packed_as, make_loader, truth):
    """Each frame of a whole late trial, where the picture moves, is nearer to its own source frame than to the one before."""
    manifest = packed_as("vp9")
    row = kinds(manifest)["late"]
    stem, begin = manifest.value(row, "video"), manifest.value(row, "first_frame")
    (batch,) = make_loader(manifest, frames=345).run([[ClipRequest(row=row, start=0)]])
    clip = batch["clip"][0].permute(0, 2, 3, 1).numpy()
    near = truth.pixels(stem, begin - 1, 346, size=160)
    moves = np.abs(near[1:] - near[:-1])[:345] > 30
    told = np.flatnonzero(moves.sum((1, 2, 3)) >= 60)
    assert len(told) > 60
    for frame in told:
        before, own = (np.abs(clip[frame] - near[frame + shift])[moves[frame]].mean() for shift in (0, 1))
        assert own < 0.5 * before, frame
