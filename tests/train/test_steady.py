"""A loader that runs for long holds no more memory, files or threads than after its first steps."""

import itertools

import numpy as np
import psutil
import pytest

STEPS = {"mouse": 400, "fish": 2000, "cells": 800, "star": 800}  # decoding takes longer: all four within two minutes
WARM = 0.25  # of the steps: pools and caches fill
GROWTH = 0.02  # of resident memory, from the warm-up to the end, along a fitted line


@pytest.mark.slow
@pytest.mark.parametrize("task", list(STEPS))
def test_memory_files_and_threads_stay_as_they_are(tiny_problem, task):
    process, problem = psutil.Process(), tiny_problem(task)
    steps = STEPS[task]
    seen = []
    for step, batch in enumerate(itertools.islice(problem.data.batches(0, 0), steps)):
        assert len(batch["row"])
        if step >= WARM * steps and step % 10 == 0:
            files = min(process.num_fds() for _ in range(3))  # another thread may hold one open for a moment
            seen.append((step, process.memory_info().rss, files, process.num_threads()))
    at, rss, files, threads = np.array(seen, float).T
    slope = np.polyfit(at, rss, 1)[0]
    assert slope * (at[-1] - at[0]) < GROWTH * rss[0]
    assert np.ptp(files) == 0
    assert threads[-1] <= threads[0]
