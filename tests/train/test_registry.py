"""Tasks are loaded when they are asked for, and unknown names are refused with the choices."""

import os.path
import subprocess
import sys

import pytest

from tarpon.train.registry import Registry
from tarpon.train.tasks import TASKS
from tarpon.train.tasks.mouse.record import MOUSE

LOADED = """
import sys
from tarpon.train import launch
from tarpon.train.tasks import TASKS
TASKS["mouse"]
print(*sorted(name for name in TASKS if f"tarpon.train.tasks.{name}" in sys.modules))
"""


def test_value_is_imported_at_the_first_access_and_kept():
    registry = Registry({"join": "os.path:join", "lost": "no.such.module:thing"})
    assert list(registry) == ["join", "lost"]
    assert "lost" in registry
    assert registry["join"] is os.path.join
    assert registry.data["join"] is os.path.join
    with pytest.raises(ModuleNotFoundError):
        registry["lost"]


def test_unknown_name_raises_with_the_choices():
    with pytest.raises(KeyError, match="'fly' must be one of cells, fish, mouse, star"):
        TASKS["fly"]
    assert TASKS.get("fly") is None


def test_a_task_can_be_put_in_and_taken_out(monkeypatch):
    before = list(TASKS)
    with monkeypatch.context() as patch:
        patch.setitem(TASKS, "fifth", MOUSE)
        assert TASKS["fifth"] is MOUSE
        assert list(TASKS) == [*before, "fifth"]
        patch.setitem(TASKS, "mouse", TASKS["fish"])
        assert TASKS["mouse"] is TASKS["fish"]
    assert list(TASKS) == before
    assert TASKS["mouse"] is MOUSE


def test_one_task_does_not_load_the_others():
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["mouse"]
