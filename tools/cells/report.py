"""What the report of a cells run tells: stacks, windows of the clock, hours, calibration, where it looks."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from tarpon.tools.cells.report_result import describe_intervals, describe_result, describe_split, list_warnings, read_rows
from tarpon.tools.html.document import embed_figure, number, paragraph, table
from tarpon.tools.record import Record
from tarpon.tools.report import ReportSections
from tarpon.train.tasks.cells.figures import curves, hours
from tarpon.train.tasks.cells.metrics.calibration import bin_reliability
from tarpon.train.tasks.cells.metrics.control import BEFORE
from tarpon.train.tasks.cells.metrics.predictions import CONDITIONS, THRESHOLD, PageRows
from tarpon.train.tasks.cells.metrics.scores import score_stacks
from tarpon.train.tasks.cells.metrics.windows import GOOD_AUC, STRIDE_H, WINDOW_H, find_good_hour, score_windows
from tarpon.train.tasks.cells.outputs import write_outputs

HEADLINES = (  # name in metrics.json, label, what the number means
    ("auc", "AUC", "infected pages ranked above uninfected ones; 0.5 is a guess"),
    (BEFORE, "AUC before the onset", "the control: there is nothing to be seen yet, so it must be near 0.5, a guess"),
    ("auc_from_onset", "AUC from the onset on", "the same of the pages on which there may be something to be seen"),
    ("f1", "F1", f"of the infected class, yes from a probability of {THRESHOLD} on"),
    ("balanced_accuracy", "Balanced accuracy", "mean of the two classes' own accuracy; 0.5 is a guess"),
    ("mae", "Error of the hours", "mean absolute, in hours"),
    ("auc_time_matched", "AUC, same hour only", "pages are compared only with pages filmed in the same hour"),
)
CURVES = {"auc", BEFORE, "f1", "balanced_accuracy", "auc_time_matched", "combined", "loss"}  # of val, over the steps
MAX_STACKS = 200  # in the table, the worst first
GRADCAM, GRADCAM_OVER_TIME = "gradcam.png", "gradcam_over_time.png"  # that `tarpon gradcam` writes into the run folder
HEAT = {
    GRADCAM: "Grad-CAM of the best and the worst stacks: what on the page each answer rests on.",
    GRADCAM_OVER_TIME: "What 'infected' rests on over the hours of these stacks; the heat of a stack has one scale.",
}
NO_ROWS = "There are no predictions in this run folder, so there is nothing to show here."
SECTIONS = ("Validation", "Stacks", "Windows of time", "Hours", "Calibration")


def build_sections(record: Record, *, frames: None = None) -> list[tuple[str, str]]:
    """(heading, HTML) in reading order, of the split that is reported."""
    if record.split not in record.predictions:
        return [(heading, paragraph(NO_ROWS)) for heading in SECTIONS]
    rows, scores = read_rows(record, record.split), record.metrics.get(record.split, {})
    parts = (_validation(record), _stacks(rows), _windows(rows), _hours(rows, scores), _calibration(rows))
    return [*zip(SECTIONS, parts, strict=True), ("Where it looks", _heat(record))]


def has_curve(name: str) -> bool:
    """Whether a score of val is drawn over the steps: the shares; hours have a figure of their own."""
    return name in CURVES


def rewrite(record: Record) -> None:
    """Figures, summary, results.json and test predictions of the run folder, made again from its own files."""
    write_outputs(record.folder)


def _validation(record: Record) -> str:
    if not any(name.startswith("val/") for line in record.lines for name in line):
        return paragraph("metrics.jsonl has no scores of validation.")
    return embed_figure(
        curves.validation_metrics(record.lines),
        caption="Scores of validation over the steps, errors in hours beside those of a constant answer.",
    )


def _stacks(rows: PageRows) -> str:
    records = sorted(score_stacks(rows), key=lambda stack: (stack["accuracy"], -stack["mae"]))
    lines = [
        (
            stack["stack"],
            stack["well"],
            CONDITIONS[stack["label"]],
            f"{stack['rows']:,}",
            number(stack["accuracy"]),
            number(stack["prob"]),
            number(stack["mae"], digits=2),
            f"{stack['bias']:+.2f}",
        )
        for stack in records[:MAX_STACKS]
    ]
    perfect = sum(stack["accuracy"] == 1 for stack in records)
    words = (
        f"{perfect} of {len(records)} stacks have every page in the right class. The worst first: by pages right, then error."
    )
    header = ("stack", "well", "class", "pages", "pages right", "mean probability", "error, h", "told too late by, h")
    figure = hours.stacks(rows)
    return (
        paragraph(words) + table(header, lines) + embed_figure(figure, caption="Mean probability and mean error of each stack.")
    )


def _windows(rows: PageRows) -> str:
    found = score_windows(rows)
    names = ("auc", "accuracy", "balanced_accuracy", "f1", "precision", "recall")
    lines = [
        (
            f"{window.start:g} to {window.end:g}",
            f"{window.centre:g}",
            f"{window.scores['rows']:,.0f}",
            f"{window.scores['infected']:,.0f}",
            *(number(window.scores[name]) for name in names),
            number(window.scores["mae"], digits=2),
        )
        for window in found
    ]
    hour = find_good_hour(found)
    words = (
        f"Windows of {WINDOW_H:g} h of the clock, one every {STRIDE_H:g} h; the first hour of a window belongs to it, the last "
        f"does not, and what is said of a window is said of its middle hour. "
    )
    if len(found) > 1:
        words += (
            f"Windows overlap: most of the {len(rows):,} pages stand in two of them, so the pages of the windows do not add "
            f"up; the bars below count each page once. "
        )
    words += (
        f"From hour {hour:g} on AUC is {GOOD_AUC} or more in every window."
        if math.isfinite(hour)
        else f"AUC does not reach {GOOD_AUC} to stay."
    )
    header = ("hours of the clock", "middle", "pages", "infected", *(name.replace("_", " ") for name in names), "error, h")
    caption = "Scores of the classes and error of the hours by window; number of pages, each counted once."
    return paragraph(words) + table(header, lines) + embed_figure(hours.over_time(rows), caption=caption)


def _hours(rows: PageRows, scores: Mapping[str, float]) -> str:
    lines = [
        (
            name or "all",
            *(number(scores.get(f"{kind}{end}", np.nan), digits=2) for kind in ("mae", "rmse", "constant_mae")),
        )
        for name, end in (("", ""), *((name, f"_{name}") for name in CONDITIONS))
    ]
    words = (
        "Infected pages tell hours since infection began, uninfected ones hours since filming began: two clocks, so the errors "
        "of the classes are not comparable. The constant answer is the median target of the training pages, by class of "
        "that class."
    )
    header = ("pages", "mean absolute error, h", "root mean square, h", "constant answer, h")
    figure = embed_figure(hours.scatter(rows), caption="Told over true hours; the line is equality.")
    return paragraph(words) + table(header, lines) + figure


def _calibration(rows: PageRows) -> str:
    bins = bin_reliability(rows.label, rows.prob)
    words = (
        f"Expected calibration error {bins.error():.4f}: how far, in the mean, a stated probability of infection is from the "
        f"share of pages that are infected."
    )
    return paragraph(words) + embed_figure(hours.calibration(rows), caption="Share infected over stated probability.")


def _heat(record: Record) -> str:
    folder = record.predictions[record.split].parent.parent
    found = {name: caption for name, caption in HEAT.items() if (folder / name).exists()}
    if not found:
        return paragraph(
            f"No {GRADCAM} in the run folder; `tarpon gradcam RUN` makes it, then write the report again.", kind="soft"
        )
    return "".join(_embed_picture(folder / name, caption=caption) for name, caption in found.items())


def _embed_picture(path: Path, *, caption: str) -> str:
    with Image.open(path) as stored:
        pixels = np.asarray(stored.convert("RGB"))
    height, width = pixels.shape[:2]
    figure = Figure(figsize=(width / 110, height / 110))  # pixel for pixel at the resolution figures are drawn in
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(pixels)
    axes.set_axis_off()
    return embed_figure(figure, caption=caption)


SECTIONS_OF_RUN = ReportSections(
    unit="page",
    headlines=HEADLINES,
    sections=build_sections,
    has_curve=has_curve,
    split=describe_split,
    warnings=list_warnings,
    over=describe_intervals,
    below=describe_result,
    reads_data=True,
    rewrite=rewrite,
)
