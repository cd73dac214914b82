"""The last pass over the pixels of clips on a CPU: what DALI's operators make of the same, in memory that is used again."""

import numpy as np
import pytest
import torch

from tarpon.pipelines.clip import pixels
from tarpon.pipelines.clip.pixels import finish_clips
from tarpon.pipelines.last_pass import BATCHES, Memory
from tarpon.pipelines.noise import NoiseBank

CLIPS, T, H, W = 4, 5, 6, 7
MEAN = np.array([[120, 110, 100], [0, 0, 0], [-30, 12, 3], [120, 110, 100]], np.float32)
STD = np.array([[50, 60, 70], [1, 1, 1], [44, 45, 46], [50, 60, 70]], np.float32)
MIRROR = np.array([0, 1, 1, 0], np.int32)
FIRST = np.array([-1, 11, -1, 5], np.int64)


@pytest.fixture
def stored() -> tuple[np.ndarray, np.ndarray]:
    """Clips (4, T, H, W, 3) uint8 with black and white, and a bank of noise that leaves the range at both ends."""
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (CLIPS, T, H, W, 3)).astype(np.uint8)
    clips[:, 0], clips[:, 1] = 0, 255
    return clips, NoiseBank.normal(rng, count=T * H * W * 3, sd=40, dtype=np.int8).values


def finished(clips: np.ndarray, noise: np.ndarray, memory: Memory | None = None) -> torch.Tensor:
    told = {"mean": MEAN, "std": STD, "mirror": MIRROR, "noise_first": FIRST, "noise": noise}
    tensors = {name: torch.from_numpy(values) for name, values in told.items()}
    return finish_clips(torch.from_numpy(clips), **tensors, memory=memory or Memory())


def slices(noise: np.ndarray) -> list[np.ndarray]:
    """Each clip's noise; zeros where it has none."""
    size = T * H * W * 3
    return [(noise[first : first + size] if first >= 0 else np.zeros(size, np.int8)).reshape(T, H, W, 3) for first in FIRST]


@pytest.mark.parametrize("block", [1, W * 3 * 4, 1 << 18])
def test_it_is_the_formula(monkeypatch, stored, block):
    """In float64: noise, clipped, mirrored, less the mean, over the deviation; whatever the size of the blocks."""
    monkeypatch.setattr(pixels, "BLOCK", block)
    clips, noise = stored
    made = finished(clips, noise)
    assert made.shape == (CLIPS, T, 3, H, W)
    for clip, own, out, mean, std, mirror in zip(clips, slices(noise), made, MEAN, STD, MIRROR, strict=True):
        noisy = np.clip(clip.astype(float) + own, 0, 255)
        expected = ((noisy[:, :, ::-1] if mirror else noisy) - mean) / std
        np.testing.assert_allclose(out.permute(0, 2, 3, 1), expected, rtol=1e-6, atol=1e-6)


def test_it_is_what_dali_makes(stored):
    from nvidia.dali import fn, pipeline_def, types

    clips, noise = stored
    arrays = tuple(map(list, (clips, slices(noise), MEAN, STD, MIRROR)))

    @pipeline_def(batch_size=CLIPS, num_threads=1, device_id=None)
    def dali():
        clip, grain, mean, std, mirror = fn.external_source(lambda: arrays, num_outputs=5, batch=True)
        clip = fn.cast(fn.reinterpret(clip, layout="FHWC") + grain, dtype=types.UINT8)
        return fn.crop_mirror_normalize(clip, mean=mean, std=std, mirror=mirror, output_layout="FCHW", dtype=types.FLOAT)

    built = dali()
    built.build()
    (made,) = built.run()
    np.testing.assert_allclose(finished(clips, noise), np.array(made.as_tensor()), rtol=1e-6, atol=1e-6)


def test_memory_is_used_again_when_no_tensor_of_it_is_left(stored):
    clips, noise = stored
    memory = Memory()
    batch = finished(clips, noise, memory)
    part, copy = batch[1, 2, :, 3], batch[1, 2, :, 3].clone()
    del batch  # its part is left
    others = [finished(255 - clips, noise, memory) for _ in range(BATCHES)]
    assert torch.equal(part, copy)
    assert len({other.data_ptr() for other in others}) == BATCHES
    del others
    assert len({finished(clips, noise, memory).data_ptr() for _ in range(4)}) == 1


def test_threads_of_torch_are_as_they_were(stored):
    before = torch.get_num_threads()
    finished(*stored)
    with pytest.raises(ValueError, match="zip"):
        finish_clips(
            torch.zeros(2, T, H, W, 3, dtype=torch.uint8),
            mean=torch.zeros(1, 3),
            std=torch.ones(1, 3),
            mirror=torch.zeros(2),
            noise_first=torch.full((2,), -1),
            memory=Memory(),
        )
    assert torch.get_num_threads() == before
