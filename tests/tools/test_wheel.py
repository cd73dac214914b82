"""The wheel is whole: what it holds, and a first result out of it.

Tarpon alone comes from the wheel, installed into an empty folder; what it depends on is that of the environment the tests run
in. So this proves that no file is missing and that nothing needs the source tree, not that pip finds the dependencies.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("shards", "pipelines", "models", "train", "tools")
BESIDE = ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE")
SUFFIXES = (".py", ".yaml", ".sh", ".html", ".css", ".js", ".json", ".typed")

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path, **env: str) -> str:
    """What a command says; a failure shows it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=inherited | env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of the tree, in which setuptools leaves its own folders."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for layer in LAYERS:
        shutil.copytree(ROOT / layer, tree / layer, ignore=shutil.ignore_patterns("__pycache__"))
    for name in BESIDE:
        shutil.copy(ROOT / name, tree / name)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")
    run(*pip, "wheel", ".", "--no-deps", "--no-build-isolation", "--wheel-dir", out, cwd=tree)
    return next(out.glob("tarpon-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder that holds Tarpon from the wheel and nothing else."""
    target = tmp_path_factory.mktemp("installed") / "site"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")
    run(*pip, "install", "--no-deps", "--no-index", "--target", target, wheel, cwd=target.parent)
    return target


def test_every_file_that_is_run_or_read_is_in_the_wheel(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"tarpon/{path.relative_to(ROOT).as_posix()}"
        for layer in LAYERS
        for path in (ROOT / layer).rglob("*")
        if path.suffix in SUFFIXES and "__pycache__" not in path.parts
    }
    assert len(wanted) > 300
    assert not sorted(wanted - held)
    entry = next(name for name in held if name.endswith("entry_points.txt"))
    assert b"tarpon = tarpon.tools.cli:main" in zipfile.ZipFile(wheel).read(entry)


def test_a_first_result_without_the_source_tree(installed, tmp_path):
    def tarpon(*words: object) -> str:
        env = {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        return run(sys.executable, "-m", "tarpon.tools.cli", *words, cwd=tmp_path, **env)

    where = run(sys.executable, "-c", "import tarpon.shards as s; print(s.__file__)", cwd=tmp_path, PYTHONPATH=str(installed))
    assert Path(where.strip()).is_relative_to(installed)
    tarpon("demo", "mouse", "--out", "lab", "--videos", 4, "--size", 64, "--workers", 1)
    lab = ("--videos", "lab/Videos", "--annotations", "lab/Annotations")
    tarpon("pack", "mouse", *lab, "--out", "shards", "--short_side", 64, "--split", "0.5,0.25,0.25", "--workers", 1)
    few = ("--steps=2", "--model.backbone.image_size=32", "--window.train_frames=32", "--window.val_frames=64")
    tarpon("train", "mouse", "--config", "demo", "--data", "shards", "--out", "run", *few)
    assert "report: run/report.html" in tarpon("report", "run")
    assert "<img" in (tmp_path / "run/report.html").read_text()
    assert "1 of 1 videos" in predict_one(tarpon, tmp_path)


def predict_one(tarpon, folder: Path) -> str:
    """The trained run on one video of the lab, given by its folder."""
    video = min((folder / "lab/Videos").glob("*.mp4"))
    (folder / "new").mkdir()
    for path in (folder / "lab/Videos").glob(f"{video.stem}*"):
        shutil.copy(path, folder / "new")
    return tarpon("predict", "mouse", "--checkpoint", "run", "--videos", "new", "--out", "answers")
