"""The star task: what a step holds, what counts in its loss, going on, several processes, and whose weights it starts from."""

import json
import os
import shutil
import socket
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from tarpon.tools.evaluate import open_best
from tarpon.train import launch
from tarpon.train.checkpoint import load_tensors
from tarpon.train.config import Optim, Run
from tarpon.train.tasks.star.data import Photos, number_identities, training_order
from tarpon.train.tasks.star.export import NAME, OWN
from tarpon.train.tasks.star.losses import MetricLoss, metric_losses

ROOT = Path(__file__).resolve().parents[4]
IDENTITY = ("--loss.identity_weight=0.2",)


def epoch_of(made) -> list[torch.Tensor]:
    """Rows of every step of the first epoch."""
    return [batch["row"] for batch in islice(made.data.batches(0, 0), made.data.steps_per_epoch)]


def test_a_step_is_animals_by_photographs_and_an_epoch_has_all_that_train(star_problem, star_shards):
    made = star_problem()
    steps, identity = epoch_of(made), np.array(star_shards.column("identity"))
    for rows in steps:
        assert len(rows) == len(set(rows.tolist())) == 8
        _, counts = np.unique(identity[rows.numpy()], return_counts=True)
        assert counts.max() <= 4
        assert (counts > 1).any()
    assert set(torch.cat(steps).tolist()) == set(star_shards.rows("train").tolist())


@pytest.mark.parametrize("share", [0.3, 0.1])
def test_co_training_meets_the_share_of_stars_over_an_epoch(star_problem, star_shards, wild_shards, share):
    """In pairs of photographs, to the nearest one; every photograph of either set is there."""
    made = star_problem(strategy="cotrain", wildlife=wild_shards.root, star_batch_ratio=share)
    rows = torch.cat(epoch_of(made))
    stars = int((rows < len(star_shards)).sum())
    assert stars == 2 * np.floor(share * len(rows) / 2 + 0.5)
    wanted = set(star_shards.rows("train").tolist()) | set((wild_shards.rows("train") + len(star_shards)).tolist())
    assert set(rows.tolist()) == wanted


def test_labels_are_places_among_the_animals_that_train(star_problem, star_shards, wild_shards):
    made = star_problem(strategy="cotrain", wildlife=wild_shards.root)
    names = np.concatenate([np.array(shards.column("identity")) for shards in (star_shards, wild_shards)])
    listed = made.encoders["identities"]
    assert listed == sorted(listed)
    for batch in islice(made.data.batches(0, 0), 5):
        assert [listed[label] for label in batch["identity"].tolist()] == names[batch["row"].numpy()].tolist()
    for batch in made.data.split("val"):
        assert (batch["identity"][batch["row"] < 0] == -1).all()  # padding has no label


def test_distractors_are_negatives_and_never_anchors(star_problem, star_shards):
    made, distractor = star_problem(), np.asarray(star_shards.column("distractor"), bool)
    made.model.train()
    met = 0
    for seed, batch in enumerate(islice(made.data.batches(0, 0), made.data.steps_per_epoch)):
        alone = torch.from_numpy(distractor[batch["row"].numpy()])
        assert torch.equal(batch["anchor"], ~alone)
        embedding = torch.randn(8, 16, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        terms = made.loss({"embedding": embedding}, batch)
        others = metric_losses({"embedding": embedding}, batch["identity"], options=MetricLoss(), anchors=~alone)
        everyone = metric_losses({"embedding": embedding}, batch["identity"], options=MetricLoss())
        assert all(torch.equal(terms[name], others[name]) for name in others)
        if alone.any() and not alone.all():
            met += terms["circle"] != everyone["circle"]
            (slope,) = torch.autograd.grad(terms["circle"], embedding)
            assert slope[alone].abs().amax() > 0  # pushed away as negatives
    assert met


def test_without_distractors_none_trains(star_problem, star_shards):
    made, distractor = star_problem(include_distractors=False), np.asarray(star_shards.column("distractor"), bool)
    rows = torch.cat(epoch_of(made)).numpy()
    assert not distractor[rows].any()
    assert set(rows.tolist()) == set(np.setdiff1d(star_shards.rows("train"), np.flatnonzero(distractor)).tolist())


def test_a_run_keeps_its_numbers_of_animals_on_other_data(star_problem, wild_shards):
    """As `tarpon evaluate` opens it: nobody there is known, which is no label and no loss."""
    listed = star_problem().encoders["identities"]
    made = star_problem(data=wild_shards.root, encoders={"identities": listed}, loss=MetricLoss(identity_weight=0.1))
    assert made.encoders["identities"] == listed
    assert len(made.model.classifier.weight) == len(listed)
    made.model.eval()
    with torch.no_grad():
        for batch in made.data.split("val"):
            assert (batch["identity"] == -1).all()
            terms = made.loss(made.model(image=batch["image"], flips=batch["flips"]), batch)
            assert {float(term) for term in terms.values()} == {0.0}


def test_going_on_ends_where_one_run_does(star_run, small, star_shards, wild_shards):
    """Both data sets, dropout, an identity loss with its batch norm; stopped within an epoch."""
    options = (
        "--strategy=cotrain",
        f"--wildlife={wild_shards.root}",
        "--schedule.kind=constant",
        "--eval_every=100",
        *IDENTITY,
    )
    whole, broken = star_run("whole", *options, "--steps=7"), star_run("broken", *options, "--steps=3")
    names = (broken / "encoders.json").read_text()
    assert launch.main(words(star_shards, broken, small, *options, "--steps=7", "--resume=true")) == 0
    assert (broken / "encoders.json").read_text() == names == (whole / "encoders.json").read_text()
    ends = [load_tensors(folder / "checkpoints" / "last.safetensors")[0] for folder in (whole, broken)]
    assert any(name.startswith("optimizer") for name in ends[0])
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def words(shards, out: Path, small: tuple[str, ...], *options: str) -> list[str]:
    return ["star", f"--data={shards.root}", f"--out={out}", *small, *options]


@pytest.fixture(scope="module")
def pretrained(wild_shards, small, tmp_path_factory) -> Path:
    """Two steps on wildlife, with an identity loss."""
    out = tmp_path_factory.mktemp("wild") / "run"
    assert launch.main(words(wild_shards, out, small, "--strategy=pretrain", "--steps=2", *IDENTITY)) == 0
    return out


def test_fine_tuning_starts_from_the_given_weights(pretrained, star_problem):
    made = star_problem(strategy="finetune", checkpoint=str(pretrained), loss=MetricLoss(identity_weight=0.2))
    fresh = star_problem(loss=MetricLoss(identity_weight=0.2)).model.state_dict()
    given = torch.load(pretrained / NAME, weights_only=True)["model_state_dict"]
    begun = made.model.state_dict()
    own = {name for name in begun if name.startswith(OWN)}
    assert {name.partition(".")[0] for name in own} == {"neck", "classifier"}
    for name, value in begun.items():
        assert torch.equal(value, (fresh if name in own else given)[name]), name
    assert any(not torch.equal(given[name], fresh[name]) for name in begun if name not in own)
    file = star_problem(strategy="finetune", checkpoint=str(pretrained / NAME)).model.state_dict()
    assert all(torch.equal(value, given[name]) for name, value in file.items())


def test_the_weights_of_another_network_are_one_line(pretrained, refused, tmp_path):
    tune = ("--strategy=finetune", f"--checkpoint={pretrained}")
    said = refused(*tune, "--model.width=24")
    assert "holds another network" in said
    assert "of another shape" in said
    assert "holds another network" in refused(*tune, "--model.multi_stage=false")
    assert "no such checkpoint" in refused("--strategy=finetune", f"--checkpoint={tmp_path}/nothing")
    (tmp_path / "text.pth").write_text("no")
    assert "not a checkpoint of this task" in refused("--strategy=finetune", f"--checkpoint={tmp_path / 'text.pth'}")


def test_a_co_trained_run_is_scored_without_its_second_set(star_run, wild_shards, tmp_path):
    wild = shutil.copytree(wild_shards.root, tmp_path / "wild")
    folder = star_run("both", "--strategy=cotrain", f"--wildlife={wild}", "--steps=1")
    shutil.rmtree(wild)
    problem = open_best(folder).problem
    best, _ = load_tensors(folder / "best.safetensors")
    assert all(torch.equal(value, best[name]) for name, value in problem.model.state_dict().items())
    assert problem.encoders == json.loads((folder / "encoders.json").read_text())
    wildlife = open_best(folder, data=wild_shards.root).problem
    assert any("each within its own data set" in line for line in wildlife.summary_lines)


@pytest.mark.slow
def test_two_processes_are_as_one(star_run, star_shards, small, tmp_path):
    """Loss and gradients of the first step, of the same eight photographs; Adam's first moment is a tenth of the gradient."""
    options = ("--steps=1", "--model.dropout=0", "--optim.clip_norm=0", "--engine.zero_stage=0", *IDENTITY)
    one = star_run("one", *options)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("deepspeed")), "--num_accelerators=2", f"--master_port={port}"]
    command += ["train/launch.py", *words(star_shards, tmp_path / "two", small, *options, "--micro_batch=4")]
    own = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT")
    env = {key: value for key, value in os.environ.items() if key not in own} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    two = tmp_path / "two"
    assert json.loads((two / "run.json").read_text())["processes"] == 2
    lines = [json.loads((folder / "metrics.jsonl").read_text().splitlines()[0]) for folder in (one, two)]
    for name in ("loss", "loss/circle", "loss/triplet", "loss/identity"):
        assert lines[1][name] == pytest.approx(lines[0][name], abs=1e-5)
    ends = [load_tensors(folder / "checkpoints" / "last.safetensors")[0] for folder in (one, two)]
    moments = [name for name in ends[0] if "/exp_avg/" in name]
    parts = {"encoder", "fusion", "head", "neck", "classifier"}
    assert {part for name in moments for part in parts if f"/{part}." in name} == parts
    for name in moments:
        slopes = [end[name] / (1 - Optim().beta1) for end in ends]
        torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_ranks_share_a_step_out(star_shards, small_options):
    """What two ranks of four photographs read is what one of eight reads, with the same augmentation."""
    photos = Photos(Run(data=str(star_shards.root)), small_options)
    rows = photos.training(distractors=True)
    labels = number_identities(photos.identity, sorted(set(photos.identity)))
    epoch = training_order(rows, labels, small_options, seed=42)
    shared = [epoch.stream(0, skip=0, micro=4, accumulation=1, rank=rank, world=2) for rank in (0, 1)]
    whole = epoch.stream(0, skip=0, micro=8, accumulation=1, rank=0, world=1)
    for alone, *parts in islice(zip(whole, *shared, strict=False), 2 * epoch.steps(8)):
        np.testing.assert_array_equal(np.concatenate([part.rows for part in parts]), alone.rows)
        np.testing.assert_array_equal(np.concatenate([part.slots for part in parts]), alone.slots)
