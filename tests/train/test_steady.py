"""What runs for long holds no more memory, files or threads than after its first steps."""

import itertools
import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

STEPS = 2000
EPOCHS = 50
WARM = 0.25  # of the steps or epochs: pools and caches fill
GROWTH = 0.02  # of resident memory, from the warm-up to the end, along a fitted line


def growth(at: np.ndarray, resident: np.ndarray) -> float:
    """Share by which resident memory grows from the first to the last reading, along a fitted line."""
    return np.polyfit(at, resident, 1)[0] * (at[-1] - at[0]) / resident[0]


def open_files() -> frozenset[tuple[str, str]]:
    """(number, what it is) of every open file of this process."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed since it was listed
            found.add((path.name, os.readlink(path)))
    return frozenset(found)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["mouse", "fish", "cells", "star"])
def test_memory_files_and_threads_of_a_loader_stay_as_they_are(tiny_problem, task):
    process, problem = psutil.Process(), tiny_problem(task)
    seen, files = [], []
    for step, batch in enumerate(itertools.islice(problem.data.batches(0, 0), STEPS)):
        assert len(batch["row"])
        if step >= WARM * STEPS and step % 10 == 0:
            seen.append((step, process.memory_info().rss, process.num_threads()))
            files.append(open_files())
    at, resident, threads = np.array(seen, float).T
    assert growth(at, resident) < GROWTH
    # what is open at two readings on end: another thread of the test run may hold a file for a moment
    kept = [before & after for before, after in itertools.pairwise(files)]
    assert all(now == kept[0] for now in kept), [now ^ kept[0] for now in kept if now != kept[0]][:3]
    assert threads[-1] <= threads[0]


@pytest.mark.slow
def test_memory_files_and_threads_of_a_training_stay_as_they_are(spawn, tmp_path):
    """Fifty epochs, an evaluation and a checkpoint after each."""
    training = spawn("long", f"--epochs={EPOCHS}", "--eval_every=1", "--early_stop_patience=0")
    process, log, seen = psutil.Process(training.pid), tmp_path / "long" / "metrics.jsonl", []
    while training.poll() is None:
        with suppress(psutil.Error):  # it ended since it was asked
            epoch = sum('"val/' in line for line in log.read_text().splitlines()) if log.exists() else 0
            if WARM * EPOCHS <= epoch < EPOCHS:  # the final scores come after them
                seen.append((epoch, process.memory_info().rss, process.num_fds(), process.num_threads()))
        time.sleep(0.05)
    assert training.wait() == 0, training.communicate()
    epochs, resident, files, threads = np.array(seen, float).T
    assert len(set(epochs)) > EPOCHS / 2  # it was seen all along
    assert growth(epochs, resident) < GROWTH
    early, late = (epochs < np.median(epochs), epochs >= np.median(epochs))
    assert files[late].max() <= files[early].max()
    assert threads[late].max() <= threads[early].max()
