"""What the report of a cells run tells: stacks, windows of the clock, hours, calibration, and what not to believe.

The same warnings stand in the card of the shards; here they stand above the result.
"""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from tarpon.shards.manifest import Manifest
from tarpon.tools.html.document import embed_figure, number, paragraph, table
from tarpon.tools.record import SPLITS, Record
from tarpon.tools.report import ReportSections
from tarpon.tools.run_shards import open_run_shards
from tarpon.train.tasks.cells.figures import curves, hours
from tarpon.train.tasks.cells.metrics.calibration import bin_reliability
from tarpon.train.tasks.cells.metrics.predictions import CONDITIONS, THRESHOLD, PageRows, find_one_well_classes, load_rows
from tarpon.train.tasks.cells.metrics.scores import GOOD_AUC, STRIDE_H, WINDOW_H, find_good_start, score_stacks, score_windows
from tarpon.train.tasks.cells.outputs import write_outputs
from tarpon.train.tasks.cells.summary import CLOCK_TELLS

HEADLINES = (  # name in metrics.json, label, what the number means
    ("auc", "AUC", "infected pages ranked above uninfected ones; 0.5 is a guess"),
    ("f1", "F1", f"of the infected class, yes from a probability of {THRESHOLD} on"),
    ("balanced_accuracy", "Balanced accuracy", "mean of the two classes' own accuracy; 0.5 is a guess"),
    ("mae", "Error of the hours", "mean absolute, in hours"),
    ("auc_time_matched", "AUC, same hour only", "pages are compared only with pages filmed in the same hour"),
)
CURVES = {"auc", "f1", "balanced_accuracy", "auc_time_matched", "combined", "loss"}  # of val, over the steps
MAX_STACKS = 200  # in the table, the worst first
GRADCAM = "gradcam.png"  # that `tarpon gradcam` writes into the run folder
NO_ROWS = "There are no predictions in this run folder, so there is nothing to show here."
SECTIONS = ("Validation", "Stacks", "Windows of time", "Hours", "Calibration")


def build_sections(record: Record, *, frames: None = None) -> list[tuple[str, str]]:
    """(heading, HTML) in reading order, of the split that is reported."""
    if record.split not in record.predictions:
        return [(heading, paragraph(NO_ROWS)) for heading in SECTIONS]
    rows, scores = load_rows(record.predictions[record.split]), record.metrics.get(record.split, {})
    parts = (_validation(record), _stacks(rows), _windows(rows), _hours(rows, scores), _calibration(rows))
    return [*zip(SECTIONS, parts, strict=True), ("Where it looks", _heat(record))]


def has_curve(name: str) -> bool:
    """Whether a score of val is drawn over the steps: the shares; hours have a figure of their own."""
    return name in CURVES


def rewrite(record: Record) -> None:
    """Figures, summary, results.json and test predictions of the run folder, made again from its own files."""
    write_outputs(record.folder)


def list_warnings(record: Record) -> list[str]:
    """What a reader must know before the scores: what else than infection may tell the classes apart."""
    found, by_split = [], {split: load_rows(path) for split, path in record.predictions.items()}
    manifest = open_shards(record)
    if manifest is not None:
        found += [f"The shards warn: {line}." for line in manifest.card.get("warnings", ())]
    wells = find_one_well_classes(*by_split.values()) if manifest is None else ()
    if wells:
        found.append(
            f"Class and well cannot be told apart: all {' and all '.join(wells)} stacks of "
            f"{' and '.join(by_split)} come from one well. What sets that well apart (background, light, density) may pass for "
            f"infection; the scores hold within these wells only."
        )
    clock = record.metrics.get(record.split, {}).get("auc_clock", 0.5)
    if abs(clock - 0.5) > CLOCK_TELLS:
        found.append(
            f"The clock alone, without a look at the page, has an AUC of {clock:.3f} on {record.split}: the classes were not "
            f"filmed at the same hours. Read the AUC of the same hour instead, or train and test with frames.match_windows."
        )
    return found


def describe_split(record: Record) -> str:
    """HTML on what stands in which split, and whether test wells are new to the model."""
    by_split = {split: load_rows(record.predictions[split]) for split in SPLITS if split in record.predictions}
    parts = [
        paragraph(
            f"{split}: {len(rows):,} pages of {len(set(rows.stack))} stacks in {len(set(rows.well))} wells, "
            f"{(rows.label == 1).mean():.0%} of the pages infected."
        )
        for split, rows in by_split.items()
    ]
    manifest = open_shards(record)
    if manifest is None:
        return "".join(parts) + paragraph(
            "The shards are not at hand, so what was trained on cannot be looked at.", kind="soft"
        )
    card = manifest.card
    parts.append(paragraph(f"The data were split by {card['group']}: all pages of one {card['group']} are on one side."))
    if "test" in by_split:
        tested = set(by_split["test"].stack)
        inside = np.isin(manifest.column("stack"), list(tested))
        others = set(np.array(manifest.column("well"))[~inside])
        seen = sorted(set(by_split["test"].well) & others)
        wells = len(set(by_split["test"].well))
        parts.append(
            paragraph(
                f"{len(seen)} of the {wells} wells tested have other stacks in train or validation: the test does not tell "
                f"how the model does on a well that it has never seen. Pack with --group well for that.",
                kind="warn",
            )
            if seen
            else paragraph(f"None of the {wells} wells tested is in train or validation.")
        )
    return "".join(parts)


def open_shards(record: Record) -> Manifest | None:
    """What the run was trained on; None where it is no longer at hand."""
    try:
        return open_run_shards(record.config, kind="cells", cache=record.cache)
    except (ValueError, OSError):
        return None


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
            f"{window.scores['rows']:,.0f}",
            f"{window.scores['infected']:,.0f}",
            *(number(window.scores[name]) for name in names),
            number(window.scores["mae"], digits=2),
        )
        for window in found
    ]
    start = find_good_start(found)
    words = (
        f"Windows of {WINDOW_H:g} h of the clock, one every {STRIDE_H:g} h; the first hour of a window belongs to it, the last "
        f"does not. "
    )
    words += (
        f"From hour {start:g} on AUC is {GOOD_AUC} or more in every window."
        if math.isfinite(start)
        else f"AUC does not reach {GOOD_AUC} to stay."
    )
    header = ("hours of the clock", "pages", "infected", *(name.replace("_", " ") for name in names), "error, h")
    caption = "Scores of the classes, error of the hours and number of pages, by window of the clock."
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
    path = record.predictions[record.split].parent.parent / GRADCAM
    if not path.exists():
        return paragraph(
            f"No {GRADCAM} in the run folder; `tarpon gradcam RUN` makes it, then write the report again.", kind="soft"
        )
    with Image.open(path) as stored:
        pixels = np.asarray(stored.convert("RGB"))
    height, width = pixels.shape[:2]
    figure = Figure(figsize=(width / 110, height / 110))  # pixel for pixel at the resolution figures are drawn in
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(pixels)
    axes.set_axis_off()
    return embed_figure(figure, caption="Grad-CAM of the best and the worst stacks: what on the page each answer rests on.")


SECTIONS_OF_RUN = ReportSections(
    unit="page",
    headlines=HEADLINES,
    sections=build_sections,
    has_curve=has_curve,
    split=describe_split,
    warnings=list_warnings,
    rewrite=rewrite,
)
