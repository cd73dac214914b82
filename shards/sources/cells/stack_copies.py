"""Stacks with the pages of another one: equal pixels, however they were saved, and near copies."""

from collections import defaultdict

import numpy as np
import pyarrow as pa

from tarpon.shards.quarantine import Fault
from tarpon.shards.sources.copies import find_equal, find_similar

COMPARED = 20_000  # pages at most whose looks are compared with all others: 2 s of a core


def find_equal_stacks(rows: pa.Table) -> dict[int, str]:
    """Row -> reason of every page of a stack that shares a page, pixel for pixel, with another stack.

    Of stacks of one class the first by name stays; of stacks of both classes none: one label is wrong.
    """
    sources, labels = rows["source"].to_pylist(), rows["label"].to_pylist()
    members: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(sources):
        members[name].append(row)
    shared: dict[tuple[str, str], int] = defaultdict(int)  # two stacks in order of name -> pages that both have
    for same in find_equal(rows["pixel_hash"].to_pylist()):
        names = sorted({sources[row] for row in same})
        for i, name in enumerate(names):
            for other in names[i + 1 :]:
                shared[name, other] += 1
    left_out: dict[str, str] = {}
    for (name, other), pages in sorted(shared.items()):
        text = f"{pages} of its {{}} pages have the pixels of {{}}, saved in another way or cut from it"
        if labels[members[name][0]] != labels[members[other][0]]:
            left_out.setdefault(name, text.format(len(members[name]), other))
        if name not in left_out or labels[members[name][0]] != labels[members[other][0]]:
            left_out.setdefault(other, text.format(len(members[other]), name))
    return {row: reason for name, reason in left_out.items() for row in members[name]}


def find_near_stacks(rows: pa.Table) -> list[Fault]:
    """A remark for every two stacks with pages that are near copies: another depth, brightness, or a cut of a few pixels."""
    taken = np.arange(0, len(rows), -(-len(rows) // COMPARED) or 1)
    part = rows.select(["source", "split", "label", "page", "perceptual_hash"]).take(pa.array(taken)).to_pydict()
    pairs: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for i, j in find_similar(part["perceptual_hash"], part["source"]):
        one, other = sorted((i, j), key=lambda row: part["source"][row])
        pairs[part["source"][one], part["source"][other]].append((one, other))
    found = []
    for (name, other), pages in sorted(pairs.items()):
        i, j = pages[0]
        splits = part["split"][i], part["split"][j]
        where = "both in " + splits[0] if splits[0] == splits[1] else f"which is in {splits[1]} and this in {splits[0]}"
        reason = f"looks like {other} (page {part['page'][i]} like page {part['page'][j]}), {where}: look at both"
        found.append(Fault(file=name, reason=reason, packed=True))
    return found
