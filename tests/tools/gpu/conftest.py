"""What the tests of `tarpon gpu` share."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tarpon.tools.gpu.prepared_shards import DONE


@pytest.fixture(scope="session")
def small_shards(tmp_path_factory, mouse_shards, fish_shards, cells_shards, star_shards) -> Path:
    """The session's shards, laid out as `tarpon gpu --prepare` does."""
    folder = tmp_path_factory.mktemp("visit_shards")
    made = {"mouse_vp9": mouse_shards, "fish": fish_shards, "cells": cells_shards, "star": star_shards}
    for name, manifest in made.items():
        (folder / name).symlink_to(manifest.root)
    (folder / DONE).write_text("here\n")
    return folder


@pytest.fixture
def rows() -> Callable[[Path], list[dict]]:
    """A journal's rows, every line of which must be whole."""
    return lambda path: [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def quiet_env() -> dict[str, str]:
    """An environment as on a machine where nothing was run yet."""
    return {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "TRITON_INTERPRET")}
