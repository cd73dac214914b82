"""Folders are layers: imports point one way, heavy libraries stay in their room, a task stays in its folders."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TREES = (ROOT, ROOT / "tests/fifth_task")  # the second holds a task's folders, laid out as here
MAY_IMPORT = {
    "shards": set(),
    "models": set(),
    "pipelines": {"shards"},
    "train": {"shards", "pipelines", "models"},
    "tools": {"shards", "pipelines", "models", "train"},
}
ONLY_IN = {"nvidia": "pipelines/", "deepspeed": "train/", "webdataset": "shards/"}  # nvidia: DALI
TASK_FOLDERS = ("shards/sources", "train/tasks", "tools")  # which hold a folder of each task
TABLES = ("train/tasks/__init__.py", "tools/tasks.py")
MOST_LINES, MOST_IN_A_FUNCTION = 300, 60
LONG_MAY_BE = re.compile(r"kernel[^/]*\.py$|/gradients\.py$|/demo/")  # their functions


@cache
def files(layer: str) -> list[tuple[str, Path]]:
    """(path below its tree, path) of every file of a layer."""
    return [(path.relative_to(tree).as_posix(), path) for tree in TREES for path in sorted((tree / layer).rglob("*.py"))]


def every_file() -> list[tuple[str, Path]]:
    return [found for layer in MAY_IMPORT for found in files(layer)]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def task_names() -> set[str]:
    return {path.parent.name for place, path in files("train") if re.fullmatch(r"train/tasks/\w+/__init__.py", place)}


def owner(place: str) -> str | None:
    """The task whose folder a file is in."""
    found = re.match(rf"(?:{'|'.join(TASK_FOLDERS)})/(\w+)/", place)
    return found[1] if found and found[1] in task_names() else None


def tasks_used(path: Path) -> set[str]:
    """The tasks whose folders a file imports from."""
    modules = "|".join(folder.replace("/", r"\.") for folder in TASK_FOLDERS)
    found = (re.match(rf"tarpon\.(?:{modules})\.(\w+)", name) for name in imported(path))
    return {match[1] for match in found if match} & task_names()


@cache
def imported(path: Path) -> set[str]:
    """Dotted names a file imports, anywhere in it."""
    nodes = list(ast.walk(parsed(path)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_imports_point_one_way(layer):
    found = list(files(layer))
    assert found
    for place, path in found:
        used = {name.split(".")[1] for name in imported(path) if name.startswith("tarpon.")}
        assert used <= MAY_IMPORT[layer] | {layer}, f"{place} may not import {sorted(used - MAY_IMPORT[layer])}"


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_heavy_libraries_stay_in_their_room(layer):
    for place, path in files(layer):
        for name in {name.split(".")[0] for name in imported(path)}:
            assert place.startswith(ONLY_IN.get(name, "")), f"{place} imports {name}"
            assert not (layer == "shards" and name == "torch"), f"{place} imports torch"


def test_tasks_are_found():
    assert task_names() >= {"mouse", "fish", "cells", "star", "leaf"}
    assert owner("tools/mouse/pack.py") == owner("shards/sources/mouse/pose/dlc.py") == "mouse"
    assert owner("shards/sources/video/clips.py") is None
    assert tasks_used(ROOT / "tools/mouse/pack.py") == {"mouse"}


def test_no_task_imports_another_and_only_the_tables_know_them():
    wrong = {
        place: sorted(used - {owner(place)})
        for place, path in every_file()
        if place not in TABLES and (used := tasks_used(path)) - {owner(place)}
    }
    assert not wrong


def test_no_task_is_named_outside_of_its_folders():
    # "mouse", "mouse.lint:MOUSE", "mouse_vp9", "tarpon.tools.mouse.pack"
    named = re.compile(rf"(?:tarpon\.[\w.]+\.)?(?:{'|'.join(sorted(task_names()))})(?:[._/:].*)?")
    wrong = [
        f"{place}:{node.lineno}: {node.value!r}"
        for place, path in every_file()
        if owner(place) is None and place not in TABLES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and named.fullmatch(node.value)
    ]
    assert not wrong


def test_metrics_draw_nothing():
    for place, path in every_file():
        if re.search(r"/metrics(/|\.py$)", place):
            drawing = {name for name in imported(path) if name.split(".")[0] == "matplotlib" or "figures" in name.split(".")}
            assert not drawing, f"{place} imports {sorted(drawing)}"


def test_files_are_short():
    every = [*every_file(), *files("tests")]
    long = {place: count for place, path in every if (count := len(path.read_text().splitlines())) > MOST_LINES}
    assert not long, f"more than {MOST_LINES} lines; split by idea: {long}"


def test_functions_are_short():
    long = {
        f"{place}:{node.name}": count
        for place, path in every_file()
        if not LONG_MAY_BE.search(place)
        for node in ast.walk(parsed(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (count := node.end_lineno - node.lineno + 1) > MOST_IN_A_FUNCTION
    }
    assert not long, f"more than {MOST_IN_A_FUNCTION} lines; split by idea: {long}"


def test_no_task_is_asked_its_name():
    for folder in ("train", "tools", "pipelines"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(parsed(path)):
                if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name):
                    assert node.left.id != "task", f"{path}:{node.lineno}"


def test_every_folder_with_code_is_packaged():
    ask = "import setuptools; from distutils.core import run_setup; print(*run_setup('setup.py', stop_after='config').packages)"
    told = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    folders = {path.parent.relative_to(ROOT) for layer in MAY_IMPORT for path in (ROOT / layer).rglob("*.py")}
    assert sorted(told) == sorted("tarpon." + ".".join(folder.parts) for folder in folders)
