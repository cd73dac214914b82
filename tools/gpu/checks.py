"""What a task brings to `tarpon gpu`: small shards, batches to compare, and further steps of the parts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tarpon.tools.gpu.step_runner import Step
from tarpon.tools.task import load
from tarpon.tools.tasks import TOOLS


@dataclass(frozen=True, kw_only=True, eq=False)
class GpuChecks:
    """One task on a GPU. Heavy imports belong inside the functions, so that steps can be listed on any machine."""

    prepare: Callable[..., None]  # (folder, labs=, small=): draw a lab below `labs` and pack it below `folder`
    shards: str  # name of the shards below the prepared folder that batches are read from
    batches: Callable[[Path, int | None], Iterator[dict]]  # (shards, GPU ordinal; None: CPU) -> a few batches of tensors
    pipeline_steps: Callable[[], list[Step]] = list  # further steps of the part `pipelines`
    train_steps: Callable[[], list[Step]] = list  # steps of the part `train`


def load_checks() -> dict[str, GpuChecks]:
    """Task -> its checks, of all tasks that have some."""
    return {name: load(tools.gpu) for name, tools in TOOLS.items() if tools.gpu}
