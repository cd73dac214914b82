"""All scores of a split's families, orders, habitats and trophic levels, over the whole split at once.

A mean of batch scores is another number: F1 is no mean over rows, and the last batch is short.
N rows, F families, L habitats, K tasks, E experts, G groups, R resamples.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics import roc_auc_score

from tarpon.train.metrics.bootstrap import percentile_interval, resample_groups
from tarpon.train.metrics.confusion import ratio
from tarpon.train.metrics.names import score_keys
from tarpon.train.tasks.fish.metrics.counts import TAXA, AttributeCounts, CountedRows, average_gates, count_rows
from tarpon.train.tasks.fish.metrics.predictions import AttributeRows

THRESHOLD = 0.5  # of a habitat's probability: a yes from here on
SHARES = {"acc_family": 1.0, "acc_order": 0.5, "f1_habitat": 0.5, "mae_troph": -0.1}  # of the composite, as published


def score(rows: AttributeRows, *, resamples: int = 1000, seed: int = 0) -> dict[str, float]:
    """Score a split. Undefined scores (nothing known, a class that is always or never there) are left out, never NaN.

    Keys: rows, rows_habitat, rows_troph (known); acc_family, acc5_family, acc_order, acc_feeding; balanced_acc_family and
    balanced_acc_order (mean recall of the classes that occur); acc_family_common, _medium, _rare, _unseen (in no training row)
    and rows_family_ and balanced_acc_family_ of each;
    balanced_acc_family_trained (of families with training rows); consistency (the predicted order is that of the predicted
    family); f1_habitat and auroc_habitat
    (means over labels), each also with _<label>, exact_habitat (all labels right); mae_troph, rmse_troph; gate_<task>_<expert>
    (mean weight) and gate_entropy_<task> (mean, nats); composite = acc_family + 0.5 acc_order + 0.5 f1_habitat - 0.1 mae_troph,
    of those defined. acc_family, acc_order, f1_habitat, mae_troph and composite also with _low and _high: 95% over groups.

    Args:
        resamples: of the bootstrap; 0: no intervals.
        seed: of the bootstrap.
    """
    return score_counted(count_rows(rows), resamples=resamples, seed=seed)


def score_counted(rows: CountedRows, *, resamples: int = 1000, seed: int = 0) -> dict[str, float]:
    """`score` of rows that were counted, perhaps by several processes."""
    out = {"rows": float(len(rows))}
    out |= _taxon_scores(rows)
    out |= _habitat_scores(rows)
    out |= _troph_scores(rows)
    out |= _gate_scores(rows.counts, tasks=rows.names.tasks)
    out["composite"] = combine_scores(out)
    if resamples:
        out |= _intervals(rows, resamples=resamples, seed=seed)
    return {key: float(value) for key, value in out.items() if math.isfinite(value)}


def combine_scores(scores: Mapping[str, float]) -> float:
    """The selection score, of those of its parts that are defined; NaN without any."""
    parts = [share * scores[name] for name, share in SHARES.items() if math.isfinite(scores.get(name, math.nan))]
    return sum(parts) if parts else math.nan


def mean_recall(hits: np.ndarray, support: np.ndarray) -> float:
    """Mean over the classes that occur of the share of their rows that is right; NaN without any. Both (C,)."""
    return ratio(np.nansum(ratio(hits, support)), (support > 0).sum())


def count_habitats(rows: AttributeRows | CountedRows) -> np.ndarray:
    """(N, L, 3) bool: both yes, true yes, predicted yes; all False where unknown."""
    known = (rows.habitat >= 0).all(1)[:, None]
    true, said = known & (rows.habitat == 1), known & (rows.habitat_prob >= THRESHOLD)
    return np.stack([true & said, true, said], -1)


def label_f1(counts: np.ndarray) -> np.ndarray:
    """(..., L, 3) sums of habitat_counts -> (..., L) F1; NaN for a label without a true yes."""
    hits, true, said = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    return np.where(true > 0, ratio(2 * hits, true + said), np.nan)


def mean_f1(counts: np.ndarray) -> np.ndarray:
    """(..., L, 3) sums of habitat_counts -> (...) mean F1 over the labels that have a true yes."""
    f1 = label_f1(counts)
    return ratio(np.nansum(f1, -1), np.isfinite(f1).sum(-1))


def _taxon_scores(rows: CountedRows) -> dict[str, float]:
    out, counts = {}, rows.counts
    for taxon in TAXA:
        support, hits = getattr(counts, taxon)
        out[f"acc_{taxon}"] = ratio(hits.sum(), support.sum())
        out[f"balanced_acc_{taxon}"] = mean_recall(hits, support)
    support, hits = counts.family
    trained = rows.names.train_images > 0
    out["balanced_acc_family_trained"] = mean_recall(hits[trained], support[trained])
    for name, members in rows.names.buckets().items():
        out[f"acc_family_{name}"] = ratio(hits[members].sum(), support[members].sum())
        out[f"balanced_acc_family_{name}"] = mean_recall(hits[members], support[members])
        out[f"rows_family_{name}"] = support[members].sum()
    out["acc5_family"] = ratio(counts.near, support.sum())
    told, agreeing = counts.consistent
    out["consistency"] = ratio(agreeing, told)
    if counts.feeding is not None:
        known, right = counts.feeding
        out["acc_feeding"] = ratio(right, known)
    return out


def _habitat_scores(rows: CountedRows) -> dict[str, float]:
    known = (rows.habitat >= 0).all(1)
    truth, prob = rows.habitat[known], rows.habitat_prob[known]
    f1 = label_f1(count_habitats(rows).sum(0))
    both = (truth == 1).any(0) & (truth == 0).any(0)  # one class alone has no area under a curve
    auroc = np.array([roc_auc_score(truth[:, i], prob[:, i]) if both[i] else np.nan for i in range(truth.shape[1])])
    out = {
        "rows_habitat": known.sum(),
        "exact_habitat": ratio(((prob >= THRESHOLD) == (truth == 1)).all(1).sum(), known.sum()),
    }
    for name, values in (("f1", f1), ("auroc", auroc)):
        out[f"{name}_habitat"] = ratio(np.nansum(values), np.isfinite(values).sum())
        labels = score_keys(rows.names.habitats)
        out |= {f"{name}_habitat_{label}": value for label, value in zip(labels, values, strict=True)}
    return out


def _troph_scores(rows: CountedRows) -> dict[str, float]:
    known = np.isfinite(rows.troph)
    error = (rows.troph_pred - rows.troph)[known].astype(np.float64)
    return {
        "rows_troph": known.sum(),
        "mae_troph": ratio(np.abs(error).sum(), known.sum()),
        "rmse_troph": np.sqrt(ratio(np.square(error).sum(), known.sum())),
    }


def _gate_scores(counts: AttributeCounts, *, tasks: Sequence[str]) -> dict[str, float]:
    if counts.gates is None:
        return {}
    out = {}
    for task, weights, entropy in zip(score_keys(tasks), *average_gates(counts), strict=True):
        out |= {f"gate_{task}_{e}": weight for e, weight in enumerate(weights)}
        out[f"gate_entropy_{task}"] = entropy
    return out


def _intervals(rows: CountedRows, *, resamples: int, seed: int) -> dict[str, float]:
    _, group = np.unique(rows.group, return_inverse=True)
    known = np.isfinite(rows.troph)
    error = np.abs(np.where(known, rows.troph_pred - rows.troph, 0.0))
    habitats = count_habitats(rows).reshape(len(rows), -1)
    columns = [*rows.taxa.T, known, error, *habitats.T]
    counts = np.stack([np.bincount(group, weights=column) for column in columns], 1)  # (G, 6 + L*3)

    sums = resample_groups(counts, resamples=resamples, seed=seed)  # one draw for all scores
    if sums is None:
        return {}
    values = {
        "acc_family": ratio(sums[:, 1], sums[:, 0]),
        "acc_order": ratio(sums[:, 3], sums[:, 2]),
        "mae_troph": ratio(sums[:, 5], sums[:, 4]),
        "f1_habitat": mean_f1(sums[:, 6:].reshape(len(sums), -1, 3)),
    }
    values["composite"] = sum(share * np.nan_to_num(values[part]) for part, share in SHARES.items())
    ends = {name: percentile_interval(own) for name, own in values.items()}
    return {f"{name}_{end}": value for name, own in ends.items() for end, value in zip(("low", "high"), own, strict=True)}
