"""One self-contained HTML file of a run folder: the result first, then what it rests on. T frames, C classes, K points."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from tarpon.shards.manifest import open_manifest
from tarpon.shards.reader import Reader
from tarpon.shards.sources.video import frames_at
from tarpon.tools.page import cards, folded, image, page, table, text, verbatim
from tarpon.tools.record import SPLITS, Record, read_run
from tarpon.train import figures
from tarpon.train.metrics.confusion import confusion, frame_scores
from tarpon.train.metrics.keypoints import keypoint_counts, keypoint_scores
from tarpon.train.metrics.sequence import key_names, score_trials
from tarpon.train.metrics.trial import Trial

Frames = Callable[[str, Sequence[int]], np.ndarray]  # (trial key, ascending frame numbers) -> (n, H, W, 3) uint8

RARE_CLASS = "paw_withdraw"  # the class the mouse task is for
HEADLINES = (  # name in metrics.json, label, what the number means
    ("macro_f1", "Macro F1", "mean of the classes' F1, every class alike"),
    (f"f1_{RARE_CLASS}", f"F1 of {RARE_CLASS}", "the rare class that matters most"),
    ("accuracy", "Frame accuracy", "labelled frames given the right class"),
    ("segment_f1_50", "Segmental F1@50", "whole bouts found, overlapping by half or more"),
    ("edit", "Edit score", "right bouts in the right order, 0 to 1"),
    ("keypoint_mae", "Keypoint error", "mean absolute, visible points, share of the side"),
)
TRIAL_COLUMNS = ("accuracy", "macro_f1", "edit", "segment_f1_50", "keypoint_mae")
MAX_ROWS, MAX_STRIPS, MAX_HEAT, MAX_SHOWN = 200, 24, 6, 4  # trials: in the table, as strips, with probabilities, with frames
PALETTE = 128  # colours of the frame figures, so that a page with photographs stays small


def run(run: str) -> int:
    """Write RUN/report.html from the run folder and the shards it was trained on.

    Args:
        run: run folder that train/launch.py wrote.
    """
    record = read_run(Path(run))
    out = write_report(Path(run), frames=stored_frames(record))
    scores = record.metrics.get(record.split, {})
    for name, label, meaning in HEADLINES:
        if name in scores:
            print(f"{record.split} {label:<22}{scores[name]:.3f}  {meaning}")
    print(f"report: {out}")
    return 0


def stored_frames(record: Record) -> Frames | None:
    """Pictures of trials from the run's shards; None, said aloud, where the shards are gone."""
    try:
        manifest = open_manifest(yaml.safe_load(record.config)["data"])
    except (ValueError, OSError, KeyError) as error:
        print(f"no pictures of frames in the report: {error}")
        return None
    row_of = {key: row for row, key in enumerate(manifest.column("key"))}
    reader = Reader(manifest)
    return lambda key, indices: frames_at(reader.read(row_of[key], "clip"), indices)


def write_report(run: Path, *, frames: Frames | None = None, out: Path | None = None) -> Path:
    """Write the report of a run folder and return its path.

    Args:
        run: holds run.yaml and metrics.jsonl and, once the run is over, metrics.json and predictions/{val,test}.npz.
        frames: gives stored frames of a trial, for the pictures of true and predicted points; None leaves those out.
        out: the file to write; RUN/report.html unless given.
    """
    run = Path(run)
    record = read_run(run)
    trials = record.trials.get(record.split, [])
    sections = [
        ("Result", _result(record)),
        ("How the split was made", _split_words(record)),
        ("Training", _training(record)),
        ("Classes", _classes(trials, classes=record.classes)),
        ("Trials", _trial_table(trials, classes=record.classes)),
        ("Ethograms", _ethograms(trials, classes=record.classes)),
        ("Keypoints", _keypoints(trials, classes=record.classes, points=record.points, frames=frames)),
        ("All metrics", _all_metrics(record)),
        ("Configuration and machine", _settings(record)),
    ]
    out = run / "report.html" if out is None else Path(out)
    draft = Path(f"{out}.draft")
    draft.write_text(page(f"Run {record.name}", sections), encoding="utf-8")
    os.replace(draft, out)
    return out


def _result(record: Record) -> str:
    scores = record.metrics.get(record.split, {})
    if not scores:
        return text("metrics.json has no scores yet, so there is no result to show: training has not finished.", kind="warn")
    parts = []
    if record.split == "val":
        parts.append(
            text(
                "There is no test split in this run. The scores are those of val, on which the best weights were "
                "chosen, so they flatter the model.",
                kind="warn",
            )
        )
    boxes = [
        (f"{record.split}: {label}", f"{scores[name]:.3f}", [*_small_print(name, scores), meaning])
        for name, label, meaning in HEADLINES
        if name in scores
    ]
    if not boxes:
        return "".join(parts) + text("This task has none of the headline scores; all its scores are listed below.")
    if "keypoint_mae" not in scores:
        parts.append(text("This run has no keypoint error: the model predicts no keypoints, or no point was labelled."))
    return cards(boxes) + "".join(parts)


def _small_print(name: str, scores: Mapping[str, float]) -> list[str]:
    """What a headline must be read against."""
    lines = []
    if {f"{name}_low", f"{name}_high"} <= scores.keys():
        lines.append(f"95% interval over groups {scores[f'{name}_low']:.3f} to {scores[f'{name}_high']:.3f}")
    elif name == "macro_f1":
        lines.append("no interval: it takes two groups or more")
    if f"majority_{name}" in scores:
        lines.append(f"always the commonest class: {scores[f'majority_{name}']:.3f}")
    supports = [value for key, value in scores.items() if key.startswith("support_")]
    if name == "accuracy" and sum(supports):
        lines.append(f"always the commonest class: {max(supports) / sum(supports):.3f}")
    if f"{name}_px" in scores:
        lines.append(f"{scores[f'{name}_px']:.1f} px in the source video")
    return lines


def _split_words(record: Record) -> str:
    groups = {split: sorted({trial.group for trial in trials}) for split, trials in record.trials.items()}
    if not groups:
        return text("There are no predictions in this run folder, so the split cannot be described.")
    shared = sorted(set(groups.get("test", [])) & set(groups.get("val", [])))
    if shared:
        parts = [text(f"Leak: {_few(shared)} has trials in val and in test. Do not trust the test scores.", kind="warn")]
    else:
        parts = [
            text(
                "The data were split by group (what belongs together: an animal, a video or a session), never by frame "
                "or by trial, so that no group is both learnt from and tested on."
            )
        ]
    for split, names in groups.items():
        parts.append(text(f"{split}: {_count(record.trials[split], 'trial')} of {_count(names, 'group')} ({_few(names)})."))
    readings = sum(any(name.startswith("test/") for name in line) for line in record.lines)
    if readings > 1:
        parts.append(
            text(
                f"The log holds {readings} readings of test: it no longer tells how the model does on data that "
                "nobody has looked at.",
                kind="warn",
            )
        )
    elif "test" in record.metrics:
        parts.append(text("The best weights were chosen on val. Test was read once, at the end, with those weights."))
    return "".join(parts)


def _training(record: Record) -> str:
    if not figures.has_curves(record.lines):
        return text("metrics.jsonl has no loss, learning rate or val score yet, so there are no curves.")
    names = key_names(record.classes)
    caption = f"Up to optimizer step {max(line['step'] for line in record.lines):,}; val/ is the validation split."
    return image(figures.curves(record.lines, classes=names), caption=caption)


def _classes(trials: Sequence[Trial], *, classes: Sequence[str]) -> str:
    counts = confusion(trials, len(classes))
    if not counts.sum():
        return text("There are no labelled frames with predictions, so there is no confusion matrix and no table of classes.")
    names = key_names(classes)
    scores = frame_scores(counts, names=names)
    rows = [
        (
            shown,
            f"{scores[f'support_{name}']:,.0f}",
            f"{scores[f'support_{name}'] / counts.sum():.1%}",
            *(_number(scores[f"{kind}_{name}"]) for kind in ("precision", "recall", "f1")),
        )
        for shown, name in zip(classes, names, strict=True)
    ]
    bars = figures.f1_bars([scores[f"f1_{name}"] for name in names], support=counts.sum(1).tolist(), classes=classes)
    matrix = figures.confusion(counts, classes=classes)
    header = ("class", "true frames", "share", "precision", "recall", "F1")
    return (
        table(header, rows, colours=figures.class_colours(len(classes)))
        + image(bars, caption="F1 of each class, with the number of true frames it rests on.")
        + image(matrix, caption="Frames by true class (row) and predicted class (column).")
    )


def _trial_table(trials: Sequence[Trial], *, classes: Sequence[str]) -> str:
    if not trials:
        return text("There are no predictions in this run folder, so there is no table of trials.")
    rows = [
        (trial.key, trial.group, f"{len(trial.actions):,}", *(_number(scores.get(name, np.nan)) for name in TRIAL_COLUMNS))
        for trial, scores in zip(trials[:MAX_ROWS], score_trials(trials[:MAX_ROWS], classes=classes), strict=True)
    ]
    more = f" The first {MAX_ROWS} of {len(trials):,} trials are listed." if len(trials) > MAX_ROWS else ""
    words = (
        "Each trial by itself: F1@50 is of whole bouts, points is the mean error of the keypoints; a dash is a score that "
        "is not defined there."
    )
    return table(("trial", "group", "frames", "accuracy", "macro F1", "edit", "F1@50", "points"), rows) + text(
        words + more, kind="soft"
    )


def _ethograms(trials: Sequence[Trial], *, classes: Sequence[str]) -> str:
    if not trials:
        return text("There are no predictions in this run folder, so there are no ethograms.")
    shown = trials[:MAX_STRIPS]
    heat = len(shown) <= MAX_HEAT
    caption = f"{len(shown)} of {len(trials)} trials. Above the true classes, below the predicted ones"
    caption += "; the grey rows are the probability of each class, black for 1." if heat else "."
    return image(figures.ethogram(shown, classes=classes, heat=heat), caption=caption)


def _keypoints(trials: Sequence[Trial], *, classes: Sequence[str], points: Sequence[str], frames: Frames | None) -> str:
    answered = [trial for trial in trials if trial.keypoints_pred is not None]
    if not answered:
        return text("This run has no predicted keypoints.")
    counts = [found for found in map(keypoint_counts, answered) if found is not None]
    parts = [_point_table(np.sum(counts, axis=0), points=points)] if counts else [text("No trial has true keypoints.")]
    if frames is None:
        return "".join(parts) + text("No stored frames were given, so no points are drawn on them.")
    spread = np.unique(np.linspace(0, len(answered) - 1, MAX_SHOWN).round().astype(int))
    parts.append(
        text(
            "Circles are the true points that are visible, crosses the predicted ones, and a line joins the two. "
            "For each trial two frames at fixed places and the frame with the largest error."
        )
    )
    return "".join([*parts, *(_point_frames(answered[place], classes=classes, frames=frames) for place in spread)])


def _point_table(counts: np.ndarray, *, points: Sequence[str]) -> str:
    """counts: (K, 5) of keypoint_counts, summed over trials."""
    rows = []
    for name, row in [*zip(points, counts, strict=True), ("all points", counts.sum(0))]:
        scores = keypoint_scores(row)
        rows.append(
            (
                name,
                f"{row[0]:,.0f}",
                _number(scores["keypoint_mae"], digits=4),
                _number(scores["keypoint_mae_px"], digits=1),
                _number(scores["pck_05"]),
                _number(scores["pck_10"]),
            )
        )
    return table(("point", "visible frames", "mean error", "in px", "within 5% of the longer side", "within 10%"), rows)


def _point_frames(trial: Trial, *, classes: Sequence[str], frames: Frames) -> str:
    length = len(trial.actions)
    chosen = {length // 4: "", 3 * length // 4: ""}
    if trial.keypoints is not None and trial.keypoints[..., 2].any():
        visible = trial.keypoints[..., 2] > 0
        error = np.where(visible, np.abs(trial.keypoints[..., :2] - trial.keypoints_pred).mean(-1), 0.0)
        chosen[int((error.sum(1) / np.maximum(visible.sum(1), 1)).argmax())] = ", largest error"
    places = sorted(chosen)
    words = ["not labelled" if trial.actions[place] < 0 else classes[trial.actions[place]] for place in places]
    titles = [
        f"frame {place}{chosen[place]}\ntrue: {word}, predicted: {classes[trial.predicted[place]]}"
        for place, word in zip(places, words, strict=True)
    ]
    drawn = figures.points(
        frames(trial.key, places),
        true=None if trial.keypoints is None else trial.keypoints[places],
        predicted=trial.keypoints_pred[places],
        titles=titles,
    )
    return image(drawn, caption=f"{trial.key} (group {trial.group})", colours=PALETTE)


def _all_metrics(record: Record) -> str:
    if not record.metrics:
        return text("metrics.json has no scores yet.")
    splits = [split for split in SPLITS if split in record.metrics]
    names = sorted({name for split in splits for name in record.metrics[split]})
    rows = [(name, *(_number(record.metrics[split].get(name, np.nan), digits=4) for split in splits)) for name in names]
    return folded(f"{len(names)} scores of {' and '.join(splits)}", table(("score", *splits), rows))


def _settings(record: Record) -> str:
    parts = [folded("run.yaml, the whole resolved configuration", verbatim(record.config))]
    if record.machine:
        parts.append(table(("machine and versions", ""), _flat(record.machine)))
    else:
        parts.append(text("The machine and the library versions were not recorded in this run folder."))
    return "".join(parts)


def _flat(block: Mapping[str, object], *, prefix: str = "") -> list[tuple[str, str]]:
    """Nested objects as rows of dotted name and value."""
    rows = []
    for name, value in block.items():
        rows += _flat(value, prefix=f"{prefix}{name}.") if isinstance(value, dict) else [(f"{prefix}{name}", str(value))]
    return rows


def _number(value: float, *, digits: int = 3) -> str:
    """Whole numbers without decimals, an undefined score as a dash."""
    if not np.isfinite(value):
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:,.{digits}f}"


def _few(names: Sequence[str], *, limit: int = 12) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things):,} {noun}" + ("" if len(things) == 1 else "s")
