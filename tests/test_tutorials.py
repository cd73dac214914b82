"""docs/tutorials: commands and Python of each page are run in order, in one folder, on a drawn lab; docs/python.md goes on
where the first of them ends.

What is added to a command makes it small, nothing else. Started as a script, this file runs blocks from stdin in one process:
the heavy libraries take seconds to load.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.stem: path for path in sorted((ROOT / "docs" / "tutorials").glob("*.md"))}
PYTHON, GOES_ON = ROOT / "docs" / "python.md", "mouse"
PROMPT = "$ "
SMALLER = {  # beginning of a command -> options added at its end
    "tarpon demo mouse": "--videos 4 --size 64 --workers 1",
    "tarpon pack mouse": "--short_side 64 --workers 1",
    "train mouse": "--config demo --epochs 1 --eval_every 1 --model.backbone.image_size 64",
    "tarpon demo fish": "--images 120 --families 6 --size 64 --workers 1",
    "tarpon pack fish": "--workers 1",
    "tarpon features": "--backbone test_vit --pretrained false --image_size 32 --resize 36",
    "train fish": "--config demo --epochs 2 --eval_every 1",
    "tarpon predict fish": "--pretrained false",
    "tarpon demo cells": "--pages 8 --size 48 --onset 1",
    "tarpon pack cells": "--workers 1",
    "train cells": "--config demo --epochs 1 --model.backbone.image_size 48",
    "tarpon demo star": "--identities 8 --distractors 2 --sessions 4 --images 2 --size 64",
    "tarpon pack star": "--workers 1",
    "train star": "--config demo --epochs 1 --eval_every 1 --model.backbone.image_size 32",
}
LEFT_OUT = ("tarpon predict fish",)  # status 1: the drawn pictures hold some that do not decode, and the page says so
TRAINING = re.compile(r"^tarpon train ")  # which would take this process's place: its program is called here
ANSWERS = {  # what the last block of a page, its answer, must print
    "mouse": r"_tracking_bouts \{.*: \d",
    "fish": r"\.jpg \w+idae 0\.\d+ \w+ \d\.\d",
    "cells": r"told apart from hour .*\nauc \d\.\d+.*\nmae \d\.\d+",
    "star": r"IMG_\d+",
}


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of what is to be run: shell and Python blocks of a page, in order."""
    found = re.findall(r"^```(bash|python)\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [(language, text.replace("\\\n", " ")) for language, text in found]


def smaller(line: str) -> str:
    """The command with the options that make it small."""
    plain = TRAINING.sub("train ", line)
    added = [options for begin, options in SMALLER.items() if f"{plain} ".startswith(f"{begin} ")]
    assert len(added) <= 1
    return " ".join([plain, *added])


def run_blocks(todo: list[tuple[str, str]]) -> int:
    """Run commands and Python one after another in this process; the exit status of the first that fails."""
    from tarpon.tools import cli
    from tarpon.train import launch

    names = {"__name__": "page"}
    for language, text in todo:
        print(f"\n{PROMPT}{text}", flush=True)
        if language == "python":
            exec(compile(text, "page", "exec"), names)
            continue
        for line in text.splitlines():
            program, *words = shlex.split(smaller(line))
            status = {"tarpon": cli.main, "train": launch.main}[program](words)
            if status > line.startswith(LEFT_OUT):
                print(f"status {status}: {line}")
                return status
    return 0


@pytest.mark.parametrize("name", PAGES)
def test_a_page_leads_to_an_answer(name):
    run = blocks(PAGES[name])
    commands = [line for language, text in run if language == "bash" for line in text.splitlines()]
    assert run[-1][0] == "python", "the answer is computed on the page"
    assert {line.split()[0] for line in commands} == {"tarpon"}, "all else is not run by the test"
    for needed in (f"tarpon demo {name}", f"tarpon pack {name}", f"train {name}", "tarpon report", "tarpon lint"):
        assert any(TRAINING.sub("train ", line).startswith(needed) for line in commands), needed


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_says_works(name, tmp_path):
    own = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT")  # of a run in this process
    env = {key: value for key, value in os.environ.items() if key not in own}
    own_blocks, more = blocks(PAGES[name]), blocks(PYTHON) if name == GOES_ON else []
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps([*own_blocks, *more]),
        cwd=tmp_path,
        env=env | {"OMP_NUM_THREADS": "1", "TARPON_DEBUG": "1", "MPLBACKEND": "agg"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    _, *said = done.stdout.split(f"\n{PROMPT}")
    assert len(said) == len(own_blocks) + len(more)
    answer = said[len(own_blocks) - 1].removeprefix(own_blocks[-1][1])
    assert re.search(ANSWERS[name], answer), answer
    if more:
        assert re.search(r"^\d+ trials of \['rest'", said[len(own_blocks)], re.MULTILINE)
        assert re.search(r"^0\.\d+ macro F1; 0\.\d+ by the commonest", done.stdout, re.MULTILINE)
        assert (tmp_path / "ethogram.png").read_bytes().startswith(b"\x89PNG")


if __name__ == "__main__":
    sys.exit(run_blocks(json.loads(sys.stdin.read())))
