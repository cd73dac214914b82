"""training_summary.txt: a cells run in words and numbers."""

import math
from collections.abc import Mapping, Sequence

from tarpon.train.tasks.cells.metrics.control import AFTER, BEFORE, describe_control, is_near_guess
from tarpon.train.tasks.cells.metrics.predictions import CONDITIONS
from tarpon.train.tasks.cells.metrics.windows import GOOD_AUC, WINDOW_H

AUC_VERDICTS = ((0.95, "excellent"), (0.90, "good"), (0.80, "moderate"))  # at least; as published
MAE_VERDICTS = ((1.0, "excellent"), (2.0, "good"), (5.0, "moderate"))  # hours, below
OVERFIT = 1.5  # final validation loss over final training loss
KNOWS_LATER = (  # of contrast: stack
    "Grey levels were scaled by the whole stack (contrast stack), so an early page is darker or brighter by what happens "
    "later: do not read early hours off this run. Train with contrast=first for that."
)
CLOCK_TELLS = 0.05  # distance of the clock's own AUC from 0.5 that is worth a word


def summary(
    scores: Mapping[str, Mapping[str, float]],
    lines: Sequence[Mapping[str, float]],
    *,
    title: str,
    best_step: int | None,
    shown: str,
    confounded: Sequence[str],
    drawn: Mapping[str, str],
    contrast: str | None,
) -> str:
    """The whole text.

    Args:
        scores: split -> scalars.
        lines: of metrics.jsonl.
        shown: the split that the verdicts are about.
        confounded: classes whose stacks all come from one well.
        drawn: split -> what its intervals are over.
        contrast: how grey levels were scaled; None: not known.
    """
    own = scores[shown]
    parts = [f"Run {title}", ""]
    parts += [f"Best step {best_step}, chosen by the combined score on validation"] if best_step is not None else []
    parts += [f"All numbers are of these best weights; verdicts are about {shown}.", ""]
    parts += _table(scores)
    parts += [f"In brackets: 95% interval over {' and '.join(f'{words} ({split})' for split, words in drawn.items())}"]
    parts += ["", f"Control  {describe_control(own)}"]
    parts += [f"Classes  AUC {_number(own, 'auc', 4)}: {judge_auc(own)}"]
    parts += [
        f"Hours    MAE {_number(own, 'mae', 2)} h: {judge_error(own)}; always telling the training median gives "
        f"{_number(own, 'constant_mae', 2)} h"
    ]
    if "auc_95_from_h" in own:
        parts.append(
            f"From hour {own['auc_95_from_h']:g} of the clock on (middle of windows of {WINDOW_H:g} h), AUC is at least "
            f"{GOOD_AUC:g} in every window"
        )
    elif "auc" in own:
        parts.append(f"AUC does not reach {GOOD_AUC:g} for good within the hours filmed")
    parts += [f"Grey levels were scaled with contrast {contrast}"] if contrast else []
    notes = _notes(own, lines, confounded) + ([KNOWS_LATER] if contrast == "stack" else [])
    return "\n".join(parts + (["", "Notes"] if notes else []) + [f"- {note}" for note in notes]) + "\n"


def judge_auc(own: Mapping[str, float]) -> str:
    """The published word for the AUC, kept back where the control does not show that it is the infection's."""
    if "auc" not in own or is_near_guess(own):
        return verdict(own.get("auc"), AUC_VERDICTS, rising=True)
    why = "the AUC before the onset is not near 0.5" if BEFORE in own else "there is no AUC before the onset to hold it against"
    return f"not judged, as {why}"


def judge_error(own: Mapping[str, float]) -> str:
    """The published word for the error, kept back where a constant answer has no greater one."""
    if "mae" in own and own["mae"] >= own.get("constant_mae", math.inf):
        return "no better than a constant answer"
    return verdict(own.get("mae"), MAE_VERDICTS, rising=False)


def verdict(value: float | None, steps: Sequence[tuple[float, str]], *, rising: bool) -> str:
    """The published word for an AUC (rising: at least the limit) or an error (below it)."""
    if value is None or math.isnan(value):
        return "undefined"
    return next((word for limit, word in steps if (value >= limit if rising else value < limit)), "poor")


def _table(scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    rows = [
        ("pages", "rows", 0),
        ("stacks", "stacks", 0),
        ("wells", "wells", 0),
        ("AUC", "auc", 4),
        ("AUC before the onset", BEFORE, 4),
        ("AUC from the onset on", AFTER, 4),
        ("AUC, same hour only", "auc_time_matched", 4),
        ("AUC of the clock alone", "auc_clock", 4),
        ("accuracy", "accuracy", 4),
        ("balanced accuracy", "balanced_accuracy", 4),
        ("precision", "precision", 4),
        ("recall", "recall", 4),
        ("F1", "f1", 4),
        ("calibration error", "ece", 4),
        ("MAE, h", "mae", 3),
        *((f"MAE {name}, h", f"mae_{name}", 3) for name in CONDITIONS),
        ("RMSE, h", "rmse", 3),
        ("MAE of a constant, h", "constant_mae", 3),
        ("stacks right", "acc_stack", 4),
        ("combined", "combined", 4),
    ]
    head = f"{'':24}" + "".join(f"{split:>26}" for split in scores)
    return [head] + [f"{word:24}" + "".join(f"{_ranged(own, key, n):>26}" for own in scores.values()) for word, key, n in rows]


def _notes(own: Mapping[str, float], lines: Sequence[Mapping[str, float]], confounded: Sequence[str]) -> list[str]:
    notes = []
    if confounded:
        notes.append(
            f"All {' and all '.join(confounded)} stacks come from one well: what sets that well apart (background, light, "
            f"density) may pass for the class. The scores hold within these wells only."
        )
    clock = own.get("auc_clock", 0.5)
    if abs(clock - 0.5) > CLOCK_TELLS:
        notes.append(
            f"The hour of the clock alone gives an AUC of {clock:.3f}: the classes were not filmed at the same hours. "
            f"Look at the AUC of the same hour, or set match_windows."
        )
    trained, held = _last(lines, "loss"), _last(lines, "val/loss")
    if trained is not None and held is not None and held > OVERFIT * trained:
        notes.append(
            f"Final validation loss {held:.3f} is over {OVERFIT:g} times the training loss {trained:.3f}: overfitting."
        )
    return notes


def _last(lines: Sequence[Mapping[str, float]], name: str) -> float | None:
    return next((line[name] for line in reversed(lines) if line.get(name) is not None), None)


def _number(own: Mapping[str, float], key: str, digits: int) -> str:
    return f"{own[key]:.{digits}f}" if key in own else "undefined"


def _ranged(own: Mapping[str, float], key: str, digits: int) -> str:
    if f"{key}_low" not in own:
        return _number(own, key, digits) if key in own else "-"
    return f"{own[key]:.{digits}f} [{own[f'{key}_low']:.{digits}f}, {own[f'{key}_high']:.{digits}f}]"
