"""The mean of several models' answers: by hand, and only over rows and labels that are the same."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tarpon.tools.cells.ensemble import AVERAGING as CELLS
from tarpon.tools.ensemble import Averaging, Ensemble, average, join_vectors, mean_class_scores, mean_flag_scores, mean_values
from tarpon.tools.mouse.ensemble import AVERAGING as MOUSE
from tarpon.tools.task import load
from tarpon.tools.tasks import TOOLS
from tarpon.train.task import Problem
from tarpon.train.tasks import TASKS


class Fixed(nn.Module):
    """Answers what it was made with."""

    def __init__(self, **answers):
        super().__init__()
        self.answers = answers

    def forward(self, x):
        return {name: value.expand(len(x), *value.shape) for name, value in self.answers.items()}


def problem(model, *, row=(0, 1), label=(0.0, 1.0), encoders=None, inputs=("x",), more=()) -> Problem:
    batch = {"x": torch.rand(len(row), 3), "row": torch.tensor(row), "label": torch.tensor(label)}
    unused = dict.fromkeys(("loss", "metric", "count", "export", "freeze"))
    return Problem(
        model=model,
        inputs=inputs,
        groups={},
        data=SimpleNamespace(steps_per_epoch=1, split=lambda name: iter([batch, *more]), wait_s=0.0),
        splits=("val",),
        select="",
        unit="",
        fingerprint="",
        summary_lines=(),
        encoders=encoders or {},
        **unused,
    )


def test_probabilities_are_averaged_and_not_the_scores_before_them():
    probs = torch.tensor([[[0.9, 0.1]], [[0.2, 0.8]]])
    assert mean_class_scores(probs.log() + 3.0).softmax(-1).tolist() == [pytest.approx([0.55, 0.45])]
    yes = torch.tensor([[0.9, 0.5], [0.2, 0.5]])
    assert mean_flag_scores(torch.logit(yes)).sigmoid().tolist() == pytest.approx([0.55, 0.5])
    assert mean_values(torch.tensor([[1.0], [4.0]])).tolist() == [2.5]


def test_sure_models_stay_finite():
    scores = torch.tensor([[[200.0, -200.0]], [[-200.0, 200.0]]])
    assert mean_class_scores(scores).softmax(-1).tolist() == [pytest.approx([0.5, 0.5])]
    assert torch.isfinite(mean_flag_scores(torch.tensor([[500.0], [500.0]]))).all()


def test_one_member_answers_as_it_would_alone():
    scores = torch.randn(1, 5, 7)
    torch.testing.assert_close(mean_class_scores(scores).softmax(-1), scores[0].softmax(-1))
    torch.testing.assert_close(mean_flag_scores(scores), scores[0])


def test_outputs_that_one_lacks_or_that_have_no_mean_are_left_out():
    one = Fixed(label=torch.zeros(2), hours=torch.tensor(1.0), gates=torch.zeros(3))
    other = Fixed(label=torch.zeros(2), gates=torch.zeros(3))
    x = torch.zeros(4, 1)
    assert Ensemble([one, other], CELLS.means)([{"x": x}, {"x": x}]).keys() == {"label"}


def test_members_get_their_own_input_and_the_first_ones_labels_are_scored():
    one, other = Fixed(hours=torch.tensor(1.0)), Fixed(hours=torch.tensor(4.0))
    both = average([problem(one), problem(other)], CELLS)
    (batch,) = both.data.split("val")
    assert not torch.equal(batch["members"][0]["x"], batch["members"][1]["x"])
    assert batch["row"].tolist() == [0, 1]
    assert both.model(**{name: batch[name] for name in both.inputs})["hours"].tolist() == [2.5, 2.5]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"row": (0, 2)}, "same rows"),
        ({"row": (0,), "label": (0.0,)}, "same rows"),
        ({"label": (0.0, 2.0)}, r"different labels \(label\)"),
        ({"label": (0.0, float("nan"))}, r"different labels \(label\)"),
        ({"more": ({"row": torch.tensor([5])},)}, "same rows"),
    ],
)
def test_other_rows_or_labels_are_refused(change, part):
    model = Fixed(hours=torch.tensor(1.0))
    for pair in ([problem(model), problem(model, **change)], [problem(model, **change), problem(model)]):
        with pytest.raises(ValueError, match=part):
            list(average(pair, CELLS).data.split("val"))


def test_a_mask_is_compared_where_it_tells_what_is_scored_and_only_there():
    """Two inputs of unlike width, as windows of one page and of three."""
    model = Fixed(hours=torch.tensor(1.0))

    def seeing(width: int) -> Problem:
        batch = {"x": torch.rand(2, 3), "row": torch.tensor([0, 1]), "valid": torch.ones(2, width, dtype=torch.bool)}
        return replace(problem(model, inputs=("x", "valid")), data=SimpleNamespace(split=lambda name: iter([batch])))

    pair = [seeing(1), seeing(3)]
    (batch,) = average(pair, CELLS).data.split("val")
    assert [own["valid"].shape[1] for own in batch["members"]] == [1, 3]
    with pytest.raises(ValueError, match=r"different labels \(valid\)"):
        list(average(pair, MOUSE).data.split("val"))


def test_labels_that_differ_by_rounding_or_are_missing_in_both_are_the_same():
    model, nan = Fixed(hours=torch.tensor(1.0)), float("nan")
    pair = [problem(model, label=(0.5, nan)), problem(model, label=(0.5 + 1e-6, nan))]
    assert len(list(average(pair, CELLS).data.split("val"))) == 1


def test_other_classes_are_refused():
    model = Fixed(hours=torch.tensor(1.0))
    with pytest.raises(ValueError, match="different families"):
        average(
            [problem(model, encoders={"families": ["a"]}), problem(model, encoders={"families": ["b"]})], Averaging(means={})
        )


def test_cosines_of_joined_vectors_are_the_mean_of_the_cosines():
    units = F.normalize(torch.randn(3, 5, 8, dtype=torch.float64), dim=-1)
    joined = join_vectors(units)
    assert torch.allclose(joined.norm(dim=-1), torch.ones(5, dtype=torch.float64))
    assert torch.allclose(joined @ joined.T, (units @ units.transpose(1, 2)).mean(0))


def test_every_task_has_its_means():
    assert TOOLS.keys() == TASKS.keys()
    assert all(len(load(tools.ensemble).means) > 1 for tools in TOOLS.values())
