"""The fingerprint of a table: one digest of all its cells, which a run that is resumed must find again.

It is defined on the text of the cells: of each column in the order of their names, Python's words for every cell with NUL
between. Texts and whole numbers, which are nearly all there is, get these words from Arrow a block at a time.
"""

import hashlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

BLOCK = 8192  # cells that are made text together; of lists of 360 labels that is 30 MB
NONE = "None"  # Python's word for an empty cell
NUL, COMMA, LEFT, RIGHT, NOTHING = (pa.scalar(word, pa.large_string()) for word in ("\0", ", ", "[", "]", ""))


def hash_cells(table: pa.Table) -> str:
    """SHA-256 (hex) of every cell; the order of the columns does not count, that of the rows does."""
    digest = hashlib.sha256()
    for name in sorted(table.column_names):
        words = (_join(chunk) for block in _blocks(table[name]) for chunk in block.chunks if len(chunk))
        for number, text in enumerate(words):
            digest.update(b"\0" + text if number else text)
    return digest.hexdigest()


def _blocks(column: pa.ChunkedArray) -> Iterator[pa.ChunkedArray]:
    return (column.slice(begin, BLOCK) for begin in range(0, len(column), BLOCK))


def _join(cells: pa.Array) -> bytes:
    words = _spell(cells)
    if words is None:
        return "\0".join(map(str, cells.to_pylist())).encode()
    whole = pa.LargeListArray.from_arrays(pa.array([0, len(words)], pa.int64()), words)
    return pc.binary_join(whole, NUL)[0].as_buffer().to_pybytes()


def _spell(cells: pa.Array) -> pa.Array | None:
    """Python's words for the cells, as large text; None where Arrow has others for their type."""
    if pa.types.is_integer(cells.type) or pa.types.is_string(cells.type):
        return cells.cast(pa.large_string()).fill_null(NONE)
    if not pa.types.is_list(cells.type) or not pa.types.is_integer(cells.type.value_type):
        return None
    lengths = pc.list_value_length(cells).fill_null(0)
    ends = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths.cast(pa.int64()))])
    inside = pc.binary_join(pa.LargeListArray.from_arrays(ends, _spell(cells.flatten())), COMMA)
    text = pc.binary_join_element_wise(LEFT, inside, RIGHT, NOTHING)
    return pc.if_else(cells.is_valid(), text, pa.scalar(NONE, pa.large_string()))
