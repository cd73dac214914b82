"""The mouse task: mirrored names, class table, model and data in one."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from tarpon.models.backbones.frame_backbone import FrameBackbone
from tarpon.pipelines.clip.feed import TrainWindows
from tarpon.shards.manifest import open_manifest
from tarpon.shards.reader import Reader
from tarpon.shards.sources.mouse.pose_mirror import mirror_pairs
from tarpon.train.config import Run
from tarpon.train.data import TaskData
from tarpon.train.tasks.mouse import options as mouse_options
from tarpon.train.tasks.mouse import task as mouse
from tarpon.train.tasks.mouse.data import mouse_data
from tarpon.train.tasks.mouse.options import ModelOptions, MouseOptions, WindowOptions
from tarpon.train.tasks.mouse.record import without_download

OPTIONS = MouseOptions(
    model=ModelOptions(backbone=FrameBackbone(name="test_vit", pretrained=False, image_size=32), hidden=16),
    window=WindowOptions(train_frames=24, val_frames=160),
)


@pytest.mark.parametrize(
    ("points", "turned"),
    [
        (("mouth", "tail_base", "L_frontpaw", "R_frontpaw", "L_hindpaw", "R_hindpaw"), (0, 1, 3, 2, 5, 4)),
        (("left_ear", "nose", "right_ear"), (2, 1, 0)),
        (("ear_left", "ear_right", "LeftEye", "RightEye"), (1, 0, 3, 2)),
        (("wingL", "wingR", "hindlegL4", "hindlegR4", "forelegL1"), (1, 0, 3, 2, 4)),
        (("paw_l", "paw_r", "l_hip", "r_hip", "LEFT_KNEE", "RIGHT_KNEE"), (1, 0, 3, 2, 5, 4)),
        (("tail", "lip", "rump", "lower_lip", "collar", "rail"), (0, 1, 2, 3, 4, 5)),  # an l or r within a word is no side
        (("pawLeft", "pawRight", "earL", "earR"), (1, 0, 3, 2)),
        (("L_paw", "nose"), (0, 1)),  # no other side: stays
        ((), ()),
    ],
)
def test_left_and_right_change_places(points, turned):
    got = mirror_pairs(points, pairs="auto", need_partners=False)
    assert got == turned
    assert [got[to] for to in got] == list(range(len(points)))


def test_with_flips_a_side_without_a_partner_is_an_error_and_a_list_by_hand_mends_it(context, shards):
    manifest, points = open_manifest(shards), ("L_paw", "other", "nose")
    flips = replace(OPTIONS, augment=replace(OPTIONS.augment, flip_p=0.5))

    def make(options: MouseOptions) -> TaskData:
        run = Run(data=str(shards), micro_batch=1, global_batch=2)
        reader = Reader(manifest)
        return mouse_data(run, options, context, manifest=manifest, reader=reader, points=points, order=None, factors=None)

    with pytest.raises(ValueError, match="L_paw: named left or right"):
        make(flips)
    make(replace(flips, mirror_pairs="L_paw:other"))
    make(OPTIONS)


def test_a_likelihood_asked_of_shards_without_points_is_refused():
    asked = replace(OPTIONS, model=replace(OPTIONS.model, likelihood_input=True))
    with pytest.raises(ValueError, match=r"packed without points \(--pose none\) and hold no likelihood; pack again"):
        mouse.build_model(asked, ())
    mouse.build_model(replace(asked, model=replace(asked.model, pose_input=False)), ())  # nothing is fed: nothing is missing
    wider = mouse.build_model(asked, ("a", "b", "c")).pose
    assert wider.features.pose_width == 4
    assert mouse.build_model(OPTIONS, ("a", "b", "c")).pose.features.pose_width == 3


def test_class_counts_are_those_of_the_stored_labels(shards):
    manifest = open_manifest(shards)
    for split in ("train", "val", "test"):
        labels = np.concatenate([manifest.lists("actions", np.array([row]))[0] for row in manifest.rows(split)])
        want = np.bincount(np.array(mouse_options.MERGE)[labels[labels >= 0]], minlength=6)
        np.testing.assert_array_equal(mouse.class_counts(manifest, OPTIONS, split=split), want)
    out = replace(OPTIONS, merge=(-1,) * 8)
    with pytest.raises(ValueError, match="no labelled train frames after merging"):
        mouse.class_counts(manifest, out, split="train")


def test_shards_of_another_number_of_classes_than_merge_speaks_of_are_refused(shards):
    with pytest.raises(ValueError, match=r"holds 8 classes \(rest, .*\), merge=\[0, 1\] speaks of 2; e.g. --merge \[0, 1, 2,"):
        mouse.class_counts(open_manifest(shards), replace(OPTIONS, merge=(0, 1)), split="train")


def table_of(manifest, options) -> tuple[dict[str, list[float]], object, np.ndarray | None]:
    """Class -> frames, share %, drawn %, factor, as printed; the plan; the factors."""
    counts = mouse.class_counts(manifest, options, split="train")
    epoch, factors, table = mouse.sampling(manifest, manifest.rows("train"), options, seed=1, counts=counts)
    lines = [line.split() for line in table.splitlines()]
    assert lines[0] == ["class", "frames", "share", "drawn", "factor"]
    return {line[0]: [float(cell.rstrip("%")) for cell in line[1:]] for line in lines[1:]}, epoch, factors


def test_the_table_without_the_boost(shards):
    manifest = open_manifest(shards)
    table, epoch, factors = table_of(manifest, replace(OPTIONS, window=replace(OPTIONS.window, rare_boost=False)))
    assert factors is None
    assert epoch.weights is None
    assert list(table) == list(mouse_options.CLASSES)
    counts = mouse.class_counts(manifest, OPTIONS, split="train")
    assert [row[0] for row in table.values()] == counts.tolist()
    assert [row[1] for row in table.values()] == pytest.approx(100 * counts / counts.sum(), abs=0.06)
    assert all(row[3] == 1.0 for row in table.values())


def test_the_boost_draws_rare_classes_more_often_and_says_so_truly(shards):
    """The drawn share against windows drawn by the plan itself."""
    manifest = open_manifest(shards)
    options = replace(OPTIONS, window=replace(OPTIONS.window, rare_threshold_share=0.10))
    table, _, factors = table_of(manifest, options)
    rare = [name for name, row in table.items() if row[1] < 10]
    assert rare
    for i, (name, row) in enumerate(table.items()):
        assert row[3] == pytest.approx(10 / row[1] if name in rare else 1.0, rel=0.02, abs=0.06)
        assert factors[i] == pytest.approx(row[3], abs=0.06)
    assert sum(table[name][2] for name in rare) > sum(table[name][1] for name in rare)
    run = Run(data=str(shards), global_batch=5, micro_batch=5)
    seen = np.zeros(6)
    epoch, factors, _ = mouse.sampling(
        manifest, manifest.rows("train"), options, seed=1, counts=mouse.class_counts(manifest, options, split="train")
    )
    windows = TrainWindows(
        manifest=manifest, augment=options.augment, frames=24, points=6, seed=1, merge=options.merge, factors=factors
    )
    for number in range(400):
        for slot in epoch.batches(number, micro=run.micro_batch, rank=0, world=1):
            for window in windows(slot):
                labels = manifest.lists("actions", np.array([window.row]))[0][window.start : window.start + 24]
                seen += np.bincount(np.array(mouse_options.MERGE)[labels[labels >= 0]], minlength=6)
    assert 100 * seen / seen.sum() == pytest.approx([row[2] for row in table.values()], abs=1.5)


@pytest.fixture
def problem_of(context, shards):
    return lambda options=OPTIONS, **given: mouse.build(
        Run(**{"data": str(shards), "micro_batch": 1, "global_batch": 2} | given), options, context
    )


def test_the_same_seed_gives_the_same_weights_and_another_does_not(problem_of):
    a, b, c = (problem_of(seed=seed).model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


def test_the_fingerprint_is_of_data_seed_and_global_batch_alone(problem_of):
    base = problem_of().fingerprint
    assert problem_of(micro_batch=2, epochs=99).fingerprint == base
    assert len({base, problem_of(seed=9).fingerprint, problem_of(global_batch=4).fingerprint}) == 3


def test_a_batch_goes_through_the_model_to_finite_losses(problem_of):
    for model_type, names in (("multitask", {"action", "smooth", "keypoints"}), ("action_only", {"action", "smooth"})):
        problem = problem_of(replace(OPTIONS, model=replace(OPTIONS.model, model_type=model_type)), micro_batch=2)
        batch = next(problem.data.batches(0, 0))
        terms = problem.loss(problem.model(**{name: batch[name] for name in problem.inputs}), batch)
        assert set(terms) == names
        assert all(torch.isfinite(term) and term.ndim == 0 for term in terms.values())
        assert problem.count(batch) == 48


def test_skipping_is_the_same_as_having_read(problem_of):
    problem = problem_of()
    four = [batch["clip"].clone() for batch in islice(problem.data.batches(0, 0), 6)]
    late = [batch["clip"].clone() for batch in islice(problem.data.batches(0, 3), 3)]
    assert all(torch.equal(a, b) for a, b in zip(four[3:], late, strict=True))


def test_no_pose_input_takes_no_pose(problem_of):
    problem = problem_of(replace(OPTIONS, model=replace(OPTIONS.model, pose_input=False)))
    assert problem.inputs == ("clip", "valid")


def test_without_download_is_the_same_network():
    chosen = replace(OPTIONS, model=replace(OPTIONS.model, backbone=FrameBackbone(name="test_vit", image_size=32)))
    quick = without_download(chosen)
    assert quick.model.backbone.pretrained is False
    assert replace(quick, model=replace(quick.model, backbone=chosen.model.backbone)) == chosen
