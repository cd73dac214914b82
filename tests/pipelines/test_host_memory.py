"""Memory that batches have used stays with the process."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from tarpon.pipelines import host_memory
import numpy as np
if sys.argv[1] == "kept":
    assert host_memory.keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(40 * 2**20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(sum(faults() for _ in range(4)))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_the_same_memory_serves_again():
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", FAULTS, way], capture_output=True, text=True, check=True).stdout)
        for way in ("kept", "given back")
    )
    assert 4 * kept < given_back
