"""New stacks through one or several trained models: answers page by page and as a whole, and their tables and curves.

N pages of a stack, M models.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tarpon.shards import atomic
from tarpon.shards.progress import track
from tarpon.shards.quarantine import Fault
from tarpon.shards.schema import sanitise_key
from tarpon.shards.sources.cells.channels import check_channels, list_channels
from tarpon.shards.sources.cells.names import strip_suffix
from tarpon.shards.sources.cells.timing import format_hours
from tarpon.shards.sources.cells.units import StackUnit
from tarpon.tools.cells.onset import OnsetRule
from tarpon.tools.cells.page_model import PageModel
from tarpon.tools.cells.unlabelled import read_stack
from tarpon.tools.table import table
from tarpon.train.figures import style
from tarpon.train.tasks.cells.figures.course import Course, draw_course
from tarpon.train.tasks.cells.metrics.called import find_call
from tarpon.train.tasks.cells.metrics.predictions import CONDITIONS, THRESHOLD
from tarpon.train.tasks.cells.metrics.tables import write_table

SHOWN = 30  # stacks printed; the files hold all


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictedStack:
    """A stack and what was answered for its pages."""

    name: str  # unique among the stacks predicted
    unit: StackUnit
    page: np.ndarray  # (N,) int64
    clock: np.ndarray  # (N,) hours
    probs: np.ndarray  # (M, N)
    hours: np.ndarray  # (M, N)
    called: float  # hour of the clock from which on it is called infected; NaN: never
    onset: tuple[float, float] | None  # hours of the clock between which the infection began


def predict_stacks(
    models: Sequence[PageModel], units: Sequence[StackUnit], rule: OnsetRule, *, folder: Path
) -> tuple[list[PredictedStack], list[Fault]]:
    """Answers of every readable stack, each with a table and a curve in the folder; and what was left out, or remarked."""
    done, told = [], []
    named = zip(units, name_stacks(units), strict=True)
    for unit, name in track(named, total=len(units), what="predict", unit="stacks"):
        try:
            found, left_out = predict_stack(models, unit, rule, name=name)
        except ValueError as error:
            told.append(Fault(file=unit.source, reason=str(error)))
            continue
        told += left_out
        folder.mkdir(exist_ok=True)
        write_table(folder / f"{name}.csv", tabulate_pages(found))
        atomic.write_bytes(folder / f"{name}.png", style.png(draw_course(make_course(found, rule))))
        done.append(found)
    return done, told


def name_stacks(units: Sequence[StackUnit]) -> list[str]:
    """What each stack is called in tables and files: plate, well and position where the name tells them, else its file's name.

    Where that is not unique, the whole path below the folder.
    """
    parts = [f"_{unit.series + 1}" if unit.source.endswith(f" position {unit.series + 1}") else "" for unit in units]
    paths = [unit.source.removesuffix(f" position {unit.series + 1}") for unit in units]
    files = [sanitise_key(strip_suffix(path)) + part for path, part in zip(paths, parts, strict=True)]
    short = [unit.place.stack if unit.place.well else name for unit, name in zip(units, files, strict=True)]
    twice = {name for name in short if short.count(name) > 1}
    long = [sanitise_key(path.rpartition(".")[0]) + part for path, part in zip(paths, parts, strict=True)]
    chosen = [whole if name in twice else name for name, whole in zip(short, long, strict=True)]
    return [name if chosen.count(name) == 1 else f"{name}_{number}" for number, name in enumerate(chosen)]


def predict_stack(
    models: Sequence[PageModel], unit: StackUnit, rule: OnsetRule, *, name: str
) -> tuple[PredictedStack, list[Fault]]:
    """What is answered for a stack, and its pages that were left out.

    Raises:
        ValueError: no page of it can be used, or they are of other channels than a model was trained on.
    """
    given = unit.shape.planes or (unit.choice.channel,)
    for model in models:
        check_channels(list_channels(model.packing, model.packing), given, where=unit.source)
    stack = read_stack(unit)
    answers = [model.predict(stack) for model in models]
    probs, hours = (np.stack(values) for values in zip(*answers, strict=True))
    clock = np.asarray(stack.manifest.column("hours"), np.float64)
    called = find_call(probs.mean(0), clock, hold=rule.hold)
    onset = rule.interval.find_onset(called) if rule.interval and math.isfinite(called) else None
    page = np.asarray(stack.manifest.column("page"), np.int64)
    found = PredictedStack(name=name, unit=unit, page=page, clock=clock, probs=probs, hours=hours, called=called, onset=onset)
    return found, stack.faults


def tabulate_pages(found: PredictedStack) -> pa.Table:
    """A row a page; of several models the mean, and their standard deviation (ddof 1)."""
    count, prob = len(found.page), found.probs.mean(0)
    columns = {
        "file": pa.array([found.unit.source] * count),
        "stack": pa.array([found.name] * count),
        "well": pa.array([found.unit.place.well_name if found.unit.place.well else ""] * count),
        "page": found.page,
        "hours_since_start": found.clock,
        "predicted_class": np.array(CONDITIONS)[(prob >= THRESHOLD).astype(int)],
        "probability_infected": prob,
        "predicted_hours": found.hours.mean(0),
    }
    if len(found.probs) > 1:
        columns |= {"probability_infected_sd": found.probs.std(0, ddof=1), "predicted_hours_sd": found.hours.std(0, ddof=1)}
    return pa.table(columns)


def tabulate_stacks(done: Sequence[PredictedStack], rule: OnsetRule) -> pa.Table:
    """A row a stack; hours are of its clock, and empty where it is not called infected or no interval is known."""
    level = rule.interval.level if rule.interval else None
    rows = [
        {
            "file": found.unit.source,
            "stack": found.name,
            "well": found.unit.place.well_name if found.unit.place.well else "",
            "pages": len(found.page),
            "first_hour": float(found.clock[0]),
            "last_hour": float(found.clock[-1]),
            "called_infected": "yes" if math.isfinite(found.called) else "no",
            "called_from_hour": found.called if math.isfinite(found.called) else None,
            "infection_began_low_hour": found.onset[0] if found.onset else None,
            "infection_began_high_hour": found.onset[1] if found.onset else None,
            "interval_level": level if found.onset else None,
            "mean_probability_infected": float(found.probs.mean()),
        }
        for found in done
    ]
    words = ("file", "stack", "well", "called_infected")
    kinds = {name: pa.string() if name in words else pa.int64() if name == "pages" else pa.float64() for name in rows[0]}
    return pa.Table.from_pylist(rows, schema=pa.schema(list(kinds.items())))


def make_course(found: PredictedStack, rule: OnsetRule) -> Course:
    """What is drawn of a stack."""
    runs = tuple(zip(found.probs, found.hours, strict=True)) if len(found.probs) > 1 else ()
    return Course(
        name=found.name,
        clock=found.clock,
        prob=found.probs.mean(0),
        hours=found.hours.mean(0),
        runs=runs,
        called=found.called,
        onset=found.onset,
        level=rule.interval.level if rule.interval else 0.0,
    )


def format_stacks(done: Sequence[PredictedStack]) -> Iterator[str]:
    """A table for the terminal."""
    rows = []
    for found in done[:SHOWN]:
        called = f"{format_hours(found.called)} h" if math.isfinite(found.called) else "never"
        began = " to ".join(map(format_hours, found.onset)) + " h" if found.onset else "-"
        rows.append([found.name, len(found.page), " to ".join(map(format_hours, found.clock[[0, -1]])), called, began])
    yield from table(["stack", "pages", "hours", "called infected from", "infection began"], rows)
    if len(done) > SHOWN:
        yield f"... and {len(done) - SHOWN:,} more"
