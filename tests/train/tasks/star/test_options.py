"""The star task's options: those that labs know, the recipes, and what is refused, in one line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tarpon.train import config, launch
from tarpon.train.config import Run
from tarpon.train.spelling import translate_options
from tarpon.train.tasks.star import record as star
from tarpon.train.tasks.star.options import StarOptions
from tarpon.train.usage import UsageError

RECIPES = Path(__file__).resolve().parents[4] / "train" / "recipes" / "star"
PUBLISHED = (
    "--image-size=224",
    "--embedding-dim=256",
    "--batch-size=64",
    "--num-instances=8",
    "--lr=3e-4",
    "--weight-decay=0.01",
    "--warmup-epochs=2",
    "--circle-weight=0.5",
    "--triplet-weight=0.25",
    "--num-workers=3",
    "--checkpoint-dir=somewhere",
    "--val-every=7",
    "--freeze-backbone-epochs=1",
    "--star-batch-ratio=0.4",
    "--alternate-batches",
    "--backbone=swinv2-small",
)
WANTED = {
    "model.backbone.image_size": 224, "model.embedding_dim": 256, "micro_batch": 64, "global_batch": 64, "num_instances": 8,
    "optim.lr": 3e-4, "optim.weight_decay": 0.01, "schedule.warmup_epochs": 2, "loss.circle_weight": 0.5,
    "loss.triplet_weight": 0.25, "loader.threads": 3, "out": "somewhere", "eval_every": 7,
    "freeze_backbone_epochs": 1, "star_batch_ratio": 0.4, "alternate_batches": True,
    "model.backbone.name": "swinv2_small_window16_256.ms_in1k",
}  # fmt: skip


def parsed(*words: str) -> tuple[Run, StarOptions]:
    """A command line as `train/launch.py star` reads it."""
    parser = config.parser_for(StarOptions, recipe=star.recipe(), task="star")
    return config.parse(parser, StarOptions, translate_options(words, star.SPELLINGS, star.REFUSED, idle=star.IDLE))[:2]


def read(given: tuple[Run, StarOptions], name: str) -> object:
    value = given[0] if hasattr(given[0], name.split(".")[0]) else given[1]
    for part in name.split("."):
        value = getattr(value, part)
    return value


def test_published_spellings_set_our_options():
    plain, made = parsed("--data=d"), parsed("--data=d", *PUBLISHED)
    assert {name: read(made, name) for name in WANTED} == WANTED
    assert not [name for name in WANTED if read(plain, name) == WANTED[name]]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (
            "--model swinv2-small-patch4-window16-256 --embedding-dim 512 --image-size 384 --epochs 50 --batch-size 32 "
            "--num-instances 4 --lr 1e-4 --warmup-epochs 5 --circle-weight .7 --triplet-weight .3 --num-workers 4 "
            "--checkpoint-dir ./checkpoints/megastarid/pretrain --val-every 5 --seed 42 --strategy pretrain",
            {"model.backbone.name": "swinv2_small_window16_256.ms_in1k", "epochs": 50, "strategy": "pretrain"},
        ),
        (
            "--checkpoint run --freeze-backbone-epochs 2 --model swinv2-tiny --lr 5e-5 --no-amp --strategy finetune",
            {"model.backbone.name": "swinv2_tiny_window8_256.ms_in1k", "engine.dtype": "fp32", "freeze_backbone_epochs": 2},
        ),
        (
            "--wildlife w --star-batch-ratio .3 --alternate-batches --model resnet50 --strategy cotrain",
            {"model.backbone.name": "resnet50.tv2_in1k", "alternate_batches": True, "star_batch_ratio": 0.3},
        ),
        ("--model microsoft/swinv2-tiny-patch4-window8-256", {"model.backbone.name": "swinv2_tiny_window8_256.ms_in1k"}),
        ("--model vit_tiny_patch16_224", {"model.backbone.name": "vit_tiny_patch16_224"}),
        ("--model {width:256}", {"model.width": 256}),
    ],
)
def test_published_command_lines_are_taken_as_they_stand(line, wanted):
    made = parsed("--data=d", *(word.replace(":", ": ") for word in line.split()))
    assert {name: read(made, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("gpu", "asked", "said"),
    [
        (True, "cuda", ""),
        (True, "cuda:0", ""),
        (True, "cuda:1", "CUDA_VISIBLE_DEVICES=NUMBER"),
        (True, "cpu", "CUDA_VISIBLE_DEVICES="),
        (False, "cpu", ""),
        (False, "cuda", "no GPU is seen"),
    ],
)
def test_a_device_is_taken_where_it_is_the_one_that_is_used(monkeypatch, gpu, asked, said):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    if not said:
        assert parsed("--data=d", "--device", asked) == parsed("--data=d")
        return
    with pytest.raises(UsageError, match=said):
        parsed("--data=d", "--device", asked)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--wildlife-root=w", "the data are packed first"),
        ("--star-dataset-root=s", "the data are packed first"),
        ("--exclude-datasets=A", "chosen when packing"),
        ("--train-outing-ratio=.8", "chosen when packing"),
        ("--device=tpu", "CUDA_VISIBLE_DEVICES"),
        ("--gpus=0,1", "--include localhost:0,1"),
        ("--strategy=both", "strategy='both' must be one of star_only, pretrain, finetune, cotrain"),
        ("--strategy=finetune", "finetune needs --checkpoint RUN"),
        ("--checkpoint=run", "finetune needs --checkpoint RUN"),
        ("--strategy=cotrain", "cotrain needs --wildlife SHARDS"),
        ("--wildlife=w", "cotrain needs --wildlife SHARDS"),
        ("--star_batch_ratio=1", "must be between 0 and 1"),
        ("--num_instances=1", "must be at least 2"),
        ("--num_instances=3", "a batch of 8 rows over all GPUs must be a multiple of the 3 instances"),
        ("--micro_batch=2 --num_instances=4", "a batch of 2 rows over all GPUs must be a multiple of the 4 instances"),
        ("--batch-size=64", "a batch has 64 places for a set of"),
        ("--loss.circle_weight=-1", "must be at least 0"),
        ("--search.local=21", "search.local=21 must be 0, for none, to search.top=20"),
        ("--search.expand=-1", "expand=-1 must be 1 or more, 0 for no expansion"),
    ],
)
def test_mistakes_are_one_line_and_status_2(refused, word, said):
    assert said in refused(*word.split())


def test_a_refused_training_leaves_no_run_behind(refused, tmp_path):
    """So that the mended command may use the same folder."""
    for words in (("--micro_batch=64", "--global_batch=64"), ("--micro_batch=8", "--global_batch=12")):
        refused(*words)
        assert not (tmp_path / "refused").exists()


def test_shards_without_a_validation_query_are_one_line(refused, star_shards, with_columns, tmp_path):
    split = [name.replace("val", "train") for name in star_shards.column("split")]
    said = refused(data=with_columns(star_shards.root, tmp_path / "none", split=split))
    assert "no photograph of the val split is of an animal in train" in said
    novel = np.array(star_shards.column("split")) == "val"
    said = refused(data=with_columns(star_shards.root, tmp_path / "novel", novel=novel))
    assert "three sessions or more" in said


def test_a_wildlife_set_with_stars_is_one_line(refused, wild_shards, tmp_path):
    shutil.copytree(wild_shards.root, tmp_path / "wild")
    (tmp_path / "wild" / "dataset.json").write_text(json.dumps(wild_shards.card | {"stars": True}))
    assert "holds sea stars" in refused("--strategy=cotrain", f"--wildlife={tmp_path / 'wild'}")


def test_local_features_within_data_sets_are_one_line(refused, wild_shards):
    said = refused("--strategy=pretrain", "--search.local=5", data=wild_shards.root)
    assert "where local features are not compared" in said


def test_an_unknown_task_is_answered_with_this_one_too(capfd):
    assert launch.main(["stars", "--data=d"]) == 2
    assert "must be one of cells, fish, mouse, star" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "beside", "epochs", "rate", "warmup"),
    [
        ("default", (), 100, 1e-4, 5),
        ("pretrain", (), 50, 1e-4, 5),
        ("finetune", ("--checkpoint=run",), 100, 5e-5, 3),
        ("cotrain", ("--wildlife=w",), 100, 1e-4, 5),
    ],
)
def test_the_recipes_are_the_published_trainings(recipe, beside, epochs, rate, warmup):
    run, options = parsed(f"--config={RECIPES / recipe}.yaml", "--data=d", *beside)
    name = "star_only" if recipe == "default" else recipe
    assert (options.strategy, run.epochs, run.optim.lr, run.schedule.warmup_epochs) == (name, epochs, rate, warmup)
    assert (run.optim.weight_decay, run.optim.backbone_lr_scale, run.schedule.min_lr) == (1e-4, 0.1, 1e-6)
    assert (run.micro_batch, run.global_batch, options.num_instances, run.eval_every) == (32, 32, 4, 5)
    assert (options.loss.circle_weight, options.loss.triplet_weight) == (0.7, 0.3)
    assert options.model.backbone.image_size == 384
    if beside:
        with pytest.raises(UsageError, match=f"needs --{beside[0].strip('-').partition('=')[0]}"):
            parsed(f"--config={RECIPES / recipe}.yaml", "--data=d")


def test_the_default_run_is_the_recipe_of_the_stars_alone():
    assert parsed(f"--config={RECIPES / 'default'}.yaml", "--data=d") == parsed("--data=d")


def test_the_demos_recipe_parses():
    run, options = parsed(f"--config={RECIPES / 'demo'}.yaml", "--data=d")
    assert (options.strategy, options.model.backbone.pretrained) == ("star_only", False)
    assert run.epochs > 1
