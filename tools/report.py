"""One self-contained HTML file of a run folder: the result first, then what it rests on.

The sections of every task are here; those of one task are in its own module, found through `tools/tasks.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tarpon.shards.tar_cache import CACHE_BYTES, Cache
from tarpon.tools.html.document import (
    cards,
    collapsible,
    embed_panels,
    number,
    paragraph,
    render_document,
    table,
)
from tarpon.tools.html.page import place_page, write_page
from tarpon.tools.measured import HEADING, anchor, format_measured
from tarpon.tools.record import SPLITS, Record, read_run
from tarpon.tools.report_settings import format_settings
from tarpon.tools.run_shards import check_data, find_missing_data
from tarpon.tools.task import load
from tarpon.tools.tasks import TOOLS
from tarpon.train.metrics.names import score_keys
from tarpon.train.quarantine import read_quarantine

if TYPE_CHECKING:
    from tarpon.train.figures.style import Frames

NO_TASK = "run.json does not say which task this run is of, so only what every task has is shown."


@dataclass(frozen=True, kw_only=True)
class ReportSections:
    """What a task adds to the report."""

    unit: str  # what is predicted, one of many
    headlines: tuple[tuple[str, str, str], ...] = ()  # name in metrics.json, label, what the number means
    measured: Mapping[str, str] = field(default_factory=dict)  # headline -> how it is made, in sentences
    sections: Callable[..., list[tuple[str, str]]]  # (record, frames=) -> (heading, HTML) in reading order
    frames: "Callable[[Record], Frames | None]" = lambda record: None  # stored pictures from the run's shards
    has_curve: Callable[[str], bool] = lambda name: True  # whether a score of val is drawn over the steps
    split: Callable[[Record], str] | None = None  # HTML on how the split was made; None: by group, as predictions tell
    warnings: Callable[[Record], Sequence[str]] = lambda record: ()  # what stands above the result
    over: str | Callable[[Record], str] = "groups"  # what the intervals of the headlines were drawn over
    beside: Callable[[Record], Mapping[str, str]] = lambda record: {}  # headline -> what else it must be read against
    ways: tuple[str, ...] = ()  # of answering beside the headlines': their scores are <way>_<headline>
    below: Callable[[Record], str] = lambda record: ""  # HTML below the headlines
    reads_data: bool = False  # the sections tell of the run's shards, as long as they are there
    rewrite: Callable[[Record], None] = lambda record: None  # the run folder's other files, made again from what it holds


NOTHING = ReportSections(unit="sample", sections=lambda record, frames: [])


def run(
    run: list[str],
    *,
    out: str | None = None,
    data: str | None = None,
    cache: str | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> int:
    """Write one page on a run, or one that compares several.

    Args:
        run: run folder that train/launch.py wrote; of several, which must be of one task and one test split, the page has
            their scores beside each other.
        out: the page to write, or a folder for it. Unset: report.html in the run folder; of several runs compare.html beside
            the first.
        data: the run's shards, where they have been moved: the report tells what was trained on, or shows pictures of it.
        cache: folder for fetched tars, of shards at a URL; unset: the run's own.
        cache_bytes: most bytes that it may hold.
    """
    folders = [Path(folder) for folder in ([run] if isinstance(run, str) else run)]
    if len(folders) > 1:
        if data:
            raise ValueError("--data is for the report of one run; a page that compares several reads no data")
        from tarpon.tools.compare import compare  # which needs this module's records

        return compare(folders, out=out)
    (folder,) = folders
    page = place_page(out, name="report.html", default=folder / "report.html")
    if data:
        check_data(folder, data)
    record = read_run(folder, cache=Cache.of(cache, cache_bytes), data=data)
    parts = sections_of(record.task)
    if parts.reads_data and not data and (missing := find_missing_data(record.config)):
        print(f"note: the run's data {missing} are not there, so the report cannot tell of them; give --data FOLDER")
    if record.predictions and out is None:  # a folder that another page is made of may be another's
        parts.rewrite(record)
    written = write_report(folder, frames=parts.frames(record), out=page, cache=record.cache, data=data)
    scores = record.metrics.get(record.split, {})
    for name, label, meaning in parts.headlines:
        if name in scores:
            print(f"{record.split} {label:<24}{scores[name]:.3f}  {meaning}")
    print(f"report: {written}")
    return 0


def sections_of(task: str) -> ReportSections:
    """What a task adds; nothing for "", a folder that names no task, and for a task without a report of its own."""
    tools = TOOLS.get(task)
    if task and tools is None:
        raise ValueError(f"run.json: no report of a {task!r} run; there is: {', '.join(TOOLS)}")
    return load(tools.report) if tools and tools.report else NOTHING


def write_report(
    run: Path,
    *,
    frames: "Frames | None" = None,
    out: Path | None = None,
    cache: Cache | None = None,
    data: str | None = None,
) -> Path:
    """Write the report of a run folder and return its path.

    Args:
        run: holds run.yaml and metrics.jsonl and, once the run is over, metrics.json and predictions/{val,test}.npz.
        frames: gives stored pictures of a sample, for the figures drawn over them; None leaves those out.
        out: the file to write; RUN/report.html unless given.
        cache: for tars of remote shards; None: the run's own.
        data: where its data are now; None: where run.yaml says.
    """
    run = Path(run)
    out = run / "report.html" if out is None else Path(out)
    page = None if out.parent.resolve() == run.resolve() else out.parent
    record = read_run(run, page=page, cache=cache, data=data)
    parts = sections_of(record.task)
    sections = [
        ("Result", _warned(parts.warnings(record)) + _result(record, parts=parts)),
        ("How the split was made", _split_words(record, parts=parts)),
        ("Training", _training(record, has_curve=parts.has_curve)),
        *_quarantine(run),
        *parts.sections(record, frames=frames),
        *_measured(record, parts=parts),
        ("All metrics", _all_metrics(record)),
        ("Configuration and machine", format_settings(record)),
    ]
    write_page(out, render_document(f"Run {record.name}", sections))
    return out


def _warned(lines: Sequence[str]) -> str:
    return "".join(paragraph(line, kind="warn") for line in lines)


def _result(record: Record, *, parts: ReportSections) -> str:
    scores = record.metrics.get(record.split, {})
    if not scores:
        return paragraph(
            "metrics.json has no scores yet, so there is no result to show: training has not finished.", kind="warn"
        )
    notes = [] if record.task else [paragraph(NO_TASK, kind="warn")]
    if scores.get("rows", 0) < scores.get("rows_of", 0):
        counts = f"{scores['rows']:.0f} of {scores['rows_of']:.0f} rows"
        notes.append(paragraph(f"The scores are over {counts} of {record.split}: the others could not be read.", kind="warn"))
    if record.split == "val":
        notes.append(
            paragraph(
                "There is no test split in this run. The scores are those of val, on which the best weights were "
                "chosen, so they flatter the model.",
                kind="warn",
            )
        )
    beside, over = parts.beside(record), parts.over(record) if callable(parts.over) else parts.over
    boxes = [
        (
            f"{record.split}: {label}",
            f"{scores[name]:.3f}",
            [*_small_print(name, scores, over=over), *([beside[name]] if name in beside else []), meaning],
            anchor(name),
        )
        for name, label, meaning in parts.headlines
        if name in scores
    ]
    if not boxes:
        return "".join(notes) + paragraph("This run has none of the headline scores; all its scores are listed below.")
    absent = [label for name, label, _ in parts.headlines if name not in scores]
    if absent:
        notes.append(paragraph(f"Not defined in this run: {', '.join(absent)}. Nothing was labelled, or nothing predicted."))
    return cards(boxes) + parts.below(record) + "".join(notes)


def _small_print(name: str, scores: Mapping[str, float], *, over: str) -> list[str]:
    """What a headline must be read against; `over`: what its interval was drawn over."""
    lines = []
    if {f"{name}_low", f"{name}_high"} <= scores.keys():
        lines.append(f"95% interval over {over} {scores[f'{name}_low']:.3f} to {scores[f'{name}_high']:.3f}")
    if f"constant_{name}" in scores:
        lines.append(f"always the median of training: {scores[f'constant_{name}']:.3f}")
    if f"majority_{name}" in scores:
        lines.append(f"always the commonest class: {scores[f'majority_{name}']:.3f}")
    if f"{name}_px" in scores:
        lines.append(f"{scores[f'{name}_px']:.1f} px in the source video")
    return lines


def _split_words(record: Record, *, parts: ReportSections) -> str:
    if not record.predictions:
        return paragraph("There are no predictions in this run folder, so the split cannot be described.")
    return (parts.split(record) if parts.split else _by_group(record, unit=parts.unit)) + _test_reading(record)


def _by_group(record: Record, *, unit: str) -> str:
    groups = {split: sorted(set(names)) for split, names in record.groups.items() if names}
    shared = sorted(set(groups.get("test", [])) & set(groups.get("val", [])))
    if shared:
        parts = [paragraph(f"Leak: {_few(shared)} has {unit}s in val and in test. Do not trust the test scores.", kind="warn")]
    else:
        parts = [
            paragraph(
                "The data were split by group (what belongs together: an animal, a video or a session), never by frame "
                f"or by {unit}, so that no group is both learnt from and tested on."
            )
        ]
    for split, names in groups.items():
        parts.append(paragraph(f"{split}: {_count(record.groups[split], unit)} of {_count(names, 'group')} ({_few(names)})."))
    return "".join(parts)


def _test_reading(record: Record) -> str:
    """Whether test still tells how the model does on data that nobody has looked at."""
    readings = sum(any(name.startswith("test/") for name in line) for line in record.lines)
    if readings > 1:
        words = (
            f"The log holds {readings} readings of test: it no longer tells how the model does on data nobody has looked at."
        )
        return paragraph(words, kind="warn")
    if "test" in record.metrics:
        return paragraph("The best weights were chosen on val. Test was read once, at the end, with those weights.")
    return ""


def _training(record: Record, *, has_curve: Callable[[str], bool]) -> str:
    lines = [
        {name: value for name, value in line.items() if not name.startswith("val/") or has_curve(name.removeprefix("val/"))}
        for line in record.lines
    ]
    from tarpon.train.figures import curves  # here: a wrong folder is refused before matplotlib is imported

    if not curves.has_curves(lines):
        return paragraph("metrics.jsonl has no loss, learning rate or val score yet, so there are no curves.")
    names = score_keys(record.classes)
    caption = f"Up to optimizer step {max(line['step'] for line in lines):,}; the best weights are chosen on validation."
    return embed_panels(curves.curves(lines, classes=names), caption=caption)


def _measured(record: Record, *, parts: ReportSections) -> list[tuple[str, str]]:
    """What the headlines lead to; no section for a task without any."""
    scores = record.metrics.get(record.split, {})
    if not parts.headlines:
        return []
    over = parts.over(record) if callable(parts.over) else parts.over
    facts = {"split": record.split, "measured": parts.measured, "over": over}
    return [(HEADING, format_measured(parts.headlines, scores, **facts))]


def _quarantine(run: Path) -> list[tuple[str, str]]:
    """What could not be read in training and evaluation; no section where everything could."""
    unread = read_quarantine(run)
    if not unread:
        return []
    rows = [tuple(str(line.get(name, "")) for name in ("tar", "key", "offset", "error", "process")) for line in unread]
    words = paragraph(
        f"{_count(unread, 'sample')} could not be read. In training the next row stood in for each; in evaluation each was "
        "left out, and the scores say over how many rows they are (rows of rows_of). Prove the data with tarpon lint.",
        kind="warn",
    )
    return [("Quarantine", words + table(("tar", "key", "offset", "error", "process"), rows))]


def _all_metrics(record: Record) -> str:
    if not record.metrics:
        return paragraph("metrics.json has no scores yet.")
    splits = [split for split in SPLITS if split in record.metrics]
    names = sorted({name for split in splits for name in record.metrics[split]})
    rows = [(name, *(number(record.metrics[split].get(name, np.nan), digits=4) for split in splits)) for name in names]
    return collapsible(f"{len(names)} scores of {' and '.join(splits)}", table(("score", *splits), rows))


def _few(names: Sequence[str], *, limit: int = 12) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things):,} {noun}" + ("" if len(things) == 1 else "s")
