"""What a task brings to `tarpon gpu`, found through `tools/tasks.py`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tarpon.tools.task import load
from tarpon.tools.tasks import TOOLS

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class GpuChecks:
    """A task's part of a visit. Heavy imports belong inside its functions: steps are listed on any machine."""

    prepare: Callable[..., None]  # (folder for shards, folder for labs, small=) -> draws a lab and packs it
    shards: str  # folder below the first one whose batches are compared
    batches: Callable[[Path, int | None], "Iterator[dict[str, Tensor]]"]  # (shards, GPU or None) -> its first batches
    # (shards, window=, batch=, side=, device=, alone=) -> endless steps of its loader, or of decoding alone, to be timed; only
    # of the one task whose loader and training are timed, which packs a folder `<task>_<codec>` for each codec
    loader_steps: Callable[..., Iterator] | None = None


def checks() -> dict[str, GpuChecks]:
    """Task -> what it brings, in the order of the table."""
    return {name: load(tools.gpu) for name, tools in TOOLS.items() if tools.gpu}


def timed() -> str:
    """The task whose loader and training are timed."""
    return next(name for name, found in checks().items() if found.loader_steps)
