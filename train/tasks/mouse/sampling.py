"""How often what is seen in training: the class table, the rare-class boost and the epoch plan it makes.

C classes after merging.
"""

import numpy as np

from tarpon.pipelines.clip.feed import merge_classes
from tarpon.shards.lazy_manifest import LazyManifest
from tarpon.shards.manifest import Manifest
from tarpon.shards.sampling import plan
from tarpon.train.tasks.mouse.options import MouseOptions

BLOCK = 4096  # trials that are looked at together; one by one took 4 times as long, which counts from 10^5 on


def class_counts(manifest: Manifest | LazyManifest, options: MouseOptions, *, split: str) -> np.ndarray:
    """Labelled frames of each merged class in a split, (C,) int64; ValueError when there is none."""
    check_merge(manifest, options)
    stored = manifest.sum_lists("histogram", split, length=len(options.merge))
    counts = np.zeros(len(options.classes), np.int64)
    for old, new in enumerate(options.merge):
        if new >= 0:
            counts[new] += stored[old]
    if not counts.any():
        raise ValueError(f"{manifest.root}: no labelled {split} frames after merging; look at it with `tarpon look`")
    return counts


def sampling(
    manifest: Manifest, rows: np.ndarray, options: MouseOptions, *, seed: int, counts: np.ndarray
) -> tuple[plan.EpochPlan, np.ndarray | None, str]:
    """The epoch plan, the boost's frame factors (None: off), and the class table before and after the boost."""
    factors = boost_factors(options, counts)
    weights, seen = weigh_trials(manifest, rows, options, factors=factors)
    table = class_table(options, counts, drawn=(weights[:, None] * seen).sum(0), factors=factors)
    uniform = bool((factors == 1).all())
    return (
        plan.EpochPlan(rows=rows, shards=manifest.tar_numbers(rows), seed=seed, weights=None if uniform else weights),
        None if uniform else factors,
        table,
    )


def boost_factors(options: MouseOptions, counts: np.ndarray) -> np.ndarray:
    """(C,) how much more often a frame of each class is to come; counts: (C,) labelled frames."""
    window = options.window
    if not window.rare_boost:
        return np.ones(len(counts))
    return plan.weight_rare_classes(counts, threshold_share=window.rare_threshold_share, cap=window.rare_boost_cap)


def weigh_trials(
    manifest: Manifest | LazyManifest, rows: np.ndarray, options: MouseOptions, *, factors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of each row (n,) its weight, the mean factor over its windows, and (n, C) frames of each class expected in a window."""
    frames = options.window.train_frames
    weights, seen = np.ones(len(rows)), np.zeros((len(rows), len(factors)))
    for begin in range(0, len(rows), BLOCK):
        values, offsets = manifest.lists("actions", rows[begin : begin + BLOCK])
        merged = merge_classes(values, options.merge)
        lengths = np.diff(offsets)
        for length in np.unique(lengths):  # most trials are of one
            alike = np.flatnonzero(lengths == length)
            labels = merged[offsets[alike, None] + np.arange(length)]
            chances = plan.weight_windows(labels, factors, length=frames)
            weights[begin + alike] = chances.mean(axis=-1)
            seen[begin + alike] = plan.count_expected_frames(labels, chances, length=frames, classes=len(factors))
    return weights, seen


def class_table(options: MouseOptions, counts: np.ndarray, *, drawn: np.ndarray, factors: np.ndarray) -> str:
    """Lines on the classes: labelled frames, their share, the share of what is drawn, the factor. All (C,)."""
    before, after = counts / max(counts.sum(), 1), drawn / max(drawn.sum(), 1)
    lines = [
        f"  {name:<16}{count:>9}{b:>9.1%}{a:>9.1%}{factor:>8.1f}"
        for name, count, b, a, factor in zip(options.classes, counts, before, after, factors, strict=True)
    ]
    return "\n".join([f"  {'class':<16}{'frames':>9}{'share':>9}{'drawn':>9}{'factor':>8}", *lines])


def check_merge(manifest: Manifest | LazyManifest, options: MouseOptions) -> None:
    """ValueError where the shards hold another number of classes than `merge` speaks of."""
    stored = manifest.card["classes"]
    if len(options.merge) != len(stored):
        raise ValueError(
            f"{manifest.root} holds {len(stored)} classes ({', '.join(stored)}), merge={list(options.merge)} speaks of "
            f"{len(options.merge)}; e.g. --merge {list(range(len(stored)))} --classes {list(stored)}"
        )
