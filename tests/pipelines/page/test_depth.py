"""DALI decodes stored pages at their full depth: all 16 bits arrive as they were packed."""

import numpy as np
import pytest

from tarpon.shards.reader import Reader
from tarpon.shards.sources.cells.pages import decode_tiff, encode_tiff

EVERY = np.arange(65536, dtype=np.uint16).reshape(256, 256)  # every level there is


def decoded(contents: list[bytes], *, output: str = "ANY_DATA", device: int | None = None) -> list[np.ndarray]:
    """What `fn.decoders.image` makes of encoded pages, as UINT16."""
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=len(contents), num_threads=2, device_id=device)
    def graph():
        encoded = fn.external_source(source=lambda: [np.frombuffer(content, np.uint8) for content in contents], batch=True)
        return fn.decoders.image(
            encoded,
            device="cpu" if device is None else "mixed",
            output_type=getattr(types, output),
            dtype=types.UINT16,
        )

    pipeline = graph()
    pipeline.build()
    (out,) = pipeline.run()
    out = out if device is None else out.as_cpu()
    return [np.array(out.at(i)) for i in range(len(contents))]


@pytest.mark.parametrize("output", ["GRAY", "ANY_DATA"])
def test_every_level_of_16_bits_arrives(output):
    mixed = np.random.default_rng(0).permutation(EVERY.ravel()).reshape(128, 512)
    for page, (found) in zip((EVERY, mixed), decoded([encode_tiff(EVERY), encode_tiff(mixed)], output=output), strict=True):
        assert found.dtype == np.uint16
        assert np.array_equal(found[..., 0], page)


def test_colour_of_16_bits_arrives():
    page = np.stack([EVERY, EVERY[::-1], EVERY.T], -1)
    (found,) = decoded([encode_tiff(page)])
    assert np.array_equal(found, page)


def test_8_bits_are_spread_over_16():
    page = np.arange(256, dtype=np.uint8).reshape(16, 16)
    (found,) = decoded([encode_tiff(page)])
    assert np.array_equal(found[..., 0], page.astype(np.uint16) * 257)


def test_packed_pages_arrive_as_they_are_stored(cells_shards):
    reader = Reader(cells_shards)
    contents = [reader.read(row, "tif") for row in range(len(cells_shards))]
    reader.close()
    deep = [content for content, bits in zip(contents, cells_shards.column("bits"), strict=True) if bits == 16]
    assert len(deep) == 80
    for content, found in zip(deep, decoded(deep), strict=True):
        assert np.array_equal(found[..., 0], decode_tiff(content))


@pytest.mark.gpu
def test_a_gpu_delivers_every_bit_too():
    colour = np.stack([EVERY, EVERY[::-1], EVERY.T], -1)
    grey, three = decoded([encode_tiff(EVERY), encode_tiff(colour)], device=0)
    assert np.array_equal(grey[..., 0], EVERY)
    assert np.array_equal(three, colour)
