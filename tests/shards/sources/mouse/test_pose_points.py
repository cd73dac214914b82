"""Names of points: aliases both ways, nothing by a part of the text; and body length by hand."""

import numpy as np
import pytest

from tarpon.shards.sources.mouse.pose_points import MOUSE_POINTS, body_length, find_point


@pytest.mark.parametrize(
    ("asked", "held"),
    [
        ("nose", "mouth"),
        ("mouth", "snout"),
        ("R_frontpaw", "right_front_paw"),
        ("left_hind_paw", "L_hindpaw"),
        ("tail_base", "TailBase"),
        ("Mouth", "mouth"),
    ],
)
def test_aliases_work_both_ways(asked, held):
    assert find_point(asked, ["other", held]) == held
    assert find_point(held, ["other", asked]) == asked


def test_the_exact_name_wins_and_two_aliases_are_a_question():
    assert find_point("mouth", ["nose", "mouth", "snout"]) == "mouth"
    with pytest.raises(ValueError, match="nose, snout all mean mouth"):
        find_point("mouth", ["nose", "snout"])


@pytest.mark.parametrize("held", ["tail_tip", "tail", "mouth1", "L_frontpaw_tip", "paw"])
def test_a_part_of_a_name_is_not_the_name(held):
    assert all(find_point(asked, [held]) is None for asked in MOUSE_POINTS)


def test_body_length_by_hand():
    xyl = np.zeros((5, 3, 3), np.float32)
    xyl[:, 1, 0], xyl[:, 2, 1], xyl[..., 2] = 3, 4, 1  # a right triangle of sides 3, 4, 5
    assert body_length(xyl) == pytest.approx(5)
    xyl[4, 2, :2] = 1000  # one jump of five frames
    assert body_length(xyl) == pytest.approx(5)
    xyl[:, 2, 2] = 0.1  # unseen: the pair at distance 3 is left
    assert body_length(xyl) == pytest.approx(3)
    xyl[..., 2] = 0
    assert np.isnan(body_length(xyl))
