"""Makes the C library keep freed host memory for the next batches instead of returning it to the system.

DALI allocates and frees the output of every operator for every batch, megabytes at a time. By default glibc returns such blocks
to the kernel at once, and the kernel maps and zeroes those of the next batch anew: for microscope pages of 1024 x 1024 pixels
of 16 bits that was half of the loader's time (2 cores: 100 pages/s, 176 with the memory kept).
"""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8  # numbers of mallopt's parameters in glibc's malloc.h
MAX_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Keep freed memory in this process from now on; its memory use stays at its maximum.

    Returns:
        False where the C library has no such settings (musl, macOS); nothing is changed then.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    # one arena: otherwise each of many threads keeps its own
    return mallopt is not None and all(
        mallopt(ctypes.c_int(name), ctypes.c_int(value))
        for name, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, MAX_INT), (ARENA_MAX, 1))
    )
