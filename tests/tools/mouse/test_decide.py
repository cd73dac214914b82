"""`tarpon predict mouse --decide`: labels by a rule that is fitted to the run's validation predictions."""

import shutil

import numpy as np
import pytest

from tarpon.shards.sources.video.recording import Recording
from tarpon.tools import cli
from tarpon.tools.mouse import tagging
from tarpon.tools.mouse.decide import read_rule
from tarpon.train.prediction_files import share_path
from tarpon.train.tasks.mouse.metrics.bouts import merge_short
from tarpon.train.tasks.mouse.metrics.trial import save_trials
from tarpon.train.tasks.mouse.options import MouseOptions

CLASSES = list(MouseOptions().classes)


def save_shares(folder, trials, *, classes=CLASSES, places=2):
    """Validation predictions of as many processes, in place of those that are there."""
    path = folder / "predictions" / "val.npz"
    path.unlink(missing_ok=True)
    for place in range(places):
        own = share_path(path, place=place, places=places)
        save_trials(own, trials[place::places], classes=classes, points=[], of_a_set=places > 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory, checkpoint, noisy_trials):
    """A run folder whose validation predictions are of two processes."""
    folder = tmp_path_factory.mktemp("run")
    checkpoint(folder / "run", pose_input=False, model_type="action_only")
    save_shares(folder / "run", noisy_trials(0))
    return folder / "run"


def predict(run, videos, out, *words):
    return cli.main(["predict", "mouse", "--checkpoint", str(run), "--videos", str(videos), "--out", str(out), *words])


def test_labels_are_the_rules_and_probabilities_the_models(run, one_video, tmp_path, rows_of, capsys):
    source = next(one_video.glob("*.mp4"))
    for name, words in {"plain": [], "viterbi": ["--decide", "viterbi"]}.items():
        assert predict(run, one_video, tmp_path / name, *words) == 0
    assert predict(run, one_video, tmp_path / "both", "--decide", "viterbi", "--min_bout", "30", "--trial_frames", "100") == 0
    (line, again) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("labels by")]
    assert line == again
    assert line.startswith("labels by viterbi: strength")
    plain, smooth, both = (rows_of(tmp_path / n / f"{source.stem}_predictions.csv") for n in ("plain", "viterbi", "both"))
    assert [row[2:] for row in plain] == [row[2:] for row in smooth] == [row[2:] for row in both]
    tagger = tagging.load_tagger(run)
    probs = np.concatenate([part for part, _ in tagging.windows(Recording(source), tagger, None, chunk=360)])
    rule = read_rule(run, "viterbi", classes=CLASSES)
    whole, cut = rule.label(probs), merge_short(rule.label(probs, trial_frames=100), min_bout=30)
    assert [row[1] for row in plain[1:]] == [CLASSES[c] for c in probs.argmax(1)]
    assert [row[1] for row in smooth[1:]] == [CLASSES[c] for c in whole]
    assert [row[1] for row in both[1:]] == [CLASSES[c] for c in cut]
    bouts = rows_of(tmp_path / "viterbi" / f"{source.stem}_bouts.csv")[1:]
    assert [name for _, name, _, _, frames, *_ in bouts for _ in range(int(frames))] == [row[1] for row in smooth[1:]]


def test_the_exported_file_in_its_run_folder_is_enough_and_alone_it_is_not(run, one_video, tmp_path, capsys):
    weights = run / "best_model_multitask.pt"
    (of_file, of_folder) = (read_rule(path, "viterbi", classes=CLASSES) for path in (weights, run))
    assert np.array_equal(of_file.moves, of_folder.moves)
    alone = shutil.copy(weights, tmp_path / "model.pt")
    assert predict(alone, one_video, tmp_path / "out", "--decide", "thresholds") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{alone}: decide=thresholds is fitted to the run's answers in validation" in line
    assert "val.npz is not there; give the run folder" in line
    assert not (tmp_path / "out").exists()


def test_predictions_of_other_classes_are_one_line(run, one_video, tmp_path, capsys, noisy_trials):
    other = shutil.copytree(run, tmp_path / "run")
    for file in (other / "predictions").iterdir():
        file.unlink()
    save_shares(other, noisy_trials(0), classes=["rest", *CLASSES[:0:-1]], places=1)
    assert predict(other, one_video, tmp_path / "out", "--decide", "viterbi") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"its classes are rest, {CLASSES[-1]}" in line
    assert f"the checkpoint's {', '.join(CLASSES)}" in line
    assert not (tmp_path / "out").exists()


def test_a_share_that_is_missing_is_told(run, tmp_path, capsys):
    lacking = shutil.copytree(run, tmp_path / "run")
    next((lacking / "predictions").glob("val-00002*")).unlink()
    with pytest.raises(ValueError, match=r"val-00002-of-00002\.npz: missing"):
        read_rule(lacking, "viterbi", classes=CLASSES)
