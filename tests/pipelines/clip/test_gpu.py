"""A GPU delivers what a CPU delivers; where a CPU cannot decode, what PyAV decodes."""

import io

import numpy as np
import pytest
import torch

from tarpon.pipelines.clip.feed import ClipRequest
from tarpon.shards.reader import Reader
from tarpon.shards.sources.video import clips as video

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")]
TOLERANCE = 2.0  # grey levels of mean difference: chroma upsampling and rounding differ between decoders
EXACT = ("keypoints", "pose", "actions", "valid", "row", "start")


def windows(drawn) -> list[list[ClipRequest]]:
    return [
        [ClipRequest(row=0, start=30), ClipRequest(row=1, start=200)],
        [ClipRequest(row=2, start=7, draw=drawn(roll=-3, flip=True, brightness=1.1)), ClipRequest(row=3, start=344)],
        [ClipRequest(row=6, start=100, draw=drawn(dropped=np.arange(16) % 5 == 4)), ClipRequest(row=-1, start=0)],
    ]


@pytest.mark.parametrize("codec", ["vp9", "mjpeg"])
@pytest.mark.parametrize("size", [160, 64])
def test_gpu_is_cpu(packed_as, make_loader, drawn, codec, size):
    manifest = packed_as(codec)
    on = {
        device: list(make_loader(manifest, batch=2, size=size, resize=size != 160, device=device).run(windows(drawn)))
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
    work = [[ClipRequest(row=row, start=start)] for row, start in enumerate(starts)]
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
    work = [[ClipRequest(row=0, start=5, draw=drawn(noise=0.3)), ClipRequest(row=1, start=5)]]
    cpu, gpu = (
        next(make_loader(mouse_shards, batch=2, noise_sd=0.02, device=device).run(work))["clip"] for device in (None, 0)
    )
    assert (cpu - gpu.cpu()).abs().mean() < TOLERANCE


def test_gpu_batches_stay_as_they_were_delivered(mouse_shards, make_loader):
    run = make_loader(mouse_shards, device=0).run([[ClipRequest(row=0, start=start)] for start in range(0, 200, 20)])
    kept = [(batch["clip"], batch["clip"].clone()) for batch in run]
    torch.cuda.synchronize()
    assert all(torch.equal(view, copy) for view, copy in kept)


@pytest.mark.parametrize("decode_batches", [2, 3])
def test_gpu_batches_decoded_as_one_are_the_same_batches(mouse_shards, make_loader, drawn, decode_batches):
    work = [*windows(drawn), [ClipRequest(row=4, start=9, draw=drawn(noise=0.7))]]
    plain, grouped = (
        list(make_loader(mouse_shards, batch=2, noise_sd=0.02, device=0, decode_batches=number).run(work))
        for number in (1, decode_batches)
    )
    assert len(plain) == len(grouped) == len(work)
    for one, two in zip(plain, grouped, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_gpu_decodes_more_clips_than_a_micro_batch_by_itself(mouse_shards, make_loader):
    assert make_loader(mouse_shards, batch=2, device=0).decode_batches > 1
    assert make_loader(mouse_shards, batch=2, device=0, decode_batches=1).decode_batches == 1


@pytest.mark.parametrize("decode_batches", [1, 3])
def test_a_batch_outlives_the_host_that_has_let_it_go(mouse_shards, make_loader, decode_batches):
    """A kernel that reads each batch waits behind a long one, while the host drops the batch and asks for many more."""
    work = [[ClipRequest(row=row % 6, start=start)] for row, start in enumerate(range(0, 240, 10))]
    loader = make_loader(mouse_shards, device=0, decode_batches=decode_batches)
    expected = [batch["clip"].sum(dtype=torch.float64).item() for batch in loader.run(work)]
    assert len(set(expected)) == len(work)
    sums = []
    for batch in loader.run(work):
        torch.cuda._sleep(50_000_000)  # about 30 ms, in which DALI decodes the next batches
        sums.append(batch["clip"].sum(dtype=torch.float64))
        del batch
    assert [each.item() for each in sums] == expected


def test_batches_are_ordered_after_the_stream_that_is_current(mouse_shards, make_loader):
    work = [[ClipRequest(row=row % 6, start=start)] for row, start in enumerate(range(0, 120, 10))]
    loader = make_loader(mouse_shards, device=0)
    expected = [batch["clip"].sum(dtype=torch.float64).item() for batch in loader.run(work)]
    stream, sums = torch.cuda.Stream(), []
    with torch.cuda.stream(stream):
        for batch in loader.run(work):
            torch.cuda._sleep(50_000_000)
            sums.append(batch["clip"].sum(dtype=torch.float64))
            del batch
    stream.synchronize()
    assert [each.item() for each in sums] == expected
