"""Runs the kernel tests of this folder in Triton's interpreter, which has to be chosen before triton is imported."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TAKES_DEVICE = re.compile(r"^def test_\w+\([^)]*\bdevice\b", re.MULTILINE)
FILES = sorted(path for path in Path(__file__).parent.glob("test_*.py") if TAKES_DEVICE.search(path.read_text()))


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_kernels_in_the_interpreter(path):
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "interpreter", str(path)]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout
