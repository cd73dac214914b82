"""The check of copies in a packed data set: pictures of equal pixels under two names, and near copies to be told."""

from collections.abc import Iterator

from tarpon.shards.manifest import Manifest
from tarpon.shards.schema import HASHES
from tarpon.shards.sources.copies import find_equal
from tarpon.tools.lint_checks import Kind, WhereWhat
from tarpon.tools.lint_listing import Listing

PIXELS = "pixel_hash"
SHOWN = 3  # near copies that are named


def check_copies(listing: Listing, *, label: str = "") -> Iterator[WhereWhat]:
    """No picture stands in two splits, in two folds or under two labels, however its file was saved.

    Where a split was given by the source's own files, its own copies are theirs.
    """
    table = listing.manifest.table
    if PIXELS not in table.column_names:
        return
    given = listing.manifest.card.get("split", {}).get("given", ())
    columns = {name: table[name].to_pylist() for name in ("split", "fold", label) if name in table.column_names}
    keys = table["key"].to_pylist()
    for same in find_equal(table[PIXELS].to_pylist()):
        if all(columns["split"][i] in given for i in same):
            continue
        for name, values in columns.items():
            first = same[0]
            other = next((i for i in same if values[i] != values[first]), None)
            if other is not None:
                what = f"has the pixels of {keys[other]}: one picture with {name} {values[first]} and {values[other]}"
                yield f"{table['shard'][first].as_py()}:{keys[first]}", what
                break


def list_copies(manifest: Manifest, kind: Kind) -> list[str]:
    """Notes on near copies, and on what a data set of an earlier version cannot tell."""
    if PIXELS not in kind.schema.arrow().names:
        return []
    if not {name for name, _ in HASHES} <= set(manifest.table.column_names):
        return ["packed by an earlier Tarpon, without hashes of pixels: copies saved in another way are not found; pack again"]
    try:
        found = kind.find_near_copies(manifest.table)
    except ValueError:  # a hash that is none: the columns' own check tells
        return []
    named = "; ".join(str(fault) for fault in found[:SHOWN])
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return [f"{len(found)} near copies, which may be one picture twice: {named}{more}"] if found else []
