"""The average by hand."""

import pytest
import torch
from torch import nn

from tarpon.train.config import EmaOptions
from tarpon.train.ema import Ema, decay_at


def linear(value: float) -> nn.Linear:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(value)
    return model


def test_decay_rises_to_its_limit():
    assert [decay_at(step, decay=0.5) for step in (1, 2, 6, 7, 8, 1000)] == pytest.approx(
        [2 / 11, 3 / 12, 7 / 16, 8 / 17, 0.5, 0.5]
    )
    assert decay_at(10**6, decay=0.999) == 0.999


def test_two_steps_by_hand():
    model = linear(0.0)
    ema = Ema(model, EmaOptions(enabled=True))
    for step, value in ((1, 11.0), (2, 4.0)):
        with torch.no_grad():
            model.weight.fill_(value)
        ema.update(step)
    # 0 -> 0 * 2/11 + 11 * 9/11 = 9 -> 9 * 3/12 + 4 * 9/12 = 5.25
    assert ema.tensors()["weight"].item() == pytest.approx(5.25)
    with ema.in_model():
        assert model.weight.item() == pytest.approx(5.25)
    assert model.weight.item() == 4.0


def test_the_model_gets_its_own_weights_back_after_an_error():
    model = linear(3.0)
    ema = Ema(model, EmaOptions(enabled=True))
    ema.load({"weight": torch.full((1, 1), 7.0)})
    seen = []

    def failing() -> None:
        with ema.in_model():
            seen.append(model.weight.item())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()
    assert (seen, model.weight.item()) == ([7.0], 3.0)


def test_half_precision_weights_are_averaged_in_float32():
    model = linear(1.0).to(torch.bfloat16)
    ema = Ema(model, EmaOptions(enabled=True))
    with torch.no_grad():
        model.weight.fill_(1.0078125)  # the next bfloat16 after 1
    ema.update(10**6)
    assert ema.tensors()["weight"].item() == pytest.approx(1 + 0.0078125 * 0.001, abs=1e-7)


def test_switched_off_it_holds_and_does_nothing():
    model = linear(2.0)
    ema = Ema(model, EmaOptions())
    ema.update(1)
    with ema.in_model():
        assert model.weight.item() == 2.0
    assert ema.tensors() == {}
    with pytest.raises(ValueError, match=r"resume with the same ema\.enabled"):
        ema.load({"weight": torch.zeros(1, 1)})
