"""The share of augmentation: of two timed pipelines, beside a loader that goes on as if nothing had been measured."""

import numpy as np
import torch

from tarpon.pipelines import augment_share
from tarpon.pipelines.augment_share import measure_augment_share
from tarpon.pipelines.clip.feed import TrainWindows
from tarpon.pipelines.clip.graph import ClipGraph
from tarpon.pipelines.image.graph import ImageGraph
from tarpon.pipelines.page.graph import PageGraph
from tarpon.pipelines.photo.graph import PhotoGraph
from tarpon.shards.sampling.draws import ClipAugment
from tarpon.shards.sampling.plan import EpochPlan

MERGE = (0, 1, 2, 1, 3, 1, 4, 5)
HOW = {"names": (), "banks": {}, "device": None, "threads": 1}


def test_measuring_changes_no_batch_of_a_run_under_way(mouse_shards, make_loader):
    rows = np.arange(len(mouse_shards))
    windows = TrainWindows(manifest=mouse_shards, augment=ClipAugment(), frames=16, points=6, seed=5, merge=MERGE)
    plan = EpochPlan(rows=rows, shards=rows, seed=5)
    work = [windows(slots) for slots in plan.batches(0, micro=2, rank=0, world=1, skip=0)]
    expected = list(make_loader(mouse_shards, batch=2, noise_sd=0.02).run(work))
    loader = make_loader(mouse_shards, batch=2, noise_sd=0.02)
    assert loader.measure_augment_share() is None  # nothing was under way yet
    run = loader.run(work)
    got = [next(run)]
    assert 0 <= loader.measure_augment_share() < 1
    got += run
    assert len(got) == len(expected)
    assert all(torch.equal(a[name], b[name]) for a, b in zip(got, expected, strict=True) for name in a)


def test_the_share_is_what_the_plain_graph_does_without(monkeypatch):
    graph = PageGraph(size=8, batch=2)
    seconds = {graph: 0.8, graph.plain(): 0.2}
    seen = []

    def time_batch(each, batches, **settings):
        seen.append(batches)
        return seconds[each]

    monkeypatch.setattr(augment_share, "_time_batch", time_batch)
    assert measure_augment_share(graph, [{"page": [1, 2, 3, 4]}], **HOW) == 0.75
    assert seen == [[{"page": [1, 2]}]] * 2  # of a decoded group one micro-batch
    seconds[graph] = 0.19
    assert measure_augment_share(graph, [{"page": [1, 2]}], **HOW) == 0


def test_a_graph_without_augmentation_is_not_timed_and_a_full_gpu_is_no_fault(monkeypatch):
    def refuse(*words, **settings):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(augment_share, "_time_batch", refuse)
    for graph in (ImageGraph(batch=2), ClipGraph(batch=2, size=8, noise=False), PhotoGraph(batch=2, size=8, augment=False)):
        assert measure_augment_share(graph, [{}], **HOW) == 0
    assert measure_augment_share(PhotoGraph(batch=2, size=8), [{}], **HOW) is None
