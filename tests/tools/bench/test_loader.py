"""The benchmark compares the same frames, and reports in one shape."""

import itertools
import json
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from tarpon.pipelines.clip.feed import ClipFields, ClipRequest
from tarpon.pipelines.clip.graph import ClipGraph
from tarpon.pipelines.feed import Feed
from tarpon.pipelines.loader import Loader
from tarpon.shards.quarantine import Budget
from tarpon.shards.reader import Reader
from tarpon.shards.sampling.draws import NO_AUGMENT, ClipAugment, draw_clip
from tarpon.tools.bench import loader as bench_loader
from tarpon.tools.bench import results
from tarpon.tools.mouse import baseline_loader
from tarpon.tools.mouse import bench_loader as bench_loader_mouse

SIZE, FRAMES = 160, 24
pytest.importorskip("cv2")


@pytest.fixture
def setup(mouse_lab, mouse_shards):
    folders = {"videos": str(mouse_lab / "Videos"), "annotations": str(mouse_lab / "Annotations")}
    return bench_loader_mouse.Setup(
        shards=mouse_shards.root, **folders, size=SIZE, window=FRAMES, batch=2, device=None, cores=1
    )


def test_both_ways_deliver_the_same_pictures_and_labels(setup, mouse_shards):
    """Drops, roll, brightness and contrast included; noise aside, which each draws for itself."""
    augment = ClipAugment(brightness_p=1, contrast_p=1, drop_p=1, noise_p=0, roll_p=1, jitter_sd=0)
    cut = bench_loader_mouse.list_cuts(setup, amount=1)[0]
    manifest = mouse_shards
    row = next(
        row
        for row in manifest.rows("train")
        if manifest.value(row, "source") == cut.video.name and manifest.value(row, "first_frame") == cut.first
    )
    draw = draw_clip(augment, seed=3, epoch=0, slot=0, frames=FRAMES, points=6)
    fields = ClipFields(
        frames=FRAMES,
        size=SIZE,
        mean=bench_loader_mouse.MEAN,
        std=bench_loader_mouse.STD,
        likelihood=0.9,
        merge=tuple(range(8)),
        swap=tuple(range(6)),
    )
    feed = Feed(manifest, Reader(manifest), fields, pool=manifest.rows("train"), budget=Budget(0))
    loader = Loader(ClipGraph(size=SIZE, batch=1, resize=False, noise=False), feed, device=None, threads=1)
    ours = next(loader.run([[ClipRequest(row=int(row), start=100, draw=draw)]]))
    cut = baseline_loader.Cut(video=cut.video, first=cut.first, trial=cut.trial, start=100, actions=cut.actions, draw=draw)
    clip, actions = baseline_loader.VideoWindows(
        [cut], frames=FRAMES, size=SIZE, mean=bench_loader_mouse.MEAN, std=bench_loader_mouse.STD, noise_sd=0
    )[0]
    assert actions.tolist() == ours["actions"][0].tolist()
    std = np.array(bench_loader_mouse.STD)[:, None, None]
    one, two = clip.numpy() * std, ours["clip"][0].numpy() * std  # of full scale
    difference = np.abs(one - two).mean()
    assert difference < 0.02  # the stored clip is encoded anew
    assert difference < 0.8 * np.abs(one[1:] - two[:-1]).mean()
    assert difference < 0.8 * np.abs(one[:-1] - two[1:]).mean()


def test_the_baselines_noise_has_the_asked_strength():
    clip = np.full((4, 32, 32, 3), 128, np.uint8)
    draw = draw_clip(ClipAugment(brightness_p=0, contrast_p=0, noise_p=1), seed=0, epoch=0, slot=0, frames=4, points=1)
    result = baseline_loader.augment_clip(clip, draw, noise_sd=0.02, seed=1)
    assert result.std() == pytest.approx(0.02, rel=0.05)
    assert result.mean() == pytest.approx(128 / 255, abs=1e-3)


def test_without_augmentation_the_baseline_delivers_the_frames_as_they_are():
    clip = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    draw = draw_clip(NO_AUGMENT, seed=0, epoch=0, slot=0, frames=1, points=1)
    assert np.allclose(baseline_loader.augment_clip(clip, draw, noise_sd=0.02, seed=0) * 255, clip, atol=1e-4)


@pytest.mark.slow
def test_a_run_writes_exactly_the_agreed_json(setup, capsys, tmp_path):
    """A whole run with every variant in its own process, a moment each."""
    assert (
        bench_loader.run(
            shards=setup.shards,
            videos=setup.videos,
            annotations=setup.annotations,
            json=str(tmp_path / "b.json"),
            seconds=0.05,
            repeats=1,
            warm_up=0,
            size=SIZE,
            window=FRAMES,
        )
        == 0
    )
    told = json.loads((tmp_path / "b.json").read_text())
    assert set(told) == {"rows", "ratios", "machine"}
    assert all(set(row) == {"name", "unit", "per_second", "peak_mib"} for row in told["rows"])
    speed = {row["name"]: row["per_second"] for row in told["rows"]}
    assert list(speed) == [bench_loader_mouse.TARPON, bench_loader_mouse.BASELINE, bench_loader_mouse.DECODE]
    assert told["ratios"] == {
        "tarpon_over_baseline": speed[bench_loader_mouse.TARPON] / speed[bench_loader_mouse.BASELINE],
        "tarpon_over_decode": speed[bench_loader_mouse.TARPON] / speed[bench_loader_mouse.DECODE],
    }
    assert {"cpu", "cores", "memory_gib", "gpu", "load_average", "versions"} == set(told["machine"])
    assert all(row["peak_mib"] > 50 for row in told["rows"])
    assert "times the frames of the usual way" in capsys.readouterr().out


def test_other_folders_than_the_packed_ones_are_refused_before_timing(setup, tmp_path):
    (tmp_path / "Videos").mkdir()
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(ValueError, match="give the folders that were packed"):
        bench_loader.run(shards=setup.shards, videos=str(tmp_path / "Videos"), annotations=str(tmp_path / "Annotations"))


def test_the_verdict_names_what_binds():
    speed = {bench_loader_mouse.TARPON: 300.0, bench_loader_mouse.BASELINE: 100.0, bench_loader_mouse.DECODE: 1000.0}
    assert "3.0 times" in bench_loader_mouse.describe_verdict(speed, resizes=True)
    assert "resizing, noise and normalising bind, with 70%" in bench_loader_mouse.describe_verdict(speed, resizes=True)
    assert "noise and normalising bind" in bench_loader_mouse.describe_verdict(speed, resizes=False)
    assert "decoding binds, with 75%" in bench_loader_mouse.describe_verdict(
        speed | {bench_loader_mouse.DECODE: 400.0}, resizes=True
    )


HOLDER = """
import os, sys
held = bytearray(os.urandom(1)) * (100 * 2**20)
if os.fork() == 0:
    own = bytearray(os.urandom(1)) * (50 * 2**20)
    print(flush=True)
    sys.stdin.read()
    os._exit(0)
os.wait()
"""


def test_peak_memory_counts_a_tree_once():
    """100 MiB shared by parent and child and 50 of the child's own are 150, not 250; the interpreter takes a few more."""
    with subprocess.Popen([sys.executable, "-S", "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        peak = results.tree_peak_mib(process.pid)
        process.stdin.close()
    assert 150 < peak < 180


def test_a_variants_value_error_is_raised_here(setup, tmp_path):
    with pytest.raises(ValueError, match="no manifest"):
        results.measure(
            "x",
            bench_loader_mouse.dali_steps,
            unit="frames",
            timing=results.Timing(seconds=1),
            arguments={"setup": replace(setup, shards=str(tmp_path)), "switches": {}},
        )


def test_rate_counts_what_was_delivered_and_times_at_least_one_step():
    def paced():
        while True:
            time.sleep(0.02)
            yield 10

    assert 250 < results.measure_rate(paced(), seconds=0.3) <= 500
    assert results.measure_rate(itertools.repeat(1), seconds=0) > 0
