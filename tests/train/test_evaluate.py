"""One split's numbers, whatever the shares of the processes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tarpon.train.evaluate import evaluate


def shares(world: int, micro: int, count: int) -> list[list[np.ndarray]]:
    """Row numbers of each rank's batches, padded with -1, as the plan deals them out."""
    whole = world * micro
    padded = np.full(-(-count // whole) * whole, -1)
    padded[:count] = np.arange(count)
    return [list(padded.reshape(-1, world, micro)[:, rank]) for rank in range(world)]


@pytest.fixture
def table():
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(4))
    return {"x": x, "label": x[:, :3].argmax(1)}


def scored(toy, table, *, world: int, micro: int) -> dict[str, float]:
    """Ranks one after another; each but the last only leaves its part, the last sees them all."""
    parts, values, result = [], [], None
    for turns in shares(world, micro, 7):
        batches = [
            {name: column[np.maximum(rows, 0)] for name, column in table.items()} | {"row": torch.from_numpy(rows)}
            for rows in turns
        ]
        problem = toy(data=SimpleNamespace(split=lambda name, batches=batches: iter(batches)))

        def mean(value: torch.Tensor) -> torch.Tensor:
            values.append(value)
            return torch.stack(values).mean(0)

        def collect(part: object) -> list:
            parts.append(part)
            return list(parts)

        result = evaluate(problem, "val", mean=mean, collect=collect)
    assert not problem.model.training
    return result.scalars


def test_the_same_numbers_for_any_number_of_processes_and_batch(toy, table):
    problem = toy()
    problem.model.eval()
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(problem.model(table["x"])["score"], table["label"])
    for world, micro in ((1, 7), (1, 1), (1, 4), (2, 2), (3, 4)):
        want = {"loss": float(loss), "loss_label": float(loss), "score": 0.0, "rows": 7.0, "rows_of": 7.0}
        assert scored(toy, table, world=world, micro=micro) == pytest.approx(want, rel=1e-5), (world, micro)


def test_another_rank_gets_the_scores_and_no_answers(toy, table):
    batch = table | {"row": torch.arange(7)}
    problem = toy(data=SimpleNamespace(split=lambda name: iter([batch])))
    first = evaluate(problem, "val")
    told = first.scalars | {}
    for name in ("loss", "loss_label"):
        del told[name]  # the mean over processes is each one's own

    def refuse(make: object) -> tuple[float, dict[str, float]]:
        return 1.0, told  # what rank 0 made; `make` is not called here

    other = evaluate(problem, "val", collect=lambda part: None, agree=refuse)
    assert other.scalars == first.scalars
    assert other.rows is None
