"""One page over several runs of one task: their scores beside each other, their curves over each other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import yaml

from tarpon.tools.html.document import embed_panels, link_paragraph, number, paragraph, render_document, table
from tarpon.tools.html.page import place_page, write_page
from tarpon.tools.measured import HEADING, format_measured
from tarpon.tools.record import Record, read_run
from tarpon.tools.report import ReportSections, sections_of
from tarpon.train.config import flat
from tarpon.train.figures import curves
from tarpon.train.prediction_files import list_shares

SAMPLE = ("key", "role")  # columns of predictions that say what was scored, and as what
OF_NO_MATTER = ("config", "out", "name", "resume", "verbose")  # options that say nothing of what was learnt


def compare(runs: Sequence[Path], *, out: str | None = None) -> int:
    """Write the page and tell its scores; 0.

    Raises:
        ValueError: a folder is no finished run, or the runs are of different tasks, classes or test splits.
    """
    records = [read_run(run) for run in runs]
    check_comparable(records)
    page = place_page(out, name="compare.html", default=runs[0].resolve().parent / "compare.html")
    held = dict(zip(name_runs(records), records, strict=True))
    parts = sections_of(records[0].task)
    sections = [
        ("Scores", _scores(held, parts=parts)),
        ("Training", _curves(held, parts=parts)),
        ("Options that differ", _options(held)),
        (HEADING, _measured(records, parts=parts)),
        ("The runs", "".join(_link(record, name, page=page) for name, record in held.items())),
    ]
    write_page(page, render_document(f"{len(runs)} runs compared", sections))
    split = records[0].split
    for name, label, _ in parts.headlines:
        told = [f"{run} {record.metrics[split][name]:.3f}" for run, record in held.items() if name in record.metrics[split]]
        if told:
            print(f"{split} {label:<24}{'  '.join(told)}")
    print(f"report: {page}")
    return 0


def check_comparable(records: Sequence[Record]) -> None:
    """ValueError, in one line, where scores of the runs are not of the same thing."""
    first, *others = records
    for record in records:
        if not record.metrics.get(record.split) or record.split not in record.predictions:
            raise ValueError(f"{record.folder} has no scores yet: its training has not finished; compare finished runs")
    if len({record.folder.resolve() for record in records}) < len(records):
        raise ValueError("a run is given twice; give each run folder once")
    held = read_samples(first)
    for other in others:
        apart = f"{first.folder} and {other.folder} cannot be compared:"
        if other.task != first.task:
            raise ValueError(f"{apart} one is of the task {first.task}, the other of {other.task}; give runs of one task")
        if other.split != first.split:
            raise ValueError(
                f"{apart} one was scored on {first.split}, the other on {other.split}; give runs with the same splits"
            )
        if other.classes != first.classes:
            lists = (", ".join(record.classes) for record in (first, other))
            raise ValueError(f"{apart} their classes are {' and '.join(lists)}; give runs with the same classes")
        found = read_samples(other)
        if found != held:
            one = min(held ^ found)
            raise ValueError(
                f"{apart} their {first.split} splits differ in {len(held ^ found)} of {len(held | found)} samples, such as "
                f"{one[0]!r}; give runs on the same shards and split"
            )


def read_samples(record: Record) -> set[tuple[str, ...]]:
    """What the reported split of a run was scored on."""
    samples: set[tuple[str, ...]] = set()
    for path in list_shares(record.predictions[record.split]):
        if path.suffix == ".parquet":
            stored = pq.read_table(path, columns=[name for name in SAMPLE if name in pq.read_schema(path).names])
            columns = [column.to_pylist() for column in stored.columns]
        else:
            with np.load(path, allow_pickle=False) as arrays:
                columns = [arrays[name].tolist() for name in SAMPLE if name in arrays.files]
        samples |= {tuple(map(str, values)) for values in zip(*columns, strict=True)}
    return samples


def name_runs(records: Sequence[Record]) -> list[str]:
    """The folders' own names, with as many of those above them as it takes to tell them apart."""
    paths = [record.folder.resolve().parts for record in records]
    for count in range(1, max(map(len, paths))):
        names = ["/".join(parts[-count:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    return ["/".join(parts) for parts in paths]


def _scores(held: Mapping[str, Record], *, parts: ReportSections) -> str:
    rows, split = [], next(iter(held.values())).split
    for name, label, meaning in parts.headlines:
        scores = [record.metrics[split] for record in held.values()]
        if any(name in score for score in scores):
            rows.append((f"{label}: {meaning}", *(_with_interval(name, score) for score in scores)))
    if not rows:
        return paragraph("These runs have none of the headline scores.")
    counts = {f"{record.metrics[split].get('rows', np.nan):.0f}" for record in held.values()}
    over = _over(held.values(), parts=parts)
    words = (
        f"Scores on {split}, the same {len(read_samples(next(iter(held.values())))):,} samples in every run, with their 95% "
        f"intervals over {over} where there are any. The interval of a run says how far the score hangs on which "
        f"{over} were tested, not how far on the random seed: for that compare runs of several seeds."
    )
    left = "" if len(counts) == 1 else paragraph("Not every run could read every row: see the runs' own reports.", kind="warn")
    return table((f"on {split}", *held), rows) + paragraph(words, kind="soft") + left


def _with_interval(name: str, scores: Mapping[str, float]) -> str:
    if name not in scores:
        return "–"
    low, high = (scores.get(f"{name}_{end}") for end in ("low", "high"))
    return number(scores[name]) + ("" if low is None or high is None else f" ({number(low)} to {number(high)})")


def _curves(held: Mapping[str, Record], *, parts: ReportSections) -> str:
    lines = {name: record.lines for name, record in held.items()}
    titles = {"loss": "Training loss", "val/loss": "Validation loss"}
    titles |= {f"val/{name}": f"{label} on validation" for name, label, _ in parts.headlines}
    drawn = [curves.compare_curves(lines, name, title=title) for name, title in titles.items()]
    figures = [figure for figure in drawn if figure is not None]
    if not figures:
        return paragraph("The logs of these runs have no curves.")
    return embed_panels(figures, caption="Over optimizer steps; a run has one colour in all of them.")


def _options(held: Mapping[str, Record]) -> str:
    """The options of run.yaml in which the runs are not all alike."""
    chosen = [flat(yaml.safe_load(record.config) or {}) for record in held.values()]
    names = dict.fromkeys(name for options in chosen for name in options)
    rows = [
        (name, *values)
        for name in names
        if name not in OF_NO_MATTER and len(set(values := [str(options.get(name, "–")) for options in chosen])) > 1
    ]
    if not rows:
        return paragraph("All options are the same.")
    return table(("option", *held), rows)


def _measured(records: Sequence[Record], *, parts: ReportSections) -> str:
    scores = {name: value for record in records for name, value in record.metrics[record.split].items()}
    facts = {"split": records[0].split, "measured": parts.measured, "over": _over(records, parts=parts)}
    return format_measured(parts.headlines, scores, **facts)


def _over(records: Iterable[Record], *, parts: ReportSections) -> str:
    """What the intervals of the runs were drawn over."""
    return " or ".join(dict.fromkeys(parts.over(record) if callable(parts.over) else parts.over for record in records))


def _link(record: Record, name: str, *, page: Path) -> str:
    own = replace(record, page=page.parent).link("report.html")
    if not (record.folder / "report.html").is_file():
        return paragraph(f"{name}: {record.folder} (`tarpon report` writes its own page)")
    return link_paragraph(own, f"{name}: its own report")
