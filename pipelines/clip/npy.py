"""Reads a stored .npy component without NumPy's reader.

NumPy parses the header as Python code, which is unsafe in a feed's threads: until CPython 3.11.8 and 3.12.2 two threads that
build a syntax tree at once may fail with "SystemError: AST constructor recursion depth mismatch" (python/cpython gh-106905),
and the main thread builds one whenever it makes a graph or compiles a kernel.
"""

import io
import re

import numpy as np

LEAD = 10  # bytes: magic, version, length of the header
HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([^']+)', 'fortran_order': False, 'shape': \(([\d, ]*)\), \} *\n", re.DOTALL
)


def read_npy(content: bytes) -> np.ndarray:
    """The array that numpy.save wrote, read-only; files of another version or memory order are left to NumPy's reader."""
    end = LEAD + int.from_bytes(content[LEAD - 2 : LEAD], "little")
    header = HEADER.fullmatch(content[:end])
    if header is None:
        return np.load(io.BytesIO(content), allow_pickle=False)
    shape = tuple(int(side) for side in header[2].split(b",") if side.strip())
    return np.frombuffer(content, np.dtype(header[1].decode()), offset=end).reshape(shape)
