"""Conversion of the published GatedMMoE's weights, whose experts, gates and towers are separate modules, to those of `MMoE`.

Its names: experts.<i>.{0 norm, 1 linear, 4 linear}, task_gates.<task>.{0 norm, 1 linear},
task_towers.<task>.{0 linear, 3.0 norm, 3.2 linear}, each .weight and .bias. Its task `feedingpath` is `feeding` here.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tarpon.models.moe.mmoe import MMoE

PUBLISHED_NAMES = {"feeding": "feedingpath"}  # task here -> there


def load_published(model: MMoE, state: Mapping[str, Tensor]) -> None:
    """Fill a model of the same sizes and tasks; its standardisation and log-variances, which were not published, stay.

    Raises:
        ValueError: a weight is missing, left over, or of another size.
    """
    own = model.state_dict()
    new = convert_published(state, tasks=tuple(model.last.outputs))
    for name, value in new.items():
        if value.shape != own[name].shape:
            raise ValueError(f"published weights: {name} is {tuple(value.shape)}, the model wants {tuple(own[name].shape)}")
    model.load_state_dict(own | new)


def read_published_sizes(state: Mapping[str, Tensor]) -> dict:
    """Arguments of `MMoE` that fit: dim, outputs, experts, hidden, tower; ValueError for weights of something else."""
    tasks = list(dict.fromkeys(name.split(".")[1] for name in state if name.startswith("task_towers.")))
    ours = {theirs: task for task, theirs in PUBLISHED_NAMES.items()}
    experts = {name.split(".")[1] for name in state if name.startswith("experts.")}
    if not tasks or not experts:
        raise ValueError("these are not the published weights: they hold no task_towers.<task>.* or no experts.<i>.*")
    hidden, dim = _get(state, "experts.0.1.weight").shape
    return {
        "dim": dim,
        "outputs": {ours.get(task, task): len(_get(state, f"task_towers.{task}.3.2.weight")) for task in tasks},
        "experts": len(experts),
        "hidden": hidden,
        "tower": len(_get(state, f"task_towers.{tasks[0]}.0.weight")),
    }


def convert_published(state: Mapping[str, Tensor], *, tasks: Sequence[str]) -> dict[str, Tensor]:
    """The published tensors under the names and shapes of `MMoE`, tasks in the order given.

    Raises:
        ValueError: a weight is missing or left over.
    """
    experts = [f"experts.{i}" for i in range(len({name.split(".")[1] for name in state if name.startswith("experts.")}))]
    gates, towers = ([f"{part}.{PUBLISHED_NAMES.get(task, task)}" for task in tasks] for part in ("task_gates", "task_towers"))
    used: set[str] = set()

    def rows(modules: Sequence[str], name: str) -> list[Tensor]:
        used.update(f"{module}.{name}" for module in modules)
        return [_get(state, f"{module}.{name}") for module in modules]

    new = {}
    for norm, modules, at in (("expert_norm", experts, "0"), ("gate_norm", gates, "0"), ("tower_norm", towers, "3.0")):
        new[f"{norm}.scale"] = torch.stack(rows(modules, f"{at}.weight"))
        new[f"{norm}.shift"] = torch.stack(rows(modules, f"{at}.bias"))
    linears = (("expert_in", experts, "1"), ("expert_out", experts, "4"), ("gate", gates, "1"), ("tower", towers, "0"))
    for linear, modules, at in linears:
        new[f"{linear}.weight"] = torch.stack(rows(modules, f"{at}.weight")).mT.contiguous()
        new[f"{linear}.bias"] = torch.stack(rows(modules, f"{at}.bias"))
    for part in ("weight", "bias"):
        new[f"last.{part}"] = torch.cat(rows(towers, f"3.2.{part}"))
    for name in sorted(set(state) - used):
        raise ValueError(f"published weights: {name} has no place in a model of the tasks {', '.join(tasks)}")
    return new


def _get(state: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise ValueError(f"published weights: {name} is missing")
    return state[name]
