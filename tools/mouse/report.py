"""What the report of a mouse run tells: classes, bouts, trials, ethograms, keypoints. T frames, C classes, K points."""

from collections.abc import Mapping, Sequence

import numpy as np

from tarpon.shards.reader import Reader
from tarpon.shards.sources.video.clips import frames_at
from tarpon.tools.html.document import embed_figure, number, paragraph, table
from tarpon.tools.mouse.measured import MEASURED
from tarpon.tools.mouse.report_rules import format_rules
from tarpon.tools.record import Record
from tarpon.tools.report import ReportSections
from tarpon.tools.run_shards import open_run_shards
from tarpon.train.figures import style
from tarpon.train.figures.style import Frames
from tarpon.train.metrics.confusion import frame_scores
from tarpon.train.metrics.names import score_keys
from tarpon.train.tasks.mouse.figures import classes as class_figures
from tarpon.train.tasks.mouse.figures import trials as trial_figures
from tarpon.train.tasks.mouse.metrics.bouts import FOUND_IOU, class_bouts, nearest_bouts
from tarpon.train.tasks.mouse.metrics.keypoints import keypoint_counts, keypoint_scores
from tarpon.train.tasks.mouse.metrics.sequence import score_trials
from tarpon.train.tasks.mouse.metrics.trial import Trial, count_confusion, load_trials

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
MAX_BOUTS = 50  # of the rare class, told one by one
PALETTE = 128  # colours of the frame figures, so that a report with photographs stays small


def build_sections(record: Record, *, frames: Frames | None = None) -> list[tuple[str, str]]:
    """(heading, HTML) in reading order, of the split that is reported.

    Args:
        frames: gives stored frames of a trial, for the pictures of true and predicted points; None leaves those out.
    """
    trials, classes, points = [], record.classes, []
    if record.split in record.predictions:
        trials, classes, points = load_trials(record.predictions[record.split])
    return [
        ("Classes", _classes(trials, classes=classes, told=record.metrics.get(record.split, {}))),
        ("Bouts", _bouts(trials, classes=classes)),
        ("Labels from probabilities", format_rules(record, trials, classes=classes)),
        ("Trials", _trial_table(trials, classes=classes)),
        ("Ethograms", _ethograms(trials, classes=classes)),
        ("Keypoints", _keypoints(trials, classes=classes, points=points, frames=frames)),
    ]


def open_frames(record: Record) -> Frames | None:
    """Pictures of trials from the run's shards; None, said aloud, where the shards are gone."""
    try:
        manifest = open_run_shards(record.config, cache=record.cache, data=record.data)
        reader = Reader(manifest)
    except (ValueError, OSError) as error:
        if record.data:  # the user says that they are there
            raise
        print(f"no pictures of frames in the report: {error}; where the data have been moved, give --data")
        return None
    row_of = {key: row for row, key in enumerate(manifest.column("key"))}
    return lambda key, indices: frames_at(reader.read(row_of[key], "clip"), indices)


def _classes(trials: Sequence[Trial], *, classes: Sequence[str], told: Mapping[str, float]) -> str:
    """Args: told: the run's scores, for the intervals."""
    counts = count_confusion(trials, len(classes))
    if not counts.sum():
        return paragraph(
            "There are no labelled frames with predictions, so there is no confusion matrix and no table of classes."
        )
    names = score_keys(classes)
    scores = frame_scores(counts, names=names)
    rows = [
        (
            shown,
            f"{scores[f'support_{name}']:,.0f}",
            f"{scores[f'support_{name}'] / counts.sum():.1%}",
            *(number(scores[f"{kind}_{name}"]) for kind in ("precision", "recall", "f1")),
            _interval(told, f"f1_{name}"),
        )
        for shown, name in zip(classes, names, strict=True)
    ]
    bars = class_figures.f1_bars([scores[f"f1_{name}"] for name in names], support=counts.sum(1).tolist(), classes=classes)
    matrix = class_figures.confusion(counts, classes=classes)
    header = ("class", "true frames", "share", "precision", "recall", "F1", "95% of F1")
    return (
        table(header, rows, colours=style.class_colours(len(classes)))
        + embed_figure(bars, caption="F1 of each class, with the number of true frames it rests on.")
        + embed_figure(matrix, caption="Frames by true class (row) and predicted class (column).")
    )


def _interval(told: Mapping[str, float], name: str) -> str:
    """`0.812 to 0.901`, or a dash."""
    ends = [told.get(f"{name}_{end}") for end in ("low", "high")]
    return "–" if None in ends else " to ".join(map(number, ends))


def _bouts(trials: Sequence[Trial], *, classes: Sequence[str]) -> str:
    if not any((trial.actions >= 0).any() for trial in trials):
        return paragraph("There are no labelled frames with predictions, so there are no bouts to compare.")
    rows = [
        (
            name,
            f"{row.true:,}",
            f"{row.predicted:,}",
            f"{row.found:,}",
            number(row.frames_true, digits=1),
            number(row.frames_predicted, digits=1),
            number(row.onset_error, digits=1),
        )
        for name, row in zip(classes, class_bouts(trials, num_classes=len(classes)), strict=True)
    ]
    header = ("class", "true bouts", "predicted bouts", "found", "median frames", "predicted median", "median onset error")
    words = (
        "A bout is an unbroken run of one class in one trial. A true bout is found when a predicted one of its class overlaps "
        f"it by an IoU of {FOUND_IOU} or more. Medians are in frames. The onset error is the median over found "
        "bouts, early and late alike; a bout already running where the labels begin has no onset to compare."
    )
    return (
        table(header, rows, colours=style.class_colours(len(classes)))
        + paragraph(words, kind="soft")
        + _rare_bouts(trials, classes=classes)
    )


def _rare_bouts(trials: Sequence[Trial], *, classes: Sequence[str]) -> str:
    if RARE_CLASS not in classes:
        return ""
    label = list(classes).index(RARE_CLASS)
    bouts = [(trial.key, bout) for trial in trials for bout in nearest_bouts(trial.actions, trial.predicted, label=label)]
    if not bouts:
        return paragraph(f"No trial here has a labelled bout of {RARE_CLASS}.")
    rows = [
        (
            key,
            f"{bout.onset:,}",
            f"{bout.offset:,}",
            *(("–", "–") if bout.predicted is None else (f"{frame:,}" for frame in bout.predicted)),
            f"{bout.iou:.2f}",
        )
        for key, bout in bouts[:MAX_BOUTS]
    ]
    more = f" The first {MAX_BOUTS} of {len(bouts):,} are listed." if len(bouts) > MAX_BOUTS else ""
    words = (
        f"Every labelled bout of {RARE_CLASS}, first and last frame within its trial, and the predicted bout that it is paired "
        "with or else the one with the nearest onset. Overlap is their IoU; a dash: the class is never predicted in that trial."
    )
    header = (f"trial with {RARE_CLASS}", "true onset", "true offset", "predicted onset", "predicted offset", "overlap")
    return table(header, rows) + paragraph(words + more, kind="soft")


def _trial_table(trials: Sequence[Trial], *, classes: Sequence[str]) -> str:
    if not trials:
        return paragraph("There are no predictions in this run folder, so there is no table of trials.")
    rows = [
        (
            trial.key,
            trial.group,
            f"{len(trial.actions):,}",
            *(number(scores.get(name, np.nan)) for name in TRIAL_COLUMNS),
        )
        for trial, scores in zip(trials[:MAX_ROWS], score_trials(trials[:MAX_ROWS], classes=classes), strict=True)
    ]
    more = f" The first {MAX_ROWS} of {len(trials):,} trials are listed." if len(trials) > MAX_ROWS else ""
    words = (
        "Each trial by itself: F1@50 is of whole bouts, points is the mean error of the keypoints; a dash is a score that "
        "is not defined there."
    )
    return table(("trial", "group", "frames", "accuracy", "macro F1", "edit", "F1@50", "points"), rows) + paragraph(
        words + more, kind="soft"
    )


def _ethograms(trials: Sequence[Trial], *, classes: Sequence[str]) -> str:
    if not trials:
        return paragraph("There are no predictions in this run folder, so there are no ethograms.")
    shown = trials[:MAX_STRIPS]
    heat = len(shown) <= MAX_HEAT
    caption = f"{len(shown)} of {len(trials)} trials. Above the true classes, below the predicted ones"
    caption += "; the grey rows are the probability of each class, black for 1." if heat else "."
    return embed_figure(trial_figures.ethogram(shown, classes=classes, heat=heat), caption=caption)


def _keypoints(trials: Sequence[Trial], *, classes: Sequence[str], points: Sequence[str], frames: Frames | None) -> str:
    answered = [trial for trial in trials if trial.keypoints_pred is not None]
    if not answered:
        return paragraph("This run has no predicted keypoints.")
    counts = [found for found in map(keypoint_counts, answered) if found is not None]
    parts = [_point_table(np.sum(counts, axis=0), points=points)] if counts else [paragraph("No trial has true keypoints.")]
    if frames is None:
        return "".join(parts) + paragraph("No stored frames were given, so no points are drawn on them.")
    spread = np.unique(np.linspace(0, len(answered) - 1, MAX_SHOWN).round().astype(int))
    parts.append(
        paragraph(
            "Circles are the true points that are visible, crosses the predicted ones, and a line joins the two. "
            "For each trial frames at fixed places and the frame with the largest error."
        )
    )
    return "".join([*parts, *(_point_frames(answered[index], classes=classes, frames=frames) for index in spread)])


def _point_table(counts: np.ndarray, *, points: Sequence[str]) -> str:
    """counts: (K, 5) of keypoint_counts, summed over trials."""
    rows = []
    for name, row in [*zip(points, counts, strict=True), ("all points", counts.sum(0))]:
        scores = keypoint_scores(row)
        rows.append(
            (
                name,
                f"{row[0]:,.0f}",
                number(scores["keypoint_mae"], digits=4),
                number(scores["keypoint_mae_px"], digits=1),
                number(scores["pck_05"]),
                number(scores["pck_10"]),
            )
        )
    return table(("point", "visible frames", "mean error", "in px", "within 5% of the longer side", "within 10%"), rows)


def _point_frames(trial: Trial, *, classes: Sequence[str], frames: Frames) -> str:
    places, titles = trial_figures.moments(trial, classes=classes)
    drawn = trial_figures.points(
        frames(trial.key, places),
        true=None if trial.keypoints is None else trial.keypoints[places],
        predicted=trial.keypoints_pred[places],
        titles=titles,
    )
    return embed_figure(drawn, caption=f"{trial.key} (group {trial.group})", colours=PALETTE)


def compare_with_majority(record: Record) -> dict[str, str]:
    """Headline -> what it must be read against."""
    scores, notes = record.metrics.get(record.split, {}), {}
    if "macro_f1_low" not in scores:
        notes["macro_f1"] = "no interval: it takes two groups or more"
    supports = [value for key, value in scores.items() if key.startswith("support_")]
    if sum(supports):
        notes["accuracy"] = f"always the commonest class: {max(supports) / sum(supports):.3f}"
    return notes


SECTIONS_OF_RUN = ReportSections(
    unit="trial",
    headlines=HEADLINES,
    measured=MEASURED,
    sections=build_sections,
    frames=open_frames,
    beside=compare_with_majority,
)
