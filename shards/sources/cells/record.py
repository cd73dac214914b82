"""The source records of folders of infected and uninfected stacks, and the split of their pages."""

from dataclasses import replace

import pyarrow as pa

from tarpon.shards.pack import Packing, split_by_group
from tarpon.shards.source import Source
from tarpon.shards.sources.cells.card import describe
from tarpon.shards.sources.cells.channels import split_choice
from tarpon.shards.sources.cells.schema import CHANNELS_SCHEMA, CLASSES, SCHEMA
from tarpon.shards.sources.cells.source import CellsSource, encode_labels, make, scan
from tarpon.shards.sources.cells.stack_copies import find_equal_stacks, find_near_stacks
from tarpon.shards.split import assign_fold_splits


def assign(rows: pa.Table, *, options: CellsSource, packing: Packing) -> list[str]:
    """The split of every page, by group and stratified by class. ValueError where a fold cannot be used."""
    splits = split_by_group(rows, encode_labels(rows), packing=packing)
    labels, fold = rows["label"].to_numpy(), rows["fold"].to_numpy()
    train, val, _ = packing.split
    for k in range(options.folds):
        if len(set(labels[fold == k].tolist())) < len(CLASSES):
            raise ValueError(f"fold {k} holds stacks of one class only after the quarantine; lower --folds or mend the stacks")
        assign_fold_splits(fold, rows["group"].to_pylist(), labels, k=k, val_share=val / (train + val), seed=packing.seed)
    return splits


CELLS = Source(
    schema=SCHEMA,
    scan=scan,
    make=make,
    assign=assign,
    describe=describe,
    hint=(
        "the stacks are not .tif or .tiff files lying flat in these folders, or their names do not tell well and position "
        "(..._b2_p12_...; see data.name_regex)"
    ),
    find_copies=find_equal_stacks,
    find_near_copies=find_near_stacks,
    shard_size=512,  # pages: a tar of 1 GB at 1024 x 1024 pixels of 16 bits
)


def choose_record(options: CellsSource) -> Source:
    """The record of pages of one channel, or of several."""
    return replace(CELLS, schema=CHANNELS_SCHEMA) if len(split_choice(options.channel)) > 1 else CELLS
