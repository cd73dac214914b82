"""The loader benchmark of cells compares the same pages."""

import json

import numpy as np
import pytest
import tifffile
import torch

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.shards.manifest import open_manifest
from tarpon.tools.bench import loader
from tarpon.tools.bench.sampler import EndlessSampler
from tarpon.tools.cells import baseline_loader, bench_loader
from tarpon.train.config import Run
from tarpon.train.engine import DistContext
from tarpon.train.tasks.cells.data import PageLabels, cells_data
from tarpon.train.tasks.cells.options import CellsModel, CellsOptions
from tarpon.train.tasks.cells.rows import training_order


@pytest.fixture(scope="module")
def setup(tmp_path_factory) -> bench_loader.Setup:
    """Two stacks of three pages of 64 pixels."""
    config, shards = bench_loader.write_stacks(tmp_path_factory.mktemp("bench"), stacks=2, pages=3, side=64, workers=1)
    return bench_loader.Setup(shards=shards, config=config, size=32, batch=2, device=None, cores=1)


def test_both_ways_deliver_the_same_pictures_and_labels(setup):
    """As stored, each page by its own extremes; resizing and the 8 bits of the baseline aside."""
    manifest = open_manifest(setup.shards)
    pages = bench_loader.locate_pages(manifest, setup)
    backbone = FrameBackbone(name="resnet50", pretrained=False, image_size=32)
    options = CellsOptions(model=CellsModel(backbone=backbone), contrast="frame")
    labels, clock = (np.asarray(manifest.column(name)) for name in ("label", "hours"))
    context = DistContext(rank=0, world=1, local_rank=0, local_world=1, device=torch.device("cpu"))
    run = Run(data=setup.shards, micro_batch=6, global_batch=6)
    rows = manifest.rows("train")
    data = cells_data(
        run,
        options,
        context,
        manifest=manifest,
        rows={"train": rows},
        order=training_order(manifest, rows, labels, options, seed=0),
        labels=PageLabels(label=labels, hours=clock, target=clock),
    )
    ours = next(data.split("train"))
    dataset = baseline_loader.StackPages(pages, size=32, mean=options.mean, std=options.std)
    dataset.transform.transforms = [step for step in dataset.transform.transforms if type(step).__name__ in STILL]
    assert len(dataset) == len(rows) == 6
    for place, (clip, label, hours) in enumerate(dataset[i] for i in range(6)):
        assert (label, hours) == (ours["label"][place].item(), ours["hours"][place].item())
        assert clip.shape == (3, 32, 32)
        # its 8 bits are cut off, not rounded (1 level), and it resizes and rounds them again (under 1 more); 4 is 1 / std
        assert (clip - ours["clip"][place, 0]).abs().max() < 4 * 2 / 255
    assert (ours["clip"][0] - ours["clip"][3]).abs().mean() > 0.1  # which pages of another stack are not


STILL = ("Resize", "ToDtype", "Normalize")


def test_a_page_is_stretched_by_its_own_extremes(tmp_path):
    pages = np.stack([np.full((4, 4), 7, np.uint16), np.arange(16, dtype=np.uint16).reshape(4, 4) * 100 + 50])
    tifffile.imwrite(tmp_path / "s.tif", pages, photometric="minisblack")
    assert baseline_loader.read_page(tmp_path / "s.tif", 0).tolist() == [[0] * 4] * 4
    assert baseline_loader.read_page(tmp_path / "s.tif", 1).ravel().tolist() == [17 * i for i in range(16)]


def test_the_baseline_goes_through_all_pages_again_and_again():
    order = iter(EndlessSampler(5))
    for _ in range(3):
        assert sorted(next(order) for _ in range(5)) == list(range(5))


@pytest.mark.slow
def test_a_run_writes_the_agreed_json(capsys, tmp_path):
    options = {"stacks": 2, "pages": 4, "side": 64, "size": 32, "batch": 4, "seconds": 0.05, "repeats": 1, "warm_up": 0.0}
    assert loader.run(task="cells", json=str(tmp_path / "b.json"), **options) == 0
    told = json.loads((tmp_path / "b.json").read_text())
    speed = {row["name"]: row["per_second"] for row in told["rows"]}
    assert set(speed) == {getattr(bench_loader, name) for name in ("TARPON", "READY", "BASELINE", "GREY")}
    ratio = speed[bench_loader.TARPON] / speed[bench_loader.BASELINE]
    assert told["ratios"]["tarpon_over_baseline"] == pytest.approx(ratio)
    assert "The aim is 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"task": "fish"}, "no loader benchmark; there is: cells, mouse"),
        ({"task": "cells", "videos": "v"}, "--videos is no option of the cells benchmark"),
        ({"task": "mouse", "shards": "s"}, "--videos is missing"),
        ({"task": "cells", "shards": "s"}, "give --shards and the --config"),
        ({"task": "cells", "size": 0}, "size=0: each must be 1 or more"),
    ],
)
def test_mistakes_are_told_before_anything_is_timed(given, said):
    with pytest.raises(ValueError, match=said):
        loader.run(**given)
