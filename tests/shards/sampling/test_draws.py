"""Draws: keyed, not stateful; as likely as asked; windows that never wrap."""

from dataclasses import fields, replace

import numpy as np
import pytest

from tarpon.shards.sampling.draws import NO_AUGMENT, ClipAugment, ClipDraw, draw_clip, index_window_frames

DEFAULT = ClipAugment()


def draw(augment: ClipAugment = DEFAULT, *, seed: int = 1, epoch: int = 0, slot: int = 0) -> ClipDraw:
    return draw_clip(augment, seed=seed, epoch=epoch, slot=slot, frames=40, points=3)


def same(one: ClipDraw, two: ClipDraw, name: str) -> bool:
    return np.array_equal(getattr(one, name), getattr(two, name))


def test_a_key_gives_its_draws_again():
    one, two = draw(slot=7), draw(slot=7)
    assert all(same(one, two, field.name) for field in fields(ClipDraw))


@pytest.mark.parametrize("key", [{"slot": 8}, {"epoch": 1, "slot": 7}, {"seed": 2, "slot": 7}])
def test_another_key_gives_others(key):
    one, two = draw(slot=7), draw(**key)
    assert one.window != two.window
    assert not np.isin(one.jitter.ravel(), two.jitter.ravel()).any()


def test_chances_are_near_those_asked():
    augment = ClipAugment(flip_p=0.25)
    draws = [draw(augment, slot=slot) for slot in range(4000)]
    near = {"abs": 4 * np.sqrt(0.25 / 4000)}
    assert np.mean([d.brightness != 1 for d in draws]) == pytest.approx(0.5, **near)
    assert np.mean([d.contrast != 1 for d in draws]) == pytest.approx(0.5, **near)
    assert np.mean([d.dropped.any() for d in draws]) == pytest.approx(0.3, **near)
    assert np.mean([d.noise is not None for d in draws]) == pytest.approx(0.3, **near)
    assert np.mean([d.flip for d in draws]) == pytest.approx(0.25, **near)
    rolls = np.array([d.roll for d in draws])
    assert np.mean(rolls != 0) == pytest.approx(0.2 * 10 / 11, **near)
    assert set(rolls) == set(range(-5, 6))
    assert all(d.dropped.sum() in (0, 4) and not d.dropped[0] for d in draws)
    assert all(0.8 <= d.brightness <= 1.2 and 0.8 <= d.contrast <= 1.2 for d in draws)
    assert np.std([d.jitter for d in draws[:200]]) == pytest.approx(0.02, rel=0.02)
    counts = np.histogram([d.window for d in draws], bins=10, range=(0, 1))[0]
    assert (np.abs(counts - 400) < 100).all()


def test_independent_of_each_other():
    draws = [draw(slot=slot) for slot in range(4000)]
    facts = np.array(
        [[d.brightness != 1, d.contrast != 1, d.dropped.any(), d.noise is not None, d.roll != 0, d.window] for d in draws],
        float,
    )
    assert np.abs(np.corrcoef(facts.T) - np.eye(6)).max() < 0.07


def test_switching_one_off_leaves_the_rest():
    for slot in range(50):
        full, less = draw(slot=slot), draw(replace(ClipAugment(), brightness_p=0, roll_p=0, noise_p=0, drop_p=0), slot=slot)
        assert less.brightness == 1
        assert less.roll == 0
        assert same(full, less, "window")
        assert same(full, less, "contrast")
        assert same(full, less, "jitter")


def test_none_changes_nothing():
    for slot in range(50):
        d = draw(NO_AUGMENT, slot=slot)
        assert (d.brightness, d.contrast, d.noise, d.roll, d.flip) == (1, 1, None, 0, False)
        assert not d.dropped.any()
        assert not d.jitter.any()


@pytest.mark.parametrize("wrong", [{"flip_p": 1.5}, {"roll": -1}, {"brightness": 1.0}, {"noise_sd": -0.1}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=f"augment.{next(iter(wrong))}|below 1"):
        ClipAugment(**wrong)


def test_a_plain_window():
    index, pixels, valid = index_window_frames(trial=10, start=3, frames=4, roll=0)
    np.testing.assert_array_equal(index, [3, 4, 5, 6])
    np.testing.assert_array_equal(pixels, index)
    assert valid.all()
    assert pixels.dtype == np.int32


def test_a_roll_masks_and_does_not_wrap():
    index, pixels, valid = index_window_frames(trial=10, start=0, frames=5, roll=-2)
    np.testing.assert_array_equal(index, [0, 0, 0, 1, 2])
    np.testing.assert_array_equal(valid, [False, False, True, True, True])
    np.testing.assert_array_equal(pixels, index)
    index, _, valid = index_window_frames(trial=10, start=6, frames=5, roll=1)
    np.testing.assert_array_equal(index, [7, 8, 9, 9, 9])
    np.testing.assert_array_equal(valid, [True, True, True, False, False])


def test_a_dropped_frame_repeats_the_one_before():
    dropped = np.array([False, True, True, False, True])
    index, pixels, valid = index_window_frames(trial=20, start=4, frames=5, roll=1, dropped=dropped)
    np.testing.assert_array_equal(index, [5, 6, 7, 8, 9])  # labels and points stay those of their own time
    np.testing.assert_array_equal(pixels, [5, 5, 5, 8, 8])
    assert valid.all()


def test_a_window_longer_than_the_trial_is_padded():
    index, _, valid = index_window_frames(trial=3, start=0, frames=5, roll=0)
    np.testing.assert_array_equal(index, [0, 1, 2, 2, 2])
    np.testing.assert_array_equal(valid, [True, True, True, False, False])
