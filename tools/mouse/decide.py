"""The rule that `tarpon predict mouse --decide` labels frames by, fitted to what the run answered in validation."""

from collections.abc import Sequence
from pathlib import Path

from tarpon.train.prediction_files import list_shares
from tarpon.train.tasks.mouse.decision.rule import Rule, fit_rule
from tarpon.train.tasks.mouse.metrics.trial import load_trials


def read_rule(checkpoint: Path, name: str, *, classes: Sequence[str]) -> Rule:
    """The rule of a run.

    Args:
        checkpoint: run folder, or the exported checkpoint in it.
        classes: the checkpoint's, in order.

    Raises:
        ValueError: there are no validation predictions beside the checkpoint, or of other classes.
    """
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    path = folder / "predictions" / "val.npz"
    if not list_shares(path):
        raise ValueError(
            f"{checkpoint}: decide={name} is fitted to the run's answers in validation, and {path} is not there; give the run "
            "folder that training wrote, or leave --decide out"
        )
    trials, named, _ = load_trials(path)
    if list(named) != list(classes):
        raise ValueError(
            f"{path}: its classes are {', '.join(named)} and the checkpoint's {', '.join(classes)}; they are of two runs: give "
            "the folder that training wrote both into, or leave --decide out"
        )
    return fit_rule(name, trials, classes=classes)
