"""Pages made up for the tests of scores."""

import numpy as np
import pytest

from tarpon.train.tasks.cells.metrics.predictions import PageRows


def made(label, prob, clock, predicted, *, target=None, stack=None, well=None, onset=None, median: float = 20.0) -> PageRows:
    label = np.asarray(label, np.int64)
    clock = np.asarray(clock, np.float32)
    stack = np.asarray([f"s{value}" for value in label] if stack is None else stack)
    words = {
        "key": np.arange(len(label)).astype(str),
        "well": stack if well is None else np.asarray(well),
        "position": stack,
        "path": stack,
    }
    return PageRows(
        clamp_range=(0.0, 48.0),
        **words,
        stack=stack,
        page=np.arange(len(label)),
        label=label,
        prob=np.asarray(prob, np.float32),
        clock=clock,
        target=np.asarray(clock if target is None else target, np.float32),
        predicted=np.asarray(predicted, np.float32),
        constant=np.full(len(label), median, np.float32),
        constant_class=np.full(len(label), median + 1, np.float32),
        onset=None if onset is None else np.full(len(label), onset, np.float32),
    )


def drawn(seed: int = 0, *, stacks: int = 10, pages: int = 93) -> PageRows:
    """The published shape: 93 pages half an hour apart; both classes at all hours, right more often later."""
    rng = np.random.default_rng(seed)
    page, stack = np.tile(np.arange(pages), stacks), np.repeat(np.arange(stacks), pages)
    label, clock = stack % 2, page / 2
    logit = (2 * label - 1) * 0.12 * clock + rng.normal(0, 1.2, len(page)) + rng.normal(0, 0.7, stacks)[stack]
    target = np.where(label == 1, np.maximum(clock - 2, 0), clock)
    predicted = np.clip(target + rng.normal(0, 3, len(page)), 0, 48)
    names = np.array([f"{'cb'[value]}_p{number // 2}" for number, value in zip(stack, label, strict=True)])
    return made(label, 1 / (1 + np.exp(-logit)), clock, predicted, target=target, stack=names)


@pytest.fixture(name="made")
def made_fixture():
    """(label, prob, clock, predicted, target=, stack=, well=, onset=, median=) -> PageRows."""
    return made


@pytest.fixture(name="drawn")
def drawn_fixture():
    """(seed, stacks=, pages=) -> PageRows of the published shape."""
    return drawn
