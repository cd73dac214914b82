"""The proof notices one frame, one colour and one turn, and does not refuse what only a cold seek cannot read."""

from fractions import Fraction

import av
import numpy as np
import pytest

from tarpon.shards.sources.video import clips as video
from tarpon.shards.sources.video.display import Display
from tarpon.shards.sources.video.proof import Seen, Witness, check_alignment, thumbnail, thumbnails


def clip_of(frames: np.ndarray, **form) -> bytes:
    encoder = video.ClipEncoder(video.ClipFormat(**form), width=frames.shape[2], height=frames.shape[1], fps=Fraction(30))
    for frame in frames:
        encoder.add(av.VideoFrame.from_ndarray(frame, format="rgb24"))
    return encoder.finish()


@pytest.fixture(scope="module")
def frames(tmp_path_factory, write_source) -> np.ndarray:
    return write_source(tmp_path_factory.mktemp("frames") / "a.mp4")


def test_a_shift_by_one_frame_is_noticed(frames):
    proof = thumbnails(clip_of(frames))
    assert proof.shape == (40, 8, 8, 3)
    check_alignment(proof, thumbnails(clip_of(frames, codec="mjpeg")))
    late = thumbnails(clip_of(np.concatenate([frames[:1], frames[:-1]])))
    early = thumbnails(clip_of(np.concatenate([frames[1:], frames[-1:]])))
    for wrong in (late, early):
        with pytest.raises(ValueError, match="fit the source best when moved by"):
            check_alignment(proof, wrong, tolerance=50)
    with pytest.raises(ValueError, match="39 frames decode, 40 were packed"):
        check_alignment(proof, proof[:-1])
    with pytest.raises(ValueError, match="grey levels"):
        check_alignment(proof, 255 - proof)


def test_a_turn_and_a_colour_are_noticed(frames):
    proof = thumbnails(clip_of(frames))
    with pytest.raises(ValueError, match="grey levels"):
        check_alignment(proof, thumbnails(clip_of(frames[:, ::-1, ::-1])))
    cast = frames.astype(int) + np.array([24, 0, -24])  # as bright as before on average
    with pytest.raises(ValueError, match="brightness agrees, their colours do not"):
        check_alignment(proof, thumbnails(clip_of(cast.clip(0, 255).astype(np.uint8))))


def test_a_still_clip_passes():
    proof = np.full((20, 8, 8, 3), 77, np.uint8)
    check_alignment(proof, proof + 1)


def test_a_thumbnail_is_the_mean_with_or_without_a_kept_display():
    colours = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(colours, format="rgb24")
    blocks = colours.reshape(8, 8, 8, 8, 3).mean((1, 3))
    display = Display()
    for thumb in (thumbnail(frame), thumbnail(frame, display), thumbnail(frame, display)):
        assert np.abs(thumb - blocks).max() <= 3


def seen_in(path, *, shift: int = 0) -> list[Seen]:
    """Every seventh frame of a first pass, told to be `shift` frames earlier than it was."""
    passed, key, display = [], None, Display()
    for number, frame in enumerate(video.decode(path)):
        key = frame.pts if frame.key_frame else key
        passed.append(Seen(number=number, pts=frame.pts, key=key, thumb=thumbnail(frame, display)))
    told = [
        Seen(number=one.number, pts=one.pts, key=one.key, thumb=other.thumb)
        for one, other in zip(passed, passed[shift:], strict=False)
    ]
    return told[3::7]


OPEN = {"x264-params": "open-gop=1:bframes=3:keyint=10:min-keyint=10:scenecut=0"}
KINDS = {
    "closed.mp4": {"gop": 8},
    "one_group.mp4": {"gop": 250},
    "open.mp4": {"options": OPEN, "gop": 10},
    "open.ts": {"options": OPEN, "gop": 10},
    "open.mkv": {
        "encoder": "libx265",
        "options": {"x265-params": "open-gop=1:bframes=4:keyint=10:min-keyint=10:scenecut=0:log-level=error"},
    },
    "b_frames.avi": {"encoder": "mpeg4", "options": {"qscale": "3", "bf": "2"}},
    "stream.mpg": {"encoder": "mpeg2video", "options": {"qscale": "3", "bf": "2"}},
    "vfr.mp4": {"pts": np.cumsum(np.random.default_rng(0).integers(5, 120, 40))},
    "colour444.mp4": {"pix_fmt": "yuv444p"},
    "turned.mp4": {"turn": -90},
}


@pytest.mark.parametrize("name", KINDS)
def test_a_sound_video_has_a_witness_and_a_moved_one_has_none(tmp_path, write_source, name):
    write_source(tmp_path / name, **KINDS[name])
    witness = Witness(tmp_path / name)
    witness.check(seen_in(tmp_path / name))
    witness.close()
    for shift in (1, 2):
        with pytest.raises(ValueError, match="frame 3 is another picture when the video is decoded a second time"):
            Witness(tmp_path / name).check(seen_in(tmp_path / name, shift=shift))


def test_a_first_pass_that_lost_a_frame_has_no_witness(tmp_path, write_source):
    """A frame dropped in the middle: every later one is counted a frame early, with its own picture and time."""
    write_source(tmp_path / "a.mp4")
    seen = seen_in(tmp_path / "a.mp4")
    lost = [Seen(number=one.number - (one.number > 12), pts=one.pts, key=one.key, thumb=one.thumb) for one in seen]
    with pytest.raises(ValueError, match="frame 16 is another picture"):
        Witness(tmp_path / "a.mp4").check(lost)
    twice = [Seen(number=one.number + (one.number > 12), pts=one.pts, key=one.key, thumb=one.thumb) for one in seen]
    with pytest.raises(ValueError, match="frame 18 is another picture"):
        Witness(tmp_path / "a.mp4").check(twice)
    late = [Seen(number=one.number, pts=one.pts + (one.number > 12), key=one.key, thumb=one.thumb) for one in seen]
    with pytest.raises(ValueError, match="frame 17 is another picture"):
        Witness(tmp_path / "a.mp4").check(late)


@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
def test_frames_that_no_other_needs_are_decoded_where_they_are_asked_for(tmp_path, write_source, monkeypatch, encoder):
    """Before a frame that is looked for, B-frames are passed over; the frame itself and its neighbour after it may be such."""
    quiet = {"x265-params": "log-level=error:bframes=4"} if encoder == "libx265" else {"bf": "3"}
    write_source(tmp_path / "a.mp4", encoder=encoder, options=quiet, gop=250)
    monkeypatch.setattr(Witness, "_count_to", lambda self, one: pytest.fail(f"frame {one.number} was not found by its time"))
    passed, key = [], None
    for number, frame in enumerate(video.decode(tmp_path / "a.mp4")):
        key = frame.pts if frame.key_frame else key
        passed.append(Seen(number=number, pts=frame.pts, key=key, thumb=thumbnail(frame)))
    for first in range(1, 5):  # every place in a run of B-frames
        Witness(tmp_path / "a.mp4").check([passed[first], *passed[first + 6 : first + 8], passed[first + 14]])


def test_a_seek_that_fails_is_no_evidence(tmp_path, write_source, monkeypatch):
    """Whatever the seek gives, sequential decoding decides; and it is asked only then."""
    write_source(tmp_path / "a.mp4")
    seen, asked = seen_in(tmp_path / "a.mp4"), []
    count = Witness._count_to
    monkeypatch.setattr(Witness, "_count_to", lambda self, one: asked.append(one.number) or count(self, one))
    Witness(tmp_path / "a.mp4").check(seen)
    assert asked == []
    frame = next(video.decode(tmp_path / "a.mp4"))
    monkeypatch.setattr(Witness, "_seek", lambda self, one: frame)
    Witness(tmp_path / "a.mp4").check(seen)
    assert asked == [one.number for one in seen]


def test_no_frame_is_decoded_twice_by_the_witness(tmp_path, write_source, monkeypatch):
    """All frames in one group of pictures: one seek, then on from there."""
    write_source(tmp_path / "a.mp4", gop=250)
    seen, decoded = seen_in(tmp_path / "a.mp4"), []

    class Counting(Witness):
        @property
        def _at(self):
            return decoded[-1] if decoded else None

        @_at.setter
        def _at(self, pts):
            if pts is not None:
                decoded.append(pts)

    Counting(tmp_path / "a.mp4").check(seen)
    assert decoded == sorted(set(decoded))
    assert len(seen) <= len(decoded) < seen[-1].number + 1  # without most frames that no other needs
