"""What the report of a cells run says of its result and split: the control, what else may tell the classes apart, new wells.

The same warnings stand in the card of the shards; here they stand above the result.
"""

from collections.abc import Mapping

import numpy as np
import yaml

from tarpon.shards.manifest import Manifest
from tarpon.tools.html.document import paragraph
from tarpon.tools.record import SPLITS, Record
from tarpon.tools.run_shards import open_run_shards
from tarpon.train.tasks.cells.metrics.control import describe_control, is_near_guess
from tarpon.train.tasks.cells.metrics.intervals import WELLS, choose_unit
from tarpon.train.tasks.cells.metrics.predictions import PageRows, find_one_well_classes
from tarpon.train.tasks.cells.metrics.scores import score
from tarpon.train.tasks.cells.outputs import read_predictions
from tarpon.train.tasks.cells.summary import CLOCK_TELLS, KNOWS_LATER

CONTRAST_WORDS = {  # option -> whose darkest and brightest levels become 0 and 1
    "first": "by the stack's first usable pages, which know nothing of what comes later",
    "stack": "by the whole stack, which knows what comes later",
    "frame": "each page by itself, so that brightness may flicker in time",
    "fixed": "by the range of the file's bits, so that light that differs between wells stays",
}


def list_warnings(record: Record) -> list[str]:
    """What a reader must know before the scores: what else than infection may tell the classes apart."""
    found, by_split = [], {split: read_rows(record, split) for split in record.predictions}
    if record.split in by_split:
        control = score(by_split[record.split])
        found += [] if is_near_guess(control) else [f"{describe_control(control)}."]
    if read_config(record).get("contrast") == "stack":
        found.append(KNOWS_LATER)
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
    by_split = {split: read_rows(record, split) for split in SPLITS if split in record.predictions}
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
            f"The shards ({read_config(record).get('data')}) are not there, so what was trained on cannot be looked at.",
            kind="soft",
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


def describe_result(record: Record) -> str:
    """HTML below the headlines: what the control means, and how grey levels were scaled."""
    parts = []
    if record.split in record.predictions:
        control = score(read_rows(record, record.split))
        parts += [paragraph(f"{describe_control(control)}.")] if is_near_guess(control) else []  # else it is a warning, above
    contrast = read_config(record).get("contrast")
    if contrast:
        parts.append(
            paragraph(f"Grey levels were scaled with contrast {contrast}: {CONTRAST_WORDS.get(contrast, 'see the docs')}.")
        )
    return "".join(parts)


def describe_intervals(record: Record) -> str:
    """What the intervals of the headlines are over."""
    unit = choose_unit(read_rows(record, record.split)) if record.split in record.predictions else WELLS
    return unit if unit == WELLS else f"{unit} (it tells nothing of other wells)"


def read_rows(record: Record, split: str) -> PageRows:
    """The predictions of a split."""
    return read_predictions(record.predictions[split], read_config(record))


def read_config(record: Record) -> Mapping:
    held = yaml.safe_load(record.config)
    return held if isinstance(held, dict) else {}


def open_shards(record: Record) -> Manifest | None:
    """What the run was trained on; None where it is no longer at hand.

    Raises:
        ValueError: the user says where it is, and there are no shards of cells, or those of other pages.
    """
    try:
        manifest = open_run_shards(record.config, kind="cells", cache=record.cache, data=record.data)
    except (ValueError, OSError):
        if record.data:
            raise
        return None
    if record.data and record.split in record.predictions:
        missing = set(read_rows(record, record.split).key.tolist()) - set(manifest.column("key").tolist())
        if missing:
            raise ValueError(
                f"{record.data}: has not got {len(missing)} pages of the run's {record.split} (such as {min(missing)}); "
                f"give the shards that it was trained on"
            )
    return manifest
