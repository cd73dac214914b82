"""`tarpon lint` of a feature cache: every byte against its card, every vector finite, every label in its place."""

from pathlib import Path

import numpy as np

from tarpon.shards.features import CARD, CHUNK_ROWS, FEATURES, LABELS, PARTS, damage, open_features, read_card
from tarpon.shards.manifest import SPLITS
from tarpon.tools.lint_checks import Finding


def is_features(folder: str) -> bool:
    """True for a cache that `tarpon features` wrote or began."""
    root = Path(folder)
    return (root / CARD).exists() or (root / PARTS / CARD).exists()


def examine_features(folder: str) -> tuple[str, int, dict[str, list[Finding]]]:
    """What the cache is, its rows, and findings by check. ValueError when it is unfinished or of another version."""
    root = Path(folder)
    card = read_card(root)
    found: dict[str, list[Finding]] = {"checksums": [], "readable": [], "vectors": [], "labels": []}

    def tell(check: str, where: str, what: str) -> None:
        found[check].append(Finding(check=check, where=where, what=what))

    for where, what in damage(root, card):
        tell("checksums", where, what)
    kind, rows = "feature cache", card.get("count", 0)
    if found["checksums"]:
        return kind, rows, found
    try:
        table = open_features(root, verify=False)
    except ValueError as error:
        tell("readable", FEATURES, str(error))
        return kind, rows, found
    if table.remark:
        kind += " without checksums (made by an earlier Tarpon: damage is not noticed; extract again to have them)"
    for first in range(0, len(table), CHUNK_ROWS):
        wrong = np.flatnonzero(~np.isfinite(table.features[first : first + CHUNK_ROWS]).all(1))
        if len(wrong):
            tell("vectors", FEATURES, f"{len(wrong)} vectors are not finite, the first is row {first + wrong[0]}")
    names = table.labels.column_names
    for column in ("key", "split", "group"):
        if column not in names:
            tell("labels", LABELS, f"has no column {column}")
    if "split" in names:
        for name in sorted(set(map(str, table.labels["split"].to_pylist())) - set(SPLITS)):
            tell("labels", LABELS, f"split {name!r} is not one of {', '.join(SPLITS)}")
    if "key" in names and len(set(table.labels["key"].to_pylist())) < len(table):
        tell("labels", LABELS, "some keys stand in more than one row")
    return kind, len(table), found
