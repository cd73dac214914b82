"""No trial of a split is cut between processes."""

from dataclasses import replace

import numpy as np
import pytest

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.train.config import Run
from tarpon.train.tasks.mouse import task as mouse
from tarpon.train.tasks.mouse.options import ModelOptions, MouseOptions, WindowOptions

OPTIONS = MouseOptions(
    model=ModelOptions(backbone=FrameBackbone(name="test_vit", pretrained=False, image_size=32), hidden=16),
    window=WindowOptions(train_frames=24, val_frames=100),
)


class Kept:
    """A loader that delivers its work."""

    def run(self, work):
        return iter(work)


@pytest.mark.parametrize("world", [2, 3])
def test_every_process_reads_whole_trials_and_all_read_the_split(context, shards, world):
    built = mouse.build(Run(data=str(shards), micro_batch=4, global_batch=4), OPTIONS, context).data
    seen = []
    for rank in range(world):
        data = replace(built, context=replace(context, rank=rank, world=world), make_loader=lambda training: Kept(), ahead=None)
        batches = list(data.split("train"))
        seen.append(([request for batch in batches for request in batch if request.row >= 0], len(batches)))
    assert len({count for _, count in seen}) == 1
    rows = [{request.row for request in own} for own, _ in seen]
    assert sum(map(len, rows)) == len(set().union(*rows)) == 5
    windows = [(request.row, request.start) for own, _ in seen for request in own]
    want = [built.split_work(np.array([item]))[0] for item in built.items("train")]
    assert windows == [(request.row, request.start) for request in want]
    assert len(windows) == 5 * 4
