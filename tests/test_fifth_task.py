"""A fifth task is its folders and one line in each of two tables: tests/fifth_task is laid into a copy of the tree and used.

Started as a script, this file runs commands from stdin in one process: the heavy libraries take seconds to load.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FIFTH = ROOT / "tests" / "fifth_task"
PAGE = ROOT / "docs" / "a-fifth-task.md"
LAYERS = ("shards", "pipelines", "models", "train", "tools")
TABLES = ["train/tasks/__init__.py", "tools/tasks.py"]
PROMPT = "$ "
OVERVIEW = "tarpon --help"
FEATURES = "tarpon features shards --backbone test_vit --pretrained false --image_size 64 --resize 64 --out features"
MORE = (OVERVIEW, FEATURES)  # commands that serve every task and are not on the page


def blocks(language: str) -> list[str]:
    """The page's code blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [block for name, block in found if name == language]


def shown() -> list[tuple[str, str]]:
    """(what the first line of a block names, the rest of it)."""
    return [(first.removeprefix("# "), rest) for first, _, rest in (block.partition("\n") for block in blocks("python"))]


def new_lines() -> dict[str, str]:
    """Table's file -> the page's line for it."""
    return {where.partition(",")[0]: rest for where, rest in shown() if ", in " in where}


def with_line(text: str, line: str) -> str:
    """The text of a table's file with one entry more, the last."""
    head, end, tail = text.partition("    }\n)\n")
    assert end
    return head + line + end + tail


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    """Folder of a package `tarpon` with five tasks: this tree's files, those of the fifth, and two lines."""
    site = tmp_path_factory.mktemp("five_tasks")
    for layer in LAYERS:
        shutil.copytree(ROOT / layer, site / "tarpon" / layer, ignore=shutil.ignore_patterns("__pycache__"))
        if (FIFTH / layer).is_dir():
            new = [path.relative_to(FIFTH) for path in (FIFTH / layer).rglob("*.py")]
            assert not any((ROOT / path).exists() for path in new), "a fifth task changes no file that is there"
            shutil.copytree(FIFTH / layer, site / "tarpon" / layer, dirs_exist_ok=True)
    for name, line in new_lines().items():
        path = site / "tarpon" / name
        path.write_text(with_line(path.read_text(), line))
    return site


@pytest.fixture(scope="session")
def said(tree, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """Where the page's commands were run, and what each printed."""
    folder = tmp_path_factory.mktemp("leaves")
    own = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT")  # of a run in this process
    env = {name: value for name, value in os.environ.items() if name not in own}
    env |= {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "TARPON_DEBUG": "1"}
    (commands,) = blocks("")
    commands += "".join(f"{line}\n" for line in MORE)
    done = subprocess.run(
        [sys.executable, __file__],
        input=commands,
        cwd=folder,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    told = dict(part.partition("\n")[::2] for part in f"\n{done.stdout}".split(f"\n{PROMPT}")[1:])
    assert list(told) == commands.splitlines()
    return folder, told


def test_page_shows_the_files_of_the_task():
    there = [where for where, _ in shown() if ", in " not in where]
    assert len(there) > 5
    for where, code in shown():
        if ", in " not in where:
            assert code in (FIFTH / where).read_text(), f"{PAGE.name}: a block is not in {where}"
    assert list(new_lines()) == TABLES
    assert all(line.count("\n") == 1 for line in new_lines().values())


def test_page_names_every_file_of_the_task():
    named = PAGE.read_text()
    for path in FIFTH.rglob("*.py"):
        assert path.name == "__init__.py" or path.name in named


@pytest.mark.slow
def test_packs_lints_and_looks(said):
    folder, told = said
    assert re.search(r"units tried: [1-9]\d* samples, 0 faults$", told["tarpon doctor leaf --root lab"], re.MULTILINE)
    assert re.search(
        r"^120 packed, 0 in quarantine", told["tarpon pack leaf --root lab --out shards --workers 1"], re.MULTILINE
    )
    assert told["tarpon lint shards"].splitlines()[-1] == "sound"
    looked = told["tarpon look shards"]
    assert "leaf, 120 samples" in looked
    assert re.search(r"^species +train +val +test$", looked, re.MULTILINE)
    assert (folder / "shards/contact_sheet.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_trains_and_is_better_than_one_answer(said):
    folder, _ = said
    scores = json.loads((folder / "runs/first/metrics.json").read_text())
    assert scores["test"]["macro_f1"] > scores["test"]["majority_macro_f1"]
    lines = map(json.loads, (folder / "runs/first/metrics.jsonl").read_text().splitlines())
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_evaluates_one_run_and_the_mean_of_two(said):
    folder, told = said
    alone, both = told["tarpon evaluate runs/first"], told["tarpon evaluate runs/first runs/second"]
    trained = json.loads((folder / "runs/first/metrics.json").read_text())["test"]
    for name in ("macro_f1", "majority_macro_f1", "loss"):
        assert re.search(rf"^{name} +{trained[name]:.4f}$", alone, re.MULTILINE)
    assert re.search(r" +first +second +mean$", both, re.MULTILINE)
    first, second, mean = map(float, re.search(r"^loss +([\d.]+) +([\d.]+) +([\d.]+)$", both, re.MULTILINE).groups())
    assert first == pytest.approx(trained["loss"], abs=1e-4)
    assert mean < (first + second) / 2 - 1e-3  # the logarithm is concave; smoothing of labels would break this, there is none


@pytest.mark.slow
def test_overview_and_features_know_it(said):
    _, told = said
    assert re.search(r"^  tarpon pack leaf +a folder of leaves", told[OVERVIEW], re.MULTILINE)
    assert told[FEATURES].splitlines()[-1].startswith("120 vectors of ")


@pytest.mark.slow
def test_reports(said):
    folder, told = said
    assert "Macro F1" in told["tarpon report runs/first"]
    page = (folder / "runs/first/report.html").read_text()
    assert "Pictures by true and by predicted species." in page
    assert "95% interval over plants" in page


def main() -> int:
    """Run the commands of stdin one after another; the exit status of the first that fails."""
    from tarpon.tools import cli
    from tarpon.train import launch

    for line in sys.stdin.read().splitlines():
        print(f"{PROMPT}{line}", flush=True)
        program, *words = shlex.split(line)
        status = cli.main(words) if program == "tarpon" else launch.main(words[1:])
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
