"""Which grey levels become 0 and 1, by the kinds of contrast."""

from types import SimpleNamespace

import numpy as np
import pytest

from tarpon.pipelines.page.feed import select_levels, warn_of_contrast

COLUMNS = {
    "bits": [16, 16, 8], "low": [100, 200, 3], "high": [900, 1000, 250],
    "first_low": [110, 210, 4], "first_high": [800, 700, 200], "frame_min": [90, 190, 0], "frame_max": [1000, 4095, 255],
}  # fmt: skip


def manifest(card: dict | None = None, **columns) -> SimpleNamespace:
    held = COLUMNS | columns
    return SimpleNamespace(card=card or {}, column=lambda name: np.array(held[name]))


@pytest.mark.parametrize(("contrast", "low", "high"), [
    ("first", [110, 210, 4 * 257], [800, 700, 200 * 257]),
    ("stack", [100, 200, 3 * 257], [900, 1000, 250 * 257]),
    ("frame", [90, 190, 0], [1000, 4095, 65535]),
    ("fixed", [0, 0, 0], [4095, 4095, 65535]),  # 12 bits in numbers of 16, by the card
    ("stored", [0, 0, 0], [65535, 65535, 65535]),
])  # fmt: skip
def test_the_levels_by_hand(contrast, low, high):
    found = select_levels(manifest({"camera_bits": 12}), contrast)
    assert [levels.tolist() for levels in found] == [low, high]


def test_shards_that_do_not_tell_the_camera_s_bits_keep_the_stored_range():
    assert select_levels(manifest(), "fixed")[1].tolist() == [65535, 65535, 65535]


def test_another_contrast_is_refused_and_the_whole_stack_s_warns():
    with pytest.raises(ValueError, match="contrast='auto' must be one of first, stack, frame, fixed, stored"):
        select_levels(manifest(), "auto")
    (line,) = warn_of_contrast("stack")
    assert "no claim about early hours holds" in line
    assert not any(list(warn_of_contrast(name)) for name in ("first", "frame", "fixed"))
