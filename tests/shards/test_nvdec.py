"""Which clips are too small for a GPU's decoder."""

import pyarrow as pa
import pytest

from tarpon.shards.manifest import Manifest
from tarpon.shards.nvdec import MINIMUM, describe_small_clips
from tarpon.shards.sources.video.clips import CODECS


def clips(*rows: tuple[str, int, int]) -> Manifest:
    codec, width, height = zip(*rows, strict=True)
    return Manifest(root="memory", card={}, table=pa.table({"codec": codec, "clip_width": width, "clip_height": height}))


def test_every_codec_that_is_packed_has_a_minimum():
    assert set(CODECS) <= set(MINIMUM)


@pytest.mark.parametrize("codec", MINIMUM)
def test_the_minimum_itself_is_enough_and_a_pixel_less_is_not(codec):
    width, height = MINIMUM[codec]
    assert describe_small_clips(clips((codec, width, height))) is None
    for small in ((width - 1, height), (width, height - 1)):
        assert f"{small[0]} x {small[1]} pixels, {codec} needs {width} x {height}" in describe_small_clips(
            clips((codec, *small))
        )


def test_the_smallest_clip_is_named_and_all_are_counted():
    manifest = clips(("vp9", 224, 224), ("vp9", 112, 160), ("vp9", 96, 96), ("mjpeg", 96, 96))
    assert describe_small_clips(manifest) == (
        "2 of 4 clips are too small for a GPU's decoder: 96 x 96 pixels, vp9 needs 128 x 128"
    )
    assert describe_small_clips(clips(("h264", 64, 64))) is None
