"""What a command imports before it answers: nothing of PyTorch and its kin where it does not need them."""

import json
import subprocess
import sys

import pytest

from tarpon.tools.cli import COMMANDS

HEAVY = ("torch", "deepspeed", "nvidia", "sklearn", "scipy", "timm", "transformers", "matplotlib")
MEASURE = """
import contextlib, io, json, sys
from tarpon.tools.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    status = [main(words) for words in json.loads(sys.argv[1])]
print(json.dumps([status, [name for name in json.loads(sys.argv[2]) if name in sys.modules]]))
"""


def call(commands: list[list[str]], *, watched: tuple[str, ...] = HEAVY) -> tuple[list[int], list[str]]:
    """Exit status of each command, run one after another in a process of its own, and what it had then imported."""
    ask = [sys.executable, "-c", MEASURE, json.dumps(commands), json.dumps(watched)]
    done = subprocess.run(ask, capture_output=True, text=True, check=True)
    return tuple(json.loads(done.stdout))


def test_the_overview_imports_no_library_at_all():
    status, found = call(
        [[], ["--version"], ["pack", "--help"], ["nonsense"]], watched=(*HEAVY, "numpy", "jsonargparse", "yaml")
    )
    assert status == [0, 0, 0, 2]
    assert not found


@pytest.mark.parametrize(
    ("commands", "status"),
    [
        ([["report", "nowhere"], ["evaluate", "nowhere"], ["report", "--help"], ["evaluate", "--help"]], [2, 2, 0, 0]),
        ([[*name.split(), "--help"] for name in COMMANDS if name.split()[0] in ("predict", "pack", "lint", "doctor")], None),
        ([["predict", name, "--checkpont", "x"] for name in ("mouse", "fish", "star")], [2, 2, 2]),
        (
            [["train"], ["train", "--help"], *(["train", name, "--help-all"] for name in ("mouse", "fish", "cells", "star"))],
            [0] * 6,
        ),
        (
            [
                ["train", name, "--data=nowhere", *words]
                for name in ("mouse", "fish", "cells", "star")
                for words in ([], ["--epoch=3"])
            ],
            [2] * 8,
        ),
    ],
    ids=["runs", "help", "predict", "training help", "training mistakes"],
)
def test_help_and_mistakes_do_not_wait_for_pytorch(commands, status):
    got, found = call(commands)
    assert got == (status or [0] * len(commands))
    assert not found


def test_the_program_of_training_does_not_either(tmp_path):
    from importlib.util import find_spec

    launch = find_spec("tarpon.train.launch").origin
    done = subprocess.run(
        [sys.executable, "-X", "importtime", launch, "mouse", "--data=nowhere"], capture_output=True, text=True, cwd=tmp_path
    )
    *imports, said = done.stderr.splitlines()
    assert (done.returncode, said.partition(";")[0]) == (2, "train/launch.py: nowhere: no manifest.parquet here")
    assert not {line.rpartition("|")[2].strip() for line in imports} & {"torch", "deepspeed", "nvidia"}
