"""Scores of bouts (maximal runs of one label) instead of frames: segmental F1, edit score, onset errors.

After Lea et al. 2017, "Temporal convolutional networks for action segmentation and detection". One sequence at a time:
two trials glued end to end would merge equal labels across the seam.

true and pred are (T,) integer labels; -1 is unlabelled. Frames unlabelled in `true` are blanked in `pred` as well, and a
blank frame ends a bout, in both: a bout seen on either side of a gap, however short, counts as two, since nobody knows what
was in between, and no bout gains length from frames that nobody labelled.
"""

from collections.abc import Collection

import numpy as np

from tarpon.train.metrics.confusion import ratio

ONSET_IOU = 0.1  # bouts that overlap this much are taken for the same event


def find_runs(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maximal runs of equal label, in order; -1 never forms one.

    Returns:
        start, stop: (N,) int64 frames, stop not included; label: (N,) int64.
    """
    labels = np.asarray(labels, np.int64)
    edge = np.flatnonzero(np.diff(labels)) + 1
    start = np.concatenate([[0], edge])[: len(labels)]  # an empty sequence has no first run
    stop = np.concatenate([edge, [len(labels)]])[: len(start)]
    label = labels[start]
    kept = label >= 0
    return start[kept], stop[kept], label[kept]


def blank_unlabelled(true: np.ndarray, pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sequences with pred blanked where true is unlabelled; ValueError unless they are (T,) of one length."""
    true, pred = np.asarray(true), np.asarray(pred)
    if true.ndim != 1 or true.shape != pred.shape:
        raise ValueError(f"true and pred must be (T,) label sequences of one length, got {true.shape} and {pred.shape}")
    return true, np.where(true < 0, -1, pred)


def match_bouts(true: np.ndarray, pred: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair true and predicted bouts of the same class, best overlap first, each bout at most once.

    Pairs are taken in order of descending IoU (ties: the earlier true bout, then the earlier predicted one), so the pairs
    of any IoU threshold are the beginning of this list.

    Returns:
        (M,) int64 index into the runs of true, (M,) int64 index into the runs of pred, (M,) float64 IoU > 0, descending.
    """
    true, pred = blank_unlabelled(true, pred)
    true_id, true_size = _run_ids(true)
    pred_id, pred_size = _run_ids(pred)
    # two intervals share one contiguous piece, so counting frames by pair of run ids gives every overlap in one pass
    agree = (true == pred) & (true >= 0)
    pair, shared = np.unique(true_id[agree] * max(len(pred_size), 1) + pred_id[agree], return_counts=True)
    i, j = np.divmod(pair, max(len(pred_size), 1))
    iou = shared / (true_size[i] + pred_size[j] - shared)
    free_true, free_pred = np.ones(len(true_size), bool), np.ones(len(pred_size), bool)
    taken = []
    for n in np.argsort(-iou, kind="stable"):
        if free_true[i[n]] and free_pred[j[n]]:
            free_true[i[n]] = free_pred[j[n]] = False
            taken.append(n)
    taken = np.array(taken, np.int64)
    return i[taken], j[taken], iou[taken]


def bout_counts(true: np.ndarray, pred: np.ndarray, *, num_classes: int) -> np.ndarray:
    """(2, C) int64 number of bouts of each class: row 0 true, row 1 predicted."""
    return np.stack([np.bincount(find_runs(labels)[2], minlength=num_classes) for labels in blank_unlabelled(true, pred)])


def segment_counts(
    true: np.ndarray, pred: np.ndarray, *, iou: float, num_classes: int, ignore: Collection[int] = ()
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bouts found, invented and missed: (tp, fp, fn), each (C,) int64. Add them up over trials, then segment_f1.

    Args:
        iou: a pair of match_bouts with IoU >= this is a hit; in (0, 1].
        ignore: classes whose bouts are left out of all three counts (rest).
    """
    if not 0 < iou <= 1:
        raise ValueError(f"iou={iou} must be in (0, 1]")
    bouts = bout_counts(true, pred, num_classes=num_classes)
    i, _, overlap = match_bouts(true, pred)
    hits = find_runs(true)[2][i[overlap >= iou]]
    tp = np.bincount(hits, minlength=num_classes)
    counts = np.stack([tp, bouts[1] - tp, bouts[0] - tp])
    counts[:, list(ignore)] = 0
    return counts[0], counts[1], counts[2]


def segment_f1(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> float:
    """F1 of summed counts, all classes together (micro): every bout weighs the same. NaN without any bout."""
    hits = 2 * np.sum(tp)
    return float(ratio(hits, hits + np.sum(fp) + np.sum(fn)))


def edit_score(true: np.ndarray, pred: np.ndarray, *, ignore: Collection[int] = ()) -> float:
    """1 - Levenshtein distance of the two orders of bout labels / the longer one: in 0..1, where Lea et al. print 0..100.

    Asks whether the right bouts come in the right order, whatever their lengths. NaN when neither side has a bout.
    """
    left, right = (find_runs(labels)[2] for labels in blank_unlabelled(true, pred))
    left, right = left[~np.isin(left, list(ignore))], right[~np.isin(right, list(ignore))]
    longer = max(len(left), len(right))
    return float(ratio(longer - _levenshtein(left, right), longer))


def onset_errors(true: np.ndarray, pred: np.ndarray, *, iou: float = ONSET_IOU) -> tuple[np.ndarray, np.ndarray]:
    """How many frames late (positive) or early each found bout starts.

    Only bouts whose true onset was seen count: one that is already running in the first frame, or in the first frame after
    an unlabelled one, began at an unknown time.

    Returns:
        (N,) int64 predicted minus true start in frames, (N,) int64 class, for pairs of match_bouts with IoU >= iou.
    """
    blank_true, blank_pred = blank_unlabelled(true, pred)
    start, _, label = find_runs(blank_true)
    i, j, overlap = match_bouts(true, pred)
    before = np.concatenate([[-1], blank_true])[start]  # label of the frame before each bout
    kept = (overlap >= iou) & (before[i] >= 0)
    i, j = i[kept], j[kept]
    return find_runs(blank_pred)[0][j] - start[i], label[i]


def _run_ids(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T,) index of each frame's run (meaningless on blank frames), (N,) frames of each run."""
    start, stop, _ = find_runs(labels)
    return np.searchsorted(start, np.arange(len(labels)), side="right") - 1, stop - start


def _levenshtein(left: np.ndarray, right: np.ndarray) -> int:
    """Fewest insertions, deletions and substitutions from left to right; one vectorised row a bout of left."""
    column = np.arange(len(right) + 1)
    row = column
    for n, label in enumerate(left, start=1):
        best = np.minimum(row[1:] + 1, row[:-1] + (right != label))
        best = np.concatenate([[n], best])
        row = np.minimum.accumulate(best - column) + column  # an insertion costs 1 a step to the right
    return int(row[-1])
