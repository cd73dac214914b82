"""Options: defaults that parse, files that come back, and mistakes said in one line."""

from pathlib import Path

import pytest
import yaml

from tarpon.train.config import Run, parse, parser_for, read_run
from tarpon.train.tasks import TASKS
from tarpon.train.usage import UsageError, fail

BESIDE = {"star/finetune": ("--checkpoint=run",), "star/cotrain": ("--wildlife=shards",)}  # what no file can know
RECIPES = sorted((Path(__file__).resolve().parents[2] / "train" / "recipes").rglob("*.yaml"))


def parsed(task: str, *words: str):
    options = TASKS[task].options
    return parse(parser_for(options, recipe=TASKS[task].recipe(), task=task), options, words)


@pytest.mark.parametrize("task", TASKS)
def test_the_default_run_parses_and_its_yaml_gives_the_same_run(task, tmp_path):
    run, chosen, text = parsed(task, "--data=d", "--optim.lr=3e-4", "--steps=7")
    assert (run.data, run.optim.lr, run.steps) == ("d", 3e-4, 7)
    (tmp_path / "run.yaml").write_text(text)
    options = TASKS[task].options
    assert read_run(tmp_path, options, parser_for(options, recipe=None, task=task)) == (run, chosen)
    assert yaml.safe_load(text)["optim"]["lr"] == 3e-4


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recipes_parse_and_the_command_line_comes_after_them(path):
    task = path.parent.name
    beside = BESIDE.get(f"{task}/{path.stem}", ())
    run, chosen, _ = parsed(task, f"--config={path}", "--data=d", "--epochs=77", *beside)
    assert run.epochs == 77
    plain = parsed(task, "--data=d", "--epochs=77")[:2]
    assert ((run, chosen) == plain) == (path.stem == "default")  # which writes the defaults out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--optim.rate=1",), "optim.rate"),
        (("--nonsense=1",), "nonsense"),
        (("--epochs=many",), "epochs"),
        (("--optim.lr=fast",), "lr"),
        (("--epochs=0",), "epochs=0 must be at least 1"),
        (("--schedule.kind=stairs",), "must be one of cosine, linear, step, plateau, constant, none"),
        (("--engine.zero_stage=3",), "must be 0, 1 or 2"),
        (("--engine.dtype=fp16",), "must be auto, fp32 or bf16"),
        (("--optim.backbone_lr_scale=0",), "freeze_backbone_epochs"),
        (("--model.model_type=single",), "multitask or action_only"),
        (("--merge=[0,9]",), "stored actions"),
        (("--config=nowhere.yaml",), "nowhere.yaml"),
    ],
)
def test_mistakes_are_one_line_with_the_name_of_the_option(words, said):
    with pytest.raises(UsageError) as caught:
        parsed("mouse", "--data=d", *words)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_data_are_needed():
    with pytest.raises(UsageError, match="data"):
        parsed("mouse")


def test_accumulation_by_hand():
    run = Run(data="d", micro_batch=2, global_batch=24)
    assert [run.accumulation(world) for world in (1, 2, 3, 4, 6, 12)] == [12, 6, 4, 3, 2, 1]
    with pytest.raises(ValueError, match=r"global_batch=24 must be a multiple of micro_batch x processes = 2 x 5"):
        run.accumulation(5)


def test_a_folder_without_run_yaml_is_named(tmp_path):
    options = TASKS["mouse"].options
    with pytest.raises(ValueError, match=r"no run\.yaml here"):
        read_run(tmp_path, options, parser_for(options, recipe=None, task="mouse"))


def test_failing_says_one_line_and_two(capsys):
    assert fail(ValueError("a\n  b\n"), program="p") == 2
    assert capsys.readouterr().err == "p: a b\n"
