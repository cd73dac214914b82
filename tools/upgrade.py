"""`tarpon upgrade SHARDS`: what a set of an earlier version lacks, written beside it. Tars and manifest stay as they are."""

from tarpon.shards.fingerprint import hash_cells
from tarpon.shards.manifest import MANIFEST_SUM, ROWS_SUM, open_manifest, write_card
from tarpon.shards.packing_lock import hold_packing
from tarpon.shards.shard_table import SHARDS, write_shard_table
from tarpon.shards.store import Store
from tarpon.tools.tasks import part_of_kind


def run(shards: str) -> int:
    """Write shards.parquet and the rows of each shard, so that a training can read a set that is too large to be held.

    Args:
        shards: folder that `tarpon pack` wrote, or the URL of a store that can be written to.

    Returns:
        0.
    """
    store = Store(shards)
    store.check_writable()
    with hold_packing(store.folder):
        manifest = open_manifest(shards)
        schema = part_of_kind(manifest.card.get("kind"), "lint", where=shards).schema
        rows_sum = hash_cells(manifest.table)
        added = write_shard_table(store, manifest.table, schema, rows_sum=rows_sum)
        added |= {ROWS_SUM: rows_sum} if MANIFEST_SUM in manifest.card else {}
        write_card(store, manifest.card | added)
    print(f"{shards}: {SHARDS} with {len(manifest.tars)} shards of {len(manifest)} samples; tars and manifest are as they were")
    return 0
