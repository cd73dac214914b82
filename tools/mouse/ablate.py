"""`tarpon ablate KIND`: the same training with one part changed at a time, over several seeds, as one table."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from tarpon.shards import atomic
from tarpon.shards.progress import track
from tarpon.tools.trainings import train_and_score

MOUSE: dict[str, tuple[str, ...]] = {  # what differs from the recipe
    "as in the recipe": (),
    "action only (no keypoint task)": ("--model.model_type=action_only",),
    "no pose input": ("--model.pose_input=false",),
    "pose not compared with the stance": ("--model.stance_frames=0",),
    "gaps of the track not filled": ("--window.fill_gaps=0",),
    "no rare-class boost": ("--window.rare_boost=false",),
    "no focal loss": ("--loss.focal_gamma=0",),
    "no class weights": ("--loss.class_weights=false",),
}
MOUSE_SCORES = {
    "macro_f1": "macro F1",
    "f1_paw_withdraw": "F1 of paw_withdraw",
    "segment_f1_50": "segmental F1@50",
    "keypoint_mae": "keypoint MAE",
}


def mouse(
    *,
    data: str,
    out: str = "runs/ablation",
    config: str = "train/recipes/mouse/demo.yaml",
    seeds: int = 3,
    epochs: int | None = None,
    into: str | None = None,
) -> int:
    """Train the mouse recipe and its variants at equal steps and seeds; run again after a kill it goes on.

    Args:
        data: shards.
        out: folder for the runs, one a variant and seed.
        config: the recipe that is varied.
        seeds: how many, from 2 up; the split of the data stays as it is.
        epochs: instead of the recipe's.
        into: Markdown file to put the table into, between <!-- ablation --> and <!-- /ablation -->.
    """
    if seeds < 2:
        raise ValueError(f"seeds={seeds} must be at least 2: an interval needs more than one run")
    marks = split_at_marks(Path(into)) if into else None
    common = ["--config", config, f"--data={data}", *([f"--epochs={epochs}"] if epochs else [])]
    scores = {
        name: [
            train_and_score("mouse", Path(out) / f"{slug(name)}-{seed}", [*common, *words, f"--seed={seed}"])
            for seed in range(1, seeds + 1)
        ]
        for name, words in track(MOUSE.items(), total=len(MOUSE), what="ablate", unit="variants")
    }
    lines = format_markdown(scores, MOUSE_SCORES)
    print("\n".join(lines))
    if marks:
        before, after = marks
        atomic.write_text(Path(into), "\n".join([before, "", *lines, "", after]))
    return 0


def slug(name: str) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in name).split())


def split_at_marks(path: Path) -> tuple[str, str]:
    """What stands before and after the place for the table, with its marks."""
    text = path.read_text() if path.exists() else ""
    before, first, rest = text.partition("<!-- ablation -->")
    _, last, after = rest.partition("<!-- /ablation -->")
    if not first or not last:
        raise ValueError(f"{path}: no lines <!-- ablation --> and <!-- /ablation --> to put the table between; add them")
    return before + first, last + after


def format_markdown(scores: Mapping[str, Sequence[Mapping[str, float]]], names: Mapping[str, str]) -> list[str]:
    """Mean and 95% t interval (Student 1908) over seeds of every score of every variant; a dash where it has none."""
    lines = [f"| | {' | '.join(names.values())} |", "|---" * (len(names) + 1) + "|"]
    for variant, runs in scores.items():
        cells = []
        for name in names:
            values = np.array([run[name] for run in runs if name in run])
            cells.append(f"{values.mean():.3f} ± {half_width(values):.3f}" if len(values) == len(runs) else "-")
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return lines


def half_width(values: np.ndarray) -> float:
    """Of the 95% interval of the mean of independent runs."""
    return float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
