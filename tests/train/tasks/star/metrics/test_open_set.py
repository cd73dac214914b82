"""The new-animal decision: rates counted by hand, areas as pairs, a probability that means what it says."""

import numpy as np
import pytest
import torch

from tarpon.train.tasks.star.metrics.open_set import Novelty, fit_logistic, fit_novelty_rule, fit_threshold, open_set_scores
from tarpon.train.tasks.star.metrics.retrieval import Retrieval, search


def test_rates_by_hand():
    new = np.arange(100) / 100  # 0 to 0.99
    known = np.array([0.985, 0.955, 0.935, 0.895, 0.505])
    scores = open_set_scores(known, new)
    # 1 of 100 new ones lies at or above 0.99, 5 at or above 0.95, 10 at or above 0.90
    assert scores["open_tpr_at_fpr_1"] == pytest.approx(1 / 5)
    assert scores["open_tpr_at_fpr_5"] == pytest.approx(2 / 5)
    assert scores["open_tpr_at_fpr_10"] == pytest.approx(4 / 5)
    assert scores["open_auroc"] == pytest.approx((known[:, None] > new).mean())
    assert set(scores) == {"open_auroc", "open_tpr_at_fpr_1", "open_tpr_at_fpr_5", "open_tpr_at_fpr_10"}


def test_perfect_blind_and_nothing():
    assert open_set_scores(np.array([0.9, 0.8]), np.array([0.1, 0.2])) == {
        "open_auroc": 1.0,
        "open_tpr_at_fpr_1": 1.0,
        "open_tpr_at_fpr_5": 1.0,
        "open_tpr_at_fpr_10": 1.0,
    }
    same = open_set_scores(np.full(7, 0.5), np.full(9, 0.5))
    assert same["open_auroc"] == 0.5
    assert same["open_tpr_at_fpr_10"] == 0.0
    assert open_set_scores(np.empty(0), np.ones(3)) == open_set_scores(np.ones(3), np.empty(0)) == {}


@pytest.mark.parametrize("fpr", [0.0, 0.01, 0.05, 0.1, 0.35, 0.999])
def test_threshold_is_the_lowest_that_keeps_the_rate(fpr):
    rng = np.random.default_rng(0)
    for new in (rng.random(200), rng.integers(0, 12, 200) / 12, np.ones(3), np.array([0.2])):
        at = fit_threshold(new, fpr=fpr)
        assert (new >= at).mean() <= fpr + 1e-12
        lower = new[new < at].max()
        assert (new >= lower).mean() > fpr
    assert fit_threshold(np.arange(10) / 10, fpr=0.1) == pytest.approx(0.8)
    with pytest.raises(ValueError, match="fpr=1"):
        fit_threshold(np.ones(2), fpr=1.0)


def found() -> Retrieval:
    made = torch.Generator().manual_seed(0)
    labels = np.append(np.arange(400) % 40, np.full(9, 99))  # the last nine have no match
    centre = torch.randn(100, 24, generator=made)
    queries, gallery = (centre[own] + 0.8 * torch.randn(len(own), 24, generator=made) for own in (labels, labels[:400]))
    return search(queries, gallery, query_labels=labels, gallery_labels=labels[:400])


def test_own_identity_taken_out_is_a_search_in_a_gallery_without_it():
    made = torch.Generator().manual_seed(1)
    queries, gallery, labels = torch.randn(30, 6, generator=made), torch.randn(50, 6, generator=made), np.arange(50) % 7
    whole = search(queries, gallery, query_labels=labels[:30], gallery_labels=labels)
    for label in range(7):
        own, rest = labels[:30] == label, labels != label
        without = search(queries[own], gallery[rest], query_labels=labels[:30][own], gallery_labels=labels[rest])
        np.testing.assert_allclose(whole.best_other[own], without.best, atol=1e-6)


def test_calibration_keeps_its_promise_on_what_it_learnt_from():
    retrieval = found()
    novelty = fit_novelty_rule(retrieval, fpr=0.1)
    valid = retrieval.valid
    assert (~novelty.is_new(retrieval.best_other[valid])).mean() <= 0.1
    assert novelty.is_new(retrieval.best[valid]).mean() < 0.2  # and most known animals are known
    assert novelty.slope < 0
    told = novelty.probability(np.concatenate([retrieval.best[valid], retrieval.best_other[valid]]))
    truth = np.repeat([0, 1], valid.sum())
    assert told.mean() == pytest.approx(0.5, abs=0.01)  # a fitted intercept makes the means equal
    assert told[truth == 1].mean() > 0.8
    for low in (0.0, 0.5):
        at = (told >= low) & (told < low + 0.5)
        assert told[at].mean() == pytest.approx(truth[at].mean(), abs=0.08)


def test_logistic_finds_the_curve_that_made_the_data_and_stays_finite():
    rng = np.random.default_rng(0)
    known, new = rng.normal(0.7, 0.1, 40_000), rng.normal(0.4, 0.1, 40_000)
    slope, intercept = fit_logistic(known, new)  # of two normals of one spread: slope (0.4 - 0.7) / 0.01, 0 at the middle
    assert slope == pytest.approx(-30, rel=0.03)
    assert -intercept / slope == pytest.approx(0.55, abs=0.003)
    apart = fit_logistic(np.array([0.9, 0.8]), np.array([0.1, 0.2, 0.15]))
    assert np.isfinite(apart).all()
    novelty = Novelty(threshold=0.5, false_positive_rate=0.05, slope=apart[0], intercept=apart[1])
    assert novelty.probability(0.1) > 0.7
    assert novelty.probability(0.9) < 0.3
    assert fit_logistic(np.ones(4), np.ones(3))[0] == pytest.approx(0, abs=1e-6)  # nothing to tell them apart by


def test_nothing_to_learn_from_is_refused():
    retrieval = found()
    with pytest.raises(ValueError, match="no query has a match"):
        fit_novelty_rule(retrieval.take(~retrieval.valid))


def test_the_threshold_keeps_its_rate_on_animals_that_are_in_no_split():
    """Learnt with the known animals' own photographs taken out, then asked about 600 photographs of 150 animals never seen."""
    made = torch.Generator().manual_seed(3)
    centre = torch.randn(350, 16, generator=made)

    def photographs(animals: np.ndarray) -> torch.Tensor:
        return centre[animals] + 0.4 * torch.randn(len(animals), 16, generator=made)

    known, new = np.arange(200).repeat(4), np.arange(200, 350).repeat(4)
    gallery, validation, test = (photographs(known) for _ in range(3))
    named = {"gallery_labels": known}
    novelty = fit_novelty_rule(search(validation, gallery, query_labels=known, **named), fpr=0.05)
    strangers = search(photographs(new), gallery, query_labels=new, **named)
    assert not strangers.valid.any()
    # 600 draws at 5%: 2 standard deviations are 1.8%; animals, of which there are four photographs each, widen it
    assert 0.02 <= (~novelty.is_new(strangers.best)).mean() <= 0.08
    again = search(test, gallery, query_labels=known, **named)
    assert novelty.is_new(again.best).mean() < 0.1  # and animals of the gallery are known on another day
