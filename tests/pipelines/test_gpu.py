"""A GPU delivers what a CPU delivers; where a CPU cannot decode, what PyAV decodes."""

import io

import numpy as np
import pytest
import torch

from tarpon.pipelines.feed import Window
from tarpon.shards.reader import Reader
from tarpon.shards.sources import video

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")]
TOLERANCE = 2.0  # grey levels of mean difference: chroma upsampling and rounding differ between decoders
EXACT = ("keypoints", "pose", "actions", "valid", "row", "start")


def windows(drawn) -> list[list[Window]]:
    return [
        [Window(row=0, start=30), Window(row=1, start=200)],
        [Window(row=2, start=7, draw=drawn(roll=-3, flip=True, brightness=1.1)), Window(row=3, start=344)],
        [Window(row=6, start=100, draw=drawn(dropped=np.arange(16) % 5 == 4)), Window(row=-1, start=0)],
    ]


@pytest.mark.parametrize("codec", ["vp9", "mjpeg"])
@pytest.mark.parametrize("size", [128, 64])
def test_gpu_is_cpu(packed_as, make_loader, drawn, codec, size):
    manifest = packed_as(codec)
    on = {
        device: list(make_loader(manifest, batch=2, size=size, resize=size != 128, device=device).run(windows(drawn)))
        for device in (None, 0)
    }
    for cpu, gpu in zip(on[None], on[0], strict=True):
        assert gpu["clip"].is_cuda
        for name in EXACT:
            assert torch.equal(gpu[name].cpu(), cpu[name]), name
        assert (gpu["clip"].cpu() - cpu["clip"]).abs().mean() < TOLERANCE


@pytest.mark.parametrize("codec", ["vp9", "mjpeg", "h264", "hevc"])
def test_gpu_frames_are_those_of_pyav(packed_as, make_loader, busiest, codec):
    manifest = packed_as(codec)
    starts = [busiest(manifest, row, 16) for row in range(len(manifest))]
    work = [[Window(row=row, start=start)] for row, start in enumerate(starts)]
    for row, batch in enumerate(make_loader(manifest, device=0).run(work)):
        near = video.frames_at(Reader(manifest).read(row, "clip"), range(starts[row] - 1, starts[row] + 17)).astype(float)
        clip = batch["clip"][0].permute(0, 2, 3, 1).cpu().numpy()
        moves = np.ptp(near, axis=0) > 40
        error = {shift: np.abs(clip - near[1 + shift : 17 + shift])[:, moves].mean() for shift in (-1, 0, 1)}
        assert error[0] < TOLERANCE, error
        assert error[0] < 0.5 * min(error[-1], error[1]), error
        stored = np.load(io.BytesIO(Reader(manifest).read(row, "actions")))[starts[row] : starts[row] + 16]
        np.testing.assert_array_equal(batch["actions"][0].cpu(), np.array([0, 1, 2, 1, 3, 1, 4, 5])[stored])


def test_gpu_noise_is_the_cpus(mouse_shards, make_loader, drawn):
    work = [[Window(row=0, start=5, draw=drawn(noise=0.3)), Window(row=1, start=5)]]
    cpu, gpu = (
        next(make_loader(mouse_shards, batch=2, noise_sd=0.02, device=device).run(work))["clip"] for device in (None, 0)
    )
    assert (cpu - gpu.cpu()).abs().mean() < TOLERANCE


def test_gpu_batches_stay_as_they_were_delivered(mouse_shards, make_loader):
    run = make_loader(mouse_shards, device=0).run([[Window(row=0, start=start)] for start in range(0, 200, 20)])
    kept = [(batch["clip"], batch["clip"].clone()) for batch in run]
    torch.cuda.synchronize()
    assert all(torch.equal(view, copy) for view, copy in kept)
