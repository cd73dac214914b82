"""The bytes of a .npy file as an array, without NumPy's reader: nothing is allocated that the bytes do not fill.

NumPy reads the header as Python text. In a feed's threads that is a hazard: until CPython 3.11.8 and 3.12.2 two threads that
build a syntax tree at once may end in "SystemError: AST constructor recursion depth mismatch" (python/cpython gh-106905),
and the main thread builds them whenever it makes a graph or compiles a kernel. It also allocates what a header claims before it
looks whether the file holds as much.
"""

import math
import re

import numpy as np

MAGIC = b"\x93NUMPY"
WIDTHS = {1: 2, 2: 4, 3: 4}  # version -> bytes that tell the length of the header
HEADER = re.compile(
    r"\s*\{\s*'descr': '([^']+)', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\),? *\}\s*", re.DOTALL | re.ASCII
)
KINDS = "biufc"  # of numbers: plain bytes, which need no unpickling


def read_npy(content: bytes) -> np.ndarray:
    """The array, read-only, as numpy.save wrote it.

    Raises:
        ValueError: in one line: no .npy file, not an array of plain numbers, or more or fewer bytes than its header claims.
    """
    if not content.startswith(MAGIC):
        raise ValueError(f"not a .npy file ({len(content)} bytes)")
    version = content[6] if len(content) > 6 else 0
    width = WIDTHS.get(version)
    if width is None or len(content) < 8 + width:
        raise ValueError(f"a .npy file cut short or of unknown version ({len(content)} bytes)")
    begin = 8 + width + int.from_bytes(content[8 : 8 + width], "little")
    header = HEADER.fullmatch(content[8 + width : begin].decode("latin-1")) if begin <= len(content) else None
    if header is None:
        raise ValueError(f"the header of a .npy file is not readable ({len(content)} bytes); arrays of plain numbers are read")
    try:
        dtype = np.dtype(header[1])
    except (TypeError, ValueError) as error:
        raise ValueError(f"a .npy file of unknown numbers {header[1]!r:.40}") from error
    if dtype.kind not in KINDS:
        raise ValueError(f"a .npy file of {header[1]!r:.40}; arrays of plain numbers are read, never objects")
    shape = tuple(int(side) for side in header[3].split(",") if side.strip())
    size = math.prod(shape) * dtype.itemsize  # Python's integers: no claim is too large for them
    if size != len(content) - begin:
        raise ValueError(f"a .npy file whose header claims {size:,} bytes of {dtype} and that holds {len(content) - begin:,}")
    order = "F" if header[2] == "True" else "C"
    return np.frombuffer(content, dtype, offset=begin).reshape(shape, order=order)
