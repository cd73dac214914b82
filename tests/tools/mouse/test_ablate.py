"""The ablation's table by hand, its runs by name."""

import numpy as np
import pytest
from scipy import stats

from tarpon.tools.mouse import ablate


def test_mean_and_interval_by_hand():
    # 0.2, 0.4, 0.6: mean 0.4, sd 0.2, t(0.975, 2) = 4.3027 -> 4.3027 * 0.2 / sqrt(3) = 0.4968
    assert ablate.half_width(np.array([0.2, 0.4, 0.6])) == pytest.approx(0.4968, abs=1e-4)
    low, high = stats.t.interval(0.95, 2, loc=0.4, scale=stats.sem([0.2, 0.4, 0.6]))
    assert ablate.half_width(np.array([0.2, 0.4, 0.6])) == pytest.approx((high - low) / 2)


def test_a_score_that_a_run_lacks_is_a_dash():
    scores = {"all": [{"a": 0.5, "b": 0.1}, {"a": 0.7, "b": 0.3}], "less": [{"a": 0.5}, {"a": 0.5}]}
    assert ablate.format_markdown(scores, {"a": "A", "b": "B"}) == [
        "| | A | B |",
        "|---|---|---|",
        "| all | 0.600 ± 1.271 | 0.200 ± 1.271 |",
        "| less | 0.500 ± 0.000 | - |",
    ]


def test_every_variant_has_a_folder_of_its_own():
    names = [ablate.slug(name) for name in ablate.MOUSE]
    assert len(set(names)) == len(names)
    assert all(name.replace("_", "").isalnum() for name in names)


def test_the_place_in_the_text_is_found_before_any_training(tmp_path):
    path = tmp_path / "doc.md"
    path.write_text("before\n<!-- ablation -->\nold\n<!-- /ablation -->\nafter\n")
    assert ablate.split_at_marks(path) == ("before\n<!-- ablation -->", "<!-- /ablation -->\nafter\n")
    path.write_text("nothing here\n")
    with pytest.raises(ValueError, match="no lines <!-- ablation -->"):
        ablate.mouse(data="nowhere", into=str(path))
    with pytest.raises(ValueError, match="seeds=1 must be at least 2"):
        ablate.mouse(data="nowhere", seeds=1)
