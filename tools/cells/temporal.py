"""`tarpon temporal RUN...`: how well infection is told as time goes on, and how the population comes to be called infected.

From the predictions in the run folders alone: neither weights nor data are needed.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tarpon.shards import atomic
from tarpon.shards.json_file import write_json
from tarpon.tools.cells.onset import average_rows
from tarpon.tools.evaluate import run_folder
from tarpon.tools.table import table
from tarpon.train.figures import style
from tarpon.train.tasks.cells.figures.temporal import draw_kinetics, draw_temporal
from tarpon.train.tasks.cells.metrics.control import (
    AFTER,
    BEFORE,
    FIRST,
    LAST,
    describe_control,
    is_near_guess,
    list_onsets,
)
from tarpon.train.tasks.cells.metrics.kinetics import ClassCourse, describe_rise, follow_classes
from tarpon.train.tasks.cells.metrics.predictions import CONDITIONS, PageRows, pool_rows
from tarpon.train.tasks.cells.metrics.scores import score
from tarpon.train.tasks.cells.metrics.tables import write_table
from tarpon.train.tasks.cells.metrics.temporal import TemporalScores, score_over_time
from tarpon.train.tasks.cells.metrics.windows import GOOD_AUC, STRIDE_H, WINDOW_H
from tarpon.train.tasks.cells.outputs import read_run

FOLDER = "temporal"  # in the run's folder, where there is but one run
MEAN, POOLED = "mean of the runs", "all runs' stacks"


def run(
    run: list[str],
    *,
    out: str | None = None,
    split: str = "test",
    auc: float = GOOD_AUC,
    width: float = WINDOW_H,
    stride: float = STRIDE_H,
    resamples: int = 1000,
) -> int:
    """AUC and error over hours with intervals over wells, the first hour of a good AUC, and the kinetics of the population.

    Of several runs each, and all together: the mean of their answers where all were tested on the same pages, one large test
    where no stack was tested twice, as in folds.

    Args:
        run: run folders of cells runs, or files in them.
        out: folder for the tables and figures; of one run its own folder's `temporal` unless given.
        split: val or test.
        auc: that the first good hour is asked for.
        width: of a window, hours.
        stride: hours from window to window.
        resamples: of the bootstrap.
    """
    if not 0 < auc <= 1 or not width > 0 or resamples < 1:
        raise ValueError(f"auc={auc:g} must be in (0, 1], width={width:g} h above 0, resamples={resamples} at least 1")
    if out is None and len(run) > 1:
        raise ValueError("of several runs give --out FOLDER for what is told of them together")
    folders = [run_folder(Path(word)) for word in run]
    sets = gather_sets(folders, split=split)
    target = Path(out) if out else folders[0] / FOLDER
    scores = {
        name: score_over_time(rows, level=auc, width=width, stride=stride, resamples=resamples) for name, rows in sets.items()
    }
    courses = {name: follow_classes(rows, resamples=resamples) for name, rows in sets.items()}
    controls = {name: score(rows, resamples=resamples) for name, rows in sets.items()}
    onsets = np.unique(np.concatenate([list_onsets(rows) for rows in sets.values()]))
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / "temporal.json", record_sets(scores, courses, controls))
    write_table(target / "windows.csv", tabulate_windows(scores))
    write_table(target / "kinetics.csv", tabulate_courses(courses))
    atomic.write_bytes(target / "temporal.png", style.png(draw_temporal(scores, onsets=onsets)))
    atomic.write_bytes(target / "kinetics.png", style.png(draw_kinetics(courses, onsets=onsets)))
    print("\n".join(format_sets(scores, courses, split=split)))
    for name, own in controls.items():
        print(f"{name}: {describe_control(own)}")
    print(f"{target}: temporal.json, windows.csv, kinetics.csv, temporal.png, kinetics.png")
    return 0


def gather_sets(folders: Sequence[Path], *, split: str) -> dict[str, PageRows]:
    """Name -> predictions: of each run, and of all together where that has a meaning.

    Raises:
        ValueError: a run without predictions of the split, of another task, or given twice.
    """
    names = [folder.resolve().name for folder in folders]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError("a run is given twice; give each once")
    names = [str(folder) if names.count(name) > 1 else name for folder, name in zip(folders, names, strict=True)]
    sets: dict[str, PageRows] = {}
    for folder, name in zip(folders, names, strict=True):
        held = read_run(folder)
        if split not in held.rows:
            raise ValueError(f"{folder}: no predictions/{split}.npz; give --split {' or '.join(held.rows)}")
        sets[name] = held.rows[split]
    parts = list(sets.values())
    if len(parts) < 2:
        return sets
    stacks = [set(part.stack.tolist()) for part in parts]
    if all(set(part.key.tolist()) == set(parts[0].key.tolist()) for part in parts):
        sets[MEAN] = average_rows(parts)
    elif sum(map(len, stacks)) == len(set.union(*stacks)):
        sets[POOLED] = pool_rows(parts)
    return sets


def record_sets(
    scores: Mapping[str, TemporalScores],
    courses: Mapping[str, Mapping[str, ClassCourse]],
    controls: Mapping[str, Mapping[str, float]],
) -> dict:
    """What temporal.json holds; an hour that is null lies beyond those filmed, or cannot be known.

    controls: all scores of each set, of which those around the onset are held.
    """
    around = tuple(f"{name}{end}" for name in (BEFORE, AFTER) for end in ("", "_low", "_high"))
    around += ("rows_before_onset", FIRST, LAST)
    return {
        name: {
            "auc_asked_for": own.level,
            "first_hour": own.first_hour,
            "first_hour_interval": own.first_hour_interval,
            "intervals_over": own.unit,
            "control": {key: controls[name][key] for key in around if key in controls[name]}
            | {"near_guess": is_near_guess(controls[name]), "meaning": describe_control(controls[name])},
            "windows": list(own.windows),
            "kinetics": describe_rise(courses[name][CONDITIONS[1]]) if CONDITIONS[1] in courses[name] else None,
        }
        for name, own in scores.items()
    }


def tabulate_windows(scores: Mapping[str, TemporalScores]) -> pa.Table:
    """A row a set and window; hours by the columns' names, what is undefined is empty."""
    rows = [{"runs": name, **window} for name, own in scores.items() for window in own.windows]
    return _plain_table(rows)


def tabulate_courses(courses: Mapping[str, Mapping[str, ClassCourse]]) -> pa.Table:
    """A row a set, class and hour."""
    rows = [
        {
            "runs": name,
            "true_class": word,
            "hours_since_start": float(course.hours[at]),
            "pages": float(course.pages[at]),
            "share_called_infected": float(course.called[at]),
            "low": float(course.low[at]),
            "high": float(course.high[at]),
        }
        for name, classes in courses.items()
        for word, course in classes.items()
        for at in range(len(course.hours))
    ]
    return _plain_table(rows)


def _plain_table(rows: Sequence[Mapping[str, object]]) -> pa.Table:
    return pa.table(
        {
            name: pa.array([None if row[name] != row[name] else row[name] for row in rows])  # NaN is not itself
            for name in rows[0]
        }
    )


def format_sets(
    scores: Mapping[str, TemporalScores], courses: Mapping[str, Mapping[str, ClassCourse]], *, split: str
) -> list[str]:
    """A row a set, for the terminal."""
    rows = []
    for name, own in scores.items():
        infected = courses[name].get(CONDITIONS[1])
        half = _hour(infected.rise.half_h if infected else math.nan)
        between = _between(infected.half_interval if infected else None)
        rows.append(
            (name, _hour(own.first_hour), _between(own.first_hour_interval), half, between, own.unit.partition(" (")[0])
        )
    level = next(iter(scores.values())).level
    head = (split, f"AUC {level:g} from", "95% interval", "half called by", "95% interval", "intervals over")
    return list(table(head, rows))


def _hour(hour: float) -> str:
    return f"{hour:.1f} h" if math.isfinite(hour) else "never"


def _between(ends: tuple[float, float] | None) -> str:
    return "unknown" if ends is None else f"{_hour(ends[0])} to {_hour(ends[1])}"
