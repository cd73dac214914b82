"""Folders are layers: imports point one way, heavy libraries stay in their room."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "shards": set(),
    "models": set(),
    "pipelines": {"shards"},
    "train": {"shards", "pipelines", "models"},
    "tools": {"shards", "pipelines", "models", "train"},
}
ONLY_IN = {"nvidia": "pipelines/", "deepspeed": "train/", "webdataset": "shards/"}  # nvidia: DALI


def imported(path: Path) -> set[str]:
    """Dotted names a file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_imports_point_one_way(layer):
    files = list((ROOT / layer).rglob("*.py"))
    assert files
    for path in files:
        used = {name.split(".")[1] for name in imported(path) if name.startswith("tarpon.")}
        assert used <= MAY_IMPORT[layer] | {layer}, f"{path} may not import {sorted(used - MAY_IMPORT[layer])}"


@pytest.mark.parametrize("layer", MAY_IMPORT)
def test_heavy_libraries_stay_in_their_room(layer):
    for path in (ROOT / layer).rglob("*.py"):
        place = str(path.relative_to(ROOT))
        for name in {name.split(".")[0] for name in imported(path)}:
            assert place.startswith(ONLY_IN.get(name, "")), f"{place} imports {name}"
            assert not (layer == "shards" and name == "torch"), f"{place} imports torch"


def test_no_task_is_asked_its_name():
    for folder in ("train", "tools", "pipelines"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name):
                    assert node.left.id != "task", f"{path}:{node.lineno}"


def test_every_folder_with_code_is_packaged():
    listed = (ROOT / "setup.cfg").read_text()
    for layer in MAY_IMPORT:
        for init in (ROOT / layer).rglob("__init__.py"):
            package = "tarpon." + ".".join(init.parent.relative_to(ROOT).parts)
            assert f"    {package}\n" in listed, f"{package} is missing from packages in setup.cfg"
