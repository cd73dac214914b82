"""A loader that runs for long holds no more memory, files or threads than after its first steps."""

import itertools
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

STEPS = {"mouse": 400, "fish": 2000, "cells": 800, "star": 800}  # decoding takes longer: all four within two minutes
WARM = 0.25  # of the steps: pools and caches fill
GROWTH = 0.02  # of resident memory, from the warm-up to the end, along a fitted line


def open_files() -> frozenset[tuple[str, str]]:
    """(number, what it is) of every open file of this process."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed since it was listed
            found.add((path.name, os.readlink(path)))
    return frozenset(found)


@pytest.mark.slow
@pytest.mark.parametrize("task", list(STEPS))
def test_memory_files_and_threads_stay_as_they_are(tiny_problem, task):
    process, problem = psutil.Process(), tiny_problem(task)
    steps = STEPS[task]
    seen, files = [], []
    for step, batch in enumerate(itertools.islice(problem.data.batches(0, 0), steps)):
        assert len(batch["row"])
        if step >= WARM * steps and step % 10 == 0:
            seen.append((step, process.memory_info().rss, process.num_threads()))
            files.append(open_files())
    at, rss, threads = np.array(seen, float).T
    slope = np.polyfit(at, rss, 1)[0]
    assert slope * (at[-1] - at[0]) < GROWTH * rss[0]
    # what is open at two readings on end: another thread of the test run may hold a file for a moment
    kept = [before & after for before, after in itertools.pairwise(files)]
    assert all(now == kept[0] for now in kept), [now ^ kept[0] for now in kept if now != kept[0]][:3]
    assert threads[-1] <= threads[0]
