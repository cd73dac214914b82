"""Bytes that Arrow reads."""

import pyarrow as pa


def open_bytes(content: bytes) -> pa.BufferReader:
    """A file of these bytes in Arrow's own memory.

    Arrow's threads may let go of what was read after the interpreter has begun to end; where that is a Python object, the
    process aborts (status 134, now and then, when all is done).
    """
    stream = pa.BufferOutputStream()
    stream.write(content)
    return pa.BufferReader(stream.getvalue())
