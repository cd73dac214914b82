"""A training for another tool: not done twice, and it says why it failed."""

import json

import pytest

from tarpon.tools.trainings import train_and_score


def test_a_finished_run_is_not_trained_again(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"test": {"macro_f1": 0.25}}))
    assert train_and_score("mouse", tmp_path, ["--data=nowhere"]) == {"macro_f1": 0.25}


@pytest.mark.slow
def test_a_training_that_fails_says_why(tmp_path):
    with pytest.raises(ValueError, match=r"left with status 2: .*nowhere: no manifest.parquet here"):
        train_and_score("mouse", tmp_path / "run", ["--data=nowhere"])
