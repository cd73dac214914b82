"""Help and mistakes come before PyTorch; every process of a launch comes to the same, and one says it."""

import pytest

from tarpon.train import recipe_files
from tarpon.train.command_line import FIRST, answer_early, read_request
from tarpon.train.tasks import TASKS
from tarpon.train.usage import UsageError


def answer(capsys, *words: str) -> tuple[int | None, str, str]:
    """Exit status, output, errors."""
    status = answer_early(words, program="prog")
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_without_a_task_the_tasks_are_told(words, capsys):
    status, out, _ = answer(capsys, *words)
    assert status == 0
    assert all(f"prog {name}  " in out and TASKS[name].does[:20] in out for name in TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_the_first_screen_has_what_matters_and_help_all_the_rest(task, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, short, _ = answer(capsys, task, "--help")
    listed = [line.split()[0] for line in short.splitlines() if line.startswith("  --")]
    assert status == 0
    assert listed == ["--config", *(f"--{name}" for name in (*FIRST, *TASKS[task].first))]
    assert len(listed) <= 15
    status, whole, _ = answer(capsys, task, "--help-all")
    everything = [line.split()[0] for line in whole.splitlines() if line.startswith("  --")]
    assert status == 0
    assert set(listed) < set(everything)
    assert f"lists {len(everything) - len(listed)} more" in short
    assert "<class" not in whole
    assert max(map(len, whole.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mose",), "task 'mose' must be one of cells, fish, mouse, star; near: mouse"),
        (("mouse", "--data=d", "--epoch=3"), "no option --epoch; near: --epochs"),
        (("mouse", "--data=nowhere"), "nowhere: no manifest.parquet here"),
        (("fish", "--data=nowhere"), "nowhere: no features.json here"),
        (("star", "--data=nowhere"), "nowhere: no manifest.parquet here"),
        (
            ("mouse", "--data=d", "--config=demoo"),
            "no file 'demoo' for --config, and the recipes of mouse are action_only, default",
        ),
    ],
)
def test_mistakes_are_one_line_of_the_first_process(words, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, out, err = answer(capsys, *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"prog: {said}")
    monkeypatch.setenv("RANK", "1")
    assert answer(capsys, *words) == (2, "", "")


def test_what_is_right_goes_on(capsys, mouse_shards):
    assert answer(capsys, "mouse", "--data", mouse_shards.root, "--micro-batch", "3", "--ema.enabled") == (None, "", "")
    request = read_request(["mouse", "--local_rank=0", "--data=d", "--micro-batch", "3", "--global_batch=3", "--ema.enabled"])
    assert (request.name, request.run.micro_batch, request.run.ema.enabled) == ("mouse", 3, True)


def test_a_url_is_left_to_be_opened_later(capsys):
    assert answer(capsys, "cells", "--data=memory://nowhere")[0] is None


def test_a_recipe_is_taken_by_its_name_and_a_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    demo = str(recipe_files.RECIPES / "mouse" / "demo.yaml")
    resolve = recipe_files.resolve_recipes
    assert resolve(["--data", "demo", "--config", "demo", "--config=demo"], task="mouse") == [
        "--data", "demo", "--config", demo, f"--config={demo}",
    ]  # fmt: skip
    assert resolve(["--config", "a/b.yaml", "--config=c.yaml"], task="mouse") == ["--config", "a/b.yaml", "--config=c.yaml"]
    (tmp_path / "demo").write_text("epochs: 3\n")
    assert resolve(["--config=demo"], task="mouse") == ["--config=demo"]
    assert read_request(["mouse", "--data=d", "--config=demo"]).run.epochs == 3
    with pytest.raises(UsageError, match="recipes of cells are demo"):
        resolve(["--config=other"], task="cells")
