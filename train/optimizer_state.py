"""AdamW's state as plain tensors of whole parameters, whatever DeepSpeed has made of the optimizer.

ZeRO keeps one flat tensor a group, shared out among the processes; its own files fit one number of processes only. Here every
parameter has its step and its two averages under its own name.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

ADAM = ("exp_avg", "exp_avg_sq")
Groups = Mapping[str, Mapping[str, nn.Parameter]]  # group name -> parameter name -> parameter


def read(adam: torch.optim.Optimizer, groups: Groups, flat_groups: Sequence[Mapping]) -> dict[str, Tensor]:
    """Collect the state. Collective: every rank must call it.

    Args:
        adam: holds the state of the parameters, or with ZeRO of each group's flat tensor.
        groups: in the order of the optimizer's.
        flat_groups: `param_groups` of what DeepSpeed put around `adam`.

    Returns:
        "step/NAME" (1,), "exp_avg/NAME" and "exp_avg_sq/NAME" of the parameter's shape, contiguous on the CPU; nothing of a
        parameter that has had no gradient yet.
    """
    state: dict[str, Tensor] = {}
    for name, parameter, held in _iterate(adam, groups, flat_groups):
        if held:
            state[f"step/{name}"] = held["step"].detach().cpu().reshape(1).clone()
            for key in ADAM:
                state[f"{key}/{name}"] = _gather(parameter, key, held).detach().to("cpu", copy=True).contiguous()
    return state


def write(
    adam: torch.optim.Optimizer,
    groups: Groups,
    flat_groups: Sequence[Mapping],
    *,
    state: Mapping[str, Tensor],
    device: torch.device,
) -> None:
    """Put what `read` returned, at any ZeRO stage and number of processes, into this optimizer."""
    from deepspeed.utils import safe_set_full_optimizer_state

    sharded = _is_sharded(groups)
    for name, parameter in _named(groups):
        if f"step/{name}" not in state:
            continue
        flat = _get_flat(parameter, flat_groups) if sharded else parameter
        if flat is None:  # another rank owns all of it
            continue
        held = adam.state[flat]
        for key in ADAM:
            held.setdefault(key, torch.zeros_like(flat))
        if sharded:
            parameter._hp_mapping.set_optim_state_fragment(flat, held)
            for key in ADAM:
                safe_set_full_optimizer_state(parameter, state[f"{key}/{name}"].to(device), key)
        else:
            for key in ADAM:  # copied, to lie in memory as the parameter does (channels last): fused AdamW goes by memory
                held[key].copy_(state[f"{key}/{name}"])
        held["step"] = state[f"step/{name}"].reshape(()).to(device, copy=True)  # where fused AdamW keeps its counter


def _named(groups: Groups) -> Iterator[tuple[str, nn.Parameter]]:
    for group in groups.values():
        yield from group.items()


def _is_sharded(groups: Groups) -> bool:
    return any(hasattr(parameter, "_hp_mapping") for _, parameter in _named(groups))


def _get_flat(parameter: nn.Parameter, flat_groups: Sequence[Mapping]) -> Tensor | None:
    """ZeRO's flat partition of the parameter's group on this rank, None where it holds nothing of the parameter."""
    mapping = parameter._hp_mapping
    return None if mapping is None else flat_groups[mapping.param_group_index]["params"][0]


def _iterate(
    adam: torch.optim.Optimizer, groups: Groups, flat_groups: Sequence[Mapping]
) -> Iterator[tuple[str, nn.Parameter, dict]]:
    """(name, parameter, AdamW's state of it or of its flat tensor)."""
    sharded = _is_sharded(groups)
    for index, members in enumerate(groups.values()):
        for name, parameter in members.items():
            if not sharded:
                yield name, parameter, adam.state.get(parameter, {})
                continue
            # the group's own flat tensor tells the step also to a rank that holds nothing of this parameter
            flat = flat_groups[index]["params"][0]
            held = adam.state.get(flat, {})
            if held and parameter._hp_mapping is not None:
                # DeepSpeed links the fragments before AdamW has made its state, and so to nothing
                parameter._hp_mapping.set_optim_state_fragment(flat, held)
            yield name, parameter, held


def _gather(parameter: nn.Parameter, key: str, held: dict) -> Tensor:
    from deepspeed.utils import safe_get_full_optimizer_state

    return held[key] if not hasattr(parameter, "_hp_mapping") else safe_get_full_optimizer_state(parameter, key)
