"""Who is asked among whom, who trains, and that no flank is turned into the other one."""

import json
import shutil
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from tarpon.shards.sampling.photo_augment import PhotoAugment
from tarpon.train.config import Run
from tarpon.train.tasks.star.data import Photos
from tarpon.train.tasks.star.metrics.embeddings import GALLERY, NEW, QUERY

MIRRORED = PhotoAugment(flip_x_p=1.0)  # every photograph, and nothing else


@pytest.fixture
def photos(small_options):
    """(data, options that differ...) -> the photographs of a run on it."""
    return lambda data, **options: Photos(Run(data=str(data)), replace(small_options, **options))


@pytest.fixture
def by_hand(star_shards, with_columns, tmp_path):
    """Rows 0 and 1 are of a distractor, 2 to 7 of an animal of three days, 8 and 9 of a novel one; the others train."""
    rest = len(star_shards) - 10
    split = ["train", "train", "train", "train", "val", "val", "test", "test", "test", "test"] + ["train"] * rest
    return with_columns(
        star_shards.root,
        tmp_path / "by_hand",
        identity=["lone"] * 2 + ["known"] * 6 + ["new"] * 2 + ["other"] * rest,
        split=split,
        distractor=[True, True] + [False] * (8 + rest),
        novel=[False] * 8 + [True, True] + [False] * rest,
    )


def test_roles_are_the_protocol(by_hand, photos):
    made = photos(by_hand)
    train, asked, found, new, none = [GALLERY], [QUERY], [GALLERY], [NEW], [0]
    rest = len(made.joined) - 10
    assert made.roles("val").tolist() == train * 4 + asked * 2 + none * 4 + train * rest
    assert made.roles("test").tolist() == train * 4 + found * 2 + asked * 2 + new * 2 + train * rest


def test_distractors_and_novel_animals_are_never_queries_nor_is_a_query_in_the_gallery(by_hand, photos):
    made = photos(by_hand)
    for split in ("val", "test"):
        roles = made.roles(split)
        query, gallery = roles & QUERY > 0, roles & GALLERY > 0
        assert not (query & gallery).any()
        assert not (query & made.distractor).any()
        assert not ((query | gallery) & made.novel).any()
        assert (gallery & made.distractor).sum() == 2
    assert not (made.roles("val") & NEW).any()  # only the test asks for animals that are nowhere


def test_distractors_train_unless_they_are_left_out(by_hand, photos):
    made = photos(by_hand)
    (whole,) = made.training(distractors=True)
    assert whole.tolist() == [0, 1, 2, 3, *range(10, len(made.joined))]
    assert made.training(distractors=False)[0].tolist() == whole[2:].tolist()


def test_of_two_sets_the_stars_alone_are_searched_and_both_train(star_shards, wild_shards, photos):
    made = photos(star_shards.root, strategy="cotrain", wildlife=wild_shards.root)
    assert len(made.joined) == len(star_shards) + len(wild_shards)
    for split in ("val", "test"):
        roles = made.roles(split)
        assert not roles[len(star_shards) :].any()
        np.testing.assert_array_equal(roles[: len(star_shards)], photos(star_shards.root).roles(split))
    stars, wild = made.training(distractors=True)
    assert stars.tolist() == star_shards.rows("train").tolist()
    assert wild.tolist() == (wild_shards.rows("train") + len(star_shards)).tolist()
    assert not made.within_dataset
    assert made.protocol == star_shards.card["protocol"]


def test_wildlife_is_searched_within_each_data_set_and_the_protocol_says_so(wild_shards, photos):
    for strategy in ("pretrain", "star_only"):  # a star run may be scored on it too
        made = photos(wild_shards.root, strategy=strategy)
        assert made.within_dataset
        assert made.protocol.endswith("each within its own data set")


def test_a_wildlife_set_with_stars_is_refused(star_shards, wild_shards, photos, tmp_path):
    shutil.copytree(wild_shards.root, tmp_path / "wild")
    (tmp_path / "wild" / "dataset.json").write_text(json.dumps(wild_shards.card | {"stars": True}))
    with pytest.raises(ValueError, match="holds sea stars, which would train on what the stars' test split asks"):
        photos(star_shards.root, strategy="cotrain", wildlife=str(tmp_path / "wild"))


@pytest.mark.parametrize("strategy", ["star_only", "pretrain"])
def test_flanks_are_never_mirrored_in_training(star_shards, star_problem, with_columns, tmp_path, strategy):
    """Stored photographs told apart from mirrored ones by their pixels; every third row shows a flank."""
    sides = [("left", "Right", "")[row % 3] if row % 2 else "top" for row in range(len(star_shards))]
    data = with_columns(star_shards.root, tmp_path / "sided", orientation=sides)
    made = star_problem(data=data, strategy=strategy, augment_star=MIRRORED, augment_wildlife=MIRRORED)
    stored = {}
    for batch in made.data.split("val"):  # the train rows are its gallery
        stored |= dict(zip(batch["row"].tolist(), batch["image"].clone(), strict=True))
    met = {True: 0, False: 0}
    for batch in islice(made.data.batches(0, 0), made.data.steps_per_epoch):
        for row, image in zip(batch["row"].tolist(), batch["image"], strict=True):
            flank = sides[row].lower() in ("left", "right")
            own, mirrored = ((image - other).abs().mean() for other in (stored[row], stored[row].flip(-1)))
            assert (own < mirrored) == flank
            assert min(own, mirrored) < 0.05 < max(own, mirrored)
            met[flank] += 1
    assert min(met.values()) > 5


def test_nor_in_test_time_flips(star_shards, star_problem, with_columns, tmp_path):
    sides = ["left" if row % 2 else "" for row in range(len(star_shards))]
    made = star_problem(data=with_columns(star_shards.root, tmp_path / "sided", orientation=sides))
    made.model.eval()
    seen = 0
    with torch.no_grad():
        for batch in made.data.split("test"):
            out = made.model(image=batch["image"], flips=batch["flips"])
            real = batch["row"] >= 0
            assert batch["flips"][real].tolist() == [not sides[row] for row in batch["row"][real].tolist()]
            moved = (out["embedding_flips"] - out["embedding"]).abs().amax(1)[real]
            assert (moved[~batch["flips"][real]] == 0).all()
            assert (moved[batch["flips"][real]] > 1e-4).all()
            seen += int(real.sum())
    assert seen == len(star_shards)
    assert all(len(batch["flips"]) == 0 for batch in made.data.split("val"))  # the selection is by plain search
