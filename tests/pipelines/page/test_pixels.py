"""The last pass over the pixels of pages on a CPU: the formula in float64, and what DALI's operators make of the same."""

import numpy as np
import pytest
import torch

from tarpon.pipelines.last_pass import Memory
from tarpon.pipelines.noise import NoiseBank
from tarpon.pipelines.page import pixels
from tarpon.pipelines.page.graph import PageGraph
from tarpon.pipelines.page.pixels import Light, finish_pages

PAGES, S = 3, 12
MEAN, STD = 0.4, 0.2
FIRST = np.array([7, -1, 3], np.int64)


@pytest.fixture(params=[1, 2])
def given(request) -> dict[str, np.ndarray]:
    """Pages of one and of two channels, with levels beyond both ends of the range, and how they are varied."""
    rng, channels = np.random.default_rng(0), request.param
    noise = NoiseBank.normal(rng, count=S * S * channels, sd=0.1, dtype=np.float32).values
    return {
        "pages": rng.integers(0, 65536, (PAGES, channels, S, S)).astype(np.uint16),
        "black": rng.uniform(0, 20_000, (PAGES, channels)).astype(np.float32),
        "span": rng.uniform(20_000, 40_000, (PAGES, channels)).astype(np.float32),
        "factor": rng.uniform(0.8, 1.2, (PAGES, channels)).astype(np.float32),
        "offset": rng.uniform(-0.1, 0.1, (PAGES, channels)).astype(np.float32),
        "noise": noise,
    }


def finish(given: dict[str, np.ndarray], *, varied: bool = True, colours: int = 1) -> torch.Tensor:
    tensors = {name: torch.from_numpy(values) for name, values in given.items()}
    light = {name: tensors.pop(name) for name in ("factor", "offset", "noise")}
    how = Light(**light, noise_first=torch.from_numpy(FIRST)) if varied else None
    return finish_pages(**tensors, light=how, mean=MEAN, std=STD, colours=colours, memory=Memory())


def slices(noise: np.ndarray, channels: int) -> list[np.ndarray]:
    """Each page's noise (S, S, C); zeros where it has none."""
    size = S * S * channels
    return [(noise[at : at + size] if at >= 0 else np.zeros(size, np.float32)).reshape(S, S, channels) for at in FIRST]


@pytest.mark.parametrize("block", [1, 5 * S, 1 << 18])
@pytest.mark.parametrize("varied", [False, True])
def test_it_is_the_formula(monkeypatch, given, varied, block):
    monkeypatch.setattr(pixels, "BLOCK", block)
    level = (given["pages"] - given["black"].astype(float)[..., None, None]) / given["span"][..., None, None]
    level = level.clip(0, 1)
    if varied:
        noise = np.stack(slices(given["noise"], level.shape[1])).transpose(0, 3, 1, 2)
        level = (level * given["factor"][..., None, None] + given["offset"][..., None, None] + noise).clip(0, 1)
    np.testing.assert_allclose(finish(given, varied=varied), (level - MEAN) / STD, rtol=1e-5, atol=2e-6)


def test_it_is_what_dali_makes(given):
    from nvidia.dali import fn, pipeline_def

    channels = given["pages"].shape[1]
    graph = PageGraph(size=S, channels=channels, batch=PAGES, mean=MEAN, std=STD)
    names = ("black", "range", "factor", "offset", "noise")
    squeezed = [given[name].reshape(-1) if channels == 1 else given[name] for name in ("black", "span", "factor", "offset")]
    levels = [list(values) for values in (*squeezed, slices(given["noise"], channels))]
    planes = [[np.ascontiguousarray(page[channel, ..., None]) for page in given["pages"]] for channel in range(channels)]

    @pipeline_def(batch_size=PAGES, num_threads=1, device_id=None)
    def dali():
        fed = fn.external_source(lambda: (*levels, *planes), num_outputs=len(names) + channels, batch=True)
        inputs = {name: fed[i] for i, name in enumerate(names)}
        stored = [fn.reinterpret(plane, layout="HWC") for plane in fed[len(names) :]]
        return tuple(graph.finish_plane(plane, inputs, channel) for channel, plane in enumerate(stored))

    built = dali()
    built.build()
    expected = np.concatenate([np.array(plane.as_tensor()) for plane in built.run()], -1).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(finish(given), expected, rtol=1e-5, atol=2e-6)


def test_a_page_of_one_channel_is_delivered_as_often_as_asked(given):
    made, once = finish(given, colours=3), finish(given)
    channels = once.shape[1]
    assert made.shape == (PAGES, 3 if channels == 1 else channels, S, S)
    assert torch.equal(made, once.expand(-1, made.shape[1], -1, -1))
    assert made.stride(1) == 1  # channels last, in memory of its own: what convolutions are fastest on
